package crdttest

import (
	"maps"
	"slices"
	"strconv"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/crdt"
)

// Kinds are all there are.
var Kinds = []crdt.Kind{
	crdt.GCounter, crdt.PNCounter, crdt.GSet, crdt.ORSet, crdt.LWWRegister, crdt.Flag, crdt.ORMap, crdt.Vote,
}

// Depth is how deep the suite nests maps: a map in a map in a map.
const Depth = 3

// TypeURL is what most elements have for a type.
const TypeURL = "type.googleapis.com/test.Element"

// Element returns a key for tests.
func Element(value string) crdt.Key { return crdt.MakeKey(TypeURL, []byte(value)) }

// DrawUpdate draws what a user function with the value p may say to change it. Elements, keys and clocks are few, so that
// replicas get into each other's way.
func DrawUpdate(t *rapid.T, k crdt.Kind, p *Plain) *crdt.Update {
	return drawUpdate(t, k, p, Depth)
}

func drawUpdate(t *rapid.T, k crdt.Kind, p *Plain, depth int) *crdt.Update {
	u := &crdt.Update{Kind: k}

	switch k {
	case crdt.GCounter:
		u.Increment = rapid.Uint64Range(1, 9).Draw(t, "increment")
	case crdt.PNCounter:
		u.Change = rapid.Int64Range(-9, 9).Draw(t, "change")
	case crdt.GSet:
		u.Added = drawKeys(t, "added", elements, 0, 2)
	case crdt.ORSet:
		drawSet(t, u, p)
	case crdt.LWWRegister:
		u.Value = Element(strconv.Itoa(rapid.IntRange(0, 5).Draw(t, "value")))
		u.Clock = rapid.SampledFrom([]crdt.Clock{
			crdt.ClockDefault, crdt.ClockReverse, crdt.ClockCustom, crdt.ClockAutoIncrement,
		}).Draw(t, "clock")
		if u.Clock == crdt.ClockCustom || u.Clock == crdt.ClockAutoIncrement {
			u.Custom = rapid.Int64Range(-2, 4).Draw(t, "custom")
		}
	case crdt.Flag:
		u.On = rapid.Bool().Draw(t, "on")
	case crdt.ORMap:
		drawMap(t, u, p, depth)
	case crdt.Vote:
		u.Self = rapid.Bool().Draw(t, "self")
	}

	return u
}

var (
	// The same bytes with another type are another element.
	elements = []crdt.Key{Element("x"), Element("y"), crdt.MakeKey("other", []byte("x")), {}}
	mapKeys  = []crdt.Key{Element("k"), Element("l"), crdt.MakeKey("", []byte("k"))}
)

func drawKeys(t *rapid.T, label string, from []crdt.Key, least, most int) []crdt.Key {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(from), least, most, rapid.ID[crdt.Key]).Draw(t, label)
}

func drawSet(t *rapid.T, u *crdt.Update, p *Plain) {
	u.Cleared = rapid.IntRange(0, 9).Draw(t, "clear") == 9
	if len(p.Elements) > 0 && !u.Cleared {
		u.Removed = drawKeys(t, "removed", sorted(p.Elements), 0, len(p.Elements))
	}
	if len(u.Removed) == 0 || rapid.Bool().Draw(t, "add too") {
		u.Added = drawKeys(t, "added", elements, 0, 2)
	}
}

func drawMap(t *rapid.T, u *crdt.Update, p *Plain, depth int) {
	entries := maps.Clone(p.Entries)

	u.Cleared = rapid.IntRange(0, 19).Draw(t, "clear") == 19
	if u.Cleared {
		clear(entries)
	}
	if len(entries) > 0 && rapid.IntRange(0, 2).Draw(t, "remove") == 2 {
		u.Removed = drawKeys(t, "removed", sorted(entries), 1, 1)
		delete(entries, u.Removed[0])
	}
	if len(entries) > 0 && rapid.IntRange(0, 2).Draw(t, "change") < 2 {
		for _, key := range drawKeys(t, "changed", sorted(entries), 1, 2) {
			nested := entries[key]
			u.Changed = append(u.Changed, crdt.Entry{Key: key, Update: drawUpdate(t, nested.Kind, nested, depth-1)})
		}
	}
	if len(u.Changed) > 0 || len(u.Removed) > 0 && rapid.Bool().Draw(t, "remove only") {
		return
	}
	for _, key := range drawKeys(t, "put", mapKeys, 1, 2) {
		nested := entries[key]
		if nested == nil {
			kinds := Kinds
			if depth <= 1 {
				kinds = slices.DeleteFunc(slices.Clone(Kinds), func(k crdt.Kind) bool { return k == crdt.ORMap })
			}
			nested = NewPlain(rapid.SampledFrom(kinds).Draw(t, "kind"))
		}
		u.Put = append(u.Put, crdt.Entry{Key: key, Update: drawNew(t, nested, depth-1)})
	}
}

// drawNew draws what an entry is put with, which may be nothing but its kind. It is merged into what is there.
func drawNew(t *rapid.T, p *Plain, depth int) *crdt.Update {
	if rapid.IntRange(0, 3).Draw(t, "empty") == 0 {
		return &crdt.Update{Kind: p.Kind}
	}

	u := drawUpdate(t, p.Kind, p, depth)
	u.Cleared = u.Cleared && len(p.Elements)+len(p.Entries) > 0

	return u
}

// sorted so that rapid, which remembers choices, chooses the same again.
func sorted[V any](m map[crdt.Key]V) []crdt.Key {
	return slices.SortedFunc(maps.Keys(m), compareKeys)
}

func compareKeys(a, b crdt.Key) int {
	x, y := name(a), name(b)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	default:
		return 0
	}
}
