package replicated

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/sdk"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// keys decides by the first letter of a key.
func keys(key string) Data {
	switch key[:min(len(key), 1)] {
	case "c":
		return new(Counter)
	case "g":
		return new(GCounter)
	case "s":
		return new(Set[int])
	case "t":
		return new(GSet[string])
	case "r":
		return new(Register[string])
	case "f":
		return new(Flag)
	case "v":
		return new(Vote)
	case "m":
		return NewMap(keys)
	default:
		return nil
	}
}

// mutate does something to data of any type.
func mutate(t *rapid.T, data Data, deep int) {
	n := rapid.IntRange(0, 3).Draw(t, "n")
	switch d := data.(type) {
	case *Counter:
		d.Add(int64(n - 1))
	case *GCounter:
		d.Add(uint64(n))
	case *Set[int]:
		switch rapid.IntRange(0, 4).Draw(t, "set") {
		case 0:
			d.Clear()
		case 1:
			d.Remove(n)
		default:
			d.Add(n, n+1)
		}
	case *GSet[string]:
		d.Add(fmt.Sprint(n))
	case *Register[string]:
		d.Set(fmt.Sprint(n))
	case *Flag:
		d.Enable()
	case *Vote:
		d.Cast(n > 1)
	case *Map[string, Data]:
		key := rapid.SampledFrom([]string{"c", "s", "m", "m2", rapid.SampledFrom([]string{"g", "t", "r", "f", "v"}).Draw(t, "rare")}).Draw(t, "key")
		switch op := rapid.IntRange(0, 7).Draw(t, "map"); {
		case op == 0:
			d.Clear()
		case op == 1:
			d.Remove(key)
		case op == 2:
			d.At(key)
		case deep < 3:
			mutate(t, d.At(key), deep+1)
		}
	}
}

// What a turn did is what its delta says; and a turn that is taken back leaves nothing.
func TestTurns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]string{"c", "g", "s", "t", "r", "f", "v", "m", "m", "m", "m", "m"}).Draw(t, "kind")
		data, other := keys(kind), keys(kind)
		for range rapid.IntRange(1, 12).Draw(t, "turns") {
			before := data.value()
			for range rapid.IntRange(0, 10).Draw(t, "ops") {
				mutate(t, data, 0)
			}
			if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
				data.revert()
				if d := cmp.Diff(before, data.value(), protocmp.Transform()); d != "" {
					t.Fatalf("a turn that is taken back leaves %s", d)
				}
			}
			delta := data.delta()
			data.settle()
			if delta == nil {
				if d := cmp.Diff(before, data.value(), protocmp.Transform()); d != "" && kind != "r" {
					t.Fatalf("no delta for %s", d)
				}
				continue
			}
			if data.delta() != nil {
				t.Fatalf("a turn is said twice: %v", data.delta())
			}
			if err := other.apply(delta); err != nil {
				t.Fatal(err)
			}
			got, want := other.value(), data.value()
			forget(got)
			forget(want)
			if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
				t.Fatalf("after %v: %s", delta, d)
			}
			again := keys(kind)
			if err := again.apply(data.value()); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(data.value(), again.value(), protocmp.Transform()); d != "" {
				t.Fatalf("the whole value is not whole: %s", d)
			}
		}
	})
}

// forget what an entity does not say of votes.
func forget(d *pb.CrdtDelta) {
	if v := d.GetVote(); v != nil {
		v.VotesFor, v.TotalVoters = 0, 0
	}
	for _, e := range d.GetOrmap().GetAdded() {
		forget(e.GetDelta())
	}
}

func text(s string) *anypb.Any {
	a := &anypb.Any{TypeUrl: "p.cloudstate.io/string"}
	if s != "" {
		a.Value = append([]byte{0x0a, byte(len(s))}, s...)
	}
	return a
}

func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	number := &anypb.Any{TypeUrl: "p.cloudstate.io/int64"}
	tests := []struct {
		name  string
		data  Data
		delta *pb.CrdtDelta
	}{
		{"no kind", new(Counter), new(pb.CrdtDelta)},
		{"another kind", new(Counter), flagDelta(true)},
		{"an element of another type", new(Set[string]), setDelta(&pb.ORSetDelta{Added: []*anypb.Any{number}})},
		{"an element that is no message", new(Set[string]), setDelta(&pb.ORSetDelta{Added: []*anypb.Any{{TypeUrl: "p.cloudstate.io/string", Value: []byte{0xff}}}})},
		{"a missing element", new(GSet[string]), growDelta(&pb.GSetDelta{Added: []*anypb.Any{nil}})},
		{"a value of another type", new(Register[string]), &pb.CrdtDelta{Delta: &pb.CrdtDelta_Lwwregister{Lwwregister: &pb.LWWRegisterDelta{Value: number}}}},
		{"an entry that is not there", new(Map[string, *Counter]), mapDelta(&pb.ORMapDelta{Updated: []*pb.ORMapEntryDelta{{Key: text("a"), Delta: flagDelta(true)}}})},
		{"an entry of another kind", new(Map[string, *Counter]), mapDelta(&pb.ORMapDelta{Added: []*pb.ORMapEntryDelta{{Key: text("a"), Delta: flagDelta(true)}}})},
		{"an entry without a delta", new(Map[string, *Counter]), mapDelta(&pb.ORMapDelta{Added: []*pb.ORMapEntryDelta{{Key: text("a")}}})},
		{"a key of another type", new(Map[string, *Counter]), mapDelta(&pb.ORMapDelta{Added: []*pb.ORMapEntryDelta{{Key: number, Delta: new(Counter).value()}}})},
	}
	for _, test := range tests {
		if err := test.data.apply(test.delta); err == nil {
			t.Errorf("%s is applied", test.name)
		}
	}
	for _, kind := range []string{"c", "g", "s", "t", "r", "f", "v", "m"} {
		for _, other := range []string{"c", "g", "s", "t", "r", "f", "v", "m"} {
			if err := keys(kind).apply(keys(other).value()); (err == nil) != (kind == other) {
				t.Errorf("%s of %s: %v", other, kind, err)
			}
		}
	}
}

// caught runs f and returns what it panics with.
func caught(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	m := new(Map[string, *Counter])
	c := m.At("a")
	m.Remove("a")
	full := new(GCounter)
	full.Add(math.MaxUint64)
	low := new(Counter)
	low.Add(math.MinInt64)
	used := new(Counter)
	tests := map[string]struct {
		f    func()
		code sdk.Code
	}{
		"a removed entry":          {func() { c.Add(1) }, sdk.CodeUnknown},
		"overflow":                 {func() { full.Add(1) }, sdk.CodeOutOfRange},
		"underflow":                {func() { low.Add(-1) }, sdk.CodeOutOfRange},
		"an element without UTF-8": {func() { new(Set[string]).Add("\xff") }, sdk.CodeInvalidArgument},
		"a key without UTF-8":      {func() { m.At("\xff") }, sdk.CodeInvalidArgument},
		"a value without JSON":     {func() { new(Register[[]float64]).Set([]float64{math.NaN()}) }, sdk.CodeInvalidArgument},
		"a type without encoding":  {func() { new(Set[func()]).Add(nil) }, sdk.CodeUnknown},
		"an unknown typed key": {func() {
			NewMap(func(string) *Counter { return nil }).At("a")
		}, sdk.CodeUnknown},
		"an unknown key":             {func() { NewMap(keys).At("?") }, sdk.CodeUnknown},
		"a map that cannot make any": {func() { new(Map[string, Data]).At("a") }, sdk.CodeUnknown},
		"data that is in use": {func() {
			x := NewMap(func(string) *Counter { return used })
			x.At("a")
			x.At("b")
		}, sdk.CodeUnknown},
	}
	for name, test := range tests {
		err, ok := caught(test.f).(error)
		if !ok || sdk.CodeOf(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if full.Value() != math.MaxUint64 || low.Value() != math.MinInt64 || m.Len() != 0 {
		t.Error("a refused change was made:", full.Value(), low.Value(), m.Len())
	}
}

// user has gained a field since others wrote elements of it.
type user struct {
	Name string `json:"name"`
	Age  int    `json:"age"`
}

func TestOtherSpellings(t *testing.T) {
	t.Parallel()
	old := &anypb.Any{TypeUrl: "json.cloudstate.io/element", Value: []byte("\x0a\x0e{\"name\":\"Ada\"}")}
	apply := func(s *Set[user]) {
		t.Helper()
		if err := s.apply(setDelta(&pb.ORSetDelta{Added: []*anypb.Any{old}})); err != nil {
			t.Fatal(err)
		}
	}
	s := new(Set[user])
	apply(s)
	s.Add(user{Name: "Ada"})
	if !s.Has(user{Name: "Ada"}) || s.Len() != 1 || s.delta() != nil {
		t.Errorf("an old spelling is not known: %v, %v", slices.Collect(s.All()), s.delta())
	}
	s.Remove(user{Name: "Ada"})
	if want := setDelta(&pb.ORSetDelta{Removed: []*anypb.Any{old}}); !proto.Equal(s.delta(), want) || s.Len() != 0 {
		t.Errorf("removed %v", s.delta())
	}
	s.revert()
	if !s.Has(user{Name: "Ada"}) {
		t.Error("a removal is not taken back")
	}
	if err := s.apply(setDelta(&pb.ORSetDelta{Removed: []*anypb.Any{old}})); err != nil || s.Has(user{Name: "Ada"}) {
		t.Error("not removed by others:", err)
	}

	key := proto.CloneOf(old)
	key.TypeUrl = "json.cloudstate.io/key"
	m := new(Map[user, *Counter])
	if err := m.apply(mapDelta(&pb.ORMapDelta{Added: []*pb.ORMapEntryDelta{{Key: key, Delta: new(Counter).value()}}})); err != nil {
		t.Fatal(err)
	}
	m.At(user{Name: "Ada"}).Add(1)
	if got := m.delta().GetOrmap(); len(got.GetAdded()) != 0 || !proto.Equal(got.GetUpdated()[0].GetKey(), key) {
		t.Errorf("an old spelling is not known: %v", got)
	}
}

// Entries that this program does not know are kept out of sight, and not in the way.
func TestHiddenEntries(t *testing.T) {
	t.Parallel()
	m := NewMap(keys)
	added := mapDelta(&pb.ORMapDelta{Added: []*pb.ORMapEntryDelta{{Key: text("?"), Delta: flagDelta(true)}, {Key: text("c"), Delta: new(Counter).value()}}})
	updated := mapDelta(&pb.ORMapDelta{Updated: []*pb.ORMapEntryDelta{{Key: text("?"), Delta: flagDelta(true)}}})
	removed := mapDelta(&pb.ORMapDelta{Removed: []*anypb.Any{text("?")}})
	for _, d := range []*pb.CrdtDelta{added, updated} {
		if err := m.apply(d); err != nil {
			t.Fatal(err)
		}
	}
	if got := slices.Collect(maps.Keys(maps.Collect(m.All()))); m.Len() != 1 || m.Has("?") || !slices.Equal(got, []string{"c"}) {
		t.Errorf("there are %v", got)
	}
	if err := m.apply(removed); err != nil {
		t.Fatal(err)
	}
	if err := m.apply(updated); err == nil {
		t.Error("what was removed is updated")
	}
}

func TestLoopsMayChange(t *testing.T) {
	t.Parallel()
	var s Set[int]
	s.Add(3, 1, 2)
	var got []int
	for e := range s.All() {
		got = append(got, e)
		s.Remove(2)
		s.Add(4)
	}
	if !slices.Equal(got, []int{1, 3}) || !slices.Equal(slices.Collect(s.All()), []int{1, 3, 4}) {
		t.Error(got, slices.Collect(s.All()))
	}
	var m Map[string, *Counter]
	m.At("a")
	m.At("b")
	for k := range m.All() {
		m.Remove("b")
		m.At(k + "2")
	}
	if got := slices.Sorted(maps.Keys(maps.Collect(m.All()))); !slices.Equal(got, []string{"a", "a2"}) {
		t.Error(got)
	}
	for range s.All() {
		break
	}
	for range m.All() {
		break
	}
}

// lossy hides something from others.
type lossy struct{ ID, Note string }

func (l lossy) MarshalText() ([]byte, error)     { return []byte(l.ID), nil }
func (l *lossy) UnmarshalText(text []byte) error { l.ID = string(text); return nil }

// All nodes see the same of an element, the one that added it included.
func TestElementsAreWhatOthersSee(t *testing.T) {
	t.Parallel()
	var s Set[lossy]
	s.Add(lossy{"1", "mine"})
	m := new(Map[lossy, *Counter])
	m.At(lossy{"1", "mine"})
	for key := range m.All() {
		if e := slices.Collect(s.All())[0]; e.Note != "" || key.Note != "" || !s.Has(lossy{"1", "other"}) {
			t.Errorf("there are %v and %v", e, key)
		}
	}
}

// What others hold of an element must not change it.
func TestElementsAreCopies(t *testing.T) {
	t.Parallel()
	var s Set[[]byte]
	mine := []byte("a")
	s.Add(mine)
	mine[0] = 'x'
	for e := range s.All() {
		e[0] = 'y'
	}
	if !s.Has([]byte("a")) || string(slices.Collect(s.All())[0]) != "a" {
		t.Error("an element was changed from outside")
	}
	var r Register[[]string]
	list := []string{"a"}
	r.Set(list)
	list[0], r.Value()[0] = "x", "y"
	if r.Value()[0] != "a" {
		t.Error("a value was changed from outside")
	}
}

var errSecond = errors.New("second")

func TestGuard(t *testing.T) {
	t.Parallel()
	g := new(guard)
	m := new(Map[string, *Map[string, *Set[int]]])
	m.place().guard = g
	g.open = true
	s := m.At("a").At("b")
	s.Add(1)
	g.open = false
	for name, f := range map[string]func(){
		"Add": func() { s.Add(2) }, "Remove": func() { s.Remove(1) }, "Clear": func() { m.Clear() }, "At": func() { m.At("c") },
	} {
		if caught(f) == nil {
			t.Errorf("%s outside of a turn", name)
		}
	}
	if g.refused == nil {
		t.Error("the turn would not know")
	}
	if s.Len() != 1 || m.Len() != 1 {
		t.Error("changed outside of a turn")
	}
	g.refused = errSecond
	caught(func() { s.Add(2) })
	if !errors.Is(g.refused, errSecond) {
		t.Error("the first refusal is lost")
	}
}
