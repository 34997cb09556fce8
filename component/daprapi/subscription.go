package daprapi

import (
	"context"
	"sync"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// endTimeout is how long the sidecar may take to end a subscription that its subscriber has ended.
const endTimeout = time.Second

// subscription is one stream of messages. It has a connection of its own, which tells that the sidecar stops: one that has
// a message in hand then would keep the stream open for ever, even when the message is answered, and not exit before its
// subscriber has ended it.
type subscription struct {
	conn   *grpc.ClientConn
	stream runtime.Dapr_SubscribeTopicEventsAlpha1Client
	handle func(context.Context, Message) error

	mu    sync.Mutex // held while a message is in hand
	ended bool       // nothing can be sent any more
}

// take handles a message and answers it.
func (s *subscription) take(ctx context.Context, event *runtime.TopicEventRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended { // it goes back when the stream ends
		return nil
	}
	verdict := runtime.TopicEventResponse_SUCCESS
	if err := s.handle(ctx, message(event)); err != nil {
		verdict = runtime.TopicEventResponse_RETRY
	}
	return s.stream.Send(&runtime.SubscribeTopicEventsRequestAlpha1{
		SubscribeTopicEventsRequestType: &runtime.SubscribeTopicEventsRequestAlpha1_EventProcessed{
			EventProcessed: &runtime.SubscribeTopicEventsRequestProcessedAlpha1{
				Id: event.GetId(), Status: &runtime.TopicEventResponse{Status: verdict},
			},
		},
	})
}

// end waits until ctx ends, which the handling of messages has too, or the sidecar stops, and then ends the stream. The
// message in hand is answered first, and the answer gets there, which a cancelled stream would not see to: some brokers
// take the end of the stream for an answer, and would lose the message.
func (s *subscription) end(ctx context.Context, interrupt func()) {
	if s.conn.GetState() == connectivity.Ready {
		s.conn.WaitForStateChange(ctx, connectivity.Ready)
	}
	late := time.AfterFunc(finishTimeout, interrupt)
	defer late.Stop()
	s.mu.Lock()
	s.ended = true
	_ = s.stream.CloseSend() // its only error is that the stream has ended
	s.mu.Unlock()
	select {
	case <-s.stream.Context().Done():
	case <-time.After(endTimeout):
	}
}

// cause prefers our own reason for ending the stream to the sidecar's word for that.
func (s *subscription) cause(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended && status.Code(err) == codes.Unknown {
		return errLeaving
	}
	return err
}
