package journaltest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

func (s *suite) fields(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	ref := cart("all")
	everything := make([]byte, 256)
	for i := range everything {
		everything[i] = byte(i)
	}
	a := journal.Append{
		Ref: ref, Epoch: 3, Command: `c'om"m{a},n\d ü`,
		Record: &journal.Record{Hash: [16]byte(bytes.Repeat([]byte{0, 0xff}, 8)), Outcome: everything},
		Events: []journal.Event{
			{
				Name: `n,"{}\`, Payload: actors.Payload{TypeURL: "NULL", ContentType: actors.ContentJSON, Data: everything},
				Context: journal.Context{Correlation: "c1", Causation: "c2", Traceparent: "00-ab-cd-01", Caller: `"app"`},
			},
			{Payload: actors.Payload{TypeURL: "t"}}, // an empty message
			{Name: "second", Context: journal.Context{Caller: "only"}},
		},
		Snapshot: &actors.Payload{TypeURL: "snap", ContentType: "x", Data: everything},
	}
	before := time.Now().Add(-time.Minute)
	must(t, j, a)
	l, err := j.Load(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "head", l.Head, journal.Head{Sequence: 3, Epoch: 3})
	same(t, "snapshot", l.Snapshot, &journal.Snapshot{Sequence: 3, Payload: *a.Snapshot})
	var got []journal.Event
	for e, err := range j.Read(ctx, ref, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Time.Before(before) || e.Time.After(before.Add(2*time.Minute)) || e.Time.Location() != time.UTC {
			t.Errorf("event %d is of %v", e.Sequence, e.Time)
		}
		got = append(got, e)
	}
	expected := slices.Clone(a.Events)
	for i := range expected {
		expected[i].Ref, expected[i].Sequence, expected[i].Command = ref, int64(i+1), a.Command
	}
	if diff := cmp.Diff(expected, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(journal.Event{}, "Position", "Time")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	checked, err := j.Heads(ctx, []journal.Check{{Ref: ref, Command: a.Command}})
	if err != nil {
		t.Fatal(err)
	}
	a.Record.Sequence = 3
	same(t, "record", checked[0].Record, a.Record)
}

func (s *suite) batchNotKept(t *testing.T) {
	j := s.open(t)
	ref := cart("a")
	a := keyed(add(ref, 0, "1", "x"), 1)
	a.Snapshot = new(payload("s"))
	must(t, j, a)
	a.Events[0].Payload.Data[0], a.Record.Outcome[0], a.Snapshot.Data[0] = 'X', 'X', 'X'
	if e := a.Events[0]; e.Sequence != 0 || e.Command != "" {
		t.Error("the journal changed the batch")
	}
	same(t, "event", dataOf(t, j, ref), []string{"x"})
	l, err := j.Load(within(t), ref)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "snapshot", string(l.Snapshot.Payload.Data), "s")
}

func (s *suite) heads(t *testing.T) {
	j := s.open(t)
	a, b := cart("a"), cart("b")
	must(t, j,
		add(a, 0, "one", "x", "y"), keyed(add(a, 2, "two", "z"), 1), keyed(add(a, 3, "none"), 2),
		add(a, 3, "three", "v", "w"), add(b, 0, "one", "b"))
	record := func(command string, hash byte, sequence int64) *journal.Record {
		return &journal.Record{Hash: [16]byte{hash}, Outcome: []byte("outcome of " + command), Sequence: sequence}
	}
	at5, at1 := journal.Head{Sequence: 5}, journal.Head{Sequence: 1}
	for _, test := range []struct {
		check journal.Check
		want  journal.Checked
	}{
		{journal.Check{Ref: a}, journal.Checked{Head: at5}},
		{journal.Check{Ref: a, Command: "one", After: 0}, journal.Checked{Head: at5, Applied: true, LastSequence: 2}},
		{journal.Check{Ref: a, Command: "one", After: -1}, journal.Checked{Head: at5}},
		{journal.Check{Ref: a, Command: "one", After: 2}, journal.Checked{Head: at5}},
		{journal.Check{Ref: a, Command: "three", After: 3}, journal.Checked{Head: at5, Applied: true, LastSequence: 5}},
		{journal.Check{Ref: a, Command: "three", After: 2}, journal.Checked{Head: at5}},
		{journal.Check{Ref: a, Command: "three", After: 5}, journal.Checked{Head: at5}},
		{journal.Check{Ref: a, Command: "three", After: 500}, journal.Checked{Head: at5}},
		{journal.Check{Ref: a, Command: "two", After: -1}, journal.Checked{Head: at5, Applied: true, LastSequence: 3, Record: record("two", 1, 3)}},
		{journal.Check{Ref: a, Command: "two", After: 4}, journal.Checked{Head: at5, Applied: true, LastSequence: 3, Record: record("two", 1, 3)}},
		{journal.Check{Ref: a, Command: "none", After: -1}, journal.Checked{Head: at5, Applied: true, LastSequence: 3, Record: record("none", 2, 3)}},
		{journal.Check{Ref: b, Command: "two", After: -1}, journal.Checked{Head: at1}},
		{journal.Check{Ref: b, Command: "one", After: 0}, journal.Checked{Head: at1, Applied: true, LastSequence: 1}},
		{journal.Check{Ref: cart("c"), Command: "one", After: 0}, journal.Checked{}},
	} {
		t.Run(fmt.Sprintf("%s %q after %d", test.check.Ref.ID, test.check.Command, test.check.After), func(t *testing.T) {
			got, err := j.Heads(within(t), []journal.Check{{Ref: cart("zero")}, test.check, {Ref: b}, test.check})
			if err != nil {
				t.Fatal(err)
			}
			same(t, "checked", got, []journal.Checked{{}, test.want, {Head: at1}, test.want})
		})
	}
	got, err := j.Heads(within(t), nil)
	if err != nil || len(got) != 0 {
		t.Errorf("no checks: %v, %v", got, err)
	}
}

func (s *suite) last(t *testing.T) {
	j := s.open(t)
	a, b := cart("a"), cart("b")
	must(t, j, add(a, 0, "1", "x", "y"), add(b, 0, "2", "z"), keyed(add(cart("r"), 0, "3"), 1))
	got, err := j.Last(within(t), []actors.Ref{b, cart("c"), a, cart("r"), b})
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for i, e := range got {
		texts = append(texts, fmt.Sprintf("%s/%d/%s/%s", e.Ref.ID, e.Sequence, e.Command, e.Payload.Data))
		if (e.Sequence == 0) != (i == 1 || i == 3) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	same(t, "last", texts, []string{"b/1/2/z", "/0//", "a/2/1/y", "/0//", "b/1/2/z"})
	got, err = j.Last(within(t), nil)
	if err != nil || len(got) != 0 {
		t.Errorf("no refs: %v, %v", got, err)
	}
}

func (s *suite) read(t *testing.T) {
	j := s.open(t)
	a := cart("a")
	must(t, j, add(a, 0, "1", numbered("e", 10)...), add(cart("b"), 0, "1", "other"))
	for _, test := range []struct {
		after int64
		limit int
		from  int
		to    int
	}{{0, 0, 1, 10}, {0, 3, 1, 3}, {3, 3, 4, 6}, {8, 3, 9, 10}, {9, 1, 10, 10}, {10, 0, 0, -1}, {10, 5, 0, -1}, {99, 0, 0, -1}, {0, 10, 1, 10}, {0, 11, 1, 10}} {
		var got, expected []int
		for e, err := range j.Read(within(t), a, test.after, test.limit) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, int(e.Sequence))
		}
		for n := test.from; n <= test.to; n++ {
			expected = append(expected, n)
		}
		same(t, fmt.Sprintf("read after %d, limit %d", test.after, test.limit), got, expected)
	}
	same(t, "nothing", dataOf(t, j, cart("c")), []string{})
}

// readBreaks leaves many readers early, which must leave no connection behind.
func (s *suite) readBreaks(t *testing.T) {
	j := s.open(t)
	a := cart("a")
	must(t, j, add(a, 0, "1", numbered("e", 50)...))
	for range 64 {
		for _, err := range j.Read(within(t), a, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		l, err := j.Load(within(t), a)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range l.Events {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if _, err := j.Load(within(t), a); err != nil { // never ranged over
			t.Fatal(err)
		}
	}
	// While a reader stands, the journal can be used by its own body.
	n := int64(50)
	for e, err := range j.Read(within(t), a, 0, 5) {
		if err != nil {
			t.Fatal(err)
		}
		must(t, j, add(a, n, fmt.Sprint("in ", e.Sequence), "more"))
		n++
	}
}

func (s *suite) load(t *testing.T) {
	j := s.open(t)
	a := cart("a")
	load := func() (journal.Loading, []int64) {
		t.Helper()
		l, err := j.Load(within(t), a)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for e, err := range l.Events {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Sequence)
		}
		return l, got
	}
	l, got := load()
	same(t, "head", l.Head, journal.Head{})
	same(t, "snapshot", l.Snapshot, (*journal.Snapshot)(nil))
	same(t, "events", got, []int64{})

	must(t, j, add(a, 0, "1", "a", "b"))
	l, got = load()
	same(t, "events", got, []int64{1, 2})
	same(t, "snapshot", l.Snapshot, (*journal.Snapshot)(nil))

	with := add(a, 2, "2", "c")
	with.Snapshot = new(payload("s3"))
	must(t, j, with)
	l, got = load()
	same(t, "snapshot", l.Snapshot, &journal.Snapshot{Sequence: 3, Payload: payload("s3")})
	same(t, "events", got, []int64{})

	must(t, j, add(a, 3, "3", "d"), add(a, 4, "4", "e"))
	l, got = load()
	same(t, "snapshot", l.Snapshot.Sequence, int64(3))
	same(t, "events", got, []int64{4, 5})

	// Two snapshots in one batch: the newest stays. What comes after Load is not in it.
	first, second := add(a, 5, "5", "f"), add(a, 6, "6", "g")
	first.Snapshot, second.Snapshot = new(payload("s6")), new(payload("s7"))
	must(t, j, first, second, add(a, 7, "7", "h"))
	l, err := j.Load(within(t), a)
	if err != nil {
		t.Fatal(err)
	}
	must(t, j, add(a, 8, "8", "i"))
	got = nil
	for e, err := range l.Events {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Sequence)
	}
	same(t, "snapshot", l.Snapshot, &journal.Snapshot{Sequence: 7, Payload: payload("s7")})
	same(t, "head", l.Head.Sequence, int64(8))
	same(t, "events", got, []int64{8})
	same(t, "all are kept", len(dataOf(t, j, a)), 9)
}

// big crosses the pages in which a back end may read, and has payloads of a megabyte.
func (s *suite) big(t *testing.T) {
	j := s.open(t)
	a, b := cart("a"), cart("b")
	const n = 2500
	for from := 0; from < n; from += 500 {
		batch := make([]journal.Append, 0, 100)
		for i := from; i < from+500; i += 5 {
			batch = append(batch, add(a, int64(i), fmt.Sprint(i), numbered(fmt.Sprint(i, " "), 5)...))
		}
		must(t, j, batch...)
	}
	if got := len(dataOf(t, j, a)); got != n {
		t.Errorf("%d events, want %d", got, n)
	}
	megabyte := long(1 << 20)
	must(t, j, add(b, 0, "1", megabyte+"1", megabyte+"2"), add(b, 2, "2", megabyte+"3", megabyte+"4", megabyte+"5", megabyte+"6"))
	for i, text := range dataOf(t, j, b) {
		if text != megabyte+fmt.Sprint(i+1) {
			t.Errorf("event %d has %d bytes", i+1, len(text))
		}
	}
}

func (s *suite) damage(t *testing.T) {
	if s.Damage == nil {
		t.Fatal("the back end gives no way to damage it")
	}
	j := s.open(t)
	for _, test := range []struct {
		damage   Damage
		sequence int64 // 0 for none
		snapshot bool  // with a snapshot at 3 of 5
		loads    bool
	}{
		{FlipEvent, 2, false, false},
		{FlipEvent, 5, false, false},
		{RenameEvent, 1, false, false},
		{RemoveEvent, 1, false, false},
		{RemoveEvent, 3, false, false},
		{RemoveEvent, 5, false, false},
		{FlipEvent, 2, true, true}, // the snapshot covers it
		{FlipEvent, 4, true, false},
		{RemoveEvent, 5, true, false},
		{FlipSnapshot, 0, true, true},
	} {
		name := fmt.Sprintf("%v %d, snapshot %v", test.damage, test.sequence, test.snapshot)
		t.Run(name, func(t *testing.T) {
			ref, other := cart(name), cart("beside "+name)
			three := add(ref, 0, "1", "a", "b", "c")
			if test.snapshot {
				three.Snapshot = new(payload("snap"))
			}
			must(t, j, three, add(ref, 3, "2", "d", "e"), add(other, 0, "1", "x"))
			s.Damage(t, j, ref, test.damage, test.sequence)

			l, err := j.Load(within(t), ref)
			n := int64(0)
			if err == nil {
				if l.Snapshot != nil {
					n = l.Snapshot.Sequence
				}
				for e, err2 := range l.Events {
					if err2 != nil {
						err = err2
						break
					}
					if e.Sequence != n+1 {
						t.Fatalf("event %d after %d", e.Sequence, n)
					}
					n++
				}
			}
			if test.loads {
				if err != nil || n != 5 {
					t.Errorf("load ends at %d: %v", n, err)
				}
				if test.damage == FlipSnapshot && l.Snapshot != nil {
					t.Errorf("damaged snapshot is used: %+v", l.Snapshot)
				}
			} else {
				corrupt(t, err, ref, test.sequence)
				if n >= test.sequence {
					t.Errorf("event %d was loaded", n)
				}
			}
			if test.sequence > 0 && test.sequence < 5 {
				var err error
				for _, err = range j.Read(within(t), ref, 0, 0) {
				}
				corrupt(t, err, ref, test.sequence)
			}
			if test.sequence == 5 {
				_, err := j.Last(within(t), []actors.Ref{other, ref})
				corrupt(t, err, ref, 5)
			}
			same(t, "the others", dataOf(t, j, other), []string{"x"})
		})
	}
}

func corrupt(t testing.TB, err error, ref actors.Ref, sequence int64) {
	t.Helper()
	c, ok := errors.AsType[*journal.CorruptError](err)
	if !ok || !errors.Is(err, journal.ErrCorrupt) || c.Ref != ref || c.Sequence != sequence {
		t.Errorf("error %v, want one of damaged event %d of %s", err, sequence, ref)
	}
}

func (s *suite) list(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	ids := []string{"z", "b", "a", "B", "ü", "a a", "a/a", "a||b", "aa", "%", "100%", "🍵", "_", "ab"}
	var batch []journal.Append
	for _, id := range ids {
		batch = append(batch, add(cart(id), 0, "1", "x", "y"))
	}
	must(t, j, batch...)
	must(t, j, add(actors.Ref{Service: "shop.v1.Other", ID: "c"}, 0, "1", "x"), keyed(add(cart("without events"), 0, "1"), 1))
	if _, err := j.Fence(ctx, cart("fenced only"), 1); err != nil {
		t.Fatal(err)
	}
	ids = append(ids, "without events", "fenced only")
	slices.Sort(ids)
	for _, limit := range []int{0, 1, 3, len(ids), 100} {
		var got []string
		for after := ""; ; {
			page, err := j.List(ctx, "shop.v1.ShoppingCart", after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if limit > 0 && len(page) > limit {
				t.Fatalf("%d streams, limit %d", len(page), limit)
			}
			for _, sum := range page {
				got = append(got, sum.ID)
				events := int64(2)
				if sum.ID == "without events" || sum.ID == "fenced only" {
					events = 0
				}
				if sum.Sequence != events || time.Since(sum.Updated).Abs() > time.Minute {
					t.Errorf("summary %+v", sum)
				}
			}
			if limit == 0 || len(page) < limit {
				break
			}
			after = page[len(page)-1].ID
		}
		same(t, fmt.Sprintf("ids, limit %d", limit), got, ids)
	}
	page, err := j.List(ctx, "shop.v1.None", "", 10)
	if err != nil || len(page) != 0 {
		t.Errorf("no such service: %v, %v", page, err)
	}
}

func (s *suite) oddIDs(t *testing.T) {
	j := s.open(t)
	ids := []string{
		"a||b", "a", "||", "%", "%25", "a b", " ", "a/b", "/", "..", "🍵", "ä", "a\u0308", "'; DROP TABLE events; --",
		`\`, `"`, "{}", "NULL", "null", "$1", "a\tb", long(actors.MaxIDBytes),
	}
	var batch []journal.Append
	for _, service := range []string{"s", "s||a", "S", "s/a", "%"} {
		for _, id := range ids {
			batch = append(batch, keyed(add(actors.Ref{Service: service, ID: id}, 0, "k|"+id, service+"\n"+id), 1))
		}
	}
	must(t, j, batch...)
	for _, a := range batch {
		same(t, a.Ref.String(), dataOf(t, j, a.Ref), []string{a.Ref.Service + "\n" + a.Ref.ID})
	}
	for _, r := range j.Append(within(t), batch) {
		if r.Status != journal.AlreadyApplied {
			t.Errorf("again: %+v", r)
		}
	}
}

// order checks that positions order the events over all streams as they were appended.
func (s *suite) order(t *testing.T) {
	j := s.open(t)
	a, b := cart("a"), cart("b")
	must(t, j, add(a, 0, "1", "1", "2"))
	must(t, j, add(b, 0, "1", "3"))
	must(t, j, add(a, 2, "2", "4"), add(a, 3, "3", "5"))
	must(t, j, add(b, 1, "2", "6"))
	var all []journal.Event
	for _, ref := range []actors.Ref{b, a} {
		for e, err := range j.Read(within(t), ref, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(x, y journal.Event) int { return x.Position.Compare(y.Position) })
	var got []string
	for _, e := range all {
		got = append(got, string(e.Payload.Data))
	}
	same(t, "order", got, numbered("", 6))
}
