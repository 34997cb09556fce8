// Package node keeps this node's copies of replicated entities: it applies what is written here, tells the other members,
// takes in what they tell, asks for what was lost on the way, and keeps all of it in the journal's cells. It knows nothing of
// user functions.
//
// # Replication
//
// A Node spreads entities over partitions by hash. A partition is a machine that is stepped by one goroutine at a time: it
// is told the time and what came, and says what is to be sent, read and written. So whole clusters of them run in one
// goroutine in the simulation of the tests, in which one seed is one run.
//
//   - A write is applied here at once. What a member itself wrote goes to all others over the Bus, joined and in batches,
//     and into its tail in the journal, with those of all entities in one commit. Nobody forwards what others wrote.
//   - A lost batch is missed by its number and pulled from its origin. What that does not have any more is found by
//     comparing digests: then with the origin, and from time to time with a random member.
//   - After its last batch an origin repeats its number a few times, at intervals that double, and is silent from then on. A
//     cluster at rest asks one question per partition, member and round, and nothing else.
//   - An entity that is opened is read from the journal; then the others are asked for what is not there yet.
//   - Above level Local a write is in the journal before it is sent. Who does not host the entity confirms without knowing
//     it: when he opens it, he reads the journal.
//   - Whoever has reason to replaces the base in the journal by compare-and-set; rendezvous hashing says who need not
//     wait. A tail loses only what a base has that has been read back.
//   - When a member leaves, the others read the journal for what it told nobody, and store what it told only them.
//   - A process that lost its slot takes no part until it has another one, and then neither writes nor takes part with an
//     entity before it has read that again.
//   - What holders of slots that are gone wrote is sealed, behind a barrier, into one entry per slot. The receipt lets a
//     process that was away hand on what nobody had.
//   - A deleted entity is created again as its next generation. Writes of earlier ones come to nothing.
//
// The journal's cells must be read consistently, as journal.Cells promises. A process finds out if they are not for
// entities that it wrote itself and remembers.
package node
