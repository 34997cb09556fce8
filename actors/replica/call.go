package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// stage of a call, as the user function sees it.
type stage uint8

const (
	// queued for a session.
	queued stage = iota
	// asked: given to a session, and unanswered.
	asked
	// streaming: answered, and messages follow.
	streaming
	// cancelling: the session is to be told that the caller is gone.
	cancelling
	// cancelled: it was told, and has not answered.
	cancelled
	// finished: nothing more is expected of the user function.
	finished
)

// call is one command on its way through the host. It is guarded by the host's mutex.
type call struct {
	command  actors.Command
	streamed bool
	service  *hosted
	instance *instance
	// deadline is zero for streamed commands without one.
	deadline time.Time
	stage    stage
	number   int64
	// since it was given, or cancelled.
	since time.Time

	// parcels that the caller has not taken, in their order. bell, of capacity 1, rings when the first may be taken.
	parcels []*parcel
	bell    chan struct{}
	// gone says that nobody takes answers any more, closed that none is added.
	gone, closed bool
	// waiting says that it counts as one that waits for its first answer, open as a stream.
	waiting, open bool
	// size of the command, and what the unread parcels have, count towards the bytes that are buffered.
	size, unread int
}

// parcel is one outcome for a caller, or an error.
type parcel struct {
	outcome actors.Outcome
	err     error
	// unconfirmed says that its write is not known to be as safe as was asked for. Nothing passes it.
	unconfirmed bool
	// last says that nothing follows, empty that there is nothing to give, dropped that nobody will take it.
	last, empty, dropped bool
	size                 int
}

// streamShare is the part of MaxBuffered that the answers to one streamed command may take, so that one slow caller does
// not leave the others without room.
const streamShare = 16

// push appends an answer for c's caller.
func (h *Host) push(c *call, a *parcel) {
	if c.gone || c.closed {
		h.leave(c, a)
		return
	}
	a.size = outcomeSize(&a.outcome)
	if most := h.config.MaxBuffered / streamShare; !a.last && len(c.parcels) > 0 {
		switch {
		case len(c.parcels) >= h.config.MaxUnread:
			h.overflow(c, a, settingUnread, fmt.Sprintf("its caller has not taken %d answers; the limit is %d", len(c.parcels), h.config.MaxUnread))
			return
		case c.unread+a.size > most:
			h.overflow(c, a, settingBuffered, fmt.Sprintf("its caller has not taken %d bytes of answers; the limit is %d, a %dth of all", c.unread, most, streamShare))
			return
		case h.buffered+a.size > h.config.MaxBuffered:
			h.overflow(c, a, settingBuffered, fmt.Sprintf("what waits for all callers holds %d bytes; the limit is %d", h.buffered, h.config.MaxBuffered))
			return
		}
	}
	c.unread += a.size
	h.buffered += a.size
	c.closed = a.last
	c.parcels = append(c.parcels, a)
	c.announce()
}

// overflow ends a stream whose caller is too slow. What he has not taken is dropped, to make room.
func (h *Host) overflow(c *call, a *parcel, setting, why string) {
	h.discard(c)
	h.leave(c, a)
	h.limited(c.service, setting)
	c.closed = true
	c.parcels = append(c.parcels, &parcel{last: true, err: actors.Errorf(actors.ResourceExhausted,
		"%s of %s is ended: %s (%s); call it again, and take its answers sooner", c.command.Method, c.command.Ref, why, setting)})
	c.announce()
	h.cancelStream(c)
}

// discard what c's caller has not taken.
func (h *Host) discard(c *call) {
	for _, a := range c.parcels {
		if a.unconfirmed {
			a.dropped = true
		} else {
			h.leave(c, a)
		}
	}
	h.buffered -= c.unread
	c.parcels, c.unread = nil, 0
}

// announce wakes the caller if there is something to take.
func (c *call) announce() {
	if len(c.parcels) > 0 && !c.parcels[0].unconfirmed {
		knock(c.bell)
	}
}

// take waits for the next answer. Its error says that the caller's time is up: forget is to be called then, too.
func (h *Host) take(ctx context.Context, c *call, late <-chan time.Time) (*parcel, error) {
	for {
		if a := h.taken(c); a != nil {
			return a, nil
		}
		code, how := actors.DeadlineExceeded, "before its deadline"
		select {
		case <-c.bell:
			continue
		case <-late:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				code, how = actors.Canceled, "before its caller went away"
			}
		}
		if a := h.taken(c); a != nil {
			return a, nil // it came at the same moment
		}
		return nil, h.overdue(c, code, how)
	}
}

func (h *Host) taken(c *call) *parcel {
	h.mu.Lock()
	defer h.unlock()
	if len(c.parcels) == 0 || c.parcels[0].unconfirmed {
		return nil
	}
	a := c.parcels[0]
	c.parcels[0] = nil
	c.parcels = c.parcels[1:]
	c.unread -= a.size
	h.buffered -= a.size
	c.announce()
	return a
}

// overdue says what became of c until the caller's time was up.
func (h *Host) overdue(c *call, code actors.Code, how string) error {
	h.mu.Lock()
	defer h.unlock()
	command := &c.command
	switch {
	case c.stage == queued:
		return actors.Errorf(code, "%s to %s was not begun %s; nothing came of it", command.Method, command.Ref, how)
	case len(c.parcels) > 0 && c.parcels[0].unconfirmed:
		return actors.Errorf(code, "what %s does to %s was applied on this node, but not confirmed %s; look at the entity before you repeat it",
			command.Method, command.Ref, how)
	case c.stage == asked:
		return actors.Errorf(code, "%s to %s was not answered %s and may still be; look at the entity before you repeat it",
			command.Method, command.Ref, how)
	default:
		return actors.Errorf(code, "%s of %s did not come to its end %s", command.Method, command.Ref, how)
	}
}

// forget says that nobody takes c's answers any more.
func (h *Host) forget(c *call) {
	h.mu.Lock()
	defer h.unlock()
	c.gone = true
	h.buffered -= c.size
	c.size = 0
	h.discard(c)
	if c.stage == queued {
		c.instance.dequeue(c)
		h.finish(c)
		h.advance(c.instance)
		return
	}
	h.cancelStream(c)
	h.hush()
}

// leave has the effects carried out of an answer that nobody takes.
func (h *Host) leave(c *call, a *parcel) {
	if len(a.outcome.Effects) == 0 {
		return
	}
	command, o := c.command, a.outcome
	o.Forward = nil
	h.leftovers++
	h.workers.Go(func() {
		if err := h.config.Leftover(h.ctx, command, o); err != nil {
			h.config.Log.Warn("effects of an outcome for which nobody waited are lost", logService, command.Service, logID, command.ID,
				logMethod, command.Method, "effects", len(o.Effects), "error", err)
		}
		h.mu.Lock()
		defer h.unlock()
		h.leftovers--
		h.hush()
	})
}

// cancelStream tells the user function that the caller of an open stream is gone.
func (h *Host) cancelStream(c *call) {
	if c.stage != streaming {
		return // one that is asked is cancelled once it has been accepted, so that it is never cancelled twice
	}
	c.stage = cancelling
	s := c.instance.session
	s.cancels = append(s.cancels, c)
	h.unstream(c)
	h.run(c.instance)
}

// finish says that nothing more is expected of the user function.
func (h *Host) finish(c *call) {
	c.stage = finished
	h.answered(c)
	h.unstream(c)
	h.unanswered.Remove(c)
}

// answered says that c does not wait for its first answer any more.
func (h *Host) answered(c *call) {
	if c.waiting {
		c.waiting = false
		c.service.inflight--
		h.inflight--
	}
}

func (h *Host) unstream(c *call) {
	if c.open {
		c.open = false
		c.service.streams--
		h.streams--
	}
}

func metadataSize(m actors.Metadata) int {
	n := 0
	for _, e := range m {
		n += len(e.Key) + len(e.Text) + len(e.Bytes)
	}
	return n
}

// callBytes is about what a call takes beside its payloads.
const callBytes = 768

func commandSize(c *actors.Command) int {
	return callBytes + len(c.Method) + len(c.Key) + len(c.Payload.Data) + metadataSize(c.Metadata)
}

// outcomeSize is what is kept until the outcome is taken.
func outcomeSize(o *actors.Outcome) int {
	n := metadataSize(o.Metadata)
	if o.Reply != nil {
		n += len(o.Reply.Data)
	}
	if o.Failure != nil {
		n += len(o.Failure.Message)
	}
	if f := o.Forward; f != nil {
		n += len(f.Payload.Data) + metadataSize(f.Metadata)
	}
	for k := range o.Effects {
		n += len(o.Effects[k].Payload.Data) + metadataSize(o.Effects[k].Metadata)
	}
	return n
}
