package building

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/component/config"
)

// input serves bindings.entities as an input binding: it tells an app of the events of services.
type input struct {
	components.UnimplementedInputBindingServer
	server *Server
}

// Init takes the settings. A sidecar initialises a binding without a direction in both; without services it is no input
// binding, which does not matter until somebody reads.
func (b *input) Init(ctx context.Context, r *components.InputBindingInitRequest) (*components.InputBindingInitResponse, error) {
	key, properties := instanceKey{bindingType, nameOf(ctx)}, r.GetMetadata().GetProperties()
	if lookup(properties, "direction") != "" && lookup(properties, "services") == "" {
		return nil, stateStatus(errNoServices(key.name))
	}
	if err := b.server.instances.init(ctx, key, properties, true); err != nil {
		return nil, stateStatus(err)
	}
	return &components.InputBindingInitResponse{}, nil
}

func errNoServices(name string) error {
	return actors.Errorf(actors.InvalidArgument,
		`%s %q is to be an input binding and does not say of what: add the metadata services, as in "shop.v1.Cart,billing.*"`, bindingType, name)
}

// Ping answers always: it asks for the process.
func (b *input) Ping(context.Context, *components.PingRequest) (*components.PingResponse, error) {
	return &components.PingResponse{}, nil
}

// Read tells of events until the stream or this component ends. Each is acknowledged by the message that answers it, and
// told again if that brings an error.
func (b *input) Read(stream components.InputBinding_ReadServer) error {
	name := nameOf(stream.Context())
	i, err := b.server.instances.get(stream.Context(), bindingType)
	if err == nil && len(i.config.Services) == 0 {
		err = errNoServices(name)
	}
	if err != nil {
		return stateStatus(err)
	}
	consumer := i.reader(name)
	services := strings.Join(i.config.Services, ",")
	group := groupIn("binding", consumer, name)
	s := &pull{
		server: b.server, instance: i, name: name, topic: services, stream: reading{stream},
		log:     b.server.logger.With("component", name, "services", services, "consumer", consumer),
		gate:    func() (bool, <-chan struct{}) { return false, nil },
		waiting: map[string]chan error{},
	}
	s.subscription = func(r *Runtime) Subscription {
		return Subscription{Group: group, Sources: i.config.Services, Resolve: r.eventsOf, FromNow: i.config.From == config.FromNow}
	}
	s.message = func(r *Runtime, e journal.Event) (*components.PullMessagesResponse, error) {
		return told(r, e, i.room())
	}
	if r, _ := b.server.attached(); r == nil || r.Journal == nil {
		s.log.Warn("there is no journal to read events from; the binding waits for a state.entities component, which names one")
	}
	return s.serve(stream.Context())
}

// reader is who reads, with its other replicas.
func (i *instance) reader(name string) string {
	if i.config.ConsumerID == "" && i.config.AppID != "" {
		return i.config.AppID
	}
	return i.consumer(name)
}

// eventsOf is servicesOf without the topics to which messages are published: those are no events of services.
func (r *Runtime) eventsOf(ctx context.Context, source string) ([]string, error) {
	list, err := r.servicesOf(ctx, source)
	return slices.DeleteFunc(list, func(service string) bool { return strings.HasPrefix(service, catalog.TopicPersistence) }), err
}

// told is the message that tells an app of an event: the event's own data, and the rest as metadata, which reaches it as
// HTTP headers or as the metadata of a gRPC call.
func told(r *Runtime, e journal.Event, limit int64) (*components.PullMessagesResponse, error) {
	shown, err := r.Present(e)
	if err != nil {
		return nil, actors.Errorf(actors.FailedPrecondition, "show the event: %w", err)
	}
	m := &components.PullMessagesResponse{Id: messageID(e), Data: shown.Data, ContentType: shown.ContentType, Metadata: map[string]string{
		"service": topicOf(r.catalog(), e.Ref.Service), "id": e.Ref.ID, "sequence": strconv.FormatInt(e.Sequence, 10),
		"name": shown.Name, "time": e.Time.UTC().Format(time.RFC3339Nano), "contentType": shown.ContentType, "typeUrl": e.Payload.TypeURL,
		"command": e.Command, "eventId": messageID(e), "traceparent": e.Context.Traceparent,
	}}
	for key, value := range m.Metadata {
		if value == "" {
			delete(m.Metadata, key)
		}
	}
	if err := fits(m, limit, "the event", "it stays in the journal, where the operation history has it"); err != nil {
		return nil, actors.Errorf(actors.FailedPrecondition, "%s", err)
	}
	return m, nil
}

// Shown is an event as an app sees it.
type Shown struct {
	// Name of the event; that of its type if it has none.
	Name string
	// ContentType of Data, which is JSON if it was, or if the catalog describes its message; else as it was stored.
	ContentType string
	Data        []byte
}

// reading makes a stream of a Read one of messages.
type reading struct {
	components.InputBinding_ReadServer
}

// Send implements acknowledged.
func (r reading) Send(m *components.PullMessagesResponse) error {
	return r.InputBinding_ReadServer.Send(&components.ReadResponse{
		Data: m.GetData(), Metadata: m.GetMetadata(), ContentType: m.GetContentType(), MessageId: m.GetId(),
	})
}

// Recv implements acknowledged. What an app answers besides is the sidecar's business.
func (r reading) Recv() (*components.PullMessagesRequest, error) {
	answer, err := r.InputBinding_ReadServer.Recv()
	if err != nil {
		return nil, fmt.Errorf("read an acknowledgement: %w", err)
	}
	m := &components.PullMessagesRequest{AckMessageId: answer.GetMessageId()}
	if e := answer.GetResponseError(); e != nil {
		m.AckError = &components.AckMessageError{Message: e.GetMessage()}
	}
	return m, nil
}

var _ acknowledged = reading{}
