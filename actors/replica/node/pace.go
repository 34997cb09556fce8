package node

import (
	"context"
	"sync"
	"time"
)

// pace bounds what repair takes of the way to each member: the bytes that were exchanged hold up the next question, so that a
// member that has much to make good leaves room for what is being written. All partitions share it.
type pace struct {
	// perSecond is how many bytes may be exchanged with one member.
	perSecond int

	mu sync.Mutex
	// free is when the next question to a member may be asked.
	free map[identity]time.Time
}

// wait until a member may be asked. It returns false if ctx ends before.
func (p *pace) wait(ctx context.Context, member identity) bool {
	for {
		p.mu.Lock()
		left := time.Until(p.free[member])
		p.mu.Unlock()
		if left <= 0 {
			return true
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// spent notes what was exchanged with a member.
func (p *pace) spent(member identity, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	at := p.free[member]
	for m, free := range p.free {
		if free.Before(now) {
			delete(p.free, m)
		}
	}
	if at.Before(now) {
		at = now
	}
	if p.free == nil {
		p.free = map[identity]time.Time{}
	}
	p.free[member] = at.Add(time.Duration(float64(bytes) / float64(p.perSecond) * float64(time.Second)))
}
