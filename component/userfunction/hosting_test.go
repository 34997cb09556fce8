package userfunction

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
	"github.com/dapr-entities/entities/actors/replica/slot"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// alone is the membership of a node without others.
type alone struct{}

func (alone) Standing() node.Standing {
	self := slot.Member{Epoch: 1}
	return node.Standing{Cluster: 1, Self: self, Valid: func() bool { return true }, View: 1, Members: []slot.Member{self}}
}
func (alone) Changed() <-chan struct{}                   { return nil }
func (alone) Refresh(context.Context) error              { return nil }
func (alone) Confirm(context.Context, slot.Member) error { return nil }

// hosting is a host on one node, before a scripted user function over real gRPC.
func hosting(t *testing.T, f *scripted, idle time.Duration) *replica.Host {
	t.Helper()
	f.spec = ofKind(spec(nil, "Cart1", "Cart2"), actors.Replicated, "Cart1", "Cart2")
	r := run(t, Config{Address: f.start(t, "")})
	r.next(t)
	cells := memory.Open()
	node, err := node.New(node.Config{Cells: cells, Membership: alone{}, Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	h, err := replica.New(replica.Config{Replicas: node, Log: slog.New(slog.DiscardHandler), Idle: idle})
	if err != nil {
		t.Fatal(err)
	}
	var services []replica.Service
	for _, name := range []string{"shop.Cart1", "shop.Cart2"} {
		services = append(services, replica.Service{Name: name, Function: r.Replicated(name)})
	}
	h.Serve(services)
	var running sync.WaitGroup
	start := func(run func(context.Context) error) (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		var done sync.WaitGroup
		done.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
		running.Go(done.Wait)
		return func() { cancel(); done.Wait() }
	}
	stopNode, stopHost := start(node.Run), start(h.Run)
	t.Cleanup(func() {
		stopHost()
		stopNode()
		running.Wait()
		if err := cells.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// called is a streamed command at work.
type called struct {
	cancel context.CancelFunc
	done   chan error
	mu     sync.Mutex
	got    []string
}

func callStream(t *testing.T, h *replica.Host, method string) *called {
	ctx, cancel := context.WithCancel(t.Context())
	c := &called{cancel: cancel, done: make(chan error, 1)}
	command := turn(method, "").Command
	go func() { // ends with the test's context, and wait is called
		c.done <- h.Stream(ctx, command, nil, func(o actors.Outcome) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			var b strings.Builder
			tell(&b, o)
			c.got = append(c.got, b.String())
			return nil
		})
	}()
	return c
}

func (c *called) wait(t *testing.T, outcomes int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d outcomes", outcomes), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.got) >= outcomes
	})
}

func vote(yes bool) *protocol.CrdtDelta {
	return &protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Vote{Vote: &protocol.VoteDelta{SelfVote: yes}}}
}

func streamedMessage(number int64, product string) *crdtOut {
	return &crdtOut{Message: &protocol.CrdtStreamOut_StreamedMessage{StreamedMessage: &protocol.CrdtStreamedMessage{CommandId: number, ClientAction: replies(product)}}}
}

func cancelResponse(number int64, a *protocol.CrdtStateAction) *crdtOut {
	return &crdtOut{Message: &protocol.CrdtStreamOut_StreamCancelledResponse{
		StreamCancelledResponse: &protocol.CrdtStreamCancelledResponse{CommandId: number, StateAction: a}}}
}

var deletion = &protocol.CrdtStateAction{Action: &protocol.CrdtStateAction_Delete{Delete: &protocol.CrdtDelete{}}}

// The conformance cases of Cloudstate's proxy, as they go over the wire of a whole node: C-P01 and C-P03.
func TestHostedChanges(t *testing.T) {
	t.Parallel()
	n := 0
	state := func(a *protocol.CrdtStateAction) crdtStep {
		return crdtAnswer(func(r *crdtReply) { n++; r.ClientAction = replies(fmt.Sprint(n)); r.StateAction = a })
	}
	f := &scripted{crdt: followCrdt(
		state(nil), state(changes(counts(2))), state(changes(counts(5))),
		crdtAnswer(func(r *crdtReply) { r.ClientAction = fails(&cloudstate.Failure{Description: "expected failure"}) }),
		state(deletion), state(nil),
	)}
	h := hosting(t, f, time.Minute)
	var caller strings.Builder
	for range 6 {
		o, err := h.Handle(t.Context(), turn("Add", "a").Command)
		if err != nil {
			t.Fatal(err)
		}
		describeOutcome(&caller, "Add", o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := h.Drain(ctx); err != nil {
		t.Error(err)
	}
	golden(t, "hosted_changes", f.transcript(t)+"caller\n"+caller.String())
}

// C-P04: callers who come and go, with no message too many.
func TestHostedStreams(t *testing.T) {
	t.Parallel()
	f := &scripted{}
	f.crdt = followCrdt(
		crdtAnswer(func(r *crdtReply) { r.ClientAction = replies("none"); r.Streamed = true }),
		all(crdtAnswer(func(r *crdtReply) { r.Streamed = true; r.StateAction = changes(vote(true)) }), crdtMessage(streamedMessage(1, "one"))),
		all(crdtMessage(cancelResponse(2, changes(vote(false)))), crdtMessage(streamedMessage(1, "none again"))),
		crdtMessage(cancelResponse(1, nil)),
		crdtAnswer(func(r *crdtReply) { r.StateAction = deletion }),
	)
	h := hosting(t, f, time.Minute)
	monitor := callStream(t, h, "Get")
	monitor.wait(t, 1)
	connect := callStream(t, h, "Add")
	connect.wait(t, 1)
	monitor.wait(t, 2)
	connect.cancel()
	<-connect.done
	monitor.wait(t, 3)
	monitor.cancel()
	<-monitor.done
	eventually(t, "the cancellation is answered", func() bool { return h.Stats().Streams == 0 })
	if _, err := h.Handle(t.Context(), turn("Add", "").Command); err != nil {
		t.Error(err)
	}
	text := f.transcript(t) + "monitor\n " + strings.Join(monitor.got, "\n ") + "\nconnect\n " + strings.Join(connect.got, "\n ") + "\n"
	golden(t, "hosted_streams", text)
}

// C-P06: what is idle is passivated, and begins with its value again.
func TestHostedPassivation(t *testing.T) {
	t.Parallel()
	f := &scripted{crdt: followCrdt(crdtAnswer(func(r *crdtReply) { r.StateAction = changes(counts(3)) }), crdtAnswer(func(*crdtReply) {}))}
	h := hosting(t, f, 100*time.Millisecond)
	for range 2 {
		if _, err := h.Handle(t.Context(), turn("Add", "").Command); err != nil {
			t.Error(err)
		}
		eventually(t, "it is passivated", func() bool { return h.Stats().Resident == 0 })
	}
	golden(t, "hosted_passivation", f.transcript(t))
}

// A user function that breaks off costs its caller a clear word, and the next session has what is there.
func TestHostedCrash(t *testing.T) {
	t.Parallel()
	f := &scripted{crdt: followCrdt(
		crdtAnswer(func(r *crdtReply) { r.StateAction = changes(counts(3)) }),
		func(*crdtWire, *crdtIn) error { return errHalt },
		crdtAnswer(func(r *crdtReply) {
			r.StateAction = changes(&protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Flag{Flag: &protocol.FlagDelta{Value: true}}})
		}),
		crdtAnswer(func(r *crdtReply) { r.ClientAction = replies("fine") }),
	)}
	h := hosting(t, f, time.Minute)
	var caller strings.Builder
	for range 4 {
		o, err := h.Handle(t.Context(), turn("Add", "").Command)
		if err != nil {
			fmt.Fprintf(&caller, "  %s: %v\n", actors.CodeOf(err), err)
			continue
		}
		describeOutcome(&caller, "Add", o)
	}
	eventually(t, "the mistake is told", func() bool { return strings.Contains(strings.Join(f.reports(), " "), "the Flag by which") })
	if err := h.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	golden(t, "hosted_crash", f.transcript(t)+"caller\n"+caller.String())
}
