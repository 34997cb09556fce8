package crdt_test

import (
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// How crdttest.Plain shows the keys that the tests use.
const (
	k = `"type.googleapis.com/test.Element":"k"`
	l = `"type.googleapis.com/test.Element":"l"`
	x = `"type.googleapis.com/test.Element":"x"`
	y = `"type.googleapis.com/test.Element":"y"`
	z = `"type.googleapis.com/test.Element":"z"`
)

// three nodes, each of which writes in a slot of its own.
func three(t *testing.T, kind crdt.Kind) (a, b, c *crdttest.Node) {
	t.Helper()

	return crdttest.NewNode(t, kind, 0, 1), crdttest.NewNode(t, kind, 1, 1), crdttest.NewNode(t, kind, 2, 1)
}

func wantAll(t *testing.T, want string, nodes ...*crdttest.Node) {
	t.Helper()

	for _, n := range nodes {
		if got := n.Plain().String(); got != want {
			t.Errorf("slot %d epoch %d: %s, want %s", n.Writer.Slot, n.Writer.Epoch, got, want)
		}
	}
}

func keys(values ...string) []crdt.Key {
	var all []crdt.Key
	for _, value := range values {
		all = append(all, crdttest.Element(value))
	}

	return all
}

func add(values ...string) *crdt.Update {
	return &crdt.Update{Kind: crdt.ORSet, Added: keys(values...)}
}

func remove(values ...string) *crdt.Update {
	return &crdt.Update{Kind: crdt.ORSet, Removed: keys(values...)}
}

func inc(n uint64) *crdt.Update { return &crdt.Update{Kind: crdt.GCounter, Increment: n} }

func change(n int64) *crdt.Update { return &crdt.Update{Kind: crdt.PNCounter, Change: n} }

func on() *crdt.Update { return &crdt.Update{Kind: crdt.Flag, On: true} }

func vote(yes bool) *crdt.Update { return &crdt.Update{Kind: crdt.Vote, Self: yes} }

func write(value string, clock crdt.Clock, custom int64) *crdt.Update {
	return &crdt.Update{Kind: crdt.LWWRegister, Value: crdttest.Element(value), Clock: clock, Custom: custom}
}

func put(key string, u *crdt.Update) *crdt.Update {
	return &crdt.Update{Kind: crdt.ORMap, Put: []crdt.Entry{{Key: crdttest.Element(key), Update: u}}}
}

func changed(key string, u *crdt.Update) *crdt.Update {
	return &crdt.Update{Kind: crdt.ORMap, Changed: []crdt.Entry{{Key: crdttest.Element(key), Update: u}}}
}

func drop(values ...string) *crdt.Update {
	return &crdt.Update{Kind: crdt.ORMap, Removed: keys(values...)}
}

// joinTo joins a delta to another one.
func joinTo(t *testing.T, d, more *crdt.Delta) {
	t.Helper()

	if err := d.Join(more); err != nil {
		t.Fatal(err)
	}
}
