package userfunction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

// echo answers every command with one event and a reply, without notes.
func echo(l *wire) error {
	for {
		m, err := l.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if c := m.GetCommand(); c != nil {
			r := &eventsourced.EventSourcedReply{CommandId: c.GetId(), ClientAction: replies("ok")}
			r.Events = append(r.Events, c.GetPayload())
			if err := l.stream.Send(&out{Message: &eventsourced.EventSourcedStreamOut_Reply{Reply: r}}); err != nil {
				return err
			}
		}
	}
}

func benched(b *testing.B) engine.Function {
	f := &scripted{spec: spec(nil, "Cart1"), handle: echo}
	return run(b, Config{Address: f.start(b, ""), Rediscover: -1}).next(b).function("shop.Cart1")
}

// BenchmarkTurn is one command and its answer over loopback, user function included.
func BenchmarkTurn(b *testing.B) {
	b.Run("one", func(b *testing.B) {
		s, err := benched(b).Open(b.Context(), engine.Start{Ref: ref("c1")})
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		t := turn("Add", "tea")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Handle(ctx, t); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		function := benched(b)
		var n atomic.Int64
		b.SetParallelism(32)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			s, err := function.Open(b.Context(), engine.Start{Ref: ref(fmt.Sprint(n.Add(1)))})
			if err != nil {
				b.Error(err)
				return
			}
			defer s.Close()
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			t := turn("Add", "tea")
			for pb.Next() {
				if _, err := s.Handle(ctx, t); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkSession opens a session, gives it one command, and keeps it. The bytes are those of both sides, for the user
// function runs in this process too.
func BenchmarkSession(b *testing.B) {
	function := benched(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	sessions := make([]engine.Session, 0, 4096)
	for b.Loop() {
		s, err := function.Open(b.Context(), engine.Start{Ref: ref("c1")})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Handle(b.Context(), turn("Add", "tea")); err != nil {
			b.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/float64(len(sessions)), "bytes/session")
	for _, s := range sessions {
		s.Close()
	}
}
