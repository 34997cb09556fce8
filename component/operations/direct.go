package operations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/catalog"
)

// Direct is an open journal. Its zero value is of no use.
type Direct struct {
	Of journal.Journal
	// Scheme of the journal, as its setting has it.
	Scheme string
	// Catalog knows messages, and kinds of services. Nil, or a function that returns nil, knows what everybody knows.
	Catalog func() *catalog.Catalog
	// Held reports whether nobody else has been able to write to the journal since it was opened. Nil if that is not known.
	Held func(ctx context.Context) error
}

// pageEvents and pageBytes bound what a page holds that nobody gave a limit for.
const (
	pageEvents = 1000
	pageBytes  = 4 << 20
)

// About implements Journal.
func (d *Direct) About(ctx context.Context) (About, error) {
	id, err := d.Of.ID(ctx)
	if err != nil {
		return About{}, fmt.Errorf("ask the journal for its id: %w", err)
	}
	a := About{ID: id, Scheme: d.Scheme, Kinds: map[string]string{StateService: StateKeys}}
	if c := d.catalog(); c != nil {
		for _, s := range c.Services() {
			switch s.Kind {
			case actors.EventSourced:
				a.Kinds[s.Persistence] = EventSourced
			case actors.Value:
				a.Kinds[s.Persistence] = Value
			}
		}
	}
	return a, nil
}

func (d *Direct) catalog() *catalog.Catalog {
	if d.Catalog == nil {
		return nil
	}
	return d.Catalog()
}

// Services implements Journal.
func (d *Direct) Services(ctx context.Context) ([]string, error) { return d.Of.Services(ctx) }

// List implements Journal.
func (d *Direct) List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error) {
	return d.Of.List(ctx, service, after, page(limit))
}

func page(limit int) int {
	if limit <= 0 {
		return pageEvents
	}
	return min(limit, pageEvents)
}

// Span implements Journal.
func (d *Direct) Span(ctx context.Context, ref actors.Ref) (journal.Span, error) {
	return d.Of.Span(ctx, ref)
}

// Snapshot implements Journal.
func (d *Direct) Snapshot(ctx context.Context, ref actors.Ref) (*journal.Snapshot, error) {
	loading, err := d.Of.Load(ctx, ref)
	if err != nil {
		return nil, err
	}
	return loading.Snapshot, nil
}

// Events implements Journal.
func (d *Direct) Events(ctx context.Context, ref actors.Ref, after int64, limit int) ([]journal.Event, error) {
	return collect(d.Of.Read(ctx, ref, after, page(limit)))
}

func collect(events iter.Seq2[journal.Event, error]) (list []journal.Event, err error) {
	size := 0
	for e, err := range events {
		if err != nil {
			return list, err
		}
		list = append(list, e)
		if size += len(e.Payload.Data); size >= pageBytes {
			break
		}
	}
	return list, nil
}

// Tail implements Journal.
func (d *Direct) Tail(ctx context.Context, services []string, after journal.Position, limit int) ([]journal.Event, journal.Position, error) {
	return d.Of.Tail(ctx, services, after, page(limit))
}

// Blocked implements Journal.
func (d *Direct) Blocked(ctx context.Context) (string, error) {
	if b, ok := d.Of.(journal.Blocked); ok {
		return b.Blocked(ctx)
	}
	return "", nil
}

// Render implements Journal.
func (d *Direct) Render(_ context.Context, payloads []actors.Payload) ([]json.RawMessage, error) {
	c := d.catalog()
	if c == nil {
		c = wellKnown
	}
	list := make([]json.RawMessage, len(payloads))
	for i, p := range payloads {
		data, err := render(c, p)
		if err != nil {
			return nil, fmt.Errorf("render a %s: %w", p.TypeURL, err)
		}
		list[i] = data
	}
	return list, nil
}

// wellKnown knows the messages of protobuf itself.
var wellKnown = must(catalog.Described(nil))

func must(c *catalog.Catalog, err error) *catalog.Catalog {
	if err != nil {
		panic(err)
	}
	return c
}

// OpenDescriptors reads a serialized google.protobuf.FileDescriptorSet, as protoc --descriptor_set_out writes it.
func OpenDescriptors(set []byte) (func() *catalog.Catalog, error) {
	if len(set) == 0 {
		return nil, errors.New("read the descriptors: the file is empty; write it with protoc --include_imports --descriptor_set_out")
	}
	c, err := catalog.Described(set)
	if err != nil {
		return nil, fmt.Errorf("read the descriptors: %w", err)
	}
	return func() *catalog.Catalog { return c }, nil
}
