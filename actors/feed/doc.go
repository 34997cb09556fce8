// Package feed gives the events of a service to a consumer: at least once, those of one entity in order.
//
//	journal.Tail ─► window, in the order of the journal ─► queue of each entity ─► Handle, entities side by side
//	                  │ what is done at its front                                     └ too many tries: parked
//	                  └► cursor cell
//
//	cell                                              value
//	cursor/<group>/<service>                          the position up to which everything is handled or parked
//	parked/feed/<group>/<service>/<id>/<sequence>     an event that could not be handled, and why
//	released/feed/<group>/<service>/<id>/<sequence>   one that somebody wants to be tried again
//
// # What must hold
//
//   - The cursor never passes an event that is neither handled nor parked, whatever comes later was handled already. After
//     a crash the events behind it are handled again.
//   - Events of one entity are handled one after the other. While one is tried again, the later ones of its entity wait,
//     and those of other entities do not, as far as the window reaches.
//   - An event that fails MaxTries times, or for good, is parked: the feed goes on, with its entity too. It can be
//     released, and is then handled once more, out of its order, or discarded.
//   - The cursor is moved by compare-and-set, and a consumer that begins moves it once where it stands. So one that was
//     replaced, and does not know it yet, cannot move it any more. It fails as soon as it tries.
package feed
