package actors

import (
	"context"
	"time"
)

// Kind says how the state of a service's entities is kept.
type Kind uint8

const (
	// EventSourced entities are the fold of their events.
	EventSourced Kind = iota + 1
	// Value entities are stored whole.
	Value
	// Replicated entities are CRDTs, writable on every node.
	Replicated
	// Action services have no state.
	Action
)

// Placed reports whether one node at a time hosts an entity of this kind.
func (k Kind) Placed() bool { return k == EventSourced || k == Value }

func (k Kind) String() string {
	switch k {
	case EventSourced:
		return "event sourced"
	case Value:
		return "value"
	case Replicated:
		return "replicated"
	case Action:
		return "action"
	default:
		return "unknown kind"
	}
}

// Payload is an encoded message. Its bytes are opaque to everything but the edges.
type Payload struct {
	// TypeURL names the message's type as google.protobuf.Any does: type.googleapis.com/<message>,
	// json.cloudstate.io/<name> or p.cloudstate.io/<scalar>.
	TypeURL string
	// ContentType is ContentProtobuf or ContentJSON: what Data holds. JSON is held plain, without the envelope that
	// the wire puts around it.
	ContentType string
	Data        []byte
}

// The content types of a Payload.
const (
	ContentProtobuf = "application/protobuf"
	ContentJSON     = "application/json"
)

// IsZero reports whether there is no payload at all, which differs from an empty message of some type.
func (p Payload) IsZero() bool { return p.TypeURL == "" && len(p.Data) == 0 }

// Entry is one metadata entry. Binary values are in Bytes; Text is then empty.
type Entry struct {
	Key   string
	Text  string
	Bytes []byte
}

// Metadata travels beside a payload, in order, keys may repeat.
type Metadata []Entry

// Get returns the text of the first entry with that key, compared without regard to ASCII case, because Dapr's HTTP
// callers send canonical header names and its gRPC callers do not.
func (m Metadata) Get(key string) string {
	for _, e := range m {
		if equalFold(e.Key, key) {
			return e.Text
		}
	}
	return ""
}

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x += 'a' - 'A'
		}
		if 'A' <= y && y <= 'Z' {
			y += 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}

// Command is one request to one entity.
type Command struct {
	Ref
	Method   string
	Payload  Payload
	Metadata Metadata
	// Key is the caller's idempotency key: a second command with the same key to the same entity has no effect and
	// gets the first one's outcome. Empty means that the caller sent none.
	Key string
	// Deadline is when the caller stops waiting. The zero time means the configured command timeout.
	Deadline time.Time
}

// Topics as the service of an effect's Ref publishes the payload: Ref.ID is the topic, Method the full name of the method
// that answered with it. No service of a user function can have this name.
const Topics = "/topics"

// Effect is a command to be carried out besides answering. A synchronous one is carried out before the answer goes out.
// The others are kept in the journal by the append that decided them, and carried out at least once after it: those of
// one entity in the order in which it decided them, unless they are delayed.
type Effect struct {
	Ref
	Method      string
	Payload     Payload
	Metadata    Metadata
	Synchronous bool
	// ID is the same on every attempt: it is the key of the command that is carried out. Whoever decides the effect for
	// good sets it: the engine for entities, dispatch for actions. It is unique.
	ID string
	// Key names a kept effect among those of its source that are still to be carried out, to replace it or to take it
	// back. Empty for no name.
	Key string
	// Delay after the append, or Due, put it off. At most one of them is set.
	Delay time.Duration
	Due   time.Time
	// Cancel takes back the effect with that Key, if it is still to be carried out. Nothing else is set but the ID.
	Cancel bool
}

// Delayed reports whether the effect stands outside the order of its source.
func (e *Effect) Delayed() bool { return e.Delay > 0 || !e.Due.IsZero() }

// Forward hands a command on: the target's outcome becomes the outcome.
type Forward struct {
	Ref
	Method   string
	Payload  Payload
	Metadata Metadata
	// Key of the command that is handed on. Empty if the first one had none.
	Key string
}

// Outcome is what a turn came to. At most one of Reply, Failure and Forward is set; none of them answers nothing.
type Outcome struct {
	Reply    *Payload
	Metadata Metadata
	// Failure is the handler's own "no". It is an answer like any other: it was decided, and is not retried here.
	Failure *Error
	Forward *Forward
	// Effects that are still to be carried out before the answer goes out. What a user function answers has the others
	// among them, until the engine has put those into its append.
	Effects []Effect
	// Sequence is the number of events in the entity's journal when the outcome was decided, its own included.
	Sequence int64
	// Repeated says that the outcome is a stored one: the command's key had been used before. It is not part of the
	// encoding.
	Repeated bool
}

// Handler carries out commands. The error is an *Error (see CodeOf) and means that there is no outcome: the command was
// not carried out, or (Aborted, Unavailable, DeadlineExceeded) it is not known whether it was. Handle may be called
// from many goroutines at once.
type Handler interface {
	Handle(ctx context.Context, c Command) (Outcome, error)
}

// Input is one message of a streamed command.
type Input struct {
	Payload  Payload
	Metadata Metadata
}

// Streamer carries out commands that take or give any number of messages: those of actions.
type Streamer interface {
	// Stream carries out c. If the method takes a stream, c has no payload and in waits for the next input, and gives
	// io.EOF after the last; it is not called again after an error. Otherwise in is nil. What the method answers goes to
	// out, one at a time and in order; Stream waits for it, so that a slow taker slows the giver. An error of out ends
	// the call and is returned. The error is an *Error as Handler's is; an Outcome with a Failure is followed by nothing.
	// Stream does not call in or out after it has returned; a call of in that waits then is left to end of itself, which
	// it has to do soon. It may be called from many goroutines at once.
	Stream(ctx context.Context, c Command, in func() (Input, error), out func(Outcome) error) error
}

// HandlerFunc makes a Handler of a function.
type HandlerFunc func(ctx context.Context, c Command) (Outcome, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, c Command) (Outcome, error) { return f(ctx, c) }
