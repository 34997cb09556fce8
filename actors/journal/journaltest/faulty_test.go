package journaltest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

func TestFaultyJournalIsAJournal(t *testing.T) {
	t.Parallel()
	j := NewFaulty(memory.Open())
	s := suite{Backend{Open: func(testing.TB) journal.Journal { return NewFaulty(memory.Open()) }}}
	s.batches(t)
	s.effectOrder(t)
	s.tail(t)
	s.cells(t)
	s.model(t)
	if j.Calls(CallAppend) != 0 || j.Struck() != 0 {
		t.Error("it counts what did not happen")
	}
}

func TestFaultsOfAppend(t *testing.T) {
	t.Parallel()
	a, b := cart("a"), cart("b")
	for _, test := range []struct {
		fault   Fault
		ref     actors.Ref
		want    [2]journal.Status
		applied [2]bool
	}{
		{fault: Slow, want: [2]journal.Status{journal.Committed, journal.Committed}, applied: [2]bool{true, true}},
		{fault: Lost, want: [2]journal.Status{journal.Unknown, journal.Unknown}},
		{fault: LostReply, want: [2]journal.Status{journal.Unknown, journal.Unknown}, applied: [2]bool{true, true}},
		{fault: Refuse, want: [2]journal.Status{journal.Refused, journal.Refused}},
		{fault: Conflict, want: [2]journal.Status{journal.Conflict, journal.Conflict}},
		{fault: Lost, ref: a, want: [2]journal.Status{journal.Unknown, journal.Committed}, applied: [2]bool{false, true}},
		{fault: LostReply, ref: b, want: [2]journal.Status{journal.Committed, journal.Unknown}, applied: [2]bool{true, true}},
	} {
		t.Run(fmt.Sprint(test.fault, " ", test.ref), func(t *testing.T) {
			j := NewFaulty(memory.Open())
			must(t, j, add(a, 0, "1", "a1"))
			j.Disturb(Disturbance{Nth: 2, Fault: test.fault, Ref: test.ref})
			must(t, j, add(a, 1, "2", "a2"), add(b, 0, "2", "b1"))
			got := j.Append(within(t), []journal.Append{add(a, 2, "3", "a3"), add(b, 1, "3", "b2")})
			for i, r := range got {
				if r.Status != test.want[i] {
					t.Errorf("append %d: %+v", i, r)
				}
				if r.Err != nil && !errors.Is(r.Err, ErrInjected) {
					t.Errorf("append %d: %v", i, r.Err)
				}
				if r.Status == journal.Conflict && r.Head != (journal.Head{Sequence: int64(2 - i)}) {
					t.Errorf("conflict at %+v", r.Head)
				}
			}
			checked, _ := j.Heads(within(t), []journal.Check{{Ref: a, Command: "3", After: 2}, {Ref: b, Command: "3", After: 1}})
			for i, c := range checked {
				if c.Applied != test.applied[i] {
					t.Errorf("append %d applied: %v", i, c.Applied)
				}
			}
			if j.Pending() != 0 || j.Struck() != 1 || j.Calls(CallAppend) != 3 {
				t.Errorf("%d pending, %d struck, %d calls", j.Pending(), j.Struck(), j.Calls(CallAppend))
			}
		})
	}
}

func TestLateAppendLosesToAFence(t *testing.T) {
	t.Parallel()
	for _, fence := range []bool{false, true} {
		inner := memory.Open()
		j := NewFaulty(inner)
		hold := make(chan struct{})
		a := cart("a")
		j.Disturb(Disturbance{Fault: Late, Hold: hold})
		want(t, j.Append(within(t), []journal.Append{add(a, 0, "1", "x")}), journal.Unknown)
		if fence {
			if _, err := j.Fence(within(t), a, 1); err != nil {
				t.Fatal(err)
			}
		}
		close(hold)
		j.late.Wait()
		if applied := headOf(t, inner, a).Sequence == 1; applied == fence {
			t.Errorf("fenced %v, applied %v", fence, applied)
		}
	}
}

func TestFaultsOfReading(t *testing.T) {
	t.Parallel()
	ctx := within(t)
	a := cart("a")
	for _, call := range []struct {
		call Call
		do   func(j journal.Journal) error
	}{
		{CallFence, func(j journal.Journal) error { _, err := j.Fence(ctx, a, 1); return err }},
		{CallLoad, func(j journal.Journal) error { _, err := j.Load(ctx, a); return err }},
		{CallHeads, func(j journal.Journal) error { _, err := j.Heads(ctx, []journal.Check{{Ref: a}}); return err }},
		{CallLast, func(j journal.Journal) error { _, err := j.Last(ctx, []actors.Ref{a}); return err }},
		{CallList, func(j journal.Journal) error { _, err := j.List(ctx, a.Service, "", 1); return err }},
		{CallRead, func(j journal.Journal) (err error) {
			for _, err = range j.Read(ctx, a, 0, 0) {
			}
			return err
		}},
	} {
		t.Run(call.call.String(), func(t *testing.T) {
			j := NewFaulty(memory.Open())
			must(t, j, add(a, 0, "1", "x", "y"))
			own := errors.New("my own")
			j.Disturb(Disturbance{Call: call.call, Fault: Lost, Ref: a}, Disturbance{Call: call.call, Fault: LostReply, Err: own, Nth: 2})
			if err := call.do(j); !errors.Is(err, ErrInjected) {
				t.Errorf("first: %v", err)
			}
			if err := call.do(j); !errors.Is(err, own) {
				t.Errorf("second: %v", err)
			}
			if err := call.do(j); err != nil {
				t.Errorf("third: %v", err)
			}
		})
	}
}

func TestChanceIsTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (statuses []journal.Status) {
		j := NewFaulty(memory.Open())
		j.Chance(seed, Rates{Lost: .2, LostReply: .2, Conflict: .1, Refuse: .1})
		for n := range 100 {
			r := j.Append(context.Background(), []journal.Append{add(cart("a"), journal.AnySequence, fmt.Sprint(n), "x")})
			statuses = append(statuses, r[0].Status)
		}
		return statuses
	}
	first := run(7)
	same(t, "statuses", run(7), first)
	seen := map[journal.Status]int{}
	for _, status := range first {
		seen[status]++
	}
	if len(seen) != 4 || seen[journal.Committed] < 20 {
		t.Errorf("statuses %v", seen)
	}
}

func TestSlowWaitsAndGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := NewFaulty(memory.Open())
		j.Disturb(Disturbance{Fault: Slow, Delay: time.Hour}, Disturbance{Fault: Slow, Delay: time.Hour})
		start := time.Now()
		must(t, noDeadline{j}, add(cart("a"), 0, "1", "x"))
		if d := time.Since(start); d != time.Hour {
			t.Errorf("it took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		want(t, j.Append(ctx, []journal.Append{add(cart("a"), 1, "2", "x")}), journal.Unknown)
	})
}

type noDeadline struct{ journal.Journal }

func (n noDeadline) Append(_ context.Context, batch []journal.Append) []journal.Result {
	return n.Journal.Append(context.Background(), batch)
}

// TestFaultsOfKeeping has calls that fail before and after they have taken effect.
func TestFaultsOfKeeping(t *testing.T) {
	t.Parallel()
	a := cart("a")
	for _, test := range []struct {
		call  Call
		ref   actors.Ref
		do    func(ctx context.Context, j journal.Journal) error
		taken func(t *testing.T, j journal.Journal) bool
	}{
		{CallEnqueue, a,
			func(ctx context.Context, j journal.Journal) error {
				return j.Enqueue(ctx, a, []actors.Effect{kept("2")})
			},
			func(t *testing.T, j journal.Journal) bool { return len(due(t, j)) == 2 }},
		{CallSettle, actors.Ref{},
			func(ctx context.Context, j journal.Journal) error {
				return j.Settle(ctx, []journal.Settlement{done("1")})
			},
			func(t *testing.T, j journal.Journal) bool { return len(due(t, j)) == 0 }},
		{CallRelease, actors.Ref{},
			func(ctx context.Context, j journal.Journal) error { return j.Release(ctx, []string{"p"}) },
			func(t *testing.T, j journal.Journal) bool { return len(due(t, j)) == 2 }},
		{CallDiscard, actors.Ref{},
			func(ctx context.Context, j journal.Journal) error { return j.Discard(ctx, []string{"p"}) },
			func(t *testing.T, j journal.Journal) bool { return len(parkedOf(t, j)) == 0 }},
		{CallPut, actors.Ref{},
			func(ctx context.Context, j journal.Journal) error {
				_, err := j.Put(ctx, journal.Cell{Key: "k"})
				return err
			},
			func(t *testing.T, j journal.Journal) bool { return cellOf(t, j, "k").Version > 0 }},
		{CallPutEach, actors.Ref{},
			func(ctx context.Context, j journal.Journal) error {
				_, err := j.PutEach(ctx, []journal.Cell{{Key: "k"}, {Key: "l"}})
				return err
			},
			func(t *testing.T, j journal.Journal) bool {
				k, l := cellOf(t, j, "k").Version > 0, cellOf(t, j, "l").Version > 0
				if k != l {
					t.Error("one of two cells is set")
				}
				return k
			}},
		{CallRemove, actors.Ref{},
			func(ctx context.Context, j journal.Journal) error { return j.Remove(ctx, "there", 1) },
			func(t *testing.T, j journal.Journal) bool { return cellOf(t, j, "there").Version == 0 }},
		{CallForget, cart("s"),
			func(ctx context.Context, j journal.Journal) error { return j.Forget(ctx, cart("s"), 1, true) },
			func(t *testing.T, j journal.Journal) bool { return spanOf(t, j, cart("s")).Floor == 1 }},
		{CallErase, cart("s"),
			func(ctx context.Context, j journal.Journal) error { return j.Erase(ctx, cart("s")) },
			func(t *testing.T, j journal.Journal) bool { return spanOf(t, j, cart("s")).Origin == 2 }},
		{CallRestore, a,
			func(ctx context.Context, j journal.Journal) error { return j.Restore(ctx, old(a, 1, 7)) },
			func(t *testing.T, j journal.Journal) bool { return spanOf(t, j, a).Sequence == 7 }},
	} {
		for fault, takes := range map[Fault]bool{Slow: true, Lost: false, LostReply: true, Late: true, Refuse: false} {
			t.Run(fmt.Sprint(test.call, " ", fault), func(t *testing.T) {
				inner := memory.Open()
				j := NewFaulty(inner)
				enqueue(t, j, a, kept("1"))
				enqueue(t, j, cart("b"), kept("p"))
				settle(t, j, parked("p"))
				put(t, j, "there", "", 0)
				must(t, j, add(cart("s"), 0, "1", "x", "y"))
				j.Disturb(Disturbance{Call: test.call, Fault: fault, Ref: test.ref})
				if err := test.do(t.Context(), j); errors.Is(err, ErrInjected) == (fault == Slow) {
					t.Errorf("error %v", err)
				}
				j.late.Wait()
				if taken := test.taken(t, inner); taken != takes {
					t.Errorf("taken effect: %v", taken)
				}
				if j.Pending() != 0 || j.Struck() != 1 {
					t.Errorf("%d pending, %d struck", j.Pending(), j.Struck())
				}
			})
		}
	}
}

func TestFaultsOfLooking(t *testing.T) {
	t.Parallel()
	j := NewFaulty(memory.Open())
	must(t, j, add(cart("a"), 0, "1", "x"))
	calls := newerCalls(t.Context(), j)
	for _, call := range []Call{CallDue, CallParked, CallTail, CallCell, CallCells, CallServices, CallRecords, CallSpan} {
		for _, fault := range []Fault{Lost, LostReply} {
			j.Disturb(Disturbance{Call: call, Fault: fault})
			if err := calls[call.String()](); !errors.Is(err, ErrInjected) {
				t.Errorf("%s: %v", call, err)
			}
			if err := calls[call.String()](); err != nil {
				t.Errorf("%s the second time: %v", call, err)
			}
		}
	}
	after := journal.Position{Ordinal: 1}
	j.Disturb(Disturbance{Call: CallTail, Fault: LostReply})
	if events, position, err := j.Tail(t.Context(), []string{"s"}, after, 0); err == nil || len(events) != 0 || position != after {
		t.Errorf("disturbed tail: %v, %+v, %v", events, position, err)
	}
}
