package journaltest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

func (s *suite) servicesAndRecords(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	services, err := j.Services(ctx)
	if err != nil || len(services) > 0 {
		t.Fatalf("of an empty journal: %v, %v", services, err)
	}
	for _, service := range []string{"z", "b", "B", "ä", "a", "a||b", "%"} {
		for id := range 3 {
			must(t, j, add(actors.Ref{Service: service, ID: fmt.Sprint(id)}, 0, "1", "x"))
		}
	}
	if _, err := j.Fence(ctx, actors.Ref{Service: "fenced", ID: "1"}, 1); err != nil {
		t.Fatal(err)
	}
	services, err = j.Services(ctx)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "services", services, []string{"%", "B", "a", "a||b", "b", "fenced", "z", "ä"})

	a := cart("a")
	commands := []string{"%", "1", "2", "B", "a", "a||b", "ä", "🍵"}
	var batch []journal.Append
	for i, c := range slices.Backward(commands) {
		batch = append(batch, keyed(add(a, int64(len(commands)-1-i), c, "x"), byte(i)))
	}
	must(t, j, batch...)
	must(t, j, add(a, 8, "without a record", "x"), keyed(add(cart("b"), 0, "another's", "x"), 1))
	for _, limit := range []int{0, 1, 3, 8, 100} {
		var got []string
		for after := ""; ; {
			page, err := j.Records(ctx, a, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if limit > 0 && len(page) > limit {
				t.Fatalf("%d records, limit %d", len(page), limit)
			}
			if len(page) == 0 {
				break
			}
			for _, r := range page {
				got, after = append(got, r.Command), r.Command
				n := len(commands) - slices.Index(commands, r.Command)
				same(t, "record", r.Record, journal.Record{
					Hash: [16]byte{byte(len(commands) - n)}, Outcome: []byte("outcome of " + r.Command), Sequence: int64(n),
				})
			}
		}
		same(t, fmt.Sprint("commands, limit ", limit), got, commands)
	}
	page, err := j.Records(ctx, cart("none"), "", 0)
	if err != nil || len(page) > 0 {
		t.Errorf("of a stream that does not exist: %v, %v", page, err)
	}
}

// old is a stream of seven events as it may have come out of another journal.
func old(ref actors.Ref, from, to int) journal.Restored {
	began := time.Date(2001, 2, 3, 4, 5, 6, 789000, time.UTC)
	r := journal.Restored{Ref: ref, Span: journal.Span{Head: journal.Head{Sequence: 7, Epoch: 3}, Updated: began.Add(time.Hour)}}
	for n := from; n <= to; n++ {
		r.Events = append(r.Events, journal.Event{
			Ref: ref, Sequence: int64(n), Name: "n", Payload: payload(fmt.Sprint("old ", n)), Command: fmt.Sprint("c", n/2),
			Time: began.Add(time.Duration(n) * time.Minute), Context: journal.Context{Caller: fmt.Sprint("app ", n), Traceparent: `"`},
			Position: journal.Position{Transaction: 77, Ordinal: 88},
		})
	}
	return r
}

func recorded(command string, sequence int64) journal.CommandRecord {
	return journal.CommandRecord{Command: command, Record: journal.Record{Hash: [16]byte{1, 2}, Outcome: []byte{0, 0xff}, Sequence: sequence}}
}

func restore(t testing.TB, j journal.Journal, r journal.Restored) {
	t.Helper()
	if err := j.Restore(within(t), r); err != nil {
		t.Fatal(err)
	}
}

var restoredly = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(journal.Event{}, "Position")}

// What is there already is compared, however much it is: an import that was interrupted begins anew.
func (s *suite) restoreAtAnyLength(t *testing.T) {
	j := s.open(t)
	a := cart("a")
	for n := 1; n <= 70; n++ {
		all := old(a, 1, n)
		all.Span.Sequence = int64(n)
		all.Records = []journal.CommandRecord{recorded(fmt.Sprint("r", n/2), int64(n/2)), recorded(fmt.Sprint("r", n), int64(n))}
		for range 2 {
			restore(t, j, all)
		}
		same(t, "span", spanOf(t, j, a), all.Span)
		records, err := j.Records(within(t), a, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "records", len(records), n+1)
	}
}

func (s *suite) restore(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a, b := cart("a"), cart("b")
	must(t, j, add(b, 0, "1", "before"))
	first, second := old(a, 1, 3), old(a, 4, 7)
	second.Records = []journal.CommandRecord{recorded("c1", 3), recorded("none", 0)}
	second.Snapshot = &journal.Snapshot{Sequence: 6, Payload: payload("s")}
	restore(t, j, first)
	same(t, "as far as its events go", headOf(t, j, a), journal.Head{Sequence: 3, Epoch: 3})
	restore(t, j, first) // after an interruption
	for range 2 {
		restore(t, j, second)
		restore(t, j, old(a, 2, 5))
		same(t, "span", spanOf(t, j, a), first.Span)
		var got []journal.Event
		for e, err := range j.Read(ctx, a, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e)
		}
		if diff := cmp.Diff(old(a, 1, 7).Events, got, restoredly); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		records, err := j.Records(ctx, a, "", 0)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "records", records, second.Records)
		l, err := j.Load(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "snapshot", l.Snapshot, second.Snapshot)
		after, _ := read(t, l.Events)
		same(t, "after it", after, []int64{7})
	}
	older := old(a, 7, 7)
	older.Snapshot = &journal.Snapshot{Sequence: 5, Payload: payload("older")}
	restore(t, j, older)
	if l, err := j.Load(ctx, a); err != nil || l.Snapshot.Sequence != 6 {
		t.Errorf("an older snapshot replaced the newer: %+v, %v", l.Snapshot, err)
	}
	tail, _ := follow(t, j, []string{a.Service}, journal.Position{}, 0, 8)
	same(t, "tail", textsOf(tail), append([]string{"before"}, "old 1", "old 2", "old 3", "old 4", "old 5", "old 6", "old 7"))
	next := add(a, 7, "next", "new")
	want(t, j.Append(ctx, []journal.Append{next}), journal.Conflict) // the epoch came along
	next.Epoch = 3
	must(t, j, next)

	// One that was erased, and whose beginning was forgotten since; and one of which there is nothing.
	late := old(b, 5, 7)
	late.Ref, late.Span.Origin, late.Span.Floor = cart("late"), 3, 4
	for i := range late.Events {
		late.Events[i].Ref = late.Ref
	}
	nothing := journal.Restored{Ref: cart("nothing"), Span: journal.Span{Head: journal.Head{Sequence: 4, Epoch: 1}, Origin: 4, Floor: 4, Updated: late.Span.Updated}}
	for range 2 {
		restore(t, j, late)
		same(t, "span", spanOf(t, j, late.Ref), late.Span)
		if _, floor := read(t, j.Read(ctx, late.Ref, 3, 0)); floor != 4 {
			t.Errorf("the floor is %d", floor)
		}
		restore(t, j, nothing)
		same(t, "span", spanOf(t, j, nothing.Ref), nothing.Span)
	}
	// It went on elsewhere after it was erased there, and is brought up to that.
	again := old(nothing.Ref, 6, 7)
	again.Span.Origin, again.Span.Floor = 5, 5
	restore(t, j, again)
	same(t, "span", spanOf(t, j, nothing.Ref), again.Span)
	// Retention went on there.
	again.Span.Floor, again.Events = 6, again.Events[1:]
	restore(t, j, again)
	same(t, "span", spanOf(t, j, nothing.Ref), again.Span)
	got, _ := read(t, j.Read(ctx, nothing.Ref, 6, 0))
	same(t, "left", got, []int64{7})
}

func (s *suite) restoreDiffers(t *testing.T) {
	j := s.open(t)
	a := cart("a")
	whole := old(a, 1, 7)
	whole.Records = []journal.CommandRecord{recorded("c1", 3)}
	restore(t, j, whole)
	erased := cart("erased")
	must(t, j, add(erased, 0, "1", "x", "y"))
	if err := j.Erase(within(t), erased); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *journal.Restored){
		"payload":   func(r *journal.Restored) { r.Events[2].Payload = payload("other") },
		"name":      func(r *journal.Restored) { r.Events[2].Name = "other" },
		"command":   func(r *journal.Restored) { r.Events[6].Command = "other" },
		"time":      func(r *journal.Restored) { r.Events[0].Time = r.Events[0].Time.Add(time.Microsecond) },
		"context":   func(r *journal.Restored) { r.Events[0].Context.Caller = "other" },
		"hash":      func(r *journal.Restored) { r.Records[0].Hash[0]++ },
		"outcome":   func(r *journal.Restored) { r.Records[0].Outcome = nil },
		"sequence":  func(r *journal.Restored) { r.Records[0].Sequence++ },
		"beginning": func(r *journal.Restored) { r.Span.Sequence, r.Span.Floor, r.Events = 9, 8, nil },
		"erased":    func(r *journal.Restored) { *r = old(erased, 1, 7) },
	} {
		before := spanOf(t, j, a)
		r := old(a, 1, 7)
		r.Records = []journal.CommandRecord{recorded("c1", 3), recorded("new "+name, 3)}
		r.Span.Sequence, r.Span.Epoch = 8, 9
		r.Events = append(r.Events, r.Events[6])
		r.Events[7].Sequence = 8
		change(&r)
		err := j.Restore(within(t), r)
		different, ok := errors.AsType[*journal.DifferentError](err)
		if !ok || !errors.Is(err, journal.ErrConflict) || different.Ref != r.Ref {
			t.Errorf("%s: %v", name, err)
		}
		same(t, name+": nothing was done", spanOf(t, j, a), before)
		records, err := j.Records(within(t), a, "", 0)
		if err != nil || len(records) != 1 {
			t.Errorf("%s: %d records, %v", name, len(records), err)
		}
	}
	same(t, "the erased one is as it was", spanOf(t, j, erased).Head, journal.Head{Sequence: 2, Epoch: 1})
}

func (s *suite) restoreRefused(t *testing.T) {
	j := s.open(t)
	a := cart("a")
	for name, change := range map[string]func(r *journal.Restored){
		"no id":                 func(r *journal.Restored) { r.Ref.ID = "" },
		"gap at the beginning":  func(r *journal.Restored) { r.Events = r.Events[1:] },
		"gap":                   func(r *journal.Restored) { r.Events = slices.Delete(r.Events, 2, 3) },
		"another's event":       func(r *journal.Restored) { r.Events[2].Ref.ID = "b" },
		"more than the span":    func(r *journal.Restored) { r.Span.Sequence = 6 },
		"below the floor":       func(r *journal.Restored) { r.Span.Floor = 1 },
		"origin over floor":     func(r *journal.Restored) { r.Span.Origin = 1 },
		"negative":              func(r *journal.Restored) { r.Span.Epoch = -1 },
		"nothing and no origin": func(r *journal.Restored) { r.Span.Floor, r.Events = 7, nil },
		"no command":            func(r *journal.Restored) { r.Events[6].Command = "" },
		"odd name":              func(r *journal.Restored) { r.Events[6].Name = "\x00" },
		"odd type":              func(r *journal.Restored) { r.Events[6].Payload.TypeURL = "\xff" },
		"odd time":              func(r *journal.Restored) { r.Events[6].Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"odd record": func(r *journal.Restored) {
			r.Records = []journal.CommandRecord{recorded(long(journal.MaxCommandBytes+1), 1)}
		},
		"record of the future": func(r *journal.Restored) { r.Records = []journal.CommandRecord{recorded("c", 8)} },
		"snapshot to come":     func(r *journal.Restored) { r.Snapshot = &journal.Snapshot{Sequence: 8, Payload: payload("s")} },
	} {
		r := old(a, 1, 7)
		change(&r)
		if err := j.Restore(within(t), r); err == nil || errors.Is(err, journal.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
		same(t, name+": nothing was done", spanOf(t, j, a), journal.Span{})
	}
}

// copies brings a stream from one journal into another, and it is the same there.
func (s *suite) copies(t *testing.T) {
	from, to := s.open(t), s.open(t)
	ctx := within(t)
	a := cart("a")
	var batch []journal.Append
	for i := range 1200 {
		batch = append(batch, keyed(add(a, int64(i), fmt.Sprint(i), fmt.Sprint("x", i)), byte(i)))
	}
	batch[1100].Snapshot = new(payload("s"))
	must(t, from, batch...)
	forget(t, from, a, 100, false)
	span := spanOf(t, from, a)
	r := journal.Restored{Ref: a, Span: span}
	flush := func() {
		t.Helper()
		restore(t, to, r)
		r.Events, r.Records = nil, nil
	}
	for e, err := range from.Read(ctx, a, span.Floor, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Events = append(r.Events, e); len(r.Events) == 300 {
			flush()
		}
	}
	l, err := from.Load(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	r.Snapshot = l.Snapshot
	for after := ""; ; flush() {
		if r.Records, err = from.Records(ctx, a, after, 0); err != nil {
			t.Fatal(err)
		}
		if len(r.Records) == 0 {
			break
		}
		after = r.Records[len(r.Records)-1].Command
	}
	flush()
	same(t, "span", spanOf(t, to, a), span)
	whole := func(j journal.Journal) (list []journal.Event, records []journal.CommandRecord) {
		t.Helper()
		for e, err := range j.Read(ctx, a, 100, 0) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, e)
		}
		for after := ""; ; {
			page, err := j.Records(ctx, a, after, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(page) == 0 {
				return list, records
			}
			records, after = append(records, page...), page[len(page)-1].Command
		}
	}
	events1, records1 := whole(from)
	events2, records2 := whole(to)
	if diff := cmp.Diff(events1, events2, restoredly); diff != "" || len(events2) != 1100 {
		t.Errorf("%d events (-original +copy):\n%s", len(events2), diff)
	}
	if diff := cmp.Diff(records1, records2, restoredly); diff != "" || len(records1) == 0 {
		t.Errorf("%d records (-original +copy):\n%s", len(records2), diff)
	}
}
