// Package building serves Dapr's building blocks: it is the pluggable component that a sidecar finds on a unix socket.
//
//	state.entities     the host: its Init configures and starts the runtime. Also a transactional state store, each of
//	                   whose keys is a stream of the journal.
//	bindings.entities  an output binding: commands to entities, and readings of their journal.
//
// # The socket
//
// A sidecar dials every socket in its folder when it starts, and waits for ever for one that does not answer. So the
// socket is bound in a folder of its own below that folder, is renamed up when it is being served, and is removed at the
// end if it is still ours. The folder below also holds a lock, which tells a live component from a dead one's remains,
// and the metadata of the last Init: a sidecar does not repeat Init when only the component restarts.
//
//	<socketFolder>/entities.sock         what the sidecar dials
//	<socketFolder>/.entities/            0700
//	                         lock        held while the component lives
//	                         init.json   0600, see Kept
//
// # State keys
//
// A key is the stream state/entities of the journal with the key as its id: a name that no service can have. Setting a
// key appends the event "set", deleting it the event "deleted", and the ETag is the sequence of the last event. Writes
// without a condition append wherever the stream is; those with an ETag or first-write expect the sequence that was
// read. When a value expires stands in the type URL of its event; nothing is written when it does. So a key's past can be
// read: every event is a version, and what an answer is made of depends on the events up to it alone. Retention, in the
// background, takes the oldest away, and all of a key that has been gone for long enough; sequences go on.
//
// # Replicated keys
//
// A key whose prefix the settings give a type is no stream: it is a replicated value, of which this node has a copy. What is
// set is an operation on it, in the JSON of crdtjson, and what is got is its value. Writes are joined, so there are no ETags;
// nor are there versions, expiry, or transactions, which is what the client is told.
package building
