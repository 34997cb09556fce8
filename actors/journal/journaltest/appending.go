package journaltest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

func (s *suite) appends(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a := cart("a")
	same(t, "head of nothing", headOf(t, j, a), journal.Head{})

	got := must(t, j, add(a, 0, "1", "x", "y"))
	same(t, "head", got[0].Head, journal.Head{Sequence: 2})
	got = must(t, j, add(a, 2, "2", "z"))
	same(t, "head", got[0].Head, journal.Head{Sequence: 3})

	for _, expected := range []int64{0, 1, 2, 4, 100} {
		got = j.Append(ctx, []journal.Append{add(a, expected, "3", "no")})
		want(t, got, journal.Conflict)
		same(t, "head at conflict", got[0].Head, journal.Head{Sequence: 3})
	}
	got = j.Append(ctx, []journal.Append{add(cart("unborn"), 1, "3", "no")})
	want(t, got, journal.Conflict)
	same(t, "head at conflict", got[0].Head, journal.Head{})
	same(t, "unborn", headOf(t, j, cart("unborn")), journal.Head{})
	same(t, "events", dataOf(t, j, a), []string{"x", "y", "z"})
	want(t, j.Append(ctx, nil))
	want(t, j.Transact(ctx, nil))
}

func (s *suite) batches(t *testing.T) {
	j := s.open(t)
	a, b, c := cart("a"), cart("b"), cart("c")
	must(t, j, add(b, 0, "0", "b1"))
	got := j.Append(within(t), []journal.Append{
		add(c, 0, "1", "c1"), // streams out of order
		add(a, 0, "1", "a1", "a2"),
		add(b, 0, "1", "no"), // conflict in the middle
		add(a, 2, "2", "a3"),
		add(b, 1, "2", "no either"), // would fit, but stands behind one that failed
		add(c, 1, "2", "c2"),
	})
	want(t, got, journal.Committed, journal.Committed, journal.Conflict, journal.Committed, journal.Conflict, journal.Committed)
	same(t, "head after the first of two", got[1].Head, journal.Head{Sequence: 2})
	same(t, "head after the second of two", got[3].Head, journal.Head{Sequence: 3})
	same(t, "head at conflict", got[2].Head, journal.Head{Sequence: 1})
	same(t, "a", dataOf(t, j, a), []string{"a1", "a2", "a3"})
	same(t, "b", dataOf(t, j, b), []string{"b1"})
	same(t, "c", dataOf(t, j, c), []string{"c1", "c2"})

	// Same id, other service.
	other := actors.Ref{Service: "shop.v1.Other", ID: "a"}
	must(t, j, add(other, 0, "1", "o"), add(a, 3, "9", "a4"))
	same(t, "other service", dataOf(t, j, other), []string{"o"})
}

func (s *suite) pipeline(t *testing.T) {
	j := s.open(t)
	a, b := cart("a"), cart("b")
	got := j.Append(within(t), []journal.Append{
		keyed(add(a, 0, "1", "a1"), 1),
		keyed(add(a, 1, "2", "a2", "a3"), 1),
		keyed(add(b, 0, "1", "b1"), 1),
		keyed(add(a, 4, "3", "no"), 1), // expects too much
		keyed(add(a, 3, "4", "no"), 1),
		keyed(add(a, 4, "5", "no"), 1),
		keyed(add(b, 1, "2", "b2"), 1),
	})
	want(t, got, journal.Committed, journal.Committed, journal.Committed,
		journal.Conflict, journal.Conflict, journal.Conflict, journal.Committed)
	same(t, "a", dataOf(t, j, a), []string{"a1", "a2", "a3"})
	same(t, "b", dataOf(t, j, b), []string{"b1", "b2"})
	checked, err := j.Heads(within(t), []journal.Check{
		{Ref: a, Command: "1", After: -1}, {Ref: a, Command: "2", After: -1}, {Ref: a, Command: "3", After: -1},
		{Ref: a, Command: "4", After: -1}, {Ref: b, Command: "2", After: -1},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, applied := range []bool{true, true, false, false, true} {
		if checked[i].Applied != applied {
			t.Errorf("check %d: %+v", i, checked[i])
		}
	}
}

// A back end may move records out of the way when there are many. All are known at all times.
func (s *suite) duplicatesAtAnyLength(t *testing.T) {
	j := s.open(t)
	a := cart("a")
	for n := range int64(70) {
		must(t, j, keyed(add(a, n, fmt.Sprint(n), "x"), 1))
		for _, repeated := range []int64{n, n / 2} {
			want(t, j.Append(within(t), []journal.Append{keyed(add(a, journal.AnySequence, fmt.Sprint(repeated), "no"), 1)}), journal.AlreadyApplied)
		}
		same(t, "head", headOf(t, j, a), journal.Head{Sequence: n + 1})
	}
}

func (s *suite) duplicates(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a, b := cart("a"), cart("b")
	first := keyed(add(a, 0, "key", "a1"), 1)
	must(t, j, first, keyed(add(b, 0, "key", "b1"), 1)) // the scope is the stream
	must(t, j, add(a, 1, "later", "a2"))

	got := j.Append(ctx, []journal.Append{first})
	want(t, got, journal.AlreadyApplied)
	stored := &journal.Record{Hash: [16]byte{1}, Outcome: []byte("outcome of key"), Sequence: 1}
	same(t, "stored record", got[0].Record, stored)

	again := keyed(add(a, 2, "key", "no"), 1) // at the right sequence
	again.Record.Outcome = []byte("another outcome")
	got = j.Append(ctx, []journal.Append{again})
	want(t, got, journal.AlreadyApplied)
	same(t, "stored record", got[0].Record, stored)
	want(t, j.Append(ctx, []journal.Append{keyed(add(a, 2, "key", "no"), 2)}), journal.CommandIDReused)

	// In the middle of a batch: its stream's prefix commits, other streams do, what stands behind does not.
	got = j.Append(ctx, []journal.Append{
		keyed(add(a, 2, "before", "a3"), 1),
		keyed(add(b, 1, "beside", "b2"), 1),
		keyed(add(a, 3, "key", "no"), 1),
		keyed(add(a, 3, "behind", "no"), 1),
		keyed(add(a, 3, "later", "no"), 1), // "later" has no record
		keyed(add(a, 3, "key", "no"), 7),
		keyed(add(a, 3, "before", "no"), 1),
	})
	want(t, got, journal.Committed, journal.Committed, journal.AlreadyApplied, journal.Conflict, journal.Conflict,
		journal.CommandIDReused, journal.AlreadyApplied)
	same(t, "record made in the batch", got[6].Record,
		&journal.Record{Hash: [16]byte{1}, Outcome: []byte("outcome of before"), Sequence: 3})

	// Within one batch.
	c := cart("c")
	got = j.Append(ctx, []journal.Append{keyed(add(c, 0, "k", "c1"), 1), keyed(add(c, 1, "k", "no"), 1)})
	want(t, got, journal.Committed, journal.AlreadyApplied)
	got = j.Append(ctx, []journal.Append{keyed(add(c, 1, "l", "c2"), 1), keyed(add(c, 2, "l", "no"), 2)})
	want(t, got, journal.Committed, journal.CommandIDReused)

	same(t, "a", dataOf(t, j, a), []string{"a1", "a2", "a3"})
	same(t, "b", dataOf(t, j, b), []string{"b1", "b2"})
	same(t, "c", dataOf(t, j, c), []string{"c1", "c2"})
}

func (s *suite) anySequence(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a := cart("a")
	got := must(t, j, add(a, journal.AnySequence, "1", "x"), add(a, journal.AnySequence, "2", "y", "z"))
	same(t, "head", got[1].Head, journal.Head{Sequence: 3})
	must(t, j, keyed(add(a, journal.AnySequence, "3", "v"), 1), add(a, 4, "4", "w"))
	want(t, j.Append(ctx, []journal.Append{keyed(add(a, journal.AnySequence, "3", "no"), 1)}), journal.AlreadyApplied)
	if _, err := j.Fence(ctx, a, 5); err != nil {
		t.Fatal(err)
	}
	want(t, j.Append(ctx, []journal.Append{add(a, journal.AnySequence, "5", "no")}), journal.Conflict)
	same(t, "events", dataOf(t, j, a), []string{"x", "y", "z", "v", "w"})
}

func (s *suite) refused(t *testing.T) {
	j := s.open(t)
	good := func() journal.Append { return keyed(add(cart("a"), 0, "1", "x"), 1) }
	for _, test := range []struct {
		name string
		bad  func(*journal.Append)
	}{
		{"no service", func(a *journal.Append) { a.Ref.Service = "" }},
		{"no id", func(a *journal.Append) { a.Ref.ID = "" }},
		{"id is not UTF-8", func(a *journal.Append) { a.Ref.ID = "a\xff" }},
		{"id has a zero byte", func(a *journal.Append) { a.Ref.ID = "a\x00b" }},
		{"no command", func(a *journal.Append) { a.Command = "" }},
		{"command too long", func(a *journal.Append) { a.Command = long(journal.MaxCommandBytes + 1) }},
		{"command has a zero byte", func(a *journal.Append) { a.Command = "a\x00" }},
		{"expected below any", func(a *journal.Append) { a.Expected = -2 }},
		{"epoch below zero", func(a *journal.Append) { a.Epoch = -1 }},
		{"bad effect", func(a *journal.Append) { a.Effects = []actors.Effect{{}} }},
		{"nothing", func(a *journal.Append) { a.Events, a.Record = nil, nil }},
		{"snapshot of nothing", func(a *journal.Append) { a.Events, a.Snapshot = nil, new(payload("s")) }},
		{"name is not UTF-8", func(a *journal.Append) { a.Events[0].Name = "\xc3" }},
		{"type has a zero byte", func(a *journal.Append) { a.Events[0].Payload.TypeURL = "\x00" }},
		{"caller is not UTF-8", func(a *journal.Append) { a.Events[0].Context.Caller = "\xff" }},
		{"snapshot's type is not UTF-8", func(a *journal.Append) { a.Snapshot = &actors.Payload{TypeURL: "\xff"} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad := good()
			test.bad(&bad)
			if bad.Validate() == nil {
				t.Fatal("it is valid")
			}
			behind := add(bad.Ref, 1, "2", "no")
			beside := add(cart("beside "+test.name), 0, "1", "x")
			status := journal.Conflict
			if behind.Validate() != nil {
				status = journal.Refused
			}
			got := j.Append(within(t), []journal.Append{bad, behind, beside})
			want(t, got, journal.Refused, status, journal.Committed)
			same(t, "head", headOf(t, j, cart("a")), journal.Head{})
		})
	}
	longest := good()
	longest.Command = long(journal.MaxCommandBytes)
	longest.Ref.ID = long(actors.MaxIDBytes)
	must(t, j, longest)
	want(t, j.Append(within(t), []journal.Append{longest}), journal.AlreadyApplied)
}

func (s *suite) transact(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a, b, c := cart("a"), cart("b"), cart("c")
	got := j.Transact(ctx, []journal.Append{
		keyed(add(b, 0, "1", "b1"), 1), keyed(add(a, 0, "1", "a1"), 1), keyed(add(b, 1, "2", "b2"), 1),
	})
	want(t, got, journal.Committed, journal.Committed, journal.Committed)
	same(t, "head", got[2].Head, journal.Head{Sequence: 2})

	transaction := func(name string, batch []journal.Append, statuses ...journal.Status) {
		t.Helper()
		got := j.Transact(ctx, batch)
		want(t, got, statuses...)
		for i, r := range got {
			valid := batch[i].Validate() == nil
			if r.Status == journal.Refused && valid && !errors.Is(r.Err, journal.ErrTransaction) {
				t.Errorf("%s: append %d is refused with %v", name, i, r.Err)
			}
		}
	}
	transaction("conflict", []journal.Append{add(a, 1, "2", "no"), add(b, 1, "3", "no"), add(b, 2, "4", "no"), add(c, 0, "1", "no")},
		journal.Refused, journal.Conflict, journal.Refused, journal.Refused)
	transaction("duplicate", []journal.Append{add(a, 1, "2", "no"), keyed(add(b, 2, "1", "no"), 1)},
		journal.Refused, journal.AlreadyApplied)
	transaction("reused", []journal.Append{add(a, 1, "2", "no"), keyed(add(b, 2, "1", "no"), 2)},
		journal.Refused, journal.CommandIDReused)
	transaction("bad", []journal.Append{add(a, 1, "2", "no"), add(b, 2, "", "no")}, journal.Refused, journal.Refused)
	transaction("repeated whole", []journal.Append{
		keyed(add(b, 0, "1", "b1"), 1), keyed(add(a, 0, "1", "a1"), 1), keyed(add(b, 1, "2", "b2"), 1),
	}, journal.AlreadyApplied, journal.AlreadyApplied, journal.AlreadyApplied)
	transaction("any sequence", []journal.Append{add(a, journal.AnySequence, "5", "a2"), add(b, 2, "5", "b3")},
		journal.Committed, journal.Committed)
	same(t, "a", dataOf(t, j, a), []string{"a1", "a2"})
	same(t, "b", dataOf(t, j, b), []string{"b1", "b2", "b3"})
	same(t, "c", headOf(t, j, c), journal.Head{})
}

func (s *suite) epochs(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a := cart("a")
	with := func(epoch int64, request journal.Append) journal.Append {
		request.Epoch = epoch
		return request
	}
	fence := func(epoch int64, want journal.Head) {
		t.Helper()
		head, err := j.Fence(ctx, a, epoch)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "fenced head", head, want)
	}
	fence(0, journal.Head{Epoch: 1}) // above the one it has
	fence(7, journal.Head{Epoch: 7})
	want(t, j.Append(ctx, []journal.Append{with(6, add(a, 0, "1", "no"))}), journal.Conflict)
	got := must(t, j, with(7, add(a, 0, "1", "x")))
	same(t, "head", got[0].Head, journal.Head{Sequence: 1, Epoch: 7})
	got = must(t, j, with(9, add(a, 1, "2", "y"))) // an append raises it, too
	same(t, "head", got[0].Head, journal.Head{Sequence: 2, Epoch: 9})
	got = j.Append(ctx, []journal.Append{with(8, add(a, 2, "3", "no"))})
	want(t, got, journal.Conflict)
	same(t, "head at conflict", got[0].Head, journal.Head{Sequence: 2, Epoch: 9})
	fence(3, journal.Head{Sequence: 2, Epoch: 10})

	// A pipeline may change its epoch upwards only.
	got = j.Append(ctx, []journal.Append{
		with(10, add(a, 2, "4", "z")), with(12, add(a, 3, "5", "v")), with(11, add(a, 4, "6", "no")),
	})
	want(t, got, journal.Committed, journal.Committed, journal.Conflict)
	same(t, "head", headOf(t, j, a), journal.Head{Sequence: 4, Epoch: 12})

	// A duplicate from before a fence is still a duplicate.
	must(t, j, with(12, keyed(add(a, 4, "k", "w"), 1)))
	fence(20, journal.Head{Sequence: 5, Epoch: 20})
	want(t, j.Append(ctx, []journal.Append{with(12, keyed(add(a, 4, "k", "w"), 1))}), journal.AlreadyApplied)
	if _, err := j.Fence(ctx, actors.Ref{Service: "s"}, 1); err == nil {
		t.Error("a ref without id was fenced")
	}
}

func (s *suite) recordOnly(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a := cart("a")
	got := must(t, j, keyed(add(a, 0, "1"), 1))
	same(t, "head", got[0].Head, journal.Head{})
	got = j.Append(ctx, []journal.Append{keyed(add(a, 0, "1"), 1)})
	want(t, got, journal.AlreadyApplied)
	must(t, j, add(a, 0, "2", "x"), keyed(add(a, 1, "3"), 1), keyed(add(a, 1, "4"), 1), add(a, 1, "5", "y"))
	want(t, j.Append(ctx, []journal.Append{keyed(add(a, 1, "6"), 1)}), journal.Conflict)
	checked, err := j.Heads(ctx, []journal.Check{{Ref: a, Command: "4", After: -1}})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "sequence of the record", checked[0].LastSequence, int64(1))
	same(t, "events", dataOf(t, j, a), []string{"x", "y"})
}
