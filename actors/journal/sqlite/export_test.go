package sqlite

// DSN is for tests that reach past the journal.
func DSN(path string) string { return dsn(path, "busy_timeout(10000)") }

// CheckVersion is for the test of what no driver has any more.
var CheckVersion = checkVersion

// Queries that must find what they look for by index, with its name.
var Queries = map[string]string{
	selectAtOnce: "effects_in_front",
	selectTimed:  "effects_in_front",
	selectFront:  "SEARCH e USING INTEGER PRIMARY KEY",
	selectBehind: "effects_in_order",
	selectParked: "effects_parked",
	selectEnds:   "SEARCH events",
	selectTail:   "SEARCH e USING INTEGER PRIMARY KEY",
	selectCell:   "SEARCH cells",
	selectCells:  "SEARCH cells",

	selectPlace + " WHERE service = ? AND source = ? AND key = ?": "effects_by_key",
	nextInOrder: "effects_in_order",
}
