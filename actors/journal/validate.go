package journal

import (
	"fmt"

	"github.com/dapr-entities/entities/actors"
)

// ValidateEffects checks the effects of an append or an Enqueue. Each has an ID of 1 to MaxEffectIDBytes bytes, which no
// other of them has; none is synchronous; one with Cancel has a Key besides, and nothing else. Targets have a service, but
// need no id: actions have none. Back ends call it before they keep anything.
func ValidateEffects(effects []actors.Effect) error {
	var ids map[string]bool
	if len(effects) > 1 {
		ids = make(map[string]bool, len(effects))
	}
	for i := range effects {
		e := &effects[i]
		if err := validateEffect(e); err != nil {
			return fmt.Errorf("effect %d: %w", i, err)
		}
		if ids[e.ID] {
			return fmt.Errorf("effect %d: another one has the id %q, too", i, e.ID)
		}
		if ids != nil {
			ids[e.ID] = true
		}
	}
	return nil
}

func validateEffect(e *actors.Effect) error {
	switch {
	case e.ID == "" || len(e.ID) > MaxEffectIDBytes:
		return fmt.Errorf("the id has %d bytes, 1 to %d are allowed", len(e.ID), MaxEffectIDBytes)
	case len(e.Key) > MaxEffectIDBytes:
		return fmt.Errorf("the key has %d bytes, at most %d are allowed", len(e.Key), MaxEffectIDBytes)
	case !text(e.ID) || !text(e.Key):
		return fmt.Errorf("the id %q or the key %q is not UTF-8 text without zero bytes", e.ID, e.Key)
	case e.Synchronous:
		return fmt.Errorf("it is synchronous, which a journal does not keep")
	case e.Cancel:
		return validateCancel(e)
	case e.Service == "":
		return fmt.Errorf("it has no target")
	case !text(e.Service) || !text(e.Ref.ID) || !text(e.Method) || !payloadText(&e.Payload):
		return fmt.Errorf("its target, method or type is not UTF-8 text without zero bytes")
	case e.Delay < 0:
		return fmt.Errorf("the delay is %v", e.Delay)
	case e.Delay > 0 && !e.Due.IsZero():
		return fmt.Errorf("it has both a delay and a time when it is due")
	case !e.Due.IsZero() && (e.Due.Year() < 1 || e.Due.Year() > 9999):
		return fmt.Errorf("it is due in the year %d", e.Due.Year())
	}
	for _, m := range e.Metadata {
		if !text(m.Key) || !text(m.Text) {
			return fmt.Errorf("its metadata is not UTF-8 text without zero bytes")
		}
	}
	return nil
}

func validateCancel(e *actors.Effect) error {
	switch {
	case e.Key == "":
		return fmt.Errorf("it takes back an effect without saying which: it has no key")
	case e.Ref != (actors.Ref{}) || e.Method != "" || !e.Payload.IsZero() || e.Payload.ContentType != "" ||
		len(e.Metadata) > 0 || e.Delay != 0 || !e.Due.IsZero():
		return fmt.Errorf("it takes back the effect %q and has more than that key", e.Key)
	}
	return nil
}

// ValidateSettlements checks what Settle is told.
func ValidateSettlements(settlements []Settlement) error {
	for i, s := range settlements {
		switch {
		case s.Verdict < Done || s.Verdict > Parked:
			return fmt.Errorf("settlement %d: there is no verdict %d", i, s.Verdict)
		case s.Again < 0:
			return fmt.Errorf("settlement %d: the next try is after %v", i, s.Again)
		}
	}
	return nil
}

// Validate checks what no back end keeps. Put calls it first.
func (c *Cell) Validate() error {
	switch {
	case c.Key == "" || len(c.Key) > MaxCellKeyBytes:
		return fmt.Errorf("the key of a cell has %d bytes, 1 to %d are allowed", len(c.Key), MaxCellKeyBytes)
	case !text(c.Key):
		return fmt.Errorf("the key %q of a cell is not UTF-8 text without zero bytes", c.Key)
	case len(c.Value) > MaxCellBytes:
		return fmt.Errorf("the cell %s has %d bytes, at most %d are allowed", c.Key, len(c.Value), MaxCellBytes)
	case c.Version < 0:
		return fmt.Errorf("the cell %s has version %d", c.Key, c.Version)
	}
	return nil
}
