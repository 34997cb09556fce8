package postgres_test

import (
	"context"
	"errors"
	"slices"
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
	pending, err := j.Due(ctx, nil, lanes(), 0)
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
		{"put each", "INSERT INTO \"odd \"\"name\"\"\".cells", func(ctx context.Context, j kept) error {
			results, err := j.PutEach(ctx, []journal.Cell{{Key: "test/b", Value: []byte("v")}, {Key: "test/a", Value: []byte("v")}})
			if err != nil {
				return err
			}
			return errors.Join(results[0].Err, results[1].Err)
		}, func(t *testing.T, j kept) bool {
			list, err := j.Cells(t.Context(), "test/", "", 0)
			if err != nil || len(list) != 0 && len(list) != 2 {
				t.Fatalf("%d cells, %v", len(list), err)
			}
			return len(list) == 2
		}, journal.ErrConflict},
		{"put deltas", "INSERT INTO \"odd \"\"name\"\"\".deltas", func(ctx context.Context, j kept) error {
			return j.PutDeltas(ctx, "g", 1, 1, [][]byte{[]byte("a"), []byte("b")})
		}, func(t *testing.T, j kept) bool {
			got := deltasOf(t, j, "g", nil)
			if len(got) != 0 && (len(got) != 2 || got[0] != "1/1:a" || got[1] != "1/2:b") {
				t.Errorf("deltas %v", got)
			}
			return len(got) == 2
		}, nil},
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

// TestBehind has effects wait behind one that is put off for an hour, in all the ways in which that hour can end early.
func TestBehind(t *testing.T) {
	t.Parallel()
	ref := actors.Ref{Service: "cart", ID: "a"}
	settle := func(verdict journal.Verdict, again time.Duration, ids ...string) func(kept) error {
		return func(j kept) error {
			var list []journal.Settlement
			for _, id := range ids {
				list = append(list, journal.Settlement{ID: id, Verdict: verdict, Again: again})
			}
			return j.Settle(context.Background(), list)
		}
	}
	keep := func(effects ...actors.Effect) func(kept) error {
		return func(j kept) error {
			a := item("a", journal.AnySequence, effects[0].ID, true)
			a.Effects = effects
			return j.Append(context.Background(), []journal.Append{a})[0].Err
		}
	}
	type step struct {
		do   func(kept) error
		want []string
	}
	all := []string{"e1", "e2", "e3"}
	rest := all[1:]
	for name, steps := range map[string][]step{
		"done":             {{settle(journal.Done, 0, "e1"), rest}},
		"sooner":           {{settle(journal.Postponed, 0, "e1"), all}, {settle(journal.Done, 0, "e1"), rest}},
		"parked":           {{settle(journal.Parked, 0, "e1"), rest}, {func(j kept) error { return j.Release(context.Background(), all) }, all}},
		"taken back":       {{keep(actors.Effect{ID: "c", Key: "k", Cancel: true}), rest}},
		"replaced":         {{keep(effect("e4", "k")), []string{"e2", "e3", "e4"}}},
		"one more":         {{keep(effect("e4", "")), nil}, {settle(journal.Done, 0, "e1"), []string{"e2", "e3", "e4"}}},
		"two put off":      {{settle(journal.Postponed, time.Hour, "e2"), nil}, {settle(journal.Done, 0, "e1"), nil}, {settle(journal.Done, 0, "e2"), all[2:]}},
		"two at once":      {{settle(journal.Postponed, time.Hour, "e3", "e1"), nil}, {settle(journal.Done, 0, "e1"), all[1:2]}},
		"two ended":        {{settle(journal.Postponed, time.Hour, "e2"), nil}, {settle(journal.Done, 0, "e2", "e1"), all[2:]}},
		"longer before it": {{settle(journal.Postponed, time.Hour, "e3"), nil}, {settle(journal.Postponed, 0, "e1"), all[:2]}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := open(t).(kept)
			t.Cleanup(func() { j.Close() })
			steps = append([]step{
				{keep(effect("e1", "k"), effect("e2", ""), effect("e3", "")), all},
				{settle(journal.Postponed, time.Hour, "e1"), nil},
			}, steps...)
			for n, s := range steps {
				if err := s.do(j); err != nil {
					t.Fatal(err)
				}
				if got := due(t, j); !slices.Equal(got, s.want) {
					t.Fatalf("after step %d of %s: %v are due, want %v", n, ref, got, s.want)
				}
			}
		})
	}
}
