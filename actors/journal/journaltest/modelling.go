package journaltest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// model is the contract in its plainest form: one call at a time, no regard to speed. It is written from the contract
// and shares nothing with the back ends.
type model struct {
	streams map[actors.Ref]*modelStream
	box     modelBox
	cells   modelCells
}

type modelStream struct {
	head     journal.Head
	origin   int64
	floor    int64
	events   []journal.Event // after floor
	records  map[string]journal.Record
	snapshot *journal.Snapshot
}

func (m *model) at(ref actors.Ref) *modelStream {
	if s := m.streams[ref]; s != nil {
		return s
	}
	return &modelStream{records: map[string]journal.Record{}}
}

func (m *model) append(batch []journal.Append) []journal.Result {
	broken := map[actors.Ref]bool{}
	var results []journal.Result
	for _, a := range batch {
		r := m.try(a, broken[a.Ref])
		if r.Status != journal.Committed {
			broken[a.Ref] = true
		}
		results = append(results, r)
	}
	return results
}

func (m *model) try(a journal.Append, broken bool) journal.Result {
	s := m.at(a.Ref)
	if a.Record != nil {
		if old, ok := s.records[a.Command]; ok && old.Hash == a.Record.Hash {
			return journal.Result{Status: journal.AlreadyApplied, Record: &old}
		} else if ok {
			return journal.Result{Status: journal.CommandIDReused}
		}
	}
	if broken || a.Epoch < s.head.Epoch || a.Expected >= 0 && a.Expected != s.head.Sequence {
		return journal.Result{Status: journal.Conflict, Head: s.head}
	}
	m.streams[a.Ref] = s
	s.head.Epoch = a.Epoch
	m.box.keep(a.Ref, a.Effects)
	for _, e := range a.Events {
		s.head.Sequence++
		e.Ref, e.Sequence, e.Command = a.Ref, s.head.Sequence, a.Command
		s.events = append(s.events, e)
	}
	if a.Record != nil {
		s.records[a.Command] = journal.Record{Hash: a.Record.Hash, Outcome: a.Record.Outcome, Sequence: s.head.Sequence}
	}
	if a.Snapshot != nil {
		s.snapshot = &journal.Snapshot{Sequence: s.head.Sequence, Payload: *a.Snapshot}
	}
	return journal.Result{Status: journal.Committed, Head: s.head}
}

// transact works on a copy, and takes it over if all went well.
func (m *model) transact(batch []journal.Append) []journal.Result {
	copied := model{streams: map[actors.Ref]*modelStream{}, box: m.box.clone()}
	for ref, s := range m.streams {
		c := *s
		c.events, c.records = slices.Clone(s.events), maps.Clone(s.records)
		copied.streams[ref] = &c
	}
	results := copied.append(batch)
	if !slices.ContainsFunc(results, func(r journal.Result) bool { return r.Status != journal.Committed }) {
		m.streams, m.box = copied.streams, copied.box
		return results
	}
	fault := map[actors.Ref]bool{}
	for i, r := range results {
		ref := batch[i].Ref
		if r.Status == journal.Committed || r.Status == journal.Conflict && fault[ref] {
			results[i] = journal.Result{Status: journal.Refused, Err: journal.ErrTransaction}
		}
		fault[ref] = fault[ref] || r.Status != journal.Committed
	}
	return results
}

func (m *model) fence(ref actors.Ref, epoch int64) journal.Head {
	s := m.at(ref)
	m.streams[ref] = s
	s.head.Epoch = max(s.head.Epoch+1, epoch)
	return s.head
}

func (m *model) check(c journal.Check) journal.Checked {
	s := m.at(c.Ref)
	d := journal.Checked{Head: s.head}
	if r, ok := s.records[c.Command]; ok {
		d.Applied, d.Record, d.LastSequence = true, &r, r.Sequence
		return d
	}
	if c.Command == "" || c.After < s.floor {
		return d
	}
	for n := c.After - s.floor; n < int64(len(s.events)) && s.events[n].Command == c.Command; n++ {
		d.Applied, d.LastSequence = true, s.floor+n+1
	}
	return d
}

var events3 = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) journal.Event {
	return journal.Event{
		Name:    rapid.SampledFrom([]string{"", "added", "removed"}).Draw(t, "name"),
		Payload: actors.Payload{TypeURL: "t", ContentType: actors.ContentJSON, Data: rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "data")},
	}
}), 0, 3)

// program makes appends that mostly fit, because such as never fit test nothing.
func (m *model) program(t *rapid.T, refs []actors.Ref) []journal.Append {
	heads := map[actors.Ref]journal.Head{}
	var batch []journal.Append
	for range rapid.IntRange(1, 6).Draw(t, "appends") {
		a := journal.Append{
			Ref:     rapid.SampledFrom(refs).Draw(t, "ref"),
			Command: fmt.Sprint("c", rapid.IntRange(1, 12).Draw(t, "command")),
			Events:  events3.Draw(t, "events"),
		}
		head, ok := heads[a.Ref]
		if !ok {
			head = m.at(a.Ref).head
		}
		a.Epoch = max(0, head.Epoch+rapid.SampledFrom([]int64{0, 0, 0, 0, 0, -1, 1}).Draw(t, "epoch"))
		a.Expected = max(0, head.Sequence+rapid.SampledFrom([]int64{0, 0, 0, 0, 0, -1, 1}).Draw(t, "expected"))
		if rapid.IntRange(0, 7).Draw(t, "any") == 0 {
			a.Expected = journal.AnySequence
		}
		a.Effects = m.box.program(t)
		if rapid.Bool().Draw(t, "keyed") || len(a.Events) == 0 {
			hash := rapid.SampledFrom([]byte{1, 1, 1, 2}).Draw(t, "hash")
			a.Record = &journal.Record{Hash: [16]byte{hash}, Outcome: []byte(a.Command)}
		}
		if len(a.Events) > 0 && rapid.IntRange(0, 3).Draw(t, "snapshot") == 0 {
			a.Snapshot = &actors.Payload{TypeURL: "s", Data: []byte(a.Command)}
		}
		heads[a.Ref] = journal.Head{Sequence: head.Sequence + int64(len(a.Events)), Epoch: a.Epoch}
		batch = append(batch, a)
	}
	return batch
}

// model runs random programs on the back end and on the model, and compares every answer.
func (s *suite) model(t *testing.T) {
	j := s.open(t)
	program := 0
	rapid.Check(t, func(t *rapid.T) {
		program++ // each program has streams of its own: opening a journal for each would take too long
		ctx := context.Background()
		service := fmt.Sprint("program ", program)
		var refs []actors.Ref
		for _, id := range []string{"a", "b", "c||d"} {
			refs = append(refs, actors.Ref{Service: service, ID: id})
		}
		m := &model{streams: map[actors.Ref]*modelStream{}, cells: modelCells{prefix: service + "/"}}
		m.box.prefix = service
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			switch rapid.IntRange(0, 18).Draw(t, "step") {
			case 0:
				ref, epoch := rapid.SampledFrom(refs).Draw(t, "ref"), rapid.Int64Range(0, 4).Draw(t, "epoch")
				head, err := j.Fence(ctx, ref, epoch)
				if err != nil {
					t.Fatal(err)
				}
				agree(t, "fence", head, m.fence(ref, epoch))
			case 1, 2:
				batch := m.program(t, refs)
				agree(t, "transact", j.Transact(ctx, batch), m.transact(batch))
			case 3, 4, 5, 6:
				for range rapid.IntRange(1, 4).Draw(t, "box steps") {
					m.box.step(t, j, refs)
					m.box.compare(t, j, refs)
				}
			case 7, 8:
				m.cells.step(t, j)
			case 9, 10, 11:
				m.keep(t, j, refs)
			default:
				batch := m.program(t, refs)
				agree(t, "append", j.Append(ctx, batch), m.append(batch))
			}
		}
		m.compare(t, j, service, refs)
		m.box.compare(t, j, refs)
		m.cells.compare(t, j)
		m.box.clear(t, j)
	})
}

func (m *model) compare(t *rapid.T, j journal.Journal, service string, refs []actors.Ref) {
	ctx := context.Background()
	var checks []journal.Check
	var expected []journal.Checked
	var lasts []journal.Event
	for _, ref := range refs {
		for c := range 13 {
			check := journal.Check{Ref: ref, After: int64(c%5) - 1}
			if c > 0 {
				check.Command = fmt.Sprint("c", c)
			}
			checks = append(checks, check)
			expected = append(expected, m.check(check))
		}
		stream := m.at(ref)
		var last journal.Event
		if n := len(stream.events); n > 0 {
			last = stream.events[n-1]
		} else if stream.head.Sequence > 0 {
			last = journal.Event{Ref: ref, Sequence: stream.head.Sequence}
		}
		lasts = append(lasts, last)
		m.compareStream(t, j, ref)
	}
	checked, err := j.Heads(ctx, checks)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, "heads", checked, expected)
	last, err := j.Last(ctx, refs)
	if err != nil {
		t.Fatal(err)
	}
	agree(t, "last", last, lasts)
	list, err := j.List(ctx, service, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var summaries []journal.Summary
	for _, ref := range refs {
		if s := m.streams[ref]; s != nil {
			summaries = append(summaries, journal.Summary{ID: ref.ID, Sequence: s.head.Sequence, Floor: s.floor})
		}
	}
	agree(t, "list", list, summaries)
}

func drain(t *rapid.T, all func(func(journal.Event, error) bool)) []journal.Event {
	var list []journal.Event
	for e, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

var loosely = cmp.Options{
	cmpopts.EquateEmpty(), cmpopts.EquateErrors(),
	cmpopts.IgnoreFields(journal.Event{}, "Position", "Time"), cmpopts.IgnoreFields(journal.Summary{}, "Updated"),
	cmpopts.IgnoreFields(journal.Span{}, "Updated"),
}

func agree(t *rapid.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, loosely); diff != "" {
		t.Fatalf("%s (-model +journal):\n%s", what, diff)
	}
}
