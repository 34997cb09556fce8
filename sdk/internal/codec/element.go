package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// PrimitivePrefix is the type URL prefix of primitives: the name of a protobuf scalar follows, and the value is a
// message whose field 1 has that type, left out if it has the type's zero value.
const PrimitivePrefix = "p.cloudstate.io/"

// Raw is a payload by which others tell one value from another: equal if both parts are.
type Raw struct{ URL, Value string }

// RawOf copies a payload.
func RawOf(a *anypb.Any) Raw { return Raw{a.GetTypeUrl(), string(a.GetValue())} }

// Any is the payload.
func (r Raw) Any() *anypb.Any { return &anypb.Any{TypeUrl: r.URL, Value: []byte(r.Value)} }

// Element encodes the elements and keys of replicated data, and the values of registers: the kinds of string, bool,
// int, int32, int64, float32, float64 and []byte as primitives, protobuf messages as such, and everything else as JSON
// whose objects have their keys in order. Equal values have equal encodings.
type Element[E any] struct {
	// Encode refuses what would not come back equal.
	Encode func(E) (Raw, error)
	// Decode is its inverse, and takes other spellings of the same value.
	Decode func(Raw) (E, error)
	// Zero is the value of those who have none: the zero E, or an empty message.
	Zero func() (E, error)
	// Compare orders encodings: those of texts and numbers as these are ordered.
	Compare func(a, b Raw) int
	// Exact says that what is decoded is surely what was encoded, and may be left undone.
	Exact bool
	// Shared says that a decoded value cannot be changed by those who get it.
	Shared bool
	// Stable says why equal values might have different encodings, now or in other versions; nil if they have not. It is
	// asked late: see Codec.
	Stable func() error
}

// ElementOf is the Element of E, made once. A JSON type gets jsonName as its name. An error means that E cannot travel,
// and says why.
func ElementOf[E any](jsonName string) (*Element[E], error) {
	key := elementKey{reflect.TypeFor[E](), jsonName}
	if made, ok := elements.Load(key); ok {
		return made.(*Element[E]), nil
	}
	e, err := newElement[E](jsonName)
	if err != nil {
		return nil, err
	}
	made, _ := elements.LoadOrStore(key, e)
	return made.(*Element[E]), nil
}

type elementKey struct {
	of   reflect.Type
	name string
}

// elements by elementKey: data makes them on first use, and there may be much data.
var elements sync.Map

func newElement[E any](jsonName string) (*Element[E], error) {
	t := reflect.TypeFor[E]()
	if p := primitiveOf(t); p != nil {
		return &Element[E]{
			Encode: func(e E) (Raw, error) {
				value, err := p.append(nil, reflect.ValueOf(e))
				return Raw{p.url, string(value)}, err
			},
			Decode: func(r Raw) (e E, err error) {
				if r.URL != p.url {
					return e, fmt.Errorf("its type is %s, want %s", r.URL, p.url)
				}
				return e, p.decode(r.Value, reflect.ValueOf(&e).Elem())
			},
			Zero:    zero[E],
			Compare: p.compare,
			Exact:   t.Kind() != reflect.Slice,
			Shared:  t.Kind() != reflect.Slice,
			Stable:  func() error { return nil },
		}, nil
	}
	c, err := For[E](jsonName)
	if err != nil {
		return nil, err
	}
	if c.message != nil {
		return &Element[E]{
			Encode: func(e E) (Raw, error) {
				if v := reflect.ValueOf(e); v.IsNil() {
					return Raw{}, fmt.Errorf("it is a nil %T", e)
				}
				a, err := c.Pack(e)
				return RawOf(a), err
			},
			Decode:  func(r Raw) (E, error) { return c.Unpack(r.Any()) },
			Zero:    func() (E, error) { return c.Unpack(nil) },
			Compare: compareText,
			Stable:  func() error { return stableMessage(c.Descriptor(), map[protoreflect.FullName]bool{}) },
		}, nil
	}
	return &Element[E]{
		Encode: func(e E) (Raw, error) {
			text, err := canonical(e)
			return Raw{c.url, string(wrap(text))}, err
		},
		Decode:  func(r Raw) (E, error) { return c.Unpack(r.Any()) },
		Zero:    zero[E],
		Compare: compareText,
		Shared:  shared(t),
		Stable:  func() error { return stableJSON(t, t.String(), map[reflect.Type]bool{}) },
	}, nil
}

func zero[E any]() (e E, err error) { return e, nil }

// canonical is JSON with the keys of all objects in order, without spaces.
func canonical(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(text, '{') < 0 {
		return text, nil
	}
	var tree any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // keeps the spelling
	if err := d.Decode(&tree); err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}

// stableMessage refuses what protobuf may encode in more than one way.
func stableMessage(m protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) error {
	if seen[m.FullName()] {
		return nil
	}
	seen[m.FullName()] = true
	if m.FullName() == "google.protobuf.Any" {
		return errors.New("google.protobuf.Any has no encoding of its own")
	}
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if f.IsMap() {
			return fmt.Errorf("%s is a map, whose encoding has no order", f.FullName())
		}
		if f.Message() != nil {
			if err := stableMessage(f.Message(), seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// stableJSON refuses what takes the spelling of others.
func stableJSON(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] {
		return nil
	}
	seen[t] = true
	switch t {
	case reflect.TypeFor[json.RawMessage](), reflect.TypeFor[json.Number]():
		return fmt.Errorf("%s is %v, which has many spellings of one value", path, t)
	}
	if encodesItself(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Interface:
		return fmt.Errorf("%s is %v: what comes back need not be what went in; use a type", path, t)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return stableJSON(t.Elem(), path, seen)
	case reflect.Map:
		return stableJSON(t.Elem(), path+"[]", seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if f.Tag.Get("json") == "-" {
				continue
			}
			if err := stableJSON(f.Type, path+"."+f.Name, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// shared: nothing in it points to anything.
func shared(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return true
		}
		for f := range t.Fields() {
			if !shared(f.Type) {
				return false
			}
		}
		return true
	case reflect.Array:
		return shared(t.Elem())
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return false
	default:
		return true
	}
}
