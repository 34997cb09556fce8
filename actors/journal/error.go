package journal

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
)

var (
	// ErrClosed is matched by the errors of a closed journal.
	ErrClosed = errors.New("journal is closed")
	// ErrCorrupt is matched by a *CorruptError.
	ErrCorrupt = errors.New("corrupt record")
	// ErrTransaction refuses the appends of a transaction in which another one failed.
	ErrTransaction = errors.New("another append of the transaction failed")
	// ErrUnavailable is matched by the cause of a refusal that is not the append's fault: the journal cannot be written
	// to now.
	ErrUnavailable = errors.New("the journal cannot be written to")
	// ErrFull is matched by the cause of a refusal because the journal has no room left.
	ErrFull = errors.New("the journal is full")
	// ErrConflict is matched by the error of a cell that is not, or no longer, what the caller believes.
	ErrConflict = errors.New("the cell has been changed meanwhile")
)

// CorruptError tells of a record whose checksum does not match or of an event that is missing in the middle.
type CorruptError struct {
	Ref      actors.Ref
	Sequence int64
	Reason   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("event %d of %s is damaged (%s); restore it from a backup, the entity cannot be loaded until then",
		e.Sequence, e.Ref, e.Reason)
}

// Is makes it match ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Validate checks what no back end could store. Back ends call it first and answer Refused with its error.
func (a *Append) Validate() error {
	if err := ValidateRef(a.Ref); err != nil {
		return fmt.Errorf("append: %w", err)
	}
	switch {
	case a.Command == "" || len(a.Command) > MaxCommandBytes:
		return fmt.Errorf("append to %s: the command id has %d bytes, 1 to %d are allowed", a.Ref, len(a.Command), MaxCommandBytes)
	case !text(a.Command):
		return fmt.Errorf("append to %s: the command id %q is not UTF-8 text without zero bytes", a.Ref, a.Command)
	case a.Epoch < 0:
		return fmt.Errorf("append to %s: the epoch is %d", a.Ref, a.Epoch)
	case a.Expected < AnySequence:
		return fmt.Errorf("append to %s: the expected sequence is %d", a.Ref, a.Expected)
	case len(a.Events) == 0 && a.Record == nil:
		return fmt.Errorf("append to %s: neither events nor a record", a.Ref)
	case len(a.Events) == 0 && a.Snapshot != nil:
		return fmt.Errorf("append to %s: a snapshot without events", a.Ref)
	case a.Snapshot != nil && !payloadText(a.Snapshot):
		return fmt.Errorf("append to %s: the snapshot's type is not UTF-8 text without zero bytes", a.Ref)
	}
	for i := range a.Events {
		e := &a.Events[i]
		if !text(e.Name) || !payloadText(&e.Payload) || !contextText(&e.Context) {
			return fmt.Errorf("append to %s: name, type or context of event %d is not UTF-8 text without zero bytes", a.Ref, i)
		}
	}
	if err := ValidateEffects(a.Effects); err != nil {
		return fmt.Errorf("append to %s: %w", a.Ref, err)
	}
	return nil
}

// text is what every database takes as text. Payloads may hold any bytes.
func text(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func payloadText(p *actors.Payload) bool { return text(p.TypeURL) && text(p.ContentType) }

func contextText(c *Context) bool {
	return text(c.Correlation) && text(c.Causation) && text(c.Traceparent) && text(c.Caller)
}

// ValidateRef checks what no stream can be named.
func ValidateRef(r actors.Ref) error {
	switch {
	case r.Service == "" || r.ID == "":
		return fmt.Errorf("the ref %q is not complete", r)
	case !text(r.Service) || !text(r.ID):
		return fmt.Errorf("the ref %q is not UTF-8 text without zero bytes", r)
	}
	return nil
}
