package sdktest

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
)

// difference says where two states of one type first differ, or "". The text has one %s verb, for the name of the
// second. An empty slice or map equals a nil one: encodings do not tell them apart.
func difference(live, other any) string {
	d := walk(reflect.ValueOf(live), reflect.ValueOf(other), "state", map[[2]uintptr]bool{})
	return d
}

func walk(a, b reflect.Value, path string, seen map[[2]uintptr]bool) string {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return differs(a, b, path)
	}
	if !a.IsValid() {
		return ""
	}
	if a.CanInterface() {
		switch x := a.Interface().(type) {
		case proto.Message:
			if !proto.Equal(x, b.Interface().(proto.Message)) {
				return differs(a, b, path)
			}
			return ""
		case time.Time:
			if !x.Equal(b.Interface().(time.Time)) {
				return differs(a, b, path)
			}
			return ""
		}
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return differs(a, b, path)
			}
			return ""
		}
		pair := [2]uintptr{a.Pointer(), b.Pointer()}
		if seen[pair] {
			return ""
		}
		seen[pair] = true
		return walk(a.Elem(), b.Elem(), path, seen)
	case reflect.Interface:
		return walk(a.Elem(), b.Elem(), path, seen)
	case reflect.Struct:
		for i := range a.NumField() {
			name := a.Type().Field(i).Name
			if d := walk(a.Field(i), b.Field(i), path+"."+escape(name), seen); d != "" {
				return d
			}
		}
		return ""
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return fmt.Sprintf("%s has %d elements, %%s %d", path, a.Len(), b.Len())
		}
		for i := range a.Len() {
			if d := walk(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i), seen); d != "" {
				return d
			}
		}
		return ""
	case reflect.Map:
		for _, k := range a.MapKeys() {
			if d := walk(a.MapIndex(k), b.MapIndex(k), fmt.Sprintf("%s[%s]", path, escape(fmt.Sprint(k))), seen); d != "" {
				return d
			}
		}
		for _, k := range b.MapKeys() {
			if !a.MapIndex(k).IsValid() {
				return differs(reflect.Value{}, b.MapIndex(k), fmt.Sprintf("%s[%s]", path, escape(fmt.Sprint(k))))
			}
		}
		return ""
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return ""
	default:
		if !a.Equal(b) && !(a.CanFloat() && a.Float() != a.Float() && b.Float() != b.Float()) {
			return differs(a, b, path)
		}
		return ""
	}
}

func differs(a, b reflect.Value, path string) string {
	return fmt.Sprintf("%s is %s, %%s %s", path, escape(show(a)), escape(show(b)))
}

func show(v reflect.Value) string {
	switch {
	case !v.IsValid():
		return "missing"
	case v.Kind() == reflect.String:
		return fmt.Sprintf("%q", v.String())
	default:
		return fmt.Sprintf("%+v", v)
	}
}

func escape(s string) string { return strings.ReplaceAll(s, "%", "%%") }
