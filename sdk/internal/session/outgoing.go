package session

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// outgoing puts on the wire what a turn sends besides its reply. The failure is the turn's instead, if this peer could
// not do what is wanted.
func (p Peer) outgoing(r *def.Result) (effects []*cloudstate.SideEffect, forward *cloudstate.Forward, failure *def.Failure) {
	if effects, failure = p.effects(r.Effects); failure == nil && r.Forward != nil {
		forward, failure = p.forward(r.Forward)
	}
	return effects, forward, failure
}

// failure in wire form.
func (p Peer) failure(command int64, code codes.Code, text string) *cloudstate.Failure {
	f := &cloudstate.Failure{CommandId: command, Description: strings.ToValidUTF8(text, "\uFFFD")}
	if p.Codes {
		f.Code = int32(code)
	}
	return f
}

// services names those of a type.
func services(entities map[string]*def.Entity, of string) string {
	var names []string
	for name, e := range entities {
		if e.Type == of {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (p Peer) forward(c *def.Call) (*cloudstate.Forward, *def.Failure) {
	payload, id, failure := p.target(c, "forward")
	if failure != nil {
		return nil, failure
	}
	return &cloudstate.Forward{
		ServiceName: c.Service,
		CommandName: c.Method,
		Payload:     payload,
		Metadata:    c.Metadata,
		EntityId:    id,
	}, nil
}

func (p Peer) effects(effects []def.Effect) ([]*cloudstate.SideEffect, *def.Failure) {
	var out []*cloudstate.SideEffect
	for i := range effects {
		e := &effects[i]
		if e.Delayed() && !p.Delayed {
			what := "is delayed or named"
			if e.Cancel {
				what = fmt.Sprintf("takes back %q", e.Key)
			}
			return nil, unsupported(codes.Unimplemented, `an effect %s, and the proxy does not offer the extension "delayed": `+
				"use one that does, or do without", what)
		}
		if e.Cancel {
			out = append(out, &cloudstate.SideEffect{Key: e.Key, Cancel: true})
			continue
		}
		payload, id, failure := p.target(&e.Call, "effect")
		if failure != nil {
			return nil, failure
		}
		effect := &cloudstate.SideEffect{
			ServiceName: e.Service,
			CommandName: e.Method,
			Payload:     payload,
			Synchronous: e.Synchronous,
			Metadata:    e.Metadata,
			EntityId:    id,
			DelayMillis: int64((e.Delay + time.Millisecond - 1) / time.Millisecond),
			Key:         e.Key,
		}
		if !e.Due.IsZero() {
			effect.DueMillis = e.Due.Add(time.Millisecond - 1).UnixMilli()
		}
		out = append(out, effect)
	}
	return out, nil
}

// target says where a call goes in the way that the peer understands: by the id, or by the key fields of the payload,
// of which an empty one is filled in.
func (p Peer) target(c *def.Call, what string) (payload *anypb.Any, id string, failure *def.Failure) {
	if p.Targets || c.ID == "" {
		return c.Payload, c.ID, nil
	}
	if strings.HasPrefix(c.Payload.GetTypeUrl(), codec.JSONPrefix) {
		return nil, "", unsupported(codes.Internal, `%s to %s/%s: its input is JSON, and the proxy does not offer the extension `+
			`"targets", without which only a key field of a protobuf input says which entity is meant`, what, c.Service, c.Method)
	}
	input, err := anypb.UnmarshalNew(c.Payload, proto.UnmarshalOptions{})
	if err != nil {
		return nil, "", unsupported(codes.Internal, "%s to %s/%s: decode the input to find its key field: %v", what, c.Service, c.Method, err)
	}
	m := input.ProtoReflect()
	var (
		empty protoreflect.FieldDescriptor
		keys  []string
		names []string
	)
	for i := range m.Descriptor().Fields().Len() {
		field := m.Descriptor().Fields().Get(i)
		if !isKey(field) {
			continue
		}
		names, keys = append(names, string(field.Name())), append(keys, m.Get(field).String())
		if field.Kind() == protoreflect.StringKind && m.Get(field).String() == "" {
			empty = field
		}
	}
	switch {
	case len(keys) == 0:
		return nil, "", unsupported(codes.Internal, `%s to %s/%s: no field of %s is marked as the entity's key, and the proxy does not offer `+
			`the extension "targets"`, what, c.Service, c.Method, m.Descriptor().FullName())
	case strings.Join(keys, "-") == c.ID:
		return c.Payload, "", nil
	case len(keys) > 1 || empty == nil:
		return nil, "", unsupported(codes.Internal, `%s to %s/%s: the entity is %q, but the input's %s names %q, and the proxy does not offer `+
			`the extension "targets"`, what, c.Service, c.Method, c.ID, strings.Join(names, "-"), strings.Join(keys, "-"))
	}
	m.Set(empty, protoreflect.ValueOfString(c.ID))
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(input)
	if err != nil {
		return nil, "", unsupported(codes.Internal, "%s to %s/%s: encode the input: %v", what, c.Service, c.Method, err)
	}
	return &anypb.Any{TypeUrl: c.Payload.GetTypeUrl(), Value: data}, "", nil
}

func isKey(field protoreflect.FieldDescriptor) bool {
	options := field.Options()
	if options == nil || field.IsList() || field.IsMap() {
		return false
	}
	for _, extension := range []protoreflect.ExtensionType{cloudstate.E_EntityKey, cloudstate.E_LegacyEntityKey} {
		if is, _ := proto.GetExtension(options, extension).(bool); is {
			return true
		}
	}
	return false
}

// unsupported is a failure that no handler decided, but that its author can cure: so the caller hears of it.
func unsupported(code codes.Code, format string, args ...any) *def.Failure {
	return &def.Failure{Code: int32(code), Text: fmt.Sprintf(format, args...)}
}
