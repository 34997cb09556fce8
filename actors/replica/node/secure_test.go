package node

import (
	"context"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// A member that joins between the barrier and the seal, and confirms a write that changes nothing because a dead member's
// local write has done it already, must not lose that by the seal, which knows nothing of it.
func TestConfirmedNoOpOutlivesSeal(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, func(c *Config) {
		c.DepartureSpread, c.Round, c.Heartbeats, c.SealEpochs = time.Hour, time.Hour, 0, 1000
	})
	x := &crdt.Update{Kind: crdt.GSet, Added: []crdt.Key{keyOf("x")}}
	dead, knows, sealer := c.open(c.nodes[0], "grow"), c.open(c.nodes[1], "grow"), c.open(c.nodes[2], "grow")
	c.sure2(c.write(sealer, &crdt.Update{Kind: crdt.GSet, Added: []crdt.Key{keyOf("other")}}, replica.All))
	was := c.nodes[0].standing.Self
	c.cut(0, 2)
	c.nodes[0].storeCut = true
	c.write(dead, x, replica.Local)
	c.runFor(200 * time.Millisecond)
	c.nodes[0].die()
	// The barrier has been passed and the journal read: this is what is going to be sealed.
	state := crdt.New(0)
	if _, err := state.Join(sealer.resident().state.Full(), nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := state.Seal(was.Slot, was.Epoch); err != nil {
		t.Fatal(err)
	}
	c.runFor(2 * seatTTL)
	// Node 1 tells the late one, and nobody else anything.
	c.cut(1, 2)
	c.cut(2, 1)
	late := c.begin(3)
	c.runFor(2 * time.Second)
	st := c.open(late, "grow")
	if len(st.elements()) != 2 || len(knows.elements()) != 2 || len(sealer.elements()) != 1 {
		t.Fatalf("there are %q, %q and %q", st.elements(), knows.elements(), sealer.elements())
	}
	c.sure2(c.write(st, x, replica.Majority))
	// What is sealed meets what the journal has of the confirmed write.
	stored, err := (&store{cells: &simCells{n: late, sure: true}}).load(context.Background(), refOf("grow"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tail := range stored.tails {
		if tail.delta != nil {
			if _, err := state.Join(tail.delta, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if v := state.Value(nil); len(v.Added) != 2 {
		t.Errorf("the confirmed element is lost: %v", describe(state))
	}
}

// Nor does it rest on a base that has what somebody else did and is on its way: that may come to nothing.
func TestConfirmedNoOpOutlivesABase(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, func(c *Config) { c.Round, c.Timeout = time.Hour, time.Minute })
	x := &crdt.Update{Kind: crdt.GSet, Added: []crdt.Key{keyOf("x")}}
	other, st := c.open(c.nodes[0], "grow"), c.open(c.nodes[1], "grow")
	c.sure2(c.write(st, &crdt.Update{Kind: crdt.GSet, Added: []crdt.Key{keyOf("other")}}, replica.All))
	c.nodes[0].storeCut = true
	c.write(other, x, replica.Local)
	c.runFor(200 * time.Millisecond)
	r, part := st.resident(), c.nodes[1].parts[st.part()]
	if len(st.elements()) != 2 || !r.foreign {
		t.Fatalf("it has %q; from others: %v", st.elements(), r.foreign)
	}
	leave := part.enter()
	w := part.writeBase(r, r.state.Generation(), r.state.Full().AppendBinary(nil))
	part.out.bases = nil // it takes for ever
	leave()
	p := c.write(st, x, replica.Majority)
	if p.done {
		t.Fatal("it is confirmed before anything is stored")
	}
	c.sure2(p)
	stored, err := (&store{cells: &simCells{n: c.nodes[1], sure: true}}).load(t.Context(), refOf("grow"))
	if err != nil {
		t.Fatal(err)
	}
	state := crdt.New(0)
	for _, tail := range stored.tails {
		if tail.delta != nil {
			if _, err := state.Join(tail.delta, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if v := state.Value(nil); v == nil || len(v.Added) != 2 {
		t.Errorf("the confirmed element is not in the journal: %s", describe(state))
	}
	leave = part.enter()
	part.based(r, w, 0, errSim)
	leave()
}
