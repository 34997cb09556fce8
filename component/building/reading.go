package building

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Pages of history and list, in items.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// metadata of an answer that did not end: what to send as after.
const nextKey = "next"

// eventJSON is an event in the answers of get and history.
type eventJSON struct {
	Sequence    int64           `json:"sequence"`
	Name        string          `json:"name"`
	Time        time.Time       `json:"time"`
	Type        string          `json:"type"`
	Data        json.RawMessage `json:"data"`
	Command     string          `json:"command"`
	Traceparent string          `json:"traceparent,omitempty"`
	Caller      string          `json:"caller,omitempty"`
}

type snapshotJSON struct {
	Sequence int64           `json:"sequence"`
	Type     string          `json:"type"`
	Data     json.RawMessage `json:"data"`
}

type entityJSON struct {
	Found    bool          `json:"found"`
	Service  string        `json:"service"`
	ID       string        `json:"id"`
	Sequence int64         `json:"sequence"`
	Snapshot *snapshotJSON `json:"snapshot,omitempty"`
	// Events after the snapshot. If there are too many for an answer, the newest are missing: history has them, after
	// the sequence in the metadata next.
	Events []json.RawMessage `json:"events"`
}

type summaryJSON struct {
	ID       string    `json:"id"`
	Sequence int64     `json:"sequence"`
	Updated  time.Time `json:"updated"`
}

type outcomeJSON struct {
	Found    bool            `json:"found"`
	Sequence int64           `json:"sequence,omitempty"`
	Reply    json.RawMessage `json:"reply,omitempty"`
	Failure  *failureJSON    `json:"failure,omitempty"`
	Forward  *forwardJSON    `json:"forward,omitempty"`
}

type failureJSON struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

type forwardJSON struct {
	Service string `json:"service,omitempty"`
	ID      string `json:"id,omitempty"`
	Command string `json:"command"`
}

// journal returns what the readings need besides the call, and the entity's stream.
func (c *call) journal() (Journal, actors.Ref, error) {
	if c.runtime.Journal == nil || c.catalog == nil {
		return nil, actors.Ref{}, actors.Errorf(actors.FailedPrecondition, "read %s: %w", c.ref, errNoJournal)
	}
	if c.service.Kind == actors.Replicated {
		return nil, actors.Ref{}, actors.Errorf(actors.Unimplemented,
			"read %s: the service is replicated, which keeps no events; ask the entity by a command of its own (operation invoke)", c.ref)
	}
	return c.runtime.Journal, actors.Ref{Service: c.service.Persistence, ID: c.ref.ID}, nil
}

// room is what an answer's data may take, its metadata and brackets taken off.
func (c *call) room() int64 { return min(c.config.MaxReply, maxResponse) - overhead }

func (b *binding) get(ctx context.Context, c *call) (*components.InvokeResponse, error) {
	j, ref, err := c.journal()
	if err != nil {
		return nil, err
	}
	loading, err := j.Load(ctx, ref)
	if err != nil {
		return nil, journalError(fmt.Sprintf("get %s", c.ref), err)
	}
	c.sequence = loading.Head.Sequence
	e := entityJSON{
		Found: loading.Head.Sequence > loading.Origin, Service: c.ref.Service, ID: c.ref.ID, Sequence: loading.Head.Sequence, Events: []json.RawMessage{},
	}
	after, room := loading.Origin, c.room()-int64(len(c.ref.String())*6)
	if s := loading.Snapshot; s != nil {
		e.Snapshot = &snapshotJSON{Sequence: s.Sequence, Type: s.Payload.TypeURL, Data: c.json(s.Payload)}
		after, room = s.Sequence, room-int64(len(e.Snapshot.Data)+len(e.Snapshot.Type))
	}
	page := &page{call: c, room: room, limit: maxLimit}
	if room > 0 {
		if err := page.fill(loading.Events); err != nil {
			return nil, err
		}
	}
	metadata := map[string]string{"sequence": strconv.FormatInt(e.Sequence, 10)}
	if e.Events = append(e.Events, page.events...); after+int64(len(e.Events)) < e.Sequence {
		metadata[nextKey] = strconv.FormatInt(after+int64(len(e.Events)), 10)
	}
	return answer(e, metadata)
}

func (b *binding) history(ctx context.Context, c *call) (*components.InvokeResponse, error) {
	j, ref, err := c.journal()
	if err != nil {
		return nil, err
	}
	after, err := c.number("after", 0, 0, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	limit, err := c.number("limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	page := &page{call: c, room: c.room(), limit: int(limit), events: []json.RawMessage{}}
	if err := page.fill(readKept(ctx, j, ref, after, int(limit)+1)); err != nil {
		return nil, err
	}
	if page.more && len(page.events) == 0 {
		return nil, actors.Errorf(actors.ResourceExhausted, "event %d of %s does not fit into an answer of %d bytes; go on after it", page.last+1, c.ref, c.room())
	}
	metadata := map[string]string{}
	if page.more {
		metadata[nextKey] = strconv.FormatInt(page.last, 10)
	}
	return answer(page.events, metadata)
}

// page collects events for an answer until it is full.
type page struct {
	call   *call
	room   int64
	limit  int
	events []json.RawMessage
	last   int64 // sequence
	more   bool
}

func (p *page) fill(events func(func(journal.Event, error) bool)) error {
	for e, err := range events {
		if err != nil {
			return journalError(fmt.Sprintf("read %s", p.call.ref), err)
		}
		text, err := json.Marshal(eventJSON{
			Sequence: e.Sequence, Name: e.Name, Time: e.Time, Type: e.Payload.TypeURL, Data: p.call.json(e.Payload),
			Command: e.Command, Traceparent: e.Context.Traceparent, Caller: e.Context.Caller,
		})
		if err != nil {
			return fmt.Errorf("render event %d of %s: %w", e.Sequence, p.call.ref, err)
		}
		if len(p.events) == p.limit || int64(len(text))+1 > p.room {
			p.more, p.last = true, e.Sequence-1
			return nil
		}
		p.room -= int64(len(text)) + 1
		p.events, p.last = append(p.events, text), e.Sequence
	}
	return nil
}

func (b *binding) list(ctx context.Context, c *call) (*components.InvokeResponse, error) {
	j, ref, err := c.journal()
	if err != nil {
		return nil, err
	}
	limit, err := c.number("limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return nil, err
	}
	found, err := j.List(ctx, ref.Service, c.values["after"], int(limit)+1)
	if err != nil {
		return nil, journalError(fmt.Sprintf("list %s", c.ref.Service), err)
	}
	metadata := map[string]string{}
	if int64(len(found)) > limit {
		found = found[:limit]
		metadata[nextKey] = found[limit-1].ID
	}
	list := make([]summaryJSON, len(found))
	for i, s := range found {
		list[i] = summaryJSON{ID: s.ID, Sequence: s.Sequence, Updated: s.Updated}
	}
	return answer(list, metadata)
}

func (b *binding) outcome(ctx context.Context, c *call) (*components.InvokeResponse, error) {
	if _, _, err := c.journal(); err != nil {
		return nil, err
	}
	out, found, err := c.runtime.Outcomes(ctx, c.ref, c.values["idempotencyKey"])
	if err != nil {
		return nil, err
	}
	if !found {
		return answer(outcomeJSON{}, nil)
	}
	o := outcomeJSON{Found: true, Sequence: out.Sequence}
	if out.Reply != nil {
		o.Reply = c.json(*out.Reply)
	}
	if f := out.Failure; f != nil {
		o.Failure = &failureJSON{Code: f.Code.String(), Message: f.Message}
	}
	if f := out.Forward; f != nil {
		o.Forward = &forwardJSON{Service: f.Service, ID: f.ID, Command: f.Method}
	}
	return answer(o, map[string]string{"sequence": strconv.FormatInt(out.Sequence, 10)})
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
