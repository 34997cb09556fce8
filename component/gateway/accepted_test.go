package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// A stream that was accepted without a reply has a head at once, so that its caller can tell, and then its replies.
func TestAccepted(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	more := make(chan struct{})
	r.user.stream = func(ctx context.Context, _ actors.Command, _ func() (actors.Input, error), out func(actors.Outcome) error) error {
		if err := errors.Join(out(actors.Outcome{Metadata: actors.Metadata{{Key: "x-a", Text: "b"}}}), out(actors.Outcome{})); err != nil {
			return err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
		return out(actors.Outcome{Reply: &actors.Payload{TypeURL: protobufPrefix + "shop.v1.Text", ContentType: actors.ContentProtobuf, Data: text("a")}})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()

	s := open(ctx, t, r.conn, "/shop.v1.Echo/Out")
	if err := errors.Join(s.SendMsg(&message{}), s.CloseSend()); err != nil {
		t.Fatal(err)
	}
	if md, err := s.Header(); err != nil || strings.Join(md.Get("x-a"), ",") != "b" {
		t.Fatalf("the head is %v, %v", md, err)
	}
	more <- struct{}{}
	var m message
	if err := s.RecvMsg(&m); err != nil || string(m.data) != string(text("a")) {
		t.Errorf("got %q, %v", m.data, err)
	}
	if err := s.RecvMsg(&m); !errors.Is(err, io.EOF) {
		t.Errorf("got %q, %v; want the end", m.data, err)
	}

	for _, c := range []struct{ contentType, accept, head, body string }{
		{"application/json", "", "application/json", "{\"text\":\"a\"}\n"},
		{"application/json", "application/x-ndjson", "application/x-ndjson", "{\"text\":\"a\"}\n"},
		{"application/json", "text/event-stream", "text/event-stream", "data: {\"text\":\"a\"}\n\n"},
		{"application/grpc-web+proto", "", "application/grpc-web+proto", string(webFrame(text("a")))},
	} {
		body := []byte(`{}`)
		if strings.HasPrefix(c.contentType, "application/grpc-web") {
			body = webFrame(nil)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+"/shop.v1.Echo/Out", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", c.contentType)
		req.Header.Set("Accept", c.accept)
		resp, err := r.http.Do(req)
		if err != nil {
			t.Fatalf("%s %s: there is no head: %v", c.contentType, c.accept, err)
		}
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != c.head || resp.Header.Get("X-A") != "b" {
			t.Errorf("%s %s: %d %v", c.contentType, c.accept, resp.StatusCode, resp.Header)
		}
		more <- struct{}{}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.HasPrefix(string(got), c.body) {
			t.Errorf("%s %s: got %q, %v, want %q", c.contentType, c.accept, got, err, c.body)
		}
	}
}
