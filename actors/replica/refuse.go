package replica

import (
	"errors"
	"fmt"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/crdt"
)

// violation is the error of who breaks the protocol.
func (s *session) violation(format string, args ...any) error {
	return actors.Errorf(actors.Unknown, "the user function broke the protocol of %s: "+format, append([]any{s.instance.ref()}, args...)...)
}

// interrupted is the error of a call whose session ended. alone says that no other can be meant by err.
func interrupted(c *call, err error, alone bool) error {
	known := new(actors.Error)
	if !errors.As(err, &known) {
		known = &actors.Error{Code: actors.Aborted, Message: "its stream broke", Cause: err}
	}
	if alone {
		return known
	}
	code := actors.Aborted
	if known.Code == actors.Unavailable {
		code = actors.Unavailable
	}
	what, advice := "answered", "nothing came of it; try again"
	if c.stage == streaming {
		what, advice = "over", "call it again"
	}
	return &actors.Error{Code: code, Cause: err,
		Message: fmt.Sprintf("the session of %s ended before %s was %s (%s); %s", c.command.Ref, c.command.Method, what, known.Message, advice)}
}

// interruptedOpening is why a session ended before anything was said to it.
func interruptedOpening(ref actors.Ref, err error) error {
	known := new(actors.Error)
	if errors.As(err, &known) {
		return known
	}
	return &actors.Error{Code: actors.Unavailable, Cause: err, Message: fmt.Sprintf("the session of %s ends as soon as it begins; nothing came of the command", ref)}
}

// measure refuses an answer that is too large.
func (h *Host) measure(c *call, a *Answer) error {
	o, of := &a.Outcome, &c.command
	size := func(what string, payload int, m actors.Metadata) error {
		if payload > h.config.MaxMessage {
			h.limited(c.service, settingMessage)
			return actors.Errorf(actors.ResourceExhausted, "%s of %s to %s has %d bytes; the limit is %d (%s)", what, of.Method, of.Ref, payload, h.config.MaxMessage, settingMessage)
		}
		if n := metadataSize(m); n > h.config.MaxMetadata {
			h.limited(c.service, settingMetadata)
			return actors.Errorf(actors.ResourceExhausted, "the metadata of %s of %s to %s has %d bytes; the limit is %d (%s)", what, of.Method, of.Ref, n, h.config.MaxMetadata, settingMetadata)
		}
		return nil
	}
	if n := len(o.Effects); n > h.config.MaxEffects {
		h.limited(c.service, settingEffects)
		return actors.Errorf(actors.ResourceExhausted, "%s to %s has %d effects; the limit is %d (%s)", of.Method, of.Ref, n, h.config.MaxEffects, settingEffects)
	}
	for k := range o.Effects {
		if err := size(fmt.Sprintf("effect %d", k+1), len(o.Effects[k].Payload.Data), o.Effects[k].Metadata); err != nil {
			return err
		}
	}
	if f := o.Forward; f != nil {
		return size("the forward", len(f.Payload.Data), f.Metadata)
	}
	n := 0
	if o.Reply != nil {
		n = len(o.Reply.Data)
	}
	return size("the reply", n, o.Metadata)
}

// refused is the error of a write, and whether the user function is to blame.
func refused(c *call, a *Answer, cause error) (broke bool, err error) {
	ref, method := c.command.Ref, c.command.Method
	known := new(actors.Error)
	fail := func(code actors.Code) error {
		what := "change"
		if a.Write.Update != nil && a.Write.Update.Kind != 0 {
			what = a.Write.Update.Kind.String()
		}
		return &actors.Error{Code: code, Cause: cause,
			Message: fmt.Sprintf("the %s by which the user function answered %s to %s cannot be applied: %s; nothing came of it", what, method, ref, cause)}
	}
	switch {
	case errors.Is(cause, ErrReadOnly):
		return false, &actors.Error{Code: actors.Unavailable, Cause: cause,
			Message: fmt.Sprintf("%s to %s came to nothing: %s; try again", method, ref, ErrReadOnly)}
	case errors.Is(cause, ErrDeleted):
		return false, deleted(ref)
	case errors.As(cause, &known):
		return known.Code != actors.Unavailable, known
	case errors.Is(cause, crdt.ErrOverflow), errors.Is(cause, crdt.ErrClockExhausted):
		return true, fail(actors.OutOfRange)
	case errors.Is(cause, crdt.ErrTooLarge):
		return true, fail(actors.ResourceExhausted)
	default:
		return true, fail(actors.Unknown)
	}
}
