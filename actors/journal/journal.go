package journal

import (
	"cmp"
	"context"
	"iter"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// Journal is a whole back end. All methods may be called from many goroutines at once. Errors of a closed journal match
// ErrClosed, those of damaged records ErrCorrupt.
type Journal interface {
	Appender
	Reader
	Tailer
	Outbox
	Cells
	Keeper

	// List returns up to limit streams of a service whose ids are greater than after, in the order of their bytes.
	// Streams without events (fenced, erased, or with records only) are among them. Limit 0 is no limit.
	List(ctx context.Context, service, after string, limit int) ([]Summary, error)
	// ID names this journal for as long as it exists: a random text made with it. Two hosts that see different ids do
	// not share their entities.
	ID(ctx context.Context) (string, error)
	// Ping reports whether the journal can be written to.
	Ping(ctx context.Context) error
	// Close waits for running calls and lets go of everything. A second Close does nothing.
	Close() error
}

// Appender writes.
type Appender interface {
	// Append tries every append of the batch and returns a result for each, in the batch's order. Appends of different
	// streams succeed or fail each for itself. Appends of one stream stand in the batch in order, each expecting what
	// the one before it leaves behind; when one of them is not Committed, neither are those after it. All streams of
	// a batch share one commit where the back end can. An append whose command is recorded already is answered by that
	// record, whatever became of those before it; the others behind one that is not Committed are Conflict, or Unknown
	// if it is Unknown. An end of ctx makes results Unknown, or Refused if nothing had been sent. The batch is not kept
	// and not changed.
	Append(ctx context.Context, batch []Append) []Result
	// Transact is Append for all or nothing: either all are Committed or none is. The appends that were not at fault
	// are then Refused with ErrTransaction.
	Transact(ctx context.Context, batch []Append) []Result
	// Fence raises the stream's epoch to at least epoch and above the one it has, creating the stream at sequence 0 if
	// need be, and waits for appends that hold it. After it has returned, no append made with a lower epoch can succeed.
	Fence(ctx context.Context, ref actors.Ref, epoch int64) (Head, error)
}

// Reader reads. It sees committed appends only.
type Reader interface {
	// Load begins an activation: the head, the newest snapshot and the events after it.
	Load(ctx context.Context, ref actors.Ref) (Loading, error)
	// Read yields up to limit events of a stream with sequences greater than after, in order; limit 0 is no limit. It
	// holds a bounded number of them in memory. An error is yielded last: a *ForgottenError if the next event is no longer
	// kept.
	Read(ctx context.Context, ref actors.Ref, after int64, limit int) iter.Seq2[Event, error]
	// Last returns the newest event of each stream, the zero Event where there is none. Of a stream whose newest event is
	// no longer kept, the event says nothing but Ref and Sequence.
	Last(ctx context.Context, refs []actors.Ref) ([]Event, error)
	// Heads answers many questions about streams at one moment each, in one round trip, in order.
	Heads(ctx context.Context, checks []Check) ([]Checked, error)
}

// Append is what one command does to one stream.
type Append struct {
	Ref actors.Ref
	// Expected is the sequence at which the stream must be, or AnySequence.
	Expected int64
	// Epoch of the writer, from 0; must not be lower than the stream's, which it raises.
	Epoch int64
	// Command identifies this append within its stream, for ever. 1 to MaxCommandBytes bytes.
	Command string
	// Record, if set, is kept for the life of the stream under Command. Only an append with a record is compared with
	// the recorded commands; who sends none has to make its command ids unique.
	Record *Record
	// Events to add. Ref, Sequence, Position, Time and Command of each are set by the journal. There may be none, but
	// then there must be a Record, or nothing could tell the append from one that did not happen.
	Events []Event
	// Snapshot is the state after Events. It replaces the stream's snapshot.
	Snapshot *actors.Payload
	// Effects to be carried out because of this command, none of them synchronous. See ValidateEffects and Outbox. With
	// effects and without events there must be a Record.
	Effects []actors.Effect
}

// AnySequence as Append.Expected adds to the stream wherever it is.
const AnySequence = -1

// MaxCommandBytes is the longest command id.
const MaxCommandBytes = 512

// Status is what became of an append.
type Status uint8

const (
	// Committed: durable.
	Committed Status = iota + 1
	// AlreadyApplied: the command had been recorded before, with the same hash. Result.Record is the stored one.
	AlreadyApplied
	// CommandIDReused: the command had been recorded before with another hash.
	CommandIDReused
	// Conflict: the stream is elsewhere or was fenced. Result.Head is where it is, as far as that is known.
	Conflict
	// Unknown: see the package's rules. Result.Err is the cause.
	Unknown
	// Refused: certainly not applied, for the reason in Result.Err. It matches ErrUnavailable or ErrFull unless the
	// append itself is at fault, or the context has ended.
	Refused
)

func (s Status) String() string {
	return [...]string{"no status", "committed", "already applied", "command id reused", "conflict", "unknown", "refused"}[min(int(s), 6)]
}

// Result of an Append.
type Result struct {
	Status Status
	// Head after a Committed append; the stream's head at a Conflict.
	Head Head
	// Record of an AlreadyApplied append.
	Record *Record
	// Err is the cause of Unknown and Refused.
	Err error
}

// Head of a stream. The zero Head is that of a stream that does not exist.
type Head struct {
	Sequence int64
	Epoch    int64
}

// Record of a command.
type Record struct {
	// Hash of the request, to tell a repeat from another request under the same id.
	Hash [16]byte
	// Outcome is opaque here.
	Outcome []byte
	// Sequence of the stream after the command. Set by the journal.
	Sequence int64
}

// Event is one thing that happened to an entity.
type Event struct {
	Ref      actors.Ref
	Sequence int64
	// Position in the order over all streams; how positions compare is the back end's business.
	Position Position
	// Name that the author of the service gave to this sort of event.
	Name    string
	Payload actors.Payload
	// Time at which the event was appended, by the journal's clock. For people; nothing is ordered by it.
	Time time.Time
	// Command id of the append.
	Command string
	Context Context
}

// Context is where a command came from, as far as its caller said so.
type Context struct {
	Correlation string
	Causation   string
	// Traceparent of the W3C trace context.
	Traceparent string
	// Caller is the app id of the calling application.
	Caller string
}

// Position in the order over all streams: transactions first, then the order within them. Back ends with a single
// writer leave Transaction 0.
type Position struct {
	Transaction uint64
	Ordinal     int64
}

// Compare orders positions of one journal.
func (p Position) Compare(o Position) int {
	if c := cmp.Compare(p.Transaction, o.Transaction); c != 0 {
		return c
	}
	return cmp.Compare(p.Ordinal, o.Ordinal)
}

// Snapshot is a state and the sequence of the last event it includes.
type Snapshot struct {
	Sequence int64
	Payload  actors.Payload
}

// Loading is the beginning of an activation.
type Loading struct {
	Head Head
	// Snapshot is nil if there is none. A damaged snapshot counts as none.
	Snapshot *Snapshot
	// Origin is the sequence at which the stream begins anew, with the state of an entity that does not exist: 0, unless
	// it was erased. A Snapshot is newer.
	Origin int64
	// Events after the snapshot, or else after Origin, and up to Head, as Read yields them. Nothing is read before it is
	// ranged over; it can be ranged over once. A missing event is a *CorruptError, also at the end. If events were
	// forgotten that would be needed, or are while it is ranged over, it is a *ForgottenError.
	Events iter.Seq2[Event, error]
}

// Check asks for a stream's head and, if Command is set, whether that command was applied: by its record, or, if
// After is not negative, by the event that follows After, as long as that is kept.
type Check struct {
	Ref     actors.Ref
	Command string
	After   int64
}

// Checked answers a Check.
type Checked struct {
	Head Head
	// Applied reports that the command was found; Record is its record, if it has one. The stream was at LastSequence
	// after it.
	Applied      bool
	Record       *Record
	LastSequence int64
}

// Summary of a stream.
type Summary struct {
	ID       string
	Sequence int64
	// Floor is the sequence up to which events are no longer kept.
	Floor   int64
	Updated time.Time
}
