package peers

import (
	"maps"
	"math/rand/v2"
	"time"
)

// prober decides when to publish probes, and what it means if they do not come back. It knows no clock.
type prober struct {
	origin  uint64
	timeout time.Duration
	random  *rand.Rand

	open   bool // a burst is going on
	began  time.Time
	wanted bool   // another one, as soon as it may be
	number uint64 // of the last probe
	left   int    // to be sent in this burst,
	at     time.Time
	flying map[uint64]time.Time // until when they may come back
	lost   map[uint64]bool      // of the last burst
	bad    int                  // bursts in a row that lost some

	others  map[uint64]bool // processes that were heard of
	current verdict
}

// verdict is what is known.
type verdict struct {
	known bool
	// lost of the probes sent in the last burst; 0 if all is well.
	lost, sent int
}

const (
	burst = 16
	// gap between two probes, at the most. It is drawn anew each time: a broker gives messages to those who wait for them
	// in turn, and to two processes that probe in step it would give each its own.
	gap = 50 * time.Millisecond
	// rest is the shortest time between two bursts: others come and go in crowds.
	rest = 10 * time.Second
	// maxOthers is how many other processes are known at a time.
	maxOthers = 1 << 12
)

func newProber(origin uint64, timeout time.Duration) prober {
	return prober{origin: origin, timeout: timeout, random: rand.New(rand.NewPCG(origin, 0)), flying: map[uint64]time.Time{}, lost: map[uint64]bool{}, others: map[uint64]bool{}, wanted: true}
}

// restart when the subscription is new: probes that are on their way may have gone to the old one.
func (p *prober) restart() {
	clear(p.flying)
	clear(p.lost)
	p.open, p.left, p.wanted, p.began = false, 0, true, time.Time{}
}

// next says whether to send a probe with a number, or how long to wait.
func (p *prober) next(now time.Time, subscribed bool) (number uint64, send bool, wait time.Duration) {
	if !subscribed {
		return 0, false, time.Hour
	}
	for n, until := range p.flying {
		if now.After(until) {
			delete(p.flying, n)
			p.lost[n] = true
		}
	}
	if p.open && p.left == 0 && len(p.flying) == 0 {
		p.judge()
	}
	if !p.open && p.wanted && (p.began.IsZero() || now.Sub(p.began) >= p.pause()) {
		clear(p.lost)
		p.open, p.left, p.wanted, p.began, p.at = true, burst, false, now, now
	}
	if p.left > 0 && !now.Before(p.at) {
		p.left--
		p.number++
		p.at = now.Add(time.Duration(p.random.Int64N(int64(gap))))
		p.flying[p.number] = now.Add(p.timeout)
		return p.number, true, 0
	}
	return 0, false, p.wait(now)
}

// judge a burst that is over.
func (p *prober) judge() {
	p.open = false
	if len(p.lost) == 0 {
		p.bad, p.current = 0, verdict{known: true, sent: burst}
		return
	}
	p.bad++
	p.wanted = true // for as long as it takes
	if p.bad > 1 {
		p.current = verdict{known: true, lost: len(p.lost), sent: burst}
	}
}

// wait until there is something to do.
func (p *prober) wait(now time.Time) time.Duration {
	wait := time.Hour
	if p.left > 0 {
		wait = p.at.Sub(now)
	} else if p.wanted && !p.open {
		wait = p.began.Add(p.pause()).Sub(now)
	}
	for until := range maps.Values(p.flying) {
		wait = min(wait, until.Sub(now)+time.Millisecond)
	}
	return max(wait, time.Millisecond)
}

// pause between two bursts. After a first loss a second look is worth it at once: brokers lose one now and then.
func (p *prober) pause() time.Duration {
	if p.bad == 1 {
		return 0
	}
	return rest
}

// heard of a probe.
func (p *prober) heard(origin, number uint64) {
	if origin == p.origin {
		delete(p.flying, number)
		delete(p.lost, number)
		if !p.open && p.bad > 0 && len(p.lost) == 0 { // late, but nobody took them away
			p.bad, p.current = 0, verdict{known: true, sent: burst}
		}
		return
	}
	if !p.others[origin] {
		if len(p.others) >= maxOthers {
			clear(p.others)
		}
		p.others[origin] = true
		p.wanted = true
	}
}

// unsent takes back a probe that could not be published.
func (p *prober) unsent(number uint64) {
	delete(p.flying, number)
	p.left++
}

func (p *prober) verdict() verdict { return p.current }
