package engine

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// instant is a journal that keeps nothing: what is left is the engine.
type instant struct {
	journal.Journal
	length   int64
	appended atomic.Int64
}

func (j *instant) Load(context.Context, actors.Ref) (journal.Loading, error) {
	return journal.Loading{Head: journal.Head{Sequence: j.length}, Events: j.events()}, nil
}

func (j *instant) events() iter.Seq2[journal.Event, error] {
	p := *amount(1)
	return func(yield func(journal.Event, error) bool) {
		for n := int64(1); n <= j.length; n++ {
			if !yield(journal.Event{Sequence: n, Name: "added", Payload: p}, nil) {
				return
			}
		}
	}
}

func (j *instant) Append(_ context.Context, batch []journal.Append) []journal.Result {
	results := make([]journal.Result, len(batch))
	for k := range results {
		results[k].Status = journal.Committed
	}
	j.appended.Add(int64(len(batch)))
	return results
}

func (j *instant) Heads(_ context.Context, checks []journal.Check) ([]journal.Checked, error) {
	return make([]journal.Checked, len(checks)), nil
}

// plain is a user function that does next to nothing.
type plain struct{ reply Reply }

func (p *plain) Open(_ context.Context, s Start) (Session, error) {
	for _, err := range s.Events {
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *plain) Handle(context.Context, Turn) (Reply, error) { return p.reply, nil }
func (p *plain) Close()                                      {}

func adding() *plain {
	return &plain{Reply{Outcome: actors.Outcome{Reply: amount(1)}, Events: []Event{{Name: "added", Payload: *amount(1)}}}}
}

// measured runs an engine without a race-checked bank.
func measured(t testing.TB, j journal.Journal, f Function) *Engine {
	t.Helper()
	e, err := New(Config{Journal: j, MaxResident: 1 << 20, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	e.Serve([]Service{{Name: bankService, Function: f}})
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ran
	})
	return e
}

// TestAllocations holds the hot path to a budget: one command that writes one event, to a resident entity.
//
// The 16 are: the work and its channel, two for the worker, five for the turn's context, four for the append's context with its timer, events,
// command id, idle list, and the results of the test's journal. With a key, request
// hash and record come on top.
func TestAllocations(t *testing.T) {
	e := measured(t, &instant{}, adding())
	for _, x := range []struct {
		name   string
		key    bool
		budget float64
	}{{"drawn", false, 17}, {"keyed", true, 20}} {
		c := command("a", "add", 1)
		n := 0
		got := testing.AllocsPerRun(500, func() {
			if x.key {
				n++
				c.Key = strconv.Itoa(n)
			}
			if _, err := e.Handle(context.Background(), c); err != nil {
				t.Fatal(err)
			}
		})
		t.Logf("%s: %.0f allocations", x.name, got)
		if got > x.budget {
			t.Errorf("%s: %.0f allocations, the budget is %.0f", x.name, got, x.budget)
		}
	}
}

func BenchmarkTurn(b *testing.B) {
	for _, x := range []struct {
		name     string
		entities int
		f        Function
		key      bool
	}{
		{"write", 1000, adding(), false},
		{"write keyed", 1000, adding(), true},
		{"write one entity", 1, adding(), false},
		{"read", 1000, &plain{Reply{Outcome: actors.Outcome{Reply: amount(1)}}}, false},
	} {
		b.Run(x.name, func(b *testing.B) {
			j := &instant{}
			e := measured(b, j, x.f)
			var calls atomic.Int64
			e.config.Observer.Appended = func(int, int, time.Duration) { calls.Add(1) }
			var next atomic.Int64
			b.SetParallelism(16)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				c := command("", "add", 1)
				for p.Next() {
					n := next.Add(1)
					c.ID = strconv.FormatInt(n%int64(x.entities), 10)
					if x.key {
						c.Key = strconv.FormatInt(n, 10)
					}
					if _, err := e.Handle(context.Background(), c); err != nil {
						b.Error(err)
						return
					}
				}
			})
			if n := calls.Load(); n > 0 {
				b.ReportMetric(float64(j.appended.Load())/float64(n), "appends/batch")
			}
		})
	}
}

func BenchmarkActivation(b *testing.B) {
	e := measured(b, &instant{length: 10_000}, &plain{Reply{Outcome: actors.Outcome{Reply: amount(1)}}})
	ref := account1("a")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Handle(context.Background(), command("a", "get", 0)); err != nil {
			b.Fatal(err)
		}
		e.Disown(ref)
	}
}

// heap in use.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func resident(t testing.TB, entities int) (perResident, perOwned float64) {
	e := measured(t, &instant{}, adding())
	ids := make([]string, entities)
	for n := range ids {
		ids[n] = fmt.Sprintf("entity-%06d", n)
	}
	before := heap()
	for _, id := range ids {
		e.Own(account1(id))
	}
	owned := heap()
	for _, id := range ids {
		if _, err := e.Handle(context.Background(), command(id, "add", 1)); err != nil {
			t.Fatal(err)
		}
	}
	idle := heap()
	runtime.KeepAlive(ids)
	return float64(idle-owned) / float64(entities), float64(owned-before) / float64(entities)
}

// TestResidentBytes holds an idle entity to 1 KiB of the engine's memory, beside its session, and an owned one to 100
// bytes.
func TestResidentBytes(t *testing.T) {
	perResident, perOwned := resident(t, 20_000)
	t.Logf("%.0f bytes for a resident entity, %.0f for an owned one", perResident, perOwned)
	if perResident > 1024 || perOwned > 160 {
		t.Errorf("%.0f bytes for a resident entity, %.0f for an owned one", perResident, perOwned)
	}
}

func BenchmarkResident(b *testing.B) {
	for b.Loop() {
		perResident, perOwned := resident(b, 100_000)
		b.ReportMetric(perResident, "B/resident")
		b.ReportMetric(perOwned, "B/owned")
	}
}
