package engine

import (
	"fmt"

	"github.com/dapr-entities/entities/actors"
)

// follow puts the ids into w's outcome, which then holds the synchronous effects only, and returns those that its append
// keeps. The session's own slices stay as they are.
func (w *work) follow(stream actors.Ref, command string) (kept []actors.Effect) {
	o := &w.outcome
	if f := o.Forward; f != nil {
		named := *f
		named.Key = ""
		if w.command.Key != "" {
			named.Key = actors.EffectID(stream, command, 0)
		}
		o.Forward = &named
	}
	var now []actors.Effect
	for k, x := range o.Effects {
		x.ID = actors.EffectID(stream, command, k+1)
		if x.Synchronous {
			now = append(now, x)
		} else {
			kept = append(kept, x)
		}
	}
	o.Effects = now
	return kept
}

// measureEffects refuses effects that are too many or too large.
func (e *Engine) measureEffects(w *work, effects []actors.Effect) error {
	c := &w.command
	if n := len(effects); n > e.config.MaxEffects {
		return e.limited(c.Service, settingEffects, e.config.MaxEffects, fmt.Sprintf("%s to %s has %d effects", c.Method, c.Ref, n))
	}
	for k := range effects {
		x := &effects[k]
		if n, limit := len(x.Payload.Data), e.config.MaxMessage; n > limit {
			return e.limited(c.Service, settingMessage, limit, fmt.Sprintf("effect %d of %s to %s has %d bytes", k+1, c.Method, c.Ref, n))
		}
		if n, limit := metadataSize(x.Metadata), e.config.MaxMetadata; n > limit {
			return e.limited(c.Service, settingMetadata, limit, fmt.Sprintf("the metadata of effect %d of %s to %s has %d bytes", k+1, c.Method, c.Ref, n))
		}
		if x.Synchronous && (x.Key != "" || x.Cancel || x.Delayed()) {
			return senseless(c, fmt.Errorf("effect %d: it is synchronous, so it cannot be put off, replaced or taken back", k))
		}
	}
	return nil
}

// senseless is the error about effects that nobody could keep or carry out.
func senseless(c *actors.Command, cause error) error {
	return actors.Errorf(actors.Internal, "the user function answered %s to %s with effects that cannot be: %w; nothing came of it",
		c.Method, c.Ref, cause)
}

// effectsSize is about what effects take.
func effectsSize(effects []actors.Effect) int {
	n := 0
	for k := range effects {
		x := &effects[k]
		n += len(x.Service) + len(x.Ref.ID) + len(x.Method) + len(x.ID) + len(x.Key) + payloadSize(&x.Payload) + metadataSize(x.Metadata)
	}
	return n
}
