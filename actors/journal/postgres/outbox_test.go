package postgres_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

func effect(id, key string) actors.Effect {
	return actors.Effect{Ref: actors.Ref{Service: "mail", ID: "x"}, Method: "Send", ID: id, Key: key}
}

func lanes() []int {
	all := make([]int, journal.Lanes)
	for i := range all {
		all[i] = i
	}
	return all
}

// due returns the ids of the effects that are due.
func due(t *testing.T, j journal.Outbox) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	pending, err := j.Due(ctx, lanes(), 0)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(pending))
	for i, p := range pending {
		ids[i] = p.ID
	}
	return ids
}

// TestLostReplyOfAChange loses what a change of the outbox or of a cell is answered. Done again it has been done once.
func TestLostReplyOfAChange(t *testing.T) {
	t.Parallel()
	source := actors.Ref{Service: "action", ID: "e1"}
	for _, test := range []struct {
		name   string
		match  string
		change func(ctx context.Context, j kept) error
		// arrived says whether it has taken effect, and checks that it has done so once.
		arrived func(t *testing.T, j kept) bool
		again   error
	}{
		{"enqueue", "INSERT INTO \"odd \"\"name\"\"\".effects", func(ctx context.Context, j kept) error {
			return j.Enqueue(ctx, source, []actors.Effect{effect("e1", "k"), effect("e2", "")})
		}, func(t *testing.T, j kept) bool {
			ids := due(t, j)
			if len(ids) != 1 && (len(ids) != 3 || ids[1] != "e1" || ids[2] != "e2") {
				t.Errorf("effects %v", ids)
			}
			return len(ids) == 3
		}, nil},
		{"settle", "UPDATE \"odd \"\"name\"\"\".effects", func(ctx context.Context, j kept) error {
			return j.Settle(ctx, []journal.Settlement{{ID: "first", Verdict: journal.Done}})
		}, func(t *testing.T, j kept) bool { return len(due(t, j)) == 0 }, nil},
		{"put", "INSERT INTO \"odd \"\"name\"\"\".cells", func(ctx context.Context, j kept) error {
			_, err := j.Put(ctx, journal.Cell{Key: "test/a", Value: []byte("v")})
			return err
		}, func(t *testing.T, j kept) bool {
			c, err := j.Cell(t.Context(), "test/a")
			if err != nil {
				t.Fatal(err)
			}
			return string(c.Value) == "v"
		}, journal.ErrConflict},
	} {
		for _, how := range []loss{lossFIN, lossRST, lossBlackhole, lossLate, lossRequest} {
			t.Run(test.name+"/"+string(how), func(t *testing.T) {
				t.Parallel()
				p, through := behind(t)
				j := openAt(t, through).(kept)
				t.Cleanup(func() { j.Close() })
				if err := j.Enqueue(t.Context(), actors.Ref{Service: "action", ID: "first"}, []actors.Effect{effect("first", "")}); err != nil {
					t.Fatal(err)
				}
				p.lose(test.match, how)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				err := test.change(ctx, j)
				if p.hits() != 1 || (err == nil) != (how == lossLate) || errors.Is(err, journal.ErrConflict) {
					t.Errorf("%d hits, %v", p.hits(), err)
				}
				if arrived := test.arrived(t, j); arrived != (how != lossRequest) {
					t.Errorf("has taken effect: %v", arrived)
				}
				close(p.release)
				for how == lossRequest && !test.arrived(t, j) {
					time.Sleep(10 * time.Millisecond)
				}
				if err := test.change(t.Context(), j); !errors.Is(err, test.again) {
					t.Errorf("again: %v, want %v", err, test.again)
				}
				if !test.arrived(t, j) {
					t.Error("again, and it has not taken effect")
				}
			})
		}
	}
}
