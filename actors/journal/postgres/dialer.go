package postgres

import (
	"context"
	"database/sql/driver"
	"net"
	"time"
)

// dialer keeps the connection it makes, so that the writer can end what waits on it.
type dialer struct {
	w   *writer
	ctx context.Context // of the one connect that uses it
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(d.ctx, network, address)
}

func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{KeepAlive: 10 * time.Second}).DialContext(ctx, network, address)
	if err == nil {
		if deadline, ok := d.ctx.Deadline(); ok { // a server may accept and then say nothing
			err = conn.SetDeadline(deadline)
		}
		d.w.wire = conn
	}
	return conn, err
}

// impatient makes the connections of readers, which fail when the server says nothing for too long. The driver reads
// only while it waits for an answer.
type impatient struct{ timeout time.Duration }

func (i impatient) Dial(network, address string) (net.Conn, error) {
	return i.DialContext(context.Background(), network, address)
}

func (i impatient) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return i.DialContext(ctx, network, address)
}

func (i impatient) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: i.timeout, KeepAlive: 10 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &impatientConn{conn, i.timeout}, nil
}

type impatientConn struct {
	net.Conn
	timeout time.Duration
}

func (c *impatientConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// settled gives every connection its settings.
type settled struct {
	driver.Connector
	settings string
}

func (s settled) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, s.settings, nil); err != nil {
		_ = conn.Close() // the same error
		return nil, err
	}
	return conn, nil
}
