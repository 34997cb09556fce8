// Package actorhost hosts entities as Dapr actors: commands come in from the sidecar, answers go back.
//
// The stream host dials the sidecar and keeps one stream open, on a connection of its own (Dapr 1.18.2 and later):
//
//	        ── initial: actor types, timeouts ──►
//	        ◄── initial: registered ─────────────
//	reader  ◄── invoke(id, type, actor, method) ──   own the entity, then a goroutine each, at most MaxInFlight
//	writer  ── response(id) or failed(id) ──────►    one goroutine, fed by a queue
//	        ◄── deactivate(id) ──────────────────    answered before anything else, then disowned
//
// Rules of that stream, each of which Dapr 1.18 enforces by hanging or by losing entities:
//
//   - One stream per sidecar. Types are fixed for its life; other types mean another stream, opened when the old one
//     has been taken off the register.
//   - The stream is cancelled, never half-closed. When the connection leaves READY the sidecar is going away, and it
//     waits for the stream: cancel at once.
//   - When a stream with types has ended, daprd blocks every actor call until something is registered: come back fast,
//     and at the end register nothing.
//   - Deactivate is acknowledged at once: until then all calls of that actor type wait.
//   - An oversize or unencodable message ends the stream and with it the ownership of every entity: answers are checked
//     before they are sent.
//   - Nothing is left unanswered, and the reader never waits for anything but the stream.
//   - daprd tells nobody when a caller goes away. Answers that come too late are dropped by daprd, by id; answers to an
//     ended stream are dropped here, because the next stream counts its ids from 1 again.
//
// A failure goes out as a failed request whose text carries the code (actors.FailureText): Dapr has no other way to tell
// all callers that a command failed. Our own component marks its invocations and gets the encoded outcome instead, with
// what is still to follow from it; for all other callers that is done here (Config.Finish), inside the turn.
package actorhost
