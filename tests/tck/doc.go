// Package tck holds the conformance cases of the Cloudstate protocol, by their ids, in two halves that run each alone.
//
//	service half   this package plays the proxy and talks to a user function, written with any SDK: cases …-M…
//	proxy half     this package plays the user function and its callers, and looks at what the component says: cases …-P…
//
// Both run with the model services of our SDK and with those of Cloudstate's own Go library. The service half runs also
// against whatever listens at $TCK_SERVICE; only there, a case whose services are not announced is skipped. Messages are
// compared exactly.
//
// Cases X-P… are ours, for what the original left out: a user function that the test plays line by line breaks the
// protocol, drops its streams, sends snapshots and metadata, restarts, has many callers, and has a twin on another node.
package tck
