package replica_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// bench is a host with everything around it, inside a synctest bubble.
type bench struct {
	*replica.Host
	*testing.T
	copies *copies
	author *author
	left   []string
	stop   func()
}

func host(t *testing.T, change func(*replica.Config), test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, author: &author{}, copies: &copies{open: make(map[actors.Ref]*tally), kept: make(map[actors.Ref]*state)}}
		var mu sync.Mutex
		c := replica.Config{Replicas: b.copies, Log: slog.New(slog.DiscardHandler),
			Leftover: func(_ context.Context, c actors.Command, o actors.Outcome) error {
				mu.Lock()
				defer mu.Unlock()
				for _, x := range o.Effects {
					b.left = append(b.left, c.Method+" "+x.Method)
				}
				return nil
			}}
		if change != nil {
			change(&c)
		}
		h, err := replica.New(c)
		if err != nil {
			t.Fatal(err)
		}
		b.Host = h
		b.serve()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := h.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		b.stop = func() { cancel(); running.Wait() }
		defer b.stop()
		test(b)
	})
}

func (b *bench) serve() {
	b.Serve([]replica.Service{{Name: "shop.Counter", Persistence: "counters", Function: b.author}})
}

// stream is the n-th session so far, from 1.
func (b *bench) stream(n int) *stream {
	b.Helper()
	synctest.Wait()
	b.author.mu.Lock()
	defer b.author.mu.Unlock()
	if len(b.author.streams) < n {
		b.Fatalf("there are %d sessions, not %d", len(b.author.streams), n)
	}
	return b.author.streams[n-1]
}

func (b *bench) sessions() int {
	synctest.Wait()
	b.author.mu.Lock()
	defer b.author.mu.Unlock()
	return len(b.author.streams)
}

func (b *bench) leaves(want ...string) {
	b.Helper()
	synctest.Wait()
	if !slices.Equal(b.left, want) {
		b.Errorf("the effects that were left over are %q, want %q", b.left, want)
	}
}

// caller waits for what a command comes to.
type caller struct {
	*bench
	cancel context.CancelFunc
	mu     sync.Mutex
	got    []string
	err    error
	over   bool
	// room, if set, is what the caller waits for before each outcome.
	room chan struct{}
	lost error
}

func to(id, method string) actors.Command {
	return actors.Command{Ref: actors.Ref{Service: "shop.Counter", ID: id}, Method: method}
}

// command sends a command and waits until it is with the user function, or answered.
func (b *bench) command(c actors.Command) *caller {
	return b.call(func(ctx context.Context, w *caller) error {
		o, err := b.Handle(ctx, c)
		if err == nil {
			w.take(o)
		}
		return err
	}, nil)
}

// open sends a streamed command.
func (b *bench) open(c actors.Command, room chan struct{}) *caller {
	return b.call(func(ctx context.Context, w *caller) error {
		return b.Stream(ctx, c, nil, func(o actors.Outcome) error {
			if room != nil {
				<-room
			}
			return w.take(o)
		})
	}, room)
}

func (b *bench) call(do func(context.Context, *caller) error, room chan struct{}) *caller {
	ctx, cancel := context.WithCancel(b.Context())
	w := &caller{bench: b, cancel: cancel, room: room}
	go func() { // the bubble waits for it
		err := do(ctx, w)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err, w.over = err, true
	}()
	synctest.Wait()
	return w
}

func (w *caller) take(o actors.Outcome) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := "nothing"
	switch {
	case o.Reply != nil:
		text = string(o.Reply.Data)
	case o.Failure != nil:
		text = "F:" + o.Failure.Message
	}
	for _, x := range o.Effects {
		text += " and " + x.Method
	}
	w.got = append(w.got, text)
	return w.lost
}

// gets compares what the caller got so far; over says whether that is all, without an error.
func (w *caller) gets(over bool, want ...string) {
	w.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.got, want) || w.over != over || w.err != nil {
		w.Errorf("the caller got %q, over: %t, %v; want %q, over: %t", w.got, w.over, w.err, want, over)
	}
}

// fails wants an error.
func (w *caller) fails(code actors.Code, texts ...string) {
	w.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over || w.err == nil || actors.CodeOf(w.err) != code {
		w.Fatalf("the caller's call is over: %t, with %v (%s), want %s", w.over, w.err, actors.CodeOf(w.err), code)
	}
	for _, s := range texts {
		if !strings.Contains(w.err.Error(), s) {
			w.Errorf("%q does not say %q", w.err, s)
		}
	}
}

func says(text string) actors.Outcome {
	return actors.Outcome{Reply: &actors.Payload{TypeURL: "json.cloudstate.io/text", ContentType: actors.ContentJSON, Data: []byte(text)}}
}

func effect(o actors.Outcome, method string) actors.Outcome {
	o.Effects = append(slices.Clone(o.Effects), actors.Effect{Ref: actors.Ref{Service: "other", ID: "1"}, Method: method})
	return o
}

func reply(number int64, text string) replica.Answer {
	return replica.Answer{Kind: replica.Replied, Number: number, Outcome: says(text)}
}

func accept(number int64) replica.Answer {
	return replica.Answer{Kind: replica.Replied, Number: number, Streamed: true, Outcome: says("accepted")}
}

func message(number int64, text string, end bool) replica.Answer {
	return replica.Answer{Kind: replica.Message, Number: number, Outcome: says(text), End: end}
}

func with(a replica.Answer, by int64, level replica.Level) replica.Answer {
	a.Write = &replica.Write{Update: &crdt.Update{Kind: crdt.PNCounter, Change: by}, Level: level}
	return a
}

func deleting(a replica.Answer) replica.Answer {
	a.Write = &replica.Write{Delete: true}
	return a
}

var errBroken = errors.New("broken")
