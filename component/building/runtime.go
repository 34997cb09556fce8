package building

import (
	"context"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Runtime is what the building blocks stand on. Whoever starts it attaches it, as a rule within OnInit.
type Runtime struct {
	// Entities carries out the commands of the binding. It follows forwards.
	Entities actors.Handler
	// Journal holds the state keys and is what the binding reads. Nil while there is none: a pure client has none.
	Journal Journal
	// Catalog returns the services that are known now, or nil if there is no user function. It may be nil itself.
	Catalog func() Catalog
	// CommandID returns the id under which the journal keeps the record of a command with an idempotency key. Nil means
	// that they are the same.
	CommandID func(key string) string
}

// Journal is the part of journal.Journal that is needed here.
type Journal interface {
	journal.Appender
	journal.Reader
	List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error)
}

// Catalog knows the services of the user function. It does not change.
type Catalog interface {
	// Services returns their full names, sorted.
	Services() []string
	// Service finds one by its full name or by its actor type.
	Service(name string) (Service, bool)
	// JSON renders any payload for people, and for callers that want JSON.
	JSON(p actors.Payload) ([]byte, error)
}

// Service is one service of a Catalog.
type Service struct {
	// Name is the full name, Persistence the name of its streams in the journal.
	Name, Persistence string
	// Decode makes the payload of a command from a caller's bytes. An empty content type means JSON, and no bytes mean
	// an empty message. Its error has a code and names what is wrong: the command, with those that are known, or the
	// field.
	Decode func(command, id, contentType string, data []byte) (actors.Payload, error)
	// Encode renders a reply for a caller who sent contentType, and says what it has become.
	Encode func(command string, p actors.Payload, contentType string) (data []byte, gotContentType string, err error)
}

// StateService is the Service of the refs of state keys. No service can be called that, and no persistence id may be.
const StateService = "state/entities"

func (r *Runtime) catalog() Catalog {
	if r.Catalog == nil {
		return nil
	}
	return r.Catalog()
}

func (r *Runtime) commandID(key string) string {
	if r.CommandID == nil {
		return key
	}
	return r.CommandID(key)
}
