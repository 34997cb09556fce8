package operations

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// What Handler and Client say to each other: a POST of a request to the path of a method, answered by a response. It is
// between two programs of one release, or of neighbouring ones, and not for others.

type request struct {
	Service  string        `json:"service,omitempty"`
	ID       string        `json:"id,omitempty"`
	Services []string      `json:"services,omitempty"`
	Prefix   string        `json:"prefix,omitempty"`
	After    string        `json:"after,omitempty"`
	Sequence int64         `json:"sequence,omitempty"`
	Position positionForm  `json:"position,omitzero"`
	Limit    int           `json:"limit,omitempty"`
	Payloads []payloadForm `json:"payloads,omitempty"`
	Stream   *streamForm   `json:"stream,omitempty"`
	Events   []eventForm   `json:"events,omitempty"`
	Records  []recordForm  `json:"records,omitempty"`
	Snapshot *snapshotForm `json:"snapshot,omitempty"`
	Effects  []effectForm  `json:"effects,omitempty"`
	Cell     *cellForm     `json:"cell,omitempty"`
}

func (r *request) ref() actors.Ref { return actors.Ref{Service: r.Service, ID: r.ID} }

type response struct {
	About    *About            `json:"about,omitempty"`
	Services []string          `json:"services,omitempty"`
	Entities []Entity          `json:"entities,omitempty"`
	Stream   *streamForm       `json:"stream,omitempty"`
	Events   []placedEvent     `json:"events,omitempty"`
	Position positionForm      `json:"position,omitzero"`
	Rendered []json.RawMessage `json:"rendered,omitempty"`
	Records  []recordForm      `json:"records,omitempty"`
	Snapshot *snapshotForm     `json:"snapshot,omitempty"`
	Effects  []effectForm      `json:"effects,omitempty"`
	Next     string            `json:"next,omitempty"`
	Cells    []placedCell      `json:"cells,omitempty"`
	Version  int64             `json:"version,omitempty"`
	Blocked  string            `json:"blocked,omitempty"`
	// Error may come with events before it.
	Error *errorForm `json:"error,omitempty"`
}

type positionForm struct {
	Transaction uint64 `json:"transaction,omitempty"`
	Ordinal     int64  `json:"ordinal,omitempty"`
}

// placedEvent is an event with what only its own journal has.
type placedEvent struct {
	eventForm
	Position positionForm `json:"position"`
}

func placed(events []journal.Event) []placedEvent {
	list := make([]placedEvent, len(events))
	for i := range events {
		list[i] = placedEvent{eventOf(&events[i]), positionForm(events[i].Position)}
	}
	return list
}

type placedCell struct {
	cellForm
	Version int64 `json:"version"`
}

// errorForm is an error that the other side is to see as what it was.
type errorForm struct {
	Text     string      `json:"text"`
	Code     actors.Code `json:"code,omitempty"`
	Sort     string      `json:"sort,omitempty"`
	Service  string      `json:"service,omitempty"`
	ID       string      `json:"id,omitempty"`
	Sequence int64       `json:"sequence,omitempty"`
	Reason   string      `json:"reason,omitempty"`
}

// The sorts of errorForm.
const (
	sortCorrupt   = "corrupt"
	sortForgotten = "forgotten"
)

// sentinels by their sorts.
var sentinels = map[string]error{
	"conflict": journal.ErrConflict, "full": journal.ErrFull, "unavailable": journal.ErrUnavailable, "closed": journal.ErrClosed,
	"invalid": errInvalid,
}

// errInvalid is matched by errors about what no journal takes.
var errInvalid = errors.New("what is to be written is not valid")

// errorOf makes a form of an error that may be told, and reports whether it may: others may hold what is not for everybody.
func errorOf(err error) (*errorForm, bool) {
	f := &errorForm{Text: err.Error()}
	if corrupt, ok := errors.AsType[*journal.CorruptError](err); ok {
		f.Sort, f.Service, f.ID, f.Sequence, f.Reason = sortCorrupt, corrupt.Ref.Service, corrupt.Ref.ID, corrupt.Sequence, corrupt.Reason
		return f, true
	}
	if forgotten, ok := errors.AsType[*journal.ForgottenError](err); ok {
		f.Sort, f.Service, f.ID, f.Sequence = sortForgotten, forgotten.Ref.Service, forgotten.Ref.ID, forgotten.Floor
		return f, true
	}
	for sort, sentinel := range sentinels {
		if errors.Is(err, sentinel) {
			f.Sort = sort
			return f, true
		}
	}
	if coded, ok := errors.AsType[*actors.Error](err); ok {
		f.Code = coded.Code
		return f, true
	}
	return f, false
}

func (f *errorForm) error() error {
	ref := actors.Ref{Service: f.Service, ID: f.ID}
	switch {
	case f.Sort == sortCorrupt:
		return &journal.CorruptError{Ref: ref, Sequence: f.Sequence, Reason: f.Reason}
	case f.Sort == sortForgotten:
		return &journal.ForgottenError{Ref: ref, Floor: f.Sequence}
	case sentinels[f.Sort] != nil:
		return &told{f.Text, sentinels[f.Sort]}
	case f.Code != 0:
		return actors.Errorf(f.Code, "%s", f.Text)
	}
	return errors.New(f.Text)
}

// told is an error that somebody else had.
type told struct {
	text string
	is   error
}

func (e *told) Error() string { return e.text }
func (e *told) Unwrap() error { return e.is }

// streamForm is a journal.Span and whose it is.
type streamForm struct {
	Service  string    `json:"service"`
	ID       string    `json:"id"`
	Sequence int64     `json:"sequence"`
	Epoch    int64     `json:"epoch"`
	Origin   int64     `json:"origin,omitempty"`
	Floor    int64     `json:"floor,omitempty"`
	Updated  time.Time `json:"updated,omitzero"`
}

func streamOf(ref actors.Ref, s journal.Span) streamForm {
	f := streamForm{Service: ref.Service, ID: ref.ID, Sequence: s.Sequence, Epoch: s.Epoch, Origin: s.Origin, Floor: s.Floor}
	if !s.Updated.IsZero() {
		f.Updated = s.Updated.UTC()
	}
	return f
}

func (f *streamForm) ref() actors.Ref { return actors.Ref{Service: f.Service, ID: f.ID} }

func (f *streamForm) span() journal.Span {
	return journal.Span{Head: journal.Head{Sequence: f.Sequence, Epoch: f.Epoch}, Origin: f.Origin, Floor: f.Floor, Updated: f.Updated}
}

// snapshotForm is a journal.Snapshot.
type snapshotForm struct {
	Sequence int64 `json:"sequence"`
	payloadForm
}

// recordForm is a journal.CommandRecord.
type recordForm struct {
	Command  string `json:"command"`
	Sequence int64  `json:"sequence"`
	Hash     []byte `json:"hash"`
	Outcome  blob   `json:"outcome"`
}

func recordOf(r *journal.CommandRecord) recordForm {
	return recordForm{r.Command, r.Sequence, r.Hash[:], r.Outcome}
}

func (f *recordForm) record() (journal.CommandRecord, error) {
	r := journal.CommandRecord{Command: f.Command, Record: journal.Record{Outcome: f.Outcome, Sequence: f.Sequence}}
	if len(f.Hash) != len(r.Hash) {
		return r, fmt.Errorf("the hash of the record %q has %d bytes, not %d", f.Command, len(f.Hash), len(r.Hash))
	}
	copy(r.Hash[:], f.Hash)
	return r, nil
}

// effectForm is a journal.Kept.
type effectForm struct {
	Source   sourceForm  `json:"source"`
	EffectID string      `json:"effect"`
	Key      string      `json:"key,omitempty"`
	Service  string      `json:"service"`
	ID       string      `json:"id"`
	Method   string      `json:"method"`
	Payload  payloadForm `json:"payload"`
	Metadata []entryForm `json:"metadata,omitempty"`
	Due      time.Time   `json:"due,omitzero"`
	Since    time.Time   `json:"since"`
	Tries    int         `json:"tries,omitempty"`
	Problem  string      `json:"problem,omitempty"`
	Parked   bool        `json:"parked,omitempty"`
}

type sourceForm struct {
	Service string `json:"service"`
	ID      string `json:"id"`
}

// entryForm is an actors.Entry. The text of one with bytes is empty.
type entryForm struct {
	Key   string `json:"key"`
	Text  string `json:"text,omitempty"`
	Bytes []byte `json:"bytes,omitempty"`
}

func effectOf(k *journal.Kept) effectForm {
	f := effectForm{
		Source: sourceForm{k.Source.Service, k.Source.ID}, EffectID: k.Effect.ID, Key: k.Key, Service: k.Ref.Service, ID: k.Ref.ID,
		Method: k.Method, Payload: payloadOf(k.Payload), Since: k.Since.UTC(), Tries: k.Tries, Problem: k.Problem, Parked: k.Parked,
	}
	if !k.Due.IsZero() {
		f.Due = k.Due.UTC()
	}
	for _, m := range k.Metadata {
		f.Metadata = append(f.Metadata, entryForm(m))
	}
	return f
}

func (f *effectForm) kept() journal.Kept {
	k := journal.Kept{Parked: f.Parked, Pending: journal.Pending{
		Source: actors.Ref{Service: f.Source.Service, ID: f.Source.ID}, Tries: f.Tries, Problem: f.Problem, Since: f.Since,
		Effect: actors.Effect{
			Ref: actors.Ref{Service: f.Service, ID: f.ID}, Method: f.Method, Payload: f.Payload.payload(), ID: f.EffectID, Key: f.Key, Due: f.Due,
		},
	}}
	for _, m := range f.Metadata {
		k.Metadata = append(k.Metadata, actors.Entry(m))
	}
	return k
}

// cellForm is a journal.Cell.
type cellForm struct {
	Key   string `json:"key"`
	Value blob   `json:"value"`
}
