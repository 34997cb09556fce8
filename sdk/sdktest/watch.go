package sdktest

import (
	"slices"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/codec"
	"github.com/dapr-entities/entities/sdk/internal/turn"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

// Watching is a streamed command of a replicated entity.
type Watching[Out any] struct {
	node      *node
	method    sdk.Method[struct{}, Out]
	outputs   codec.Codec[Out]
	command   int64
	ended     bool
	responses []Response[Out]
}

// Watch sends a streamed command to a replicated entity.
func Watch[In, Out any](h *Harness, method sdk.StreamOut[In, Out], in In) *Watching[Out] {
	h.t.Helper()
	n, ok := h.subject.(*node)
	if !ok || method.Service() != h.entity.Service {
		h.t.Fatalf("%s is no streamed command of a replicated entity %s", method, h.entity.Service)
	}
	inputs, err := codec.For[In](method.Name() + ".in")
	if err != nil {
		h.t.Fatalf("%s: %v", method, err)
	}
	w := &Watching[Out]{node: n, method: sdk.Method[struct{}, Out](method)}
	if w.outputs, err = codec.For[Out](method.Name() + ".out"); err != nil {
		h.t.Fatalf("%s: %v", method, err)
	}
	payload, err := inputs.Pack(in)
	if err != nil {
		h.t.Fatalf("%s: encode the input: %v", method, err)
	}
	n.revive()
	c := h.next(method.Name(), payload)
	c.Streamed = true
	w.command = c.GetId()
	n.streams[w.command] = w.take
	a := n.handle(c)
	w.responses = slices.Insert(w.responses, 0, w.response(a.action, a.effects))
	if a.action == nil && len(a.effects) == 0 {
		w.responses = w.responses[1:]
	}
	if !slices.Contains(a.events, streamed) {
		w.end()
	}
	n.check(string(method))
	return w
}

// Take returns what has come since it was asked last.
func (w *Watching[Out]) Take() []Response[Out] {
	taken := w.responses
	w.responses = nil
	return taken
}

// Replies returns the replies among what has come since it was asked last. It ends the test if there was a failure.
func (w *Watching[Out]) Replies() (replies []Out) {
	w.node.harness.t.Helper()
	for _, r := range w.Take() {
		if r.Err != nil {
			w.node.harness.t.Fatalf("%s: %v", w.method, r.Err)
		}
		if r.Replied {
			replies = append(replies, r.Reply)
		}
	}
	return replies
}

// Ended says whether the entity ended the stream, or the entity did itself.
func (w *Watching[Out]) Ended() bool { return w.ended }

// Cancel lets the caller go, and returns the effects that the entity then asked for.
func (w *Watching[Out]) Cancel() []Effect {
	t := w.node.harness.t
	t.Helper()
	if w.ended {
		t.Fatalf("%s: the stream has ended", w.method)
	}
	w.ended = true
	return effectsOf(t, w.node.cancel(w.command))
}

func (w *Watching[Out]) take(m *pb.CrdtStreamedMessage) {
	w.node.harness.t.Helper()
	if m == nil {
		w.ended = true
		return
	}
	if m.GetClientAction() != nil || len(m.GetSideEffects()) > 0 {
		w.responses = append(w.responses, w.response(m.GetClientAction(), m.GetSideEffects()))
	}
	if m.GetEndStream() {
		w.end()
	}
}

func (w *Watching[Out]) end() {
	w.ended = true
	delete(w.node.streams, w.command)
}

func (w *Watching[Out]) response(action *cloudstate.ClientAction, effects []*cloudstate.SideEffect) Response[Out] {
	h := w.node.harness
	h.t.Helper()
	r := Response[Out]{Effects: effectsOf(h.t, effects)}
	switch action := action.GetAction().(type) {
	case *cloudstate.ClientAction_Failure:
		r.Err = h.failure(action.Failure)
	case *cloudstate.ClientAction_Reply:
		var err error
		if r.Reply, err = w.outputs.Unpack(action.Reply.GetPayload()); err != nil {
			h.t.Fatalf("%s: decode the reply: %v", w.method, err)
		}
		r.Replied, r.Metadata = true, turn.Metadata(action.Reply.GetMetadata())
	}
	return r
}
