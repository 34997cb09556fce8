// Package conformance runs the conformance suites of Dapr's components-contrib against the built component: through its
// unix socket, with the very client by which a sidecar speaks to pluggable components. It is a module of its own because
// that client and the suites bring much that the component does not need.
//
// What the suites ask for and a pluggable component cannot do is told where it is left out, and nothing else is.
package conformance
