package arch_test

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// A user's program carries no database driver and no Dapr: the SDK brings the standard library, grpc and protobuf, and
// what those bring.
func TestSDKReachesLittle(t *testing.T) {
	t.Parallel()

	allowed := []string{"google.golang.org/grpc/...", "google.golang.org/protobuf/..."}

	for _, p := range packages(t) {
		if top(p.folder()) != "sdk" {
			continue
		}

		allowed := allowed
		if strings.HasPrefix(p.folder(), "sdk/internal/tckmodel") { // which is a program for tests, out of reach for users
			allowed = append(slices.Clip(allowed), "google.golang.org/genproto/googleapis/api/annotations")
		}

		for _, imported := range p.Imports {
			if !standard(imported) && !matches(module+"/...", imported) && !matchesAny(allowed, imported) {
				t.Errorf("%s imports %s; the SDK may import the standard library, grpc and protobuf", p.folder(), imported)
			}
		}
	}
}

// The inside knows no transport. The data types know not even the system.
func TestInsideKnowsNoOutside(t *testing.T) {
	t.Parallel()

	forbidden := map[string][]string{
		"actors": {"net/http/...", "google.golang.org/grpc/...", "github.com/dapr/..."},
		"crdt":   {"net/...", "os/...", "database/sql/...", "google.golang.org/...", "github.com/..."},
	}

	for _, p := range packages(t) {
		if suite(p.ImportPath) {
			continue
		}

		for _, imported := range p.Imports {
			if !matches(module+"/...", imported) && matchesAny(forbidden[top(p.folder())], imported) {
				t.Errorf("%s imports %s; %s knows no outside", p.folder(), imported, top(p.folder()))
			}
		}
	}
}

// What only tests need must not end up in somebody's program: not through our own suites, either.
func TestNoTestCodeInPrograms(t *testing.T) {
	t.Parallel()

	libraries := []string{
		"testing/...", "pgregory.net/rapid/...", "go.uber.org/goleak/...", "github.com/google/go-cmp/...",
		"github.com/anishathalye/porcupine/...", "github.com/stretchr/testify/...", module + "/tests/...",
	}

	for _, p := range packages(t) {
		if suite(p.ImportPath) || top(p.folder()) == "tests" {
			continue
		}

		for _, imported := range p.Imports {
			if matchesAny(libraries, imported) || matches(module+"/...", imported) && suite(imported) {
				t.Errorf("%s imports %s, which is for tests, in code that is not a test", p.folder(), imported)
			}
		}
	}
}

// suite tells whether the package, or one that it is in, is there for tests: journaltest, sdktest, crdttest.
func suite(importPath string) bool {
	for p := importPath; p != module && p != "." && p != "/"; p = path.Dir(p) {
		if strings.HasSuffix(path.Base(p), "test") {
			return true
		}
	}

	return false
}

// standard tells packages of the standard library by the dot that they lack.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}
