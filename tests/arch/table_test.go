package arch_test

import (
	"slices"
	"strings"
	"testing"
)

// row says what the code of some packages, its tests left out, may import of this module.
type row struct {
	// folders lists packages. "x" is that package alone, "x/..." is it and all below that have no row of their own.
	folders []string
	// imports lists packages in the same manner. Packages of one row with "/..." may import each other besides.
	imports []string
	// why is what an offender is told.
	why string
}

// table is section 5 of the design. A package without a row is an error: whoever adds one says here what it may know.
var table = []row{
	{
		folders: []string{"crdt"}, why: "data types are pure: they know nothing else",
	},
	{
		folders: []string{"crdt/crdttest"}, imports: []string{"crdt"}, why: "the laws are about the data types alone",
	},
	{
		folders: []string{"sdk/protocol/..."}, why: "the wire contract is generated and imports nothing of ours",
	},
	{
		folders: []string{"actors"}, why: "the nouns are a leaf that everybody may import",
	},
	{
		folders: []string{"actors/journal"}, imports: []string{"actors"}, why: "the journal's contract knows the nouns alone",
	},
	{
		folders: []string{"actors/journal/internal/..."},
		imports: []string{"actors", "actors/journal"},
		why:     "what back ends share knows the contract alone",
	},
	{
		folders: []string{"actors/journal/memory/...", "actors/journal/sqlite/...", "actors/journal/postgres/...", "actors/journal/daprstate/..."},
		imports: []string{"actors", "actors/journal", "actors/journal/internal/..."},
		why:     "back ends know the contract, and neither each other nor the engine",
	},
	{
		folders: []string{"actors/journal/journaltest/..."},
		imports: []string{"actors", "actors/journal", "actors/journal/internal/..."},
		why:     "the suite is about the contract; back ends call it, not the other way round",
	},
	{
		folders: []string{"actors/engine/...", "actors/lease/..."},
		imports: []string{"actors", "actors/journal"},
		why:     "they work on any journal and call nobody above them",
	},
	{
		folders: []string{"actors/outbox/...", "actors/feed/..."},
		imports: []string{"actors", "actors/journal", "actors/lease"},
		why:     "they work under leases on any journal, and call nobody above them but by the handler they are given",
	},
	{
		folders: []string{"actors/replica/..."},
		imports: []string{"actors", "actors/journal", "crdt"},
		why:     "replicas work on any journal and call nobody above them",
	},
	{
		folders: []string{"actors/dispatch/..."},
		imports: []string{"actors"},
		why:     "dispatch knows handlers by the interface, not by who they are",
	},
	{
		folders: []string{"component/config/..."}, why: "settings are read by everybody and know nobody",
	},
	{
		folders: []string{"component/catalog/..."},
		imports: []string{"actors", "sdk/protocol/..."},
		why:     "the catalog is made of what discovery says",
	},
	{
		folders: []string{"component/actorhost/...", "component/gateway/..."},
		imports: []string{"actors", "component/catalog"},
		why:     "ways in look inward only",
	},
	{
		folders: []string{"component/building/..."},
		imports: []string{"actors", "actors/journal", "actors/feed", "actors/replica", "crdt", "component/catalog", "component/config"},
		why:     "ways in look inward only",
	},
	{
		folders: []string{"component/userfunction/..."},
		imports: []string{"actors", "actors/engine", "actors/replica", "crdt", "sdk/protocol/...", "component/catalog"},
		why:     "ways out look inward only",
	},
	{
		folders: []string{"component/daprapi/..."},
		imports: []string{"actors", "actors/feed", "actors/replica", "actors/journal/daprstate"},
		why:     "ways out look inward only",
	},
	{
		folders: []string{"component/peers/..."},
		imports: []string{"actors", "actors/journal", "actors/feed", "actors/replica/...", "actors/journal/daprstate", "crdt"},
		why:     "ways out look inward only",
	},
	{
		folders: []string{"component/eventing/..."},
		imports: []string{"actors", "actors/journal", "component/catalog"},
		why:     "events become commands, and replies events, whoever brings and takes them",
	},
	{
		folders: []string{"component/operations/..."},
		imports: []string{"actors", "actors/journal", "actors/feed", "actors/replica/slot", "component/catalog"},
		why:     "operations work on any journal, and are served and called by others",
	},
	{
		folders: []string{"component/kin/..."},
		imports: []string{"actors"},
		why:     "it meets other hosts through interfaces that others fill in",
	},
	{
		folders: []string{"component/admin/..."},
		imports: []string{"actors"},
		why:     "inspection sees the rest through interfaces that it declares",
	},
	{
		folders: []string{"component"},
		imports: []string{"component/...", "actors/...", "crdt/..."},
		why:     "the one place that wires everything; it stops at the generated protocol and the SDK",
	},
	{
		folders: []string{"component/cmd/..."},
		imports: []string{"component/..."},
		why:     "a command is flags, signals and exit codes around the component",
	},
	{
		folders: []string{"sdk/sdktest/..."},
		imports: []string{"sdk/...", "crdt"},
		why:     "the SDK is another process: it shares the wire contract with the component and nothing else",
	},
	{
		folders: []string{"sdk/..."},
		imports: []string{"sdk/..."},
		why:     "the SDK is another process: it shares the wire contract with the component and nothing else",
	},
	{
		folders: []string{"samples/..."},
		imports: []string{"sdk/..."},
		why:     "a sample shows what a user can write, who has the SDK alone",
	},
	{
		folders: []string{"tests/..."},
		imports: []string{"actors/...", "component/...", "crdt/...", "samples/...", "sdk/..."},
		why:     "",
	},
}

// inTests says what the tests of a top-level folder may import besides what its code may.
var inTests = map[string][]string{
	"actors":    {"actors/...", "crdt/..."},
	"component": {"component/...", "actors/...", "crdt/...", "sdk/..."},
	"crdt":      {"crdt/..."},
	"samples":   {"samples/...", "sdk/..."},
	"sdk":       {"sdk/...", "crdt/..."},
	"tests":     {"tests/..."},
}

func TestImports(t *testing.T) {
	t.Parallel()

	for _, p := range packages(t) {
		row, found := rowOf(p.folder())
		if !found {
			t.Errorf("%s has no row in the import table of tests/arch: add one that says what it may import", p.folder())
			continue
		}

		for _, imported := range ours(p.Imports) {
			if !row.allows(imported) {
				t.Errorf("%s imports %s, and may import %s: %s", p.folder(), imported, orNothing(row.imports), row.why)
			}
		}

		also := inTests[top(p.folder())]

		for _, imported := range ours(slices.Concat(p.TestImports, p.XTestImports)) {
			if imported != p.folder() && !row.allows(imported) && !matchesAny(also, imported) {
				t.Errorf("a test of %s imports %s; tests in %s may also import %s", p.folder(), imported, top(p.folder()), orNothing(also))
			}
		}
	}
}

// The table itself must not have slipped: these are the sentences it stands for.
func TestTableSaysWhatItShould(t *testing.T) {
	t.Parallel()

	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"actors/engine", "actors/journal", true},
		{"actors/engine", "actors/journal/memory", false},
		{"actors/engine", "actors/dispatch", false},
		{"actors/engine/internal/queue", "actors", true},
		{"actors/engine", "actors/engine/internal/queue", true},
		{"actors/journal", "actors/journal/memory", false},
		{"actors/journal/sqlite", "actors/journal/postgres", false},
		{"actors/journal/postgres", "actors/journal/internal/sql", true},
		{"component/actorhost", "component/daprapi", false},
		{"component/actorhost", "component/gateway", false},
		{"component/building", "component", false},
		{"component", "sdk/protocol/cloudstate", false},
		{"component", "component/admin", true},
		{"component/cmd/entities", "component", true},
		{"sdk/eventsourced", "sdk", true},
		{"sdk", "actors", false},
		{"sdk", "crdt", false},
		{"sdk/sdktest", "crdt", true},
		{"samples/cart/cmd/cart", "samples/cart", true},
		{"samples/cart", "component", false},
		{"tests/e2e", "tests/harness", true},
	} {
		row, found := rowOf(c.from)
		if !found {
			t.Errorf("%s has no row", c.from)
		} else if got := row.allows(c.to); got != c.allowed {
			t.Errorf("%s may import %s: got %t, want %t", c.from, c.to, got, c.allowed)
		}
	}

	for _, folder := range []string{"actors/new", "component/new", "crdt/new", "new"} {
		if _, found := rowOf(folder); found {
			t.Errorf("%s has a row, and should have to ask for one", folder)
		}
	}
}

// allows tells whether packages of the row may import the one in the folder.
func (r row) allows(folder string) bool {
	if matchesAny(r.imports, folder) {
		return true
	}

	// Packages below one "x/..." belong together; those of "x/..." and "y/..." in one row do not.
	other, found := rowOf(folder)

	return found && slices.Equal(other.folders, r.folders) && len(r.folders) == 1 && strings.HasSuffix(r.folders[0], "/...")
}

// rowOf returns the row whose pattern fits the folder most closely.
func rowOf(folder string) (best row, found bool) {
	longest := -1

	for _, r := range table {
		for _, pattern := range r.folders {
			if matches(pattern, folder) && len(pattern) > longest {
				best, found, longest = narrowed(r, pattern), true, len(pattern)
			}
		}
	}

	return best, found
}

// narrowed is the row with the one pattern that fitted.
func narrowed(r row, pattern string) row {
	r.folders = []string{pattern}
	return r
}

func matches(pattern, folder string) bool {
	parent, below := strings.CutSuffix(pattern, "/...")
	return folder == parent || below && strings.HasPrefix(folder, parent+"/")
}

func matchesAny(patterns []string, folder string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, folder) })
}

func top(folder string) string {
	name, _, _ := strings.Cut(folder, "/")
	return name
}

func orNothing(patterns []string) string {
	if len(patterns) == 0 {
		return "nothing of ours"
	}

	return strings.Join(patterns, ", ")
}
