// Package engine keeps placed entities in memory: it activates them from the journal, gives them their commands one by
// one, appends their events, answers, and passivates them.
//
//	Handle ─► queue of the entity ─► worker: session.Handle ─► committer: journal.Append ─► settle ─► answer
//	                                              └ nothing written ─► checker: journal.Heads ─┘
//
// # Who does what
//
//   - Every entity that is resident has an instance: its session, its queue, and its pending turns, which are handled
//     but not answered. A worker (a goroutine) runs for an instance only while there is something to handle, and is the
//     only one to touch its session. Everything else is guarded by the engine's one mutex, under which nothing waits.
//   - One committer carries the appends of all entities to the journal, one batch at a time; what comes while a batch is
//     on its way makes the next one. The checker does the same for questions about heads. They are never waited for
//     while the mutex is held, and they settle what the journal answered.
//   - The sweeper passivates what was idle for too long.
//
// # What must hold
//
// The worker handles the next command while earlier appends of the entity are on their way, so the session's state runs
// ahead of the journal. Therefore an answer of any sort, a read or a failure too, leaves only when every earlier append
// of its entity is durable; and when an append fails, the session is dropped and everything that was handled after it is
// handled again, in order, by a new session from the journal. None of those outcomes had left.
//
// A failed append breaks its instance. The worker then recovers it, when no append of it is on its way any more: it
// finds out what happened to the doubtful ones (journal's package comment has the rules), answers those that are
// decided, and puts the others back into the queue. A command is handled again once for a fault of its own append and
// a bounded number of times for the faults of others; then it is Aborted.
//
// # Reads
//
// A turn that wrote nothing was computed from a state at some sequence S. With another instance about (placement is not
// a lock) S may be old. Its answer is right if the stream's head was S at one moment after the command had come in and
// before the answer leaves; the command then takes effect at that moment. Any of these shows such a moment:
//
//   - The entity's own append that ends at S was sent to the journal after the read came in, and was committed.
//   - An own append that was handled after the read was committed: it compared the head with S, and it was sent after
//     the read had come in.
//   - The session was opened from the journal at S after the read had come in, and nothing was written since.
//   - A question about the head, sent after the read came in, was answered with S and with the instance's epoch.
//
// A question that is answered with another head proves nothing while an own append is on its way, since that append may
// be what moved the head. Then the append's result decides: committed is the second case, anything else breaks the
// instance and the read is done again. Without an own append on its way the instance is stale.
//
// A keyed command that wrote nothing also asks whether its key is recorded, at any moment after it came in; a record
// wins over what the session said. It leaves no record itself. So a refusal that is repeated with the same key may be
// followed by success, and an attempt that is still under way on another host may succeed after a later one was refused.
//
// # Effects
//
// The effects of a turn, of a refusal too, are of two sorts. The asynchronous ones go into its append, so a turn that
// decided nothing else writes all the same: an append without events, but with a record by which it can be found again.
// It compares the head as every append does and leaves it where it is. The synchronous ones stay in the outcome, whose
// receiver carries them out, as it follows the forward. Every effect has an id that is made from the command id of the
// turn, and the forward of a keyed command has a key made in the same way: whoever repeats the command gets the same
// ones, so that nothing of it is done twice. The engine carries out neither effects nor forwards.
package engine
