package feed

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/lease"
)

// windowBatches is how many batches of events may be in memory.
const windowBatches = 4

// lookReleased is how often to look for released events.
const lookReleased = time.Second

// Consumer is one group's consumer of one service.
type Consumer struct {
	config Config
	trial  trial
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
	block   block
}

// New makes a Consumer.
func New(config Config) (*Consumer, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("feed %s to %s: %w", config.Service, config.Group, err)
	}
	c := &Consumer{config: config, trial: config.trial(), bell: make(chan struct{}, 1)}
	c.config.Log = config.Log.With(logService, config.Service)
	return c, nil
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
	c.cursor = cursor{fenced{cells: c.config.Cells, key: "cursor/" + part(c.config.Group) + "/" + part(c.config.Service), writer: rand.Text()}}
	at, found, err := c.cursor.load(ctx)
	if err != nil {
		return err
	}
	if !found && c.config.From == Now {
		if at, err = endOf(ctx, c.config.Tailer, []string{c.config.Service}, c.config.Batch); err != nil {
			return err
		}
	}
	if err := c.cursor.save(ctx, at); err != nil {
		return err
	}
	c.window, c.queues, c.ready, c.waiting, c.again, c.trying = nil, map[string][]*ticket{}, nil, nil, map[string]bool{}, 0
	c.read, c.at, c.kept, c.unsaved, c.saved = at, at, at, 0, time.Now()
	c.fetched, c.looked = time.Time{}, time.Time{}
	c.block = block{tailer: c.config.Tailer, observer: c.config.Observer, log: c.config.Log, moved: time.Now()}
	return nil
}

// saveTimeout is for the last save of a consumer that ends.
const saveTimeout = 5 * time.Second
