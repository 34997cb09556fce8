package tck

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

// testBeyond are cases that the original does not have.
func (p *proxy) testBeyond(t *testing.T) {
	t.Run("X-P01 metadata of the caller come to an action", func(t *testing.T) {
		request := p.request(t, []step{"reply one"})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		in, out := request.GetValue(), []byte(nil)
		ctx = metadata.AppendToOutgoingContext(ctx, "x-tck", "said by the caller")
		if err := p.gateway.Invoke(ctx, "/"+actionFirst+"/ProcessUnary", &in, &out, grpc.ForceCodec(raw{})); err != nil {
			t.Fatal(err)
		}
		x := p.next(t, unaryPath)
		got := map[string]string{}
		for _, e := range x.take(t, &x.in, "to").(*action.ActionCommand).GetMetadata().GetEntries() {
			got[e.GetKey()] = e.GetStringValue()
		}
		if got["x-tck"] != "said by the caller" {
			t.Errorf("the action got the metadata %v", got)
		}
		x.answeredAction(t, p.response(t, "reply one"))
		p.quiet(t, x)
	})
	t.Run("X-P02 gRPC-Web call of an entity", func(t *testing.T) {
		id := fresh()
		message := p.processRequest(t, modelES, id, "emit web").GetValue()
		frame := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/"+eventSourcedFirst+"/Process", bytes.NewReader(frame))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/grpc-web+proto")
		said, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer said.Body.Close()
		body, err := io.ReadAll(said.Body)
		if err != nil {
			t.Fatal(err)
		}
		if len(body) < 5 || body[0] != 0 || len(body) < 5+int(binary.BigEndian.Uint32(body[1:5])) {
			t.Fatalf("%d %v: got %q", said.StatusCode, said.Header, body)
		}
		end := 5 + int(binary.BigEndian.Uint32(body[1:5]))
		equal(t, "the reply", p.message(t, modelES+"Response", `{"message":"web"}`), p.decode(t, modelES+"Response", body[5:end]))
		if trailers := body[end:]; !bytes.HasPrefix(trailers, []byte{0x80}) || !bytes.Contains(bytes.ToLower(trailers), []byte("grpc-status: 0")) && !bytes.Contains(bytes.ToLower(trailers), []byte("grpc-status:0")) {
			t.Errorf("got the trailers %q", trailers)
		}
		x := p.next(t, eventPath)
		x.given(t, p.eventInit(eventSourcedFirst, id))
		x.given(t, eventCommand(p.command(t, modelES, id, 1, []step{"emit web"})))
		x.answered(t, p.eventReply(t, 1, answer{text: "web", events: []string{"web"}}))
		p.quiet(t, x)
	})
}
