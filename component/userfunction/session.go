package userfunction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

// What callers of a user function that breaks the protocol get. The texts are Cloudstate's; the details are logged.
const (
	unexpectedReply       = "Unexpected entity reply"
	unexpectedFailure     = "Unexpected entity failure"
	unexpectedMessage     = "Unexpected entity message"
	unexpectedTermination = "Unexpected entity termination"
)

// session is one live entity: one stream. It implements engine.Session.
type session struct {
	function *function
	id       string
	stream   grpc.BidiStreamingClient[eventsourced.EventSourcedStreamIn, eventsourced.EventSourcedStreamOut]
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

func (s *session) ref() actors.Ref { return actors.Ref{Service: s.function.service.Name, ID: s.id} }

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
		if s.stream.Send(s.command(t, s.commands+s.ahead+1)) != nil {
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
	} else if err := s.stream.Send(s.command(t, s.commands)); err != nil {
		switch {
		case ctx.Err() != nil:
			return engine.Reply{}, overdue(ctx, "give "+method+" to", s.ref())
		case errors.Is(err, io.EOF):
			return engine.Reply{}, s.ended(method)
		default:
			return engine.Reply{}, s.unsent(err, "the command "+method+" to")
		}
	}
	out, err := s.stream.Recv()
	if err != nil {
		if ctx.Err() != nil {
			return engine.Reply{}, overdue(ctx, "wait for the user function to answer "+method+" of", s.ref())
		}
		return engine.Reply{}, s.broken(err)
	}
	reply := out.GetReply()
	if reply == nil || reply.GetCommandId() != s.commands {
		return engine.Reply{}, s.unexpected(out, method, s.commands)
	}
	return s.reply(reply, method)
}

// command is made in one piece: it has one life, and there is one for every turn.
func (s *session) command(t engine.Turn, id int64) *eventsourced.EventSourcedStreamIn {
	var m struct {
		in      eventsourced.EventSourcedStreamIn
		kind    eventsourced.EventSourcedStreamIn_Command
		command cloudstate.Command
		payload anypb.Any
	}
	fillAny(&m.payload, t.Command.Payload)
	c := &m.command
	c.EntityId, c.Id, c.Name, c.Payload = s.id, id, t.Command.Method, &m.payload
	if s.function.metadata {
		c.Metadata = toMetadata(t.Command.Metadata)
	}
	if s.function.sequence && t.Sequence != engine.UnknownSequence {
		c.Sequence = t.Sequence
	}
	if s.function.idempotency {
		c.IdempotencyKey = strings.ToValidUTF8(t.Command.Key, "\uFFFD")
	}
	m.kind.Command = c
	m.in.Message = &m.kind
	return &m.in
}

// ended is for a stream that was found over when a command was to be sent: that has not been seen. If the user function
// said something out of turn before, the caller gets to know, for the next session might end in the same way.
func (s *session) ended(method string) error {
	out, err := s.stream.Recv()
	switch {
	case err == nil:
		return s.unexpected(out, method, s.commands)
	case overSize(err):
		return s.broken(err) // what it was opened with, and the next session would be, too
	default:
		return fmt.Errorf("%w: %w", engine.ErrSessionEnded, err)
	}
}

// overSize reports whether a gRPC peer, or our side, refused a message for its size.
func overSize(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.ResourceExhausted && strings.HasPrefix(s.Message(), "grpc: received message")
}

// broken is for a stream that ended while a command was being handled, or before the first could be.
func (s *session) broken(err error) error {
	config := s.function.client.config
	switch code := status.Code(err); {
	case errors.Is(err, io.EOF):
		return s.terminated(errors.New("it ended the stream of its own accord"))
	case code == codes.Unavailable, code == codes.Canceled && s.function.conn.GetState() != connectivity.Ready:
		// Some servers reset their streams before they hang up.
		return fmt.Errorf("%w: %w", engine.ErrSessionLost, err)
	case overSize(err):
		text := fmt.Sprintf("what the user function answers for %s is larger than a message may be (%d bytes)", s.ref(), config.MaxMessage)
		if said := status.Convert(err).Message(); !strings.HasSuffix(said, fmt.Sprintf("vs. %d)", config.MaxMessage)) {
			// gRPC's words for a limit of the other side; its default is 4 MiB, and many keep that.
			text = fmt.Sprintf("what %s has to be given is larger than its user function takes (%s); raise the limit of the user function's gRPC server", s.ref(), said)
		}
		return &actors.Error{Code: actors.ResourceExhausted, Message: text, Cause: err}
	default:
		return s.terminated(err)
	}
}

// reply reads an answer to the current command.
func (s *session) reply(in *eventsourced.EventSourcedReply, method string) (engine.Reply, error) {
	var out engine.Reply
	switch action := in.GetClientAction().GetAction().(type) {
	case *cloudstate.ClientAction_Reply:
		if action.Reply.GetPayload() != nil {
			p := fromAny(action.Reply.GetPayload())
			out.Outcome.Reply = &p
			s.function.checkOutput(method, p.TypeURL)
		}
		out.Outcome.Metadata = fromMetadata(action.Reply.GetMetadata())
	case *cloudstate.ClientAction_Failure:
		out.Outcome.Failure = s.function.failure(action.Failure)
		if action.Failure.GetRestart() {
			out.Restart = true
			return out, nil
		}
	case *cloudstate.ClientAction_Forward:
		return engine.Reply{}, s.unsupported(method, fmt.Sprintf("with a forward to %s.%s", action.Forward.GetServiceName(), action.Forward.GetCommandName()))
	}
	if len(in.GetSideEffects()) > 0 {
		return engine.Reply{}, s.unsupported(method, "with side effects")
	}
	names := in.GetEventNames()
	if !s.function.events {
		names = nil
	} else if len(names) != len(in.GetEvents()) {
		return engine.Reply{}, s.violation(unexpectedReply, fmt.Sprintf("%d events with %d names", len(in.GetEvents()), len(names)), method, s.commands)
	}
	for i, a := range in.GetEvents() {
		if a.GetTypeUrl() == "" {
			return engine.Reply{}, s.violation(unexpectedReply, fmt.Sprintf("event %d of %d has no type URL", i+1, len(in.GetEvents())), method, s.commands)
		}
		e := engine.Event{Payload: fromAny(a)}
		if names != nil {
			e.Name = names[i]
		}
		out.Events = append(out.Events, e)
	}
	switch {
	case in.GetSnapshot() == nil:
	case len(out.Events) == 0:
		s.function.log.Warn("a snapshot without events was ignored", keyID, s.id, keyMethod, method)
	default:
		p := fromAny(in.GetSnapshot())
		out.Snapshot = &p
	}
	return out, nil
}

// failure is the "no" of a handler.
func (f *function) failure(in *cloudstate.Failure) *actors.Error {
	e := &actors.Error{Code: actors.Unknown, Message: in.GetDescription()}
	if code := in.GetCode(); f.codes && code > 0 && code <= math.MaxUint8 && actors.Code(code).Known() {
		e.Code = actors.Code(code)
	}
	if e.Message == "" {
		e.Message = "the user function failed without saying why"
	}
	return e
}

// unsupported is for answers that would have to be carried out, which this version does not do. The turn fails as a whole,
// and the session with it: the user function believes that its events were stored.
func (s *session) unsupported(method, answered string) error {
	s.halfClose()
	return actors.Errorf(actors.Unimplemented, "%s answered %s %s, which this version of the component does not carry out; nothing was stored",
		s.ref(), method, answered)
}

// unexpected names what is wrong with a message that is not the answer to the command id.
func (s *session) unexpected(out *eventsourced.EventSourcedStreamOut, method string, id int64) error {
	switch m := out.GetMessage().(type) {
	case *eventsourced.EventSourcedStreamOut_Reply:
		return s.violation(unexpectedReply, fmt.Sprintf("a reply to command %d", m.Reply.GetCommandId()), method, id)
	case *eventsourced.EventSourcedStreamOut_Failure:
		err := s.violation(unexpectedFailure, fmt.Sprintf("failure of command %d: %s", m.Failure.GetCommandId(), m.Failure.GetDescription()), method, id)
		if s.function.codes && (m.Failure.GetCommandId() == id || m.Failure.GetCommandId() == 0) {
			// A support library that knows of codes sends no top-level failure that its caller should not read.
			return s.function.failure(m.Failure)
		}
		return err
	default:
		return s.violation(unexpectedMessage, "neither a reply nor a failure", method, id)
	}
}

// violation ends the session. The caller gets the text, the log gets the detail.
func (s *session) violation(text, detail, method string, id int64) error {
	s.function.log.Warn("the user function broke the protocol: "+text, keyID, s.id, keyMethod, method, keyCommandID, id, keyDetail, detail)
	s.halfClose()
	return &actors.Error{Code: actors.Unknown, Message: text}
}

// terminated is for a stream that the user function gave up.
func (s *session) terminated(err error) error {
	s.function.log.Warn("the user function gave up a session", keyID, s.id, keyCommandID, s.commands, keyError, err)
	return &actors.Error{Code: actors.Unknown, Message: unexpectedTermination, Cause: err}
}

// checkOutput complains, once for each method, of a reply of another type than the method declares. It is delivered all
// the same.
func (f *function) checkOutput(method, got string) {
	m, err := f.service.Method(method)
	if err != nil || m.Output == "" || m.Output == got {
		return
	}
	if _, again := f.warned.LoadOrStore(method, true); again {
		return
	}
	text := fmt.Sprintf("Warning: %s replied with the type %q, but declares %q", m, got, m.Output)
	f.log.Warn("a reply has another type than the method declares", keyMethod, method, keyDetail, text)
	f.client.closing.try(func() { f.client.report(context.Background(), f.reports, text) })
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
		if _, err := s.stream.Recv(); err != nil {
			return
		}
	}
}
