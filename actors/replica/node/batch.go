package node

import (
	"encoding/binary"

	"github.com/dapr-entities/entities/actors"
)

// batch is what a node says to all others about its own writes in one partition.
type batch struct {
	cluster uint64
	origin  identity
	// partitions is the number of them, which is the same on all nodes of a cluster.
	partitions uint32
	partition  uint32
	// seq numbers the origin's batches of this partition from 1. A batch without entries is a heartbeat and repeats the last
	// one.
	seq uint64
	// confirm asks members to tell the origin when they have everything up to this batch.
	confirm bool
	entries []batchEntry
}

// batchEntry is a delta of one entity.
type batchEntry struct {
	ref        actors.Ref
	generation uint32
	// k numbers the origin's deltas of this entity from 1.
	k uint64
	// delta in its encoded form. Nil if it is too big for a batch: those who host the entity ask the origin for it.
	delta []byte
}

// flagConfirm is batch.confirm. The other bits are ignored.
const flagConfirm = 1

// entryBytes is what an entry takes in a batch besides its names and its delta, at most.
const entryBytes = 2*3 + 5 + 10 + 5

// batchBytes is about what a batch takes besides its entries.
const batchBytes = 64

func (e *batchEntry) size() int {
	return entryBytes + len(e.ref.Service) + len(e.ref.ID) + len(e.delta)
}

func (h *batch) append(b []byte) []byte {
	start := len(b)
	b = beginFrame(b, frameBatch)
	b = binary.LittleEndian.AppendUint64(b, h.cluster)
	b = appendIdentity(b, h.origin)
	b = binary.AppendUvarint(b, uint64(h.partitions))
	b = binary.AppendUvarint(b, uint64(h.partition))
	b = binary.AppendUvarint(b, h.seq)
	var flags byte
	if h.confirm {
		flags |= flagConfirm
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(len(h.entries)))
	for i := range h.entries {
		e := &h.entries[i]
		b = appendText(b, e.ref.Service)
		b = appendText(b, e.ref.ID)
		b = binary.AppendUvarint(b, uint64(e.generation))
		b = binary.AppendUvarint(b, e.k)
		b = appendBytes(b, e.delta)
	}
	return endFrame(b, start)
}

// heartbeat reports whether the batch only says how far its origin is.
func (h *batch) heartbeat() bool { return len(h.entries) == 0 }

// decodeBatch shares b's memory.
func decodeBatch(b []byte) (*batch, error) {
	r, err := openFrame(b, frameBatch)
	if err != nil {
		return nil, torn("a batch", err)
	}
	h := &batch{cluster: r.uint64(), origin: r.identity()}
	h.partitions = uint32(r.below(maxPartitions + 1))
	h.partition = uint32(r.below(uint64(h.partitions)))
	h.seq = r.uvarint()
	h.confirm = r.byte()&flagConfirm != 0
	n := r.count(5)
	h.entries = make([]batchEntry, 0, n)
	for range n {
		h.entries = append(h.entries, batchEntry{
			ref:        r.ref(),
			generation: uint32(r.below(1 << 32)),
			k:          r.uvarint(),
			delta:      r.bytes(),
		})
	}
	if err := r.end(); err != nil {
		return nil, torn("a batch", err)
	}
	return h, nil
}

func (r *reader) ref() actors.Ref {
	s := r.text()
	return actors.Ref{Service: s, ID: r.text()}
}
