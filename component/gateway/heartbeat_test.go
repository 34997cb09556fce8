package gateway

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/dapr-entities/entities/actors"
)

// A silent stream of events gets comments, which are no events, until it ends.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.Heartbeat = 10 * time.Millisecond })
	more := make(chan struct{})
	r.user.stream = func(ctx context.Context, _ actors.Command, _ func() (actors.Input, error), out func(actors.Outcome) error) error {
		for _, w := range []string{"a", "b"} {
			if err := out(actors.Outcome{Reply: &actors.Payload{TypeURL: protobufPrefix + "shop.v1.Text", ContentType: actors.ContentProtobuf, Data: text(w)}}); err != nil {
				return err
			}
			select {
			case <-more:
			case <-ctx.Done():
			}
		}
		return nil
	}
	req, _ := http.NewRequestWithContext(t.Context(), "POST", r.url+"/shop.v1.Echo/Out", strings.NewReader(`{}`))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	resp, err := r.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var events []string
	beats := 0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		switch line := lines.Text(); line {
		case "":
		case ":":
			if beats++; beats == 3 || beats == 6 {
				more <- struct{}{}
			}
		default:
			events = append(events, line)
		}
	}
	if got := strings.Join(events, " "); got != `data: {"text":"a"} data: {"text":"b"}` || beats < 6 {
		t.Errorf("got %s with %d heartbeats", got, beats)
	}
}

func TestHeartbeatOnlyInSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var beats atomic.Int64
		h := startHeartbeat(10*time.Second, func() error { beats.Add(1); return nil })
		for range 5 {
			time.Sleep(9 * time.Second)
			if err := h.do(func() error { return nil }); err != nil || beats.Load() != 0 {
				t.Fatalf("%d heartbeats, %v", beats.Load(), err)
			}
		}
		time.Sleep(31 * time.Second)
		if beats.Load() != 3 {
			t.Errorf("%d heartbeats in 31 s of silence", beats.Load())
		}
		h.stop()
		time.Sleep(time.Minute)
		if beats.Load() != 3 {
			t.Errorf("%d heartbeats, one after the end", beats.Load())
		}
	})
}

// A stream has begun for its caller before there is anything in it.
func TestStreamsBeginEmpty(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.user.stream = func(ctx context.Context, _ actors.Command, _ func() (actors.Input, error), out func(actors.Outcome) error) error {
		if err := out(actors.Outcome{}); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := r.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/shop.v1.Echo/Out", grpc.ForceCodecV2(codec{}))
	if err == nil {
		err = errors.Join(stream.SendMsg(&message{text("a")}), stream.CloseSend())
	}
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		t.Errorf("gRPC: %v", err)
	}
	for _, c := range []struct{ contentType, accept, body string }{
		{"application/json", "text/event-stream", "{}"},
		{"application/json", "", "{}"},
		{"application/grpc-web+proto", "", "\x00\x00\x00\x00\x00"},
	} {
		req, _ := http.NewRequestWithContext(ctx, "POST", r.url+"/shop.v1.Echo/Out", strings.NewReader(c.body))
		req.Header.Set("Content-Type", c.contentType)
		req.Header.Set("Accept", c.accept)
		resp, err := r.http.Do(req)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%+v: %v, %v", c, resp, err)
			continue
		}
		resp.Body.Close()
	}
}
