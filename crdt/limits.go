package crdt

import "errors"

// What Apply, Join, Seal, Rehome and the decoders report, wrapped with what was being done.
var (
	// ErrOverflow says that a local write would take a counter out of its range. Nothing was written.
	ErrOverflow = errors.New("the counter would leave its range")
	// ErrKindMismatch says that the value is of another kind than the update or the delta.
	ErrKindMismatch = errors.New("the value is of another kind")
	// ErrNoKind says that an update has no kind, or one that does not exist.
	ErrNoKind = errors.New("the update has no known kind")
	// ErrTwice says that an update changes the same entry of a map twice.
	ErrTwice = errors.New("the entry is changed twice in one update")
	// ErrTooLarge says that a Limit is exceeded.
	ErrTooLarge = errors.New("a limit is exceeded")
	// ErrClockExhausted says that no clock after the register's is left. Nothing was written.
	ErrClockExhausted = errors.New("the register's clock has no later value")
	// ErrEpochExhausted says that the writer has no number left; it goes on under a new epoch.
	ErrEpochExhausted = errors.New("the writer's epoch has no number left")
	// ErrSealed says that the writer's epoch was sealed: it has lost its slot and goes on under a new one, after Rehome.
	ErrSealed = errors.New("the writer's epoch is sealed")
	// ErrDeleted says that the entity is deleted in this generation.
	ErrDeleted = errors.New("the entity is deleted")
	// ErrNewerGeneration says that a delta is of a later generation: drop the entity and load that one.
	ErrNewerGeneration = errors.New("the delta is of a later generation of the entity")
	// ErrNotCanonical says that bytes are damaged or not what AppendBinary writes.
	ErrNotCanonical = errors.New("the encoding is damaged or not canonical")
	// ErrVersion says that bytes were written by a later version of this package, in a form or of a kind it does not know.
	ErrVersion = errors.New("the encoding is of a later version")
)

// MaxDepth is how many ORMaps may be around a value.
const MaxDepth = 8

// Limits of local writes and of what is decoded. Deltas that were decoded are joined whatever the sum.
type Limits struct {
	// Bytes of a decoded delta. Defaults to 64 MiB.
	Bytes int
	// Key is the greatest number of bytes of a Key, its type URL included. Defaults to 64 KiB.
	Key int
	// Elements of a set or entries of a map, for each. Defaults to 1,000,000. More than 16,000,000 are never taken.
	Elements int
}

func (l Limits) withDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 64 << 20
	}
	if l.Key <= 0 {
		l.Key = 64 << 10
	}
	if l.Elements <= 0 {
		l.Elements = 1_000_000
	}
	l.Elements = min(l.Elements, maxElements)
	return l
}

// maxElements is what the table of a set can number.
const maxElements = 16_000_000
