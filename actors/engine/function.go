package engine

import (
	"context"
	"errors"
	"iter"

	"github.com/dapr-entities/entities/actors"
)

// Function is the user function of one service, as the engine sees it.
type Function interface {
	// Open begins a session for an entity: it sends the beginning, ranges over start.Events once, and returns when the
	// session can take commands. It need not wait until the user function has applied the events. An error of
	// start.Events is returned as it is. ctx is for the opening alone; the session outlives it. Open may be called
	// from many goroutines at once.
	Open(ctx context.Context, start Start) (Session, error)
}

// Session is one live entity in the user function.
type Session interface {
	// Handle gives it a command and waits for the answer. It is called by one goroutine at a time, never again after
	// an error, and an end of ctx ends the session. Errors are *actors.Error for the caller of the command, or match
	// ErrSessionEnded or ErrSessionLost.
	Handle(ctx context.Context, t Turn) (Reply, error)
	// Close ends the session. It may be called once, also after an error, and does not wait for the user function.
	Close()
}

// Ahead is implemented by sessions that take commands before the answers to earlier ones have come, which saves a busy
// entity the way there and back between two commands.
type Ahead interface {
	Session
	// Ahead gives the session commands. Handle is called for them next, one after the other in the same order, and then
	// only waits for the answer. Only the first may have a known sequence. Ahead does not wait for answers; an end of ctx
	// ends the session, and what goes wrong shows in Handle. A session that ends leaves those without an answer as if
	// they had not been given: nothing comes of them.
	Ahead(ctx context.Context, turns []Turn)
}

// UnknownSequence is the Sequence of a Turn that is given before the one ahead of it has ended.
const UnknownSequence = -1

var (
	// ErrSessionEnded says that the session was over before the command could be given to it: the user function has
	// not seen the command.
	ErrSessionEnded = errors.New("the session had ended")
	// ErrSessionLost says that the connection broke while the command was being handled. Nothing came of it, so the
	// command may be handled again.
	ErrSessionLost = errors.New("the connection to the user function was lost")
)

// Start is from where a session begins.
type Start struct {
	Ref actors.Ref
	// Snapshot is nil if there is none; SnapshotSequence is then 0.
	Snapshot         *actors.Payload
	SnapshotSequence int64
	// Origin is the sequence at which the entity begins anew, with the state of one that does not exist: 0, unless it was
	// erased. A Snapshot is newer.
	Origin int64
	// Events after the snapshot, or else after Origin, in order. Of a service whose newest event is the whole state it is that one, if any.
	Events iter.Seq2[Event, error]
}

// Event as a user function emits it and gets it back.
type Event struct {
	// Sequence is 0 in a Reply.
	Sequence int64
	// Name may be empty in a Reply of a user function that does not name events; the engine then takes the last part
	// of the payload's type URL.
	Name    string
	Payload actors.Payload
}

// Turn is one command, given to a session.
type Turn struct {
	Command actors.Command
	// Sequence of the entity before the command, or UnknownSequence.
	Sequence int64
}

// Reply is what a session answered.
type Reply struct {
	// Outcome without its Sequence.
	Outcome actors.Outcome
	Events  []Event
	// Snapshot is the state after Events.
	Snapshot *actors.Payload
	// Restart asks for a new session from the journal; Outcome.Failure is set and Events are to be ignored.
	Restart bool
}
