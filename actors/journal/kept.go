package journal

import "context"

// Inventory is implemented by back ends that can list all effects that they keep, to take them elsewhere.
type Inventory interface {
	// Kept returns up to limit effects that are kept, whatever they wait for, with numbers greater than after, in the order
	// in which they were kept, which is the order of each source; limit 0 is no limit. Fewer may come if they are big, but
	// none only at the end. An effect that is kept after the first of the calls may be left out.
	Kept(ctx context.Context, after int64, limit int) ([]Kept, error)
}

// Kept is an effect that is kept.
type Kept struct {
	Pending
	// Number grows in the order in which effects were kept.
	Number int64
	// Parked says that it is tried no more.
	Parked bool
}
