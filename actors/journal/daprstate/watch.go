package daprstate

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// watch tells what has not changed for a while, by this process's own clock.
type watch struct {
	mu   sync.Mutex
	seen map[string]sighting
	last time.Time // when the open streams were gone through
}

type sighting struct {
	what  string
	since time.Time
}

// quiet reports whether name has been what for at least the given time.
func (w *watch) quiet(name, what string, long time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.seen[name]
	if !ok || s.what != what {
		w.seen[name] = sighting{what, time.Now()}
		return long == 0
	}
	return time.Since(s.since) >= long
}

func (w *watch) forget(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.seen, name)
}

// due reports, once in a while, whether it is time to go through the open streams.
func (w *watch) due(often time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.last) < often {
		return false
	}
	w.last = time.Now()
	return true
}

// sweep looks at streams that stand on the list of open ones and have not been written to for a while. What somebody who
// died has left behind gets into the order, and the streams are closed.
func (f *feed) sweep(ctx context.Context, o *order) error {
	w := &f.j.watch
	if !w.due(f.j.config.Quiet / 4) {
		return nil
	}
	var still []open
	for _, s := range o.open {
		if w.quiet("open "+streamKey(s.ref), fmt.Sprint(s.round, s.asked, s.published), f.j.config.Quiet) {
			still = append(still, s)
		}
	}
	if len(still) == 0 {
		return nil
	}
	return f.close(ctx, still)
}

// close closes streams. It takes two steps for those whose events are not all in the order.
func (f *feed) close(ctx context.Context, streams []open) error {
	type closing struct {
		open
		landed landed
		closed bool
		err    error
	}
	list := make([]closing, len(streams))
	var working sync.WaitGroup
	slots := make(chan struct{}, f.j.config.Parallel) // those of appends may all be waiting for us
	for i, s := range streams {
		list[i].open = s
		slots <- struct{}{}
		working.Go(func() {
			list[i].landed, list[i].closed, list[i].err = f.shut(ctx, s)
			<-slots
		})
	}
	working.Wait()
	for i := range list {
		if err := list[i].err; err != nil {
			return err
		}
	}
	err := f.change(ctx, func(o *order) error {
		for i := range list {
			c := &list[i]
			if !c.closed {
				o.publish(c.landed)
				continue
			}
			at := o.find(c.ref)
			if at >= 0 && o.open[at].round == c.round && o.open[at].asked == c.asked {
				o.open = append(o.open[:at], o.open[at+1:]...)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var rest []open
	for i := range list {
		c := &list[i]
		f.j.watch.forget("open " + streamKey(c.ref))
		if !c.closed {
			c.published = c.landed.last
			rest = append(rest, c.open)
		}
	}
	if len(rest) > 0 {
		return f.close(ctx, rest)
	}
	return nil
}

// shut saves a head that says that its stream is not open, whether it did before or not: writers who have read it before
// fail. If there are events that are not in the order, it does nothing and returns how far they reach.
func (f *feed) shut(ctx context.Context, s open) (l landed, closed bool, err error) {
	err = f.j.changeNow(ctx, s.ref, nil, func(c *change) error {
		closed = true
		if c.round != 0 {
			from := s.published
			if from < 0 {
				from = c.opened
			}
			if c.at.Sequence > from {
				l, closed = c.run(), false
				return errSame
			}
		}
		c.round, c.opened = 0, 0
		return nil
	})
	if err != nil {
		return l, false, fmt.Errorf("close the feed of %s: %w", s.ref, err)
	}
	return l, closed, nil
}
