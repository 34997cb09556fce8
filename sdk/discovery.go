package sdk

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// Version of this SDK.
const Version = "0.1.0-dev"

// discovery tells proxies what is served.
type discovery struct {
	cloudstate.UnimplementedEntityDiscoveryServer

	spec *cloudstate.EntitySpec // with all extensions
	peer *atomic.Pointer[session.Peer]
	log  *slog.Logger
}

// Discover answers every proxy alike, save that one that knows no extensions sees none.
func (d *discovery) Discover(_ context.Context, in *cloudstate.ProxyInfo) (*cloudstate.EntitySpec, error) {
	peer := session.PeerOf(in.GetExtensions())
	d.peer.Store(&peer)
	d.log.Info("discovered", "proxy", in.GetProxyName(), "proxy_version", in.GetProxyVersion(),
		"protocol", fmt.Sprintf("%d.%d", in.GetProtocolMajorVersion(), in.GetProtocolMinorVersion()))
	spec := proto.CloneOf(d.spec)
	if !peer.Announced {
		spec.ServiceInfo.Extensions = nil
	}
	if !peer.JSON {
		for _, e := range spec.GetEntities() {
			e.Methods = nil
		}
	}
	return spec, nil
}

// ReportError logs what the proxy has to say about this program.
func (d *discovery) ReportError(_ context.Context, in *cloudstate.UserFunctionError) (*emptypb.Empty, error) {
	d.log.Error("the proxy reports", "error", in.GetMessage())
	return new(emptypb.Empty), nil
}

// describe makes the whole specification.
func describe(c Config, entities map[string]*def.Entity, order []string) (*cloudstate.EntitySpec, error) {
	spec := &cloudstate.EntitySpec{ServiceInfo: &cloudstate.ServiceInfo{
		ServiceName:           c.Name,
		ServiceVersion:        c.Version,
		ServiceRuntime:        runtime.Version(),
		SupportLibraryName:    "entities-go",
		SupportLibraryVersion: Version,
		ProtocolMajorVersion:  session.Major,
		ProtocolMinorVersion:  session.Minor,
		Extensions:            session.Extensions(),
	}}
	files := fileSet{seen: make(map[string]bool), eventing: make(map[protoreflect.FullName]*cloudstate.Eventing)}
	for _, name := range order {
		for _, m := range entities[name].Methods {
			files.eventing[protoreflect.FullName(name).Append(protoreflect.Name(m.Name))] = m.Eventing
		}
	}
	for _, name := range order {
		e := entities[name]
		entity := &cloudstate.Entity{EntityType: e.Type, ServiceName: e.Service, PersistenceId: e.PersistenceID}
		if e.Idle > 0 {
			entity.PassivationStrategy = &cloudstate.EntityPassivationStrategy{
				Strategy: &cloudstate.EntityPassivationStrategy_Timeout{
					Timeout: &cloudstate.TimeoutPassivationStrategy{Timeout: e.Idle.Milliseconds()},
				},
			}
		}
		if serviceDescriptor(name) == nil {
			for _, m := range e.Methods {
				entity.Methods = append(entity.Methods, &cloudstate.Method{
					Name:        m.Name,
					Input:       m.Input,
					Output:      m.Output,
					Eventing:    m.Eventing,
					StreamedIn:  m.StreamedIn,
					StreamedOut: m.StreamedOut,
				})
			}
		}
		files.addEntity(e)
		spec.Entities = append(spec.Entities, entity)
	}
	if len(files.set.GetFile()) > 0 {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&files.set)
		if err != nil {
			return nil, fmt.Errorf("describe the services: %w", err)
		}
		spec.Proto = b
	}
	return spec, nil
}

// fileSet gathers files with all their imports, imports first.
type fileSet struct {
	seen map[string]bool
	// eventing of methods by their full names, as the Go options have it: it becomes the option of the .proto file. May
	// be nil.
	eventing map[protoreflect.FullName]*cloudstate.Eventing
	set      descriptorpb.FileDescriptorSet
	problems []error
}

// addEntity adds the files of the service, and of every message that its payloads may hold.
func (f *fileSet) addEntity(e *def.Entity) {
	if service := serviceDescriptor(e.Service); service != nil {
		f.add(service.ParentFile())
	}
	for _, m := range e.Methods {
		f.addMessage(m.In)
		f.addMessage(m.Out)
	}
	for _, m := range e.Messages {
		f.addMessage(m)
	}
}

func (f *fileSet) addMessage(m protoreflect.MessageDescriptor) {
	if m != nil {
		f.add(m.ParentFile())
	}
}

func (f *fileSet) add(file protoreflect.FileDescriptor) {
	if f.seen[file.Path()] {
		return
	}
	f.seen[file.Path()] = true
	for i := range file.Imports().Len() {
		imported := file.Imports().Get(i)
		if imported.IsPlaceholder() {
			f.problems = append(f.problems, fmt.Errorf("%s imports %s, whose generated code is not linked into the program",
				file.Path(), imported.Path()))
			continue
		}
		f.add(imported.FileDescriptor)
	}
	d := protodesc.ToFileDescriptorProto(file)
	for _, service := range d.GetService() {
		for _, method := range service.GetMethod() {
			name := file.Package().Append(protoreflect.Name(service.GetName())).Append(protoreflect.Name(method.GetName()))
			if e := f.eventing[name]; e != nil {
				if method.Options == nil {
					method.Options = new(descriptorpb.MethodOptions)
				}
				proto.SetExtension(method.Options, cloudstate.E_Eventing, e)
			}
		}
	}
	f.set.File = append(f.set.File, d)
}
