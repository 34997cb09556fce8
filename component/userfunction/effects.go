package userfunction

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// The longest key of a kept effect, and the farthest that one may be put off.
const (
	maxKeyBytes = 512
	maxMillis   = math.MaxInt64 / int64(time.Millisecond)
)

// errBroken says that what the user function answered makes no sense, as opposed to naming what is not there.
var errBroken = errors.New("the user function broke the protocol")

// effects are the side effects of an answer to method. Errors match errBroken or are *actors.Error, which the user
// function has been told of.
func (s *service) effects(list []*cloudstate.SideEffect, method string) ([]actors.Effect, error) {
	if len(list) == 0 {
		return nil, nil
	}
	effects := make([]actors.Effect, 0, len(list)+1) // and what may be published
	for i, in := range list {
		e := actors.Effect{Synchronous: in.GetSynchronous()}
		if s.delayed {
			if wrong := s.put(&e, in); wrong != "" {
				return nil, fmt.Errorf("%w: side effect %d of %d %s", errBroken, i+1, len(list), wrong)
			}
		}
		if !e.Cancel {
			to, err := s.target("side effect of", method, in)
			if err != nil {
				return nil, err
			}
			e.Ref, e.Method, e.Payload, e.Metadata = to.Ref, to.Method, to.Payload, to.Metadata
		}
		effects = append(effects, e)
	}
	return effects, nil
}

// put reads when an effect is to be carried out. It returns what is wrong with that.
func (s *service) put(e *actors.Effect, in *cloudstate.SideEffect) (wrong string) {
	delay, due := in.GetDelayMillis(), in.GetDueMillis()
	e.Key, e.Cancel = in.GetKey(), in.GetCancel()
	switch {
	case delay < 0 || due < 0:
		return "has a negative delay or due time"
	case delay > maxMillis || due > maxMillis:
		return "is put off for centuries"
	case delay > 0 && due > 0:
		return "has both a delay and a due time"
	case e.Synchronous && (delay > 0 || due > 0 || e.Key != "" || e.Cancel):
		return "is synchronous and has a delay, a due time or a key, or takes another one back"
	case len(e.Key) > maxKeyBytes:
		return fmt.Sprintf("has a key of %d bytes; at most %d are allowed", len(e.Key), maxKeyBytes)
	case e.Cancel && e.Key == "":
		return "takes another one back, but does not say by its key which"
	case e.Cancel && (delay > 0 || due > 0 || in.GetServiceName() != "" || in.GetCommandName() != "" || in.GetEntityId() != "" ||
		in.GetPayload() != nil || in.GetMetadata() != nil):
		return "takes another one back and is one itself"
	case e.Key != "" && s.Kind == actors.Action:
		return "has a key; keys are told apart within one entity, and an action is none"
	}
	e.Delay = time.Duration(delay) * time.Millisecond
	if due > 0 {
		e.Due = time.UnixMilli(due).UTC()
	}
	return ""
}

// forward hands a command on, as the answer to method. Errors are those of effects.
func (s *service) forward(in *cloudstate.Forward, method string) (*actors.Forward, error) {
	return s.target("forwarded from", method, in)
}

// addressed is what side effects and forwards have in common.
type addressed interface {
	GetServiceName() string
	GetCommandName() string
	GetEntityId() string
	GetPayload() *anypb.Any
	GetMetadata() *cloudstate.Metadata
}

// target finds out to which entity a command goes. how is by what way it came from method.
func (s *service) target(how, method string, in addressed) (*actors.Forward, error) {
	to, err := s.find(in)
	if err == nil {
		return to, nil
	}
	// As the report is for developers, it tells the way that the command has taken.
	text := fmt.Sprintf("%v (%s.%s, %s %s.%s)", err, in.GetServiceName(), in.GetCommandName(), how, s.Name, method)
	s.log.Warn("the user function names a target that there is not", keyMethod, method, keyDetail, text)
	s.client.Report(text)
	return nil, actors.Errorf(actors.CodeOf(err), "what %s.%s answered cannot be carried out, and came to nothing: %w", s.Name, method, err)
}

func (s *service) find(in addressed) (*actors.Forward, error) {
	now := s.client.served.Load()
	to, ok := now.catalog.Service(in.GetServiceName())
	if !ok {
		return nil, actors.Errorf(actors.Unimplemented, "the user function serves no service %s", quote(in.GetServiceName()))
	}
	m, err := to.Method(in.GetCommandName())
	if err != nil {
		return nil, err
	}
	f := &actors.Forward{Method: m.Name, Metadata: fromMetadata(in.GetMetadata())}
	if in.GetPayload() != nil {
		f.Payload = fromAny(in.GetPayload())
	}
	f.Service = to.Name
	switch {
	case to.Kind == actors.Action:
	case s.targets && in.GetEntityId() != "":
		f.ID = in.GetEntityId()
		err = actors.ValidateID(f.ID)
	default:
		f.ID, err = m.Entity(f.Payload)
	}
	return f, err
}

// publish adds the effect that publishes a reply of an entity, so that it is kept with what the command did.
func (s *service) publish(o *actors.Outcome, method string) {
	m, err := s.Method(method)
	if err != nil || m.Out == "" || o.Reply == nil {
		return
	}
	o.Effects = append(o.Effects, actors.Effect{
		Ref:     actors.Ref{Service: actors.Topics, ID: m.Out},
		Method:  m.String(),
		Payload: *o.Reply, Metadata: o.Metadata,
	})
}

// quote is for the user function's own words in texts.
func quote(s string) string {
	const most = 128
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
