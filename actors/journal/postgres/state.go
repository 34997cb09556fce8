package postgres

import (
	"errors"
	"fmt"

	"github.com/lib/pq"

	"github.com/dapr-entities/entities/actors/journal"
)

// definite reports whether an error of an append says that it did certainly not happen: the server itself said so, on a
// connection that went on. All else leaves it in doubt, and what is not known to be definite is not.
func definite(err error) bool {
	if _, ok := errors.AsType[errUnsent](err); ok {
		return true
	}
	e, ok := errors.AsType[*pq.Error](err)
	if !ok || e.Severity != severityError || len(e.Code) != 5 {
		return false
	}
	switch {
	case e.Code.Class() == "08", // the connection
		e.Code == "40003", // statement completion unknown
		e.Code.Class() == "57" && e.Code != codeCanceled: // the server is shut down or crashed
		return false
	}
	return true
}

// refusal says of an error after which nothing was written whether it is about the server and not about the append.
func refusal(err error) error {
	switch state := sqlState(err); {
	case state == codeDiskFull:
		return fmt.Errorf("%w: %w", journal.ErrFull, err)
	case !someonesFault(state):
		return fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
	}
	return err
}

// severityError is the severity of an error after which the connection goes on.
const severityError = "ERROR"

// SQLSTATEs that are treated apart.
const (
	codeCanceled  = "57014" // statement_timeout too
	codeUnique    = "23505"
	codeDivision  = "22012"
	codeSerialize = "40001"
	codeDeadlock  = "40P01"
	codeDiskFull  = "53100"
	codeTooMany   = "53300"
	codeNoLock    = "55P03"
)

func sqlState(err error) string {
	if e, ok := errors.AsType[*pq.Error](err); ok {
		return string(e.Code)
	}
	return ""
}
