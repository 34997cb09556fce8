package journal

import "context"

// Inventory is implemented by back ends that can list all effects that they keep, to take them elsewhere.
type Inventory interface {
	// Kept returns about limit effects that are kept, whatever they wait for, and the mark with which to ask for more; limit
	// 0 is for the back end to choose. The first mark is empty, and so is the one behind the last effect. Those of each
	// source come in its order. An effect that is kept after the first of the calls may be left out, no other one is.
	Kept(ctx context.Context, mark string, limit int) (list []Kept, next string, err error)
}

// Kept is an effect that is kept.
type Kept struct {
	Pending
	// Parked says that it is tried no more.
	Parked bool
}
