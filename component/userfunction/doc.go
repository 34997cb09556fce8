// Package userfunction speaks the inverted protocol with the user function: the process that holds the handlers.
//
// A Client asks it what it serves (discovery), goes on asking in case that changes, and opens a stream for every entity
// that the engine, or the host of replicated entities, brings to life, and a call for every command to an action:
//
//	engine ── Function.Open ──► init, state           one gRPC stream per live entity
//	       ── Session.Handle ─► command ─► reply      one command at a time
//	       ── Session.Close ──► half-close
//	replica ─ Function.Open ──► init, value           one gRPC stream per live entity
//	       ── Session.Command ► command ─► reply      many commands at once, messages after a reply
//	       ── Session.Update ─► delta                 what others changed
//	caller ── Client.Handle ──► command ─► response   one gRPC call per command
//	       ── Client.Stream ──► inputs  ─► responses  one at a time each way, as both sides make room
//
// Answers are reported, not carried out: what they ask for besides, effects and forwards, is addressed and checked here
// and handed on in the outcome. An entity whose answer names a target that there is not has its turn undone as a whole.
//
// The user function is the gRPC server, without TLS, next to us. It may come late, go away and return with another spec;
// none of that is an error here, it is a state that Ready tells. Its mistakes are reported to it, to our log, and to the
// caller of the command that they cost, in this order of detail.
//
// An open session of the engine owns no goroutine of this package and holds no buffer: what the user function says out of
// turn is found when the next command is given to it. One of a replicated entity owns a goroutine, which listens. A call
// that takes a stream owns one, which feeds it. Everything that runs is owned by Client.Run, which waits for it.
package userfunction
