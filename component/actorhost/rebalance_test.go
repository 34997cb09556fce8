package actorhost

import (
	"fmt"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// A second host takes over some of the entities of the first, and gives them back when it goes.
func TestDaprRebalance(t *testing.T) {
	t.Parallel()
	const n = 40
	p := placement(t)
	first := daprd(t, p)
	a := host(t, first, Config{}, "Cart")
	a.awaitReady(10 * time.Second)
	all := func(s *sidecar) bool {
		for i := range n {
			if r := s.invoke("Cart", fmt.Sprint(i), "Echo", `{}`); r.status != 200 {
				t.Logf("%d: got %d %s", i, r.status, r.body)
				return false
			}
		}
		return true
	}
	await(t, 10*time.Second, "everything is served by the first", func() bool { return all(first) })

	second := daprd(t, p)
	b := host(t, second, Config{}, "Cart")
	b.awaitReady(10 * time.Second)
	await(t, 15*time.Second, "some entities have moved", func() bool { _, alone := a.entities.losses(); return len(alone) > 0 })
	await(t, 15*time.Second, "everything is served by both", func() bool { return all(first) && all(second) })
	owners := func() (onA, onB int) {
		for i := range n {
			ref := actors.Ref{Service: "shop.v1.Cart", ID: fmt.Sprint(i)}
			inA, inB := a.entities.owns(ref), b.entities.owns(ref)
			if inA && inB {
				t.Errorf("%s is owned by both", ref)
			}
			if inA {
				onA++
			}
			if inB {
				onB++
			}
		}
		return onA, onB
	}
	if onA, onB := owners(); onA == 0 || onB == 0 || onA+onB != n {
		t.Errorf("%d entities on the first host, %d on the second", onA, onB)
	}
	if lost, _ := a.entities.losses(); lost != 0 {
		t.Errorf("the first host lost everything %d times", lost)
	}

	b.stop()
	await(t, 15*time.Second, "everything is served by the first again", func() bool { return all(first) })
	if onA, onB := owners(); onA != n || onB != 0 {
		t.Errorf("%d entities on the first host, %d on the second", onA, onB)
	}
}
