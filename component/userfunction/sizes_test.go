package userfunction

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
)

func TestSizes(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(ok, answer(func(r *reply) {
		r.Events = []*anypb.Any{{TypeUrl: "x/y", Value: make([]byte, 20_100)}}
	}))}
	r := run(t, Config{Address: f.start(t, ""), MaxMessage: 20000})
	function := r.next(t).function("shop.Cart1")
	open := func() engine.Session {
		s, err := function.Open(t.Context(), engine.Start{Ref: ref("c1")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	refused := func(err error, says string) {
		t.Helper()
		if actors.CodeOf(err) != actors.ResourceExhausted || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "20000 bytes") {
			t.Errorf("got %v", err)
		}
	}
	big := turn("Add", "")
	big.Command.Payload.Data = make([]byte, 20_000)
	_, err := open().Handle(t.Context(), big)
	refused(err, "the command Add to shop.Cart1/c1")
	s := open()
	if _, err := s.Handle(t.Context(), turn("Add", "a")); err != nil {
		t.Fatal(err)
	}
	_, err = s.Handle(t.Context(), turn("Add", "b"))
	refused(err, "answers for shop.Cart1/c1")
	_, err = function.Open(t.Context(), engine.Start{Ref: ref("c1"), Snapshot: &big.Command.Payload})
	refused(err, "its state shop.Cart1/c1")
}

// A user function's own limit is not ours, and is said to be its.
func TestSizesOfTheUserFunction(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: spec(nil, "Cart1"), handle: follow(ok), options: []grpc.ServerOption{grpc.MaxRecvMsgSize(10_000)}}
	r := run(t, Config{Address: f.start(t, "")})
	function := r.next(t).function("shop.Cart1")
	refused := func(err error) {
		t.Helper()
		if actors.CodeOf(err) != actors.ResourceExhausted || !strings.Contains(err.Error(), "larger than its user function takes") ||
			!strings.Contains(err.Error(), "vs. 10000") {
			t.Errorf("got %v", err)
		}
	}
	big := turn("Add", "")
	big.Command.Payload.Data = make([]byte, 20_000)
	for _, start := range []engine.Start{{Ref: ref("c1")}, {Ref: ref("c1"), Snapshot: &big.Command.Payload}} {
		s, err := function.Open(t.Context(), start)
		if err == nil {
			_, err = s.Handle(t.Context(), big)
			s.Close()
		}
		refused(err)
	}
}
