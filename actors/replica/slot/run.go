package slot

import (
	"context"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// Run takes a slot, keeps it, and takes another whenever it is lost, until ctx ends. Then it gives the slot up at once: flush
// and tell the others first. A journal that cannot be reached ends the lease, not Run; only what a restored journal does to
// a running component is an error: ErrRestored, ErrRotated. It can be called once.
func (g *Group) Run(ctx context.Context) error {
	guard := time.AfterFunc(time.Hour, g.guard)
	defer guard.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	always, done := context.WithoutCancel(ctx), ctx.Done()
	var deadline time.Time
	for {
		if done != nil && ctx.Err() != nil {
			done, deadline = nil, time.Now().Add(g.config.TTL/2)
			g.mu.Lock()
			g.core.stop()
			g.mu.Unlock()
		}
		s := g.next(guard)
		if s.do == doStop {
			return g.ended()
		}
		if !deadline.IsZero() && !time.Now().Before(deadline) {
			g.config.Log.Warn("the slot could not be given up; others take it when they have not seen it renewed for its TTL")
			return nil
		}
		if s.do != doWait {
			r := g.carryOut(always, s)
			g.mu.Lock()
			g.core.done(s, r, time.Now())
			g.publish()
			g.mu.Unlock()
			if r.err == nil && s.why != "" {
				g.config.Log.Info(s.why, logSlot, s.slot, logEpoch, s.record.Epoch)
			}
			continue
		}
		timer.Reset(time.Until(s.until))
		select {
		case <-timer.C:
		case <-g.wake:
		case <-done:
		}
	}
}

func (g *Group) next(guard *time.Timer) step {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.core.next(time.Now())
	g.publish()
	if g.lease != nil {
		guard.Reset(time.Until(g.core.fence()))
	}
	return s
}

// guard ends the lease in time though the journal does not answer.
func (g *Group) guard() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.core.phase != out && !time.Now().Before(g.core.fence()) {
		g.core.lose(errFenced)
		g.publish()
	}
}

func (g *Group) ended() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.core.fatal != nil {
		return fmt.Errorf("take part in the group %s: %w", g.config.Group, g.core.fatal)
	}
	return nil
}

// carryOut a step.
func (g *Group) carryOut(ctx context.Context, s step) (r result) {
	ctx, cancel := context.WithTimeout(ctx, g.config.TTL/6)
	defer cancel()
	r.began = time.Now()
	if s.do == doPut || s.do == doView {
		r.version, r.err = g.config.Cells.Put(ctx, s.cell)
		return r
	}
	// The group first: whoever was in its view had a slot by then.
	if r.group, r.err = g.config.Cells.Cell(ctx, groupKey(g.config.Group)); r.err != nil || s.do == doLook {
		return r
	}
	r.slots, r.err = list(ctx, g.config.Cells, slotPrefix(g.config.Group))
	return r
}

// page is how many cells are read at once.
const page = 500

func list(ctx context.Context, cells journal.Cells, prefix string) (all []journal.Cell, err error) {
	after := ""
	for {
		some, err := cells.Cells(ctx, prefix, after, page)
		if err != nil {
			return nil, err
		}
		if len(some) == 0 {
			return all, nil
		}
		all = append(all, some...)
		after = some[len(some)-1].Key
	}
}

// publish what the core has come to. Group.mu is held.
func (g *Group) publish() {
	c, news := g.core, false
	if l := g.lease; l != nil && (c.phase != in || c.mine != l.member) {
		close(l.lost)
		g.lease, g.problem, news = nil, c.report(), true
		g.config.Log.Warn("not a member any more", logSlot, l.member.Slot, logEpoch, l.member.Epoch, logError, c.problem)
	}
	if c.phase == in && g.lease == nil {
		g.lease, news = &Lease{group: g, member: c.mine, uid: c.cluster, lost: make(chan struct{})}, true
		g.config.Log.Info("member", logSlot, c.mine.Slot, logEpoch, c.mine.Epoch, logView, c.group.View)
	}
	if g.lease != nil {
		g.lease.until.Store(int64(c.fence().Sub(g.base)))
	}
	if c.newest.version != g.seen {
		g.view, g.seen, news = c.newest.view(), c.newest.version, true
	}
	if now := c.report(); fmt.Sprint(now) != fmt.Sprint(g.problem) {
		g.problem, news = now, true
		if now != nil {
			g.config.Log.Warn("membership is in trouble", logError, now)
		}
	}
	if news {
		close(g.changed)
		g.changed = make(chan struct{})
	}
}
