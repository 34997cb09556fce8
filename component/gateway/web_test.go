package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// webFrame is a message in gRPC-Web's form.
func webFrame(data []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(data))), data...)
}

// webCall makes a call and takes the answer apart.
func webCall(t testing.TB, client *http.Client, url, contentType string, body []byte, headers ...string) (messages []string, trailers string, header http.Header) {
	t.Helper()
	text := strings.HasPrefix(contentType, webText)
	if text {
		body = []byte(base64.StdEncoding.EncodeToString(body))
	}
	req, _ := http.NewRequest("POST", url, bytes.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	got := do(t, client, req)
	if got.status != 200 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	b := []byte(got.body)
	if strings.HasPrefix(got.header.Get("Content-Type"), webText) {
		var err error
		if b, err = io.ReadAll(&textReader{r: bytes.NewReader(b)}); err != nil {
			t.Fatal(err)
		}
	}
	for len(b) >= frameHead {
		n := int(binary.BigEndian.Uint32(b[1:])) + frameHead
		if b[0] == frameTrailers {
			if n != len(b) {
				t.Fatalf("there is something after the trailers: %q", b[n:])
			}
			return messages, string(b[frameHead:n]), got.header
		}
		messages = append(messages, string(b[frameHead:n]))
		b = b[n:]
	}
	t.Fatalf("no trailers: %q", got.body)
	return nil, "", nil
}

func TestWeb(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MaxMessage = 1 << 10 })
	for name, client := range map[string]*http.Client{"HTTP/1.1": r.http, "HTTP/2": overH2(t)} {
		for _, contentType := range []string{webBinary, webBinary + "+proto", webText, webText + "+proto"} {
			got, trailers, header := webCall(t, client, r.url+"/shop.v1.ShoppingCart/Plain", contentType, webFrame(text("c1")), "grpc-timeout", "5S", "X-A", "b")
			if len(got) != 1 || got[0] != string(text("c1")) || !strings.HasPrefix(trailers, "grpc-status: 0\r\n") || header.Get("entities-sequence") != "7" {
				t.Errorf("%s %s: %q %q %v", name, contentType, got, trailers, header)
			}
			if c := r.user.last(t); c.Deadline.IsZero() || time.Until(c.Deadline) > 5*time.Second || c.Metadata.Get("x-a") != "b" || c.ID != "c1" {
				t.Errorf("%s: command %+v", name, c)
			}
			got, trailers, _ = webCall(t, client, r.url+"/shop.v1.Echo/Both", contentType, append(webFrame(text("a")), webFrame(nil)...))
			if len(got) != 2 || got[0] != string(text("a")) || got[1] != "" || !strings.HasPrefix(trailers, "grpc-status: 0\r\n") {
				t.Errorf("%s %s: %q %q", name, contentType, got, trailers)
			}
		}
	}
	for _, c := range []struct {
		path, body, trailers string
		headers              []string
	}{
		{"/shop.v1.Echo/Nope", "", "grpc-status: 12", nil},
		{"/shop.v1.Echo/Say", "", "grpc-status: 3\r\ngrpc-message: shop.v1.Echo.Say takes one message", nil},
		{"/shop.v1.Echo/Say", "\x00\x00\x00", "grpc-status: 3", nil},
		{"/shop.v1.Echo/Say", "\x00\x00\x00\x00\x09abc", "grpc-status: 3", nil},
		{"/shop.v1.Echo/Say", "\x01\x00\x00\x00\x00", "grpc-status: 12", nil},
		{"/shop.v1.Echo/Say", "\x02\x00\x00\x00\x00", "grpc-status: 3", nil},
		{"/shop.v1.Echo/Say", "\x00\xff\xff\xff\xff", "grpc-status: 8", nil},
		{"/shop.v1.Echo/Say", string(webFrame(make([]byte, 1<<10+1))), "grpc-status: 8", nil},
		{"/shop.v1.Echo/Say", string(webFrame(nil)) + string(webFrame(nil)), "grpc-status: 3", nil},
		{"/shop.v1.Echo/Say", string(webFrame(nil)), "grpc-status: 3", []string{"grpc-timeout", "soon"}},
		{"/shop.v1.Echo/Say", string(webFrame(nil)), "grpc-status: 3", []string{"x-bin", "!"}},
	} {
		if _, trailers, _ := webCall(t, r.http, r.url+c.path, webBinary, []byte(c.body), c.headers...); !strings.HasPrefix(trailers, c.trailers) {
			t.Errorf("%s %q: got %q, want %q", c.path, c.body[:min(len(c.body), 20)], trailers, c.trailers)
		}
	}
	r.user.handle = func(context.Context, actors.Command) (actors.Outcome, error) {
		return actors.Outcome{Failure: &actors.Error{Code: actors.Unknown, Message: "50 % é\r\nx: y"}, Sequence: 2}, nil
	}
	if _, trailers, _ := webCall(t, r.http, r.url+"/shop.v1.ShoppingCart/Plain", webBinary, webFrame(text("c"))); trailers != "grpc-status: 2\r\ngrpc-message: 50 %25 %C3%A9%0D%0Ax: y\r\nentities-sequence: 2\r\n" {
		t.Errorf("a failure: %q", trailers)
	}
}

func TestCORS(t *testing.T) {
	t.Parallel()
	some := start(t, func(c *Config) { c.Origins = []string{"https://shop.example"} })
	all := start(t, func(c *Config) { c.Origins = []string{"*"} })
	none := start(t, nil)
	for _, c := range []struct {
		r       *rig
		origin  string
		allowed bool
	}{
		{some, "https://shop.example", true},
		{some, "https://evil.example", false},
		{some, "https://shop.example.evil.example", false},
		{all, "https://any.example", true},
		{none, "https://shop.example", false},
	} {
		got := c.r.call(t, "OPTIONS", "/shop.v1.Echo/Say", "", "Origin", c.origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type,x-grpc-web")
		want, status := "", 403
		if c.allowed {
			want, status = c.origin, 204
		}
		if got.status != status || got.header.Get("Access-Control-Allow-Origin") != want ||
			c.allowed && (got.header.Get("Access-Control-Allow-Methods") != "POST" || got.header.Get("Access-Control-Allow-Headers") != "content-type,x-grpc-web") {
			t.Errorf("preflight from %s: %v", c.origin, got)
		}
		got = c.r.call(t, "POST", "/shop.v1.Echo/Say", "{}", "Origin", c.origin)
		if got.status != 200 || got.header.Get("Access-Control-Allow-Origin") != want || c.allowed != (got.header.Get("Access-Control-Expose-Headers") != "") || got.header.Get("Vary") != "Origin" {
			t.Errorf("from %s: %v", c.origin, got)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(webFrame([]byte("hello")), false)
	f.Add([]byte("\x80\x00\x00\x00\x00"), false)
	f.Add([]byte(base64.StdEncoding.EncodeToString(webFrame([]byte("a")))), true)
	f.Fuzz(func(t *testing.T, data []byte, text bool) {
		var r = iotest.OneByteReader(bytes.NewReader(data))
		if text {
			r = &textReader{r: r}
		}
		in := &frameReader{r: r, most: 64}
		for range len(data) + 1 {
			m, err := in.next()
			if len(m) > 64 {
				t.Fatalf("%d bytes in one message", len(m))
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				if actors.CodeOf(err) == actors.Internal {
					t.Fatalf("the caller's mistake is ours: %v", err)
				}
				return
			}
		}
		t.Fatal("there is no end")
	})
}
