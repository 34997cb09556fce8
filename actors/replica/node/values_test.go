package node_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
	"github.com/dapr-entities/entities/crdt"
)

func valuesOf(t *testing.T, m *member) *replica.Values {
	t.Helper()
	v, err := replica.NewValues(replica.ValuesConfig{Replicas: m})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func set(add, remove []string) *crdt.Update {
	keys := func(names []string) (list []crdt.Key) {
		for _, n := range names {
			list = append(list, crdt.MakeKey("t", []byte(n)))
		}
		return list
	}
	return &crdt.Update{Kind: crdt.ORSet, Added: keys(add), Removed: keys(remove)}
}

// Whoever comes writes to the same copy, at once, on two nodes; everything is there in the end, once.
func TestValues(t *testing.T) {
	t.Parallel()
	cells, h, ctx := memory.Open(), newHub(), t.Context()
	a, b := valuesOf(t, start(t, cells, h, "a", nil)), valuesOf(t, start(t, cells, h, "b", nil))
	ref := func(id string) actors.Ref { return actors.Ref{Service: "test", ID: id} }

	if u, err := a.Get(ctx, ref("none")); u != nil || err != nil {
		t.Errorf("what was never written is %v, %v", u, err)
	}
	if err := a.Delete(ctx, ref("none"), replica.Majority); err != nil {
		t.Error(err)
	}

	const writers, writes = 8, 25
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			v := []*replica.Values{a, b}[i%2]
			level := replica.Level(i / 2 % 3)
			for n := range writes {
				if err := v.Update(ctx, ref("count"), counter(2), level); err != nil {
					t.Errorf("counting: %v", err)
				}
				if err := v.Update(ctx, ref("set"), set([]string{fmt.Sprint(i, "-", n)}, nil), level); err != nil {
					t.Errorf("adding: %v", err)
				}
				if _, err := v.Get(ctx, ref("set")); err != nil {
					t.Errorf("reading: %v", err)
				}
			}
		})
	}
	all.Wait()
	for _, v := range []*replica.Values{a, b} {
		eventually(t, func() bool {
			count, err := v.Get(ctx, ref("count"))
			if err != nil {
				t.Fatal(err)
			}
			members, err := v.Get(ctx, ref("set"))
			if err != nil {
				t.Fatal(err)
			}
			return count.Increment == writers*writes*2 && len(members.Added) == writers*writes
		})
	}

	// A removal takes what this node knows, without having been shown it.
	if err := b.Update(ctx, ref("set"), set([]string{"x"}, []string{"0-0", "1-1"}), replica.All); err != nil {
		t.Fatal(err)
	}
	if u, err := a.Get(ctx, ref("set")); err != nil || len(u.Added) != writers*writes-1 {
		t.Errorf("%d elements, %v", len(u.Added), err)
	}

	// A deleted value is one that does not exist, everywhere, and can be of another kind afterwards.
	if err := a.Delete(ctx, ref("set"), replica.All); err != nil {
		t.Fatal(err)
	}
	for _, v := range []*replica.Values{a, b} {
		if u, err := v.Get(ctx, ref("set")); u != nil || err != nil {
			t.Errorf("after the deletion: %v, %v", u, err)
		}
	}
	if err := b.Update(ctx, ref("set"), counter(7), replica.All); err != nil {
		t.Fatal(err)
	}
	if u, err := a.Get(ctx, ref("set")); err != nil || u == nil || u.Increment != 7 {
		t.Errorf("afterwards: %v, %v", u, err)
	}
}

// Deletions and writes of the same value side by side never fail.
func TestValuesDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	cells, h, ctx := memory.Open(), newHub(), t.Context()
	nodes := []*replica.Values{valuesOf(t, start(t, cells, h, "a", nil)), valuesOf(t, start(t, cells, h, "b", nil))}
	ref := actors.Ref{Service: "test", ID: "x"}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for n := range 8 {
				v, err := nodes[i%2], error(nil)
				if i < 2 && n%3 == 0 {
					err = v.Delete(ctx, ref, replica.Local)
				} else {
					err = v.Update(ctx, ref, counter(1), replica.Local)
				}
				if err != nil {
					t.Error(err)
				}
				if _, err := v.Get(ctx, ref); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func TestValuesErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	m := start(t, memory.Open(), nil, "", func(c *node.Config) { c.Limits.Elements = 3 })
	v := valuesOf(t, m)
	ref := func(id string) actors.Ref { return actors.Ref{Service: "test", ID: id} }
	key := func(name string) crdt.Key { return crdt.MakeKey("t", []byte(name)) }
	put := func(name string, u *crdt.Update) *crdt.Update {
		return &crdt.Update{Kind: crdt.ORMap, Put: []crdt.Entry{{Key: key(name), Update: u}}}
	}
	for id, u := range map[string]*crdt.Update{
		"count": counter(math.MaxUint64), "set": set([]string{"a", "b"}, nil),
		"map": put("inner", put("counted", counter(1))),
	} {
		if err := v.Update(ctx, ref(id), u, replica.Local); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []struct {
		id   string
		u    *crdt.Update
		want actors.Code
	}{
		{"count", counter(1), actors.OutOfRange},
		{"count", set(nil, nil), actors.InvalidArgument},
		{"set", set([]string{"c", "d"}, nil), actors.ResourceExhausted},
		{"map", put("inner", counter(1)), actors.InvalidArgument},
		{"map", put("inner", put("counted", set([]string{"a"}, nil))), actors.InvalidArgument},
		{"new", &crdt.Update{}, actors.InvalidArgument},
		{"", counter(1), actors.InvalidArgument},
	} {
		if err := v.Update(ctx, ref(x.id), x.u, replica.Local); actors.CodeOf(err) != x.want {
			t.Errorf("%s: %v, want %v", x.id, err, x.want)
		}
	}
	// Nothing has changed, and what was removed in the same write does not count.
	for _, u := range []*crdt.Update{
		put("inner", put("counted", counter(1))),
		{Kind: crdt.ORMap, Removed: []crdt.Key{key("inner")}, Put: put("inner", counter(1)).Put},
		{Kind: crdt.ORMap, Cleared: true, Put: put("inner", set(nil, nil)).Put},
	} {
		if err := v.Update(ctx, ref("map"), u, replica.Local); err != nil {
			t.Error(err)
		}
	}

	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := v.Update(gone, ref("other"), counter(1), replica.Majority); err != nil && actors.CodeOf(err) != actors.Canceled {
		t.Error(err)
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Get(ctx, ref("late")); actors.CodeOf(err) != actors.Unavailable {
		t.Errorf("after the end: %v", err)
	}
	if _, err := replica.NewValues(replica.ValuesConfig{}); err == nil {
		t.Error("values of nothing")
	}
}

// A write waits for a node that has just begun, and not for ever.
func TestValuesWithoutSlot(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	r := &reluctant{fails: 3}
	v, err := replica.NewValues(replica.ValuesConfig{Replicas: r})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Update(ctx, actors.Ref{Service: "s", ID: "x"}, counter(1), replica.Local); err != nil || r.fails != 0 {
		t.Error(err, r.fails)
	}
	r.fails = math.MaxInt
	if v, err = replica.NewValues(replica.ValuesConfig{Replicas: r, Patience: 1}); err != nil {
		t.Fatal(err)
	}
	if err := v.Update(ctx, actors.Ref{Service: "s", ID: "x"}, counter(1), replica.Local); actors.CodeOf(err) != actors.Unavailable || !errors.Is(err, replica.ErrReadOnly) {
		t.Error(err)
	}
	r.fails, r.unconfirmed = 0, true
	if err := v.Update(ctx, actors.Ref{Service: "s", ID: "x"}, counter(1), replica.All); actors.CodeOf(err) != actors.DeadlineExceeded || !errors.Is(err, replica.ErrUnconfirmed) {
		t.Error(err)
	}
}

// reluctant is a node without a slot for so many writes.
type reluctant struct {
	replica.Replica
	fails       int
	unconfirmed bool
}

func (r *reluctant) Open(context.Context, actors.Ref, func()) (replica.Replica, error) { return r, nil }

func (r *reluctant) Close() {}

func (r *reluctant) Apply(_ *crdt.Update, _ replica.Level, done func(error)) error {
	switch {
	case r.fails > 0:
		r.fails--
		return fmt.Errorf("writing: %w", replica.ErrReadOnly)
	case r.unconfirmed:
		done(fmt.Errorf("writing: %w", replica.ErrUnconfirmed))
	default:
		done(nil)
	}
	return nil
}
