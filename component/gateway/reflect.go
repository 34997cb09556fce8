package gateway

import (
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflectpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	_ "google.golang.org/grpc/reflection/grpc_reflection_v1alpha" // its descriptors, for those who ask about it
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/dapr-entities/entities/actors"
)

// ownFiles describe the services of our own. Nothing else of this binary is shown.
var ownFiles = []string{
	"grpc/health/v1/health.proto", "grpc/reflection/v1/reflection.proto", "grpc/reflection/v1alpha/reflection.proto",
}

// registerReflection serves both versions, whose messages are the same on the wire. grpc-go's own reflection answers
// NOT_FOUND for what it does not know; Cloudstate, and its conformance tests, want an answer without files.
func registerReflection(s *grpc.Server, g *Gateway) {
	for _, name := range []string{reflectionService, reflectionV1Alpha} {
		s.RegisterService(&grpc.ServiceDesc{
			ServiceName: name,
			HandlerType: (*any)(nil),
			Streams: []grpc.StreamDesc{{
				StreamName: "ServerReflectionInfo", ServerStreams: true, ClientStreams: true,
				Handler: func(_ any, stream grpc.ServerStream) error { return g.reflect(stream) },
			}},
		}, nil)
	}
}

// maxReflections bounds the questions of one stream, which costs nothing to open again.
const maxReflections = 10_000

func (g *Gateway) reflect(stream grpc.ServerStream) error {
	n := 0
	return receiveAll(stream.Context(), func(r *reflectpb.ServerReflectionRequest) error { return stream.RecvMsg(r) },
		func(r *reflectpb.ServerReflectionRequest) error {
			if n++; n > maxReflections {
				return grpcError(refuse(429, actors.ResourceExhausted, "%d questions are enough for one stream; open another one", maxReflections))
			}
			return stream.SendMsg(g.reflection(r))
		})
}

func (g *Gateway) reflection(r *reflectpb.ServerReflectionRequest) *reflectpb.ServerReflectionResponse {
	answer := &reflectpb.ServerReflectionResponse{ValidHost: r.GetHost(), OriginalRequest: r}
	files := g.reflected()
	switch q := r.GetMessageRequest().(type) {
	case *reflectpb.ServerReflectionRequest_ListServices:
		list := &reflectpb.ListServiceResponse{Service: []*reflectpb.ServiceResponse{{Name: reflectionV1Alpha}}}
		for _, name := range g.described() {
			list.Service = append(list.Service, &reflectpb.ServiceResponse{Name: name})
		}
		answer.MessageResponse = &reflectpb.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list}
	case *reflectpb.ServerReflectionRequest_FileByFilename:
		answer.MessageResponse = described(files.file(q.FileByFilename))
	case *reflectpb.ServerReflectionRequest_FileContainingSymbol:
		answer.MessageResponse = described(files.symbol(q.FileContainingSymbol))
	case *reflectpb.ServerReflectionRequest_FileContainingExtension:
		var file protoreflect.FileDescriptor
		for _, x := range files.extensions(q.FileContainingExtension.GetContainingType()) {
			if int32(x.Number()) == q.FileContainingExtension.GetExtensionNumber() {
				file = x.ParentFile()
			}
		}
		answer.MessageResponse = described(file)
	case *reflectpb.ServerReflectionRequest_AllExtensionNumbersOfType:
		numbers := &reflectpb.ExtensionNumberResponse{BaseTypeName: q.AllExtensionNumbersOfType}
		for _, x := range files.extensions(q.AllExtensionNumbersOfType) {
			numbers.ExtensionNumber = append(numbers.ExtensionNumber, int32(x.Number()))
		}
		slices.Sort(numbers.ExtensionNumber)
		answer.MessageResponse = &reflectpb.ServerReflectionResponse_AllExtensionNumbersResponse{AllExtensionNumbersResponse: numbers}
	default:
		answer.MessageResponse = &reflectpb.ServerReflectionResponse_ErrorResponse{ErrorResponse: &reflectpb.ErrorResponse{
			ErrorCode: int32(codes.Unimplemented), ErrorMessage: "this question of the reflection is not known",
		}}
	}
	return answer
}

// described lists the protobuf services, in order. A JSON service has nothing to be called by over gRPC.
func (g *Gateway) described() []string {
	r := g.routes.Load()
	if r == nil {
		return nil
	}
	var names []string
	for _, s := range r.catalog.Services() {
		if d, err := r.catalog.Files().FindDescriptorByName(protoreflect.FullName(s.Name)); err == nil && d != nil {
			names = append(names, s.Name)
		}
	}
	slices.Sort(names)
	return names
}

// reflected finds the user function's descriptors, then our own.
type reflected struct{ files *protoregistry.Files }

func (g *Gateway) reflected() reflected {
	if r := g.routes.Load(); r != nil {
		return reflected{r.catalog.Files()}
	}
	return reflected{new(protoregistry.Files)}
}

func (r reflected) file(name string) protoreflect.FileDescriptor {
	if f, err := r.files.FindFileByPath(name); err == nil {
		return f
	}
	f, err := protoregistry.GlobalFiles.FindFileByPath(name)
	if err != nil || !slices.Contains(ownFiles, name) {
		return nil
	}
	return f
}

func (r reflected) symbol(name string) protoreflect.FileDescriptor {
	if d, err := r.files.FindDescriptorByName(protoreflect.FullName(name)); err == nil {
		return d.ParentFile()
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil || !slices.Contains(ownFiles, d.ParentFile().Path()) {
		return nil
	}
	return d.ParentFile()
}

func (r reflected) extensions(of string) (list []protoreflect.ExtensionDescriptor) {
	var in func(xs protoreflect.ExtensionDescriptors, ms protoreflect.MessageDescriptors)
	in = func(xs protoreflect.ExtensionDescriptors, ms protoreflect.MessageDescriptors) {
		for i := range xs.Len() {
			if x := xs.Get(i); string(x.ContainingMessage().FullName()) == of {
				list = append(list, x)
			}
		}
		for i := range ms.Len() {
			in(ms.Get(i).Extensions(), ms.Get(i).Messages())
		}
	}
	r.files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		in(f.Extensions(), f.Messages())
		return true
	})
	return list
}

// described is a file with all that it imports, itself first; without one, it is no file at all.
func described(f protoreflect.FileDescriptor) *reflectpb.ServerReflectionResponse_FileDescriptorResponse {
	files := &reflectpb.FileDescriptorResponse{}
	seen := make(map[string]bool)
	var add func(f protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if f == nil || f.IsPlaceholder() || seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		if b, err := proto.Marshal(protodesc.ToFileDescriptorProto(f)); err == nil {
			files.FileDescriptorProto = append(files.FileDescriptorProto, b)
		}
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
	}
	add(f)
	return &reflectpb.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: files}
}
