package gateway

import (
	"errors"
	"net"
	"sync"
	"time"
)

// sorter accepts connections and hands each to the server that it is for.
type sorter struct {
	g           *Gateway
	listener    net.Listener
	native, web *handoff

	mu       sync.Mutex
	stopped  bool
	open     int
	refused  time.Time             // when the log was last told
	sniffing map[net.Conn]struct{} // to be closed on stop
	sorting  sync.WaitGroup
}

func newSorter(g *Gateway, l net.Listener) *sorter {
	return &sorter{
		g: g, listener: l, native: newHandoff(l.Addr()), web: newHandoff(l.Addr()),
		sniffing: make(map[net.Conn]struct{}),
	}
}

// run accepts until stop.
func (s *sorter) run() error {
	pause := time.Duration(0)
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // out of descriptors, most likely, which passes
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.g.log.Warn("cannot accept a connection", "error", err, "pause", pause.String())
			time.Sleep(pause)
			continue
		}
		pause = 0
		if c := s.admit(conn); c != nil {
			s.sorting.Go(func() { s.sort(c) })
		}
	}
}

// admit counts a connection, or closes it if there are too many.
func (s *sorter) admit(conn net.Conn) net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || s.open >= s.g.config.MaxConnections {
		conn.Close()
		if !s.stopped && time.Since(s.refused) > 10*time.Second {
			s.refused = time.Now()
			s.g.log.Warn("closed a new connection: there are as many as may be", "connections", s.open)
		}
		return nil
	}
	s.open++
	c := &counted{Conn: conn, leave: func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
	}}
	s.sniffing[c] = struct{}{}
	return c
}

func (s *sorter) sort(conn net.Conn) {
	sorted, native, err := s.g.sniff(conn)
	s.mu.Lock()
	delete(s.sniffing, conn)
	s.mu.Unlock()
	if err != nil {
		s.g.log.Debug("closed a connection before its first request", "error", err)
		conn.Close()
		return
	}
	to := s.web
	if native {
		to = s.native
	}
	to.give(sorted)
}

// stop takes no more connections, and closes those that have not asked for anything.
func (s *sorter) stop() {
	s.listener.Close()
	s.mu.Lock()
	s.stopped = true
	conns := make([]net.Conn, 0, len(s.sniffing))
	for c := range s.sniffing {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

// wait returns when nothing is being sorted any more.
func (s *sorter) wait() { s.sorting.Wait() }

// handoff is a listener for connections that were accepted elsewhere.
type handoff struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newHandoff(a net.Addr) *handoff {
	return &handoff{address: a, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (h *handoff) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.closed:
		conn.Close()
	}
}

func (h *handoff) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *handoff) Addr() net.Addr { return h.address }
