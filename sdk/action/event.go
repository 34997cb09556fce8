package action

import (
	"cmp"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// Event is what a CloudEvent says about itself, apart from its data.
type Event struct {
	// ID tells the event from others of the same Source.
	ID string
	// Source is the persistence id of the entity that emitted it, or what the publisher of a topic says.
	Source string
	// Type of the data: the type URL of a payload from a journal, or what the publisher of a topic says.
	Type string
	// Subject is the id of the entity that emitted it. From a topic, what the publisher says; may be empty.
	Subject string
	// ContentType and Schema of the data; may be empty.
	ContentType string
	Schema      string
	// Time is when it happened; zero if nobody says.
	Time time.Time
}

// The names under which the attributes come as metadata.
const (
	attributeID      = "ce-id"
	attributeSource  = "ce-source"
	attributeVersion = "ce-specversion"
	attributeType    = "ce-type"
	attributeSubject = "ce-subject"
	attributeSchema  = "ce-dataschema"
	attributeTime    = "ce-time"
	attributeContent = "Content-Type"
)

// Event returns the attributes of the event that the turn handles. ok is false if it handles none, but an ordinary call.
// If inputs are streamed, it is the event that the handler has received last.
func (t *Turn) Event() (e Event, ok bool) {
	m := t.besides()
	e = Event{
		ID:          m.Get(attributeID),
		Source:      m.Get(attributeSource),
		Type:        m.Get(attributeType),
		Subject:     m.Get(attributeSubject),
		ContentType: cmp.Or(m.Get("ce-datacontenttype"), m.Get(attributeContent)),
		Schema:      m.Get(attributeSchema),
	}
	if m.Get(attributeVersion) == "" || e.ID == "" {
		return Event{}, false
	}
	if at, err := time.Parse(time.RFC3339Nano, m.Get(attributeTime)); err == nil {
		e.Time = at
	}
	return e, true
}

// besides is the metadata with that of the last input first.
func (t *Turn) besides() sdk.Metadata {
	defer t.live().Unlock()
	return append(turn.Metadata(t.message), turn.Metadata(t.call.Metadata)...)
}
