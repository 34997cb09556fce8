package codec

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
)

// lossless refuses types of which encoding/json would silently leave something out, or which it cannot encode at all:
// what is not in the text is gone after the next replay.
func lossless(t reflect.Type) error {
	err, ok := checked.Load(t)
	if !ok {
		err, _ = checked.LoadOrStore(t, verdict{check(t, t.String(), map[reflect.Type]bool{})})
	}
	return err.(verdict).error
}

// checked remembers verdicts by type, because callers ask for every call.
var checked sync.Map

type verdict struct{ error }

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func check(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] {
		return nil
	}
	seen[t] = true
	if p := reflect.PointerTo(t); p.Implements(jsonMarshaler) || p.Implements(textMarshaler) {
		return nil
	}
	switch t.Kind() {
	case reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.UnsafePointer, reflect.Uintptr:
		return fmt.Errorf("%s has the type %v, which JSON cannot hold", path, t)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return check(t.Elem(), path, seen)
	case reflect.Map:
		return check(t.Elem(), path+"[]", seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if f.Name == "_" || f.Tag.Get("json") == "-" {
				continue
			}
			if !f.IsExported() && !(f.Anonymous && structOf(f.Type)) {
				return fmt.Errorf("%s.%s is unexported, so JSON would lose it: export it, leave it out by `json:\"-\"`, "+
					"or give %v a MarshalJSON and an UnmarshalJSON", path, f.Name, t)
			}
			if err := check(f.Type, path+"."+f.Name, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// structOf: the exported fields of an embedded struct are encoded even if its type is unexported.
func structOf(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}
