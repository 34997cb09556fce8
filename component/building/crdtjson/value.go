package crdtjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how many arrays and objects may be around a value.
const maxDepth = 64

// sort of a JSON value, in the order in which elements of different sorts are shown.
type sort uint8

const (
	null sort = iota
	boolean
	number
	text
	array
	object
)

func (s sort) String() string {
	return [...]string{"null", "true or false", "a number", "a string", "an array", "an object"}[s]
}

// value is JSON that was read.
type value struct {
	sort sort
	// plain is the canonical form of a scalar, but for a string: what it says.
	plain   string
	list    []value
	members []member
	// raw is how it was written.
	raw []byte
}

type member struct {
	name string
	value
}

// decode reads exactly one value. Its errors hold nothing of it but names of members.
func decode(data []byte) (value, error) {
	if !utf8.Valid(data) {
		return value{}, errors.New("it is not JSON: it is not valid UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		if bad, ok := errors.AsType[*json.SyntaxError](err); ok && len(data) > 0 {
			return value{}, fmt.Errorf("it is not JSON: byte %d of %d does not belong there, or something is missing", bad.Offset, len(data))
		}
		return value{}, errors.New("it is not JSON: it is empty")
	}
	d := decoder{data: data, tokens: json.NewDecoder(bytes.NewReader(data))}
	d.tokens.UseNumber()
	return d.value(0)
}

// decoder of what is known to be JSON.
type decoder struct {
	data   []byte
	tokens *json.Decoder
}

func (d *decoder) value(depth int) (v value, err error) {
	if depth > maxDepth {
		return v, fmt.Errorf("more than %d arrays and objects are around a value", maxDepth)
	}
	from := d.tokens.InputOffset()
	t, err := d.tokens.Token()
	if err != nil {
		return v, err
	}
	switch t := t.(type) {
	case nil:
		v.plain = "null"
	case bool:
		v.sort, v.plain = boolean, strconv.FormatBool(t)
	case json.Number:
		v.sort = number
		v.plain, err = canonical(t.String())
	case string:
		v.sort, v.plain = text, t
	case json.Delim:
		if v.sort = array; t == '{' {
			v.sort = object
		}
		err = d.within(&v, depth)
	}
	if err != nil {
		return v, err
	}
	v.raw = bytes.TrimLeft(d.data[from:d.tokens.InputOffset()], " \t\r\n,:")
	return v, nil
}

// within reads what an array or an object has, to its end.
func (d *decoder) within(v *value, depth int) error {
	for d.tokens.More() {
		if v.sort == array {
			e, err := d.value(depth + 1)
			if err != nil {
				return err
			}
			v.list = append(v.list, e)
			continue
		}
		t, err := d.tokens.Token()
		if err != nil {
			return err
		}
		m := member{name: t.(string)} // or there would be an error
		if m.value, err = d.value(depth + 1); err != nil {
			return err
		}
		v.members = append(v.members, m)
	}
	if _, err := d.tokens.Token(); err != nil {
		return err
	}
	slices.SortStableFunc(v.members, func(a, b member) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(v.members); i++ {
		if v.members[i].name == v.members[i-1].name {
			return fmt.Errorf("%s stands twice in one object", quoted(v.members[i].name))
		}
	}
	return nil
}

// canonical form of a number: a whole number in full, any other one as the nearest 64-bit one in its shortest form.
func canonical(n string) (string, error) {
	if !strings.ContainsAny(n, ".eE") {
		if n == "-0" {
			return "0", nil
		}
		return n, nil
	}
	f, err := strconv.ParseFloat(n, 64)
	if err != nil {
		return "", errors.New("a number is beyond the range of 64-bit numbers")
	}
	if f == math.Trunc(f) && math.Abs(f) < 1e21 {
		return strconv.FormatFloat(f+0, 'f', -1, 64), nil // not -0
	}
	b, err := json.Marshal(f)
	return string(b), err
}

// append appends the canonical form: no spaces, members in order.
func (v *value) append(b []byte) []byte {
	switch v.sort {
	case text:
		return appendText(b, v.plain)
	case array:
		b = append(b, '[')
		for i := range v.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = v.list[i].append(b)
		}
		return append(b, ']')
	case object:
		b = append(b, '{')
		for i := range v.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, v.members[i].name), ':')
			b = v.members[i].append(b)
		}
		return append(b, '}')
	default:
		return append(b, v.plain...)
	}
}

func appendText(b []byte, s string) []byte {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // strings have no errors
	return append(b, bytes.TrimSuffix(w.Bytes(), []byte("\n"))...)
}

// quoted is a name in an error.
func quoted(name string) string {
	if len(name) > 80 {
		name = strings.ToValidUTF8(name[:80], "") + "…"
	}
	return strconv.Quote(name)
}
