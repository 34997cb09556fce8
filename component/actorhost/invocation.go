package actorhost

import (
	"context"
	"strings"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
)

// target is what an actor type stands for.
type target struct {
	entities Entities
	// name is the service's.
	name string
	// service is nil if the actor type is reserved.
	service *catalog.Service
}

// target finds out what an actor type stands for.
func (c *Config) target(actorType string) (target, error) {
	if reserved := c.Reserved[actorType]; reserved != nil {
		return target{entities: reserved, name: actorType}, nil
	}
	if known := c.Catalog(); known != nil {
		if s, ok := known.Service(actorType); ok && s.ActorType == actorType {
			if hosted := c.hosted(s); hosted != nil {
				return target{entities: hosted, name: s.Name, service: s}, nil
			}
		}
	}
	return target{}, actors.Errorf(actors.Unimplemented,
		"this host does not host the actor type %q; it hosts %s", actorType, strings.Join(c.actorTypes(), ", "))
}

// decode makes the payload of a command. The method is nil for reserved actor types.
func (t target) decode(id, method, contentType string, data []byte) (*catalog.Method, actors.Payload, error) {
	if t.service == nil {
		return nil, actors.Payload{ContentType: contentType, Data: data}, nil
	}
	m, err := t.service.Method(method)
	if err != nil {
		return nil, actors.Payload{}, err
	}
	payload, err := m.Decode(id, contentType, data)
	return m, payload, err
}

// invocation is a command as the sidecar hands it over, whichever way.
type invocation struct {
	target
	ref      actors.Ref
	method   string
	metadata map[string]string
	data     []byte
}

// answered is what the caller of an invocation is told: data and metadata, or an error.
type answered struct {
	data     []byte
	metadata map[string]string
	sequence int64
	err      error
}

// carryOut carries out a command. Its context ends when nobody can get the answer any more.
func (c *Config) carryOut(ctx context.Context, v invocation) answered {
	in := readMetadata(v.metadata)
	method, payload, err := v.decode(v.ref.ID, v.method, in.contentType, v.data)
	if err != nil {
		return answered{err: err}
	}
	deadline, err := in.deadline()
	if err != nil {
		return answered{err: err}
	}
	if ctx.Err() != nil {
		return answered{err: ctx.Err()}
	}
	command := actors.Command{
		Ref: v.ref, Method: v.method, Payload: payload, Metadata: in.metadata, Key: in.key, Deadline: deadline,
	}
	outcome, err := v.entities.Handle(ctx, command)
	sequence := outcome.Sequence
	if c.Finish != nil && err == nil && !in.outcome && method != nil && (outcome.Forward != nil || len(outcome.Effects) > 0) {
		outcome, err = c.Finish(ctx, command, outcome)
	}
	switch {
	case err != nil:
		if ctx.Err() == nil {
			c.report(v.ref, v.method, err)
		}
		return answered{sequence: sequence, err: err}
	case in.outcome:
		return in.answer(&outcome, actors.MarshalOutcome(outcome), contentOutcome)
	case outcome.Failure != nil:
		return answered{sequence: outcome.Sequence, err: outcome.Failure}
	case outcome.Forward != nil:
		return answered{sequence: outcome.Sequence, err: actors.Errorf(actors.Unimplemented,
			"%s of %s forwards to %s, and nobody here follows: use the binding or the gateway", v.method, v.ref, outcome.Forward.Ref)}
	}
	var data []byte
	var contentType string
	switch {
	case outcome.Reply == nil:
	case method == nil:
		data, contentType = outcome.Reply.Data, outcome.Reply.ContentType
	default:
		data, contentType, err = method.Encode(*outcome.Reply, in.contentType)
		if err != nil {
			return answered{sequence: outcome.Sequence, err: err}
		}
	}
	return in.answer(&outcome, data, contentType)
}

// answer of a command that was carried out, with metadata if the caller gets to see it.
func (in *incoming) answer(o *actors.Outcome, data []byte, contentType string) answered {
	a := answered{data: data, sequence: o.Sequence}
	if !in.dataOnly {
		a.metadata = replyMetadata(*o, contentType)
	}
	return a
}
