// Package tests holds no code. It says which layers of tests there are, from the cheapest to the dearest, and where
// a new test belongs: in the lowest layer that can fail for the reason it is written for.
//
//	beside the code   unit tests, properties, fuzz targets and suites (journaltest): no process but the test's own,
//	                  except a real PostgreSQL. Run with the race detector.
//	tests/arch        who may import whom, file sizes, what may be linked into a user's program
//	tests/e2e         real daprd, placement, component and handler processes, through Dapr's public APIs
//	tests/conformance Dapr's own suites for components, against the component's socket
//	tests/crash       the same processes under load while they are killed; the history is checked afterwards.
//	                  Prints its seed; SEEDS=n sets how many runs
//	tests/bench       throughput and latency against plain Dapr, as one table
//	tests/quickstart  the program behind make run and make demo; it fails when a reply is not as expected
//
// Some folders are modules of their own, so that what they need stays out of ours: tests/dapr pins daprd, placement and
// scheduler, tests/daprcli pins the dapr command; tests/harness builds them, starts them and ends them. tests/conformance
// needs the sidecar's own client of components. It also needs what we need: a new requirement in our go.mod asks for
// "go mod tidy" there, which the go command says.
//
// # What a test may rely on
//
// Environment variables say what is there; make test sets them.
//
//	CI=true             nothing is skipped: what is missing fails the test
//	TEST_DATABASE_URL   a PostgreSQL server to use instead of one started for the test
//	ENTITIES_DAPR_BIN   a folder with daprd, placement, scheduler and dapr, instead of installed or built ones
//	ENTITIES_CACHE      where built Dapr binaries are kept; defaults to dapr-entities in the user's cache folder
//	ENTITIES_KEEP       set to keep the folder of a harness.Cluster (logs, sockets, resources) after the test
//
// Processes listen on loopback, at ports that were free when they were asked for, and nothing outlives its test.
package tests
