package postgres_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// loss is a way in which an acknowledgement gets lost.
type loss string

const (
	lossFIN       loss = "FIN"       // the connection ends in an orderly way
	lossRST       loss = "RST"       // it is reset
	lossBlackhole loss = "blackhole" // nothing comes any more
	lossLate      loss = "late"      // the reply comes, late
	// The statement itself is late: the client's connection ends, and the server gets the statement when released.
	lossRequest loss = "request late"
)

// proxy stands before a PostgreSQL, understands its protocol, and loses the reply of one chosen statement after the
// server has carried it out and committed it.
type proxy struct {
	t        *testing.T
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	match   string
	how     loss
	release chan struct{}
	struck  int
	foreign bool // errors are told in another language
	conns   map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, target: target, listener: l, conns: map[net.Conn]bool{}, release: make(chan struct{})}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for c := range p.conns {
			c.Close()
		}
		p.conns = nil
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

// url is a URL of the server, through the proxy.
func (p *proxy) url(direct string) string {
	u, err := url.Parse(direct)
	if err != nil {
		p.t.Fatal(err)
	}
	u.Host = p.listener.Addr().String()
	return u.String()
}

// cut ends all connections that there are.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// lose arms the proxy for the next statement whose text contains match.
func (p *proxy) lose(match string, how loss) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.match, p.how = match, how
}

func (p *proxy) strike(text string) (loss, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.match == "" || !strings.Contains(text, p.match) {
		return "", false
	}
	p.match = ""
	p.struck++
	return p.how, true
}

func (p *proxy) hits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.struck
}

func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		if !p.keep(client) || !p.keep(server) {
			return
		}
		s := &session{proxy: p, client: client.(*net.TCPConn), server: server, texts: map[string]string{}}
		p.running.Go(s.requests)
		p.running.Go(s.replies)
	}
}

// session is one connection.
type session struct {
	*proxy
	client *net.TCPConn
	server net.Conn
	texts  map[string]string // of prepared statements

	mu   sync.Mutex
	lost loss // how to lose the replies up to the next ReadyForQuery
}

func message(r io.Reader, typed bool) (kind byte, raw []byte, err error) {
	head := make([]byte, 5)
	if !typed {
		head = head[:4]
	}
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[len(head)-4:])
	if n < 4 || n > 1<<28 {
		return 0, nil, errors.New("not the protocol")
	}
	raw = slices.Concat(head, make([]byte, n-4))
	_, err = io.ReadFull(r, raw[len(head):])
	return raw[0], raw, err
}

func text(b []byte) (string, []byte) {
	s, rest, _ := strings.Cut(string(b), "\x00")
	return s, []byte(rest)
}

func (s *session) requests() {
	defer s.server.Close()
	if _, raw, err := message(s.client, false); err != nil || write(s.server, raw) != nil {
		return
	}
	for {
		kind, raw, err := message(s.client, true)
		if err != nil {
			return
		}
		var struck bool
		var how loss
		switch kind {
		case 'P':
			name, rest := text(raw[5:])
			s.texts[name], _ = text(rest)
		case 'B':
			_, rest := text(raw[5:])
			name, _ := text(rest)
			if s.texts[name] != "" {
				how, struck = s.strike(s.texts[name])
			}
		case 'Q':
			query, _ := text(raw[5:])
			how, struck = s.strike(query)
		}
		if struck && how == lossRequest {
			for kind != 'S' && kind != 'Q' { // all of it, up to the Sync
				k, more, err := message(s.client, true)
				if err != nil {
					return
				}
				kind, raw = k, append(raw, more...)
			}
			s.client.Close()
			<-s.release
			_ = write(s.server, raw)
			time.Sleep(300 * time.Millisecond)
			return
		}
		if struck {
			s.mu.Lock()
			s.lost = how
			s.mu.Unlock()
		}
		if write(s.server, raw) != nil {
			return
		}
	}
}

func (s *session) replies() {
	defer s.client.Close()
	for {
		kind, raw, err := message(s.server, true)
		if err != nil {
			return
		}
		s.mu.Lock()
		how := s.lost
		s.mu.Unlock()
		if kind == 'E' && s.foreign {
			raw = bytes.Replace(raw, []byte("SERROR\x00"), []byte("SERREU\x00"), 1)
			raw = bytes.Replace(raw, []byte("SFATAL\x00"), []byte("SFATAA\x00"), 1)
		}
		switch {
		case how == "":
		case kind != 'Z' && how != lossLate:
			continue
		case kind != 'Z': // late: hold back what belongs to the reply
			time.Sleep(200 * time.Millisecond)
			s.mu.Lock()
			s.lost = ""
			s.mu.Unlock()
		case how == lossFIN:
			s.client.CloseWrite()
			return
		case how == lossRST:
			s.client.SetLinger(0)
			return
		case how == lossBlackhole:
			io.Copy(io.Discard, s.server) // until the client gives up
			return
		}
		if write(s.client, raw) != nil {
			return
		}
	}
}

func write(w io.Writer, raw []byte) error {
	_, err := w.Write(raw)
	return err
}
