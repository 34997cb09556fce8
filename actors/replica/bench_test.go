package replica_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// prompt is a user function that answers at once.
type prompt struct{ write *replica.Write }

type promptSession struct {
	prompt
	replica.Start
}

func (p prompt) Open(_ context.Context, start replica.Start) (replica.Session, error) {
	return &promptSession{p, start}, nil
}

func (s *promptSession) Command(_ context.Context, number int64, _ *actors.Command, _ bool) error {
	return s.Answer(replica.Answer{Kind: replica.Replied, Number: number, Write: s.write})
}
func (*promptSession) Cancelled(context.Context, int64) error     { return nil }
func (*promptSession) Update(context.Context, *crdt.Update) error { return nil }
func (*promptSession) Delete(context.Context) error               { return nil }
func (*promptSession) Close()                                     {}

// BenchmarkHost is the host's own way, without a user function's and without replication.
func BenchmarkHost(b *testing.B) {
	for name, p := range map[string]prompt{
		"read":  {},
		"write": {&replica.Write{Update: &crdt.Update{Kind: crdt.PNCounter, Change: 1}}},
	} {
		for _, entities := range []int{1, 1000} {
			b.Run(name+"/"+strconv.Itoa(entities), func(b *testing.B) {
				h, err := replica.New(replica.Config{
					Replicas: &copies{open: make(map[actors.Ref]*tally), kept: make(map[actors.Ref]*state)}, Log: slog.New(slog.DiscardHandler)})
				if err != nil {
					b.Fatal(err)
				}
				h.Serve([]replica.Service{{Name: "shop.Counter", Persistence: "counters", Function: p}})
				ctx, cancel := context.WithCancel(b.Context())
				var running sync.WaitGroup
				running.Go(func() { _ = h.Run(ctx) })
				var next atomic.Int64
				b.SetParallelism(16)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := h.Handle(ctx, to(strconv.Itoa(int(next.Add(1))%entities), "Add")); err != nil {
							b.Error(err)
						}
					}
				})
				b.StopTimer()
				cancel()
				running.Wait()
			})
		}
	}
}
