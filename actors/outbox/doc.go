// Package outbox carries out the effects that a journal keeps, at least once each.
//
//	lease ─► Work: a lane is ours ─┐
//	Ring, Poll ────────────────────┴─► Run: journal.Due of all our lanes
//	                                        └► one goroutine for each source: Handler.Handle, effect by effect
//	                                                └► settler: journal.Settle, many at once
//
// # What must hold
//
//   - Effects of one source that are not delayed are carried out one after the other, in the order of their appends. One
//     that fails is put off, and the later ones wait for it; delayed ones and other sources do not. One that is parked
//     holds nothing up.
//   - An effect is carried out under its ID, the same on every try: targets that remember ids apply it once. It is carried
//     out again after a crash between the try and its settlement, after a journal that did not take the settlement, and
//     when a component was stopped for longer than its lease and woke up in the middle of a try.
//   - A source is worked on by one goroutine, which ends only when its settlements are in the journal. Until then what Due
//     says about the source is old, and is not looked at.
//   - A lane that is given up takes no new effect. Tries that have begun may end within Drain, unless the lease is lost:
//     then they are cut. What was cut does not count as a try.
package outbox
