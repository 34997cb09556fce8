package daprstate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/daprstate"
	"github.com/dapr-entities/entities/actors/journal/daprstate/daprstatetest"
)

// busy is a store in which something happens between two readings of one caller.
type busy struct {
	*daprstatetest.Store
	mu      sync.Mutex
	after   int // so many more
	between func()
}

func (b *busy) Get(ctx context.Context, keys []string) ([]daprstate.Item, error) {
	items, err := b.Store.Get(ctx, keys)
	b.mu.Lock()
	defer b.mu.Unlock()
	if happens := b.between; happens != nil {
		if b.after--; b.after < 0 {
			b.between = nil
			happens()
		}
	}
	return items, err
}

// happen is told what happens after so many more readings.
func (b *busy) happen(after int, between func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.after, b.between = after, between
}

func (b *busy) happened() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.between == nil
}

// What a head calls the last event was taken for forgotten, or damaged, when the stream went on before that event was read.
func TestLastOfAStreamThatMoves(t *testing.T) {
	t.Parallel()
	ref := actors.Ref{Service: "shop.v1.ShoppingCart", ID: "a"}
	for _, size := range []int{1, 100_000} {
		for name, test := range map[string]struct {
			meanwhile func(journal.Journal) error
			want      string
		}{
			"goes on and is forgotten": {func(j journal.Journal) error {
				appendOne(t, j, ref, 32, size)
				return j.(journal.Keeper).Forget(t.Context(), ref, 32, true)
			}, "a 33 with data"},
			"is forgotten": {func(j journal.Journal) error { return j.(journal.Keeper).Forget(t.Context(), ref, 32, true) }, "a 32"},
			"is erased":    {func(j journal.Journal) error { return j.(journal.Keeper).Erase(t.Context(), ref) }, "a 32"},
		} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				t.Parallel()
				store := &busy{Store: daprstatetest.New()}
				j, other := journalOn(t, store), journalOn(t, store.Store)
				for n := range int64(32) {
					appendOne(t, other, ref, n, size)
				}
				if _, err := j.Last(t.Context(), []actors.Ref{ref}); err != nil { // opens it
					t.Fatal(err)
				}
				store.happen(0, func() {
					if err := errors.Join(test.meanwhile(other), other.Close()); err != nil {
						t.Error(err)
					}
				})
				last, err := j.Last(t.Context(), []actors.Ref{ref})
				if err != nil {
					t.Fatal(err)
				}
				if !store.happened() {
					t.Fatal("nothing has happened meanwhile")
				}
				got := fmt.Sprint(last[0].Ref.ID, " ", last[0].Sequence)
				if len(last[0].Payload.Data) == size {
					got += " with data"
				}
				if before := "a 32 with data"; got != before && got != test.want {
					t.Errorf("it is %s, want %s as it was, or %s as it is", got, before, test.want)
				}
			})
		}
	}
}

// What is big is stored apart, and what was forgotten between the reading of the head and of it was taken for damaged.
func TestReadersOfWhatIsBeingForgotten(t *testing.T) {
	t.Parallel()
	ref := actors.Ref{Service: "shop.v1.ShoppingCart", ID: "a"}
	for name, read := range map[string]func(journal.Journal) (events []journal.Event, forgotten bool, err error){
		"read": func(j journal.Journal) (events []journal.Event, forgotten bool, err error) {
			for e, failed := range j.Read(t.Context(), ref, 0, 0) {
				switch _, forgotten = errors.AsType[*journal.ForgottenError](failed); {
				case forgotten:
				case failed != nil:
					return nil, false, failed
				default:
					events = append(events, e)
				}
			}
			return events, forgotten, nil
		},
		"tail": func(j journal.Journal) (events []journal.Event, forgotten bool, err error) {
			var at journal.Position
			for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				var more []journal.Event
				if more, at, err = j.Tail(t.Context(), []string{ref.Service}, at, 0); err != nil {
					return nil, false, err
				}
				if events = append(events, more...); len(events) > 0 && events[len(events)-1].Sequence == 5 {
					break
				}
			}
			return events, false, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			happened := 0
			for at := range 8 { // whichever of its readings that is
				store := &busy{Store: daprstatetest.New()}
				j, other := journalOn(t, store), journalOn(t, store.Store)
				for n := range int64(5) {
					appendOne(t, other, ref, n, 100_000)
				}
				if _, err := j.Last(t.Context(), []actors.Ref{ref}); err != nil {
					t.Fatal(err)
				}
				store.happen(at, func() {
					if err := errors.Join(other.(journal.Keeper).Forget(t.Context(), ref, 3, true), other.Close()); err != nil {
						t.Error(err)
					}
				})
				events, forgotten, err := read(j)
				if store.happened() {
					happened++
				}
				if err != nil {
					t.Errorf("forgotten after %d readings: %v", at, err)
				}
				if !forgotten && (len(events) == 0 || events[len(events)-1].Sequence != 5) {
					t.Errorf("forgotten after %d readings: %d events, and not those that are kept", at, len(events))
				}
				for i, e := range events {
					if len(e.Payload.Data) != 100_000 || i > 0 && e.Sequence <= events[i-1].Sequence {
						t.Errorf("forgotten after %d readings: event %d has %d bytes", at, e.Sequence, len(e.Payload.Data))
					}
				}
			}
			if happened < 2 {
				t.Errorf("something was forgotten %d times", happened)
			}
		})
	}
}

func journalOn(t *testing.T, store daprstate.Store) journal.Journal {
	j, err := daprstate.New(daprstate.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func appendOne(t *testing.T, j journal.Journal, ref actors.Ref, after int64, size int) {
	t.Helper()
	r := j.Append(t.Context(), []journal.Append{{
		Ref: ref, Expected: after, Command: fmt.Sprint(after),
		Events: []journal.Event{{Name: "n", Payload: actors.Payload{TypeURL: "t", Data: []byte(strings.Repeat("x", size))}}},
	}})[0]
	if r.Status != journal.Committed {
		t.Fatalf("append after %d: %+v", after, r)
	}
}
