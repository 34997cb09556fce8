// Package crdt is where replicated data types will live: types whose copies on many nodes take writes at the same time and
// come to the same value, with exact causal contexts, deltas and one canonical encoding. It holds nothing yet, and will
// import nothing of this project.
package crdt
