// Package lease shares names out over the components that are alive, so that the work behind each name is done by one of
// them at a time. It needs nothing but the journal's cells, and compares no clocks.
//
//	cell                        value                     changed by
//	member/<group>/<member>     its TTL, its names        its member, in every round; whoever buries it
//	lease/<group>/<name>        the member that holds it  whoever takes it; its holder, who gives it back
//
// # The rules
//
//   - A member is alive while its cell is there. It shows that it lives by moving its cell's version, once a round.
//   - Whoever has seen a member's version stand still for the member's TTL, by his own monotonic clock, buries it: he
//     removes its cell by compare-and-set.
//   - A lease is free if there is none, or if it names a member that has no cell. It is taken by compare-and-set.
//   - A member does its work only for TTL minus Grace after the beginning of the last round in which its version moved.
//     Then it tells its works to stop, and they have the Grace to do so. Whoever buries it has seen that version later
//     than the round began, and waits for the whole TTL. So nobody takes a lease while its holder still works, as long as
//     a second lasts a second everywhere.
//
// A process that is stopped for longer than the TTL breaks that last condition: for a moment after it wakes up, it and
// its successor both work. It notices as soon as one of its goroutines runs (see Held.Valid), or, where even the monotonic
// clock stood still, when it asks (Held.Check). What it does until then must be harmless by other means: a cursor that is
// moved by compare-and-set, an effect that its target deduplicates.
//
// # Spreading
//
// Every member says in its cell which names it would work for. From that everybody computes the same assignment:
// rendezvous hashing, with a bound on the names of one member. So an arrival or a departure moves few names, and nobody
// has many more than others. Who holds what is assigned to another member that is alive stops the work, waits for it and
// gives the lease back. A member that leaves stops its works and removes its cell, and its leases are free at once.
package lease
