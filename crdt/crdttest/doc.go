// Package crdttest holds the replicated data types of package crdt to what they are specified to be. Its Oracle is that
// specification: a value is a function of the operations that are visible, and nothing else. Its Plain is a user
// function's side of a stream: a plain Go value, which is told of changes and must be able to make them. Its suite runs
// replicas on which rapid draws updates and deliveries, so that all states it looks at can be reached, and a failure
// shrinks to a few steps.
package crdttest
