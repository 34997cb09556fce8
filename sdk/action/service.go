package action

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/turn"
)

// Service defines a stateless service. It must not change once it is registered.
type Service struct {
	// Service is the full name, package included. If a protobuf service of that name is linked into the program, the
	// methods must be its methods.
	Service string
	Methods []Method
}

// Method is a method and its handler, made by Handle, HandleIn, HandleOut or HandleDuplex.
type Method struct {
	service string
	name    string
	// method is asked late: see codec.Codec.
	method func() (def.Method, error)
	// run returns the reply of a handler that replies once.
	run func(context.Context, *Turn) (*anypb.Any, error)
	// replies is the type of the replies, if there may be any number; else nil.
	replies reflect.Type
	err     error
}

// Definition is called by package sdk and reports every problem of the service.
func (s Service) Definition() (*def.Entity, error) {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if name := protoreflect.FullName(s.Service); !name.IsValid() {
		report("Service %q is not a full name such as shop.v1.Checkout", s.Service)
	}
	if len(s.Methods) == 0 {
		report("there are no Methods")
	}
	k := &kind{service: s.Service, methods: make(map[string]*Method)}
	out := &def.Entity{Type: def.Action, Service: s.Service, Act: k.act}
	for i, m := range slices.Clone(s.Methods) { // the caller's may change
		switch {
		case m.run == nil:
			report("method %d was not made by a Handle function", i)
		case m.service != s.Service:
			report("method %s/%s belongs to another service", m.service, m.name)
		case k.methods[m.name] != nil:
			report("method %s is listed twice", m.name)
		case m.err != nil:
			report("method %s: %w", m.name, m.err)
		default:
			k.methods[m.name] = &m
			described, err := m.method()
			if err != nil {
				report("method %s: %w", m.name, err)
			}
			out.Methods = append(out.Methods, described)
		}
	}
	return out, errors.Join(problems...)
}

var _ sdk.Definition = Service{}

// kind is a service that is ready to be called.
type kind struct {
	service string
	methods map[string]*Method
}

// act carries out one call.
func (k *kind) act(ctx context.Context, call def.Invocation) *def.Response {
	m, ok := k.methods[call.Name]
	if !ok {
		return &def.Response{Failure: turn.Unknown(k.service, call.Name, turn.Names(k.methods))}
	}
	t := &Turn{call: call, replies: m.replies}
	var (
		reply *anypb.Any
		err   error
	)
	fault := def.Contain(func() { reply, err = m.run(ctx, t) })
	sent, refused := t.end()
	switch {
	case refused != nil:
		return &def.Response{Failure: turn.Broken(k.service, call.Name, refused)}
	case fault != nil:
		return &def.Response{Failure: turn.Broken(k.service, call.Name, fault)}
	case err != nil && !errors.Is(err, ErrNoReply):
		return &def.Response{Failure: turn.Refused(err), Effects: sent.Effects}
	case err != nil:
		reply, sent.Forward = nil, nil
	}
	r := &def.Response{Reply: reply, Forward: sent.Forward, Effects: sent.Effects}
	switch {
	case m.replies != nil && len(r.Effects) == 0:
		return nil
	case reply != nil:
		r.Metadata = sent.Metadata
	}
	return r
}
