package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/dapr-entities/entities/actors"
)

// raw is a connection on which a test may write what it wants.
type raw struct {
	net.Conn
	t      testing.TB
	framer *http2.Framer
	block  bytes.Buffer
}

func dial(t testing.TB, r *rig) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", r.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return &raw{Conn: conn, t: t, framer: http2.NewFramer(conn, conn)}
}

func (c *raw) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatal(err)
	}
}

// closed waits until the other side has closed the connection.
func (c *raw) closed(within time.Duration) {
	c.t.Helper()
	c.SetReadDeadline(time.Now().Add(within))
	if _, err := io.Copy(io.Discard, c.Conn); errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		c.t.Errorf("the connection is still open after %v", within)
	}
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout()
}

// hello is the beginning of HTTP/2.
func (c *raw) hello() {
	c.t.Helper()
	c.send(http2.ClientPreface)
	if err := c.framer.WriteSettings(); err != nil {
		c.t.Fatal(err)
	}
}

// headers are those of a request.
func (c *raw) headers(path, contentType string, more ...string) []byte {
	c.block.Reset()
	e := hpack.NewEncoder(&c.block)
	e.SetMaxDynamicTableSize(0)
	fields := append([]string{":method", "POST", ":scheme", "http", ":authority", "x", ":path", path, "content-type", contentType, "te", "trailers"}, more...)
	for i := 0; i < len(fields); i += 2 {
		if err := e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			c.t.Fatal(err)
		}
	}
	return bytes.Clone(c.block.Bytes())
}

// request sends a whole one.
func (c *raw) request(id uint32, path, contentType string, body []byte) {
	c.t.Helper()
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.headers(path, contentType), EndHeaders: true}); err != nil {
		c.t.Fatal(err)
	}
	if err := c.framer.WriteData(id, true, body); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads frames, acknowledges settings as a client does, and returns the data of the stream at its end.
func (c *raw) answer(id uint32) (data []byte, settings int) {
	c.t.Helper()
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			c.t.Fatalf("read the answer: %v", err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				settings++
				if err := c.framer.WriteSettingsAck(); err != nil {
					c.t.Fatal(err)
				}
			}
		case *http2.DataFrame:
			data = append(data, f.Data()...)
		case *http2.GoAwayFrame:
			c.t.Fatalf("the server goes away: %v", f.ErrCode)
		case *http2.RSTStreamFrame:
			c.t.Fatalf("the server resets the stream: %v", f.ErrCode)
		}
		if f.Header().StreamID == id && f.Header().Flags.Has(http2.FlagDataEndStream) {
			return data, settings
		}
	}
}

// Whoever begins how, both servers get what is theirs, and count one acknowledgement for the settings that they sent.
func TestConnectionsAreSorted(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	for name, c := range map[string]struct {
		contentType string
		body, want  []byte
	}{
		"gRPC": {"application/grpc", webFrame(text("a")), webFrame(text("a"))},
		"JSON": {"application/json", []byte(`{"text":"a"}`), []byte(`{"text":"a"}`)},
		"web":  {webBinary, webFrame(text("a")), webFrame(text("a"))},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for way, begin := range map[string]func(*raw){
				"at once": func(conn *raw) {
					conn.hello()
					conn.request(1, "/shop.v1.Echo/Say", c.contentType, c.body)
				},
				"after the server's settings": func(conn *raw) {
					conn.hello()
					if f, err := conn.framer.ReadFrame(); err != nil || f.Header().Type != http2.FrameSettings {
						t.Fatalf("got %v, %v", f, err)
					}
					conn.framer.WriteSettingsAck()
					conn.framer.WritePing(false, [8]byte{1})
					if f, err := conn.framer.ReadFrame(); err != nil || f.Header().Type != http2.FramePing || !f.(*http2.PingFrame).IsAck() {
						t.Fatalf("got %v, %v", f, err)
					}
					conn.framer.WriteWindowUpdate(0, 1<<20)
					conn.request(1, "/shop.v1.Echo/Say", c.contentType, c.body)
				},
				"byte by byte": func(conn *raw) {
					var all bytes.Buffer
					all.WriteString(http2.ClientPreface)
					f := http2.NewFramer(&all, nil)
					f.WriteSettings()
					block := conn.headers("/shop.v1.Echo/Say", c.contentType)
					f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:5]})
					f.WriteContinuation(1, false, block[5:9])
					f.WriteContinuation(1, true, block[9:])
					f.WriteData(1, true, c.body)
					for _, b := range all.Bytes() {
						conn.send(string([]byte{b}))
					}
				},
			} {
				conn := dial(t, r)
				begin(conn)
				got, settings := conn.answer(1)
				if !bytes.HasPrefix(got, c.want) || name != "web" && len(got) > len(c.want) {
					t.Errorf("%s: got %q, want %q", way, got, c.want)
				}
				// The acknowledgements of the first answer are counted by now: one too many would show.
				conn.request(3, "/shop.v1.Echo/Say", c.contentType, c.body)
				if got, more := conn.answer(3); !bytes.HasPrefix(got, c.want) || settings+more > 2 {
					t.Errorf("%s, again: got %q, %d settings", way, got, settings+more)
				}
				conn.Close()
			}
		})
	}
}

func TestSlowAndMalformedConnections(t *testing.T) {
	t.Parallel()
	const patience = 300 * time.Millisecond
	r := start(t, func(c *Config) {
		c.HeaderTimeout, c.IdleTimeout, c.BodyTimeout, c.MaxHeader = patience, 2*patience, patience, 8<<10
	})
	drip := func(c *raw, all []byte) {
		go func() {
			for _, b := range all {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(patience / 8)
			}
		}()
	}
	for name, attack := range map[string]func(*raw){
		"silent":                  func(*raw) {},
		"half a line of HTTP/1.1": func(c *raw) { c.send("POST /x HT") },
		"slow headers":            func(c *raw) { drip(c, []byte("POST /x HTTP/1.1\r\nhost: "+strings.Repeat("a", 1000))) },
		"half a preface":          func(c *raw) { c.send(http2.ClientPreface[:20]) },
		"a slow preface":          func(c *raw) { drip(c, []byte(http2.ClientPreface)) },
		"no settings":             func(c *raw) { c.send(http2.ClientPreface) },
		"no request":              func(c *raw) { c.hello() },
		"slow frames": func(c *raw) {
			c.hello()
			var all bytes.Buffer
			http2.NewFramer(&all, nil).WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.headers("/x", "y"), EndHeaders: true})
			drip(c, all.Bytes())
		},
		"headers without an end": func(c *raw) {
			c.hello()
			c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.headers("/x", "application/grpc")})
		},
		"a frame that is too large": func(c *raw) {
			c.hello()
			c.framer.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, make([]byte, maxEarlyFrame+1))
		},
		"a flood of continuations": func(c *raw) {
			c.hello()
			c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.headers("/x", "application/grpc")})
			go func() {
				for c.framer.WriteContinuation(1, false, c.headers("/x", strings.Repeat("x", 1000))) == nil {
				}
			}()
		},
		"a flood of pings": func(c *raw) {
			c.hello()
			go func() {
				for c.framer.WritePing(false, [8]byte{}) == nil {
				}
			}()
		},
		"a flood of settings": func(c *raw) {
			c.hello()
			go func() {
				for c.framer.WriteSettings() == nil {
				}
			}()
		},
		"data without headers": func(c *raw) { c.hello(); c.framer.WriteData(1, true, []byte("x")) },
		"goaway":               func(c *raw) { c.hello(); c.framer.WriteGoAway(0, http2.ErrCodeNo, nil) },
		"noise":                func(c *raw) { c.send("\x16\x03\x01\x02\x00\x01\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, r)
			attack(conn)
			conn.closed(12 * patience)
		})
	}
	t.Run("others", func(t *testing.T) {
		t.Parallel()
		for range 10 {
			time.Sleep(patience / 5)
			if _, err := invoke(r.conn, "/shop.v1.Echo/Say", text("a")); err != nil {
				t.Errorf("others are harmed: %v", err)
			}
		}
	})
	t.Run("slow body", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, r)
		conn.send("POST /shop.v1.Echo/Say HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
		b, _ := io.ReadAll(conn)
		if !strings.HasPrefix(string(b), "HTTP/1.1 408 ") {
			t.Errorf("got %q", b)
		}
	})
	t.Run("large headers", func(t *testing.T) {
		t.Parallel()
		conn := dial(t, r)
		conn.send("POST /shop.v1.Echo/Say HTTP/1.1\r\nhost: x\r\nx: " + strings.Repeat("x", 8<<10+4<<10)) // net/http allows 4 KiB more
		b, _ := io.ReadAll(conn)
		if !strings.HasPrefix(string(b), "HTTP/1.1 431 ") {
			t.Errorf("got %q", b)
		}
	})
}

func TestMaxConnections(t *testing.T) {
	t.Parallel()
	r := start(t, func(c *Config) { c.MaxConnections = 2 })
	first, second, third := dial(t, r), dial(t, r), dial(t, r)
	for _, c := range []*raw{first, second} {
		c.hello()
		c.request(1, "/shop.v1.Echo/Say", "application/json", []byte(`{}`))
		c.answer(1)
	}
	third.closed(5 * time.Second)
	first.Close()
	// A place is free as soon as the server has noticed.
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", r.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(conn, "GET /openapi.json HTTP/1.0\r\n\r\n")
		b, _ := io.ReadAll(conn)
		conn.Close()
		if bytes.HasPrefix(b, []byte("HTTP/1.0 200")) {
			return
		}
		if time.Since(began) > 5*time.Second {
			t.Fatal("a closed connection keeps its place")
		}
	}
}

// Streams that are opened and reset as fast as they can be harm nobody else.
func TestRapidReset(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.user.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		if c.Metadata.Get("attack") != "" {
			<-ctx.Done()
			return actors.Outcome{}, ctx.Err()
		}
		return actors.Outcome{Reply: &c.Payload}, nil
	}
	for _, contentType := range []string{"application/grpc", "application/json"} {
		conn := dial(t, r)
		conn.hello()
		block := conn.headers("/shop.v1.Echo/Say", contentType, "attack", "1")
		go io.Copy(io.Discard, conn.Conn)
		for id := uint32(1); id < 10_000; id += 2 {
			if conn.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}) != nil ||
				conn.framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
				break // the server has had enough, which is well
			}
		}
		if _, err := invoke(r.conn, "/shop.v1.Echo/Say", text("a")); err != nil {
			t.Errorf("others are harmed: %v", err)
		}
		conn.Close()
	}
}

func TestAckFilter(t *testing.T) {
	t.Parallel()
	var in, want bytes.Buffer
	for _, w := range []io.Writer{&in, &want} {
		f := http2.NewFramer(w, nil)
		f.WriteData(1, false, []byte("hello"))
		f.WriteSettings(http2.Setting{ID: 1, Val: 2})
		f.WriteData(1, false, nil)
		if w == &in {
			f.WriteSettingsAck()
		}
		f.WriteData(3, false, []byte("there"))
		f.WriteSettingsAck()
	}
	for name, wrap := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "by bytes": iotest.OneByteReader, "by halves": iotest.HalfReader} {
		source := wrap(bytes.NewReader(in.Bytes()))
		f := &ackFilter{}
		var got []byte
		for b := make([]byte, 7); ; {
			var n int
			var err error
			if f.done {
				n, err = source.Read(b)
			} else {
				n, err = f.read(source.Read, b)
			}
			got = append(got, b[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s: got %q, want %q", name, got, want.Bytes())
		}
	}
}
