// Package journal is the contract of the append-only log in which placed entities live: one stream of events for each
// entity, one order over all of them, and beside each stream its newest snapshot, the records of its commands, and its
// effects to do.
//
// A back end is a package below this one. journaltest holds the contract as a test suite that every back end passes;
// what is written here and what is tested there are meant to be the same.
//
// # The rules
//
//   - An append is one atomic step: the head is compared and moved, and events, command record, effects and snapshot
//     become visible together and only after they are durable. Nothing partial ever shows.
//
//   - Sequences are dense from 1 in every stream. What is no longer kept is missing at its beginning only; see Keeper.
//
//   - An append succeeds only if the stream is at the sequence that the writer expects and no higher epoch has been
//     seen. This is what makes two live instances of one entity harmless; placement only makes them rare.
//
//   - A command id is applied once in a stream, until that is erased. The second append with a recorded id changes
//     nothing and gets the first one's outcome.
//
//   - Unknown means just that: the append may or may not have happened, or may still happen. It is never to be answered
//     as failed and never to be run again before it is resolved: look the command up; if it is not there, Fence the
//     stream, after which it cannot happen any more; look it up again.
//
//   - A Conflict may be our own commit whose acknowledgement was lost. Look the command up before believing it.
//
//   - An effect is kept if, and only if, its append is committed, and until it is settled: carried out, replaced, taken
//     back or discarded. Those of one stream come in its order; see Outbox.
//
//   - All readers of the order over all streams see the same one, and miss nothing; see Tailer.
//
// Beside the streams there are cells, which belong to none: small values that are compared and set; see Cells.
//
// # Streams, refs and services
//
// The Service of a journal's Ref is the service's persistence id, which outlives a renamed service. It is not
// interpreted here.
package journal
