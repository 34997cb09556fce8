// Package slot says who takes part in replication: a member holds a numbered slot, by a lease in the journal's cells that is
// taken by compare-and-set, with an epoch that grows every time the slot changes hands. Slot and epoch together are never
// used by two processes, so what a member writes under them is its own.
package slot

import "github.com/dapr-entities/entities/crdt"

// Member is who holds a slot in an epoch.
type Member struct {
	Slot  crdt.Slot
	Epoch crdt.Epoch
	// Address at which it can be asked directly, host:port. Empty if it cannot.
	Address string
}
