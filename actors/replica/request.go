package replica

import (
	"encoding/binary"

	"github.com/dapr-entities/entities/actors"
)

// requestKind says what one member wants of another. Every field of a request and of an answer travels with every kind: an
// empty one takes a byte.
type requestKind byte

const (
	// askPull wants the batches lo to hi of the one who is asked. Answer: those that it still has, from and seq.
	askPull requestKind = iota + 1
	// askAck tells that the sender has the receiver's batches up to seq.
	askAck
	// askPush brings batches of the sender. Answer: seq, up to which the receiver has them now.
	askPush
	// askDigest brings the sums of the sender's buckets. Answer: sums, those of the receiver, digests, those of its entities
	// in the buckets whose sums differ, and seq, its own last batch.
	askDigest
	// askCompare brings, for some entities, what the sender has seen. Answer: what it lacks, and what the receiver has seen.
	askCompare
	// askGive brings what the receiver lacks.
	askGive
	// askFence asks to take no more directly from the writer named in fence, for the entity of the one item, and whether all
	// that the receiver knows of it is stored.
	askFence
)

// request of one member to another, about one partition.
type request struct {
	cluster    uint64
	from       identity
	partitions uint32
	partition  uint32
	kind       requestKind
	lo, hi     uint64
	seq        uint64
	fence      identity
	batches    [][]byte
	sums       []uint64
	items      []item
}

// answer to a request.
type answer struct {
	// refused says why there is nothing else in it.
	refused string
	// from is the first batch that the answerer still has.
	from, seq uint64
	batches   [][]byte
	// complete says that digests has everything that was to be in it, or that a fence stands.
	complete bool
	sums     []uint64
	digests  []refDigest
	items    []item
}

// refDigest is the digest of an entity, which is named by the hash of its ref.
type refDigest struct {
	ref, digest uint64
}

// itemState says what the member knows that an item comes from.
type itemState byte

const (
	// itemHosted has generation, seen and, if the asker lacks something, delta.
	itemHosted itemState = iota
	// itemAbsent: it does not host the entity.
	itemAbsent
	// itemBusy: it is just loading it.
	itemBusy
)

// item is about one entity.
type item struct {
	ref        actors.Ref
	state      itemState
	generation uint32
	digest     uint64
	// seen is what the sender has seen, live which of that is still there, delta what the receiver lacks: all encoded, or
	// empty.
	seen, live, delta []byte
}

func appendItems(b []byte, items []item) []byte {
	b = binary.AppendUvarint(b, uint64(len(items)))
	for i := range items {
		it := &items[i]
		b = appendText(b, it.ref.Service)
		b = appendText(b, it.ref.ID)
		b = append(b, byte(it.state))
		b = binary.AppendUvarint(b, uint64(it.generation))
		b = binary.LittleEndian.AppendUint64(b, it.digest)
		b = appendBytes(b, it.seen)
		b = appendBytes(b, it.live)
		b = appendBytes(b, it.delta)
	}
	return b
}

func (r *reader) items() []item {
	n := r.count(15)
	items := make([]item, 0, n)
	for range n {
		items = append(items, item{
			ref: r.ref(), state: itemState(r.byte()), generation: uint32(r.below(1 << 32)), digest: r.uint64(),
			seen: r.bytes(), live: r.bytes(), delta: r.bytes(),
		})
	}
	return items
}

func appendBatches(b []byte, batches [][]byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(batches)))
	for _, x := range batches {
		b = appendBytes(b, x)
	}
	return b
}

func (r *reader) batches() [][]byte {
	n := r.count(1)
	batches := make([][]byte, 0, n)
	for range n {
		batches = append(batches, r.bytes())
	}
	return batches
}

func appendSums(b []byte, sums []uint64) []byte {
	b = binary.AppendUvarint(b, uint64(len(sums)))
	for _, s := range sums {
		b = binary.LittleEndian.AppendUint64(b, s)
	}
	return b
}

func (r *reader) sums() []uint64 {
	n := r.count(8)
	sums := make([]uint64, 0, n)
	for range n {
		sums = append(sums, r.uint64())
	}
	return sums
}

func (q *request) append(b []byte) []byte {
	start := len(b)
	b = beginFrame(b, frameRequest)
	b = binary.LittleEndian.AppendUint64(b, q.cluster)
	b = appendIdentity(b, q.from)
	b = binary.AppendUvarint(b, uint64(q.partitions))
	b = binary.AppendUvarint(b, uint64(q.partition))
	b = append(b, byte(q.kind))
	b = binary.AppendUvarint(b, q.lo)
	b = binary.AppendUvarint(b, q.hi)
	b = binary.AppendUvarint(b, q.seq)
	b = appendIdentity(b, q.fence)
	b = appendBatches(b, q.batches)
	return endFrame(appendItems(appendSums(b, q.sums), q.items), start)
}

// decodeRequest shares b's memory.
func decodeRequest(b []byte) (*request, error) {
	r, err := openFrame(b, frameRequest)
	if err != nil {
		return nil, torn("a request", err)
	}
	q := &request{cluster: r.uint64(), from: r.identity()}
	q.partitions = uint32(r.below(maxPartitions + 1))
	q.partition = uint32(r.below(uint64(q.partitions)))
	q.kind = requestKind(r.byte())
	q.lo, q.hi, q.seq = r.uvarint(), r.uvarint(), r.uvarint()
	q.fence = r.identity()
	q.batches = r.batches()
	q.sums = r.sums()
	q.items = r.items()
	if err := r.end(); err != nil {
		return nil, torn("a request", err)
	}
	return q, nil
}

func (a *answer) append(b []byte) []byte {
	start := len(b)
	b = beginFrame(b, frameAnswer)
	b = appendText(b, a.refused)
	b = binary.AppendUvarint(b, a.from)
	b = binary.AppendUvarint(b, a.seq)
	b = appendBatches(b, a.batches)
	var complete byte
	if a.complete {
		complete = 1
	}
	b = appendSums(append(b, complete), a.sums)
	b = binary.AppendUvarint(b, uint64(len(a.digests)))
	for _, d := range a.digests {
		b = binary.LittleEndian.AppendUint64(b, d.ref)
		b = binary.LittleEndian.AppendUint64(b, d.digest)
	}
	return endFrame(appendItems(b, a.items), start)
}

// decodeAnswer shares b's memory.
func decodeAnswer(b []byte) (*answer, error) {
	r, err := openFrame(b, frameAnswer)
	if err != nil {
		return nil, torn("an answer", err)
	}
	a := &answer{refused: r.text(), from: r.uvarint(), seq: r.uvarint(), batches: r.batches()}
	a.complete = r.byte() == 1
	a.sums = r.sums()
	n := r.count(16)
	a.digests = make([]refDigest, 0, n)
	for range n {
		a.digests = append(a.digests, refDigest{r.uint64(), r.uint64()})
	}
	a.items = r.items()
	if err := r.end(); err != nil {
		return nil, torn("an answer", err)
	}
	return a, nil
}
