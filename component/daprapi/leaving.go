package daprapi

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/connectivity"
)

// finishTimeout is how long calls and messages in hand may go on when the sidecar stops.
const finishTimeout = 500 * time.Millisecond

var errLeaving = errors.New("the sidecar stops or reloads")

// calls are those in progress on one connection to the sidecar. Their context ends when that is about to.
type calls struct {
	context.Context
	end context.CancelCauseFunc
}

func newCalls() *calls {
	c := &calls{}
	c.Context, c.end = context.WithCancelCause(context.Background())
	return c
}

// watch ends calls that are still in progress a while after the sidecar has said that it stops. daprd waits for them, and
// one for an actor comes to no end: after the actor stream has ended it waits for the next one, which never comes.
func (c *Client) watch(ctx context.Context) {
	for {
		state := c.conn.GetState()
		if !c.conn.WaitForStateChange(ctx, state) {
			return
		}
		if state == connectivity.Ready {
			ending := c.calls.Swap(newCalls())
			time.AfterFunc(finishTimeout, func() { ending.end(errLeaving) })
		}
	}
}
