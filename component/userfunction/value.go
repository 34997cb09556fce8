package userfunction

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// The names of the events that the states of value entities are kept by. The newest one says what the state is.
const (
	eventUpdated = "updated"
	eventDeleted = "deleted"
)

// deleted is the payload of an event of that name.
var deleted = actors.Payload{TypeURL: catalog.ProtobufPrefix + "google.protobuf.Empty", ContentType: actors.ContentProtobuf}

// value is the dialect of entities whose state is stored whole.
type value struct{ stub valueentity.ValueEntityClient }

var valueTexts = texts{
	reply:       "Unexpected Value entity reply",
	failure:     "Unexpected Value entity failure",
	message:     "Unexpected Value entity failure", // as Cloudstate has it
	termination: "Unexpected Value entity termination",
}

func (d *value) texts() *texts { return &valueTexts }

func (d *value) open(ctx context.Context) (grpc.ClientStream, error) { return d.stub.Handle(ctx) }

// begin sends the state, which is there even if there is none.
func (d *value) begin(start engine.Start, give func(what string, in any) error) error {
	state := new(valueentity.ValueEntityInitState)
	if start.Events != nil {
		for event, err := range start.Events {
			if err != nil {
				return err
			}
			switch event.Name {
			case eventUpdated:
				state.Value = toAny(event.Payload)
			case eventDeleted:
				state.Value = nil
			default:
				return actors.Errorf(actors.FailedPrecondition, "%s cannot be begun as a value entity: the journal keeps the event %q of it, which is not one of a value entity's; give the service a persistence id of its own",
					start.Ref, event.Name)
			}
		}
	}
	return give("its state", &valueentity.ValueEntityStreamIn{Message: &valueentity.ValueEntityStreamIn_Init{
		Init: &valueentity.ValueEntityInit{ServiceName: start.Ref.Service, EntityId: start.Ref.ID, State: state},
	}})
}

func (d *value) command() (any, *cloudstate.Command) {
	var m struct {
		in      valueentity.ValueEntityStreamIn
		kind    valueentity.ValueEntityStreamIn_Command
		command cloudstate.Command
		payload anypb.Any
	}
	m.command.Payload = &m.payload
	m.kind.Command = &m.command
	m.in.Message = &m.kind
	return &m.in, &m.command
}

func (d *value) receive(stream grpc.ClientStream) (said, error) {
	var out valueentity.ValueEntityStreamOut
	if err := stream.RecvMsg(&out); err != nil {
		return said{}, err
	}
	s := said{failure: out.GetFailure()}
	if r := out.GetReply(); r != nil {
		s.reply = r
	}
	return s, nil
}

// changes takes over what becomes of the state, also beside a failure, as Cloudstate did.
func (d *value) changes(r response) (out engine.Reply, wrong string) {
	in := r.(*valueentity.ValueEntityReply)
	if in.GetStateAction() == nil {
		return out, ""
	}
	switch action := in.GetStateAction().GetAction().(type) {
	case *valueentity.ValueEntityAction_Update:
		if action.Update.GetValue() == nil {
			return out, "an update of the state without a value"
		}
		if action.Update.GetValue().GetTypeUrl() == "" {
			return out, "the value has no type URL"
		}
		out.Events = []engine.Event{{Name: eventUpdated, Payload: fromAny(action.Update.GetValue())}}
	case *valueentity.ValueEntityAction_Delete:
		out.Events = []engine.Event{{Name: eventDeleted, Payload: deleted}}
	default:
		return out, "a state action that is neither update nor delete"
	}
	return out, ""
}
