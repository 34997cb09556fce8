// Package feed gives the events of services to consumers: at least once, those of one entity in order.
//
//	journal.Tail ─► window, in the order of the journal ─► queue of each entity ─► handler, entities side by side
//	                  │ what is done at its front                                     └ too many tries: parked
//	                  └► cursor cell
//
// A Consumer is alone with one service. A Subscription is shared by any number of consumers, in any number of components
// that have the journal in common.
//
//	cell                                              value
//	cursor/<group>/<service>                          of a Consumer: the position up to which everything is handled or parked
//	subscription/<group>                              of a Subscription: the number of its lanes, and where its sources begin
//	lane/<group>/<lane>                               the same positions of one lane, for each service
//	parked/feed/<group>/<service>/<id>/<sequence>     an event that could not be handled, and why
//	released/feed/<group>/<service>/<id>/<sequence>   one that somebody wants to be tried again
//
// # What must hold
//
//   - The cursor never passes an event that is neither handled nor parked, whatever comes later was handled already. After
//     a crash the events behind it are handled again, in their order.
//   - Events of one entity are handled one after the other. While one is tried again, the later ones of its entity wait,
//     and those of other entities do not, as far as the window reaches.
//   - An event that fails MaxTries times, or for good, is parked: the feed goes on, with its entity too. It can be
//     released, and is then handled once more, out of its order, or discarded.
//   - A cursor is moved by compare-and-set, and whoever begins moves it once where it stands. So one that was replaced, and
//     does not know it yet, cannot move it any more. It fails as soon as it tries.
//
// # Sharing
//
// The entities are dealt into lanes by a hash. Components share the lanes out by leases (package lease), and each gives
// those it has to its own consumers, all of them at any time to exactly one. A lane goes to another consumer event by
// event: one that has been begun is waited for, or its context ends and its handler returns, before anybody is given the
// next one of its entity, or the same one again. So what the consumers of an entity see goes on from event to event,
// whichever of them sees it. It may step back, to what was handled and not yet noted, but it never leaves one out.
//
// As with all leases, a process that is stopped for longer than LeaseTimeout may end a try after another component has
// taken its lane: the try's context ends as soon as the process runs again.
//
// A lane's window is its share of the memory, so that an entity that stands still holds up its own lane at most. All lanes
// of a component share the reading of the journal.
package feed
