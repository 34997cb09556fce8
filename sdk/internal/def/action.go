package def

import (
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Action is the entity type of stateless services, as discovery names it.
const Action = "cloudstate.action.ActionProtocol"

// Invocation is one call of an action's method, of any shape.
//
// Act returns the response that is still to be sent: never nil if the method replies once, nil if a method that replies
// any number of times has nothing to add. It does not panic.
type Invocation struct {
	Name     string
	Metadata *cloudstate.Metadata
	Key      string
	// Receive returns the next input, and io.EOF after the last. Of a method that takes one input it is called once.
	Receive func() (Input, error)
	// Send sends one response of several. It blocks until the other side takes more. One goroutine calls it at a time.
	Send func(*Response) error
	// Stopping is closed when the server begins to stop. May be nil.
	Stopping <-chan struct{}
}

// Input of an action, with what came beside it.
type Input struct {
	Payload  *anypb.Any
	Metadata *cloudstate.Metadata
}

// Response of an action: at most one of Reply, Forward and Failure.
type Response struct {
	Reply *anypb.Any
	// Metadata of the reply; may be nil.
	Metadata *cloudstate.Metadata
	Forward  *Call
	Failure  *Failure
	Effects  []Effect
}

// Shape says in words whether inputs and replies are streamed.
func Shape(in, out bool) string {
	switch {
	case in && out:
		return "streamed in and out"
	case in:
		return "streamed in"
	case out:
		return "streamed out"
	default:
		return "unary"
	}
}
