// Package building serves Dapr's building blocks: it is the pluggable component that a sidecar finds on a unix socket.
//
//	state.entities     the host: its Init configures and starts the runtime. Also a transactional state store, each of
//	                   whose keys is a stream of the journal.
//	bindings.entities  an output binding: commands to entities, and readings of their journal.
//	pubsub.entities    topics: the events of services, and durable logs of other names.
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
// read: every event is a version, and what an answer is made of depends on the events up to it alone.
//
// # Replicated keys
//
// A key whose prefix the settings give a type is no stream: it is a replicated value, of which this node has a copy. What is
// set is an operation on it, in the JSON of crdtjson, and what is got is its value. Writes are joined, so there are no ETags;
// nor are there versions, expiry, or transactions, which is what the client is told.
//
// # Topics
//
// The topic X is the service X of the journal, by its name or its persistence id, and the streams of topic/X, to which what
// is published goes: a message is an event of the stream of its key (metadata partitionKey, or a CloudEvent's subject), or
// of one of some streams that take those without a key. The data is what was published; the type URL has the rest. So a
// subscription, to whatever, is a feed.Subscription, whose group is made of the consumer's id and the topic: messages of
// one stream come one after the other, and consumers with one id share.
//
// A CloudEvent is appended under its source and id, with a record: a repeat within a while does nothing. Nothing is ever
// changed in the journal by a delivery but the cursors and what is parked.
package building
