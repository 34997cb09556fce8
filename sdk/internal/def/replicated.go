package def

import (
	"context"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// Replicated is the entity type of replicated entities, as discovery names it.
const Replicated = "cloudstate.crdt.Crdt"

// Replica is one live replicated entity, and what its last turn did to it. One goroutine uses it at a time. No method
// panics.
//
// A turn that succeeds leaves its change behind, which Settle keeps or takes back. One that fails has changed nothing.
type Replica interface {
	// Apply takes what others changed, or the whole value at the start. An error leaves the data in doubt.
	Apply(d *crdt.CrdtDelta) error
	// Value is the whole data, as a delta of nothing.
	Value() *crdt.CrdtDelta
	// Data is the live data.
	Data() any
	// Handle runs one command. If it is streamed and Result.Watcher is not nil, the caller waits for more.
	Handle(ctx context.Context, c Command) Result
	// Settle ends a turn.
	Settle(keep bool)
}

// Watcher is a streamed command whose caller waits for more. It belongs to its Replica.
type Watcher interface {
	// Next is what the caller is told after a change. Nothing in it but Ended may be nothing at all.
	Next() Result
	// Done runs the last turn, because the caller has gone. There is neither a reply nor a failure for it.
	Done(ctx context.Context) Result
}

// Write is what a turn does to a replicated entity.
type Write struct {
	// Delta is nil if the entity is deleted.
	Delta *crdt.CrdtDelta
	Level crdt.CrdtWriteConsistency
}
