package sdk

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// EffectOption changes one effect: Synchronous, After, At, Named and WithMetadata make them.
type EffectOption interface {
	// Effect is called by the packages of the kinds.
	Effect(*def.Effect) error
}

// ForwardOption changes one forward: WithMetadata makes one.
type ForwardOption interface {
	// Forward is called by the packages of the kinds.
	Forward(*def.Call) error
}

// Synchronous has the effect carried out before the caller gets its answer. It cannot be put off or taken back, and does
// not outlive a crash.
func Synchronous() EffectOption {
	return effectOption(func(e *def.Effect) error { e.Synchronous = true; return nil })
}

// After puts the effect off by a time that begins when the turn has been stored. It is counted in milliseconds, rounded
// up; zero and less means at once.
func After(delay time.Duration) EffectOption {
	return effectOption(func(e *def.Effect) error { e.Delay = max(delay, 0); return nil })
}

// At puts the effect off until a time, which counts in milliseconds, rounded up. A time in the past means at once.
func At(due time.Time) EffectOption {
	return effectOption(func(e *def.Effect) error {
		if due.UnixMilli() <= 0 {
			return fmt.Errorf("the time %v is not after 1970", due)
		}
		e.Due = due
		return nil
	})
}

// Named gives the effect a name among those of its entity that are still to be carried out. A later effect with the same
// name replaces it, and Cancel of the kind's package takes it back.
func Named(key string) EffectOption {
	return effectOption(func(e *def.Effect) error {
		if key == "" || !utf8.ValidString(key) {
			return errors.New("its name is empty or not valid UTF-8")
		}
		e.Key = key
		return nil
	})
}

// MetadataOption is for effects and for forwards.
type MetadataOption struct{ metadata Metadata }

// WithMetadata sends metadata along. Nothing of what came with the command in hand goes along by itself.
func WithMetadata(m Metadata) MetadataOption { return MetadataOption{m} }

// Effect makes it an EffectOption.
func (o MetadataOption) Effect(e *def.Effect) error { return o.Forward(&e.Call) }

// Forward makes it a ForwardOption.
func (o MetadataOption) Forward(c *def.Call) error {
	m := new(cloudstate.Metadata)
	for _, e := range o.metadata {
		entry := &cloudstate.MetadataEntry{Key: e.Key, Value: &cloudstate.MetadataEntry_StringValue{StringValue: e.Text}}
		if e.Bytes != nil {
			entry.Value = &cloudstate.MetadataEntry_BytesValue{BytesValue: e.Bytes}
		}
		if !utf8.ValidString(e.Key) || !utf8.ValidString(e.Text) {
			return fmt.Errorf("its metadata %q is not valid UTF-8; send it as Bytes", e.Key)
		}
		m.Entries = append(m.Entries, entry)
	}
	c.Metadata = m
	return nil
}

type effectOption func(*def.Effect) error

func (o effectOption) Effect(e *def.Effect) error { return o(e) }
