// Package journaltest holds the contract of package journal as tests, and helps to test what stands on a journal:
//
//	Run     the contract; every back end passes it
//	Bench   how fast a back end is
//	Faulty  a journal whose calls fail as told
//
// postgrestest, below it, gives tests a PostgreSQL.
package journaltest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Backend is what the suite needs of a back end.
type Backend struct {
	// Open makes a new, empty journal. The suite closes it; closing it again must do no harm.
	Open func(t testing.TB) journal.Journal
	// Reopen opens the journal that Open made and that was closed since. Nil if it does not outlive Close.
	Reopen func(t testing.TB, closed journal.Journal) journal.Journal
	// Damage alters what is stored, past the journal.
	Damage func(t testing.TB, j journal.Journal, ref actors.Ref, d Damage, sequence int64)
	// Weaker says what it cannot do.
	Weaker Weaker
}

// Weaker is what a back end may leave out, because its store cannot do it. Nothing of it makes a journal less safe.
type Weaker struct {
	// PositionsInTailOnly says that events which Read, Load and Last return have no Position: an event gets its place in the
	// order over all streams after it is durable, and nothing of the stream is written for it again.
	PositionsInTailOnly bool
	// EffectIDsPerSource says that the ID of an effect is compared with those that are kept of its source only. IDs that
	// actors.EffectID makes name their source, so no others meet.
	EffectIDsPerSource bool
	// DamageElsewhere says that the same code has passed the tests with damage on another store.
	DamageElsewhere bool
}

// Damage is a way to spoil what is stored.
type Damage uint8

// The ways.
const (
	FlipEvent    Damage = iota // change the first byte of the event's payload
	RenameEvent                // change the event's name
	RemoveEvent                // remove it
	FlipSnapshot               // change the first byte of the snapshot
)

func (d Damage) String() string {
	return [...]string{"flipped event", "renamed event", "removed event", "flipped snapshot"}[d]
}

// Run tests a back end.
func Run(t *testing.T, b Backend) {
	s := suite{b}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"append", s.appends},
		{"batch", s.batches},
		{"pipeline", s.pipeline},
		{"duplicates", s.duplicates},
		{"duplicates in a stream that grows", s.duplicatesAtAnyLength},
		{"any sequence", s.anySequence},
		{"refused", s.refused},
		{"transact", s.transact},
		{"epochs", s.epochs},
		{"records without events", s.recordOnly},
		{"every field comes back", s.fields},
		{"the batch is not kept", s.batchNotKept},
		{"heads", s.heads},
		{"last", s.last},
		{"read", s.read},
		{"read breaks early", s.readBreaks},
		{"load", s.load},
		{"big streams", s.big},
		{"damage", s.damage},
		{"list", s.list},
		{"odd ids", s.oddIDs},
		{"order over streams", s.order},
		{"effects of appends", s.effectsOfAppends},
		{"every field of an effect", s.effectFields},
		{"bad effects", s.effectsRefused},
		{"order of effects", s.effectOrder},
		{"delayed effects", s.effectDelays},
		{"named effects", s.effectNames},
		{"settling", s.settling},
		{"parking", s.parking},
		{"lanes", s.effectLanes},
		{"all effects that are kept", s.inventory},
		{"enqueueing", s.enqueueing},
		{"effects in flight", s.effectsInFlight},
		{"tail", s.tail},
		{"tail among others", s.tailForeign},
		{"tail in flight", s.tailInFlight},
		{"tail over damage", s.tailDamage},
		{"cells", s.cells},
		{"many cells at once", s.cellsAtOnce},
		{"lists of cells", s.cellLists},
		{"limits of cells", s.cellLimits},
		{"races for cells", s.cellRaces},
		{"races for many cells", s.cellRacesAtOnce},
		{"forget", s.forget},
		{"forget whole values", s.forgetValues},
		{"forget much", s.forgetMuch},
		{"forget of many", s.forgetEach},
		{"forget records", s.forgetRecords},
		{"forget while others read", s.forgetInFlight},
		{"tail over what was forgotten", s.tailForgotten},
		{"erase", s.erase},
		{"erase much", s.eraseMuch},
		{"erase while others write", s.eraseInFlight},
		{"services and records", s.servicesAndRecords},
		{"restore", s.restore},
		{"restore a stream that grows again", s.restoreAtAnyLength},
		{"restore what differs", s.restoreDiffers},
		{"restore what cannot be", s.restoreRefused},
		{"copy", s.copies},
		{"fighting writers", s.fight},
		{"opposite orders", s.opposite},
		{"transactions move money", s.money},
		{"fence in flight", s.fenceInFlight},
		{"duplicate in flight", s.duplicateInFlight},
		{"context", s.contextEnds},
		{"close", s.close},
		{"reopen", s.reopen},
		{"model", s.model},
	} {
		if test.name == "reopen" && b.Reopen == nil {
			continue // what does not outlive Close need not be tried
		}
		if strings.HasSuffix(test.name, "damage") && b.Weaker.DamageElsewhere {
			continue
		}
		if test.name == "order over streams" && b.Weaker.PositionsInTailOnly {
			continue // "tail" has the same order
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t)
		})
	}
}

type suite struct{ Backend }

func (s *suite) open(t testing.TB) journal.Journal {
	t.Helper()
	j := s.Open(t)
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return j
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func cart(id string) actors.Ref { return actors.Ref{Service: "shop.v1.ShoppingCart", ID: id} }

func payload(text string) actors.Payload {
	return actors.Payload{TypeURL: "type.googleapis.com/shop.v1.Item", ContentType: actors.ContentProtobuf, Data: []byte(text)}
}

func events(texts ...string) []journal.Event {
	var list []journal.Event
	for _, text := range texts {
		list = append(list, journal.Event{Name: "item-added", Payload: payload(text)})
	}
	return list
}

// add is an append without a record.
func add(ref actors.Ref, expected int64, command string, texts ...string) journal.Append {
	return journal.Append{Ref: ref, Expected: expected, Command: command, Events: events(texts...)}
}

// keyed gives an append a record.
func keyed(a journal.Append, hash byte) journal.Append {
	a.Record = &journal.Record{Hash: [16]byte{hash}, Outcome: []byte("outcome of " + a.Command)}
	return a
}

func want(t testing.TB, got []journal.Result, statuses ...journal.Status) {
	t.Helper()
	if len(got) != len(statuses) {
		t.Fatalf("%d results for %d appends", len(got), len(statuses))
	}
	for i, r := range got {
		if r.Status != statuses[i] {
			t.Errorf("append %d: %v, want %v (head %+v, error %v)", i, r.Status, statuses[i], r.Head, r.Err)
		}
		hasErr := r.Status == journal.Unknown || r.Status == journal.Refused
		if hasErr != (r.Err != nil) {
			t.Errorf("append %d: %v with error %v", i, r.Status, r.Err)
		}
		if (r.Status == journal.AlreadyApplied) != (r.Record != nil) {
			t.Errorf("append %d: %v with record %v", i, r.Status, r.Record)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

func must(t testing.TB, j journal.Journal, batch ...journal.Append) []journal.Result {
	t.Helper()
	results := j.Append(within(t), batch)
	statuses := make([]journal.Status, len(batch))
	for i := range statuses {
		statuses[i] = journal.Committed
	}
	want(t, results, statuses...)
	return results
}

func headOf(t testing.TB, j journal.Journal, ref actors.Ref) journal.Head {
	t.Helper()
	checked, err := j.Heads(within(t), []journal.Check{{Ref: ref}})
	if err != nil {
		t.Fatal(err)
	}
	return checked[0].Head
}

// dataOf reads a whole stream as the texts of its events and checks that their sequences are dense.
func dataOf(t testing.TB, j journal.Journal, ref actors.Ref) []string {
	t.Helper()
	texts := []string{}
	for e, err := range j.Read(within(t), ref, 0, 0) {
		if err != nil {
			t.Fatalf("read %s: %v", ref, err)
		}
		if e.Sequence != int64(len(texts)+1) || e.Ref != ref {
			t.Fatalf("read %s: event %d of %s at place %d", ref, e.Sequence, e.Ref, len(texts)+1)
		}
		texts = append(texts, string(e.Payload.Data))
	}
	return texts
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func numbered(prefix string, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("%s%d", prefix, i+1)
	}
	return texts
}

func long(n int) string { return strings.Repeat("x", n) }
