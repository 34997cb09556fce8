package def

import (
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Call is a command for somebody else, in encoded form: where a turn forwards to, or what an effect asks for.
type Call struct {
	Service, Method string
	// ID of the entity. Empty for an action.
	ID      string
	Payload *anypb.Any
	// Metadata may be nil.
	Metadata *cloudstate.Metadata
}

// Effect is a command to be carried out besides answering.
type Effect struct {
	Call
	// Synchronous says that it is carried out before the answer goes out. Nothing below is set then.
	Synchronous bool
	// Delay after the turn has been stored, or Due, put it off. At most one of them is set.
	Delay time.Duration
	Due   time.Time
	// Key names it among the effects of its entity that are still to be carried out.
	Key string
	// Cancel takes back the effect with that Key. Nothing else is set.
	Cancel bool
}

// Delayed reports whether it takes more than Cloudstate's protocol has to say what is wanted.
func (e *Effect) Delayed() bool { return e.Delay > 0 || !e.Due.IsZero() || e.Key != "" || e.Cancel }
