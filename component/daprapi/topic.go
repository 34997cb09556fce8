package daprapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
)

// contentCloudEvent is what makes daprd take an event as it is, id and all, instead of putting another around it.
const contentCloudEvent = "application/cloudevents+json"

// Publish gives a CloudEvent in its JSON form to a topic. Errors are *actors.Error; after one it may have been published
// all the same.
func (c *Client) Publish(ctx context.Context, pubsub, topic string, event []byte) error {
	return c.publish(ctx, pubsub, topic, event, contentCloudEvent)
}

// contentBytes is the one type whose bytes daprd hands over as they were given.
const contentBytes = "application/octet-stream"

// Send gives bytes to a topic, which Receive gets as they are. Errors are *actors.Error; after one they may have been
// published all the same.
func (c *Client) Send(ctx context.Context, pubsub, topic string, data []byte) error {
	return c.publish(ctx, pubsub, topic, data, contentBytes)
}

func (c *Client) publish(ctx context.Context, pubsub, topic string, data []byte, contentType string) error {
	_, err := c.dapr.PublishEvent(ctx, &runtime.PublishEventRequest{
		PubsubName: pubsub, Topic: topic, Data: data, DataContentType: contentType,
	})
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	code, hint := actors.Unavailable, ""
	switch s.Code() {
	case codes.NotFound, codes.FailedPrecondition, codes.InvalidArgument:
		hint = "; is there a pub/sub component of that name in the sidecar (setting pubsub)?"
	case codes.PermissionDenied:
		hint = "; the scopes of the pub/sub component forbid it"
	case codes.ResourceExhausted:
		code = actors.ResourceExhausted
	case codes.DeadlineExceeded:
		code = actors.DeadlineExceeded
	case codes.Canceled:
		code = actors.Canceled
	}
	return &actors.Error{Code: code, Cause: err,
		Message: fmt.Sprintf("publish to the topic %s of %s: %s%s", topic, pubsub, s.Message(), hint)}
}

// Message is an event of a topic.
type Message struct {
	ID, Source, Type, SpecVersion string
	ContentType                   string
	Data                          []byte
	// Attributes are the others that the event has as text: subject, time, dataschema, and extensions.
	Attributes map[string]string
}

// How long to wait before a subscription is tried again.
const (
	resubscribeMin = 100 * time.Millisecond
	resubscribeMax = 5 * time.Second
)

// Subscribe hands the messages of a topic to handle, one at a time and in the order in which they come, until ctx ends;
// then it returns nil. A message whose handling fails is given back to the sidecar, which delivers it again. It subscribes
// again whenever the sidecar ends the subscription. state is told how it stands: nil while it is subscribed.
func (c *Client) Subscribe(
	ctx context.Context, pubsub, topic string, handle func(context.Context, Message) error, state func(error),
) error {
	for wait := resubscribeMin; ; {
		subscribed, err := c.receive(ctx, pubsub, topic, handle, state)
		if ctx.Err() != nil {
			return nil
		}
		state(fmt.Errorf("subscribe to the topic %s of %s: %w", topic, pubsub, err))
		if subscribed {
			wait = resubscribeMin
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, resubscribeMax)
	}
}

// Receive hands over what Send gives to a topic, as Subscribe does. Every message counts as handled.
func (c *Client) Receive(ctx context.Context, pubsub, topic string, handle func(data []byte), state func(error)) error {
	return c.Subscribe(ctx, pubsub, topic, func(_ context.Context, m Message) error {
		handle(m.Data)
		return nil
	}, state)
}

// receive is one subscription, from its beginning to its end.
func (c *Client) receive(
	ctx context.Context, pubsub, topic string, handle func(context.Context, Message) error, state func(error),
) (subscribed bool, err error) {
	conn, err := c.Connect()
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }() // its only error is that it is closed
	var ending sync.WaitGroup
	defer ending.Wait()
	// The stream outlives ctx a little: see end.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	opening := context.AfterFunc(ctx, cancel)
	defer opening()
	stream, err := runtime.NewDaprClient(conn).SubscribeTopicEventsAlpha1(life)
	if err != nil {
		return false, err
	}
	initial := &runtime.SubscribeTopicEventsRequestInitialAlpha1{PubsubName: pubsub, Topic: topic}
	err = stream.Send(&runtime.SubscribeTopicEventsRequestAlpha1{
		SubscribeTopicEventsRequestType: &runtime.SubscribeTopicEventsRequestAlpha1_InitialRequest{InitialRequest: initial},
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	working, interrupt := context.WithCancel(ctx)
	defer interrupt()
	s := &subscription{conn: conn, stream: stream, handle: handle}
	for {
		in, err := stream.Recv()
		if err != nil {
			return subscribed, s.cause(err)
		}
		if !subscribed {
			subscribed = true
			opening()
			ending.Go(func() {
				defer cancel()
				s.end(working, interrupt)
			})
			state(nil)
		}
		if event := in.GetEventMessage(); event != nil {
			if err := s.take(working, event); err != nil && !errors.Is(err, io.EOF) {
				return true, err
			}
		}
	}
}

func message(e *runtime.TopicEventRequest) Message {
	m := Message{
		ID: e.GetId(), Source: e.GetSource(), Type: e.GetType(), SpecVersion: e.GetSpecVersion(),
		ContentType: e.GetDataContentType(), Data: e.GetData(), Attributes: make(map[string]string),
	}
	for name, v := range e.GetExtensions().GetFields() {
		if text, ok := v.AsInterface().(string); ok && text != "" {
			m.Attributes[name] = text
		}
	}
	return m
}
