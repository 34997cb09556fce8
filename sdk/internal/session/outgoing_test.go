package session

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk/internal/def"
)

func TestTargetsThatCannotBeSaid(t *testing.T) {
	t.Parallel()
	keyless, err := anypb.New(wrapperspb.String("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		payload *anypb.Any
		want    string
	}{
		{keyless, "effect to s.T/C: no field of google.protobuf.StringValue is marked as the entity's key"},
		{&anypb.Any{TypeUrl: "type.googleapis.com/no.such.Message"}, "effect to s.T/C: decode the input to find its key field"},
		{&anypb.Any{TypeUrl: keyless.GetTypeUrl(), Value: []byte{0xff}}, "effect to s.T/C: decode the input to find its key field"},
	} {
		call := &def.Call{Service: "s.T", Method: "C", ID: "a", Payload: test.payload}
		if _, _, f := (Peer{}).target(call, "effect"); f == nil || !strings.HasPrefix(f.Text, test.want) {
			t.Errorf("got %+v, want %s", f, test.want)
		}
		if _, id, f := (Peer{Targets: true}).target(call, "effect"); f != nil || id != "a" {
			t.Errorf("with targets: got %q, %+v", id, f)
		}
	}
}
