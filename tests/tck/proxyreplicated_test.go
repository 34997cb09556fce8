package tck

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// replicatedGateway is the callers' side of the cases.
type replicatedGateway struct {
	*proxy
	id string
}

// process calls and holds if the answer is the state.
func (p replicatedGateway) process(t *testing.T, state *crdt.CrdtDelta, steps ...step) {
	t.Helper()
	p.calls(t, "/"+replicatedFirst+"/Process", p.replicatedRequest(t, p.id, steps...), state)
}

// calls holds if a call is answered with a state, or with an empty Response.
func (p replicatedGateway) calls(t *testing.T, method string, request *anypb.Any, state *crdt.CrdtDelta) {
	t.Helper()
	got, err := p.call(t, method, request)
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	equal(t, "the reply to "+method, p.decode(t, modelC+"Response", p.replicatedResponse(t, state).GetValue()), got)
}

// begins is the entity's stream from its init, which has no state.
func (p replicatedGateway) begins(t *testing.T, service string) *exchange {
	t.Helper()
	x := p.next(t, replicatedPath)
	x.given(t, replicatedInit(service, p.id, nil))
	return x
}

// seen is one turn as the user function had it.
func (p replicatedGateway) seen(t *testing.T, x *exchange, n int64, want replicatedAnswer, steps ...step) {
	t.Helper()
	x.given(t, replicatedCommand(p.processCommand(t, p.id, n, steps...)))
	x.answered(t, p.replicatedReply(t, n, want))
}

// seenSecond is a turn of the second service.
func (p replicatedGateway) seenSecond(t *testing.T, x *exchange, n int64, want replicatedAnswer, steps ...step) {
	t.Helper()
	c := p.processCommand(t, p.id, n, steps...)
	c.Name = "Call"
	x.given(t, replicatedCommand(c))
	x.answered(t, p.replicatedReply(t, n, want))
}

// streamedCall is a server-streaming call.
func (p replicatedGateway) streamedCall(t *testing.T, more string) (grpc.ClientStream, context.CancelFunc) {
	t.Helper()
	s, cancel := p.open(t, "/"+replicatedFirst+"/ProcessStreamed")
	give(t, s, p.streamedRequest(t, p.id, more))
	finish(t, s)
	return s, cancel
}

// hears is the next element of a streamed call.
func (p replicatedGateway) hears(t *testing.T, s grpc.ClientStream, state *crdt.CrdtDelta) {
	t.Helper()
	var data []byte
	if err := s.RecvMsg(&data); err != nil {
		t.Fatalf("receive: %v", err)
	}
	equal(t, "what the caller gets", p.decode(t, modelC+"Response", p.replicatedResponse(t, state).GetValue()), p.decode(t, modelC+"Response", data))
}

func (p *proxy) testReplicated(t *testing.T) {
	run := func(name, kind string, test func(t *testing.T, p replicatedGateway)) {
		t.Run(name, func(t *testing.T) {
			test(t, replicatedGateway{p, freshKind(kind)})
		})
	}
	run("C-P01 state changes", "PNCounter", func(t *testing.T, p replicatedGateway) {
		p.process(t, pncounter(0))
		x := p.begins(t, replicatedFirst)
		p.seen(t, x, 1, replicatedAnswer{state: pncounter(0)})
		p.process(t, pncounter(2), "+1", "-2", "+3")
		p.seen(t, x, 2, replicatedAnswer{state: pncounter(2), update: pncounter(2)}, "+1", "-2", "+3")
		p.process(t, pncounter(7), "+4", "-5", "+6")
		p.seen(t, x, 3, replicatedAnswer{state: pncounter(7), update: pncounter(5)}, "+4", "-5", "+6")
		p.process(t, pncounter(7), "delete")
		p.seen(t, x, 4, replicatedAnswer{state: pncounter(7), delete: true}, "delete")
		x.closes(t, patience)
		p.quiet(t, x)
	})
	run("C-P02 forwards and side effects", "GSet", func(t *testing.T, p replicatedGateway) {
		p.process(t, gset("one"), "add one")
		x := p.begins(t, replicatedFirst)
		p.seen(t, x, 1, replicatedAnswer{state: gset("one"), update: gset("one")}, "add one")
		p.process(t, nil, step("forward "+p.id))
		p.seen(t, x, 2, replicatedAnswer{forward: p.id}, step("forward "+p.id))
		y := p.begins(t, replicatedTwo)
		p.seenSecond(t, y, 1, replicatedAnswer{})
		p.process(t, gset("one"), step("effect "+p.id))
		p.seen(t, x, 3, replicatedAnswer{state: gset("one"), effects: []step{step("effect " + p.id)}}, step("effect "+p.id))
		p.seenSecond(t, y, 2, replicatedAnswer{})
		p.process(t, gset("one"), "delete")
		p.seen(t, x, 4, replicatedAnswer{state: gset("one"), delete: true}, "delete")
		x.closes(t, patience)
		p.calls(t, "/"+replicatedTwo+"/Call", p.replicatedRequest(t, p.id, "delete"), nil)
		p.seenSecond(t, y, 3, replicatedAnswer{delete: true}, "delete")
		y.closes(t, patience)
		p.quiet(t, x, y)
	})
	run("C-P03 failures", "GCounter", func(t *testing.T, p replicatedGateway) {
		p.process(t, gcounter(42), "+42")
		x := p.begins(t, replicatedFirst)
		p.seen(t, x, 1, replicatedAnswer{state: gcounter(42), update: gcounter(42)}, "+42")
		p.fails(t, "/"+replicatedFirst+"/Process", p.replicatedRequest(t, p.id, "fail expected failure"), "expected failure")
		p.seen(t, x, 2, replicatedAnswer{fail: "expected failure"}, "fail expected failure")
		p.process(t, gcounter(42), "delete")
		p.seen(t, x, 3, replicatedAnswer{state: gcounter(42), delete: true}, "delete")
		x.closes(t, patience)
		p.quiet(t, x)
	})
	run("C-P04 streamed responses for connection tracking", "Vote", connectionTracking)
	run("C-P05 HTTP API", "PNCounter", func(t *testing.T, p replicatedGateway) {
		path, second := "/tck/model/crdt/"+p.id, "/"+replicatedTwo+"/Call"
		state := func(n int) string { return fmt.Sprintf(`{"state":{"pncounter":{"value":"%d"}}}`, n) }
		p.post(t, path, `{}`, 200, state(0))
		x := p.begins(t, replicatedFirst)
		p.seen(t, x, 1, replicatedAnswer{state: pncounter(0)})
		p.post(t, second, fmt.Sprintf(`{"id": %q}`, p.id), 200, `{}`)
		y := p.begins(t, replicatedTwo)
		p.seenSecond(t, y, 1, replicatedAnswer{})
		p.post(t, path, `{"actions": [{"update": {"pncounter": {"change": 42}}}]}`, 200, state(42))
		p.seen(t, x, 2, replicatedAnswer{state: pncounter(42), update: pncounter(42)}, "+42")
		p.post(t, path, `{"actions": [{"fail": {"message": "expected failure"}}]}`, 500, "expected failure")
		p.seen(t, x, 3, replicatedAnswer{fail: "expected failure"}, "fail expected failure")
		p.post(t, path, `{"actions": [{"update": {"pncounter": {"change": -123}}}]}`, 200, state(-81))
		p.seen(t, x, 4, replicatedAnswer{state: pncounter(-81), update: pncounter(-123)}, "-123")
		p.post(t, path, `{"actions": [{"delete": {}}]}`, 200, state(-81))
		p.seen(t, x, 5, replicatedAnswer{state: pncounter(-81), delete: true}, "delete")
		x.closes(t, patience)
		p.quiet(t, x, y)
	})
	run("C-P06 passivation timeout", "Flag", func(t *testing.T, p replicatedGateway) {
		p.calls(t, "/"+replicatedConf+"/Call", p.replicatedRequest(t, p.id), nil)
		x := p.begins(t, replicatedConf)
		p.seenSecond(t, x, 1, replicatedAnswer{})
		x.closes(t, 2*time.Second)
		p.quiet(t, x)
	})
}

// connectionTracking is C-P04: one caller watches who is connected, another one connects and goes.
func connectionTracking(t *testing.T, p replicatedGateway) {
	monitor, stopMonitor := p.streamedCall(t, "")
	p.hears(t, monitor, vote(false, 0, 1))
	x := p.begins(t, replicatedFirst)
	x.given(t, replicatedCommand(p.streamedCommand(t, p.id, 1, "")))
	x.answered(t, p.replicatedReply(t, 1, replicatedAnswer{state: vote(false, 0, 1), streamed: true}))

	const connecting = `"initialUpdate":{"vote":{"selfVote":true}},"cancelUpdate":{"vote":{"selfVote":false}},"empty":true`
	connect, stopConnect := p.streamedCall(t, connecting)
	connected := make(chan error, 1)
	silent := make(chan error, 1)
	go func() {
		_, err := connect.Header()
		connected <- err
		var data []byte
		silent <- connect.RecvMsg(&data)
	}()
	select {
	case err := <-connected:
		if err != nil {
			t.Fatalf("connect: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the call did not begin")
	}
	p.hears(t, monitor, vote(true, 1, 1))
	x.given(t, replicatedCommand(p.streamedCommand(t, p.id, 2, connecting)))
	x.answered(t, p.replicatedReply(t, 2, replicatedAnswer{empty: true, update: vote(true, 0, 0), streamed: true}))
	x.answered(t, p.streamedMessage(t, 1, vote(true, 1, 1), false))
	select {
	case err := <-silent:
		t.Fatalf("the call that is to be silent got an element, or ended: %v", err)
	case <-time.After(100 * time.Millisecond):
	}

	stopConnect()
	p.hears(t, monitor, vote(false, 0, 1))
	x.given(t, replicatedCancel(p.id, 2))
	x.answered(t, cancelResponse(2, vote(false, 0, 0)))
	x.answered(t, p.streamedMessage(t, 1, vote(false, 0, 1), false))
	if err := <-silent; err == nil {
		t.Error("the call that was cancelled got an element")
	}

	stopMonitor()
	x.given(t, replicatedCancel(p.id, 1))
	x.answered(t, cancelResponse(1, nil))
	p.process(t, vote(false, 0, 1), "delete")
	p.seen(t, x, 3, replicatedAnswer{state: vote(false, 0, 1), delete: true}, "delete")
	x.closes(t, patience)
	p.quiet(t, x)
}
