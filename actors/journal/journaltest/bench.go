package journaltest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Bench measures appends in batches of several sizes, each of another stream with one event and a command record, also
// with an effect; the loading of 10,000 events; the way of effects through the outbox; and the reading of all events in
// order. The stable figure is the ratio between back ends and batch sizes, not the absolute one.
func Bench(b *testing.B, open func(t testing.TB) journal.Journal) {
	ctx := context.Background()
	for _, size := range []int{1, 16, 32, 64, 256} {
		b.Run(fmt.Sprintf("append/batch=%d", size), func(b *testing.B) { benchAppend(b, open(b), size, false) })
	}
	for _, size := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("append with effect/batch=%d", size), func(b *testing.B) { benchAppend(b, open(b), size, true) })
	}
	for _, sources := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("due and settle 64/sources=%d", sources), func(b *testing.B) { benchOutbox(b, open(b), 64, sources) })
	}
	b.Run("due of none/put off=10000", func(b *testing.B) { benchPutOff(b, open(b)) })
	for _, share := range []int{1, 10} {
		b.Run(fmt.Sprintf("tail/of %d services", share), func(b *testing.B) { benchTail(b, open(b), share) })
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

func benchAppend(b *testing.B, j journal.Journal, size int, effects bool) {
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
			if effects {
				batch[i].Effects = []actors.Effect{kept(fmt.Sprint("effect-", n))}
			}
			at[s]++
			n++
		}
		for _, r := range j.Append(context.Background(), batch) {
			if r.Status != journal.Committed {
				b.Fatalf("%+v", r)
			}
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "appends/s")
}

// benchOutbox takes effects of several sources out of a box that always has ten times as many.
func benchOutbox(b *testing.B, j journal.Journal, size, sources int) {
	defer j.Close()
	made, n := 0, 0
	fill := func() {
		for s := range sources {
			effects := make([]actors.Effect, size*10/sources)
			for i := range effects {
				made++
				effects[i] = kept(fmt.Sprint("effect-", made))
			}
			enqueue(b, j, cart(fmt.Sprint(s)), effects...)
		}
	}
	fill()
	all := lanes()
	for b.Loop() {
		if made-n < size*10 {
			b.StopTimer()
			fill()
			b.StartTimer()
		}
		list, err := j.Due(context.Background(), all, size)
		if err != nil || len(list) != size {
			b.Fatalf("%d are due, %v", len(list), err)
		}
		settlements := make([]journal.Settlement, len(list))
		for i := range list {
			settlements[i] = done(list[i].ID)
		}
		settle(b, j, settlements...)
		n += len(list)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "effects/s")
}

// benchPutOff polls an outbox in which everything waits behind what is put off.
func benchPutOff(b *testing.B, j journal.Journal) {
	defer j.Close()
	for s := range 10 {
		effects := make([]actors.Effect, 1000)
		for i := range effects {
			effects[i] = kept(fmt.Sprint(s, "-", i))
		}
		enqueue(b, j, cart(fmt.Sprint(s)), effects...)
		settle(b, j, postponed(fmt.Sprint(s, "-0"), time.Hour))
	}
	all := lanes()
	for b.Loop() {
		if list, err := j.Due(context.Background(), all, 64); err != nil || len(list) != 0 {
			b.Fatalf("%d are due, %v", len(list), err)
		}
	}
}

// benchTail reads the events of one of several services that took turns.
func benchTail(b *testing.B, j journal.Journal, services int) {
	defer j.Close()
	const total = 20000
	for n := 0; n < total; n += 500 {
		batch := make([]journal.Append, 500)
		for i := range batch {
			ref := actors.Ref{Service: fmt.Sprint("service-", i%services), ID: fmt.Sprint(i)}
			batch[i] = add(ref, journal.AnySequence, fmt.Sprint(n), long(200))
		}
		must(b, j, batch...)
	}
	of := []string{"service-0"}
	count := 0
	for b.Loop() {
		all, _ := follow(b, j, of, journal.Position{}, 256, total/services)
		count += len(all)
	}
	b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "events/s")
}
