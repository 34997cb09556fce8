package daprstate_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/daprstate"
	"github.com/dapr-entities/entities/actors/journal/daprstate/daprstatetest"
)

// lax is a store that does not compare in one way or another.
type lax struct {
	*daprstatetest.Store
	creates, replaces, forgets bool
}

func (s lax) Save(ctx context.Context, item daprstate.Item) error {
	if s.creates && item.ETag == "" || s.replaces && item.ETag != "" {
		return s.Put(ctx, []daprstate.Item{item})
	}
	return s.Store.Save(ctx, item)
}

func (s lax) Get(ctx context.Context, keys []string) ([]daprstate.Item, error) {
	items, err := s.Store.Get(ctx, keys)
	for i := range items {
		if s.forgets {
			items[i].ETag = ""
		}
	}
	return items, err
}

// A store in which the second of two writers is heard, or which shows no ETags, is refused before anything is kept in it.
func TestRefusedStores(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		store lax
		want  string
	}{
		"replaces what must not be there": {lax{creates: true}, "does not keep the first of two writers"},
		"ignores the ETag":                {lax{replaces: true}, "lets a write pass whose ETag is out of date"},
		"has no ETags":                    {lax{forgets: true}, "has no ETags"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.store.Store = daprstatetest.New()
			j, err := daprstate.New(daprstate.Config{Store: test.store})
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			for range 2 {
				if err := j.Ping(t.Context()); !errors.Is(err, journal.ErrUnavailable) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("ping: %v, want %s", err, test.want)
				}
			}
			a := journal.Append{Ref: actors.Ref{Service: "s", ID: "i"}, Command: "c", Events: []journal.Event{{}}}
			if r := j.Append(t.Context(), []journal.Append{a})[0]; r.Status != journal.Refused || !errors.Is(r.Err, journal.ErrUnavailable) {
				t.Errorf("append: %+v", r)
			}
		})
	}
}

// What a store says of itself is asked for again until it is good: the sidecar may not be up yet.
func TestStoreComesLater(t *testing.T) {
	t.Parallel()
	store := daprstatetest.New()
	store.Refuse(errors.New("the sidecar is not there"))
	j := openIn(t, store)
	defer j.Close()
	if reads, writes := store.Calls(); reads+writes > 0 {
		t.Errorf("making a journal reads %d and writes %d times", reads, writes)
	}
	if err := j.Ping(t.Context()); !errors.Is(err, journal.ErrUnavailable) || !strings.Contains(err.Error(), "the sidecar is not there") {
		t.Errorf("ping: %v", err)
	}
	store.Refuse(nil)
	if err := j.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := daprstate.New(daprstate.Config{Prefix: "a||b", Parallel: -1, MaxOpen: 5000})
	for _, want := range []string{"there is no state store", `the prefix "a||b"`, "cannot be negative", "5000 open streams"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say: %s", err, want)
		}
	}
}

// A source that has more effects than a head can hold is told so, and loses nothing.
func TestTooManyEffects(t *testing.T) {
	t.Parallel()
	j := open(t)
	defer j.Close()
	source := actors.Ref{Service: "s", ID: "i"}
	kept := 0
	for batch := 0; ; batch++ {
		var effects []actors.Effect
		for n := range 400 {
			effects = append(effects, actors.Effect{
				ID: strings.Repeat("x", 100) + string(rune('A'+batch)) + string(rune(0x4e00+n)), Ref: actors.Ref{Service: "t"},
				Payload: actors.Payload{Data: make([]byte, 800)},
			})
		}
		err := j.Enqueue(t.Context(), source, effects)
		if errors.Is(err, journal.ErrFull) {
			break
		}
		if err != nil || batch > 20 {
			t.Fatalf("batch %d: %v", batch, err)
		}
		kept += len(effects)
	}
	list, err := j.Due(t.Context(), nil, []int{journal.Lane(source)}, 0)
	if err != nil || len(list) != kept || kept < 1000 {
		t.Errorf("%d effects are due, %d were kept, %v", len(list), kept, err)
	}
	a := journal.Append{Ref: source, Command: "c", Events: []journal.Event{{}}}
	if r := j.Append(t.Context(), []journal.Append{a})[0]; r.Status != journal.Committed && !errors.Is(r.Err, journal.ErrFull) {
		t.Errorf("append: %+v", r)
	}
}
