package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
)

// windowBatches is how many batches of events may be in memory.
const windowBatches = 4

// How often to look for released events, and, while there are none to handle, what holds the order up.
const (
	lookReleased = time.Second
	lookBlocked  = 10 * time.Second
)

// Consumer is one group's consumer of one service.
type Consumer struct {
	config Config
	bell   chan struct{}

	// The rest is of Run alone.
	cursor  cursor
	window  []*ticket // in the order of the journal, without released ones
	queues  map[string][]*ticket
	ready   []*ticket       // fronts of queues, to be tried as soon as there is room
	waiting []*ticket       // fronts of queues, to be tried when they are due
	again   map[string]bool // cells of released events that are in queues
	trying  int

	read    journal.Position // up to here events have been read
	at      journal.Position // up to here everything is handled or parked
	kept    journal.Position // what the cursor says
	unsaved int              // events that are done since it was saved
	saved   time.Time
	fetched time.Time
	looked  time.Time // for released events
	moved   time.Time // when the end of the journal last moved, or somebody was asked why it does not
	blocked string
}

// ticket is an event on its way.
type ticket struct {
	event    journal.Event
	tries    int
	problem  string
	hopeless bool // not worth another try
	due      time.Time
	done     bool         // handled or parked
	released journal.Cell // of an event outside the order
}

// New makes a Consumer.
func New(config Config) (*Consumer, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("feed %s to %s: %w", config.Service, config.Group, err)
	}
	return &Consumer{config: config, bell: make(chan struct{}, 1)}, nil
}

// Ring says that there may be something to do. It never waits.
func (c *Consumer) Ring() {
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

// Work is a lease.Config's Work: Run under a lease.
func (c *Consumer) Work(ctx context.Context, held *lease.Held) error {
	return c.run(ctx, held.Valid, held.Lost())
}

// Run consumes until ctx ends, or another consumer takes over. Then it begins no further try, waits for those that go on,
// but no longer than Drain, and saves the cursor. It may be called again after it has returned, and only then. A journal
// that fails does not end it once it has begun.
func (c *Consumer) Run(ctx context.Context) error {
	return c.run(ctx, func() bool { return true }, nil)
}

func (c *Consumer) run(ctx context.Context, valid func() bool, lost <-chan struct{}) error {
	err := c.start(ctx)
	if err == nil {
		l := &loop{Consumer: c, results: make(chan tried, c.config.Concurrency), valid: valid}
		l.tries, l.cut = context.WithCancel(context.WithoutCancel(ctx))
		defer l.cut()
		err = l.consume(ctx)
		l.drain(err, lost)
		if err == nil {
			saving, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
			defer cancel()
			err = l.save(saving)
		}
	}
	if err != nil {
		return fmt.Errorf("feed %s to %s: %w", c.config.Service, c.config.Group, err)
	}
	return nil
}

// start finds out where to begin, and takes the cursor.
func (c *Consumer) start(ctx context.Context) error {
	c.cursor = cursor{cells: c.config.Cells, key: "cursor/" + part(c.config.Group) + "/" + part(c.config.Service), writer: rand.Text()}
	at, found, err := c.cursor.load(ctx)
	if err != nil {
		return err
	}
	for end := false; !found && c.config.From == Now && !end; {
		_, next, err := c.config.Tailer.Tail(ctx, []string{c.config.Service}, at, c.config.Batch)
		if err != nil && !errors.Is(err, journal.ErrCorrupt) {
			return fmt.Errorf("look for the end of the journal: %w", err)
		}
		end = next == at
		at = next
	}
	if err := c.cursor.save(ctx, at); err != nil {
		return err
	}
	c.window, c.queues, c.ready, c.waiting, c.again, c.trying = nil, map[string][]*ticket{}, nil, nil, map[string]bool{}, 0
	c.read, c.at, c.kept, c.unsaved, c.saved = at, at, at, 0, time.Now()
	c.fetched, c.looked, c.moved, c.blocked = time.Time{}, time.Time{}, time.Now(), ""
	return nil
}

// saveTimeout is for the last save of a consumer that ends.
const saveTimeout = 5 * time.Second
