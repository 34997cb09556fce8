package component

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/dapr-entities/entities/actors/dispatch"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
	"github.com/dapr-entities/entities/component/actorhost"
	"github.com/dapr-entities/entities/component/building"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/config"
	"github.com/dapr-entities/entities/component/daprapi"
	"github.com/dapr-entities/entities/component/eventing"
	"github.com/dapr-entities/entities/component/gateway"
	"github.com/dapr-entities/entities/component/kin"
	"github.com/dapr-entities/entities/component/userfunction"
)

// host is what one Init starts. A client has no journal and nothing but a way to other hosts, through the sidecar.
type host struct {
	settings config.Config
	client   bool
	log      *slog.Logger
	sidecar  *daprapi.Client
	router   *dispatch.Dispatch

	journal    journal.Journal
	engine     *engine.Engine
	function   *userfunction.Client
	actors     actorhost.Host
	kin        *kin.Kin
	gateway    *gateway.Gateway // nil if there is to be none
	deliveries *deliveries
	topics     *topics
	// subscriptions of sidecars; nil for a client.
	subscriptions  *subscriptions
	topicRetention *lease.Leases // nil if all messages are kept
	replicas       *replicas
	catalog        atomic.Pointer[catalog.Catalog]
}

// open makes a host that is not running. It opens the journal, unless it gets an open one that fits its settings, so that
// a wrong one fails the Init. It waits for nothing else: the sidecar serves nothing before Init has returned.
func open(ctx context.Context, c *Component, settings config.Config, client bool, open journal.Journal) (_ *host, err error) {
	h := &host{settings: settings, client: client, log: c.log}
	defer func() {
		if err == nil {
			return
		}
		if h.sidecar != nil {
			err = errors.Join(err, h.sidecar.Close())
		}
		if h.journal != nil && h.journal != open {
			err = errors.Join(err, h.journal.Close())
		}
	}()
	h.sidecar, err = dial(settings)
	if err != nil {
		return nil, err
	}
	remote := h.sidecar.Invoker(h.actorType)
	if client {
		h.router, err = dispatch.New(dispatch.Config{Remote: remote})
		return h, err
	}
	if h.journal = open; open == nil {
		if h.journal, err = openJournal(ctx, settings.Journal); err != nil {
			return nil, err
		}
	}
	h.subscriptions = newSubscriptions(h, c.metrics)
	if h.topicRetention, err = newTopicRetention(h); err != nil {
		return nil, err
	}
	h.engine, err = engine.New(engine.Config{
		Journal: h.journal, Log: c.log, Observer: c.observer(),
		Reads:          reads(settings.Reads),
		CommandTimeout: settings.CommandTimeout,
		Idle:           settings.IdleTimeout,
		MaxQueued:      settings.MaxQueue,
		MaxInFlight:    settings.MaxInFlight,
		MaxBuffered:    int(settings.MaxBytes),
		MaxResident:    settings.MaxResident,
		MaxMessage:     int(settings.MaxMessage),
		MaxMetadata:    int(settings.MaxMetadata),
		MaxEvents:      settings.MaxEvents,
		MaxEffects:     settings.MaxEffects,
		Landed:         h.landed,
	})
	if err != nil {
		return nil, err
	}
	routes := dispatch.Config{
		Kind: h.kind, Services: h.services, Streamed: h.streamed, Out: h.out,
		Local: h.engine, Remote: remote,
		Publish: eventing.Publisher{Publish: func(ctx context.Context, topic string, event []byte) error {
			return h.sidecar.Publish(ctx, settings.Pubsub, topic, event)
		}},
		Outbox: h.journal, Kept: func() { h.landed(false, true) },
		MaxHops: settings.MaxHops, MaxEffects: settings.MaxEffects, FinishTimeout: settings.CommandTimeout, Log: c.log,
	}
	if settings.Host == config.HostNever {
		if len(settings.CRDT) > 0 {
			if h.replicas, err = newReplicas(h, c); err != nil {
				return nil, err
			}
		}
		h.router, err = dispatch.New(routes)
		return h, err
	}
	h.function, err = userfunction.New(userfunction.Config{
		Address: settings.UserFunction, Version: c.config.Version,
		// Whatever the engine lets pass has to fit, with what goes around it: an event that is stored must be replayed.
		MaxMessage: int(settings.MaxMessage + settings.MaxMetadata + envelope),
		Catalog:    catalog.Options{ActorTypes: settings.ActorTypes, MaxBytes: int(settings.MaxMessage)},
		Check:      h.check, OnChange: h.change, Observe: c.metrics.Discovery, Logger: c.log,
		CommandTimeout: settings.CommandTimeout, MaxCalls: settings.MaxInFlight,
	})
	if err != nil {
		return nil, err
	}
	if h.replicas, err = newReplicas(h, c); err != nil {
		return nil, err
	}
	routes.Actions, routes.Report, routes.Replicated = h.function, h.function.Report, h.replicas
	if h.router, err = dispatch.New(routes); err != nil {
		return nil, err
	}
	if h.deliveries, err = newDeliveries(h, c); err != nil {
		return nil, err
	}
	h.topics = newTopics(h, c.metrics)
	if h.gateway, err = newGateway(h, c.metrics); err != nil {
		return nil, err
	}
	if h.kin, err = h.newKin(c.incarnation); err != nil {
		return nil, err
	}
	h.actors, err = h.newActorHost(c)
	return h, err
}

// envelope is what a message to or from the user function has beside payload and metadata, generously.
const envelope = 64 << 10

// dial makes a client of the sidecar that settings name.
func dial(settings config.Config) (*daprapi.Client, error) {
	return daprapi.Dial(daprapi.Config{
		Endpoint: settings.DaprGRPCEndpoint, Token: string(settings.DaprAPIToken),
		Timeout: settings.CommandTimeout, MaxRequest: int(settings.MaxReply),
	})
}

// role is what a host is, for people.
func (h *host) role() string {
	switch {
	case h.client:
		return "client"
	case h.function == nil:
		return "state store"
	default:
		return "host"
	}
}

// journalScheme is the kind of journal it has.
func (h *host) journalScheme() string {
	if h.journal == nil {
		return "none"
	}
	return h.settings.Journal.Scheme
}

func reads(r config.Reads) engine.Reads {
	if r == config.Cached {
		return engine.Cached
	}
	return engine.Checked
}

// Run runs the parts until ctx ends. Then it stops them in the order of a command's way: nothing new comes in from the
// gateway, feeds, topics and the outbox, and what they have begun ends; other hosts are told goodbye; the actor host takes
// no more and answers what it has; the engine finishes its turns and appends, and sessions are closed. The journal stays
// open: it belongs to whoever runs the host.
func (h *host) Run(ctx context.Context) error {
	below, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, below := errgroup.WithContext(below)
	// part starts one of them. What it returns tells it to stop and waits until it has.
	part := func(name string, run func(context.Context) error) (stop func()) {
		life, end := context.WithCancel(below)
		done := make(chan struct{})
		g.Go(func() error {
			defer close(done)
			defer end()
			return named(name, run(life))
		})
		return func() {
			end()
			<-done
		}
	}
	var first, then []func()
	if h.subscriptions != nil {
		first = append(first, part("subscriptions", h.subscriptions.Run))
	}
	if h.topicRetention != nil {
		first = append(first, part("retention of topics", h.topicRetention.Run))
	}
	if h.engine != nil {
		g.Go(func() error { return named("engine", h.engine.Run(below)) })
	}
	if h.function != nil {
		g.Go(func() error { return named("user function", h.function.Run(below)) })
		then = append(then, part("comparison of journals", h.kin.Run), part("actor host", h.actors.Run))
		first = append(first, part("effects and feeds", h.deliveries.Run), part("topics", h.topics.Run))
		if h.gateway != nil {
			first = append(first, part("gateway", h.gateway.Run))
		}
	}
	if h.replicas != nil {
		then = append(then, part("replicated entities", h.replicas.Run))
	}
	g.Go(func() error {
		select {
		case <-below.Done():
			return nil
		case <-ctx.Done():
		}
		defer cancel()
		var leaving sync.WaitGroup
		for _, stop := range first {
			leaving.Go(stop)
		}
		leaving.Wait()
		for _, stop := range then {
			stop()
		}
		if h.engine == nil {
			return nil
		}
		drain, done := context.WithTimeout(below, h.settings.DrainTimeout)
		defer done()
		if err := h.engine.Drain(drain); err != nil && below.Err() == nil {
			h.log.Warn("commands were cut off after the drain timeout; their callers have to ask again", "error", err)
		}
		return nil
	})
	return errors.Join(g.Wait(), h.sidecar.Close())
}

func named(part string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", part, err)
}

// runtime is what the building blocks stand on.
func (h *host) runtime() building.Runtime {
	r := building.Runtime{Entities: h.router}
	if h.journal != nil {
		r.Outcomes = h.outcome
		r.Journal = h.journal
		r.Catalog = h.catalog.Load
		r.Consume = h.subscriptions.consume
		r.CloudEvent = func(e journal.Event, topic, pubsub string) ([]byte, error) {
			told, err := eventing.Logged(e, topic, pubsub, h.catalog.Load())
			if err != nil {
				return nil, err
			}
			return told.JSON()
		}
		r.Present = func(e journal.Event) (building.Shown, error) {
			told, err := eventing.Logged(e, "", "", h.catalog.Load())
			return building.Shown{Name: told.Type, ContentType: told.ContentType, Data: told.Data}, err
		}
		r.Landed = func() { h.landed(true, false) }
	}
	if h.replicas != nil && h.replicas.values != nil {
		r.Values = h.replicas.values
	}
	return r
}
