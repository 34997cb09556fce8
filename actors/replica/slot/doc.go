// Package slot says who takes part in replication: a member holds a numbered slot, by a lease in the journal's cells that is
// taken by compare-and-set, with an epoch that grows every time the slot changes hands. Slot and epoch together are never
// used by two processes, so what a member writes under them is its own.
//
//	cell                     value                                  changed by
//	slot/<group>/<number>    its epoch, and who holds it in that    whoever takes it; its holder, who renews or gives it
//	                                                                back; whoever finds its holder dead
//	slots/<group>            the cluster's id and the view          whoever joins, leaves, or finds another gone
//
// # The rules
//
//   - A slot is taken by compare-and-set, with the epoch after the one it had: if it is free, or if its cell's version has
//     stood still for TTL by the taker's own monotonic clock. It is renewed, which moves the version, every TTL/3.
//   - A holder is fenced (Lease.Valid is false) TTL/2 after the beginning of the last renewal that certainly succeeded, or
//     as soon as it sees that the slot is not its own any more. It then takes a slot again, which has another epoch. So
//     whoever finds a holder dead does so TTL/2 after the holder stopped, as long as a second lasts a second everywhere.
//   - The view is the set of members. Its number grows by compare-and-set with every change. A member is in it before its
//     lease is valid for the first time, and until after it is fenced for good: a member is taken out of the view only when
//     its slot's cell says that the slot is not held in that epoch, and that cell never says otherwise again.
//   - Cells of slots are never removed: they hold the epochs that are spent. A slot whose epochs are all spent is retired.
//
// # What the view promises to a write at level All
//
// Who commits a write to the journal, then reads the view (Group.Current, not the one in memory), and then hears from every
// member in it that it has the write, or sees a later view without that member, knows that no member can show a value
// without it: one that joins after the view was read has loaded what it shows from the journal after the commit.
//
// # Restored journals
//
// A journal that is restored from a backup hands out epochs again that were used before. The cluster's id, which is part of
// every message, tells the two apart, so whoever restores one has to call Rotate before any component starts. A running
// component that sees the journal go back in time, or the id change, takes no part any more: Group.Run returns an error.
//
// A process whose monotonic clock stood still, on a machine that was suspended, holds its lease for valid until it asks:
// Lease.Check.
package slot

import (
	"slices"

	"github.com/dapr-entities/entities/crdt"
)

// Member is who holds a slot in an epoch.
type Member struct {
	Slot  crdt.Slot  `json:"slot"`
	Epoch crdt.Epoch `json:"epoch"`
	// Address at which it can be asked directly, host:port. Empty if it cannot.
	Address string `json:"address,omitempty"`
	// Features that it has beyond the first release's, words with spaces between them.
	Features string `json:"features,omitempty"`
}

// View is the set of members at a moment. It is not changed.
type View struct {
	// ID grows with every change, by one. It is 0 when nothing is known yet.
	ID uint64
	// ClusterUID names the history of the journal that slots and epochs belong to.
	ClusterUID uint64
	// Members by slot.
	Members []Member
}

// Has tells whether a slot is held in an epoch.
func (v View) Has(slot crdt.Slot, epoch crdt.Epoch) bool {
	m, ok := v.Member(slot)
	return ok && m.Epoch == epoch
}

// Member that holds a slot.
func (v View) Member(slot crdt.Slot) (Member, bool) {
	i, ok := slices.BinarySearchFunc(v.Members, slot, func(m Member, s crdt.Slot) int { return int(m.Slot) - int(s) })
	if !ok {
		return Member{}, false
	}
	return v.Members[i], true
}

// Majority is the smallest number of members of which any two such sets have one in common.
func (v View) Majority() int { return len(v.Members)/2 + 1 }
