package actorhost

import (
	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"github.com/dapr-entities/entities/actors"
)

// take deals with one message of the sidecar. It does not wait for anything.
func (n *session) take(m *request) {
	switch t := m.GetResponseType().(type) {
	case *runtime.SubscribeActorEventsResponseAlpha1_InvokeRequest:
		n.invoke(t.InvokeRequest)
	case *runtime.SubscribeActorEventsResponseAlpha1_DeactivateRequest:
		n.deactivate(t.DeactivateRequest)
	case *runtime.SubscribeActorEventsResponseAlpha1_ReminderRequest:
		n.refuse("reminder", t.ReminderRequest)
	case *runtime.SubscribeActorEventsResponseAlpha1_TimerRequest:
		n.refuse("timer", t.TimerRequest)
	case *runtime.SubscribeActorEventsResponseAlpha1_InitialResponse:
	default:
		// A later Dapr may know more callbacks. Without its type a message has no id to answer.
		n.host.log.Warn("the sidecar sent a message of unknown type")
	}
}

// invoke starts a command, or refuses it.
func (n *session) invoke(r *runtime.SubscribeActorEventsResponseInvokeRequestAlpha1) {
	if n.stopping.Load() {
		n.fail(r.GetId(), n.anyRef(r), 0, actors.Errorf(actors.Unavailable,
			"%s of %s/%s: this host is stopping; repeat the command", r.GetMethod(), r.GetActorType(), r.GetActorId()))
		return
	}
	to, ref, err := n.resolve(r)
	if err != nil {
		n.fail(r.GetId(), n.anyRef(r), 0, err)
		return
	}
	if n.inFlight.Add(1) > int64(n.host.config.MaxInFlight) {
		n.inFlight.Add(-1)
		n.fail(r.GetId(), ref, 0, actors.Errorf(actors.ResourceExhausted,
			"%s of %s: this host is handling %d commands already; repeat the command later, or raise maxInFlight",
			r.GetMethod(), ref, n.host.config.MaxInFlight))
		return
	}
	// Here and not in the goroutine: a deactivation that comes next must find the entity owned.
	to.entities.Own(ref)
	n.callbacks.Go(func() {
		actors.GrowStack()
		answer := n.command(to, ref, r)
		if answer != nil {
			n.send(answer, func() { n.inFlight.Add(-1) })
		}
	})
}

// deactivate acknowledges at once: until then every call of the actor type waits.
func (n *session) deactivate(r *runtime.SubscribeActorEventsResponseDeactivateRequestAlpha1) {
	n.send(&response{RequestType: &runtime.SubscribeActorEventsRequestAlpha1_DeactivateResponse{
		DeactivateResponse: &runtime.SubscribeActorEventsRequestDeactivateResponseAlpha1{Id: r.GetId()},
	}}, nothing)
	// What does not resolve has never been owned.
	if to, ref, err := n.resolve(r); err == nil {
		to.entities.Disown(ref)
	}
}

// refuse answers what entities do not have. Somebody has registered it through Dapr's API.
func (n *session) refuse(kind string, r interface {
	addressed
	GetId() string
	GetName() string
}) {
	n.host.log.Warn("entities have no reminders and timers of Dapr's; unregister it", keyKind, kind,
		keyService, r.GetActorType(), keyID, r.GetActorId(), keyMethod, r.GetName())
	n.fail(r.GetId(), n.anyRef(r), 0, actors.Errorf(actors.Unimplemented,
		"%s %s of %s/%s: entities have no %ss; unregister it", kind, r.GetName(), r.GetActorType(), r.GetActorId(), kind))
}

type addressed interface {
	GetActorType() string
	GetActorId() string
}

// resolve finds the entity that a callback is for.
func (n *session) resolve(r addressed) (target, actors.Ref, error) {
	to, err := n.host.config.target(r.GetActorType())
	if err != nil {
		return to, actors.Ref{}, err
	}
	id, err := actors.UnescapeID(r.GetActorId())
	if err != nil {
		return to, actors.Ref{}, err
	}
	if err := actors.ValidateID(id); err != nil {
		return to, actors.Ref{}, err
	}
	return to, actors.Ref{Service: to.name, ID: id}, nil
}

// anyRef names what a callback is for, whether it exists or not.
func (n *session) anyRef(r addressed) actors.Ref {
	return actors.Ref{Service: r.GetActorType(), ID: r.GetActorId()}
}

// command carries out a command and makes the answer. It is nil if the stream has ended meanwhile.
func (n *session) command(to target, ref actors.Ref,
	r *runtime.SubscribeActorEventsResponseInvokeRequestAlpha1,
) *response {
	a := n.host.config.carryOut(n.ctx, invocation{to, ref, r.GetMethod(), r.GetMetadata(), r.GetData()})
	switch {
	case n.ctx.Err() != nil:
		return nil
	case a.err != nil:
		return n.failed(r.GetId(), ref, a.sequence, a.err)
	}
	return n.sized(r.GetId(), ref, a.sequence, invoked(r.GetId(), a.data, a.metadata))
}

func invoked(id string, data []byte, metadata map[string]string) *response {
	return &response{RequestType: &runtime.SubscribeActorEventsRequestAlpha1_InvokeResponse{
		InvokeResponse: &runtime.SubscribeActorEventsRequestInvokeResponseAlpha1{Id: id, Data: data, Metadata: metadata},
	}}
}

func (n *session) fail(id string, ref actors.Ref, sequence int64, err error) {
	n.send(n.failed(id, ref, sequence, err), nothing)
}

func nothing() {}
