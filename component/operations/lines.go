package operations

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// The lines of an export, in the order in which they come. docs/export-format.md documents them.

// journalLine is the first one.
type journalLine struct {
	line
	Version int `json:"version"`
	// Export names this export, whatever it is interrupted.
	Export string `json:"export"`
	// Journal and Scheme are those of the journal that is exported.
	Journal string    `json:"journal"`
	Scheme  string    `json:"scheme"`
	Created time.Time `json:"created"`
}

// cursorLine says that a consumer is through with the events before it.
type cursorLine struct {
	line
	Key string `json:"key"`
	// Path are the fields that lead to the position in the value; none if it is the value itself that has it.
	Path []string `json:"path"`
	// Value of the cell, with all positions 0.
	Value json.RawMessage `json:"value"`
}

// name of the position.
func (l *cursorLine) name() string { return strings.Join(append([]string{l.Key}, l.Path...), "\x00") }

type eventLine struct {
	line
	eventForm
	// At is the position in the journal that is exported, if that could not say it later.
	At *positionForm `json:"at,omitempty"`
}

// cutLine follows the last event. The position is that of the journal that is exported.
type cutLine struct {
	line
	Transaction uint64 `json:"transaction"`
	Ordinal     int64  `json:"ordinal"`
}

// streamLine is followed by the stream's snapshot and records.
type streamLine struct {
	line
	streamForm
}

type snapshotLine struct {
	line
	snapshotForm
}

type recordLine struct {
	line
	recordForm
}

type effectLine struct {
	line
	effectForm
}

// groupLine names a group of nodes that have replicated entities.
type groupLine struct {
	line
	Name string `json:"name"`
}

type cellLine struct {
	line
	cellForm
}

// endLine is the last one. All of it is about the lines before it.
type endLine struct {
	line
	Lines  int64            `json:"lines"`
	Counts map[string]int64 `json:"counts"`
	// LeftOut counts the cells that are of no use elsewhere, by the first words of their keys.
	LeftOut map[string]int64 `json:"leftOut,omitempty"`
	SHA256  string           `json:"sha256"`
}

func eventLineOf(e *journal.Event) eventLine {
	return eventLine{line: line{kindEvent}, eventForm: eventOf(e)}
}
