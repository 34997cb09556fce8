package codec

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// primitive is the encoding of one Go kind.
type primitive struct {
	url     string
	append  func([]byte, reflect.Value) ([]byte, error)
	decode  func(string, reflect.Value) error
	compare func(a, b Raw) int
}

// primitiveOf is nil if the type is none, or encodes itself.
func primitiveOf(t reflect.Type) *primitive {
	if encodesItself(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		return &primitive{
			PrimitivePrefix + "string",
			func(b []byte, v reflect.Value) ([]byte, error) {
				if !utf8.ValidString(v.String()) {
					return nil, errors.New("it is not valid UTF-8")
				}
				return appendText(b, v.String()), nil
			},
			func(s string, v reflect.Value) error {
				text, err := field(s, protowire.BytesType)
				if err == nil && !utf8.ValidString(text.text) {
					err = errors.New("it is not valid UTF-8")
				}
				v.SetString(text.text)
				return err
			},
			compareText,
		}
	case reflect.Slice:
		if t.Elem().Kind() != reflect.Uint8 {
			return nil
		}
		return &primitive{
			PrimitivePrefix + "bytes",
			func(b []byte, v reflect.Value) ([]byte, error) { return appendText(b, string(v.Bytes())), nil },
			func(s string, v reflect.Value) error {
				text, err := field(s, protowire.BytesType)
				v.SetBytes([]byte(text.text))
				return err
			},
			compareText,
		}
	case reflect.Bool:
		return &primitive{
			PrimitivePrefix + "bool",
			func(b []byte, v reflect.Value) ([]byte, error) {
				return appendNumber(b, protowire.VarintType, protowire.EncodeBool(v.Bool())), nil
			},
			func(s string, v reflect.Value) error {
				n, err := field(s, protowire.VarintType)
				v.SetBool(protowire.DecodeBool(n.number))
				return err
			},
			compareInt,
		}
	case reflect.Int32, reflect.Int, reflect.Int64:
		name := "int64"
		if t.Kind() == reflect.Int32 {
			name = "int32"
		}
		return &primitive{
			PrimitivePrefix + name,
			func(b []byte, v reflect.Value) ([]byte, error) {
				return appendNumber(b, protowire.VarintType, uint64(v.Int())), nil
			},
			func(s string, v reflect.Value) error {
				n, err := field(s, protowire.VarintType)
				if err == nil && v.OverflowInt(int64(n.number)) {
					err = fmt.Errorf("%d does not fit into %v", int64(n.number), t)
				}
				v.SetInt(int64(n.number))
				return err
			},
			compareInt,
		}
	case reflect.Float32:
		return &primitive{
			PrimitivePrefix + "float",
			func(b []byte, v reflect.Value) ([]byte, error) {
				return appendNumber(b, protowire.Fixed32Type, uint64(math.Float32bits(float32(v.Float())))), nil
			},
			func(s string, v reflect.Value) error {
				n, err := field(s, protowire.Fixed32Type)
				v.SetFloat(float64(math.Float32frombits(uint32(n.number))))
				return err
			},
			compareFloat32,
		}
	case reflect.Float64:
		return &primitive{
			PrimitivePrefix + "double",
			func(b []byte, v reflect.Value) ([]byte, error) {
				return appendNumber(b, protowire.Fixed64Type, math.Float64bits(v.Float())), nil
			},
			func(s string, v reflect.Value) error {
				n, err := field(s, protowire.Fixed64Type)
				v.SetFloat(math.Float64frombits(n.number))
				return err
			},
			compareFloat64,
		}
	}
	return nil
}

// encodesItself says that the type encodes itself.
func encodesItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(jsonMarshaler) || p.Implements(textMarshaler)
}

func appendText(b []byte, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), s)
}

func appendNumber(b []byte, typ protowire.Type, n uint64) []byte {
	if n == 0 {
		return b
	}
	b = protowire.AppendTag(b, 1, typ)
	switch typ {
	case protowire.Fixed32Type:
		return protowire.AppendFixed32(b, uint32(n))
	case protowire.Fixed64Type:
		return protowire.AppendFixed64(b, n)
	default:
		return protowire.AppendVarint(b, n)
	}
}

// one is the content of field 1.
type one struct {
	text   string
	number uint64
}

var errPrimitive = errors.New("it is not a message with a value of its type in field 1")

// field reads field 1, zero if it is missing, and skips the others.
func field(s string, want protowire.Type) (v one, err error) {
	b := []byte(s)
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num == 1 && typ != want {
			return one{}, errPrimitive
		}
		b = b[n:]
		switch {
		case num != 1:
			n = protowire.ConsumeFieldValue(num, typ, b)
		case typ == protowire.BytesType:
			var text []byte
			text, n = protowire.ConsumeBytes(b)
			v.text = string(text)
		case typ == protowire.Fixed32Type:
			var fixed uint32
			fixed, n = protowire.ConsumeFixed32(b)
			v.number = uint64(fixed)
		case typ == protowire.Fixed64Type:
			v.number, n = protowire.ConsumeFixed64(b)
		default:
			v.number, n = protowire.ConsumeVarint(b)
		}
		if n < 0 {
			return one{}, errPrimitive
		}
		b = b[n:]
	}
	return v, nil
}

// compareText compares what is behind the tag and the length.
func compareText(a, b Raw) int {
	return cmp.Or(strings.Compare(behind(a.Value, true), behind(b.Value, true)), compareRaw(a, b))
}

func compareInt(a, b Raw) int {
	return cmp.Or(cmp.Compare(int64(varint(behind(a.Value, false))), int64(varint(behind(b.Value, false)))), compareRaw(a, b))
}

func compareFloat32(a, b Raw) int {
	x, y := math.Float32frombits(uint32(fixed(behind(a.Value, false), 4))), math.Float32frombits(uint32(fixed(behind(b.Value, false), 4)))
	return cmp.Or(cmp.Compare(x, y), compareRaw(a, b))
}

func compareFloat64(a, b Raw) int {
	x, y := math.Float64frombits(fixed(behind(a.Value, false), 8)), math.Float64frombits(fixed(behind(b.Value, false), 8))
	return cmp.Or(cmp.Compare(x, y), compareRaw(a, b))
}

func compareRaw(a, b Raw) int {
	return cmp.Or(strings.Compare(a.Value, b.Value), strings.Compare(a.URL, b.URL))
}

// What follows reads encodings of our own without copying them: sorting does that often. Of others it makes something.

// behind is what follows the tag, and the length if there is one.
func behind(s string, length bool) string {
	if s == "" {
		return ""
	}
	for s = s[1:]; length && s != ""; s = s[1:] {
		length = s[0] >= 0x80
	}
	return s
}

func varint(s string) (n uint64) {
	for i := 0; i < len(s) && i < 10; i++ {
		n |= uint64(s[i]&0x7f) << (7 * i)
		if s[i] < 0x80 {
			break
		}
	}
	return n
}

func fixed(s string, size int) (n uint64) {
	for i := range min(size, len(s)) {
		n |= uint64(s[i]) << (8 * i)
	}
	return n
}
