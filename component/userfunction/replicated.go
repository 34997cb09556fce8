package userfunction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// replicated is one service of replicated entities. It implements replica.Function.
type replicated struct {
	*service
	stub protocol.CrdtClient
}

var replicatedTexts = texts{
	reply:       "Unexpected CRDT entity reply",
	failure:     "Unexpected CRDT entity failure",
	message:     "Unexpected CRDT entity message",
	termination: "Unexpected CRDT entity termination",
}

// Replicated gives the Function of a replicated service by its full name, nil for a service that is none. It is that of the
// latest catalog; those of earlier ones go on working as long as the user function understands them.
func (c *Client) Replicated(service string) replica.Function {
	if now := c.served.Load(); now != nil && now.replicated[service] != nil {
		return now.replicated[service]
	}
	return nil
}

// shared is one replicated entity in the user function: one stream. It implements replica.Session.
type shared struct {
	function *replicated
	start    replica.Start
	stream   grpc.ClientStream
	// cancel ends the stream at once, on both sides.
	cancel context.CancelFunc
	// closed by the host, over by the user function or a mistake of its own.
	closed, over atomic.Bool

	mu sync.Mutex
	// answering says that the host is being told an answer, and judges it. If it closes the session meanwhile, whoever tells
	// it half-closes the stream.
	answering bool
	// methods of the commands that are not finished, by their numbers.
	methods map[int64]string
}

// Open implements replica.Function. Its errors are *actors.Error.
func (r *replicated) Open(ctx context.Context, start replica.Start) (replica.Session, error) {
	// The stream outlives ctx and keeps nothing of it. Until Open returns, ctx's end ends the stream all the same.
	life, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	s := &shared{function: r, start: start, cancel: cancel, methods: make(map[int64]string)}
	err := s.begin(life)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil && r.client.listening.try(s.listen) {
		return s, nil
	}
	cancel()
	switch {
	case ctx.Err() != nil:
		late := overdue(ctx.Err(), "open a session of the user function for", start.Ref)
		if s.stream == nil && r.conn.GetState() == connectivity.Ready {
			late.Message += "; the user function seems to allow no more streams at a time"
		}
		return nil, late
	case err == nil:
		return nil, r.client.unreachable(start.Ref, errNotMet)
	default:
		return nil, err
	}
}

// begin opens the stream and sends what the entity begins with.
func (s *shared) begin(life context.Context) error {
	r := s.function
	if !r.client.met.Load() {
		return r.client.unreachable(s.start.Ref, errNotMet)
	}
	stream, err := r.stub.Handle(life)
	if err != nil {
		return s.broken(err)
	}
	s.stream = stream
	begin := &protocol.CrdtInit{ServiceName: s.start.Ref.Service, EntityId: s.start.Ref.ID}
	if s.start.Value != nil {
		begin.Delta = toDelta(s.start.Value)
	}
	err = stream.SendMsg(&protocol.CrdtStreamIn{Message: &protocol.CrdtStreamIn_Init{Init: begin}})
	switch {
	case errors.Is(err, io.EOF):
		// The user function has ended the stream; why, comes last.
		for err = nil; err == nil; {
			err = stream.RecvMsg(new(protocol.CrdtStreamOut))
		}
		return s.broken(err)
	case err != nil:
		return r.client.unsent(err, "the state of", s.start.Ref)
	}
	return nil
}

// Command implements replica.Session.
func (s *shared) Command(ctx context.Context, number int64, c *actors.Command, streamed bool) error {
	r := s.function
	m := &cloudstate.Command{EntityId: s.start.Ref.ID, Id: number, Name: c.Method, Payload: toAny(c.Payload), Streamed: streamed}
	if r.metadata {
		m.Metadata = toMetadata(c.Metadata)
	}
	if r.idempotency {
		m.IdempotencyKey = strings.ToValidUTF8(c.Key, "\uFFFD")
	}
	in := &protocol.CrdtStreamIn{Message: &protocol.CrdtStreamIn_Command{Command: m}}
	// A message that gRPC refuses ends the stream, and this one is nobody else's fault.
	if most := r.client.config.MaxMessage; len(c.Payload.Data) > most/2 && proto.Size(in) > most {
		return actors.Errorf(actors.ResourceExhausted, "the command %s to %s is larger than a message to the user function may be (%d bytes)",
			c.Method, c.Ref, most)
	}
	s.mu.Lock()
	s.methods[number] = c.Method
	s.mu.Unlock()
	s.send(ctx, in)
	return nil
}

// Cancelled implements replica.Session.
func (s *shared) Cancelled(ctx context.Context, number int64) error {
	s.send(ctx, &protocol.CrdtStreamIn{Message: &protocol.CrdtStreamIn_StreamCancelled{
		StreamCancelled: &cloudstate.StreamCancelled{EntityId: s.start.Ref.ID, Id: number},
	}})
	return nil
}

// Update implements replica.Session.
func (s *shared) Update(ctx context.Context, u *crdt.Update) error {
	s.send(ctx, &protocol.CrdtStreamIn{Message: &protocol.CrdtStreamIn_Delta{Delta: toDelta(u)}})
	return nil
}

// Delete implements replica.Session.
func (s *shared) Delete(ctx context.Context) error {
	s.send(ctx, &protocol.CrdtStreamIn{Message: &protocol.CrdtStreamIn_Delete{Delete: new(protocol.CrdtDelete)}})
	return nil
}

// send a message. What goes wrong ends the stream, and shows where that is read.
func (s *shared) send(ctx context.Context, in *protocol.CrdtStreamIn) {
	defer context.AfterFunc(ctx, s.cancel)()
	if err := s.stream.SendMsg(in); err != nil && !errors.Is(err, io.EOF) {
		s.function.log.Warn("a message could not be sent to the user function", keyID, s.start.Ref.ID, keyError, err)
		s.cancel()
	}
}

// Close implements replica.Session. The user function has CloseGrace to end its side. An answer for which the host closes
// the session is judged first: a mistake ends it at once.
func (s *shared) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed.Swap(true) && !s.answering && !s.over.Load() {
		s.halfClose()
	}
}

func (s *shared) halfClose() {
	if err := s.stream.CloseSend(); err != nil {
		s.cancel()
	}
	time.AfterFunc(s.function.client.config.CloseGrace, s.cancel)
}

// answer tells the host what the user function said, which is known to be a mistake, or is one if the host returns an error.
func (s *shared) answer(a replica.Answer, mistaken bool) error {
	s.mu.Lock()
	s.answering = true
	before := s.closed.Load()
	s.mu.Unlock()
	err := s.start.Answer(a)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answering = false
	switch {
	case mistaken, err != nil && !errors.Is(err, replica.ErrStray):
		s.over.Store(true)
	case s.closed.Load() && !before:
		s.halfClose()
	}
	return err
}

// listen takes what the user function says until the stream ends.
func (s *shared) listen() {
	err := s.hear()
	s.over.Store(true)
	s.cancel()
	s.start.Ended(err)
}

// hear returns why nothing more comes.
func (s *shared) hear() error {
	for {
		var out protocol.CrdtStreamOut
		if err := s.stream.RecvMsg(&out); err != nil {
			return s.broken(err)
		}
		a, method, err := s.read(&out)
		late := s.closed.Load()
		if err != nil {
			// For the caller whom it concerns; the others get what Ended is told.
			_ = s.answer(replica.Answer{Kind: replica.Failed, Number: a.Number, Outcome: actors.Outcome{Failure: err}}, true)
			if err.Code != actors.Unknown {
				return err // it was told already
			}
			return s.violated(err, method, a.Number, late)
		}
		switch err := s.answer(a, false); {
		case err == nil:
		case errors.Is(err, replica.ErrStray):
			s.tell("an answer was ignored", err, method, a.Number)
		default:
			return s.violated(err, method, a.Number, late)
		}
	}
}

// tell the log and the user function of a mistake.
func (s *shared) tell(what string, err error, method string, number int64) {
	r := s.function
	r.log.Warn(what, keyID, s.start.Ref.ID, keyMethod, method, keyCommandID, number, keyDetail, err.Error())
	r.client.Report(fmt.Sprintf("%s (%s)", err, s.start.Ref))
}

// violated ends a session for a mistake. One that came late, after the host had closed it, is nobody's concern.
func (s *shared) violated(err error, method string, number int64, late bool) error {
	if !late {
		s.tell("the user function broke the protocol; its session is ended", err, method, number)
	}
	if known, ok := errors.AsType[*actors.Error](err); ok {
		return known
	}
	return &actors.Error{Code: actors.Unknown, Message: err.Error(), Cause: err}
}

// broken is for a stream that ended.
func (s *shared) broken(err error) error {
	r, ref := s.function, s.start.Ref
	switch {
	case s.closed.Load():
		return actors.Errorf(actors.Unavailable, "the session of %s was closed", ref)
	case errors.Is(err, io.EOF):
		err = errors.New("it ended the stream of its own accord")
	case r.cut(err):
		return r.client.unreachable(ref, err)
	case overSize(err):
		return r.client.tooLarge(err, ref)
	case tooLargeToSend(err):
		return r.client.unsent(err, "what changed in", ref)
	}
	r.log.Warn("the user function gave up a session", keyID, ref.ID, keyError, err)
	return &actors.Error{Code: actors.Unknown, Message: replicatedTexts.termination, Cause: err}
}
