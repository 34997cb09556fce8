package daprapi

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
)

// broker is a sidecar that hands out one message, and ends a subscription only when its subscriber has: that is what daprd
// does when it stops while a message is in hand.
type broker struct {
	runtime.UnimplementedDaprServer
	verdicts chan runtime.TopicEventResponse_TopicEventResponseStatus
	done     chan struct{} // closed when the subscription has ended
}

func (b *broker) SubscribeTopicEventsAlpha1(stream runtime.Dapr_SubscribeTopicEventsAlpha1Server) error {
	defer close(b.done)
	if _, err := stream.Recv(); err != nil {
		return err
	}
	for _, m := range []*runtime.SubscribeTopicEventsResponseAlpha1{
		{SubscribeTopicEventsResponseType: &runtime.SubscribeTopicEventsResponseAlpha1_InitialResponse{}},
		{SubscribeTopicEventsResponseType: &runtime.SubscribeTopicEventsResponseAlpha1_EventMessage{
			EventMessage: &runtime.TopicEventRequest{Id: "1", Topic: "news"},
		}},
	} {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the subscriber has ended it")
		}
		if err != nil {
			return err
		}
		b.verdicts <- r.GetEventProcessed().GetStatus().GetStatus()
	}
}

// Whoever stops, sidecar or subscriber: the message in hand is answered, and then the subscription ends.
func TestSubscriptionEnds(t *testing.T) {
	t.Parallel()
	const success, retry = runtime.TopicEventResponse_SUCCESS, runtime.TopicEventResponse_RETRY
	for name, c := range map[string]struct {
		sidecar bool // stops
		forever bool // does the message take
		want    runtime.TopicEventResponse_TopicEventResponseStatus
	}{
		"the sidecar stops":                             {true, false, success},
		"the sidecar stops and the message does not":    {true, true, retry},
		"the subscriber stops":                          {false, false, success},
		"the subscriber stops and the message does not": {false, true, retry},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &broker{verdicts: make(chan runtime.TopicEventResponse_TopicEventResponseStatus, 10), done: make(chan struct{})}
			client, server := serve(t, b, Config{})
			var group sync.WaitGroup
			defer group.Wait()
			defer server.Stop()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			begun, stopping := make(chan struct{}), make(chan struct{})
			group.Go(func() {
				err := client.Subscribe(ctx, "pubsub", "news", func(ctx context.Context, m Message) error {
					close(begun)
					<-stopping
					if c.forever {
						<-ctx.Done()
						return ctx.Err()
					}
					return nil
				}, func(error) {})
				if err != nil {
					t.Error(err)
				}
			})
			<-begun
			stopped := make(chan struct{})
			if c.sidecar {
				group.Go(func() {
					defer close(stopped)
					server.GracefulStop() // when all streams have ended
				})
			} else {
				cancel()
				close(stopped)
			}
			close(stopping)
			limit := time.After(30 * time.Second)
			select {
			case got := <-b.verdicts:
				if got != c.want {
					t.Errorf("the answer is %v, want %v", got, c.want)
				}
			case <-limit:
				t.Fatal("the message is not answered")
			}
			for _, end := range []<-chan struct{}{stopped, b.done} {
				select {
				case <-end:
				case <-limit:
					t.Fatal("the subscription does not end")
				}
			}
		})
	}
}
