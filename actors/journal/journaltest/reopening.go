package journaltest

import (
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

func (s *suite) reopen(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a := cart("a")
	with := keyed(add(a, 0, "1", "x", "y"), 1)
	with.Snapshot = new(payload("s"))
	must(t, j, with, add(a, 2, "2", "z"))
	head, err := j.Fence(ctx, a, 4)
	if err != nil {
		t.Fatal(err)
	}
	id, err := j.ID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	before := everything(t, j, a)
	enqueue(t, j, a, kept("done"), kept("put off"), kept("behind"), later(kept("later", "k")), kept("parked"))
	settle(t, j, done("done"), postponed("put off", time.Hour), parked("parked"))
	first := put(t, j, "kept", "v", 0)
	gone := put(t, j, "gone", "v", 0)
	if err := j.Remove(ctx, "gone", gone); err != nil {
		t.Fatal(err)
	}
	tailed, position := follow(t, j, []string{a.Service}, journal.Position{}, 0, 3)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}

	k := s.Reopen(t, j)
	t.Cleanup(func() { k.Close() })
	same(t, "head", headOf(t, k, a), head)
	same(t, "events", everything(t, k, a), before)
	if same, err := k.ID(ctx); err != nil || same != id {
		t.Errorf("id %q (%v), was %q", same, err, id)
	}
	l, err := k.Load(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "snapshot", l.Snapshot, &journal.Snapshot{Sequence: 2, Payload: payload("s")})
	want(t, k.Append(ctx, []journal.Append{with}), journal.AlreadyApplied)
	next := add(a, 3, "3", "v")
	next.Epoch = 4
	must(t, k, next)
	after := everything(t, k, a)
	if len(after) != 4 || !s.Weaker.PositionsInTailOnly && after[3].Position.Compare(after[2].Position) <= 0 {
		t.Errorf("positions start again: %+v, then %+v", after[2].Position, after[len(after)-1].Position)
	}
	again, _ := follow(t, k, []string{a.Service}, journal.Position{}, 3, 4)
	same(t, "order", again[:3], tailed)
	if rest, _ := follow(t, k, []string{a.Service}, position, 0, 1); rest[0].Sequence != 4 {
		t.Errorf("tail goes on with %+v", rest)
	}
	same(t, "due", idsOf(due(t, k)), []string{})
	same(t, "parked", idsOf(parkedOf(t, k)), []string{"parked"})
	settle(t, k, done("put off"))
	enqueue(t, k, a, cancel("c", "k"), kept("new"))
	same(t, "due", idsOf(due(t, k)), []string{"behind", "new"})
	same(t, "cell", cellOf(t, k, "kept"), journal.Cell{Key: "kept", Value: []byte("v"), Version: first})
	if version := put(t, k, "gone", "w", 0); version <= gone {
		t.Errorf("version %d of a cell that was at %d", version, gone)
	}

	other := s.open(t)
	if otherID, err := other.ID(ctx); err != nil || otherID == id {
		t.Errorf("another journal has id %q, too (%v)", otherID, err)
	}
}

func everything(t testing.TB, j journal.Journal, ref actors.Ref) []journal.Event {
	t.Helper()
	var all []journal.Event
	for e, err := range j.Read(within(t), ref, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}
