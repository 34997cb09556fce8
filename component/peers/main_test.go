package peers

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The PostgreSQL that tests share ends with the process.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest.(*Server).Restart.func1"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).writerDescriptor.func1"))
}
