package dispatch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/actors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is everything around a Dispatch. It answers by script, and writes down what it was asked.
type world struct {
	// answers by service/id.method, or by service.method.
	answers map[string][]actors.Outcome
	errors  map[string]error
	// streams: whether the methods take and give any number of messages.
	streams map[string][2]bool
	outs    map[string]string
	full    error // of the outbox

	mu       sync.Mutex
	log      []string
	commands map[string]actors.Command
	reports  []string
	kept     []actors.Effect
	sources  []actors.Ref
	rung     int
}

var kinds = map[string]actors.Kind{
	"a": actors.EventSourced, "b": actors.EventSourced, "c": actors.Value, "act": actors.Action, "do": actors.Action, "crdt": actors.Replicated,
}

func (w *world) dispatch(t *testing.T, change func(*Config)) *Dispatch {
	t.Helper()
	c := Config{
		Kind: func(s string) (actors.Kind, bool) { k, ok := kinds[s]; return k, ok },
		Out:  func(service, method string) string { return w.outs[service+"."+method] },
		Streamed: func(service, method string) (in, out bool) {
			s := w.streams[service+"."+method]
			return s[0], s[1]
		},
		Remote: actors.HandlerFunc(w.handle), Actions: actions{w}, Publish: actors.HandlerFunc(w.handle), Outbox: w,
		Kept:   func() { w.mu.Lock(); defer w.mu.Unlock(); w.rung++ },
		Report: func(text string) { w.mu.Lock(); defer w.mu.Unlock(); w.reports = append(w.reports, text) },
	}
	if change != nil {
		change(&c)
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func name(c *actors.Command) string { return (&call{Command: *c}).name() }

func (w *world) note(c actors.Command) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := name(&c)
	w.log = append(w.log, n)
	if w.commands == nil {
		w.commands = make(map[string]actors.Command)
	}
	w.commands[n] = c
	return n
}

func (w *world) handle(_ context.Context, c actors.Command) (actors.Outcome, error) {
	n := w.note(c)
	if err := w.errors[n]; err != nil {
		return actors.Outcome{}, err
	}
	if o := w.answers[n]; len(o) > 0 {
		return o[0], nil
	}
	return actors.Outcome{Reply: text(n)}, nil
}

func (w *world) Enqueue(_ context.Context, source actors.Ref, effects []actors.Effect) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.full != nil && len(w.kept) > 0 {
		return w.full
	}
	for _, x := range effects {
		w.log = append(w.log, "keep "+x.Method)
		w.kept = append(w.kept, x)
		w.sources = append(w.sources, source)
		if source.Service != "crdt" && (source.ID != x.ID && source.ID != x.Key || source.Service != "act") {
			return fmt.Errorf("the source is %s", source)
		}
	}
	return nil
}

type actions struct{ *world }

func (a actions) Handle(ctx context.Context, c actors.Command) (actors.Outcome, error) {
	if s := a.streams[c.Service+"."+c.Method]; s[0] || s[1] {
		return actors.Outcome{}, errors.New("a streamed method was not called as one")
	}
	return a.handle(ctx, c)
}

// Stream answers by script, once it has read its inputs.
func (a actions) Stream(ctx context.Context, c actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error) error {
	s := a.streams[c.Service+"."+c.Method]
	if s[0] != (in != nil) || !s[0] && !s[1] || s[0] && !c.Payload.IsZero() {
		return errors.New("a streamed method was not called as it is")
	}
	for in != nil {
		i, err := in()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		a.mu.Lock()
		a.log = append(a.log, "in "+string(i.Payload.Data))
		a.mu.Unlock()
	}
	n := a.note(c)
	for _, o := range a.answers[n] {
		if err := out(o); err != nil {
			return fmt.Errorf("wrapped: %w", err)
		}
	}
	if err := a.errors[n]; err != nil {
		return err
	}
	return ctx.Err()
}

func text(s string) *actors.Payload {
	return &actors.Payload{TypeURL: "json.cloudstate.io/text", ContentType: actors.ContentJSON, Data: []byte(s)}
}

// to parses service/id.method, or service.method.
func to(s string) actors.Command {
	target, method, _ := strings.Cut(s, ".")
	at := max(strings.LastIndexByte(target, '/'), 0)
	service, id := target[:at], strings.TrimPrefix(target[at:], "/")
	if at == 0 {
		service, id = target, ""
	}
	return actors.Command{Ref: actors.Ref{Service: service, ID: id}, Method: method, Payload: *text("to " + s)}
}

func keyed(c actors.Command, key string) actors.Command {
	c.Key = key
	return c
}

func forward(s, key string) *actors.Forward {
	c := to(s)
	return &actors.Forward{Ref: c.Ref, Method: c.Method, Payload: c.Payload, Key: key, Metadata: actors.Metadata{{Key: "of", Text: "forward"}}}
}

func now(s string) actors.Effect {
	x := later(s)
	x.Synchronous, x.ID = true, "id of "+s
	return x
}

func later(s string) actors.Effect {
	c := to(s)
	return actors.Effect{Ref: c.Ref, Method: c.Method, Payload: c.Payload, Metadata: actors.Metadata{{Key: "of", Text: "effect"}}}
}

func (w *world) wants(t *testing.T, log string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := strings.Join(w.log, " "); got != log {
		t.Errorf("what was done is %q, want %q", got, log)
	}
}

func wantError(t *testing.T, err error, code actors.Code, texts ...string) {
	t.Helper()
	if err == nil || actors.CodeOf(err) != code {
		t.Fatalf("got %v (%s), want %s", err, actors.CodeOf(err), code)
	}
	for _, s := range texts {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}

func isUndecided(err error) bool {
	var u Undecided
	return errors.As(err, &u) && u.Undecided()
}

func inputs(texts ...string) func() (actors.Input, error) {
	return func() (actors.Input, error) {
		if len(texts) == 0 {
			return actors.Input{}, io.EOF
		}
		first := texts[0]
		texts = slices.Clone(texts[1:])
		return actors.Input{Payload: *text(first), Metadata: actors.Metadata{{Key: "of", Text: first}}}, nil
	}
}
