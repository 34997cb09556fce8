package crdt_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// golden are states and deltas with everything in them that a kind can have, each reached by updates.
func golden(t testing.TB) map[string][]byte {
	all := make(map[string][]byte)
	keep := func(name string, d *crdt.Delta) { all[name] = d.AppendBinary(nil) }
	run := func(kind crdt.Kind, updates ...*crdt.Update) (a, b *crdttest.Node) {
		a, b = crdttest.NewNode(t, kind, 1, 1), crdttest.NewNode(t, kind, crdt.MaxSlots-1, crdt.MaxEpochs-1)
		a.Now, b.Now = 1_700_000_000_000, 1_700_000_000_123
		for i, u := range updates {
			from, to := a, b
			if i%2 == 1 {
				from, to = b, a
			}
			d := from.Say(u)
			if d != nil {
				keep(fmt.Sprintf("%s-delta-%d", kind, i), d)
			}
			if i%3 > 0 { // so that some is concurrent
				to.Hear(d)
			}
		}
		a.Hear(b.Entity.Full())
		keep(fmt.Sprintf("%s-state", kind), a.Entity.Full())
		return a, b
	}

	counter, _ := run(crdt.GCounter, inc(1), inc(300), inc(math.MaxUint32))
	receipt, sealed, err := counter.Entity.Seal(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	keep("GCounter-sealed", sealed)
	all["GCounter-receipt"] = receipt.AppendBinary(nil)
	run(crdt.PNCounter, change(1), change(-300), change(math.MinInt32))
	run(crdt.GSet, gset("x"), gset("x", "y"), gset("z"))
	set, _ := run(crdt.ORSet, add("x", "y"), add("x", "z"), remove("y"), &crdt.Update{Kind: crdt.ORSet, Added: []crdt.Key{{}, crdt.MakeKey("other", []byte("x"))}})
	receipt, sealed, err = set.Entity.Seal(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	keep("ORSet-sealed", sealed)
	all["ORSet-receipt"] = receipt.AppendBinary(nil)
	run(crdt.LWWRegister, write("1", crdt.ClockDefault, 0), write("2", crdt.ClockCustom, -5), write("3", crdt.ClockAutoIncrement, 7))
	run(crdt.Flag, &crdt.Update{Kind: crdt.Flag}, on())
	run(crdt.Vote, vote(true), vote(true), vote(false))
	m, _ := run(crdt.ORMap,
		put("counter", inc(5)), put("sum", change(-5)), put("counter", inc(6)), put("set", add("x", "y")),
		put("register", write("1", crdt.ClockCustom, 1)), put("register", write("2", crdt.ClockCustom, 2)),
		put("flag", on()), put("vote", vote(true)), put("map", put("map", put("gset", gset("x")))), changed("set", remove("x")),
		put("set", inc(1)), drop("sum"))
	m.Entity.Stable(m.Writer, m.Seen())
	keep("ORMap-folded", m.Entity.Full())
	keep("deleted", m.Entity.Delete(m.Writer, nil))
	context := *crdt.New(0).Ctx()
	context.Close(1, 7)
	context.AddRange(crdt.Range{First: crdt.MakeDot(1, 8, 1), Last: crdt.MakeDot(1, 8, 300)})
	context.Add(crdt.MakeDot(crdt.MaxSlots-1, crdt.MaxEpochs-1, math.MaxUint32-1))
	all["context"] = context.AppendBinary(nil)

	return all
}

// What is stored by this version is read by all later ones: the files are not to be changed, only added to with a new
// version of the encoding. Go test with -update writes those that are missing.
func TestGoldenV1(t *testing.T) {
	t.Parallel()

	for name, b := range golden(t) {
		file := filepath.Join("testdata", "golden", "v1", name)
		want, err := os.ReadFile(file)
		if os.IsNotExist(err) && *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
			want = b
		} else if err != nil {
			t.Errorf("%v (go test -update writes what is missing)", err)
			continue
		}
		if !bytes.Equal(b, want) {
			t.Errorf("%s is encoded as\n%x, and was as\n%x", name, b, want)
		}
		again, err := recode(name, want)
		if err != nil || !bytes.Equal(again, want) {
			t.Errorf("%s, decoded and encoded again: %x, error %v; want %x", name, again, err, want)
		}
	}

	// None is forgotten.
	files, err := os.ReadDir(filepath.Join("testdata", "golden", "v1"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < len(crdttest.Kinds)*2 {
		t.Errorf("only %d golden files", len(files))
	}
	for _, file := range files {
		want, err := os.ReadFile(filepath.Join("testdata", "golden", "v1", file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := recode(file.Name(), want); err != nil || !bytes.Equal(again, want) {
			t.Errorf("%s, decoded and encoded again: %x, error %v; want %x", file.Name(), again, err, want)
		}
	}
}

func recode(name string, b []byte) ([]byte, error) {
	switch {
	case name == "context":
		c, err := crdt.DecodeCtx(b)
		if err != nil {
			return nil, err
		}
		return c.AppendBinary(nil), nil
	case filepath.Base(name) == "GCounter-receipt", filepath.Base(name) == "ORSet-receipt":
		r, err := crdt.DecodeReceipt(b)
		if err != nil {
			return nil, err
		}
		return r.AppendBinary(nil), nil
	default:
		d, err := crdt.DecodeDelta(b, crdt.Limits{})
		if err != nil {
			return nil, err
		}
		return d.AppendBinary(nil), nil
	}
}

// checksummed puts the right checksum behind, as otherwise hardly anything would get past it.
func checksummed(b []byte) []byte {
	if len(b) < 4 {
		return b
	}
	b = bytes.Clone(b[:len(b)-4])

	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// fuzz wants a decoder to take nothing but what is encoded the same again, and memory in proportion to its input.
func fuzz(t *testing.T, name string, b []byte) {
	t.Helper()

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	again, err := recode(name, b)
	runtime.ReadMemStats(&after)
	if err == nil && !bytes.Equal(again, b) {
		t.Errorf("%x is taken, and encoded again as %x", b, again)
	}
	if got := after.TotalAlloc - before.TotalAlloc; err != nil && got > uint64(16*len(b))+16<<10 {
		t.Errorf("refusing %d bytes took %d bytes of memory", len(b), got)
	}
}

func FuzzDecodeDelta(f *testing.F) {
	for name, b := range golden(f) {
		if name != "context" {
			f.Add(b)
			f.Add(b[:len(b)/2])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, checksummed(b)} {
			fuzz(t, "delta", b)
			fuzz(t, "ORSet-receipt", b)
		}
		d, err := crdt.DecodeDelta(checksummed(b), crdt.Limits{})
		if err != nil {
			return
		}
		// Whatever is taken can be joined, twice, and into others of its kind.
		e := crdt.New(d.Generation())
		if _, err := e.Join(d, new(crdt.Changes)); err != nil {
			t.Errorf("%x is taken, and cannot be joined: %v", b, err)
		}
		if inflated, err := e.Join(d, nil); inflated || err != nil {
			t.Errorf("%x is news the second time: %t, %v", b, inflated, err)
		}
		e.Value(nil)
		other := crdt.New(d.Generation())
		if _, err := other.Join(e.Full(), nil); err != nil || other.Digest() != e.Digest() {
			t.Errorf("%x: a copy differs, error %v", b, err)
		}
	})
}

func FuzzDecodeCtx(f *testing.F) {
	f.Add(golden(f)["context"])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) { fuzz(t, "context", b) })
}

func TestHugeCountRejectedWithoutAlloc(t *testing.T) {
	// Not parallel: it counts what is allocated.
	inputs := map[string][]byte{"context": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1, 1, 1}}
	for name, b := range golden(t) {
		if name == "context" {
			continue
		}
		// At every place of what is valid a huge number, with what follows and without.
		for at := 4; at < len(b)-4; at++ {
			for _, n := range []uint64{1 << 20, 1 << 32, math.MaxUint64} {
				huge := binary.AppendUvarint(bytes.Clone(b[:at]), n)
				inputs[fmt.Sprint(name, " at ", at, " ", n)] = checksummed(append(huge, b[at+1:]...))
			}
		}
	}
	for name, b := range inputs {
		kind := "delta"
		if name == "context" {
			kind = name
		}
		fuzz(t, kind, b)
	}
	if _, err := crdt.DecodeCtx(inputs["context"]); err == nil {
		t.Error("a context of 2^64 ranges in 13 bytes is taken")
	}
}
