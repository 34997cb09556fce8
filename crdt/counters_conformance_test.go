package crdt_test

import (
	"errors"
	"math"
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

func TestSameSlotNewEpochKeepsOld(t *testing.T) {
	t.Parallel()

	for _, nested := range []bool{false, true} {
		wrap := func(u *crdt.Update) *crdt.Update { return u }
		kind, want := crdt.GCounter, "counts 12"
		if nested {
			wrap = func(u *crdt.Update) *crdt.Update { return put("k", u) }
			kind, want = crdt.ORMap, "{"+k+": counts 12}"
		}

		first := crdttest.NewNode(t, kind, 1, 1)
		five := first.Say(wrap(inc(5)))
		second := crdttest.NewNode(t, kind, 1, 2)
		second.Hear(five)
		seven := second.Say(wrap(inc(7)))
		other := crdttest.NewNode(t, kind, 2, 1)
		other.Hear(seven)
		other.Hear(five)
		wantAll(t, want, second, other)
	}
}

func TestIncrementCoalescesToOneEntry(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.GCounter)
	pending := a.Say(inc(1))
	for range 999 {
		joinTo(t, pending, a.Say(inc(1)))
	}
	if n := len(pending.AppendBinary(nil)); n > 40 {
		t.Errorf("1,000 increments take %d bytes", n)
	}
	b.Hear(pending)
	wantAll(t, "counts 1000", a, b)
}

func TestUintAbove2Pow63Accepted(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.GCounter)
	a.Tell(a.Say(inc(1<<63+5)), b)
	b.Tell(b.Say(inc(7)), a)
	wantAll(t, "counts 9223372036854775820", a, b)
}

func TestOverflowRejectedLocallyNeverOnMerge(t *testing.T) {
	t.Parallel()

	t.Run("GCounter", func(t *testing.T) {
		t.Parallel()
		a, b, c := three(t, crdt.GCounter)
		big := a.Say(inc(math.MaxUint64))
		b.Hear(big)
		rejected(t, b, inc(1), crdt.ErrOverflow)
		rejected(t, a, inc(1), crdt.ErrOverflow)
		c.Tell(c.Say(inc(3)), a, b)
		c.Hear(big)
		wantAll(t, "counts 18446744073709551615", a, b, c)
	})

	t.Run("PNCounter", func(t *testing.T) {
		t.Parallel()
		a, b, c := three(t, crdt.PNCounter)
		big := a.Say(change(math.MaxInt64))
		b.Hear(big)
		rejected(t, b, change(1), crdt.ErrOverflow)
		rejected(t, a, change(1), crdt.ErrOverflow)
		c.Tell(c.Say(change(3)), a, b)
		c.Hear(big)
		wantAll(t, "sums up to 9223372036854775807", a, b, c)
		a.Tell(a.Say(change(-3)), b, c)
		wantAll(t, "sums up to 9223372036854775807", a, b, c)
		a.Tell(a.Say(change(-1)), b, c)
		wantAll(t, "sums up to 9223372036854775806", a, b, c)
	})

	t.Run("nested", func(t *testing.T) {
		t.Parallel()
		a, b, c := three(t, crdt.ORMap)
		big := a.Say(put("k", inc(math.MaxUint64)))
		b.Hear(big)
		rejected(t, b, changed("k", inc(1)), crdt.ErrOverflow)
		c.Tell(c.Say(put("k", inc(3))), a, b)
		c.Hear(big)
		wantAll(t, "{"+k+": counts 18446744073709551615}", a, b, c)
	})
}

// rejected wants the update to fail and to leave nothing behind.
func rejected(t *testing.T, n *crdttest.Node, u *crdt.Update, want error) {
	t.Helper()

	before, last := string(n.Entity.Full().AppendBinary(nil)), n.Writer.Last
	if _, _, err := n.Apply(u, n.Seen()); !errors.Is(err, want) {
		t.Errorf("%s at %s: error %v, want %v", crdttest.Format(u), n.Plain(), err, want)
	}
	if after := string(n.Entity.Full().AppendBinary(nil)); after != before {
		t.Errorf("%s at %s was rejected and changed the state", crdttest.Format(u), n.Plain())
	}
	if n.Writer.Last != last {
		t.Errorf("%s was rejected and used up %d dots", crdttest.Format(u), n.Writer.Last-last)
	}
}

func TestPNMinInt64Change(t *testing.T) {
	t.Parallel()

	a, b, _ := three(t, crdt.PNCounter)
	a.Tell(a.Say(change(math.MinInt64)), b)
	wantAll(t, "sums up to -9223372036854775808", a, b)
	rejected(t, a, change(-1), crdt.ErrOverflow)
	b.Tell(b.Say(change(math.MaxInt64)), a)
	wantAll(t, "sums up to -1", a, b)
}

// Segments of a counter are folded, sealed and re-homed: a total that shrinks, even for a moment, would tell. The oracle
// tests look at the same values; this one looks at every step of one counter with loss, repetition and disorder.
func TestGCounterNeverDecreasesWithinGeneration(t *testing.T) {
	t.Parallel()

	crdttest.Check(t, crdttest.Run{Kind: crdt.GCounter, Delivery: crdttest.AnyOrder, After: func(t crdttest.T, c *crdttest.Cluster) {
		for _, r := range c.Replicas {
			if count := r.Plain().Count; count < r.Most {
				t.Fatalf("replica %v went from %d back to %d", r.Origin, r.Most, count)
			} else {
				r.Most = count
			}
		}
	}})
}
