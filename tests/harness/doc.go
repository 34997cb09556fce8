// Package harness starts and ends the processes that end-to-end tests, crash tests, benchmarks and the quickstart are
// made of: Dapr's placement, scheduler and daprd, the entities component, and handler processes.
//
//	dapr.go      where daprd and its companions come from: given, installed, or built once into a cache
//	build.go     our own binaries, built once and shared by all test processes
//	process.go   one operating system process: start, ready, signal, kill, wait, start again
//	cluster.go   the owner of processes: folder, logs, closing in reverse order
//	placement.go, scheduler.go, daprd.go, component.go, handler.go   what each of them is started with
//	postgres.go, redis.go   servers that several hosts share; link.go is a way to one that can be cut
//	host.go      handler, component and daprd wired together, the unit that entities live on
//	client.go    Dapr's HTTP API, as much of it as tests use
//
// The package knows nothing of package testing, so that programs can use it too; Test takes the few methods it needs.
package harness
