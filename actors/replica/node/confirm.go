package node

import (
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

// wait is for a write to be as safe as was asked for.
type wait struct {
	level    replica.Level
	deadline time.Time
	version  uint64
	// seq is the batch that it was told in, 0 with published if nothing had to be told.
	seq       uint64
	published bool
	since     time.Time
	// ticket is the refresh of the view that must have succeeded, 0 if none has been asked for.
	ticket uint64
	done   func(error)
}

// await has done called when the write is as safe as level says.
func (p *partition) await(r *resident, level replica.Level, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	if level == replica.Local {
		p.call(func() { done(nil) })
		return
	}
	w := &wait{level: level, deadline: p.now.Add(p.config.Timeout), version: r.version, since: p.now, done: done}
	if p.told(r) {
		w.seq, w.published = r.lastSeq, true
	}
	r.waits = append(r.waits, w)
	r.waited = r.version
	p.durable.add(r)
	p.soon = true
	p.settleWaits()
}

// settleWaits ends the waits that are over.
func (p *partition) settleWaits() {
	for r := range p.durable.each() {
		left := r.waits[:0]
		for _, w := range r.waits {
			if !p.settled(r, w) {
				left = append(left, w)
				continue
			}
			p.config.Observer.confirmed(w.level, p.now.Sub(w.since), nil)
			p.call(func() { w.done(nil) })
		}
		clear(r.waits[len(left):])
		if r.waits = left; len(left) == 0 {
			p.durable.remove(r)
			p.reopen(r)
		}
	}
}

func (p *partition) settled(r *resident, w *wait) bool {
	if r.stored < w.version || !w.published || r.strikes() {
		return false
	}
	if p.single {
		return true // whoever else is in the view is a process before this one
	}
	acked, others := 0, p.at.others()
	for _, m := range others {
		if w.seq == 0 || p.confirmed[identityOf(m)] >= w.seq {
			acked++
		}
	}
	if w.level == replica.Majority {
		return 1+acked >= (1+len(others))/2+1
	}
	// Whoever joined before the journal had the write may have loaded the entity without it. So the view is read again:
	// who is not in it joined later.
	if w.ticket == 0 {
		w.ticket = p.refresh.want()
		p.soon = true
	}
	return acked == len(others) && p.refresh.done >= w.ticket
}

// refreshing numbers the times that the view is read again.
type refreshing struct {
	// wanted and done are the last ones that somebody wants and that succeeded; running is under way.
	wanted, running, done uint64
	retryAt               time.Time
}

// want returns the number of a reading that has not begun.
func (f *refreshing) want() uint64 {
	f.wanted = f.running + 1
	if f.running == 0 {
		f.wanted = f.done + 1
	}
	return f.wanted
}

// startRefresh reads the view if somebody wants that.
func (p *partition) startRefresh() {
	f := &p.refresh
	if f.running == 0 && f.wanted > f.done && !p.now.Before(f.retryAt) {
		f.running = f.done + 1
		p.out.refresh = true
	}
}

// refreshed is told after stand.
func (p *partition) refreshed(err error) {
	f := &p.refresh
	if err != nil {
		f.retryAt = p.now.Add(p.config.Retry)
	} else {
		f.done = f.running
	}
	f.running = 0
	p.settleWaits()
}

// expireWaits gives up what took too long. The writes stay.
func (p *partition) expireWaits() {
	for r := range p.durable.each() {
		left := r.waits[:0]
		for _, w := range r.waits {
			if p.now.Before(w.deadline) {
				left = append(left, w)
				continue
			}
			err := p.unconfirmed(r, w)
			p.config.Observer.confirmed(w.level, p.now.Sub(w.since), err)
			p.call(func() { w.done(err) })
		}
		clear(r.waits[len(left):])
		if r.waits = left; len(left) == 0 {
			p.durable.remove(r)
			p.reopen(r)
		}
	}
}

func (p *partition) unconfirmed(r *resident, w *wait) error {
	missing := ""
	switch {
	case r.stored < w.version || r.strikes():
		missing = "the journal has not taken it"
	case !w.published:
		missing = "it has not been sent"
	default:
		for _, m := range p.at.others() {
			if w.seq > 0 && p.confirmed[identityOf(m)] < w.seq {
				missing += fmt.Sprintf(" slot %d", m.Slot)
			}
		}
		missing = "there is no answer from" + missing
	}
	return fmt.Errorf("writing to %s at level %s: %w within %v: %s", r.ref, w.level, replica.ErrUnconfirmed, p.config.Timeout, missing)
}

// acked takes a member's word for what it has of ours.
func (p *partition) acked(from, of identity, seq uint64) {
	if of != identityOf(p.at.Self) || seq > p.seq {
		return
	}
	if _, ok := p.at.member(from); !ok || p.confirmed[from] >= seq {
		return
	}
	p.confirmed[from] = seq
	p.settleWaits()
}

// pushing is what goes on with a member that does not confirm.
type pushing struct {
	busy     bool
	at       time.Time
	failures int
}

// push brings unconfirmed batches to the members that have not confirmed them: the bus may have lost them, or be slow.
func (p *partition) push() {
	lo, hi, since := uint64(0), uint64(0), p.now
	for r := range p.durable.each() {
		for _, w := range r.waits {
			if w.published && w.seq > 0 {
				if lo == 0 || w.seq < lo {
					lo = w.seq
				}
				hi = max(hi, w.seq)
				if w.since.Before(since) {
					since = w.since
				}
			}
		}
	}
	if hi == 0 || p.now.Sub(since) < p.config.AckTime {
		return
	}
	for _, m := range p.at.others() {
		p.pushTo(m, lo, hi)
	}
}

func (p *partition) pushTo(m slot.Member, lo, hi uint64) {
	id := identityOf(m)
	s := p.pushes[id]
	if s == nil {
		s = &pushing{}
		p.pushes[id] = s
	}
	if s.busy || p.now.Before(s.at) || p.confirmed[id] >= hi {
		return
	}
	s.busy = true
	own := identityOf(p.at.Self)
	batches, _ := p.ring.between(max(lo, p.confirmed[id]+1), hi, p.config.AnswerBytes)
	p.ask(m, &request{kind: askPush, fence: own, batches: batches}, func(a *answer, err error) {
		s.busy = false
		if err != nil {
			s.failures++
		} else {
			s.failures = 0
			p.acked(id, own, a.seq)
		}
		s.at = p.now.Add(p.backoff(s.failures))
	})
}
