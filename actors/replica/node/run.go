package node

import (
	"context"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// own does what a partition wants done, until ctx ends.
func (n *Node) own(ctx context.Context, p *part) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		p.qmu.Lock()
		queue := p.queue
		p.queue = nil
		p.qmu.Unlock()

		p.mu.Lock()
		p.now = time.Now()
		for _, b := range queue {
			p.receive(b)
		}
		p.tick()
		out := p.take()
		next := p.next()
		unstored := p.unstored.len() > 0
		p.mu.Unlock()

		if unstored {
			poke(n.unstored)
		}
		n.do(ctx, p, out)
		for _, f := range out.calls {
			f()
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Until(next), time.Millisecond))
		}
		select {
		case <-timer.C:
		case <-p.woken:
		case <-ctx.Done():
			return
		}
	}
}

// do begins what is to be done. Its ends are inputs of the partition.
func (n *Node) do(ctx context.Context, p *part, out output) {
	if f := out.publish; f != nil {
		n.works.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, n.config.Timeout)
			defer cancel()
			err := n.config.Bus.Publish(ctx, f.bytes)
			defer p.enter()()
			p.published(f, err)
			p.soon = true
		})
	}
	for _, a := range out.asks {
		n.works.Go(func() { n.ask(ctx, p, a) })
	}
	for _, r := range out.loads {
		n.works.Go(func() {
			st, err := n.store.load(ctx, r.ref)
			defer p.enter()()
			p.loaded(r, st, err)
			p.soon = true
		})
	}
	for _, b := range out.bases {
		n.works.Go(func() {
			version, err := n.store.writeBase(ctx, b.write)
			defer p.enter()()
			p.based(b.resident, b.write, version, err)
			p.soon = true
		})
	}
	for _, c := range out.removes {
		n.works.Go(func() {
			// What cannot be removed is harmless: an empty cell.
			_ = n.config.Cells.Remove(ctx, c.key, c.version)
		})
	}
	if out.refresh {
		n.works.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, n.config.AskTimeout)
			defer cancel()
			err := n.config.Membership.Refresh(ctx)
			at := n.config.Membership.Standing()
			defer p.enter()()
			p.stand(at)
			p.refreshed(err)
			p.soon = true
		})
	}
}

func (n *Node) ask(ctx context.Context, p *part, a ask) {
	member := identityOf(a.to)
	if a.repair && !n.repairs.wait(ctx, member) {
		return // the node is at its end
	}
	ctx, cancel := context.WithTimeout(ctx, n.config.AskTimeout)
	defer cancel()
	var answer []byte
	var err error
	select {
	case n.asking <- struct{}{}:
		answer, err = n.config.Peers.Ask(ctx, a.to, a.request)
		<-n.asking
		if a.repair {
			n.repairs.spent(member, len(a.request)+len(answer))
		}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	defer p.enter()()
	p.answered(a.number, answer, err)
	p.soon = true
}

// The most that goes into one commit of tails.
const (
	tailsAtOnce     = 1024
	tailBytesAtOnce = 8 << 20
)

// putTails commits the tails of all partitions together, whenever there are any, but not too often.
func (n *Node) putTails(ctx context.Context) {
	var puts []tailPut
	var owners []*part
	for {
		select {
		case <-n.unstored:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		clear(puts) // what they held is not to stay in memory
		puts, owners = puts[:0], owners[:0]
		bytes := 0
		for _, p := range n.parts {
			if bytes > tailBytesAtOnce || len(puts) >= tailsAtOnce {
				poke(n.unstored)
				break
			}
			had := len(puts)
			leave := p.enter()
			puts = p.tails(puts, tailsAtOnce)
			leave()
			for _, t := range puts[had:] {
				bytes += len(t.cell.Value)
				owners = append(owners, p)
			}
		}
		if len(puts) > 0 {
			n.putEach(ctx, puts, owners)
		}
		select {
		case <-time.After(n.config.FlushStore - time.Since(began)):
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) putEach(ctx context.Context, puts []tailPut, owners []*part) {
	began := time.Now()
	versions, errs := commitTails(ctx, n.config.Cells, n.config.Membership, puts)
	n.config.Observer.flushed(len(puts), time.Since(began), firstOther(errs))
	for i := 0; i < len(puts); {
		p := owners[i]
		leave := p.enter()
		for ; i < len(puts) && owners[i] == p; i++ {
			p.tailStored(&puts[i], versions[i], errs[i])
		}
		p.soon = true
		leave()
	}
}

// commitTails puts tails, and makes sure that those that somebody waits for count: they do if this node still had its slot
// when they were there.
func commitTails(ctx context.Context, cells journal.Cells, members Membership, puts []tailPut) ([]int64, []error) {
	versions, errs := make([]int64, len(puts)), make([]error, len(puts))
	list := make([]journal.Cell, len(puts))
	durable := false
	for i := range puts {
		list[i] = puts[i].cell
		durable = durable || puts[i].durable
	}
	results, err := cells.PutEach(ctx, list)
	if err == nil && durable {
		err = members.Confirm(ctx, puts[0].self)
	}
	for i := range puts {
		switch {
		case err != nil && (results == nil || puts[i].durable):
			errs[i] = err
		default:
			versions[i], errs[i] = results[i].Version, results[i].Err
		}
	}
	return versions, errs
}

// firstOther is the first error that is no conflict, which are all in a day's work.
func firstOther(errs []error) error {
	for _, err := range errs {
		if err != nil && !isConflict(err) {
			return err
		}
	}
	return nil
}
