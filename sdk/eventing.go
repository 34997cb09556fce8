package sdk

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// MethodOption says of a method where its input comes from and where its replies go: FromLog, FromTopic, InGroup, Event
// and ToTopic make them, and the Handle functions of all kinds take them.
//
//	action.Handle(Welcome, welcome, sdk.FromLog("customers"), sdk.Event("registered"))
//
// A method of a protobuf service may have the option (cloudstate.eventing) in its .proto file instead. Not both.
type MethodOption interface {
	// Method is called by the packages of the kinds.
	Method(*def.Method) error
}

// FromLog calls the method for every event in the journal of the entities with that persistence id, from the first one
// on: events of one entity in their order, each at least once. Which of a service's methods gets an event is decided by
// its type: a protobuf event by the method's input, a JSON event by its name (see Event). The entity's id is the subject
// of the CloudEvent that comes along. Commands of entities take only protobuf events, whose key field says for which
// entity they are.
func FromLog(persistenceID string) MethodOption {
	return methodOption(func(m *def.Method) error {
		in, err := source(m)
		if err != nil {
			return fmt.Errorf("FromLog(%q): %w", persistenceID, err)
		}
		in.Source = &cloudstate.EventSource_EventLog{EventLog: persistenceID}
		return checkName("FromLog", persistenceID)
	})
}

// FromTopic calls the method for every message of a topic.
func FromTopic(topic string) MethodOption {
	return methodOption(func(m *def.Method) error {
		in, err := source(m)
		if err != nil {
			return fmt.Errorf("FromTopic(%q): %w", topic, err)
		}
		in.Source = &cloudstate.EventSource_Topic{Topic: topic}
		return checkName("FromTopic", topic)
	})
}

// InGroup names the consumer group. All methods of a group share what they consume and how far they have come. Defaults
// to the service's full name.
func InGroup(group string) MethodOption {
	return methodOption(func(m *def.Method) error {
		in := eventing(m)
		if in.In == nil {
			in.In = new(cloudstate.EventSource)
		}
		in.In.ConsumerGroup = group
		return checkName("InGroup", group)
	})
}

// Event says which JSON events the method takes: those that an event-sourced entity lists under this name, or those
// whose CloudEvent type it is. It is for methods whose input is JSON; a protobuf event has the name of its message.
func Event(name string) MethodOption {
	return methodOption(func(m *def.Method) error {
		if m.In != nil {
			return fmt.Errorf("Event(%q): the input is the protobuf message %s, which has a name of its own", name, m.Input)
		}
		m.Input, m.EventNamed = name, true
		return checkName("Event", name)
	})
}

// ToTopic publishes every reply of the method to a topic. Metadata of the reply named ce-id, ce-type and so on become
// the attributes of the CloudEvent. A reply counts only once it is published, or is certain to be.
func ToTopic(topic string) MethodOption {
	return methodOption(func(m *def.Method) error {
		if eventing(m).Out != nil {
			return fmt.Errorf("ToTopic(%q): the replies go to another topic already", topic)
		}
		m.Eventing.Out = &cloudstate.EventDestination{Destination: &cloudstate.EventDestination_Topic{Topic: topic}}
		return checkName("ToTopic", topic)
	})
}

// Unpack decodes a payload whose type is not known in advance, such as an event that a method gets as *anypb.Any. T is
// what the payload holds: a pointer to a protobuf message, or any Go type if it is JSON.
func Unpack[T any](payload *anypb.Any) (T, error) {
	c, err := codec.For[T]("")
	if err != nil {
		var none T
		return none, fmt.Errorf("unpack %s: %w", payload.GetTypeUrl(), err)
	}
	v, err := c.Unpack(payload)
	if err != nil {
		return v, fmt.Errorf("unpack %s: %w", payload.GetTypeUrl(), err)
	}
	return v, nil
}

type methodOption func(*def.Method) error

func (o methodOption) Method(m *def.Method) error { return o(m) }

func eventing(m *def.Method) *cloudstate.Eventing {
	if m.Eventing == nil {
		m.Eventing = new(cloudstate.Eventing)
	}
	return m.Eventing
}

func source(m *def.Method) (*cloudstate.EventSource, error) {
	e := eventing(m)
	if e.In == nil {
		e.In = new(cloudstate.EventSource)
	}
	if e.In.Source != nil {
		return nil, errors.New("the method has another source already; bind another method to this one")
	}
	return e.In, nil
}

func checkName(option, name string) error {
	if name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return fmt.Errorf("%s(%q): the name is empty, not valid UTF-8, or contains a control character", option, name)
	}
	return nil
}
