package userfunction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// session is one live entity: one stream. It implements engine.Session.
type session struct {
	function *function
	id       string
	stream   grpc.ClientStream
	// cancel ends the stream at once, on both sides.
	cancel context.CancelFunc

	// mu is held during a turn, so that Close can tell whether there is one.
	mu sync.Mutex
	// commands whose turn has come; the last one's id.
	commands int64
	// ahead counts the commands sent before their turn.
	ahead int64
	// over says that no command may be given any more.
	over   bool
	closed bool
}

func (s *session) ref() actors.Ref { return actors.Ref{Service: s.function.Name, ID: s.id} }

// Handle implements engine.Session.
func (s *session) Handle(ctx context.Context, t engine.Turn) (engine.Reply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return engine.Reply{}, engine.ErrSessionEnded
	}
	stop := context.AfterFunc(ctx, s.cancel)
	reply, err := s.turn(ctx, t)
	if !stop() || err != nil {
		s.over = true
	}
	return reply, err
}

// pipelined is a session with a user function that reads commands before it has answered the one at hand.
type pipelined struct{ *session }

// Ahead implements engine.Ahead. What cannot be sent is left to Handle, which finds out why.
func (s *pipelined) Ahead(ctx context.Context, turns []engine.Turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	defer context.AfterFunc(ctx, s.cancel)()
	for _, t := range turns {
		if s.stream.SendMsg(s.command(t, s.commands+s.ahead+1)) != nil {
			return
		}
		s.ahead++
	}
}

func (s *session) turn(ctx context.Context, t engine.Turn) (engine.Reply, error) {
	method := t.Command.Method
	s.commands++
	if s.ahead > 0 {
		s.ahead--
	} else if err := s.stream.SendMsg(s.command(t, s.commands)); err != nil {
		switch {
		case ctx.Err() != nil:
			return engine.Reply{}, overdue(ctx.Err(), "give "+method+" to", s.ref())
		case errors.Is(err, io.EOF):
			return engine.Reply{}, s.ended(method)
		default:
			return engine.Reply{}, s.function.client.unsent(err, "the command "+method+" to", s.ref())
		}
	}
	out, err := s.function.dialect.receive(s.stream)
	if err != nil {
		if ctx.Err() != nil {
			return engine.Reply{}, overdue(ctx.Err(), "wait for the user function to answer "+method+" of", s.ref())
		}
		return engine.Reply{}, s.broken(err)
	}
	if out.reply == nil || out.reply.GetCommandId() != s.commands {
		return engine.Reply{}, s.unexpected(out, method, s.commands)
	}
	return s.reply(out.reply, method)
}

func (s *session) command(t engine.Turn, id int64) any {
	in, c := s.function.dialect.command()
	fillAny(c.Payload, t.Command.Payload)
	c.EntityId, c.Id, c.Name = s.id, id, t.Command.Method
	if s.function.metadata {
		c.Metadata = toMetadata(t.Command.Metadata)
	}
	if s.function.sequence && t.Sequence != engine.UnknownSequence {
		c.Sequence = t.Sequence
	}
	if s.function.idempotency {
		c.IdempotencyKey = strings.ToValidUTF8(t.Command.Key, "\uFFFD")
	}
	return in
}

// ended is for a stream that was found over when a command was to be sent: that has not been seen. If the user function
// said something out of turn before, the caller gets to know, for the next session might end in the same way.
func (s *session) ended(method string) error {
	out, err := s.function.dialect.receive(s.stream)
	switch {
	case err == nil:
		return s.unexpected(out, method, s.commands)
	case overSize(err):
		return s.broken(err) // what it was opened with, and the next session would be, too
	default:
		return fmt.Errorf("%w: %w", engine.ErrSessionEnded, err)
	}
}

// broken is for a stream that ended while a command was being handled, or before the first could be.
func (s *session) broken(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return s.terminated(errors.New("it ended the stream of its own accord"))
	case s.function.cut(err):
		return fmt.Errorf("%w: %w", engine.ErrSessionLost, err)
	case overSize(err):
		return s.function.client.tooLarge(err, s.ref())
	default:
		return s.terminated(err)
	}
}

// reply reads an answer to the current command. It fails as a whole: the user function believes that all of it was
// stored, so that a part of it would leave it with another state than the journal has.
func (s *session) reply(in response, method string) (engine.Reply, error) {
	f := s.function
	out, wrong := f.dialect.changes(in)
	if wrong != "" {
		return engine.Reply{}, s.violation(f.dialect.texts().reply+": "+wrong, wrong, method, s.commands)
	}
	var err error
	switch action := in.GetClientAction().GetAction().(type) {
	case *cloudstate.ClientAction_Reply:
		f.reply(action.Reply, method, &out.Outcome)
	case *cloudstate.ClientAction_Failure:
		out.Outcome.Failure = f.failure(action.Failure)
	case *cloudstate.ClientAction_Forward:
		out.Outcome.Forward, err = f.forward(action.Forward, method)
	}
	if out.Restart {
		return out, nil // nothing came of the turn
	}
	if out.Snapshot != nil && len(out.Events) == 0 {
		f.log.Warn("a snapshot without events was ignored", keyID, s.id, keyMethod, method)
		out.Snapshot = nil
	}
	if err == nil {
		out.Outcome.Effects, err = f.effects(in.GetSideEffects(), method)
	}
	switch {
	case err == nil:
		f.publish(&out.Outcome, method)
		return out, nil
	case errors.Is(err, errBroken):
		return engine.Reply{}, s.violation(fmt.Sprintf("%s: %v", f.dialect.texts().reply, err), err.Error(), method, s.commands)
	default:
		s.halfClose()
		return engine.Reply{}, err
	}
}

// unexpected names what is wrong with a message that is not the answer to the command id.
func (s *session) unexpected(out said, method string, id int64) error {
	texts := s.function.dialect.texts()
	switch {
	case out.reply != nil:
		of := out.reply.GetCommandId()
		err := s.violation(texts.reply, fmt.Sprintf("a reply to command %d", of), method, id)
		if 0 < of && of < id {
			// Said twice, before the command at hand was there: that one is not to pay for it.
			return fmt.Errorf("%w: %w", engine.ErrSessionLost, err)
		}
		return err
	case out.failure != nil:
		of := out.failure.GetCommandId()
		detail := fmt.Sprintf("failure of command %d: %s", of, out.failure.GetDescription())
		if s.function.codes && (of == id || of == 0) {
			// A support library that knows of codes sends no top-level failure that its caller should not read, and needs no
			// report of what it did on purpose.
			s.abandon(texts.failure, detail, method, id)
			return s.function.failure(out.failure)
		}
		return s.violation(texts.failure, detail, method, id)
	default:
		return s.violation(texts.message, "neither a reply nor a failure", method, id)
	}
}

// violation ends the session. The caller gets the text; the log and the user function get the detail.
func (s *session) violation(text, detail, method string, id int64) error {
	s.abandon(text, detail, method, id)
	s.function.client.Report(fmt.Sprintf("the user function broke the protocol when it answered command %d, %s of %s: %s", id, method, s.ref(), detail))
	return &actors.Error{Code: actors.Unknown, Message: text}
}

// abandon ends the session because of what the user function said.
func (s *session) abandon(text, detail, method string, id int64) {
	s.function.log.Warn("the user function broke the protocol: "+text, keyID, s.id, keyMethod, method, keyCommandID, id, keyDetail, detail)
	s.halfClose()
}

// terminated is for a stream that the user function gave up.
func (s *session) terminated(err error) error {
	s.function.log.Warn("the user function gave up a session", keyID, s.id, keyCommandID, s.commands, keyError, err)
	return &actors.Error{Code: actors.Unknown, Message: s.function.dialect.texts().termination, Cause: err}
}

// halfClose tells the user function that nothing more will come. It does not block.
func (s *session) halfClose() {
	if err := s.stream.CloseSend(); err != nil {
		s.cancel()
	}
}

// Close implements engine.Session. The user function has CloseGrace to end its side; the engine does not wait for it.
func (s *session) Close() {
	if !s.mu.TryLock() {
		// A turn is running and need not any more.
		s.cancel()
		return
	}
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed, s.over = true, true
	if s.ahead > 0 {
		// The user function need not handle what nobody wants the answers of.
		s.cancel()
	}
	s.halfClose()
	if !s.function.client.closing.try(s.await) {
		s.cancel()
	}
}

// await reads the stream to its end, which frees it.
func (s *session) await() {
	timer := time.AfterFunc(s.function.client.config.CloseGrace, s.cancel)
	defer timer.Stop()
	defer s.cancel()
	for {
		if _, err := s.function.dialect.receive(s.stream); err != nil {
			return
		}
	}
}
