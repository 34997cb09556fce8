package operations

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/lease"
)

// moving is of a journal that cannot be locked.
func moving(t *testing.T) Moving {
	open := func() *Direct { return direct(t, "memory", memory.Open(), nil) }
	m := Moving{From: open(), To: open()}
	fill(t, m.From.(*Direct).Of, 3)
	return m
}

// at is a component that is at work until stop is called.
func at(t *testing.T, j journal.Journal) (stop func()) {
	t.Helper()
	l, err := lease.New(lease.Config{Cells: j, Group: "g", Member: "m", Work: func(ctx context.Context, _ *lease.Held) error {
		<-ctx.Done()
		return nil
	}})
	if err == nil {
		err = l.Names([]string{"n"})
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// A journal that cannot be locked is not moved while a component shows that it is alive. What one has left behind that is
// dead does no harm.
func TestMoveFromUnderAComponent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := moving(t)
		stop := at(t, m.From.(*Direct).Of)
		synctest.Wait()
		if _, err := m.Move(t.Context()); err == nil || !strings.Contains(err.Error(), "a component is at work on it") {
			t.Errorf("while a component is at work: %v", err)
		}
		stop()
		if services, err := m.To.Services(t.Context()); err != nil || len(services) > 0 {
			t.Errorf("moved are %v, %v", services, err)
		}
		if _, err := m.From.Put(t.Context(), journal.Cell{Key: "member/g/dead", Value: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Move(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(sorted(histories(t, exported(t, m.From))), sorted(histories(t, exported(t, m.To)))); diff != "" {
			t.Error(diff)
		}
	})
}

// A component that is started while its journal is moved is noticed in the end, whatever it wrote.
func TestMoveBehindAComponent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := moving(t)
		late := actors.Ref{Service: "late", ID: "x"}
		stop := func() {}
		start := sync.OnceFunc(func() {
			stop = at(t, m.From.(*Direct).Of)
			time.Sleep(time.Second)
			add(t, m.From.(*Direct).Of, late, journal.Append{Record: &journal.Record{Outcome: []byte("refused")}}) // no event
		})
		m.Progress = func(p Progress) {
			if p.Doing == "cells" {
				start()
			}
		}
		if _, err := m.Move(t.Context()); err == nil || !strings.Contains(err.Error(), "run the same command again") {
			t.Errorf("a component was at work meanwhile: %v", err)
		}
		stop()
		if _, err := m.Move(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(sorted(histories(t, exported(t, m.From))), sorted(histories(t, exported(t, m.To)))); diff != "" {
			t.Error(diff)
		}
	})
}

// Whoever has the journal alone is asked in the end whether that was so.
func TestMoveNotAlone(t *testing.T) {
	t.Parallel()
	m := moving(t)
	broken := errors.New("somebody has let go")
	asked := 0
	m.From.(*Direct).Held = func(context.Context) error {
		if asked++; asked == 1 {
			return nil
		}
		return broken
	}
	if _, err := m.Move(t.Context()); !errors.Is(err, broken) {
		t.Error(err)
	}
}
