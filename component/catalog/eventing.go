package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// anyMessage is the input of methods that take messages of every type.
const anyMessage = "google.protobuf.Any"

// Source is where the inputs of a method come from, besides its callers.
type Source struct {
	// Group names the consumer. Defaults to the full name of the service.
	Group string
	// Either Topic or Log is set. Log is the persistence id whose events are consumed.
	Topic, Log string
}

// String is for people.
func (s Source) String() string {
	kind, name := "topic", s.Topic
	if s.Log != "" {
		kind, name = "event log", s.Log
	}
	return fmt.Sprintf("the %s %q in the group %q", kind, name, s.Group)
}

// Consumer is what one service takes from one source: its methods share a cursor and are told apart by their inputs.
type Consumer struct {
	Source
	Service *Service
	// Methods are ordered by their names. They are not to be changed.
	Methods []*Method
}

// Consumers returns what is to be consumed, ordered by service, group and source.
func (c *Catalog) Consumers() []Consumer {
	var list []Consumer
	for _, s := range c.services {
		first := len(list)
		for _, name := range s.Methods() {
			m := s.methods[name]
			if m.In == nil {
				continue
			}
			at := slices.IndexFunc(list[first:], func(o Consumer) bool { return o.Source == *m.In })
			if at < 0 {
				at = len(list) - first
				list = append(list, Consumer{Source: *m.In, Service: s})
			}
			list[first+at].Methods = append(list[first+at].Methods, m)
		}
		slices.SortFunc(list[first:], func(a, b Consumer) int {
			return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Log, b.Log))
		})
	}
	return list
}

// Method chooses the method for a message of the source: the one whose input has the message's type, else the one that
// takes google.protobuf.Any. The message is its payload as it is. The error has the code Unimplemented.
func (c Consumer) Method(p actors.Payload) (*Method, error) {
	var whatever *Method
	for _, m := range c.Methods {
		switch {
		case sameType(m.Input, p.TypeURL):
			return m, nil
		case m.takesAny():
			whatever = m
		}
	}
	if whatever != nil {
		return whatever, nil
	}
	return nil, actors.Errorf(actors.Unimplemented, "no method of %s takes messages of the type %q from %s; add one, or one that takes google.protobuf.Any",
		c.Service.Name, cut(p.TypeURL), c.Source)
}

func (m *Method) takesAny() bool {
	return m.Input == ProtobufPrefix+anyMessage || m.Input == JSONPrefix+anyMessage
}

// sameType compares type URLs. What precedes the name of a protobuf message does not count; JSON and primitives are no
// messages.
func sameType(a, b string) bool { return a == b || message(a) != "" && message(a) == message(b) }

func message(typeURL string) string {
	host, name, _ := strings.Cut(typeURL, "/")
	if host+"/" == JSONPrefix || host+"/" == PrimitivePrefix {
		return ""
	}
	return name
}

// eventingOf reads the option of a described method.
func eventingOf(md protoreflect.MethodDescriptor) *cloudstate.Eventing {
	o, ok := md.Options().(*descriptorpb.MethodOptions)
	if !ok || !proto.HasExtension(o, cloudstate.E_Eventing) {
		return nil
	}
	e, _ := proto.GetExtension(o, cloudstate.E_Eventing).(*cloudstate.Eventing)
	return e
}

// eventing sets where the inputs of a method come from and where its outputs go.
func (s *Service) eventing(m *Method, e *cloudstate.Eventing) error {
	var problems []error
	report := func(format string, args ...any) {
		problems = append(problems, fmt.Errorf("the eventing of %s %s", m, fmt.Sprintf(format, args...)))
	}
	name := func(what, text string) {
		if !plain(text) || len(text) > actors.MaxIDBytes {
			report("has a %s that is longer than %d bytes or contains control characters", what, actors.MaxIDBytes)
		}
	}
	if in := e.GetIn(); in != nil {
		m.In = &Source{Group: cmp.Or(in.GetConsumerGroup(), s.Name), Topic: in.GetTopic(), Log: in.GetEventLog()}
		if m.In.Topic == "" && m.In.Log == "" {
			report("has an in without a source; name a topic or an event_log")
		}
		name("consumer group", m.In.Group)
		name("topic", m.In.Topic)
		name("event log", m.In.Log)
		if s.Kind != actors.Action && len(m.keys) == 0 {
			report("has an in, but the input names no entity to which the messages go; mark a field of it with [(.cloudstate.entity_key) = true], or consume in an action")
		}
	}
	if e.GetOut() != nil {
		m.Out = e.GetOut().GetTopic()
		if m.Out == "" {
			report("has an out without a topic")
		}
		name("topic", m.Out)
		if m.In != nil && m.Out != "" && m.In.Topic == m.Out {
			report("takes from the topic %q and publishes to it; use two topics", m.Out)
		}
	}
	return errors.Join(problems...)
}

// checkSources finds methods between which a message could not choose.
func (s *Service) checkSources() (problems []error) {
	type choice struct {
		Source
		input string
	}
	taken := make(map[choice]*Method)
	for _, name := range s.Methods() {
		m := s.methods[name]
		if m.In == nil {
			continue
		}
		c := choice{*m.In, m.Input}
		if o := taken[c]; o != nil {
			problems = append(problems, fmt.Errorf("the methods %s and %s of %s take the same type from %s; give them different inputs or consumer groups",
				o.Name, m.Name, s.Name, m.In))
			continue
		}
		taken[c] = m
	}
	return problems
}

// checkGroups finds services that would take each other's messages away.
func (c *Catalog) checkGroups() (problems []error) {
	owners := make(map[Source]*Service)
	for _, consumer := range c.Consumers() {
		if o := owners[consumer.Source]; o != nil {
			problems = append(problems, fmt.Errorf("the services %s and %s both consume %s and would take each other's messages; give each a group of its own",
				o.Name, consumer.Service.Name, consumer.Source))
			continue
		}
		owners[consumer.Source] = consumer.Service
	}
	return problems
}
