package catalog

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Type URLs begin with one of these.
const (
	ProtobufPrefix = "type.googleapis.com/"
	JSONPrefix     = "json.cloudstate.io/"
	// PrimitivePrefix is followed by the name of a scalar type of protobuf.
	PrimitivePrefix = "p.cloudstate.io/"
)

// StatePersistence is the persistence id of the keys of the state store. No service may have it.
const StatePersistence = "state/entities"

// TopicPersistence is what the persistence ids of topics begin with. No service may have one.
const TopicPersistence = "topic/"

// emptyObject is the type name of a JSON payload whose method names no type.
const emptyObject = "object"

// builder makes services of the entities of one spec.
type builder struct {
	options    Options
	files      *protoregistry.Files
	types      *dynamicpb.Types
	extensions map[string]bool
	// broken says that the descriptors could not be built, so that not finding something in them is no news.
	broken bool
}

// service returns nil if the entity is too broken to tell what it would be.
func (b *builder) service(e *cloudstate.Entity) (*Service, []error) {
	name := e.GetServiceName()
	if !protoreflect.FullName(name).IsValid() {
		return nil, []error{fmt.Errorf("%q is not a full service name such as shop.v1.ShoppingCart", cut(name))}
	}
	s := &Service{
		Name:        name,
		ActorType:   b.options.ActorTypes[name],
		Persistence: e.GetPersistenceId(),
		Extensions:  b.extensions,
		methods:     make(map[string]*Method),
	}
	if s.ActorType == "" {
		s.ActorType = name[strings.LastIndexByte(name, '.')+1:]
	}
	if s.Persistence == "" {
		s.Persistence = name
	}
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !plain(s.ActorType) || strings.ContainsAny(s.ActorType, `/\#?% `) {
		report(`the actor type %q of the service %s (setting %q) may not contain / \ # ? %%, spaces or control characters`,
			s.ActorType, name, "actorType."+name)
	}
	if s.ActorType == JournalActorType {
		report("the service %s would be the actor type %q, by which hosts compare their journals; rename it with the setting %q",
			name, s.ActorType, "actorType."+name)
	}
	if len(s.Persistence) > actors.MaxIDBytes || !plain(s.Persistence) {
		report("the persistence id of the service %s is longer than %d bytes or contains control characters", name, actors.MaxIDBytes)
	}
	if s.Persistence == StatePersistence {
		report("the persistence id %q of the service %s is the one under which the state store keeps its keys; choose another", s.Persistence, name)
	}
	if strings.HasPrefix(s.Persistence, TopicPersistence) {
		report("the persistence id %q of the service %s begins with %s, under which the messages of topics are kept; choose another",
			s.Persistence, name, TopicPersistence)
	}
	if ms := e.GetPassivationStrategy().GetTimeout().GetTimeout(); ms < 0 {
		report("the passivation timeout of the service %s is negative: %d ms", name, ms)
	} else {
		s.Idle = time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
	}
	if err := b.kind(s, e.GetEntityType()); err != nil {
		problems = append(problems, err)
	}
	problems = append(problems, b.methods(s, e)...)
	return s, append(problems, s.checkSources()...)
}

// kind finds out what sort of service it is.
func (b *builder) kind(s *Service, entityType string) error {
	for k, t := range entityTypes {
		if t == entityType {
			s.Kind = k
		}
	}
	if slices.Contains(b.options.Supported, s.Kind) {
		return nil
	}
	var supported []string
	for _, k := range b.options.Supported {
		supported = append(supported, entityTypes[k])
	}
	return fmt.Errorf("the service %s has the entity type %q, which this version does not support; supported: %s",
		s.Name, cut(entityType), list(supported))
}

func (b *builder) methods(s *Service, e *cloudstate.Entity) []error {
	d, err := b.files.FindDescriptorByName(protoreflect.FullName(s.Name))
	sd, described := d.(protoreflect.ServiceDescriptor)
	described = described && err == nil
	switch listed := len(e.GetMethods()) > 0; {
	case listed && !b.extensions["json"]:
		return []error{fmt.Errorf(`the service %s lists methods, but the user function did not announce the extension "json"`, s.Name)}
	case listed && described:
		return []error{fmt.Errorf("the service %s lists methods and is described by %s too; leave one of them out", s.Name, sd.ParentFile().Path())}
	case listed:
		return b.listed(s, e.GetMethods())
	case described:
		return b.described(s, sd)
	case b.broken:
		return nil
	default:
		return []error{fmt.Errorf("the service %s is not in the descriptors; add its file to the descriptor set, or list its methods", s.Name)}
	}
}

// described takes the methods from a descriptor and applies the rules of its kind.
func (b *builder) described(s *Service, sd protoreflect.ServiceDescriptor) []error {
	var problems []error
	var streamed, keyless []string
	for i := range sd.Methods().Len() {
		md := sd.Methods().Get(i)
		m := b.method(s, string(md.Name()))
		m.Input = ProtobufPrefix + string(md.Input().FullName())
		m.Output = ProtobufPrefix + string(md.Output().FullName())
		m.StreamedIn, m.StreamedOut = md.IsStreamingClient(), md.IsStreamingServer()
		m.Descriptor, m.input = md, md.Input()
		keys, err := keyFields(md.Input())
		if err != nil {
			problems = append(problems, fmt.Errorf("the input of %s.%s: %w", s.Name, m.Name, err))
		}
		if s.Kind != actors.Action {
			m.keys = keys
		}
		if err := s.eventing(m, eventingOf(md)); err != nil {
			problems = append(problems, err)
		}
		if md.IsStreamingClient() || md.IsStreamingServer() && s.Kind.Placed() {
			streamed = append(streamed, m.Name)
		}
		if len(keys) == 0 {
			keyless = append(keyless, m.Name)
		}
	}
	if s.Kind == actors.Action || s.Kind == 0 {
		return problems
	}
	if len(streamed) > 0 {
		problems = append(problems, s.mayNotStream(streamed))
	}
	// Who knows of "json" knows that a command is addressed to its entity, whatever its payload says.
	if len(keyless) > 0 && !b.extensions["targets"] && !b.extensions["json"] {
		problems = append(problems, fmt.Errorf("the %s service %s has methods whose input names no entity: %s; mark a field with [(.cloudstate.entity_key) = true]",
			s.Kind, s.Name, strings.Join(keyless, ", ")))
	}
	return problems
}

func (s *Service) mayNotStream(methods []string) error {
	if s.Kind == actors.Replicated {
		return fmt.Errorf("the %s service %s may not have client-streamed methods: %s; let each take one message, its replies may be a stream",
			s.Kind, s.Name, strings.Join(methods, ", "))
	}
	return fmt.Errorf("the %s service %s may not have streamed methods: %s", s.Kind, s.Name, strings.Join(methods, ", "))
}

// listed takes the methods that the user function listed itself.
func (b *builder) listed(s *Service, methods []*cloudstate.Method) []error {
	var problems []error
	for _, l := range methods {
		name := l.GetName()
		switch {
		case name == "" || !plain(name) || strings.ContainsAny(name, "/ ") || len(name) > actors.MaxIDBytes:
			problems = append(problems, fmt.Errorf("%q is not a name for a method of the service %s", cut(name), s.Name))
			continue
		case !plain(l.GetInput()) || !plain(l.GetOutput()):
			problems = append(problems, fmt.Errorf("the types of %s.%s contain control characters", s.Name, name))
			continue
		case s.methods[name] != nil:
			problems = append(problems, fmt.Errorf("the service %s lists the method %s twice", s.Name, name))
			continue
		}
		m := b.method(s, name)
		m.StreamedIn, m.StreamedOut = l.GetStreamedIn(), l.GetStreamedOut()
		if m.StreamedIn && s.Kind != actors.Action || m.StreamedOut && s.Kind.Placed() {
			problems = append(problems, s.mayNotStream([]string{name}))
		}
		m.Input, m.input = b.listedType(l.GetInput())
		if l.GetOutput() != "" {
			m.Output, _ = b.listedType(l.GetOutput())
		}
		if m.input != nil {
			keys, err := keyFields(m.input)
			if err != nil {
				problems = append(problems, fmt.Errorf("the input of %s.%s: %w", s.Name, name, err))
			}
			if s.Kind != actors.Action {
				m.keys = keys
			}
		}
		if err := s.eventing(m, l.GetEventing()); err != nil {
			problems = append(problems, err)
		}
	}
	return problems
}

// listedType is that of a protobuf message if the descriptors have one of that name, else a JSON type.
func (b *builder) listedType(name string) (string, protoreflect.MessageDescriptor) {
	if d, err := b.files.FindDescriptorByName(protoreflect.FullName(name)); err == nil {
		if md, ok := d.(protoreflect.MessageDescriptor); ok {
			return ProtobufPrefix + name, md
		}
	}
	if name == "" {
		name = emptyObject
	}
	return JSONPrefix + name, nil
}

func (b *builder) method(s *Service, name string) *Method {
	m := &Method{Service: s.Name, Name: name, types: b.types, maxBytes: b.options.MaxBytes, maxDepth: b.options.MaxDepth}
	s.methods[name] = m
	return m
}

// keyFields returns the fields that name the entity, in the order of their declaration.
func keyFields(md protoreflect.MessageDescriptor) ([]protoreflect.FieldDescriptor, error) {
	var keys []protoreflect.FieldDescriptor
	var problems []error
	for i := range md.Fields().Len() {
		fd := md.Fields().Get(i)
		o, ok := fd.Options().(*descriptorpb.FieldOptions)
		if !ok || !marked(o, cloudstate.E_EntityKey) && !marked(o, cloudstate.E_LegacyEntityKey) {
			continue
		}
		if fd.Cardinality() == protoreflect.Repeated || keyText(fd, fd.Default()) == nil {
			problems = append(problems, fmt.Errorf("the entity key %s must be one string, integer or bool", fd.FullName()))
			continue
		}
		keys = append(keys, fd)
	}
	return keys, errors.Join(problems...)
}

func marked(o *descriptorpb.FieldOptions, x protoreflect.ExtensionType) bool {
	on, ok := proto.GetExtension(o, x).(bool)
	return ok && on
}

// plain reports whether s is valid UTF-8 without control characters.
func plain(s string) bool {
	return strings.ToValidUTF8(s, "") == s && !strings.ContainsFunc(s, unicode.IsControl)
}
