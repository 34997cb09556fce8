// Package actors holds the nouns that everything else speaks of: a Command goes to an entity (a Ref), a Handler answers
// it with an Outcome or an Error.
//
// The packages below it are the inside of the component: they know what entities are and what happens to a command,
// and know neither gRPC nor Dapr nor HTTP.
//
//	journal   the append-only log of entities, and its back ends
//	engine    placed entities in memory: activate, replay, turn, append, snapshot, passivate
//	dispatch  sends a command to the handler of its service's kind
package actors
