package gateway

import (
	"bufio"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What a connection may send before its first request. Clients send a handful of frames.
const (
	maxEarlyFrames = 64
	maxEarlyFrame  = 16 << 10 // what HTTP/2 allows to everybody
)

// sniff reads the beginning of a connection and reports whether it is for the native gRPC server. The connection that it
// returns begins with what was read.
func (g *Gateway) sniff(conn net.Conn) (net.Conn, bool, error) {
	s := sniffer{g: g, conn: conn, in: bufio.NewReaderSize(conn, 4<<10)}
	s.deadline(g.config.HeaderTimeout)
	for i := range len(http2.ClientPreface) {
		b, err := s.in.Peek(i + 1)
		if err != nil {
			return nil, false, err
		}
		if b[i] != http2.ClientPreface[i] {
			s.deadline(0)
			return &replay{Conn: conn, rest: s.in}, false, nil
		}
	}
	return s.http2()
}

type sniffer struct {
	g    *Gateway
	conn net.Conn
	in   *bufio.Reader
	// seen is what the real server has to see.
	seen []byte
}

// deadline of the next reads and writes; 0 for none. A connection that takes no deadline is closed, and says so itself.
func (s *sniffer) deadline(d time.Duration) {
	t := time.Time{}
	if d > 0 {
		t = time.Now().Add(d)
	}
	_ = s.conn.SetDeadline(t)
}

// Read gives the framer its bytes and remembers them.
func (s *sniffer) Read(b []byte) (int, error) {
	n, err := s.in.Read(b)
	s.seen = append(s.seen, b[:n]...)
	return n, err
}

func (s *sniffer) http2() (net.Conn, bool, error) {
	s.seen = append(s.seen, http2.ClientPreface...)
	if _, err := s.in.Discard(len(http2.ClientPreface)); err != nil {
		return nil, false, err
	}
	framer := http2.NewFramer(s.conn, s)
	framer.SetMaxReadFrameSize(maxEarlyFrame)
	framer.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)
	framer.MaxHeaderListSize = uint32(s.g.config.MaxHeader)
	// Many wait for the server's settings before they ask for anything.
	if err := framer.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(s.g.config.MaxStreams)}); err != nil {
		return nil, false, err
	}
	acknowledged := false
	for n := range maxEarlyFrames {
		if n > 0 { // the first frame belongs to the preface; after it a connection may wait for its first request
			s.deadline(s.g.config.IdleTimeout)
			if _, err := s.in.Peek(1); err != nil {
				return nil, false, err
			}
		}
		s.deadline(s.g.config.HeaderTimeout)
		before := len(s.seen)
		frame, err := framer.ReadFrame()
		if _, malformed := errors.AsType[http2.StreamError](err); malformed {
			// net/http knows what to answer.
			return s.found(acknowledged), false, nil
		}
		if err != nil {
			return nil, false, err
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			native := false
			for _, h := range f.RegularFields() {
				native = native || h.Name == "content-type" && isGRPC(h.Value)
			}
			return s.found(acknowledged || native), native, nil
		case *http2.PingFrame:
			if !f.IsAck() {
				if err := framer.WritePing(true, f.Data); err != nil {
					return nil, false, err
				}
			}
			s.seen = s.seen[:before]
		case *http2.SettingsFrame:
			if f.IsAck() && !acknowledged {
				acknowledged = true
				s.seen = s.seen[:before]
			}
		case *http2.GoAwayFrame:
			return nil, false, errors.New("the client went away")
		}
	}
	return nil, false, errors.New("the client sends frames, and no request")
}

// found gives the connection up. The acknowledgement of our own settings, if it is still to come, would be one too many
// for net/http; gRPC does not count.
func (s *sniffer) found(acknowledged bool) net.Conn {
	s.deadline(0)
	r := &replay{Conn: s.conn, seen: s.seen, rest: s.in}
	if !acknowledged {
		r.filter = &ackFilter{}
	}
	return r
}

// isGRPC reports whether a content type is that of gRPC over HTTP/2 with protobuf.
func isGRPC(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/grpc" || media == "application/grpc+proto"
}

// replay is a connection whose beginning has been read. One goroutine at a time reads it.
type replay struct {
	net.Conn
	seen   []byte
	rest   *bufio.Reader
	filter *ackFilter
}

func (r *replay) Read(b []byte) (int, error) {
	switch {
	case len(r.seen) > 0:
		n := copy(b, r.seen)
		if r.seen = r.seen[n:]; len(r.seen) == 0 {
			r.seen = nil
		}
		return n, nil
	case r.filter != nil:
		n, err := r.filter.read(r.raw, b)
		if r.filter.done {
			r.filter = nil
		}
		return n, err
	default:
		return r.raw(b)
	}
}

func (r *replay) raw(b []byte) (int, error) {
	if r.rest == nil {
		return r.Conn.Read(b)
	}
	if r.rest.Buffered() > 0 {
		return r.rest.Read(b)
	}
	r.rest = nil
	return r.Conn.Read(b)
}

// ackFilter takes the first acknowledgement of settings out of a sequence of frames.
type ackFilter struct {
	header [9]byte
	// have is how much of the header has been read, out how much of it was given away, left the payload to come.
	have, out, left int
	done            bool
}

const (
	frameSettings = 4
	flagAck       = 1
)

func (f *ackFilter) read(raw func([]byte) (int, error), b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for f.have < len(f.header) {
		n, err := raw(f.header[f.have:])
		f.have += n
		if f.have == len(f.header) {
			f.left = int(f.header[0])<<16 | int(f.header[1])<<8 | int(f.header[2])
			if f.header[3] == frameSettings && f.header[4]&flagAck != 0 {
				f.done = true
				return raw(b)
			}
			break
		}
		if err != nil {
			return 0, err
		}
	}
	if f.out < len(f.header) {
		n := copy(b, f.header[f.out:])
		f.out += n
		f.next()
		return n, nil
	}
	n, err := raw(b[:min(len(b), f.left)])
	f.left -= n
	f.next()
	return n, err
}

// next begins another frame when this one has been given away.
func (f *ackFilter) next() {
	if f.out == len(f.header) && f.left == 0 {
		f.have, f.out = 0, 0
	}
}

// counted is a connection that gives its place back when it is closed.
type counted struct {
	net.Conn
	once  sync.Once
	leave func()
}

func (c *counted) Close() error {
	c.once.Do(c.leave)
	return c.Conn.Close()
}
