package daprstate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/daprstate"
	"github.com/dapr-entities/entities/actors/journal/daprstate/daprstatetest"
)

// mortal is the way of one process to the store. Once it is dead nothing gets through.
type mortal struct {
	*daprstatetest.Store
	left atomic.Int64 // writes until it dies
}

var errDead = errors.New("the process is dead")

func (m *mortal) Get(ctx context.Context, keys []string) ([]daprstate.Item, error) {
	if m.left.Load() <= 0 {
		return nil, errDead
	}
	return m.Store.Get(ctx, keys)
}

func (m *mortal) Save(ctx context.Context, item daprstate.Item) error {
	return m.dies(func() error { return m.Store.Save(ctx, item) })
}

func (m *mortal) Put(ctx context.Context, items []daprstate.Item) error {
	return m.dies(func() error { return m.Store.Put(ctx, items) })
}

func (m *mortal) Delete(ctx context.Context, keys []string) error {
	return m.dies(func() error { return m.Store.Delete(ctx, keys) })
}

func (m *mortal) dies(write func() error) error {
	if m.left.Add(-1) < 0 {
		return errDead
	}
	return write()
}

// deed is an append whose fate is known: it was told to be committed, or told not to be, or told nothing.
type deed struct {
	ref     actors.Ref
	command string
	head    int64 // after it, if it was committed
	status  journal.Status
	both    string // of a transaction, the name
	effect  bool
}

// carried are the effects that somebody has carried out.
type carried struct {
	mu  sync.Mutex
	ids map[string]bool
}

// carry carries out what is due.
func (c *carried) carry(ctx context.Context, j *daprstate.Journal, lanes []int) {
	list, err := j.Due(ctx, nil, lanes, 5)
	if err != nil {
		return
	}
	var settlements []journal.Settlement
	c.mu.Lock()
	for _, p := range list {
		c.ids[p.ID] = true
		settlements = append(settlements, journal.Settlement{ID: p.ID, Verdict: journal.Done})
	}
	c.mu.Unlock()
	_ = j.Settle(ctx, settlements)
}

// TestFaults has three processes write to the same streams, two of which die in the middle, while writes are lost, come
// late or twice, and lose their replies. What was told has to be true, nothing may show in part, and whoever follows gets
// every event once and in order.
func TestFaults(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			faults(t, seed)
		})
	}
}

func faults(t *testing.T, seed uint64) {
	store := daprstatetest.New()
	store.Chance(seed, daprstatetest.Rates{Lost: 0.03, LostReply: 0.05, Late: 0.05, Twice: 0.05, Read: 0.02})
	config := daprstate.Config{Timeout: 200 * time.Millisecond, Quiet: 5 * time.Millisecond, MaxOpen: 16}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	refs := make([]actors.Ref, 24)
	for i := range refs {
		refs[i] = actors.Ref{Service: fmt.Sprint("s", i%2), ID: fmt.Sprint(i)}
	}
	var mu sync.Mutex
	var deeds []deed
	carried := &carried{ids: map[string]bool{}}
	var working sync.WaitGroup
	var journals []*daprstate.Journal
	for process := range 3 {
		way := &mortal{Store: store}
		way.left.Store(1 << 40)
		if process > 0 {
			way.left.Store(int64(300 * process))
		}
		config.Store = way
		j, err := daprstate.New(config)
		if err != nil {
			t.Fatal(err)
		}
		journals = append(journals, j)
		for worker := range 3 {
			random := rand.New(rand.NewPCG(seed, uint64(process*10+worker)))
			working.Go(func() {
				for n := range 40 {
					command := fmt.Sprintf("%d-%d-%d", process, worker, n)
					for _, d := range work(ctx, j, random, refs, command) {
						mu.Lock()
						deeds = append(deeds, d)
						mu.Unlock()
					}
				}
			})
		}
		working.Go(func() { // somebody follows and carries out effects meanwhile
			at := journal.Position{}
			for range 60 {
				_, to, err := j.Tail(ctx, []string{"s0", "s1"}, at, 7)
				if err == nil {
					at = to
				}
				carried.carry(ctx, j, allLanes())
				time.Sleep(time.Millisecond)
			}
		})
	}
	working.Wait()
	store.Chance(0, daprstatetest.Rates{})
	for _, j := range journals {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	store.Wait()
	config.Store = store
	j, err := daprstate.New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	verify(ctx, t, j, refs, deeds, carried)
}

// work is one append, or a transaction over two streams.
func work(ctx context.Context, j *daprstate.Journal, random *rand.Rand, refs []actors.Ref, command string) []deed {
	one := func(ref actors.Ref) journal.Append {
		a := journal.Append{Ref: ref, Expected: journal.AnySequence, Command: command, Epoch: 1 << 20}
		for n := range 1 + random.IntN(3) {
			a.Events = append(a.Events, journal.Event{Name: fmt.Sprint(n), Payload: actors.Payload{TypeURL: "t", Data: make([]byte, random.IntN(2)*5000)}})
		}
		if random.IntN(2) == 0 {
			a.Record = &journal.Record{Hash: [16]byte{1}, Outcome: []byte(command)}
		}
		if random.IntN(3) == 0 {
			a.Effects = []actors.Effect{{ID: command + " " + ref.ID, Ref: actors.Ref{Service: "t"}, Method: "m"}}
		}
		if random.IntN(4) == 0 {
			a.Snapshot = &actors.Payload{TypeURL: "s", Data: make([]byte, 3000)}
		}
		return a
	}
	a := refs[random.IntN(len(refs))]
	if random.IntN(3) > 0 {
		batch := []journal.Append{one(a)}
		r := j.Append(ctx, batch)[0]
		return []deed{{a, command, r.Head.Sequence, r.Status, "", len(batch[0].Effects) > 0}}
	}
	b := refs[random.IntN(len(refs))]
	if a == b {
		return nil
	}
	batch := []journal.Append{one(a), one(b)}
	r := j.Transact(ctx, batch)
	return []deed{
		{a, command, r[0].Head.Sequence, r[0].Status, command, len(batch[0].Effects) > 0},
		{b, command, r[1].Head.Sequence, r[1].Status, command, len(batch[1].Effects) > 0},
	}
}

func verify(ctx context.Context, t *testing.T, j *daprstate.Journal, refs []actors.Ref, deeds []deed, carried *carried) {
	t.Helper()
	total := 0
	applied := map[string]int64{} // the sequence after a command, by stream and command
	for _, ref := range refs {
		l, err := j.Load(ctx, ref)
		if err != nil {
			t.Fatal(err)
		}
		at := int64(0)
		for e, err := range j.Read(ctx, ref, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			at++
			name := ref.ID + " " + e.Command
			if before, ok := applied[name]; ok && before != at-1 {
				t.Errorf("%s was applied twice: at %d and %d", name, before, at)
			}
			applied[name] = at
		}
		if at != l.Head.Sequence {
			t.Errorf("%s has %d events, its head says %d", ref, at, l.Head.Sequence)
		}
		total += int(at)
	}
	kept := effectsOf(ctx, t, j)
	both := map[string][]bool{}
	statuses := map[journal.Status]int{}
	for _, d := range deeds {
		statuses[d.status]++
		at, is := applied[d.ref.ID+" "+d.command]
		switch {
		case d.status == journal.Committed && (!is || at != d.head):
			t.Errorf("%s to %s was told to be committed at %d, is at %d", d.command, d.ref, d.head, at)
		case d.status == journal.Refused && is:
			t.Errorf("%s to %s was refused, but is at %d", d.command, d.ref, at)
		case d.status != journal.Committed && d.status != journal.Refused && d.status != journal.Unknown:
			t.Errorf("%s to %s: %v", d.command, d.ref, d.status)
		}
		if d.both != "" {
			both[d.both] = append(both[d.both], is)
		}
		id := d.command + " " + d.ref.ID
		if there := kept[id] || carried.ids[id]; there && !is {
			t.Errorf("the effect of %s to %s is kept without its append", d.command, d.ref)
		} else if is && d.effect && !there {
			t.Errorf("the effect of %s to %s is lost", d.command, d.ref)
		}
	}
	for name, sides := range both {
		if sides[0] != sides[1] {
			t.Errorf("transaction %s was done on one side only", name)
		}
	}
	follows(ctx, t, j, total)
	t.Logf("%d events, results %v", total, statuses)
	if statuses[journal.Committed] < 60 || total == 0 {
		t.Errorf("nothing was tested: %v", statuses)
	}
}

func effectsOf(ctx context.Context, t *testing.T, j *daprstate.Journal) map[string]bool {
	t.Helper()
	list, err := j.Due(ctx, nil, allLanes(), 0)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	for _, p := range list {
		if kept[p.ID] {
			t.Errorf("effect %s comes twice", p.ID)
		}
		kept[p.ID] = true
	}
	return kept
}

// follows reads the feed until everything has come: what the dead have left behind comes late.
func follows(ctx context.Context, t *testing.T, j *daprstate.Journal, total int) {
	t.Helper()
	next := map[actors.Ref]int64{}
	at := journal.Position{}
	seen := 0
	for seen < total {
		events, to, err := j.Tail(ctx, []string{"s0", "s1"}, at, 50)
		if err != nil {
			t.Fatalf("after %d of %d events: %v", seen, total, err)
		}
		for _, e := range events {
			next[e.Ref]++
			if e.Sequence != next[e.Ref] {
				t.Fatalf("event %d of %s came, want %d", e.Sequence, e.Ref, next[e.Ref])
			}
		}
		seen += len(events)
		if to == at {
			time.Sleep(2 * time.Millisecond)
		}
		at = to
	}
	events, _, err := j.Tail(ctx, []string{"s0", "s1"}, at, 0)
	if err != nil || len(events) > 0 {
		t.Errorf("%d events too many, %v", len(events), err)
	}
}

func allLanes() []int {
	lanes := make([]int, journal.Lanes)
	for lane := range lanes {
		lanes[lane] = lane
	}
	return lanes
}
