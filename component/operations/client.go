package operations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Client is the journal of a running component.
type Client struct {
	url  string
	http *http.Client
}

var (
	_ Journal = (*Direct)(nil)
	_ Journal = (*Client)(nil)
)

// Dial makes a client of the component with an adminAddress. It does not ask for anything yet.
func Dial(address string) (*Client, error) {
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("the component's address is %q; write host:port, as its setting adminAddress has it", address)
	}
	return &Client{
		url:  "http://" + address + Path,
		http: &http.Client{Timeout: 2 * callTimeout, Transport: &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 4}},
	}, nil
}

// Close lets go of connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// maxAnswer is far above a page: one event may be as big as the component's maxMessage allows.
const maxAnswer = 4 << 30

// call calls a method. The error may come with what was before it.
func (c *Client) call(ctx context.Context, method string, in request) (response, error) {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	if err := e.Encode(&in); err != nil {
		return response{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+method, &body)
	if err != nil {
		return response{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return response{}, ctx.Err()
		}
		return response{}, fmt.Errorf("ask the component: %w; is it running, and is that its adminAddress?", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1024)) // a shorter reason is one, too
		return response{}, fmt.Errorf("the component answers %s: %s", answer.Status, strings.TrimSpace(string(text)))
	}
	var out response
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&out); err != nil {
		return response{}, fmt.Errorf("the component's answer cannot be read: %w", errors.Join(ctx.Err(), err))
	}
	if out.Error != nil {
		return out, out.Error.error()
	}
	return out, nil
}

// About implements Journal.
func (c *Client) About(ctx context.Context) (About, error) {
	out, err := c.call(ctx, "about", request{})
	if err != nil || out.About == nil {
		return About{}, err
	}
	return *out.About, nil
}

// Services implements Journal.
func (c *Client) Services(ctx context.Context) ([]string, error) {
	out, err := c.call(ctx, "services", request{})
	return out.Services, err
}

// List implements Journal.
func (c *Client) List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error) {
	out, err := c.call(ctx, "list", request{Service: service, After: after, Limit: limit})
	var list []journal.Summary
	for _, e := range out.Entities {
		list = append(list, journal.Summary{ID: e.ID, Sequence: e.Sequence, Updated: e.Updated})
	}
	return list, err
}

// Span implements Journal.
func (c *Client) Span(ctx context.Context, ref actors.Ref) (journal.Span, error) {
	out, err := c.call(ctx, "span", request{Service: ref.Service, ID: ref.ID})
	if err != nil || out.Stream == nil {
		return journal.Span{}, err
	}
	return out.Stream.span(), nil
}

// Snapshot implements Journal.
func (c *Client) Snapshot(ctx context.Context, ref actors.Ref) (*journal.Snapshot, error) {
	out, err := c.call(ctx, "snapshot", request{Service: ref.Service, ID: ref.ID})
	if err != nil || out.Snapshot == nil {
		return nil, err
	}
	return &journal.Snapshot{Sequence: out.Snapshot.Sequence, Payload: out.Snapshot.payload()}, nil
}

// Events implements Journal.
func (c *Client) Events(ctx context.Context, ref actors.Ref, after int64, limit int) ([]journal.Event, error) {
	out, err := c.call(ctx, "events", request{Service: ref.Service, ID: ref.ID, Sequence: after, Limit: limit})
	return out.events(), err
}

func (r *response) events() []journal.Event {
	var list []journal.Event
	for i := range r.Events {
		e := r.Events[i].event()
		e.Position = journal.Position(r.Events[i].Position)
		list = append(list, e)
	}
	return list
}

// Tail implements Journal.
func (c *Client) Tail(ctx context.Context, services []string, after journal.Position, limit int) ([]journal.Event, journal.Position, error) {
	out, err := c.call(ctx, "tail", request{Services: services, Position: positionForm(after), Limit: limit})
	if err != nil && !errors.Is(err, journal.ErrCorrupt) {
		return nil, after, err
	}
	return out.events(), journal.Position(out.Position), err
}

// Blocked implements Journal.
func (c *Client) Blocked(ctx context.Context) (string, error) {
	out, err := c.call(ctx, "blocked", request{})
	return out.Blocked, err
}

// Render implements Journal.
func (c *Client) Render(ctx context.Context, payloads []actors.Payload) ([]json.RawMessage, error) {
	var in request
	for _, p := range payloads {
		in.Payloads = append(in.Payloads, payloadOf(p))
	}
	out, err := c.call(ctx, "render", in)
	if err == nil && len(out.Rendered) != len(payloads) {
		err = fmt.Errorf("the component renders %d of %d payloads", len(out.Rendered), len(payloads))
	}
	return out.Rendered, err
}

// Records implements Journal.
func (c *Client) Records(ctx context.Context, ref actors.Ref, after string, limit int) ([]journal.CommandRecord, error) {
	out, err := c.call(ctx, "records", request{Service: ref.Service, ID: ref.ID, After: after, Limit: limit})
	var list []journal.CommandRecord
	for i := range out.Records {
		r, bad := out.Records[i].record()
		list, err = append(list, r), errors.Join(err, bad)
	}
	return list, err
}

// Kept implements Journal.
func (c *Client) Kept(ctx context.Context, mark string, limit int) ([]journal.Kept, string, error) {
	out, err := c.call(ctx, "kept", request{After: mark, Limit: limit})
	var list []journal.Kept
	for i := range out.Effects {
		list = append(list, out.Effects[i].kept())
	}
	return list, out.Next, err
}

// Cells implements Journal.
func (c *Client) Cells(ctx context.Context, prefix, after string, limit int) ([]journal.Cell, error) {
	out, err := c.call(ctx, "cells", request{Prefix: prefix, After: after, Limit: limit})
	var list []journal.Cell
	for _, cell := range out.Cells {
		list = append(list, journal.Cell{Key: cell.Key, Value: cell.Value, Version: cell.Version})
	}
	return list, err
}

// Restore implements Journal.
func (c *Client) Restore(ctx context.Context, r journal.Restored) error {
	stream := streamOf(r.Ref, r.Span)
	in := request{Stream: &stream}
	for i := range r.Events {
		in.Events = append(in.Events, eventOf(&r.Events[i]))
	}
	for i := range r.Records {
		in.Records = append(in.Records, recordOf(&r.Records[i]))
	}
	if s := r.Snapshot; s != nil {
		in.Snapshot = &snapshotForm{s.Sequence, payloadOf(s.Payload)}
	}
	_, err := c.call(ctx, "restore", in)
	return err
}

// Forget implements Journal.
func (c *Client) Forget(ctx context.Context, ref actors.Ref, through int64) error {
	_, err := c.call(ctx, "forget", request{Service: ref.Service, ID: ref.ID, Sequence: through})
	return err
}

// Keep implements Journal.
func (c *Client) Keep(ctx context.Context, effects []journal.Kept) error {
	var in request
	for i := range effects {
		in.Effects = append(in.Effects, effectOf(&effects[i]))
	}
	_, err := c.call(ctx, "keep", in)
	return err
}

// Put implements Journal.
func (c *Client) Put(ctx context.Context, cell journal.Cell) (int64, error) {
	out, err := c.call(ctx, "put", request{Cell: &cellForm{cell.Key, cell.Value}, Sequence: cell.Version})
	return out.Version, err
}

// Erase implements Journal.
func (c *Client) Erase(ctx context.Context, ref actors.Ref) error {
	_, err := c.call(ctx, "erase", request{Service: ref.Service, ID: ref.ID})
	return err
}
