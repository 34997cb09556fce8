package gateway

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	reflectpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"
)

func TestReflection(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for _, service := range []string{reflectionService, reflectionV1Alpha} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s, err := r.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/"+service+"/ServerReflectionInfo")
		if err != nil {
			t.Fatal(err)
		}
		ask := func(q *reflectpb.ServerReflectionRequest) *reflectpb.ServerReflectionResponse {
			t.Helper()
			q.Host = "the-host"
			if err := s.SendMsg(q); err != nil {
				t.Fatal(err)
			}
			answer := new(reflectpb.ServerReflectionResponse)
			if err := s.RecvMsg(answer); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(q, answer.GetOriginalRequest(), protocmp.Transform()); diff != "" || answer.GetValidHost() != "the-host" {
				t.Errorf("the question is not repeated: %s", diff)
			}
			return answer
		}
		// Case R-P01.
		for _, text := range []string{"", "nonsense.blabla."} {
			var names []string
			for _, s := range ask(&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_ListServices{ListServices: text}}).GetListServicesResponse().GetService() {
				names = append(names, s.GetName())
			}
			if diff := cmp.Diff([]string{reflectionV1Alpha, "shop.v1.Echo", "shop.v1.ShoppingCart"}, names); diff != "" {
				t.Error(diff)
			}
		}
		for _, c := range []struct {
			q     *reflectpb.ServerReflectionRequest
			files []string // the first one, and one that it imports
		}{
			{&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "nonsense.blabla.Void"}}, nil},
			{&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "entities.fixture.Nothing"}}, nil},
			{&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "shop.v1.ShoppingCart"}}, []string{"shop.proto", "google/protobuf/descriptor.proto"}},
			{&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "shop.v1.ShoppingCart.Add"}}, []string{"shop.proto", "google/protobuf/empty.proto"}},
			{&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: reflectionV1Alpha}}, []string{"grpc/reflection/v1alpha/reflection.proto"}},
			{&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileByFilename{FileByFilename: "google/api/http.proto"}}, []string{"google/api/http.proto"}},
			{&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileByFilename{FileByFilename: "nonsense"}}, nil},
			{&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_FileContainingExtension{FileContainingExtension: &reflectpb.ExtensionRequest{ContainingType: "google.protobuf.MethodOptions", ExtensionNumber: httpExtension}}}, []string{"google/api/annotations.proto"}},
		} {
			answer := ask(c.q)
			if answer.GetFileDescriptorResponse() == nil {
				t.Errorf("%v: got %v", c.q, answer)
			}
			var names []string
			for _, b := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
				var f descriptorpb.FileDescriptorProto
				if err := proto.Unmarshal(b, &f); err != nil {
					t.Fatal(err)
				}
				names = append(names, f.GetName())
			}
			if len(c.files) == 0 && len(names) > 0 || len(c.files) > 0 && (len(names) == 0 || names[0] != c.files[0]) {
				t.Errorf("%v: got %v, want %v", c.q, names, c.files)
			}
			for _, f := range c.files {
				if !slices.Contains(names, f) {
					t.Errorf("%v: %s is not among %v", c.q, f, names)
				}
			}
		}
		numbers := ask(&reflectpb.ServerReflectionRequest{MessageRequest: &reflectpb.ServerReflectionRequest_AllExtensionNumbersOfType{AllExtensionNumbersOfType: "google.protobuf.MethodOptions"}})
		if got := numbers.GetAllExtensionNumbersResponse().GetExtensionNumber(); !slices.Equal(got, []int32{httpExtension}) {
			t.Errorf("extension numbers: %v", got)
		}
		if ask(&reflectpb.ServerReflectionRequest{}).GetErrorResponse() == nil {
			t.Error("no question is answered")
		}
		s.CloseSend()
		if err := s.RecvMsg(new(reflectpb.ServerReflectionResponse)); err == nil || err.Error() != "EOF" {
			t.Errorf("the end: %v", err)
		}
	}
}
