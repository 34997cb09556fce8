package journal

import "context"

// Tailer reads in the order over all streams: every stream's events in their order, and every reader sees the same order.
type Tailer interface {
	// Tail returns up to limit events of the services that come after a position, and the position up to which it has
	// looked, which may lie beyond the last of them; limit 0 is no limit. It holds a bounded number of them in memory and
	// looks at a bounded number: fewer than limit, even none, may come before the end. The end is reached when the position
	// does not move. An event of an append that is durable when Tail is called is either returned by it, or by a Tail from
	// the position that it returned: a position that may still appear is never passed. The zero Position is before
	// everything. No services have no events.
	//
	// A damaged event is a *CorruptError behind the events before it, which are returned with it, as is its position: Tail
	// from there goes on after it. With any other error there are no events, and the position is the one that was given.
	Tail(ctx context.Context, services []string, after Position, limit int) ([]Event, Position, error)
}

// Blocked is implemented by back ends whose Tail may have to wait for somebody else's transaction.
type Blocked interface {
	// Blocked names what holds Tail up, for an operator; empty if nothing does.
	Blocked(ctx context.Context) (string, error)
}
