package node

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/crdt"
)

// An entity is kept in these cells:
//
//	ent/<service>/<id>/base               what is known to be everywhere below: a state, or where its chunks are
//	ent/<service>/<id>/base/<tag>/<i>     chunks of a base that does not fit into one cell
//	ent/<service>/<id>/tail/<slot>        what the holder of the slot wrote since a base
//
// A tail has one writer, and may only lose what a base has that was stored before. So whoever reads the tails first and
// the base afterwards misses nothing. A base is replaced by compare-and-set of its first cell, after its chunks, which
// have a tag of their own, have been put.

// keyPrefix is that of all cells of an entity.
func keyPrefix(ref actors.Ref) string {
	return "ent/" + actors.EscapeID(ref.Service) + "/" + actors.EscapeID(ref.ID) + "/"
}

func baseKey(ref actors.Ref) string { return keyPrefix(ref) + "base" }

func chunkKey(ref actors.Ref, tag string, i int) string {
	return fmt.Sprintf("%sbase/%s/%06d", keyPrefix(ref), tag, i)
}

func tailKey(ref actors.Ref, s crdt.Slot) string {
	n := strconv.Itoa(int(s))
	return keyPrefix(ref) + "tail/" + "0000"[min(len(n), 4):] + n
}

// longestSuffix is that of the longest key behind its prefix, base/slot.epoch.number/index, and what a group needs.
const longestSuffix = len("base/4095.1048575.18446744073709551615/000000") + groupBytes

// validateRef refuses what has no cells.
func validateRef(ref actors.Ref) error {
	switch {
	case ref.Service == "" || ref.ID == "":
		return actors.Errorf(actors.InvalidArgument, "the replicated entity %q has no service or no id", ref)
	case !utf8.ValidString(ref.Service) || !utf8.ValidString(ref.ID):
		return actors.Errorf(actors.InvalidArgument, "the name of the replicated entity %q is not valid UTF-8", ref)
	}
	if n := len(keyPrefix(ref)) + longestSuffix; n > journal.MaxCellKeyBytes {
		return actors.Errorf(actors.InvalidArgument,
			"the name of the replicated entity %.64q… is %d bytes too long; give it a shorter id or service name",
			ref.String(), n-journal.MaxCellKeyBytes)
	}
	return nil
}

// tail is the value of a tail's cell. A tail without a delta is an empty value.
type tail struct {
	owner      identity
	generation uint32
	delta      []byte
}

// tailBytes is what a tail takes besides its delta, at most.
const tailBytes = frameBytes + 3 + 3 + 5 + 5

func (t *tail) append(b []byte) []byte {
	start := len(b)
	b = beginFrame(b, frameTail)
	b = appendIdentity(b, t.owner)
	b = binary.AppendUvarint(b, uint64(t.generation))
	return endFrame(appendBytes(b, t.delta), start)
}

func decodeTail(b []byte) (*tail, error) {
	if len(b) == 0 {
		return &tail{}, nil
	}
	r, err := openFrame(b, frameTail)
	if err != nil {
		return nil, err
	}
	t := &tail{owner: r.identity(), generation: uint32(r.below(1 << 32)), delta: r.bytes()}
	return t, r.end()
}

// base is the value of a base's first cell.
type base struct {
	generation uint32
	// tag is different for every attempt to write a base.
	tag string
	// chunks is how many there are, 0 if data is all of it.
	chunks int
	data   []byte
	// receipts of what has been sealed lately.
	receipts []baseReceipt
}

// baseReceipt is kept for whoever may come back and has not heard of the sealing.
type baseReceipt struct {
	// at is when the sealer wrote it, in seconds since 1970 by its clock.
	at uint64
	// sealed names the slot and the last epoch. bytes is the receipt, empty if it has been dropped: then nothing that nobody
	// had can be handed on any more.
	sealed identity
	bytes  []byte
}

func (h *base) append(b []byte) []byte {
	start := len(b)
	b = beginFrame(b, frameBase)
	b = binary.AppendUvarint(b, uint64(h.generation))
	b = appendText(b, h.tag)
	b = binary.AppendUvarint(b, uint64(h.chunks))
	b = appendBytes(b, h.data)
	b = binary.AppendUvarint(b, uint64(len(h.receipts)))
	for _, x := range h.receipts {
		b = appendBytes(appendIdentity(binary.AppendUvarint(b, x.at), x.sealed), x.bytes)
	}
	return endFrame(b, start)
}

func decodeBase(b []byte) (*base, error) {
	r, err := openFrame(b, frameBase)
	if err != nil {
		return nil, err
	}
	h := &base{generation: uint32(r.below(1 << 32)), tag: r.text(), chunks: int(r.below(maxChunks + 1)), data: r.bytes()}
	n := r.count(4)
	for range n {
		h.receipts = append(h.receipts, baseReceipt{r.uvarint(), r.identity(), r.bytes()})
	}
	return h, r.end()
}

// maxChunks is how many chunks a base has at most.
const maxChunks = 1 << 16

// tagOf names the number-th attempt of a writer.
func tagOf(id identity, number uint64) string {
	return strconv.Itoa(int(id.slot)) + "." + strconv.Itoa(int(id.epoch)) + "." + strconv.FormatUint(number, 10)
}
