package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica"
)

// JournalConfig of a Journal. Deltas and Group are needed.
type JournalConfig struct {
	Deltas journal.Deltas
	// Group of members that hear each other, as a rule the app's id.
	Group string
	// Poll is how often to look for new batches when no bell rings; with bells it is ten times as often at most. Defaults to
	// 100 ms.
	Poll time.Duration
	// Bells is the shortest time between two bells of this process. Defaults to 20 ms; every bell costs all who use the
	// database.
	Bells time.Duration
	// Retention is how long batches are kept. Whoever was away for longer asks the others. Defaults to 1 minute.
	Retention time.Duration
	// MaxBatch is the largest batch in bytes. Defaults to 1 MiB, at most journal.MaxDeltaBytes.
	MaxBatch int
	// Timeout of one write. Defaults to 5 seconds.
	Timeout time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Journal is a bus over a database that the members share: batches are rows that others read in the order of each sender.
// Those that are published while another write is on its way share the next one.
type Journal struct {
	config JournalConfig
	turn   chan struct{} // has a token while nobody writes
	bell   chan struct{}

	origin atomic.Int64
	number int64     // of the next one; whoever has the turn counts
	looked time.Time // of the reader, when it last did

	mu     sync.Mutex // guards what follows
	queue  []*letter
	reads  error
	writes error
}

type letter struct {
	body []byte
	done chan struct{}
	err  error
}

var _ replica.Bus = (*Journal)(nil)

// NewJournal makes a bus that delivers when Run is called.
func NewJournal(config JournalConfig) (*Journal, error) {
	c := &config
	c.Poll, c.Bells, c.Retention = cmp.Or(c.Poll, 100*time.Millisecond), cmp.Or(c.Bells, 20*time.Millisecond), cmp.Or(c.Retention, time.Minute)
	c.MaxBatch, c.Timeout = cmp.Or(c.MaxBatch, 1<<20), cmp.Or(c.Timeout, 5*time.Second)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	var problems []error
	if c.Deltas == nil {
		problems = append(problems, errors.New("the journal cannot pass deltas on; use one in Postgres, or a pub/sub component"))
	}
	if c.Group == "" || len(c.Group) > journal.MaxDeltaGroupBytes {
		problems = append(problems, fmt.Errorf("Group has %d bytes; 1 to %d are possible", len(c.Group), journal.MaxDeltaGroupBytes))
	}
	if c.MaxBatch < 1 || c.MaxBatch > journal.MaxDeltaBytes {
		problems = append(problems, fmt.Errorf("MaxBatch is %d; 1 to %d are possible", c.MaxBatch, journal.MaxDeltaBytes))
	}
	if c.Poll < time.Millisecond || c.Bells < time.Millisecond || c.Retention < time.Second || c.Timeout < time.Millisecond {
		problems = append(problems, fmt.Errorf("Poll is %s, Bells %s, Retention %s and Timeout %s; too short", c.Poll, c.Bells, c.Retention, c.Timeout))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("configure the bus over the journal: %w", err)
	}
	j := &Journal{config: config, turn: make(chan struct{}, 1), bell: make(chan struct{}, 1)}
	j.turn <- struct{}{}
	j.begin()
	return j, nil
}

// begin an origin of its own.
func (j *Journal) begin() {
	j.origin.Store(rand.Int64N(math.MaxInt64) + 1)
	j.number = 1
}

// Err says why batches do not get through at present, nil if they do.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return errors.Join(j.writes, j.reads)
}

// Publish implements replica.Bus. Whoever publishes first writes for all who wait.
func (j *Journal) Publish(ctx context.Context, batch []byte) error {
	if len(batch) > j.config.MaxBatch {
		return fmt.Errorf("publish a batch: it has %d bytes, at most %d are allowed", len(batch), j.config.MaxBatch)
	}
	l := &letter{body: batch, done: make(chan struct{})}
	j.mu.Lock()
	j.queue = append(j.queue, l)
	j.mu.Unlock()
	for {
		select {
		case <-l.done:
			return l.err
		case <-j.turn:
			j.write(ctx)
			j.turn <- struct{}{}
		case <-ctx.Done():
			j.withdraw(l)
			return fmt.Errorf("publish a batch: %w", context.Cause(ctx))
		}
	}
}

// withdraw a letter that nobody is writing yet.
func (j *Journal) withdraw(l *letter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, other := range j.queue {
		if other == l {
			j.queue = append(j.queue[:i], j.queue[i+1:]...)
			return
		}
	}
}

// What goes into one write.
const (
	maxLetters     = 256
	maxLetterBytes = 4 << 20
)

// write what waits, as much as goes into one statement. The turn is the caller's. Others wait for it, so it does not end
// with the caller's context.
func (j *Journal) write(ctx context.Context) {
	j.mu.Lock()
	n, size := 0, 0
	for n < len(j.queue) && n < maxLetters && (n == 0 || size+len(j.queue[n].body) <= maxLetterBytes) {
		size += len(j.queue[n].body)
		n++
	}
	letters := j.queue[:n:n]
	j.queue = j.queue[n:]
	j.mu.Unlock()
	if n == 0 {
		return
	}
	bodies := make([][]byte, n)
	for i, l := range letters {
		bodies[i] = l.body
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), j.config.Timeout)
	defer cancel()
	err := j.config.Deltas.PutDeltas(ctx, j.config.Group, j.origin.Load(), j.number, bodies)
	if err != nil {
		// They may have been written, or be so later. What comes next must not be behind a gap.
		err = fmt.Errorf("publish %d batches: %w", n, err)
		j.begin()
	} else {
		j.number += int64(n)
	}
	j.mu.Lock()
	j.writes = err
	j.mu.Unlock()
	for _, l := range letters {
		l.err = err
		close(l.done)
	}
	ring(j.bell)
}

// ring a doorbell. One that rings already is enough.
func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}
