package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
)

// Node replicates entities between this process and the other members. It implements Replicas.
type Node struct {
	config Config
	store  store
	parts  []*part

	// unstored is told that there may be tails to put.
	unstored chan struct{}
	works    sync.WaitGroup
	// asking bounds the questions that are under way.
	asking chan struct{}
	// repairs bounds what repair takes.
	repairs pace

	mu      sync.Mutex
	started bool
	closing bool
	// ctx is that of all works, nil before Run.
	ctx context.Context
}

var _ replica.Replicas = (*Node)(nil)

// ErrCluster ends a Node whose journal has been restored from a backup, or replaced: what is in memory is of another
// history. All members must be started again.
var ErrCluster = errors.New("the journal is of another cluster than before; start all members again")

// part is a partition with its owner and its queue.
type part struct {
	*partition
	woken chan struct{}

	qmu   sync.Mutex
	queue []*batch
}

// New makes a Node, which works once Run is called.
func New(config Config) (*Node, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("configuring replication: %w", err)
	}
	config.Cells = inGroup(config.Cells, config.Group)
	n := &Node{
		config:   config,
		store:    store{cells: config.Cells, limits: config.Limits, chunk: config.ChunkBytes},
		unstored: make(chan struct{}, 1),
		asking:   make(chan struct{}, 256),
		repairs:  pace{perSecond: config.RepairBytes},
	}
	for i := range config.Partitions {
		p := &part{
			partition: newPartition(i, &n.config, config.Bus == nil, rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))),
			woken:     make(chan struct{}, 1),
		}
		p.clock = time.Now
		p.partition.wake = func() { poke(p.woken) }
		n.parts = append(n.parts, p)
	}
	return n, nil
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// partitionOf is the same on all nodes.
func partitionOf(ref actors.Ref, partitions int) int {
	return int(hashOf(ref) >> 16 % uint64(partitions))
}

func (n *Node) part(ref actors.Ref) *part { return n.parts[partitionOf(ref, len(n.parts))] }

// Open is that of Replicas. It waits for Run.
func (n *Node) Open(ctx context.Context, ref actors.Ref, changed func()) (replica.Replica, error) {
	if err := validateRef(ref); err != nil {
		return nil, err
	}
	n.mu.Lock()
	closing := n.closing
	n.mu.Unlock()
	if closing {
		return nil, actors.Errorf(actors.Unavailable, "%s cannot be opened: this node is shutting down", ref)
	}
	type result struct {
		h   *handle
		err error
	}
	p, c := n.part(ref), make(chan result, 1)
	o := &opener{changed, func(h *handle, err error) { c <- result{h, err} }}
	leave := p.enter()
	p.open(ref, o)
	leave()
	select {
	case r := <-c:
		if r.err != nil {
			return nil, r.err
		}
		return r.h, nil
	case <-ctx.Done():
		leave := p.enter()
		withdrawn := p.withdraw(ref, o)
		leave()
		if !withdrawn {
			if r := <-c; r.h != nil {
				r.h.Close()
			}
		}
		return nil, actors.Errorf(actors.CodeOf(context.Cause(ctx)), "opening %s: %w", ref, context.Cause(ctx))
	}
}

// Run replicates until ctx ends; then it takes no more writes, sends and stores what it has, for up to Drain, and
// returns. It can be called once. An error says why it had to stop by itself.
func (n *Node) Run(ctx context.Context) error {
	n.mu.Lock()
	if n.started {
		n.mu.Unlock()
		return errors.New("the node has been run before")
	}
	n.started = true
	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	n.ctx = work
	n.mu.Unlock()
	defer n.works.Wait()
	defer stop(nil)

	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	n.follow()
	n.works.Go(func() { n.watch(work, fail) })
	n.works.Go(func() { n.putTails(work) })
	for _, p := range n.parts {
		n.works.Go(func() { n.own(work, p) })
	}
	if n.config.Bus != nil {
		n.works.Go(func() {
			if err := n.config.Bus.Run(work, n.deliver); work.Err() == nil {
				fail(fmt.Errorf("receiving batches: %w", orEnded(err)))
			}
		})
		n.works.Go(func() {
			if err := n.config.Peers.Run(work, n.answer); work.Err() == nil {
				fail(fmt.Errorf("answering other members: %w", orEnded(err)))
			}
		})
	}
	select {
	case err := <-failed:
		n.close()
		return err
	case <-ctx.Done():
		n.close()
		n.drain()
		return nil
	}
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("it ended")
	}
	return err
}

// close takes no more writes.
func (n *Node) close() {
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	for _, p := range n.parts {
		leave := p.enter()
		p.closing = true
		leave()
	}
}

// drain waits until what was written is stored and sent.
func (n *Node) drain() {
	end := time.Now().Add(n.config.Drain)
	for time.Now().Before(end) {
		clean := true
		for _, p := range n.parts {
			leave := p.enter()
			clean = clean && p.drained()
			leave()
		}
		if clean {
			return
		}
		time.Sleep(n.config.FlushStore)
	}
}

// watch follows the membership.
func (n *Node) watch(ctx context.Context, fail func(error)) {
	cluster := uint64(0)
	for {
		changed := n.config.Membership.Changed()
		at := n.follow()
		if cluster != 0 && at.Cluster != 0 && at.Cluster != cluster {
			fail(ErrCluster)
			return
		}
		if at.Cluster != 0 {
			cluster = at.Cluster
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// follow tells all partitions how things stand.
func (n *Node) follow() Standing {
	at := n.config.Membership.Standing()
	for _, p := range n.parts {
		leave := p.enter()
		p.stand(at)
		p.soon = true
		leave()
	}
	return at
}

// deliver is what the bus calls.
func (n *Node) deliver(raw []byte) {
	b, err := decodeBatch(raw)
	if err != nil {
		n.config.Observer.refused(refusedDamaged)
		return
	}
	if int(b.partition) >= len(n.parts) {
		n.config.Observer.refused(refusedForeign)
		return
	}
	p := n.parts[b.partition]
	p.qmu.Lock()
	full := len(p.queue) >= n.config.Queue
	if !full {
		p.queue = append(p.queue, b)
	}
	p.qmu.Unlock()
	if full {
		// Its number will be missed, and then it is had from its origin.
		n.config.Observer.refused(refusedFull)
		return
	}
	poke(p.woken)
}

// answer is what other members call.
func (n *Node) answer(_ context.Context, raw []byte) ([]byte, error) {
	q, err := decodeRequest(raw)
	if err != nil {
		return nil, actors.Errorf(actors.InvalidArgument, "%w", err)
	}
	if int(q.partition) >= len(n.parts) {
		return (&answer{refused: "we have another number of partitions; all members must have the same"}).append(nil), nil
	}
	p := n.parts[q.partition]
	defer p.enter()()
	p.soon = true
	return p.answer(q).append(nil), nil
}
