package replica

import (
	"context"
	"errors"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// instance of an entity that is in use. It is guarded by the host's mutex.
type instance struct {
	id      string
	service *hosted
	session *session
	// queue of commands for the session.
	queue []*call
	// dirty says that the replica may have something to tell; newsSince is when others began to change it. holding says
	// that a timer will end the holding back of commands.
	dirty     bool
	newsSince time.Time
	holding   bool
	// leave says why it is to be passivated once it has nothing to do.
	leave Reason
	// tries counts the openings since a command was given, trouble is why the last session ended.
	tries   int
	trouble error

	idleSince time.Time
	// running says that there is a worker, resting that it is in its service's idle list, gone that it was passivated.
	running, resting, gone bool
}

// session of an instance: one stream of the user function.
type session struct {
	Session
	instance *instance
	replica  Replica
	// calls that the user function has not finished, by their numbers; the last one's number.
	calls map[int64]*call
	last  int64
	// cancels are to be told.
	cancels []*call
	// busy counts what is unanswered: commands and cancellations.
	busy int
	// applying says that an answer's write is being applied.
	applying bool
	// over says that nothing more is given or taken, reason why.
	over   bool
	reason Reason
}

func (i *instance) ref() actors.Ref { return actors.Ref{Service: i.service.Name, ID: i.id} }

// load is the number of commands that wait for their first answer.
func (i *instance) load() int {
	n := len(i.queue)
	if i.session != nil {
		n += i.session.busy
	}
	return n
}

func (i *instance) dequeue(c *call) {
	for k, q := range i.queue {
		if q == c {
			i.queue = append(i.queue[:k:k], i.queue[k+1:]...)
			return
		}
	}
}

// task is what a worker does next.
type task uint8

const (
	halt task = iota
	opening
	telling
	giving
	cancelTask
	ending
)

// run gives i a worker, unless it has one or that one would have nothing to do.
func (h *Host) run(i *instance) {
	if !i.running && !i.gone && h.task(i) != halt {
		i.running = true
		h.workers.Go(func() { h.work(i) })
	}
}

// advance gives i a worker or lets it rest.
func (h *Host) advance(i *instance) {
	h.run(i)
	if !i.running {
		h.rest(i)
	}
}

// task says what is to be done for i.
func (h *Host) task(i *instance) task {
	s := i.session
	leaving := h.leaving(i) != ""
	replaced := leaving && !h.stopping
	switch {
	case s == nil && len(i.queue) > 0:
		return opening
	case s == nil:
		return ending
	case s.over && s.applying:
		return halt
	case s.over:
		return ending
	case i.dirty && s.busy == 0:
		return telling
	case len(s.cancels) > 0:
		return cancelTask
	case len(i.queue) > 0 && !replaced && !h.holdsBack(i):
		return giving
	case len(s.calls) == 0 && (leaving || i.leave != ""):
		return ending
	default:
		return halt
	}
}

// holdsBack reports whether i's commands wait until what is unanswered is answered, so that the user function of an entity
// that is never quiet hears of what others do. That is not for long, since one command may take its time.
func (h *Host) holdsBack(i *instance) bool {
	if !i.dirty || i.newsSince.IsZero() || h.config.Stale < 0 {
		return false
	}
	switch waited := time.Since(i.newsSince); {
	case waited < h.config.Stale:
		return false
	case waited < 2*h.config.Stale:
		if !i.holding {
			i.holding = true
			time.AfterFunc(2*h.config.Stale-waited, func() {
				h.mu.Lock()
				defer h.unlock()
				i.holding = false
				h.run(i)
			})
		}
		return true
	default:
		i.newsSince = time.Now()
		return false
	}
}

// work is the worker: the one that speaks to the session.
func (h *Host) work(i *instance) {
	for {
		h.mu.Lock()
		t := h.task(i)
		switch t {
		case halt:
			i.running = false
			h.rest(i)
			h.unlock()
			return
		case opening:
			i.dirty, i.newsSince = false, time.Time{}
			h.unlock()
			h.open(i)
		case telling:
			i.dirty, i.newsSince = false, time.Time{}
			s := i.session
			h.unlock()
			h.tell(s)
		case cancelTask:
			s := i.session
			c := s.cancels[0]
			s.cancels = s.cancels[1:]
			c.stage = cancelled
			h.expect(s, c)
			h.unlock()
			h.given(s, func(ctx context.Context) error { return s.Cancelled(ctx, c.number) })
		case giving:
			s := i.session
			c := i.queue[0]
			i.queue[0] = nil
			i.queue = i.queue[1:]
			if !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
				h.finish(c)
				h.push(c, &parcel{last: true, err: actors.Errorf(actors.DeadlineExceeded,
					"%s to %s was not begun before its deadline; nothing came of it", c.command.Method, c.command.Ref)})
				h.unlock()
				continue
			}
			i.tries = 0
			s.last++
			c.number, c.stage = s.last, asked
			s.calls[c.number] = c
			h.expect(s, c)
			h.unlock()
			h.given(s, func(ctx context.Context) error {
				if err := s.Command(ctx, c.number, &c.command, c.streamed); err != nil && ctx.Err() == nil {
					h.withheld(s, c, err)
				}
				return nil
			})
		case ending:
			if h.end(i) {
				return
			}
		}
	}
}

// expect an answer to c.
func (h *Host) expect(s *session, c *call) {
	s.busy++
	c.since = time.Now()
	h.unanswered.Add(c, struct{}{})
	if due := c.since.Add(h.config.AnswerTimeout); due.Before(h.sweepAt) {
		knock(h.toSweep)
	}
}

// given says something to the session.
func (h *Host) given(s *session, say func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(h.ctx, h.config.AnswerTimeout)
	defer cancel()
	err := say(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = actors.Errorf(actors.DeadlineExceeded, "the user function of %s takes nothing, for %s", s.instance.ref(), h.config.AnswerTimeout)
	}
	if err != nil {
		h.ended(s, err)
	}
}

// withheld is for a command that could not be given to the session. That is no reason to end it.
func (h *Host) withheld(s *session, c *call, err error) {
	h.mu.Lock()
	defer h.unlock()
	if s.over || s.calls[c.number] != c {
		return
	}
	h.settle(s, c, &Answer{Kind: Failed, Number: c.number}, &parcel{err: err, last: true})
}

// changed is called by the replica.
func (h *Host) changed(i *instance) {
	h.mu.Lock()
	defer h.unlock()
	i.dirty = true
	if i.newsSince.IsZero() {
		i.newsSince = time.Now()
	}
	if i.session != nil {
		h.run(i)
	}
}

// tell the session what others changed.
func (h *Host) tell(s *session) {
	update, err := s.replica.Flush()
	switch {
	case errors.Is(err, ErrDeleted):
		h.given(s, s.Delete)
		h.mu.Lock()
		defer h.unlock()
		h.stop(s, Deleted, func(c *call) error {
			return actors.Errorf(actors.Aborted, "%s was deleted before %s came to its end; call it again", c.command.Ref, c.command.Method)
		})
	case err != nil:
		h.mu.Lock()
		defer h.unlock()
		h.stop(s, Diverged, func(c *call) error {
			return actors.Errorf(actors.Unavailable,
				"%s of %s is ended: what its user function was told is not so, and it begins again from what is; call it again", c.command.Method, c.command.Ref)
		})
	case update != nil:
		h.given(s, func(ctx context.Context) error { return s.Update(ctx, update) })
	}
}

// end closes the session and the replica, and reports whether the worker is at its end. The mutex is held and released.
func (h *Host) end(i *instance) bool {
	s := i.session
	if s == nil {
		i.gone, i.running = true, false
		delete(h.instances, i.ref())
		h.hush()
		h.unlock()
		return true
	}
	if !s.over {
		s.over, s.reason = true, i.leave
		switch {
		case h.stopping:
			s.reason = Stopped
		case h.services[i.service.Name] != i.service:
			s.reason = Replaced
		}
	}
	i.leave = ""
	reason := s.reason
	h.unlock()
	s.Close()
	s.replica.Close()
	h.config.Observer.Passivated(i.service.Name, reason)
	h.mu.Lock()
	defer h.unlock()
	i.session = nil
	return false
}
