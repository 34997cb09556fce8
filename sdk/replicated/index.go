package replicated

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/codec"
)

// The names of JSON elements, keys and values. They are part of what makes one differ from another.
const (
	elementName = "element"
	keyName     = "key"
	valueName   = "value"
)

// index is what is in a set or a map, by its encoding. The zero index is empty.
type index[T any] struct {
	at map[codec.Raw]T
	// spelt has for our encoding of a value those by others, or by older programs, that are there and differ from ours.
	spelt map[codec.Raw][]codec.Raw
	// ours has our encoding for each of them.
	ours map[codec.Raw]codec.Raw
	// order is nil unless it has been asked for since the last change.
	order []codec.Raw
}

// find looks for a value by our encoding of it.
func (x *index[T]) find(ours codec.Raw) (raw codec.Raw, v T, ok bool) {
	if v, ok = x.at[ours]; ok {
		return ours, v, true
	}
	for _, raw := range x.spelt[ours] {
		return raw, x.at[raw], true
	}
	return ours, v, false
}

func (x *index[T]) put(raw, ours codec.Raw, v T) {
	if x.at == nil {
		x.at = make(map[codec.Raw]T)
	}
	if _, there := x.at[raw]; raw != ours && !there {
		if x.spelt == nil {
			x.spelt, x.ours = make(map[codec.Raw][]codec.Raw), make(map[codec.Raw]codec.Raw)
		}
		x.spelt[ours], x.ours[raw] = append(x.spelt[ours], raw), ours
	}
	x.at[raw], x.order = v, nil
}

func (x *index[T]) drop(raw codec.Raw) {
	delete(x.at, raw)
	x.order = nil
	if ours, ok := x.ours[raw]; ok {
		delete(x.ours, raw)
		others := slices.DeleteFunc(x.spelt[ours], func(r codec.Raw) bool { return r == raw })
		if x.spelt[ours] = others; len(others) == 0 {
			delete(x.spelt, ours)
		}
	}
}

// sorted are the encodings in order. The slice is not changed later.
func (x *index[T]) sorted(compare func(a, b codec.Raw) int) []codec.Raw {
	if x.order == nil {
		x.order = slices.SortedFunc(maps.Keys(x.at), compare)
	}
	return x.order
}

// payloads of the keys, in order.
func payloads[T any](m map[codec.Raw]T, compare func(a, b codec.Raw) int) []*anypb.Any {
	var out []*anypb.Any
	for _, raw := range slices.SortedFunc(maps.Keys(m), compare) {
		out = append(out, raw.Any())
	}
	return out
}

// respell decodes a payload, and encodes it again as we do.
func respell[E any](c *codec.Element[E], raw codec.Raw) (ours codec.Raw, v E, err error) {
	if v, err = c.Decode(raw); err == nil {
		ours, err = c.Encode(v)
	}
	return ours, v, err
}
