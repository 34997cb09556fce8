package replica

import (
	"context"
	"errors"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/crdt"
)

// Function is the user function of one replicated service, as its host sees it.
type Function interface {
	// Open begins a session for an entity with its whole value, or nil if it has none yet. From then on answers go to
	// start.Answer and the end of the session to start.Ended, once, also if the user function ended it. Neither is called
	// before it is certain that Open returns without an error. ctx is for the opening alone. Open may be called from many
	// goroutines at once.
	Open(ctx context.Context, start Start) (Session, error)
}

// Start is how a session begins.
type Start struct {
	Ref   actors.Ref
	Value *crdt.Update
	// Answer takes what the user function says, in its order, by one goroutine at a time. An error means that the answer
	// is wrong, which the user function is told. If the error matches ErrStray, nothing else happens; otherwise the session
	// is ended by whoever called, and Ended gets the error.
	Answer func(Answer) error
	// Ended is told why no more answers come: an *actors.Error.
	Ended func(error)
}

// Session is one replicated entity in the user function. Its methods do not wait for answers; they are called by one
// goroutine at a time, in the order in which the user function is to see them. What they find out about the end of the
// session goes to Ended, and may be their error besides.
type Session interface {
	// Command gives it a command under a number of its own, from 1 on. Many may be unanswered at once. An error is an
	// *actors.Error and means that the user function does not get it; others may follow.
	Command(ctx context.Context, number int64, c *actors.Command, streamed bool) error
	// Cancelled says that the caller of a streamed command is gone. It is answered.
	Cancelled(ctx context.Context, number int64) error
	// Update tells what others changed. It is called only while nothing is unanswered.
	Update(ctx context.Context, u *crdt.Update) error
	// Delete says that others deleted the entity. The session is closed after it.
	Delete(ctx context.Context) error
	// Close ends the session. It does not wait, may be called more than once, from any goroutine.
	Close()
}

// ErrStray says that an answer is for a stream that is over. It was ignored.
var ErrStray = errors.New("an answer to a stream that is over was ignored")

// AnswerKind says what an Answer is to.
type AnswerKind uint8

const (
	// Replied is the one answer to a command, or the first one to a streamed command.
	Replied AnswerKind = iota + 1
	// Message is one more answer to a streamed command.
	Message
	// CancelledToo answers Session.Cancelled.
	CancelledToo
	// Failed is a failure in place of any other answer.
	Failed
)

// Answer is what a user function says about a command.
type Answer struct {
	Kind AnswerKind
	// Number of the command.
	Number int64
	// Outcome without its Sequence. Nothing in it but effects is no answer for the caller.
	Outcome actors.Outcome
	// Streamed (Replied) says that messages follow.
	Streamed bool
	// End (Message) says that none follows.
	End bool
	// Write is what it does to the entity (Replied, CancelledToo), nil if nothing.
	Write *Write
}

// Write is what a user function does to an entity.
type Write struct {
	// Update, or Delete.
	Update *crdt.Update
	Delete bool
	Level  Level
}

// Level says when a write counts as done.
type Level uint8

const (
	// Local is as soon as this node has it. It reaches the journal a moment later.
	Local Level = iota
	// Majority is when the journal has it, and more than half of the members have it or do not host the entity.
	Majority
	// All is when the journal has it, and every member has it or does not host the entity, or is gone.
	All
)

func (l Level) String() string {
	switch l {
	case Local:
		return "local"
	case Majority:
		return "majority"
	case All:
		return "all"
	default:
		return "unknown level"
	}
}
