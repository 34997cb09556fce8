package crdt

import (
	"fmt"
	"testing"
)

const benchSize = 100_000

func benchKeys(n int) []Key {
	keys := make([]Key, n)
	for i := range keys {
		keys[i] = MakeKey("json.cloudstate.io/string", fmt.Appendf(nil, "element-%012d", i))
	}
	return keys
}

func benchSet(tb testing.TB, keys []Key) (*Entity, *Writer) {
	e, w := New(0), &Writer{Slot: 1, Epoch: 1}
	for from := 0; from < len(keys); from += 10_000 {
		u := &Update{Kind: ORSet, Added: keys[from:min(from+10_000, len(keys))]}
		if _, _, err := e.Apply(w, u, nil, nil); err != nil {
			tb.Fatal(err)
		}
	}
	return e, w
}

// The plain map is what the ratios are against.
func BenchmarkPlainMapInsert(b *testing.B) {
	keys := benchKeys(2 * benchSize)
	m := map[Key]struct{}{}
	for _, k := range keys[:benchSize] {
		m[k] = struct{}{}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k := keys[benchSize+i%benchSize]
		m[k] = struct{}{}
		delete(m, keys[benchSize+(i+benchSize/2)%benchSize])
	}
}

func BenchmarkORSetAdd(b *testing.B) {
	keys := benchKeys(2 * benchSize)
	e, w := benchSet(b, keys[:benchSize])
	u := &Update{Kind: ORSet, Added: make([]Key, 1)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		u.Added[0] = keys[i%(2*benchSize)]
		if _, _, err := e.Apply(w, u, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkORSetMergeOne(b *testing.B) {
	for _, n := range []int{100, benchSize, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			keys := benchKeys(n)
			e, _ := benchSet(b, keys)
			const many = 1 << 16
			other, w := benchSet(b, keys[:1])
			w.Slot = 2
			deltas := make([]*Delta, many)
			for i := range deltas {
				u := &Update{Kind: ORSet, Added: []Key{keys[i%n]}}
				deltas[i], _, _ = other.Apply(w, u, nil, nil)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				if _, err := e.Join(deltas[i%many], nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkORSetMergeEqual(b *testing.B) {
	e, _ := benchSet(b, benchKeys(benchSize))
	full := e.Full()
	b.ResetTimer()
	for range b.N {
		if inflated, err := e.Join(full, nil); inflated || err != nil {
			b.Fatal(inflated, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSize, "ns/element")
}

func BenchmarkORSetEncode(b *testing.B) {
	e, _ := benchSet(b, benchKeys(benchSize))
	full := e.Full()
	var buf []byte
	b.ResetTimer()
	for range b.N {
		buf = full.AppendBinary(buf[:0])
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSize, "ns/element")
	b.ReportMetric(float64(len(buf))/benchSize-20, "overhead-B/element")
}

func BenchmarkORSetDecode(b *testing.B) {
	e, _ := benchSet(b, benchKeys(benchSize))
	buf := e.Full().AppendBinary(nil)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if _, err := DecodeDelta(buf, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSize, "ns/element")
}

func BenchmarkGCounterIncrement(b *testing.B) {
	e, w := New(0), &Writer{Slot: 1, Epoch: 1, Scratch: new(Scratch)}
	u := &Update{Kind: GCounter, Increment: 1}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := e.Apply(w, u, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// One element of 100,000 changes, and the user function is told.
func BenchmarkORSetValueDelta(b *testing.B) {
	keys := benchKeys(benchSize)
	e, w := benchSet(b, keys)
	var v View
	v.Begin(e, nil)
	var ch Changes
	u := &Update{Kind: ORSet}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		u.Added, u.Removed = nil, nil
		if k := keys[i/2%benchSize : i/2%benchSize+1]; i%2 == 0 {
			u.Removed = k
		} else {
			u.Added = k
		}
		ch.Reset()
		if _, _, err := e.Apply(w, u, nil, &ch); err != nil {
			b.Fatal(err)
		}
		v.Note(&ch)
		if v.Flush(e, nil) == nil {
			b.Fatal("nothing was told")
		}
	}
}
