package userfunction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

// feed gives the user function the inputs of a call, one at a time: the next is asked for when the one before has been
// written, which waits until there is room on the line.
type feed struct {
	*call
	stream grpc.ClientStream
	in     func() (actors.Input, error)
	// end ends the call.
	end  context.CancelCauseFunc
	done chan struct{}

	mu           sync.Mutex
	asking, over bool
}

func (f *feed) run() {
	defer close(f.done)
	for f.ask(true) {
		input, err := f.in()
		switch {
		case !f.ask(false):
			return
		case errors.Is(err, io.EOF):
			if err := f.stream.CloseSend(); err != nil {
				f.end(f.client.unsent(err, "the end of the inputs", f.method))
			}
			return
		case err != nil:
			f.end(f.gone(err))
			return
		}
		m := &protocol.ActionCommand{Payload: toAny(input.Payload), Metadata: present(input.Metadata)}
		if err := f.stream.SendMsg(m); errors.Is(err, io.EOF) {
			return // how the stream ended shows where it is read
		} else if err != nil {
			f.end(f.client.unsent(err, "an input of", f.method))
			return
		}
	}
}

// ask notes whether in is at work, and reports whether the call goes on.
func (f *feed) ask(asking bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asking = asking
	return !f.over
}

// stop ends the call. It waits for run, but for an input that is being waited for: there is none until the caller has
// been told of the end.
func (f *feed) stop() {
	f.mu.Lock()
	f.over = true
	asking := f.asking
	f.mu.Unlock()
	f.end(nil)
	if !asking {
		<-f.done
	}
}

// gone is for inputs that ended otherwise than by their end.
func (f *feed) gone(err error) error {
	if e, ok := errors.AsType[*actors.Error](err); ok {
		return e
	}
	code, text := actors.CodeOf(err), "the caller has gone"
	if s, ok := status.FromError(err); ok && s.Code() != codes.Canceled {
		code, text = actors.Code(s.Code()), s.Message() // such as that it is too large
	} else if code == actors.Internal { // nobody gave it a code
		code = actors.Canceled
	}
	return &actors.Error{Code: code, Message: fmt.Sprintf("take the next input of %s: %s", f.method, text), Cause: err}
}
