package daprstate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/daprstate"
	"github.com/dapr-entities/entities/actors/journal/daprstate/daprstatetest"
)

// deciding dies at the save that decides over a transaction.
type deciding struct {
	*mortal
	through bool // whether that save still gets through
}

func (d deciding) Save(ctx context.Context, item daprstate.Item) error {
	if !strings.Contains(item.Key, "/t/") {
		return d.mortal.Save(ctx, item)
	}
	if !d.through {
		d.left.Store(0)
	}
	defer d.left.Store(0)
	return d.mortal.Save(ctx, item)
}

// TestAbandonedTransaction has a process die before or after the save that decides over its transaction. Others see both
// sides of it or none, at once, and can go on with the streams.
func TestAbandonedTransaction(t *testing.T) {
	t.Parallel()
	for _, decided := range []bool{false, true} {
		t.Run(fmt.Sprint("decided ", decided), func(t *testing.T) {
			t.Parallel()
			store := daprstatetest.New()
			way := &mortal{Store: store}
			way.left.Store(1 << 40)
			dying, err := daprstate.New(daprstate.Config{Store: deciding{way, decided}, Timeout: 100 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			a, b := actors.Ref{Service: "s", ID: "a"}, actors.Ref{Service: "s", ID: "b"}
			one := func(ref actors.Ref, command string) journal.Append {
				return journal.Append{Ref: ref, Expected: journal.AnySequence, Command: command, Events: []journal.Event{{Name: command}}}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			for _, r := range dying.Append(ctx, []journal.Append{one(a, "before"), one(b, "before")}) {
				if r.Status != journal.Committed {
					t.Fatalf("before: %+v", r)
				}
			}
			for _, r := range dying.Transact(ctx, []journal.Append{one(a, "both"), one(b, "both")}) {
				if r.Status != journal.Unknown && (!decided || r.Status != journal.Committed) {
					t.Errorf("the transaction of the one who died: %+v", r)
				}
			}
			if err := dying.Close(); err != nil {
				t.Fatal(err)
			}

			j := openIn(t, store)
			defer j.Close()
			want := int64(1)
			if decided {
				want = 2
			}
			checked, err := j.Heads(ctx, []journal.Check{{Ref: a}, {Ref: b}})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range checked {
				if c.Head.Sequence != want {
					t.Errorf("a reader sees %+v, want %d", c.Head, want)
				}
			}
			if r := j.Append(ctx, []journal.Append{one(a, "after")})[0]; r.Status != journal.Committed || r.Head.Sequence != want+1 {
				t.Errorf("after: %+v", r)
			}
			// b is left as it is, with an intent that has come to nothing.
			if checked, err = j.Heads(ctx, []journal.Check{{Ref: b}}); err != nil || checked[0].Head.Sequence != want {
				t.Errorf("a reader sees %+v, %v, want %d", checked[0].Head, err, want)
			}
			r := j.Transact(ctx, []journal.Append{one(b, "later"), one(a, "later")})
			if r[0].Status != journal.Committed || r[0].Head.Sequence != want+1 || r[1].Head.Sequence != want+2 {
				t.Errorf("a transaction after: %+v", r)
			}
		})
	}
}
