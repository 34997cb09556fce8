package engine

import (
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
)

// What came of a command is found by its key, in the words of its first answer.
func TestStored(t *testing.T) {
	t.Parallel()
	r := start(t, nil, nil)
	r.do(keyed(command("a", "add", 3), "k"))
	r.do(command("a", "add", 4))
	o, found, err := Stored(t.Context(), r.journal, "bank", account1("a"), "k")
	if err != nil || !found || number(o.Reply) != 3 || o.Sequence != 1 || !o.Repeated {
		t.Errorf("%+v, %v, %v", o, found, err)
	}
	for _, c := range []struct{ id, key string }{{"a", "other"}, {"b", "k"}} {
		if _, found, err := Stored(t.Context(), r.journal, "bank", account1(c.id), c.key); found || err != nil {
			t.Errorf("%v: %v, %v", c, found, err)
		}
	}
	if got := r.journal.Append(t.Context(), []journal.Append{{
		Ref: actors.Ref{Service: "bank", ID: "c"}, Expected: journal.AnySequence, Command: CommandID("k"), Record: &journal.Record{Outcome: []byte("?")},
	}}); got[0].Err != nil {
		t.Fatal(got[0].Err)
	}
	_, _, err = Stored(t.Context(), r.journal, "bank", account1("c"), "k")
	wantError(t, err, actors.DataLoss, "a command of "+account1("c").String())
	j := journaltest.NewFaulty(r.journal)
	j.Disturb(fault(journaltest.CallHeads, journaltest.Lost))
	_, _, err = Stored(t.Context(), j, "bank", account1("a"), "k")
	wantError(t, err, actors.Unavailable, "try again")
}
