// Package daprstate is a journal in any Dapr state store that compares ETags, reached through a Store: what the sidecar
// offers of it. Hosts that share the store share the journal.
//
// # Why one save is enough
//
// What the sidecar gives for writing is less than it looks like. A transaction of state.redis is a MULTI without roll-back:
// an ETag that does not match fails its own operation, and the others are done all the same; a key that must not be there
// yet is overwritten, for transactions do not carry "first write" there. Other stores compare no ETags in transactions. The
// error of a transaction is text, and means little: daprd, a resiliency policy or the store's driver may have done it once
// and tried again. So nothing here depends on transactions, on their errors, or on two keys being written together:
//
//   - All there is to decide over a stream is in one record, its head: sequence, epoch, the newest events, the newest
//     command records, effects, and where the snapshot is. An append is one save of the head with the ETag under which it
//     was read, first write wins. That is compared in all four stores that are tested, and tried when the journal is
//     opened: a store in which the second of two writers is heard is refused.
//
//   - What has no room in the head goes to keys that no reader looks at before the head says so. A big payload or snapshot
//     is put under a random name first. Full segments of events, and old command records, are put under names that follow
//     from what they are, and only once the events are committed: whoever puts the same key later, however late, puts the
//     same bytes. So it does no harm if a transaction is done in part, twice, or an hour later.
//
//   - Heads are never removed, so no ETag comes again (Redis counts from 1 when a key is made anew).
//
// # What became of a save
//
// Errors of a save are not interpreted. The record is read back: each holds a version and the random tokens of its last
// changes, 32 of them. If the version that ours would have made has our token, it was done, by whoever carried it out. If
// it has another one, or if that is how it turns out after the save was sent again with the same ETag, it was not done and
// never will be: the ETag is gone. Otherwise it may still be done (Unknown), and Fence ends that: it saves the head, so a
// save that is on its way fails whenever it arrives, and so does a writer who was asleep. Epochs are in the head, and are
// compared by whoever saves it.
//
// # Several streams at once
//
// Transact leaves an intent in each head, in the order of the keys, and then makes one record that must not be there yet:
// that save decides. Who finds an intent asks for that record, and if there is none for a second, makes one that says
// aborted. Both cannot be made. A transaction of one stream costs the same.
//
// # Feeds
//
// A store without an order over its keys has no order over streams. It is made afterwards: the feed is a record with the
// end of a list of runs of events. One record for the whole journal is saved once for all appends that ended meanwhile, and
// nobody who appends waits for it; see feed for why nothing is left out when a process dies in between. So Tail gives every
// event once, those of a stream in order, and all readers the same order. What is weaker than in a database:
//
//   - Streams come in the order in which appends were told to the feed, a moment after they are durable. Two streams that
//     are written to one after the other by two processes may come the other way round.
//
//   - What a process that died did not tell the feed comes when somebody has followed the feed for Config.Quiet after that.
//
//   - Events that Read, Load and Last return have no Position.
//
// # Effects and cells
//
// Effects are in the head of their source; an index has the sources. Settle is all or nothing for each source, not over
// several. IDs of effects are compared within a source. A source can hold about 3 MB of effects that are not carried out;
// an append that adds to them is refused with ErrFull then.
//
// Cells are entries of a sorted index in pages, and so are the names of streams: an index page is saved like a head. Cells
// with neighbouring keys share a page, so they are saved one after the other.
//
// # Cost
//
// An append is a read and a save, of all streams of a batch side by side; one more read if it has a command record and its
// stream had more than 32 of them. The first append to a stream since it was quiet is one save more, which streams share. Loading
// is one read if the events since the snapshot are fewer than 32 and the snapshot is small. Heads are read with strong
// consistency where the store has it. Durability is the store's: a Redis that syncs once a second may lose a second.
package daprstate
