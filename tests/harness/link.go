package harness

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Link is a piece of network between somebody and a server. While it is cut, bytes do not pass but are not lost either, and
// connections neither open nor break: what a partition of the network looks like from either end. Its methods are safe for
// concurrent use.
type Link struct {
	// Address is what the one end takes for the server's.
	Address string

	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu     sync.Mutex
	open   *sync.Cond
	cut    bool
	closed bool
	conns  map[net.Conn]struct{}
}

// NewLink listens on a free port of the loopback interface and passes everything on to the target, host:port, until Close.
func NewLink(target string) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("make a link to %s: %w", target, err)
	}
	l := &Link{Address: listener.Addr().String(), listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	l.open = sync.NewCond(&l.mu)
	l.running.Go(l.accept)
	return l, nil
}

// Cut and Heal begin and end a partition.
func (l *Link) Cut() { l.set(true) }

// Heal lets everything pass that has waited.
func (l *Link) Heal() { l.set(false) }

func (l *Link) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	l.open.Broadcast()
}

// Close ends the link and all connections.
func (l *Link) Close() error {
	err := l.listener.Close()
	l.mu.Lock()
	l.closed = true
	for c := range l.conns {
		err = errors.Join(err, ignoreClosed(c.Close()))
	}
	l.open.Broadcast()
	l.mu.Unlock()
	l.running.Wait()
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (l *Link) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		if l.add(near) {
			l.running.Go(func() { l.connect(near) })
		}
	}
}

// add takes a connection into account, or closes it if the link is closed.
func (l *Link) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

// pass waits until the link is not cut, and reports false if it is closed.
func (l *Link) pass() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.cut && !l.closed {
		l.open.Wait()
	}
	return !l.closed
}

func (l *Link) connect(near net.Conn) {
	defer l.drop(near)
	if !l.pass() {
		return
	}
	far, err := net.Dial("tcp", l.target)
	if err != nil || !l.add(far) {
		return
	}
	defer l.drop(far)
	var back sync.WaitGroup
	back.Go(func() { l.copy(near, far) })
	l.copy(far, near)
	back.Wait()
}

func (l *Link) drop(c net.Conn) {
	c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// copy passes bytes on in one direction, and that no more come.
func (l *Link) copy(to, from net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if !l.pass() {
			return
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				from.Close() // the other direction would wait for nothing
				return
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				if half, ok := to.(*net.TCPConn); ok {
					_ = half.CloseWrite() // it may be closed already
					return
				}
			}
			to.Close()
			return
		}
	}
}
