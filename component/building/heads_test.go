package building

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

// What is guessed is what was learnt, as long as it has not been wrong.
func TestHeads(t *testing.T) {
	t.Parallel()
	h := newHeads()
	anywhere := func(keys ...string) []journal.Append {
		var batch []journal.Append
		for _, key := range keys {
			batch = append(batch, plainAppend(key, journal.AnySequence))
		}
		return batch
	}
	learn := func(key string, status journal.Status, sequence, epoch int64, guessed map[int]int64) {
		h.learn(anywhere(key), []journal.Result{{Status: status, Head: journal.Head{Sequence: sequence, Epoch: epoch}}}, guessed)
	}
	want := func(batch []journal.Append, guessed map[int]int64) {
		t.Helper()
		got := h.guess(batch)
		if diff := cmp.Diff(guessed, got); diff != "" {
			t.Error(diff)
		}
		for i, a := range batch {
			if at, ok := guessed[i]; ok && a.Expected != at {
				t.Errorf("%d expects %d, not %d", i, a.Expected, at)
			}
		}
	}
	want(anywhere("a"), nil)
	learn("a", journal.Committed, 7, 0, nil)
	want(anywhere("b", "a", "a"), map[int]int64{1: 7, 2: 8})
	want([]journal.Append{plainAppend("a", 3)}, nil) // it knows itself
	recorded := anywhere("a")
	recorded[0].Record = &journal.Record{}
	want(recorded, nil) // it may be a repeat
	learn("a", journal.Unknown, 0, 0, map[int]int64{0: 7})
	want(anywhere("a"), nil)
	learn("a", journal.Committed, 9, 2, nil)
	want(anywhere("a"), nil) // of a lower epoch
	later := anywhere("a")
	later[0].Epoch = 2
	want(later, map[int]int64{0: 9})
	learn("a", journal.Conflict, 12, 2, map[int]int64{0: 9})
	learn("a", journal.Committed, 13, 2, nil)
	want(later, nil) // others write to it, too
	for i := range maxHeads + 1 {
		learn(string(rune('b'+i)), journal.Committed, 1, 0, nil)
	}
	if h.known.Len() != maxHeads {
		t.Errorf("%d are remembered", h.known.Len())
	}
}

// TestGuesses: a guess that is wrong costs time and nothing else.
func TestGuesses(t *testing.T) {
	t.Parallel()
	set := func(j journal.Appender, key, command string) journal.Result {
		a := plainAppend(key, journal.AnySequence)
		a.Command = command
		return j.Append(t.Context(), []journal.Append{a})[0]
	}
	inner := journaltest.NewFaulty(memory.Open())
	s := share(inner)
	for n, step := range []struct {
		command string
		on      journal.Appender
		fault   *journaltest.Disturbance
		want    journal.Status
		calls   int // of Append, by this step
		heads   int
	}{
		{"first", s, nil, journal.Committed, 1, 0},
		{"guessed", s, nil, journal.Committed, 1, 0},
		{"carried out twice", s, &journaltest.Disturbance{Call: journaltest.CallAppend, Fault: journaltest.Again}, journal.Committed, 1, 1},
		{"not guessed any more", s, nil, journal.Committed, 1, 0},
	} {
		calls, heads := inner.Calls(journaltest.CallAppend), inner.Calls(journaltest.CallHeads)
		if step.fault != nil {
			inner.Disturb(*step.fault)
		}
		r := set(step.on, "k", step.command)
		if r.Status != step.want || r.Head.Sequence != int64(n+1) {
			t.Errorf("%s: %+v", step.command, r)
		}
		calls, heads = inner.Calls(journaltest.CallAppend)-calls, inner.Calls(journaltest.CallHeads)-heads
		if calls != step.calls || heads != step.heads {
			t.Errorf("%s: %d appends and %d questions, want %d and %d", step.command, calls, heads, step.calls, step.heads)
		}
	}

	// Somebody else writes between.
	set(s, "l", "1")
	set(inner, "l", "2")
	for n, command := range []string{"3", "4"} {
		if r := set(s, "l", command); r.Status != journal.Committed || r.Head.Sequence != int64(n+3) {
			t.Errorf("%s: %+v", command, r)
		}
	}
	// It is not known whether it happened: that is for the caller to find out.
	set(s, "m", "1")
	set(inner, "m", "2")
	inner.Disturb(journaltest.Disturbance{Call: journaltest.CallHeads, Fault: journaltest.Lost})
	if r := set(s, "m", "3"); r.Status != journal.Unknown || r.Err == nil {
		t.Errorf("%+v", r)
	}
	if n := inner.Pending(); n > 0 {
		t.Errorf("%d faults have not struck", n)
	}
}
