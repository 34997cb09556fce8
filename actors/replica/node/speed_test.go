package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// BenchmarkUpdate is a local write to one of many small entities, with what goes with it: the batch and the tail.
func BenchmarkUpdate(b *testing.B) {
	for _, kind := range []string{"count", "set"} {
		b.Run(kind, func(b *testing.B) {
			s := newSim(1)
			s.config.RingBytes, s.config.TailBytes, s.config.Partitions = 64<<20, 32<<10, 1
			s.config.BatchBytes, s.config.EntryBytes, s.config.ChunkBytes = 128<<10, 256<<10, 256<<10
			n := s.start(0)
			u := s.user(n, newHistory())
			s.runFor(time.Second)
			var sts []*simStream
			for i := range 100 {
				u.open(fmt.Sprint(kind, "-", i))
				s.runFor(50 * time.Millisecond)
				sts = append(sts, u.streams[fmt.Sprint(kind, "-", i)])
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				up := &crdt.Update{Kind: crdt.GCounter, Increment: 1}
				if kind == "set" {
					up = add(fmt.Sprint("e", i%1000))
				}
				if err := sts[i%len(sts)].replica.Update(up, replica.Local, func(error) {}); err != nil {
					b.Fatal(err)
				}
				if i++; i%2000 == 0 { // a tick of 10 ms at 200,000 writes a second
					n.serve(0)
					s.runFor(10 * time.Millisecond)
				}
			}
		})
	}
}
