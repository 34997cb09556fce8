package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Stored is an event as a back end keeps it.
type Stored struct {
	journal.Event
	Sum uint32
}

// The bounds of a page that a back end holds in memory.
const (
	PageEvents = 1024
	PageBytes  = 4 << 20
)

// Looks is how many events Tail looks at before it returns, whosever they are.
const Looks = 4096

// Pages reads a stream page by page, so that a slow reader holds neither a connection nor a transaction, and checks
// every event. Fetch returns up to limit events after a sequence; it may return fewer, but none only at the end. Where the
// next one is not there, floor says up to which sequence events are no longer kept by now.
func Pages(
	ref actors.Ref, after int64, limit int, fetch func(after int64, limit int) ([]Stored, error), floor func() (int64, error),
) iter.Seq2[journal.Event, error] {
	return func(yield func(journal.Event, error) bool) {
		at := max(after, 0)
		left := limit
		for {
			n := PageEvents
			if limit > 0 {
				n = min(n, left)
			}
			page, err := fetch(at, n)
			if err == nil && (len(page) == 0 || page[0].Sequence > at+1) {
				err = forgotten(ref, at, floor)
			}
			if _, ok := errors.AsType[*journal.ForgottenError](err); ok {
				yield(journal.Event{}, err)
				return
			}
			if err != nil {
				yield(journal.Event{}, fmt.Errorf("read %s after %d: %w", ref, at, err))
				return
			}
			for i := range page {
				e := &page[i]
				if err := Intact(&e.Event, ref, at+1, e.Sum); err != nil {
					yield(journal.Event{}, err)
					return
				}
				if !yield(e.Event, nil) {
					return
				}
				at++
			}
			left -= len(page)
			if len(page) == 0 || limit > 0 && left <= 0 {
				return
			}
		}
	}
}

func forgotten(ref actors.Ref, at int64, floor func() (int64, error)) error {
	f, err := floor()
	if err == nil && f > at {
		err = &journal.ForgottenError{Ref: ref, Floor: f}
	}
	return err
}

// origin is the stored form of journal.Context.
type origin struct {
	Correlation string `json:"correlation,omitempty"`
	Causation   string `json:"causation,omitempty"`
	Traceparent string `json:"traceparent,omitempty"`
	Caller      string `json:"caller,omitempty"`
}

// EncodeContext returns JSON, or nil for the zero Context, which most events have.
func EncodeContext(c journal.Context) []byte {
	if c == (journal.Context{}) {
		return nil
	}
	data, err := json.Marshal(origin(c))
	if err != nil {
		panic(err) // strings only
	}
	return data
}

// DecodeContext is the inverse of EncodeContext.
func DecodeContext(data []byte) (journal.Context, error) {
	if len(data) == 0 {
		return journal.Context{}, nil
	}
	var c origin
	if err := json.Unmarshal(data, &c); err != nil {
		return journal.Context{}, fmt.Errorf("decode the context: %w", err)
	}
	return journal.Context(c), nil
}
