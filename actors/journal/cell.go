package journal

import "context"

// Cell is a small keyed value that is compared and set: a cursor, a lease, what somebody has to look at.
type Cell struct {
	// Key has 1 to MaxCellKeyBytes bytes of UTF-8 without zero bytes. Keys beginning with different words and a slash are
	// used for different things.
	Key string
	// Value has at most MaxCellBytes. It may be empty.
	Value []byte
	// Version is 0 if there is no such cell, else it grows with every change, also when the cell was removed meanwhile
	// and made again. It need not grow by 1.
	Version int64
}

// PutResult is what became of a cell of PutEach.
type PutResult struct {
	// Version that it has now, if there is no Err.
	Version int64
	// Err says why it was certainly not set: it matches ErrConflict, or the cell is not valid, or not the first in the call
	// that has its key.
	Err error
}

// The limits of a Cell.
const (
	MaxCellKeyBytes = 1024
	MaxCellBytes    = 1 << 20
)

// Cells keeps cells. What a call changes is durable when it returns, and every later call sees it.
type Cells interface {
	// Cell returns one, with Version 0 if there is none.
	Cell(ctx context.Context, key string) (Cell, error)
	// Cells returns up to limit whose keys begin with prefix and are greater than after, in the order of the keys' bytes;
	// limit 0 is no limit. Fewer may come if they are big, but none only at the end. The empty prefix is that of all.
	Cells(ctx context.Context, prefix, after string, limit int) ([]Cell, error)
	// Put sets the value if the cell still has c.Version, and returns its version then. Otherwise the error matches
	// ErrConflict. Any other error leaves in doubt whether it was set, unless the cell is not valid.
	Put(ctx context.Context, c Cell) (int64, error)
	// PutEach is Put for many cells: each is set or not for itself, and those that are share a commit where the back end
	// can. There is a result for each, in order. An error leaves in doubt which of them were set. The cells are neither
	// kept nor changed.
	PutEach(ctx context.Context, cells []Cell) ([]PutResult, error)
	// Remove takes the cell away if it still has that version, else, and if there is no such cell, the error matches
	// ErrConflict.
	Remove(ctx context.Context, key string, version int64) error
}
