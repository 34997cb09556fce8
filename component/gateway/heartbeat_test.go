package gateway

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
