package peers

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Run implements replica.Bus. It begins with what is published after its call, and can be called once.
func (j *Journal) Run(ctx context.Context, deliver func(batch []byte)) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rang := make(chan struct{}, 1)
	running.Go(func() { j.listen(ctx, func() { ring(rang) }) })
	running.Go(func() { j.bells(ctx) })
	running.Go(func() { j.trim(ctx) })
	j.read(ctx, rang, deliver)
	return nil
}

// listen for bells. Without them there is still the poll.
func (j *Journal) listen(ctx context.Context, rang func()) {
	for {
		err := j.config.Deltas.ListenDeltas(ctx, j.config.Group, rang)
		if ctx.Err() != nil {
			return
		}
		j.config.Log.Warn("not woken by the database for a while; batches of other members come by polling", "error", err)
		pause(ctx, 10*time.Second)
	}
}

// bells tells the others that there is something new, but not more often than allowed.
func (j *Journal) bells(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.bell:
		}
		within, cancel := context.WithTimeout(ctx, j.config.Timeout)
		_ = j.config.Deltas.RingDeltas(within, j.config.Group) // the others poll, too
		cancel()
		pause(ctx, j.config.Bells)
	}
}

// trim removes what is old, of all: whoever wrote it may be gone.
func (j *Journal) trim(ctx context.Context) {
	failing := false
	for {
		pause(ctx, j.config.Retention/4+rand.N(j.config.Retention/4))
		if ctx.Err() != nil {
			return
		}
		err := j.config.Deltas.TrimDeltas(ctx, j.config.Retention)
		if err != nil && !failing && ctx.Err() == nil {
			j.config.Log.Warn("old batches cannot be removed now", "error", err)
		}
		failing = err != nil
	}
}

// cursor is how far an origin has been read.
type cursor struct {
	number int64
	moved  time.Time
}

func (j *Journal) read(ctx context.Context, rang <-chan struct{}, deliver func([]byte)) {
	cursors := map[int64]cursor{}
	started, failing := false, false
	for ctx.Err() == nil {
		var n int
		var err error
		if started {
			n, err = j.look(ctx, cursors, deliver)
		} else {
			err = j.start(ctx, cursors)
			started = err == nil
		}
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != failing {
			failing = err != nil
			if failing {
				j.config.Log.Warn("batches of other members cannot be read now", "error", err)
			} else {
				j.config.Log.Info("batches of other members are read again")
			}
		}
		j.mu.Lock()
		j.reads = err
		j.mu.Unlock()
		switch {
		case n >= many: // and there may be more
		case n > 0:
			pause(ctx, j.config.Poll/10)
		default:
			j.wait(ctx, rang)
		}
	}
}

// many batches at once are a sign of more.
const many = 200

// wait for a bell or the next poll. All members ring, so it does not jump at every bell.
func (j *Journal) wait(ctx context.Context, rang <-chan struct{}) {
	timer := time.NewTimer(j.config.Poll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-rang:
		if d := j.config.Poll/10 - time.Since(j.looked); d > 0 {
			pause(ctx, d)
		}
	}
}

// start at the present: whoever uses an entity reads what is older from its cells.
func (j *Journal) start(ctx context.Context, cursors map[int64]cursor) error {
	ctx, cancel := context.WithTimeout(ctx, j.config.Timeout)
	defer cancel()
	last, err := j.config.Deltas.LastDeltas(ctx, j.config.Group)
	if err != nil {
		return err
	}
	for origin, number := range last {
		cursors[origin] = cursor{number, time.Now()}
	}
	return nil
}

// look delivers what is new, and returns how much it was.
func (j *Journal) look(ctx context.Context, cursors map[int64]cursor, deliver func([]byte)) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, j.config.Timeout)
	defer cancel()
	now := time.Now()
	j.looked = now
	// Batches of an origin are gone after the retention, however long its cursor is kept.
	maps.DeleteFunc(cursors, func(_ int64, c cursor) bool { return now.Sub(c.moved) > 5*j.config.Retention })
	after := make(map[int64]int64, len(cursors)+1)
	for origin, c := range cursors {
		after[origin] = c.number
	}
	after[j.origin.Load()] = math.MaxInt64 // who wrote it knows it
	list, err := j.config.Deltas.Deltas(ctx, j.config.Group, after)
	if err != nil {
		return 0, err
	}
	for i := range list {
		d := &list[i]
		cursors[d.Origin] = cursor{d.Number, now}
		deliver(d.Body)
	}
	return len(list), nil
}

// pause returns after d or with ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
