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

// Effect is a command to be carried out besides answering.
type Effect struct {
	Ref
	Method      string
	Payload     Payload
	Metadata    Metadata
	Synchronous bool
}

// Forward hands a command on: the target's outcome becomes the outcome.
type Forward struct {
	Ref
	Method   string
	Payload  Payload
	Metadata Metadata
}

// Outcome is what a turn came to. At most one of Reply, Failure and Forward is set; none of them answers nothing.
type Outcome struct {
	Reply    *Payload
	Metadata Metadata
	// Failure is the handler's own "no". It is an answer like any other: it was decided, and is not retried here.
	Failure *Error
	Forward *Forward
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

// HandlerFunc makes a Handler of a function.
type HandlerFunc func(ctx context.Context, c Command) (Outcome, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, c Command) (Outcome, error) { return f(ctx, c) }
