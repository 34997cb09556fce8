package sqlite

// DSN is for tests that reach past the journal.
func DSN(path string) string { return dsn(path, "busy_timeout(10000)") }

// CheckVersion is for the test of what no driver has any more.
var CheckVersion = checkVersion
