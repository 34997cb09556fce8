package peers

import (
	"math/rand/v2"
	"testing"
	"time"
)

// consumers is a broker whose consumers each have a group, with their probers, in simulated time.
type consumers struct {
	random  *rand.Rand
	now     time.Time
	groups  []int
	probers []*prober
	flying  []arrival
	sends   int
	// lose the first so many messages.
	lose int
	// inTurn gives a group's messages to its members one after the other, at once, as Redis does with those who wait.
	inTurn bool
}

type arrival struct {
	at           time.Time
	to           int
	from, number uint64
}

func newConsumers(groups ...int) *consumers {
	c := &consumers{random: rand.New(rand.NewPCG(1, 2)), now: time.Unix(0, 0), groups: groups}
	for i := range groups {
		p := newProber(uint64(i+1), 10*time.Second)
		c.probers = append(c.probers, &p)
	}
	return c
}

// publish gives a message to one of each group.
func (c *consumers) publish(from, number uint64) {
	c.sends++
	if c.lose > 0 {
		c.lose--
		return
	}
	members := map[int][]int{}
	for i, g := range c.groups {
		members[g] = append(members[g], i)
	}
	for _, list := range members {
		if c.inTurn {
			c.flying = append(c.flying, arrival{c.now, list[(c.sends-1)%len(list)], from, number})
			continue
		}
		delay := time.Duration(c.random.Int64N(int64(200 * time.Millisecond)))
		c.flying = append(c.flying, arrival{c.now.Add(delay), list[c.random.IntN(len(list))], from, number})
	}
}

func (c *consumers) run(d time.Duration) {
	for end := c.now.Add(d); c.now.Before(end); c.now = c.now.Add(5 * time.Millisecond) {
		rest := c.flying[:0]
		for _, a := range c.flying {
			if a.at.After(c.now) {
				rest = append(rest, a)
			} else {
				c.probers[a.to].heard(a.from, a.number)
			}
		}
		c.flying = rest
		for _, p := range c.probers {
			if number, send, _ := p.next(c.now, true); send {
				c.publish(p.origin, number)
			}
		}
	}
}

func TestProber(t *testing.T) {
	t.Parallel()
	well, ill := verdict{known: true, sent: burst}, func(v verdict) bool { return v.known && v.lost > 0 && v.lost <= burst && v.sent == burst }

	c := newConsumers(1, 2, 3)
	c.run(time.Second)
	for i, p := range c.probers {
		if p.verdict() != well {
			t.Errorf("a group each: %d says %+v", i, p.verdict())
		}
	}
	c.run(time.Minute)
	sent := c.sends
	c.run(time.Hour)
	if c.sends != sent || sent > 3*2*burst {
		t.Errorf("%d probes, and %d more when all is well", sent, c.sends-sent)
	}

	c = newConsumers(1, 1)
	c.run(30 * time.Second)
	for i, p := range c.probers {
		if !ill(p.verdict()) {
			t.Errorf("a group for two: %d says %+v", i, p.verdict())
		}
	}
	// Two that begin at the same moment do not get their own probes only.
	inTurn := newConsumers(1, 1)
	inTurn.inTurn = true
	inTurn.run(30 * time.Second)
	for i, p := range inTurn.probers {
		if !ill(p.verdict()) {
			t.Errorf("a group for two, served in turn: %d says %+v", i, p.verdict())
		}
	}
	// Somebody sets the consumer ids.
	c.groups[1] = 2
	c.run(30 * time.Second)
	for i, p := range c.probers {
		if p.verdict() != well {
			t.Errorf("cured: %d says %+v", i, p.verdict())
		}
	}

	// One that was alone is told by the other's coming.
	c = newConsumers(1)
	c.run(time.Hour)
	if c.probers[0].verdict() != well {
		t.Errorf("alone: %+v", c.probers[0].verdict())
	}
	second := newProber(2, 10*time.Second)
	c.groups, c.probers = append(c.groups, 1), append(c.probers, &second)
	c.run(30 * time.Second)
	for i, p := range c.probers {
		if !ill(p.verdict()) {
			t.Errorf("no more alone: %d says %+v", i, p.verdict())
		}
	}

	// A broker that loses something once is not suspected, one that loses all only as long as it does.
	c = newConsumers(1, 2)
	c.lose = 3
	c.run(20 * time.Second)
	for i, p := range c.probers {
		if p.verdict() != well {
			t.Errorf("three were lost: %d says %+v", i, p.verdict())
		}
	}
	c = newConsumers(1)
	c.lose = 2 * burst
	c.run(21 * time.Second)
	if !ill(c.probers[0].verdict()) {
		t.Errorf("all were lost: %+v", c.probers[0].verdict())
	}
	c.run(2 * time.Second)
	if c.probers[0].verdict() != well {
		t.Errorf("no more are lost: %+v", c.probers[0].verdict())
	}
	p := newProber(1, 3*time.Second)
	for at := time.Unix(0, 0); at.Before(time.Unix(8, 0)); at = at.Add(gap) {
		p.next(at, true)
	}
	if !ill(p.verdict()) {
		t.Errorf("nothing came: %+v", p.verdict())
	}
	for number := range p.number + 1 {
		p.heard(1, number)
	}
	if p.verdict() != well {
		t.Errorf("all came late: %+v", p.verdict())
	}
	c.probers[0].restart()
	c.run(2 * time.Second)
	if c.probers[0].verdict() != well {
		t.Errorf("after a new subscription: %+v", c.probers[0].verdict())
	}
}
