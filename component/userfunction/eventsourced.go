package userfunction

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

// eventSourced is the dialect of entities that are the fold of their events.
type eventSourced struct {
	stub eventsourced.EventSourcedClient
	// names says that the user function names its events.
	names bool
}

var eventSourcedTexts = texts{
	reply:       "Unexpected entity reply",
	failure:     "Unexpected entity failure",
	message:     "Unexpected entity message",
	termination: "Unexpected entity termination",
}

func (d *eventSourced) texts() *texts { return &eventSourcedTexts }

func (d *eventSourced) open(ctx context.Context) (grpc.ClientStream, error) {
	return d.stub.Handle(ctx)
}

func (d *eventSourced) begin(start engine.Start, give func(what string, in any) error) error {
	initial := &eventsourced.EventSourcedInit{ServiceName: start.Ref.Service, EntityId: start.Ref.ID}
	if start.Snapshot != nil {
		initial.Snapshot = &eventsourced.EventSourcedSnapshot{SnapshotSequence: start.SnapshotSequence, Snapshot: toAny(*start.Snapshot)}
	}
	err := give("its state", &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Init{Init: initial}})
	if err != nil || start.Events == nil {
		return err
	}
	for event, err := range start.Events {
		if err != nil {
			return err
		}
		out := &eventsourced.EventSourcedEvent{Sequence: event.Sequence, Payload: toAny(event.Payload)}
		if d.names {
			out.Name = event.Name
		}
		err := give("an event of", &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Event{Event: out}})
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *eventSourced) command() (any, *cloudstate.Command) {
	var m struct {
		in      eventsourced.EventSourcedStreamIn
		kind    eventsourced.EventSourcedStreamIn_Command
		command cloudstate.Command
		payload anypb.Any
	}
	m.command.Payload = &m.payload
	m.kind.Command = &m.command
	m.in.Message = &m.kind
	return &m.in, &m.command
}

func (d *eventSourced) receive(stream grpc.ClientStream) (said, error) {
	var out eventsourced.EventSourcedStreamOut
	if err := stream.RecvMsg(&out); err != nil {
		return said{}, err
	}
	s := said{failure: out.GetFailure()}
	if r := out.GetReply(); r != nil {
		s.reply = r
	}
	return s, nil
}

func (d *eventSourced) changes(r response) (out engine.Reply, wrong string) {
	in := r.(*eventsourced.EventSourcedReply)
	if in.GetClientAction().GetFailure().GetRestart() {
		out.Restart = true
		return out, ""
	}
	names := in.GetEventNames()
	if !d.names {
		names = nil
	} else if len(names) != len(in.GetEvents()) {
		return out, fmt.Sprintf("%d events with %d names", len(in.GetEvents()), len(names))
	}
	for i, a := range in.GetEvents() {
		if a.GetTypeUrl() == "" {
			return out, fmt.Sprintf("event %d of %d has no type URL", i+1, len(in.GetEvents()))
		}
		e := engine.Event{Payload: fromAny(a)}
		if names != nil {
			e.Name = names[i]
		}
		out.Events = append(out.Events, e)
	}
	if in.GetSnapshot() != nil {
		p := fromAny(in.GetSnapshot())
		out.Snapshot = &p
	}
	return out, ""
}
