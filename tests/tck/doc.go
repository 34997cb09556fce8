// Package tck holds the conformance cases of the Cloudstate protocol, by their ids, in two halves that run each alone.
//
//	service half   this package plays the proxy and talks to a user function, written with any SDK: cases …-M…
//	proxy half     this package plays the user function and its callers, and looks at what the component says: cases …-P…
//
// The service half runs against the model services of our SDK, or against whatever listens at $TCK_SERVICE. A case whose
// services the user function does not announce is skipped. Messages are compared exactly.
package tck
