package building

import (
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

const (
	// valueType is the type URL of a state value, whose type nobody knows.
	valueType = "state.entities/value"
	// expiring is what the type URL of a value that expires begins with; the time follows. So it is under the event's
	// checksum, and costs the values that do not expire nothing.
	expiring = valueType + "?expires="
)

// typeOf returns the type URL of a value that expires then, or never if that is zero.
func typeOf(expires time.Time) string {
	if expires.IsZero() {
		return valueType
	}
	return expiring + expires.UTC().Format(time.RFC3339Nano)
}

// expiryOf returns when the value that an event set expires, zero if it does not.
func expiryOf(e journal.Event) time.Time {
	text, found := strings.CutPrefix(e.Payload.TypeURL, expiring)
	if !found {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil { // nothing writes that; a value too many is better than one too few
		return time.Time{}
	}
	return t
}

// exists reports whether a key has a value at a time, given its newest event by then. An expired value is as good as
// deleted, without an event that says so; and one that is no longer kept was either.
func exists(e journal.Event, at time.Time) bool {
	if e.Name != eventSet {
		return false
	}
	t := expiryOf(e)
	return t.IsZero() || at.Before(t)
}
