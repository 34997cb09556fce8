package engine

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
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

// measureEffects refuses effects that are too many, too large or without sense.
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
		if wrong := senseless(x); wrong != "" {
			return actors.Errorf(actors.Internal, "the user function answered %s to %s with effect %d, which %s; nothing came of it",
				c.Method, c.Ref, k+1, wrong)
		}
	}
	return nil
}

// senseless says what is wrong with an effect that nobody could keep or carry out.
func senseless(x *actors.Effect) string {
	switch {
	case len(x.Key) > journal.MaxEffectIDBytes:
		return fmt.Sprintf("has a key of %d bytes; at most %d are allowed", len(x.Key), journal.MaxEffectIDBytes)
	case !utf8.ValidString(x.Key) || strings.IndexByte(x.Key, 0) >= 0:
		return "has a key that is not UTF-8 text without zero bytes"
	case x.Cancel && x.Key == "":
		return "takes back an effect without its key"
	case x.Synchronous && (x.Key != "" || x.Cancel || x.Delayed()):
		return "is synchronous, so it cannot be put off, replaced or taken back"
	case x.Delay < 0:
		return "has a negative delay"
	case x.Delay > 0 && !x.Due.IsZero():
		return "has both a delay and a time at which it is due"
	case !x.Cancel && x.Service == "":
		return "names no service"
	default:
		return ""
	}
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
