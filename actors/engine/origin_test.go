package engine

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// An entity that was erased begins anew, behind the sequence that it had, also where it is in memory.
func TestErased(t *testing.T) {
	t.Parallel()
	for name, whole := range map[string]bool{"events": false, "whole": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, &bank{whole: whole}, func(c *Config) { c.MaxResident = 1 })
			r.Serve([]Service{{Name: bankService, Persistence: "bank", Function: r.bank, Whole: whole}})
			stream := actors.Ref{Service: "bank", ID: "a"}
			for range 3 {
				r.do(command("a", "add", 2))
			}
			for _, empty := range []bool{false, true, true} {
				if err := r.journal.Erase(t.Context(), stream); err != nil {
					t.Fatal(err)
				}
				if got := r.do(command("a", "get", 0)); got != 0 {
					t.Errorf("the balance is %d after all was erased", got)
				}
				if empty { // from what was erased, and not from memory
					r.DisownAll()
					r.vacate()
					if got := r.do(command("a", "get", 0)); got != 0 {
						t.Errorf("the balance is %d", got)
					}
				}
				if got := r.do(command("a", "add", 5)); got != 5 {
					t.Errorf("the balance is %d", got)
				}
				r.DisownAll()
				r.vacate()
				if got := r.do(command("a", "add", 1)); got != 6 {
					t.Errorf("the balance is %d", got)
				}
			}
			l, err := r.journal.Load(t.Context(), stream)
			if err != nil || l.Head.Sequence != 9 || l.Origin != 7 {
				t.Errorf("head %+v, origin %d, %v", l.Head, l.Origin, err)
			}
		})
	}
}

// forgetting is a journal that forgets, or erases, behind the back of a loading.
type forgetting struct {
	journal.Journal
	behind atomic.Pointer[func(ctx context.Context) error]
}

func (j *forgetting) Load(ctx context.Context, ref actors.Ref) (journal.Loading, error) {
	l, err := j.Journal.Load(ctx, ref)
	if f := j.behind.Swap(nil); f != nil && err == nil {
		err = (*f)(ctx)
	}
	return l, err
}

// What is forgotten while an entity is loaded does no harm; what cannot do without it is not activated.
func TestForgotten(t *testing.T) {
	t.Parallel()
	var j *forgetting
	b := &bank{script: func(_ context.Context, a *account, turn Turn) (Reply, error, bool) {
		r := a.reply(a.balance+1, Event{Name: "added", Payload: *amount(1)})
		r.Snapshot = amount(a.balance + 1)
		return r, nil, turn.Command.Method == "snapshot"
	}}
	r := start(t, b, func(c *Config) {
		j = &forgetting{Journal: c.Journal}
		c.Journal = j
	})
	stream := actors.Ref{Service: "bank", ID: "a"}
	r.do(command("a", "add", 1))
	r.do(command("a", "add", 1))
	r.DisownAll()
	r.vacate()
	j.behind.Store(new(func(ctx context.Context) error {
		a := journal.Append{Ref: stream, Expected: 2, Command: "x", Events: []journal.Event{{Name: "added", Payload: *amount(1)}}, Snapshot: amount(3)}
		if s := j.Append(ctx, []journal.Append{a, {Ref: stream, Expected: 3, Command: "y", Events: a.Events}}); s[1].Status != journal.Committed {
			return errors.New(s[1].Status.String())
		}
		return j.Forget(ctx, stream, 3, false)
	}))
	if got := r.do(command("a", "get", 0)); got != 4 {
		t.Errorf("the balance is %d", got)
	}
	r.DisownAll()
	r.vacate()
	j.behind.Store(new(func(ctx context.Context) error { return j.Erase(ctx, stream) }))
	if got := r.do(command("a", "add", 7)); got != 7 {
		t.Errorf("the balance is %d", got)
	}

	// Somebody took its events for whole values.
	r.do(command("a", "add", 1))
	r.DisownAll()
	r.vacate()
	if err := j.Forget(t.Context(), stream, 5, true); err != nil {
		t.Fatal(err)
	}
	_, err := r.Handle(t.Context(), command("a", "get", 0))
	wantError(t, err, actors.DataLoss, "Bank/a cannot be activated", "up to 5 are no longer kept", "snapshot", "restore")
}
