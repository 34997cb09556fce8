// Package eventing stands between events and commands: an event of an entity's journal or of a topic becomes a command to
// the method that consumes it, and a reply becomes an event of a topic.
//
//	journal ── feed ──► Log ──┐                              ┌──► Publisher ──► topic
//	                          ├──► dispatch ──► user function ┤
//	topic ── subscription ──► Topic ─┘                        └──► reply
//
// What an event carries are the attributes of CloudEvents, spelled as its HTTP binding does. Everything is delivered at
// least once; the command that delivers an event has the same idempotency key on every attempt.
package eventing
