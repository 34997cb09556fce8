package component

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/config"
	"github.com/dapr-entities/entities/component/peers"
)

// replicas host replicated entities: who takes part, the copies on this node, the user function's streams that work with
// them, and the replicated keys of the state store, which need no user function.
type replicas struct {
	host  *host
	group *slot.Group
	node  *node.Node
	*replica.Host
	// values are those of the replicated keys, nil if there are none.
	values *replica.Values
	// direct is nil if this node has no address of its own.
	direct *peers.Direct
	// heard says why this node may not hear of the others.
	heard func() error

	once sync.Once
	// wanted is closed when there is a service of replicated entities, or a replicated key. Before that nothing runs: a node
	// without any takes no slot and asks nobody.
	wanted chan struct{}
}

func newReplicas(h *host, c *Component) (*replicas, error) {
	r := &replicas{host: h, wanted: make(chan struct{}), heard: func() error { return nil }}
	s := h.settings
	bus, others, err := r.connect(c)
	if err != nil {
		return nil, err
	}
	address := ""
	if r.direct != nil {
		address = r.direct.Address()
		defer func() {
			if err != nil {
				r.direct.Close()
			}
		}()
	}
	// Another app id with the same journal has entities of its own.
	r.group, err = slot.New(slot.Config{Cells: h.journal, Group: r.app(), Address: address, TTL: s.SlotTimeout, Log: c.log})
	if err != nil {
		return nil, err
	}
	r.node, err = node.New(node.Config{
		Cells: h.journal, Group: r.app(), Membership: node.MembersOf(r.group), Bus: bus, Peers: others, Residents: max(1<<10, 2*s.MaxResident),
		Drain: s.DrainTimeout, Observer: c.copies(),
	})
	if err != nil {
		return nil, err
	}
	r.Host, err = replica.New(replica.Config{
		Replicas: r.node, Log: c.log, Observer: c.streams(),
		Leftover:       r.leftover,
		CommandTimeout: s.CommandTimeout, Idle: s.IdleTimeout,
		MaxQueued: s.MaxQueue, MaxInFlight: s.MaxInFlight, MaxStreams: s.MaxInFlight,
		MaxBuffered: int(s.MaxBytes), MaxResident: s.MaxResident,
		MaxMessage: int(s.MaxMessage), MaxMetadata: int(s.MaxMetadata), MaxEffects: s.MaxEffects,
	})
	if err != nil {
		return nil, err
	}
	if len(s.CRDT) > 0 {
		if r.values, err = replica.NewValues(replica.ValuesConfig{Replicas: r.node}); err != nil {
			return nil, err
		}
		r.want()
	}
	return r, nil
}

// want lets Run begin.
func (r *replicas) want() { r.once.Do(func() { close(r.wanted) }) }

// nameless is what stands for the app id of a host that was not told its own.
const nameless = "entities"

// app is by what nodes that belong together know each other.
func (r *replicas) app() string { return cmp.Or(r.host.settings.AppID, nameless) }

// connect makes the ways to the other nodes: both are nil if there are none.
func (r *replicas) connect(c *Component) (replica.Bus, replica.Peers, error) {
	s := r.host.settings
	var bus replica.Bus
	switch s.Replication.Transport {
	case config.TransportJournal:
		deltas, ok := r.host.journal.(journal.Deltas)
		if !ok {
			return nil, nil, fmt.Errorf("a journal of the kind %s cannot pass on the changes of replicated entities; set replication to none", s.Journal.Scheme)
		}
		shared, err := peers.NewJournal(peers.JournalConfig{Deltas: deltas, Group: r.app(), Log: c.log})
		if err != nil {
			return nil, nil, err
		}
		bus, r.heard = shared, shared.Err
	case config.TransportPubsub:
		topic, err := peers.NewTopic(peers.TopicConfig{Topics: r.host.sidecar, PubSub: s.Replication.Pubsub, App: r.app(), Log: c.log})
		if err != nil {
			return nil, nil, err
		}
		bus, r.heard = topic, topic.Err
	default:
		return nil, nil, nil
	}
	link, err := peers.NewLink(peers.LinkConfig{Bus: bus, Self: r.self})
	if err != nil {
		return nil, nil, err
	}
	if s.PeerAddress == "" {
		return link.Bus(), link.Peers(), nil
	}
	r.direct, err = peers.NewDirect(peers.DirectConfig{
		Listen: s.PeerAddress, Key: []byte(s.PeerKey.Reveal()), Self: r.self, Otherwise: link.Peers(), Log: c.log,
	})
	return link.Bus(), r.direct, err
}

// self is who this node is among the members, if it is one.
func (r *replicas) self() (slot.Member, bool) {
	state, _ := r.group.State()
	if state.Lease == nil || !state.Lease.Valid() {
		return slot.Member{}, false
	}
	return state.Lease.Member(), true
}

// update takes over what a user function serves.
func (r *replicas) update(c *catalog.Catalog) {
	var services []replica.Service
	for _, s := range c.Services() {
		if s.Kind == actors.Replicated {
			services = append(services, replica.Service{
				Name: s.Name, Persistence: s.Persistence, Idle: s.Idle, Function: r.host.function.Replicated(s.Name),
			})
		}
	}
	r.Serve(services)
	if len(services) > 0 {
		r.want()
	}
}

// Run takes part in replication from the first replicated service on. In the end commands are answered and streams are
// closed before the copies are let go, and the slot is given up last, when the journal has what was written here.
func (r *replicas) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		if r.direct != nil {
			r.direct.Close()
		}
		return nil
	case <-r.wanted:
	}
	life := context.WithoutCancel(ctx)
	hosting, stopHosting := context.WithCancel(life)
	defer stopHosting()
	copying, stopCopying := context.WithCancel(life)
	defer stopCopying()
	holding, stopHolding := context.WithCancel(life)
	defer stopHolding()
	var g errgroup.Group
	g.Go(func() error {
		defer stopCopying()
		return named("streams of replicated entities", r.Host.Run(hosting))
	})
	g.Go(func() error {
		defer stopHolding()
		defer stopHosting()
		return named("copies of replicated entities", r.node.Run(copying))
	})
	g.Go(func() error {
		defer stopHosting() // without a slot for good there is nothing to do here
		return named("slots", r.group.Run(holding))
	})
	ended := make(chan error, 1)
	go func() { ended <- g.Wait() }() // waited for below
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, done := context.WithTimeout(life, r.host.settings.DrainTimeout)
	if err := r.Drain(drain); err != nil {
		r.host.log.Warn("commands of replicated entities were cut off after the drain timeout; their callers have to ask again", keyError, err)
	}
	done()
	stopHosting()
	return <-ended
}

// leftover carries out what follows from an outcome for which nobody waits any more.
func (r *replicas) leftover(ctx context.Context, c actors.Command, o actors.Outcome) error {
	return r.host.router.Leftover(ctx, c, o)
}

// check says why replicated entities cannot be written here now, nil if they can or there are none.
func (r *replicas) check() error {
	select {
	case <-r.wanted:
	default:
		return nil
	}
	state, _ := r.group.State()
	if state.Lease != nil && state.Lease.Valid() {
		return r.heard()
	}
	return errors.Join(replica.ErrReadOnly, state.Err)
}
