package actorhost

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// How long a stream waits until its predecessor is off the sidecar's register, and how often it looks.
const (
	unregisterTimeout = 3 * time.Second
	unregisterPoll    = 10 * time.Millisecond
)

type (
	request  = runtime.SubscribeActorEventsResponseAlpha1 // from the sidecar
	response = runtime.SubscribeActorEventsRequestAlpha1  // to the sidecar
)

// session is one stream, from its opening to its end.
type session struct {
	host      *Stream
	types     []string
	callbacks *sync.WaitGroup
	inFlight  atomic.Int64
	stopping  atomic.Bool

	conn   *grpc.ClientConn
	dapr   runtime.DaprClient
	stream runtime.Dapr_SubscribeActorEventsAlpha1Client
	// ctx is that of the stream. Its cancellation ends the stream in daprd too.
	ctx     context.Context
	cancel  context.CancelCauseFunc
	watcher sync.WaitGroup
	answers queue
}

func newSession(s *Stream, types []string, callbacks *sync.WaitGroup) *session {
	return &session{
		host: s, types: types, callbacks: callbacks,
		// Every command in flight has one answer; the rest is for refusals and deactivations.
		answers: queue{limit: s.config.MaxInFlight + 16<<10, wake: make(chan struct{}, 1)},
	}
}

// open dials, registers the types and waits for daprd's word. daprd waits for its actor runtime before it answers.
func (n *session) open(ctx context.Context, unregistering bool) error {
	// The stream outlives ctx a little: on a stop the commands in flight are answered first.
	n.ctx, n.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	opening := context.AfterFunc(ctx, func() { n.cancel(errStopped) })
	defer opening()

	var err error
	if n.conn, err = n.host.config.Dial(); err != nil {
		return fmt.Errorf("dial the sidecar: %w", err)
	}
	n.dapr = runtime.NewDaprClient(n.conn)
	if err := n.awaitUnregistered(n.ctx, unregistering); err != nil {
		return n.cause(err)
	}
	// Never wait for a ready connection: an attempt that fails is repeated by Run, which says so in Ready. A message that
	// is too large for us would end the stream, so daprd's limit is the only one.
	n.stream, err = n.dapr.SubscribeActorEventsAlpha1(n.ctx, grpc.MaxCallRecvMsgSize(math.MaxInt32))
	if err != nil {
		return n.cause(err)
	}
	n.watcher.Go(n.watch)
	if err := n.stream.Send(n.registration(n.types)); err != nil {
		// The reason is what Recv returns.
		if _, recvErr := n.stream.Recv(); recvErr != nil {
			err = recvErr
		}
		return n.cause(err)
	}
	first, err := n.receive()
	if err != nil {
		return n.cause(err)
	}
	if first.GetInitialResponse() == nil {
		return fmt.Errorf("the sidecar's first message is %T instead of the initial response; is it daprd?",
			first.GetResponseType())
	}
	return n.cause(nil)
}

func (n *session) registration(types []string) *response {
	drain := true
	c := n.host.config
	return &response{RequestType: &runtime.SubscribeActorEventsRequestAlpha1_InitialRequest{
		InitialRequest: &runtime.SubscribeActorEventsRequestInitialAlpha1{
			Entities:                types,
			ActorIdleTimeout:        durationpb.New(c.IdleTimeout),
			DrainOngoingCallTimeout: durationpb.New(c.DrainTimeout),
			DrainRebalancedActors:   &drain,
		},
	}}
}

// awaitUnregistered waits until the stream before this one is off the sidecar's register. daprd takes a stream's types
// off when the stream has ended, by name: it would take off the types of this stream too, and never put them back.
func (n *session) awaitUnregistered(outer context.Context, unregistering bool) error {
	ctx, cancel := context.WithTimeout(outer, unregisterTimeout)
	defer cancel()
	for seen := false; ; seen = true {
		m, err := n.dapr.GetMetadata(ctx, &runtime.GetMetadataRequest{})
		switch code := status.Code(err); {
		case code == codes.OK:
		case code == codes.Unavailable || code == codes.Canceled || code == codes.DeadlineExceeded && !seen:
			return err
		case code != codes.DeadlineExceeded:
			// A configuration may forbid the metadata API. The stream will say what is wrong, if anything.
			return nil
		}
		actors := m.GetActorRuntime()
		registered := actors.GetRuntimeStatus() == runtime.ActorRuntime_RUNNING
		if registered && !unregistering {
			registered = slices.ContainsFunc(actors.GetActiveActors(), func(a *runtime.ActiveActorsCount) bool {
				return slices.Contains(n.types, a.GetType())
			})
		}
		if err == nil && !registered {
			return nil
		}
		select {
		case <-outer.Done():
			return outer.Err()
		case <-ctx.Done():
			n.host.log.Warn("another stream hosts these actor types at this sidecar, or has not been taken off its "+
				"register; Dapr supports one stream per sidecar", keyTypes, n.types)
			return nil
		case <-time.After(unregisterPoll):
		}
	}
}

// probe looks whether a stream that daprd has accepted can be of use.
func (n *session) probe() error {
	ctx, cancel := context.WithTimeout(n.ctx, unregisterTimeout)
	defer cancel()
	m, err := n.dapr.GetMetadata(ctx, &runtime.GetMetadataRequest{})
	if err == nil && m.GetActorRuntime().GetRuntimeStatus() == runtime.ActorRuntime_DISABLED {
		err := errors.New("the sidecar's actor runtime is disabled: give daprd a --placement-host-address")
		n.host.log.Warn("entities cannot be reached", keyError, err)
		return err
	}
	return nil
}

// watch cancels the stream when the connection leaves READY. The GOAWAY of a sidecar that shuts down or reloads does
// that, while the stream still looks healthy; until the stream is cancelled that sidecar hangs.
func (n *session) watch() {
	if n.conn.GetState() == connectivity.Ready && !n.conn.WaitForStateChange(n.ctx, connectivity.Ready) {
		return
	}
	n.cancel(errLeaving)
}

// serve reads until the stream ends and says why it did. When ctx ends it refuses new commands, waits a while for those
// in flight, and ends the stream.
func (n *session) serve(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(n.write)
	group.Go(func() { n.steer(ctx) })
	group.Go(func() { n.host.setReady(n.probe()) })
	err := n.read()
	n.cancel(err)
	group.Wait()
	return n.cause(err)
}

// read takes callbacks until the stream ends. It never blocks on anything else.
func (n *session) read() error {
	for {
		m, err := n.receive()
		if err != nil {
			return err
		}
		n.take(m)
	}
}

func (n *session) receive() (*request, error) {
	m, err := n.stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, errEnded
	}
	return m, err
}

// write sends answers, one at a time.
func (n *session) write() {
	for {
		a, ok := n.answers.next(n.ctx)
		if !ok {
			return
		}
		err := n.stream.Send(a.response)
		a.release()
		if err != nil {
			// io.EOF says that the stream has ended, and the reader gets the reason.
			if !errors.Is(err, io.EOF) {
				n.cancel(fmt.Errorf("send an answer: %w", err))
			}
			return
		}
	}
}

// steer ends the stream when the types change or the host is stopped.
func (n *session) steer(ctx context.Context) {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.host.updated:
			if !slices.Equal(n.types, n.host.config.actorTypes()) {
				n.cancel(errUpdated)
				return
			}
		case <-ctx.Done():
			n.stopping.Store(true)
			n.drain()
			n.cancel(errStopped)
			return
		}
	}
}

// drain waits until the commands in flight are answered, at most StopTimeout.
func (n *session) drain() {
	if n.host.config.StopTimeout < 0 {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, n.host.config.StopTimeout)
	defer cancel()
	for n.inFlight.Load() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Millisecond):
		}
	}
	// What Send has taken may not have left yet, and a cancelled stream drops it. Whatever the sidecar answers now, it
	// has read after that.
	if _, err := n.dapr.GetMetadata(ctx, &runtime.GetMetadataRequest{}); err != nil {
		n.host.log.Debug("wait for the last answers to leave", keyError, err)
	}
}

// send queues an answer. release is called when it has been sent, or never if the stream ends first.
func (n *session) send(r *response, release func()) {
	if !n.answers.add(answer{r, release}) {
		n.cancel(errStuck)
	}
}

// cause prefers our own reason for ending the stream to the error that it led to.
func (n *session) cause(err error) error {
	if own := context.Cause(n.ctx); own != nil {
		return own
	}
	return err
}

// release leaves a sidecar usable that hosts nothing any more. When a stream with types has ended, daprd blocks every
// actor call, those of other sidecars too, until something is registered: register nothing. Taking nothing off the
// register again has no effect.
func (n *session) release() error {
	if n.conn.GetState() != connectivity.Ready {
		return errLeaving
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(n.ctx), unregisterTimeout)
	defer cancel()
	if err := n.awaitUnregistered(ctx, true); err != nil {
		return err
	}
	stream, err := n.dapr.SubscribeActorEventsAlpha1(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(n.registration(nil)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	_, err = stream.Recv()
	return err
}

// close ends everything but the callbacks, whose context it cancels.
func (n *session) close() {
	n.cancel(errLeaving)
	n.watcher.Wait()
	if n.conn != nil {
		if err := n.conn.Close(); err != nil {
			n.host.log.Debug("close the connection of the actor stream", keyError, err)
		}
	}
}
