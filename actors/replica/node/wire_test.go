package node

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/crdt"
)

func sampleBatch() *batch {
	return &batch{
		cluster: 7, origin: identity{3, 9}, partitions: 16, partition: 5, seq: 300, confirm: true,
		entries: []batchEntry{
			{ref: actors.Ref{Service: "s", ID: "a/b"}, generation: 2, k: 1, delta: []byte("delta")},
			{ref: actors.Ref{Service: "s", ID: "ü"}, k: 1 << 40},
		},
	}
}

func sampleRequest() *request {
	return &request{
		cluster: 1 << 63, from: identity{4095, 1<<20 - 1}, partitions: 2, partition: 1, kind: askCompare, lo: 1, hi: 2, seq: 3,
		fence: identity{1, 2}, batches: [][]byte{[]byte("x"), []byte("yy")}, sums: []uint64{1, 1 << 60},
		items: []item{{ref: actors.Ref{Service: "s", ID: "i"}, state: itemBusy, generation: 4, digest: 5, seen: []byte("a"), live: []byte("b"), delta: []byte("c")}},
	}
}

func sampleAnswer() *answer {
	return &answer{
		refused: "no", from: 1, seq: 2, batches: [][]byte{[]byte("x")}, complete: true, sums: []uint64{4}, digests: []refDigest{{1, 2}},
		items: []item{{ref: actors.Ref{Service: "s", ID: "i"}}},
	}
}

var exported = cmp.Options{
	cmp.AllowUnexported(batch{}, batchEntry{}, identity{}, request{}, answer{}, item{}, refDigest{}),
	cmp.Comparer(bytes.Equal),
}

func TestMessagesTravel(t *testing.T) {
	t.Parallel()
	b, err := decodeBatch(sampleBatch().append(nil))
	if diff := cmp.Diff(sampleBatch(), b, exported); diff != "" || err != nil {
		t.Errorf("batch: %v\n%s", err, diff)
	}
	q, err := decodeRequest(sampleRequest().append([]byte("before"))[6:])
	if diff := cmp.Diff(sampleRequest(), q, exported); diff != "" || err != nil {
		t.Errorf("request: %v\n%s", err, diff)
	}
	a, err := decodeAnswer(sampleAnswer().append(nil))
	if diff := cmp.Diff(sampleAnswer(), a, exported); diff != "" || err != nil {
		t.Errorf("answer: %v\n%s", err, diff)
	}
}

func TestDamageIsNoticed(t *testing.T) {
	t.Parallel()
	whole := sampleBatch().append(nil)
	for i := range whole {
		broken := bytes.Clone(whole)
		broken[i] ^= 0x10
		if _, err := decodeBatch(broken); err == nil {
			t.Errorf("byte %d is wrong and nobody noticed", i)
		}
		if _, err := decodeBatch(whole[:i]); err == nil {
			t.Errorf("cut after %d bytes and nobody noticed", i)
		}
	}
	later := bytes.Clone(whole)
	later[1]++
	if _, err := decodeBatch(later); !errors.Is(err, errVersion) {
		t.Errorf("a batch of a later version: %v", err)
	}
}

func TestCtxTravels(t *testing.T) {
	t.Parallel()
	c := &crdt.Ctx{}
	c.AddRange(crdt.Range{First: crdt.MakeDot(0, 1, 1), Last: crdt.MakeDot(0, 1, 7)})
	c.Add(crdt.MakeDot(0, 1, 9))
	c.Add(crdt.MakeDot(5, 3, 1))
	c.Close(7, 12)
	c.Add(crdt.MakeDot(7, 14, 2))
	got, err := decodeCtx(encodeCtx(c))
	if err != nil || !got.Equal(c) {
		t.Errorf("%v: %v, want %v", err, got.Ranges(), c.Ranges())
	}
	for _, bad := range [][]byte{{0, 1}, {1}, {0xff, 0xff}, {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}} {
		if _, err := decodeCtx(bad); err == nil {
			t.Errorf("%x is taken", bad)
		}
	}
}

// fuzzFrame tries a decoder on bodies whose checksum is right.
func fuzzFrame(f *testing.F, what byte, seed []byte, decode func([]byte) ([]byte, error)) {
	f.Helper()
	f.Add(seed[2 : len(seed)-4])
	f.Add([]byte{})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		framed := endFrame(append(beginFrame(nil, what), body...), 0)
		again, err := decode(framed)
		if err != nil {
			return
		}
		if _, err := decode(again); err != nil {
			t.Errorf("what was read is not read again: %v", err)
		}
		_, _ = decode(body)
	})
}

func FuzzDecodeBatch(f *testing.F) {
	fuzzFrame(f, frameBatch, sampleBatch().append(nil), func(b []byte) ([]byte, error) {
		x, err := decodeBatch(b)
		if err != nil {
			return nil, err
		}
		return x.append(nil), nil
	})
}

func FuzzDecodeRequest(f *testing.F) {
	fuzzFrame(f, frameRequest, sampleRequest().append(nil), func(b []byte) ([]byte, error) {
		x, err := decodeRequest(b)
		if err != nil {
			return nil, err
		}
		return x.append(nil), nil
	})
}

func FuzzDecodeAnswer(f *testing.F) {
	fuzzFrame(f, frameAnswer, sampleAnswer().append(nil), func(b []byte) ([]byte, error) {
		x, err := decodeAnswer(b)
		if err != nil {
			return nil, err
		}
		return x.append(nil), nil
	})
}

func FuzzDecodeTail(f *testing.F) {
	seed := (&tail{owner: identity{1, 2}, generation: 3, delta: []byte("d")}).append(nil)
	fuzzFrame(f, frameTail, seed, func(b []byte) ([]byte, error) {
		x, err := decodeTail(b)
		if err != nil {
			return nil, err
		}
		return x.append(nil), nil
	})
}

func FuzzDecodeBase(f *testing.F) {
	seed := (&base{generation: 3, tag: "t", data: []byte("d")}).append(nil)
	fuzzFrame(f, frameBase, seed, func(b []byte) ([]byte, error) {
		x, err := decodeBase(b)
		if err != nil {
			return nil, err
		}
		return x.append(nil), nil
	})
}

func FuzzDecodeCtx(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCtx(b)
		if err != nil {
			return
		}
		if again, err := decodeCtx(encodeCtx(c)); err != nil || !again.Equal(c) {
			t.Errorf("%x: %v", b, err)
		}
	})
}
