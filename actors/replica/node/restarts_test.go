package node_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
	"github.com/dapr-entities/entities/crdt"
)

// A node that is started a thousand times, mostly for a moment, leaves a counter that takes no more than twice what one
// takes that has run all the time, once the last one has run for longer than anything of the others can be on its way.
func TestThousandRestartsLeaveASmallCounter(t *testing.T) {
	log := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(log) })
	never, often := restarted(t, 0), restarted(t, 1000)
	if often > 2*never {
		t.Errorf("the counter of a node that was restarted 1,000 times takes %d bytes, want at most twice %d", often, never)
	}
}

// restarted is how long the state of a counter is whose node was restarted.
func restarted(t *testing.T, restarts int) (state int) {
	synctest.Test(t, func(t *testing.T) {
		cells, sealed, writes := memory.Open(), 0, uint64(0)
		var m *member
		var r replica.Replica
		begin := func() {
			if m != nil {
				if err := m.stop(); err != nil {
					t.Fatal(err)
				}
			}
			m = start(t, cells, nil, "", func(c *node.Config) {
				c.SealAfter, c.ReceiptTime = 5*time.Minute, 24*time.Hour
				c.Observer.Sealed = func(actors.Ref, crdt.Slot, crdt.Epoch) { sealed++ }
			})
			r = open(t, m, "counter", nil)
			write(t, r, &crdt.Update{Kind: crdt.GCounter, Increment: 1}, replica.Local)
			writes++
		}
		begin()
		for n := range restarts {
			begin()
			if n%100 == 99 {
				time.Sleep(10 * time.Minute)
			}
		}
		state = m.StateBytes(actors.Ref{Service: "test", ID: "counter"})
		most := stored(t, cells)
		// Receipts for those who may come back are kept for a time, and left out of the first base after that.
		time.Sleep(24 * time.Hour)
		for range min(restarts, 40) {
			begin()
		}
		time.Sleep(10 * time.Minute)
		least := stored(t, cells)
		if got := r.Value().Increment; got != writes {
			t.Errorf("the counter is %d, want %d", got, writes)
		}
		if restarts > 0 && (sealed < 2 || least > most/4) {
			t.Errorf("sealed %d times; the journal has %d bytes of the counter, and had %d before the receipts were old", sealed, least, most)
		}
		t.Logf("%d restarts, sealed %d times: the state has %d bytes; the journal has %d, with all receipts %d",
			restarts, sealed, state, least, most)
	})
	return state
}

// stored is how many bytes all cells of the test's entities have.
func stored(t *testing.T, cells journal.Cells) (n int) {
	t.Helper()
	for after := ""; ; {
		list, err := cells.Cells(t.Context(), "ent/", after, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return n
		}
		for _, c := range list {
			n += len(c.Value)
		}
		after = list[len(list)-1].Key
	}
}
