package replica

import (
	"context"

	"github.com/dapr-entities/entities/actors/replica/slot"
)

// Bus carries batches from every node to all others. It may lose, repeat and reorder them, and deliver a node its own.
type Bus interface {
	// Publish returns when the bus has taken the batch, which stays unchanged. Slowness here only makes batches bigger.
	// It may be called from many goroutines at once.
	Publish(ctx context.Context, batch []byte) error
	// Run delivers until ctx ends. deliver may keep the batch, does not wait, and may be called from many goroutines.
	Run(ctx context.Context, deliver func(batch []byte)) error
}

// Peers lets one member ask another directly.
type Peers interface {
	// Ask sends a request and returns the answer. It may be called from many goroutines at once.
	Ask(ctx context.Context, to slot.Member, request []byte) ([]byte, error)
	// Run answers what others ask until ctx ends. answer may be called from many goroutines at once, and keeps nothing.
	Run(ctx context.Context, answer func(ctx context.Context, request []byte) ([]byte, error)) error
}
