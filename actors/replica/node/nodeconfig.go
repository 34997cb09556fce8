package node

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/crdt"
)

// Config is what a Node needs: Cells and Membership. A zero in any other field stands for its default.
type Config struct {
	// Cells is where entities are kept. All members have the same.
	Cells journal.Cells
	// Membership says who takes part.
	Membership Membership
	// Group names the members that Membership is about, if there are other groups in the same Cells: each has entities of
	// its own. The limits are those of a slot.Group's name. Defaults to none.
	Group string
	// Bus and Peers connect the members. Both are nil if this node is the only one, else neither.
	Bus   replica.Bus
	Peers replica.Peers
	// Observer is told what happens.
	Observer Observer

	// Partitions that entities are spread over by hash. They work side by side. All members must have the same number.
	// Defaults to 16.
	Partitions int
	// Residents is how many entities may be in memory at once; more cannot be opened. Defaults to 100,000.
	Residents int
	// IdleTime is how long an entity that nobody has open stays in memory, if there is room. Defaults to 1 minute.
	IdleTime time.Duration
	// Remembered is of how many entities that left memory the last state of the writer is kept. Defaults to 100,000.
	Remembered int
	// Limits of local writes and of what is decoded.
	Limits crdt.Limits
	// EntityBytes is how big an entity may be and still be written to. Defaults to 64 MiB.
	EntityBytes int
	// Recreate says what becomes of deleted entities. Defaults to RecreateAtOnce.
	Recreate Recreate

	// Flush is the shortest time between two batches of a partition, FlushMax the longest when publishing takes long.
	// Default to 10 ms and 100 ms.
	Flush, FlushMax time.Duration
	// BatchBytes is how big a batch of more than one delta may be, EntryBytes how big a delta in a batch; others ask for a
	// bigger one. Default to 128 KiB and 256 KiB.
	BatchBytes, EntryBytes int
	// RingBytes and RingTime bound the batches that are kept for those who missed one. Default to 64 MiB and 1 minute.
	RingBytes int
	RingTime  time.Duration
	// Heartbeat is the time after the last batch until its number is repeated; that happens Heartbeats times, at intervals
	// that double. Default to 1 s and 3.
	Heartbeat  time.Duration
	Heartbeats int
	// Queue is how many batches of a partition may wait to be taken, Ahead how many may come before a missing one, Parked
	// how many deltas may wait for an entity. What is more is dropped and had again later. Default to 256, 4096 and 1024.
	Queue, Ahead, Parked int
	// ParkTime is how long a delta waits for the ones before it. Defaults to 200 ms.
	ParkTime time.Duration
	// GapTime is how long to wait for a missing batch before asking for it. Defaults to 20 ms.
	GapTime time.Duration
	// Round is the longest time between two comparisons with some other member; the shortest is half of it. Defaults to 10 s.
	Round time.Duration
	// Poll is the time after which the next PollEntities entities of a partition are read from the journal as long as a member
	// neither answers nor is heard. Default to 1 s and 16.
	Poll         time.Duration
	PollEntities int
	// Digests is how many digests go into an answer, AnswerBytes about how many bytes. Default to 4096 and 2 MiB.
	Digests, AnswerBytes int
	// RepairBytes is how many bytes a second are exchanged with one member to make good what was missed, on average. Defaults
	// to 32 MiB.
	RepairBytes int

	// FlushStore is the shortest time between two commits of tails. Defaults to 10 ms.
	FlushStore time.Duration
	// TailBytes is how long a tail may get before a base is written, TailMaxBytes how long it may be at all. Default to
	// 32 KiB and 512 KiB.
	TailBytes, TailMaxBytes int
	// ChunkBytes is the size of the cells of a base. Defaults to 256 KiB.
	ChunkBytes int
	// FoldPrecedence is how long a member leaves it to another one to write a base. Defaults to 2 s.
	FoldPrecedence time.Duration
	// DepartureSpread is over what time entities are read again after a member left. Defaults to 5 s.
	DepartureSpread time.Duration
	// SealEpochs is how many holders of slots that are gone may have left traces in an entity before those are folded into
	// one per slot; 1 or more. Defaults to 32.
	SealEpochs int
	// SealAfter is how long a member must be gone before what it wrote is sealed: longer than any batch or any write to the
	// journal can be on its way. Defaults to 5 minutes.
	SealAfter time.Duration
	// SealTime is how long the other members may take to secure what they know. Defaults to 15 s.
	SealTime time.Duration
	// ReceiptTime is for how long a member that lost its slot can still hand on what nobody else had. Defaults to 7 days.
	ReceiptTime time.Duration
	// Segments is after how many batches with changes of a map its own nested counters' events are folded, 1 to 63. Beyond 64
	// for one counter they are folded in any case, and a removal that has seen some of them then takes none. Defaults to 32.
	Segments int
	// Loads is how many entities of a partition are read at once. Defaults to 8.
	Loads int

	// AskTime is how long an entity that is opened waits for what the other members know of it, AskTimeout how long any
	// question may take, SuspectTime for how long nobody waits for a member that did not answer. Default to 200 ms, 2 s
	// and 5 s.
	AskTime, AskTimeout, SuspectTime time.Duration
	// AckTime is how long to wait for a confirmation before asking for it. Defaults to 50 ms.
	AckTime time.Duration
	// Timeout is after what time a write that is not confirmed is answered with ErrUnconfirmed. Defaults to 5 s.
	Timeout time.Duration
	// Retry and RetryMax are the first and the longest time until something is tried again. Default to 50 ms and 5 s.
	Retry, RetryMax time.Duration
	// Drain is how long to wait, at the end, until all that was written is stored and sent. Defaults to 5 s.
	Drain time.Duration
}

// Recreate says whether a deleted entity can be used again.
type Recreate uint8

const (
	// RecreateAtOnce begins a new generation of a deleted entity when it is opened.
	RecreateAtOnce Recreate = iota
	// RecreateNever leaves it deleted for ever.
	RecreateNever
)

// maxPartitions is how many there may be.
const maxPartitions = 1 << 10

func (c Config) withDefaults() Config {
	ints := []struct {
		v *int
		d int
	}{
		{&c.Partitions, 16}, {&c.Residents, 100_000}, {&c.Remembered, 100_000}, {&c.EntityBytes, 64 << 20},
		{&c.BatchBytes, 128 << 10}, {&c.EntryBytes, 256 << 10}, {&c.RingBytes, 64 << 20}, {&c.Heartbeats, 3},
		{&c.Queue, 256}, {&c.Ahead, 4096}, {&c.Parked, 1024}, {&c.Digests, 4096}, {&c.AnswerBytes, 2 << 20},
		{&c.RepairBytes, 32 << 20},
		{&c.TailBytes, 32 << 10}, {&c.TailMaxBytes, 512 << 10}, {&c.ChunkBytes, 256 << 10}, {&c.Loads, 8},
		{&c.SealEpochs, 32}, {&c.PollEntities, 16}, {&c.Segments, 32},
	}
	for _, f := range ints {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	for _, f := range c.durations() {
		if *f.v == 0 {
			*f.v = f.d
		}
	}
	return c
}

type durationField struct {
	name string
	v    *time.Duration
	d    time.Duration
}

func (c *Config) durations() []durationField {
	return []durationField{
		{"IdleTime", &c.IdleTime, time.Minute}, {"Flush", &c.Flush, 10 * time.Millisecond},
		{"FlushMax", &c.FlushMax, 100 * time.Millisecond}, {"RingTime", &c.RingTime, time.Minute},
		{"Heartbeat", &c.Heartbeat, time.Second}, {"ParkTime", &c.ParkTime, 200 * time.Millisecond},
		{"GapTime", &c.GapTime, 20 * time.Millisecond}, {"Round", &c.Round, 10 * time.Second},
		{"Poll", &c.Poll, time.Second}, {"FlushStore", &c.FlushStore, 10 * time.Millisecond}, {"FoldPrecedence", &c.FoldPrecedence, 2 * time.Second},
		{"DepartureSpread", &c.DepartureSpread, 5 * time.Second}, {"AskTime", &c.AskTime, 200 * time.Millisecond},
		{"AskTimeout", &c.AskTimeout, 2 * time.Second}, {"SuspectTime", &c.SuspectTime, 5 * time.Second},
		{"AckTime", &c.AckTime, 50 * time.Millisecond}, {"Timeout", &c.Timeout, 5 * time.Second},
		{"Retry", &c.Retry, 50 * time.Millisecond}, {"RetryMax", &c.RetryMax, 5 * time.Second},
		{"SealAfter", &c.SealAfter, 5 * time.Minute}, {"SealTime", &c.SealTime, 15 * time.Second},
		{"ReceiptTime", &c.ReceiptTime, 7 * 24 * time.Hour}, {"Drain", &c.Drain, 5 * time.Second},
	}
}

// validate reports everything that is wrong, after withDefaults.
func (c *Config) validate() error {
	var problems []error
	if c.Cells == nil {
		problems = append(problems, errors.New("Cells is nil; give the journal's cells"))
	}
	if len(c.Group) > slot.MaxGroupBytes || strings.ContainsAny(c.Group, "/\x00") || !utf8.ValidString(c.Group) {
		problems = append(problems, fmt.Errorf("Group is %.120q; up to %d bytes of UTF-8 without slashes and zero bytes are allowed", c.Group, slot.MaxGroupBytes))
	}
	if c.Membership == nil {
		problems = append(problems, errors.New("Membership is nil; say who takes part"))
	}
	if (c.Bus == nil) != (c.Peers == nil) {
		problems = append(problems, errors.New("only one of Bus and Peers is there; give both, or neither for a single node"))
	}
	within := func(name string, v, least, most int) {
		if v < least || v > most {
			problems = append(problems, fmt.Errorf("%s is %d; %d to %d are allowed", name, v, least, most))
		}
	}
	within("Partitions", c.Partitions, 1, maxPartitions)
	within("Residents", c.Residents, c.Partitions, 1<<30)
	within("Remembered", c.Remembered, 0, 1<<30)
	within("EntityBytes", c.EntityBytes, 1, 1<<30)
	within("BatchBytes", c.BatchBytes, 1<<10, 1<<30)
	within("EntryBytes", c.EntryBytes, 1<<10, 1<<30)
	within("RingBytes", c.RingBytes, c.Partitions, 1<<40)
	within("Heartbeats", c.Heartbeats, 0, 16)
	within("Queue", c.Queue, 1, 1<<20)
	within("Ahead", c.Ahead, 1, 1<<20)
	within("Parked", c.Parked, 1, 1<<20)
	within("Digests", c.Digests, 1, 1<<20)
	within("AnswerBytes", c.AnswerBytes, 1<<10, 1<<30)
	within("RepairBytes", c.RepairBytes, 1<<10, 1<<40)
	within("TailBytes", c.TailBytes, 1, journal.MaxCellBytes)
	within("TailMaxBytes", c.TailMaxBytes, 1, journal.MaxCellBytes-tailBytes)
	within("ChunkBytes", c.ChunkBytes, 1, journal.MaxCellBytes/2)
	within("SealEpochs", c.SealEpochs, 1, 1<<20)
	within("PollEntities", c.PollEntities, 1, 1<<20)
	within("Segments", c.Segments, 1, 63)
	within("Loads", c.Loads, 1, 1<<10)
	for _, f := range c.durations() {
		if *f.v < 0 {
			problems = append(problems, fmt.Errorf("%s is %v, which is negative", f.name, *f.v))
		}
	}
	if c.Recreate > RecreateNever {
		problems = append(problems, fmt.Errorf("Recreate is %d, which is unknown", c.Recreate))
	}
	return errors.Join(problems...)
}

// Observer is told what happens in a Node. Any func may be nil. They are called from many goroutines, must not wait,
// and must not call the Node.
type Observer struct {
	// Published: a batch of some entries has been given to the bus, or not.
	Published func(entries, bytes int, took time.Duration, err error)
	// Flushed: some tails have been put in one commit, or not.
	Flushed func(tails int, took time.Duration, err error)
	// Confirmed: a write at a level above Local is as safe as was asked for, or not.
	Confirmed func(level replica.Level, took time.Duration, err error)
	// Refused: a batch was not taken, because it is "damaged", "foreign" (of another cluster or number of partitions),
	// "fenced" (of a member that lost its slot), or the queue is "full".
	Refused func(why string)
	// Rejected: a delta could not be joined. It may be of a later version or of another kind; the entity stays as it was.
	Rejected func(ref actors.Ref, err error)
	// Unloadable: an entity could not be read from the journal, Unstored: it could not be written. Both are tried again if
	// the entity is in use.
	Unloadable, Unstored func(ref actors.Ref, err error)
	// Folded: a new base has been written.
	Folded func(ref actors.Ref, bytes int)
	// Sealed: the traces of holders of a slot that are gone have been folded into one.
	Sealed func(ref actors.Ref, slot crdt.Slot, through crdt.Epoch)
	// Settled: events of counters in a map have been folded, because all members had seen them.
	Settled func(ref actors.Ref)
	// Unanswered: an entity was opened before all other members had said what they know of it.
	Unanswered func(ref actors.Ref, members int)
	// Pulled: batches that were missing have been asked for. Repaired: entities that differed have been compared.
	Pulled, Repaired func(n int)
}

const (
	refusedDamaged = "damaged"
	refusedForeign = "foreign"
	refusedFenced  = "fenced"
	refusedFull    = "full"
)

func (o *Observer) published(entries, bytes int, took time.Duration, err error) {
	if o.Published != nil {
		o.Published(entries, bytes, took, err)
	}
}

func (o *Observer) flushed(tails int, took time.Duration, err error) {
	if o.Flushed != nil {
		o.Flushed(tails, took, err)
	}
}

func (o *Observer) confirmed(level replica.Level, took time.Duration, err error) {
	if o.Confirmed != nil {
		o.Confirmed(level, took, err)
	}
}

func (o *Observer) refused(why string) {
	if o.Refused != nil {
		o.Refused(why)
	}
}

func (o *Observer) sealed(ref actors.Ref, slot crdt.Slot, through crdt.Epoch) {
	if o.Sealed != nil {
		o.Sealed(ref, slot, through)
	}
}

func (o *Observer) settled(ref actors.Ref) {
	if o.Settled != nil {
		o.Settled(ref)
	}
}

func (o *Observer) rejected(ref actors.Ref, err error)   { tellOf(o.Rejected, ref, err) }
func (o *Observer) unloadable(ref actors.Ref, err error) { tellOf(o.Unloadable, ref, err) }
func (o *Observer) unstored(ref actors.Ref, err error)   { tellOf(o.Unstored, ref, err) }
func (o *Observer) folded(ref actors.Ref, bytes int)     { tellOf(o.Folded, ref, bytes) }
func (o *Observer) unanswered(ref actors.Ref, n int)     { tellOf(o.Unanswered, ref, n) }
func (o *Observer) pulled(n int)                         { tellCount(o.Pulled, n) }
func (o *Observer) repaired(n int)                       { tellCount(o.Repaired, n) }

func tellOf[T any](f func(actors.Ref, T), ref actors.Ref, v T) {
	if f != nil {
		f(ref, v)
	}
}

func tellCount(f func(int), n int) {
	if f != nil {
		f(n)
	}
}
