package component

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dapr-entities/entities/actors/feed"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
	"github.com/dapr-entities/entities/actors/outbox"
	"github.com/dapr-entities/entities/component/admin"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/eventing"
)

// deliveries carry out effects and hand events to their consumers. The lanes of the outbox and the consumers are shared
// out, each group for itself, over the components of one app id.
type deliveries struct {
	host    *host
	log     *slog.Logger
	metrics *admin.Metrics
	outbox  *outbox.Worker
	lanes   *lease.Leases
	feeds   *lease.Leases

	mu sync.Mutex
	// consumers of event logs, by the names of their feeds.
	consumers map[string]catalog.Consumer
	// running feeds, by their names.
	running map[string]*feed.Consumer
	// skipped are the sorts of events that were said to have no taker.
	skipped map[string]bool
}

func newDeliveries(h *host, c *Component) (*deliveries, error) {
	d := &deliveries{
		host: h, log: c.log, metrics: c.metrics,
		consumers: map[string]catalog.Consumer{}, running: map[string]*feed.Consumer{}, skipped: map[string]bool{},
	}
	var err error
	d.outbox, err = outbox.New(outbox.Config{
		Outbox: h.journal, Handler: h.router, MaxTries: h.settings.MaxTries, Timeout: h.settings.CommandTimeout,
		Drain: h.settings.DrainTimeout, Log: c.log,
		Report: func(_ context.Context, p journal.Pending, why error) {
			h.function.Report(fmt.Sprintf("the effect %s.%s of %s is parked: %v", p.Ref, p.Method, p.Source, why))
		},
		Observer: outbox.Observer{
			Delivered: func(service string, took, since time.Duration) { d.metrics.Delivered("effect", service, took, since) },
			Retried:   func(service string, _ time.Duration) { d.metrics.Retried("effect", service) },
			Parked:    func(service string) { d.metrics.Parked("effect", service) },
		},
	})
	if err != nil {
		return nil, err
	}
	// Another app id with the same journal has entities of its own.
	group := func(what string) string { return what + "." + h.settings.AppID }
	member := rand.Text()
	d.lanes, err = lease.New(lease.Config{
		Cells: h.journal, Group: group("effects"), Member: member, Work: d.outbox.Work, TTL: h.settings.LeaseTimeout, Log: c.log,
	})
	if err != nil {
		return nil, err
	}
	d.feeds, err = lease.New(lease.Config{
		Cells: h.journal, Group: group("feeds"), Member: member, Work: d.feed, TTL: h.settings.LeaseTimeout, Log: c.log,
	})
	return d, err
}

// update takes over what a user function consumes. Lanes are wanted from the first discovery on: before it nobody knows
// where effects go.
func (d *deliveries) update(c *catalog.Catalog) {
	d.mu.Lock()
	clear(d.consumers)
	var names []string
	for _, consumer := range c.Consumers() {
		if consumer.Log != "" {
			name := feedName(consumer)
			d.consumers[name] = consumer
			names = append(names, name)
		}
	}
	d.mu.Unlock()
	d.outbox.Serve(sources(c))
	if err := d.lanes.Names(outbox.Names()); err != nil {
		d.log.Error("effects are not carried out", keyError, err)
	}
	if err := d.feeds.Names(names); err != nil {
		d.log.Error("events are not delivered", keyError, err)
	}
}

// sources are those whose effects are this user function's: the streams of its placed entities, and its other services.
func sources(c *catalog.Catalog) []string {
	list := []string{} // nil would be all there are
	for _, s := range c.Services() {
		if s.Kind.Placed() {
			list = append(list, s.Persistence)
		} else {
			list = append(list, s.Name) // no stream keeps what they ask for
		}
	}
	return list
}

// checkFeeds refuses consumers whose cursors could not be kept.
func checkFeeds(c *catalog.Catalog) error {
	var problems []error
	for _, consumer := range c.Consumers() {
		if consumer.Log != "" && max(len(consumer.Group), len(consumer.Log)) > feed.MaxGroupBytes {
			problems = append(problems, fmt.Errorf("the service %s consumes %s; names of groups and event logs have at most %d bytes",
				consumer.Service.Name, consumer.Source, feed.MaxGroupBytes))
		}
	}
	return errors.Join(problems...)
}

func feedName(c catalog.Consumer) string {
	return strconv.Quote(c.Group) + " " + strconv.Quote(c.Log) + " " + strconv.Quote(c.Service.Name)
}

// Run delivers until ctx ends.
func (d *deliveries) Run(ctx context.Context) error {
	// The worker settles what the lanes have begun, so it stops after them.
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return named("outbox", d.outbox.Run(working)) })
	g.Go(func() error {
		defer stop()
		return named("leases of effects", d.lanes.Run(ctx))
	})
	g.Go(func() error { return named("leases of feeds", d.feeds.Run(ctx)) })
	return g.Wait()
}

// landed rings for those who wait for something new in the journal.
func (d *deliveries) landed(events, effects bool) {
	if effects {
		d.outbox.Ring()
	}
	if !events {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.running {
		f.Ring()
	}
}

// consumption of a feed, as it is now.
func (d *deliveries) consumption(name string) (eventing.Consumption, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.consumers[name]
	return eventing.Consumption{Consumer: c, Commands: d.host.router, Skipped: func(typeURL string) { d.skip(c, typeURL) }}, ok
}

// skip says once of every sort of event that nobody takes it: that may be meant, or forgotten.
func (d *deliveries) skip(c catalog.Consumer, typeURL string) {
	d.metrics.Skipped(c.Service.Name)
	d.mu.Lock()
	defer d.mu.Unlock()
	key := c.Service.Name + " " + c.Source.String() + " " + typeURL
	if d.skipped[key] || len(d.skipped) > 1000 {
		return
	}
	d.skipped[key] = true
	d.log.Info("events of this type have no method that takes them, and are skipped", "service", c.Service.Name, "source", c.Source.String(), "type", typeURL)
}

// feed is the work behind the name of a consumer.
func (d *deliveries) feed(ctx context.Context, held *lease.Held) error {
	c, ok := d.consumption(held.Name())
	if !ok {
		<-ctx.Done() // it is about to be given back
		return nil
	}
	f, err := d.newFeed(c.Consumer, held.Name())
	if err != nil {
		return err
	}
	d.run(held.Name(), f)
	defer d.run(held.Name(), nil)
	return f.Work(ctx, held)
}

// run notes which feed runs under a name; nil for none.
func (d *deliveries) run(name string, f *feed.Consumer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f == nil {
		delete(d.running, name)
	} else {
		d.running[name] = f
	}
}

func (d *deliveries) newFeed(c catalog.Consumer, name string) (*feed.Consumer, error) {
	service := c.Service.Name
	return feed.New(feed.Config{
		Tailer: d.host.journal, Cells: d.host.journal, Group: c.Group, Service: c.Log,
		MaxTries: d.host.settings.MaxTries, Timeout: d.host.settings.CommandTimeout, Drain: d.host.settings.DrainTimeout, Log: d.log,
		Handle: func(ctx context.Context, e journal.Event) error {
			now, ok := d.consumption(name)
			if !ok {
				return fmt.Errorf("nobody consumes %s in the group %s any more", c.Log, c.Group)
			}
			begun := time.Now()
			err := now.Log(ctx, e)
			if err == nil {
				d.metrics.Delivered("event", service, time.Since(begun), time.Since(e.Time))
			}
			return err
		},
		Observer: feed.Observer{
			Retried: func(time.Duration) { d.metrics.Retried("event", service) },
			Parked:  func() { d.metrics.Parked("event", service) },
		},
	})
}
