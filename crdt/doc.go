// Package crdt has replicated data types: values whose copies on many nodes take writes at the same time and come to the
// same value, whatever order their deltas arrive in, and how often. It is pure: no I/O, no clock, no goroutine, nothing but
// the standard library.
package crdt
