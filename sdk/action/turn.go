package action

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Turn is one call being handled. It ends with its handler: to use it later panics. It may be used from the goroutines
// that a handler starts and waits for.
type Turn struct {
	call    def.Invocation
	replies reflect.Type // the type of the replies; nil for a handler that replies once

	sending sync.Mutex // held while a response goes out

	mu      sync.Mutex
	over    bool
	message *cloudstate.Metadata // of the input that came last
	sent    turn.Sent            // since the last response; the metadata since the last reply
	refused error                // the first effect, forward or metadata that could not be recorded
}

// Metadata of the call, followed by that of the input that the handler has received last if inputs are streamed.
func (t *Turn) Metadata() sdk.Metadata {
	defer t.live().Unlock()
	return append(turn.Metadata(t.call.Metadata), turn.Metadata(t.message)...)
}

// IdempotencyKey is the same on every attempt to carry out the same call, such as an effect or the delivery of an event.
// It is empty if there is only one attempt, or the proxy does not say.
func (t *Turn) IdempotencyKey() string {
	defer t.live().Unlock()
	return t.call.Key
}

// Stopping is closed when the server begins to stop. It then waits for sdk.Config.DrainTimeout before it ends ctx.
func (t *Turn) Stopping() <-chan struct{} {
	defer t.live().Unlock()
	return t.call.Stopping
}

// SetMetadata sends a text along with the next reply, in place of an earlier one with the same key. Callers get it as a
// header. Where the method's replies are published (sdk.ToTopic), the keys ce-id, ce-type, ce-source, ce-subject, ce-time
// and ce-dataschema make the event's attributes. Failures and forwards take no metadata.
func (t *Turn) SetMetadata(key, text string) {
	defer t.live().Unlock()
	t.refuse(turn.SetMetadata(&t.sent, key, text))
}

// SendFailure sends a failure as one of several responses, with the effects since the response before it, and the stream
// goes on. Most handlers return an error instead.
func (t *Turn) SendFailure(err error) error {
	if err == nil {
		return errors.New("send a failure: the error is nil")
	}
	return t.send(func(r *def.Response) { r.Failure = turn.Refused(err) })
}

// Flush sends the effects since the last response without a reply. Without it they wait for the next response, or the
// handler's end.
func (t *Turn) Flush() error { return t.send(func(*def.Response) {}) }

// send sends a response of several.
func (t *Turn) send(fill func(*def.Response)) error {
	if t.replies == nil {
		return sdk.Errorf(sdk.CodeInternal, "%s replies once: its handler returns what it has to say", t.call.Name)
	}
	t.sending.Lock()
	defer t.sending.Unlock()
	r, err := t.response(fill)
	if err != nil {
		return err
	}
	if err := t.call.Send(r); err != nil {
		return sdk.Errorf(codeOf(err), "send a reply of %s: %w", t.call.Name, err)
	}
	return nil
}

// response takes what has come together since the last one.
func (t *Turn) response(fill func(*def.Response)) (*def.Response, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return nil, sdk.Errorf(sdk.CodeInternal, "send a reply of %s: its handler has returned", t.call.Name)
	}
	r := &def.Response{Effects: t.sent.Effects}
	t.sent.Effects = nil
	if fill(r); r.Reply != nil {
		r.Metadata, t.sent.Metadata = t.sent.Metadata, nil
	}
	return r, nil
}

func (t *Turn) receive() (*anypb.Any, error) {
	in, err := t.call.Receive()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.message = in.Metadata
	return in.Payload, nil
}

// end makes the turn unusable and returns what is left of it.
func (t *Turn) end() (turn.Sent, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	return t.sent, t.refused
}

// live locks the turn, or panics if its time is over.
func (t *Turn) live() *sync.Mutex {
	t.mu.Lock()
	if t.over {
		t.mu.Unlock()
		panic("action: the Turn was used after its handler had returned")
	}
	return &t.mu
}

// refuse ends the turn by a panic if there is an error, and keeps the reason in case that the handler recovers from it.
func (t *Turn) refuse(err error) {
	if err == nil {
		return
	}
	err = fmt.Errorf("%s: %w", t.call.Name, err)
	if t.refused == nil {
		t.refused = err
	}
	panic(err)
}

// codeOf an error of the stream.
func codeOf(err error) sdk.Code {
	if s, ok := status.FromError(err); ok {
		return sdk.Code(s.Code())
	}
	return sdk.CodeOf(err)
}
