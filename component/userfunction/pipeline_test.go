package userfunction

import (
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

// Commands that are given ahead are all on the line before the first is answered, and are answered in order.
func TestPipeline(t *testing.T) {
	t.Parallel()
	seen := make(chan []*cloudstate.Command, 1)
	f := &scripted{spec: spec([]string{"pipeline", "sequence"}, "Cart1"), handle: func(l *wire) error {
		var commands []*cloudstate.Command
		for len(commands) < 3 {
			m, err := l.recv()
			if err != nil {
				return err
			}
			if c := m.GetCommand(); c != nil {
				commands = append(commands, c)
			}
		}
		seen <- commands
		for _, c := range commands {
			if err := l.send(&out{Message: &eventsourced.EventSourcedStreamOut_Reply{
				Reply: &reply{CommandId: c.GetId(), ClientAction: replies("ok")},
			}}); err != nil {
				return err
			}
		}
		return l.hang()
	}}
	r := run(t, Config{Address: f.start(t, ""), CloseGrace: 10 * time.Second})
	s := r.open(t, engine.Start{Ref: ref("c1")})
	first, second, third := turn("Add", "a"), turn("Add", "b"), turn("Get", "c")
	first.Sequence, second.Sequence, third.Sequence = 4, engine.UnknownSequence, engine.UnknownSequence
	s.(engine.Ahead).Ahead(t.Context(), []engine.Turn{first, second, third})
	for i, c := range <-seen {
		if want := []int64{4, 0, 0}[i]; c.GetId() != int64(i)+1 || c.GetSequence() != want {
			t.Errorf("command %d has the id %d and the sequence %d, want %d", i+1, c.GetId(), c.GetSequence(), want)
		}
	}
	for _, x := range []engine.Turn{first, second} {
		if o, err := s.Handle(t.Context(), x); err != nil || o.Outcome.Reply == nil {
			t.Errorf("%v, %v", o, err)
		}
	}
	// One answer is not wanted any more: the user function is told at once, whatever its grace is.
	closed := time.Now()
	s.Close()
	f.wait(t)
	if took := time.Since(closed); took > 5*time.Second {
		t.Errorf("the stream ended after %v", took)
	}
}

func TestPipelineIsAnExtension(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(ok)}
	r := run(t, Config{Address: f.start(t, "")})
	s := r.open(t, engine.Start{Ref: ref("c1")})
	defer s.Close()
	if _, can := s.(engine.Ahead); can {
		t.Error("a user function that did not announce it would be given commands ahead")
	}
}
