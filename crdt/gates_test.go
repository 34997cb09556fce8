package crdt

import (
	"runtime"
	"testing"
	"time"
)

// The gates compare the cost of what users do often with a plain Go map's, in one run: rounds of everything compared are
// interleaved and the best round of each counts, so that a busy machine does not fail them. Where a target is a time, it
// is that of a machine where adding to and removing from a map of 100,000 takes 125 ns, and grows with how much slower this
// one is. What reads little memory waits for the processor alone, which may be slower than its memory just now: it is measured
// by how long the hash of a key takes, which was 9.1 ns there.

const (
	pairOnReference = 125 * time.Nanosecond
	hashOnReference = 9.1
)

func skipGate(t *testing.T) {
	t.Helper()
	switch {
	case raceDetector:
		t.Skip("the race detector slows the code down, and the map that it is compared with far less")
	case testing.Short():
		t.Skip("gates take seconds")
	}
}

// round does what is compared a number of times, and says how long that took without what it had to prepare.
type round func() time.Duration

// best of interleaved rounds, per operation.
func best(rounds, ops int, all ...round) []float64 {
	least := make([]float64, len(all))
	runtime.GC()
	for n := range rounds {
		for i, f := range all {
			took := float64(f()) / float64(ops)
			if n == 0 || took < least[i] {
				least[i] = took
			}
		}
	}
	return least
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// plain is the map that everything is compared with. Its rounds leave it as it was.
type plain struct {
	m     map[string]struct{}
	fresh *supply
}

func newPlain(keys []Key, fresh *supply) *plain {
	p := &plain{make(map[string]struct{}), fresh}
	for _, k := range keys {
		p.m[k.s] = struct{}{}
	}
	return p
}

func (p *plain) insert() time.Duration {
	fresh := p.fresh.take()
	defer p.remove(fresh)
	return timed(func() {
		for _, k := range fresh {
			p.m[k.s] = struct{}{}
		}
	})
}

func (p *plain) remove(fresh []Key) {
	for _, k := range fresh {
		delete(p.m, k.s)
	}
}

// pair of an insert and a delete.
func (p *plain) pair() time.Duration {
	fresh := p.fresh.take()
	return timed(func() {
		for _, k := range fresh {
			p.m[k.s] = struct{}{}
		}
		p.remove(fresh)
	})
}

// hash of keys that are in the processor's cache.
func (s *supply) hash() time.Duration {
	return timed(func() {
		for _, k := range s.keys[:s.ops] {
			s.sum += hashString(k.s)
		}
	})
}

// supply of keys that are nowhere, in batches. Each is another one than the last time, so that nothing finds what it needs in
// the processor's cache because it has just done the same; but the keys themselves have just been read, as if they had come
// in.
type supply struct {
	keys []Key
	ops  int
	at   int
	sum  uint64
}

func newSupply(keys []Key, ops int) *supply { return &supply{keys: keys, ops: ops} }

func (s *supply) take() []Key {
	if s.at+s.ops > len(s.keys) {
		s.at = 0
	}
	s.at += s.ops
	keys := s.keys[s.at-s.ops : s.at]
	for _, k := range keys {
		s.sum += hashString(k.s)
	}
	return keys
}

// slower than the reference by this factor, at least 1.
func slower(pair float64) float64 { return max(1, pair/float64(pairOnReference)) }

// joined is Join without what gates do not look at.
func joined(tb testing.TB, e *Entity, d *Delta) (inflated bool) {
	inflated, err := e.Join(d, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return inflated
}

// applied is Apply without what gates do not look at.
func applied(tb testing.TB, e *Entity, w *Writer, u *Update) *Delta {
	d, _, err := e.Apply(w, u, nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func within(t *testing.T, what string, is, limit float64, unit string) {
	t.Helper()
	t.Logf("%s: %.4g %s, at most %.4g", what, is, unit, limit)
	if is > limit {
		t.Errorf("%s: %.4g %s, want at most %.4g", what, is, unit, limit)
	}
}

const batch, supplied = 500, 50_000

func TestGateORSetLocalAdd(t *testing.T) {
	skipGate(t)
	keys := benchKeys(benchSize + supplied)
	fresh := newSupply(keys[benchSize:], batch)
	p := newPlain(keys[:benchSize], fresh)
	var scratch Scratch
	e, w := benchSet(t, keys[:benchSize])
	u := &Update{Kind: ORSet, Added: make([]Key, 1)}
	add := func(s *Scratch) round {
		return func() time.Duration {
			w.Scratch = s
			keys := fresh.take()
			took := timed(func() {
				for _, k := range keys {
					u.Added[0] = k
					applied(t, e, w, u)
				}
			})
			applied(t, e, w, &Update{Kind: ORSet, Removed: keys})
			return took
		}
	}
	least := best(60, batch, p.insert, add(nil), add(&scratch))
	within(t, "adding an element whose delta is kept", least[1]/least[0], 2.5, "inserts into a plain map")
	within(t, "adding an element whose delta is joined to others", least[2]/least[0], 2.5, "inserts into a plain map")
	t.Logf("an insert into a plain map: %.4g ns", least[0])

	for _, s := range []*Scratch{nil, &scratch} {
		w.Scratch = s
		keys, at, limit := fresh.take(), 0, 1.0
		if s != nil {
			limit = 0
		}
		within(t, "allocations", testing.AllocsPerRun(batch-1, func() {
			u.Added[0] = keys[at]
			at++
			applied(t, e, w, u)
		}), limit, "")
		applied(t, e, w, &Update{Kind: ORSet, Removed: keys})
	}
}

// mergeOne merges deltas of one new element each into a set that is built of keys: as they come from another node, or when
// they have been decoded. It leaves the set as it was.
func mergeOne(t *testing.T, keys []Key, supply *supply) (e *Entity, arriving, decoded round) {
	e, w := benchSet(t, keys)
	other, their := New(0), &Writer{Slot: 2, Epoch: 1}
	deltas, encoded := make([]*Delta, supply.ops), make([][]byte, supply.ops)
	merge := func(f func()) time.Duration {
		fresh := supply.take()
		for i := range fresh {
			deltas[i] = applied(t, other, their, &Update{Kind: ORSet, Added: fresh[i : i+1]})
			encoded[i] = deltas[i].AppendBinary(encoded[i][:0])
		}
		took := timed(f)
		removal := applied(t, e, w, &Update{Kind: ORSet, Removed: fresh})
		joined(t, other, removal)
		return took
	}
	arriving = func() time.Duration {
		return merge(func() {
			for _, b := range encoded {
				d, err := DecodeDelta(b, Limits{})
				if err != nil {
					t.Fatal(err)
				}
				joined(t, e, d)
			}
		})
	}
	decoded = func() time.Duration {
		return merge(func() {
			for _, d := range deltas {
				joined(t, e, d)
			}
		})
	}
	return e, arriving, decoded
}

func TestGateORSetDeltaMerge(t *testing.T) {
	skipGate(t)
	const few, many, ops = 100, 999_000, 64
	keys := benchKeys(many + supplied)
	fresh := newSupply(keys[many:], ops)
	small := newPlain(keys[:few], fresh)
	p := newPlain(keys[:benchSize], fresh)
	_, fewArrive, fewDecoded := mergeOne(t, keys[:few], fresh)
	e, arrive, decoded := mergeOne(t, keys[:benchSize], fresh)
	_, manyArrive, manyDecoded := mergeOne(t, keys[:many], fresh)
	least := best(60, ops, p.insert, arrive, decoded, fewArrive, manyArrive, fewDecoded, manyDecoded, small.insert)
	within(t, "merging a delta of one element", least[2]/least[0], 4, "inserts into a plain map")
	within(t, "decoding and merging it", least[1]/least[0], 4, "inserts into a plain map")
	// The goal is 2, which is met on a quiet machine. What is left is the processor's cache, which a plain map misses more
	// often still, and of which there is less when others use it: a walk over the elements would be a thousand times as long.
	within(t, "the same with 999,000 elements rather than 100", least[4]/least[3], 4, "times as long")
	t.Logf("with 100, 100,000, 999,000 elements: merging a delta takes %.3g, %.3g, %.3g ns, with decoding %.3g, %.3g, %.3g ns; an insert into a plain map of 100 and 100,000 %.3g, %.3g ns",
		least[5], least[2], least[6], least[3], least[1], least[4], least[7], least[0])

	// The same change as a full state.
	other := New(0)
	joined(t, other, e.Full())
	w, their := &Writer{Slot: 1, Epoch: 2}, &Writer{Slot: 2, Epoch: 2}
	full := best(10, 1, func() time.Duration {
		one := fresh.take()[:1]
		applied(t, other, their, &Update{Kind: ORSet, Added: one})
		d := other.Full()
		took := timed(func() { joined(t, e, d) })
		joined(t, other, applied(t, e, w, &Update{Kind: ORSet, Removed: one}))
		return took
	})
	within(t, "merging a delta rather than the full state", least[2]/full[0], 1.0/1000, "times as long")
}

func TestGateFullMergeOfEqualStates(t *testing.T) {
	skipGate(t)
	keys := benchKeys(benchSize + supplied)
	p := newPlain(keys[:benchSize], newSupply(keys[benchSize:], batch))
	e, _ := benchSet(t, keys[:benchSize])
	full := e.Full()
	other := New(0)
	joined(t, other, full)
	var equal bool
	least := best(20, 1, p.pair,
		func() time.Duration {
			return timed(func() {
				if joined(t, e, full) {
					t.Error("an equal state was something new")
				}
			})
		},
		func() time.Duration {
			return timed(func() { equal = e.Digest() == other.Digest() })
		})
	slow := slower(least[0] / batch)
	within(t, "merging an equal state, for each element", least[1]/benchSize, 10*slow, "ns")
	within(t, "seeing by the digests that nothing is to be merged", least[2], 2000*slow, "ns")
	if !equal {
		t.Error("equal states have different digests")
	}
}

func TestGateMemoryPerElement(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes memory of its own")
	}
	// A plain map and a set grow in steps at different sizes.
	for _, n := range []int{1000, 30_000, benchSize, 150_000} {
		keys := benchKeys(n)
		before := heap()
		m := map[string]struct{}{}
		for _, k := range keys {
			m[k.s] = struct{}{}
		}
		between := heap()
		e := New(0)
		w := &Writer{Slot: 1, Epoch: 1, Scratch: new(Scratch)}
		for i := range keys {
			applied(t, e, w, &Update{Kind: ORSet, Added: keys[i : i+1]})
		}
		w.Scratch = nil
		after := heap()
		runtime.KeepAlive(keys)
		runtime.KeepAlive(m)
		runtime.KeepAlive(e)
		t.Logf("%d elements: %.3g bytes each, in a plain map %.3g, without the keys themselves", n,
			float64(after-between)/float64(n), float64(between-before)/float64(n))
		if n == benchSize {
			within(t, "memory", float64(after-between)/float64(between-before), 1.5, "times a plain map's")
		}
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestGateEncodedOverhead(t *testing.T) {
	keys := benchKeys(benchSize + 1)
	e, w := benchSet(t, keys[:benchSize])
	url, value := keys[0].Split()
	full := len(e.Full().AppendBinary(nil))
	within(t, "of each element in a full state", float64(full)/benchSize-float64(len(value)), 4, "bytes")
	one := len(applied(t, e, w, &Update{Kind: ORSet, Added: keys[benchSize:]}).AppendBinary(nil))
	within(t, "of the delta of an addition", float64(one-len(url)-len(value)), 24, "bytes")
}

func TestGateEncodeAndDecode(t *testing.T) {
	skipGate(t)
	keys := benchKeys(benchSize + supplied)
	p := newPlain(keys[:benchSize], newSupply(keys[benchSize:], batch))
	e, _ := benchSet(t, keys[:benchSize])
	full := e.Full()
	encoded := full.AppendBinary(nil)
	buf := make([]byte, 0, len(encoded))
	least := best(15, 1, p.pair,
		func() time.Duration { return timed(func() { buf = full.AppendBinary(buf[:0]) }) },
		func() time.Duration {
			return timed(func() {
				if _, err := DecodeDelta(encoded, Limits{}); err != nil {
					t.Fatal(err)
				}
			})
		})
	slow := slower(least[0] / batch)
	within(t, "encoding an element", least[1]/benchSize, 150*slow, "ns")
	within(t, "decoding an element", least[2]/benchSize, 120*slow, "ns")
}

func TestGateValueDelta(t *testing.T) {
	skipGate(t)
	keys := benchKeys(benchSize + supplied)
	fresh := newSupply(keys[benchSize:], batch)
	p := newPlain(keys[:benchSize], fresh)
	e, w := benchSet(t, keys[:benchSize])
	w.Scratch = new(Scratch)
	var v View
	v.Begin(e, nil)
	var ch Changes
	add, remove := &Update{Kind: ORSet}, &Update{Kind: ORSet}
	told := func(u *Update) (took time.Duration) {
		ch.Reset()
		if _, _, err := e.Apply(w, u, nil, &ch); err != nil {
			t.Fatal(err)
		}
		return timed(func() {
			v.Note(&ch)
			if v.Flush(e, nil) == nil {
				t.Fatal("nothing was told")
			}
		})
	}
	least := best(30, batch, p.pair, func() (took time.Duration) {
		keys := fresh.take()
		for i := range keys {
			add.Added, remove.Removed = keys[i:i+1], keys[i:i+1]
			took += told(add)
			told(remove)
		}
		return took
	})
	within(t, "the value delta of one element of 100,000", least[1], 2000*slower(least[0]), "ns")
}

func TestGateCounterIncrement(t *testing.T) {
	skipGate(t)
	keys := newSupply(benchKeys(batch), batch)
	for _, k := range []Kind{GCounter, PNCounter} {
		e, w := New(0), &Writer{Slot: 1, Epoch: 1, Scratch: new(Scratch)}
		u := &Update{Kind: k, Increment: 1, Change: 1}
		increments := func() time.Duration {
			return timed(func() {
				for range batch {
					applied(t, e, w, u)
				}
			})
		}
		// The two do not suffer quite alike from a busy neighbour, who comes and goes: as much as half more is not told from
		// that. A fast moment is waited for.
		var took, target float64
		for n := range 10 {
			least := best(100, batch, keys.hash, increments)
			if took, target = least[1], 50*max(1, least[0]/hashOnReference); took <= target {
				break
			}
			time.Sleep(time.Duration(n) * 20 * time.Millisecond)
		}
		t.Logf("the target is %.4g ns", target)
		within(t, "an increment of a "+k.String(), took, 1.5*target, "ns")
		within(t, "its allocations", testing.AllocsPerRun(batch, func() { applied(t, e, w, u) }), 0, "")
		w.Scratch = nil
		within(t, "its allocations if the delta is kept", testing.AllocsPerRun(batch, func() { applied(t, e, w, u) }), 1, "")
	}
}
