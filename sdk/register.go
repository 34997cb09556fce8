package sdk

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Register adds definitions. The error joins all problems of all of them, and Serve refuses with the same.
func (s *Server) Register(definitions ...Definition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var problems []error
	for i, d := range definitions {
		if d == nil {
			problems = append(problems, fmt.Errorf("definition %d is nil", i))
			continue
		}
		e, err := d.Definition()
		name := e.Service
		if name == "" {
			name = fmt.Sprintf("definition %d", i)
		}
		for _, err := range parts(err) {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
		if s.entities[e.Service] != nil {
			problems = append(problems, fmt.Errorf("%s: registered twice", name))
			continue
		}
		for _, other := range s.entities {
			if other.PersistenceID == e.PersistenceID && e.PersistenceID != "" {
				problems = append(problems, fmt.Errorf("%s: the PersistenceID %q is also that of %s; their events would mix",
					name, e.PersistenceID, other.Service))
			}
		}
		files := fileSet{seen: make(map[string]bool)}
		files.addEntity(e)
		for _, err := range slices.Concat(compare(e), conflicts(e), files.problems) {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
		s.entities[e.Service] = e
		s.order = append(s.order, e.Service)
	}
	s.problems = append(s.problems, problems...)
	return errors.Join(problems...)
}

// compare checks the methods against the protobuf service of that name, if there is one in the program.
func compare(e *def.Entity) (problems []error) {
	service := serviceDescriptor(e.Service)
	if service == nil {
		return nil
	}
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	handled := make(map[protoreflect.Name]bool)
	for _, m := range e.Methods {
		rpc := service.Methods().ByName(protoreflect.Name(m.Name))
		if rpc == nil {
			report("command %s: the protobuf service has no such method", m.Name)
			continue
		}
		handled[rpc.Name()] = true
		switch {
		case rpc.IsStreamingClient() == m.StreamedIn && rpc.IsStreamingServer() == m.StreamedOut:
		case e.Type != def.Action && e.Type != def.Replicated:
			report("command %s: the protobuf method is streamed, which entities of this kind cannot be", m.Name)
		default:
			report("method %s: the handler is %s, the protobuf method is %s", m.Name,
				def.Shape(m.StreamedIn, m.StreamedOut), def.Shape(rpc.IsStreamingClient(), rpc.IsStreamingServer()))
		}
		if m.Eventing != nil && proto.HasExtension(rpc.Options(), cloudstate.E_Eventing) {
			report("method %s: its .proto file has the option (cloudstate.eventing); leave out the Go options", m.Name)
		}
		if want := string(rpc.Input().FullName()); m.In == nil || m.Input != want {
			report("command %s: the input is %s, the protobuf method wants %s", m.Name, describeType(m.In, m.Input), want)
		}
		if want := string(rpc.Output().FullName()); m.Out == nil || m.Output != want {
			report("command %s: the reply is %s, the protobuf method wants %s", m.Name, describeType(m.Out, m.Output), want)
		}
	}
	for i := range service.Methods().Len() {
		if rpc := service.Methods().Get(i); !handled[rpc.Name()] {
			report("the protobuf method %s has no handler", rpc.Name())
		}
	}
	return problems
}

// conflicts finds methods of one service that would take the same events, or could not take any.
func conflicts(e *def.Entity) (problems []error) {
	type key struct{ group, topic, log, input string }
	first := make(map[key]string)
	for _, m := range e.Methods {
		in := m.Eventing.GetIn()
		if in == nil {
			continue
		}
		if e.Type != def.Action && m.In == nil {
			problems = append(problems, fmt.Errorf("command %s: it takes events, and no field of its JSON input says for which entity; "+
				"take them by an action, or as a protobuf message with a key field", m.Name))
		}
		k := key{cmp.Or(in.GetConsumerGroup(), e.Service), in.GetTopic(), in.GetEventLog(), m.Input}
		if other := first[k]; other != "" {
			problems = append(problems, fmt.Errorf("the methods %s and %s take the same events (%s) from the same source; give one another group by InGroup",
				other, m.Name, m.Input))
			continue
		}
		first[k] = m.Name
	}
	return problems
}

func serviceDescriptor(name string) protoreflect.ServiceDescriptor {
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	service, _ := d.(protoreflect.ServiceDescriptor)
	return service
}

func describeType(m protoreflect.MessageDescriptor, name string) string {
	if m == nil {
		return "JSON"
	}
	return name
}

// parts returns the errors that errors.Join put together.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

func executable() string {
	path, err := os.Executable()
	if err != nil {
		return "entities"
	}
	return filepath.Base(path)
}
