package daprapi

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
)

// The metadata of an invocation that our hosts know. Hosts of others ignore it.
const (
	metadataContentType = "content-type"
	metadataKey         = "idempotency-key"
	metadataTimeout     = "entities-timeout"
	metadataOutcome     = "entities-outcome"
)

// Invoker carries out commands by Dapr's actor invocation, on whichever host has the entity. It is an actors.Handler:
// an error means that there is no outcome.
type Invoker struct {
	client    *Client
	actorType func(service string) string
}

// Invoker makes an invoker. ActorType names the actor type of a service; "" stands for a service without one.
func (c *Client) Invoker(actorType func(service string) string) *Invoker {
	return &Invoker{client: c, actorType: actorType}
}

var _ actors.Handler = (*Invoker)(nil)

// Handle invokes the entity's actor. It may be called from many goroutines at once.
func (i *Invoker) Handle(ctx context.Context, command actors.Command) (actors.Outcome, error) {
	if err := actors.ValidateID(command.ID); err != nil {
		return actors.Outcome{}, err
	}
	actorType := i.actorType(command.Service)
	if actorType == "" {
		return actors.Outcome{}, actors.Errorf(actors.Unimplemented, "invoke %s of %s: the service has no actor type",
			command.Method, command.Ref)
	}
	deadline := command.Deadline
	if deadline.IsZero() {
		deadline = time.Now().Add(i.client.config.Timeout)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	calls := i.client.calls.Load()
	defer context.AfterFunc(calls, func() { end(context.Cause(calls)) })()

	request := &runtime.InvokeActorRequest{
		ActorType: actorType,
		ActorId:   actors.EscapeID(command.ID),
		Method:    command.Method,
		Data:      command.Payload.Data,
		Metadata:  requestMetadata(ctx, command),
	}
	if size := proto.Size(request); size > i.client.config.MaxRequest {
		return actors.Outcome{}, actors.Errorf(actors.ResourceExhausted,
			"invoke %s of %s: the command has %d bytes with its metadata; at most %d can pass Dapr "+
				"(the largest request, and daprd's --max-body-size)",
			command.Method, command.Ref, size, i.client.config.MaxRequest)
	}
	response, err := i.client.dapr.InvokeActor(ctx, request)
	if err != nil {
		return actors.Outcome{}, invokeError(ctx, command, err)
	}
	outcome, err := actors.UnmarshalOutcome(response.GetData())
	if err != nil {
		return actors.Outcome{}, actors.Errorf(actors.Internal,
			"invoke %s of %s: the host of the actor type %s did not answer with an outcome; is another version of "+
				"this component, or another program, hosting that type?", command.Method, command.Ref, actorType)
	}
	return outcome, nil
}

// requestMetadata is the command's metadata as Dapr carries it: one text per key. Bytes travel in base64 under a key
// that ends in -bin, as in gRPC; entries with the same key are joined with commas, as in HTTP.
func requestMetadata(ctx context.Context, command actors.Command) map[string]string {
	m := make(map[string]string, len(command.Metadata)+4)
	for _, e := range command.Metadata {
		key := strings.ToValidUTF8(strings.ToLower(e.Key), "\uFFFD")
		value := strings.ToValidUTF8(e.Text, "\uFFFD")
		if len(e.Bytes) > 0 {
			if !strings.HasSuffix(key, "-bin") {
				key += "-bin"
			}
			value = base64.StdEncoding.EncodeToString(e.Bytes)
		}
		switch key {
		case "", metadataContentType, metadataKey, metadataTimeout, metadataOutcome:
			continue
		}
		if before, ok := m[key]; ok {
			value = before + "," + value
		}
		m[key] = value
	}
	m[metadataOutcome] = "1"
	if command.Payload.ContentType != "" {
		m[metadataContentType] = command.Payload.ContentType
	}
	if command.Key != "" {
		m[metadataKey] = command.Key
	}
	if deadline, ok := ctx.Deadline(); ok {
		m[metadataTimeout] = strconv.FormatInt(max(1, time.Until(deadline).Milliseconds()), 10)
	}
	return m
}
