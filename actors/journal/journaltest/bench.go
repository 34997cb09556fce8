package journaltest

import (
	"context"
	"fmt"
	"testing"

	"github.com/dapr-entities/entities/actors/journal"
)

// Bench measures appends in batches of several sizes, each of another stream with one event and a command record, and
// the loading of 10,000 events. The stable figure is the ratio between back ends and batch sizes, not the absolute one.
func Bench(b *testing.B, open func(t testing.TB) journal.Journal) {
	ctx := context.Background()
	for _, size := range []int{1, 16, 32, 64, 256} {
		b.Run(fmt.Sprintf("append/batch=%d", size), func(b *testing.B) {
			j := open(b)
			defer j.Close()
			const streams = 2000
			at := make([]int64, streams)
			data := long(200)
			n, batch := 0, make([]journal.Append, size)
			b.ReportAllocs()
			for b.Loop() {
				for i := range batch {
					s := n % streams
					batch[i] = keyed(add(cart(fmt.Sprint("cart-", s)), at[s], fmt.Sprint("command-", n), data), 1)
					at[s]++
					n++
				}
				for _, r := range j.Append(ctx, batch) {
					if r.Status != journal.Committed {
						b.Fatalf("%+v", r)
					}
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "appends/s")
		})
	}
	b.Run("load/events=10000", func(b *testing.B) {
		j := open(b)
		defer j.Close()
		ref := cart("long")
		for n := int64(0); n < 10000; n += 500 {
			must(b, j, add(ref, n, fmt.Sprint(n), numbered(long(190), 500)...))
		}
		count := 0
		b.ReportAllocs()
		for b.Loop() {
			l, err := j.Load(ctx, ref)
			if err != nil {
				b.Fatal(err)
			}
			for _, err := range l.Events {
				if err != nil {
					b.Fatal(err)
				}
				count++
			}
		}
		b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "events/s")
	})
}
