package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/crdt"
)

// store reads and writes the cells of entities. It holds nothing but its settings: what it does to one entity may overlap
// with what others do to it.
type store struct {
	cells  journal.Cells
	limits crdt.Limits
	// chunk is the size of a base's chunks.
	chunk int
}

// stored is an entity as it stands in the cells.
type stored struct {
	// version is that of the base, 0 if there is none.
	version    int64
	generation uint32
	// base is nil if there is none, or if its generation has no state yet.
	base  *crdt.Delta
	bytes int
	tails []storedTail
	// receipts of what has been sealed lately.
	receipts []receipt
	// chunks are all that a new base replaces.
	chunks []journal.Cell
}

// receipt of a sealing. of is nil if it has been dropped.
type receipt struct {
	at     time.Time
	sealed identity
	of     *crdt.Receipt
}

// storedTail is one tail. delta is nil if it is empty.
type storedTail struct {
	slot       crdt.Slot
	version    int64
	owner      identity
	generation uint32
	delta      *crdt.Delta
}

// attempts is how often a read begins again because a base is replaced meanwhile.
const attempts = 8

// load reads an entity. What cannot be read is an error with the code DataLoss, never an empty entity.
func (s *store) load(ctx context.Context, ref actors.Ref) (*stored, error) {
	for range attempts {
		st := &stored{}
		if err := s.loadTails(ctx, ref, st); err != nil {
			return nil, err
		}
		again, err := s.loadBase(ctx, ref, st)
		if err != nil {
			return nil, err
		}
		if !again {
			return st, nil
		}
	}
	return nil, actors.Errorf(actors.Unavailable,
		"the base of %s was replaced %d times while it was read, or chunks of it are missing; try again", ref, attempts)
}

func (s *store) loadTails(ctx context.Context, ref actors.Ref, st *stored) error {
	prefix := keyPrefix(ref) + "tail/"
	for after := ""; ; {
		cells, err := s.cells.Cells(ctx, prefix, after, crdt.MaxSlots)
		if err != nil {
			return fmt.Errorf("reading the tails of %s: %w", ref, err)
		}
		if len(cells) == 0 {
			return nil
		}
		for _, c := range cells {
			var slot crdt.Slot
			if _, err := fmt.Sscanf(c.Key[len(prefix):], "%d", &slot); err != nil || c.Key != tailKey(ref, slot) || slot >= crdt.MaxSlots {
				return damaged(ref, fmt.Sprintf("the cell %q", c.Key), errTorn)
			}
			t, err := decodeTail(c.Value)
			if err != nil {
				return damaged(ref, fmt.Sprintf("the tail of slot %d", slot), err)
			}
			from := storedTail{slot: slot, version: c.Version, owner: t.owner, generation: t.generation}
			if len(t.delta) > 0 {
				if from.delta, err = crdt.DecodeDelta(t.delta, s.limits); err != nil {
					return damaged(ref, fmt.Sprintf("the tail of slot %d", slot), err)
				}
			}
			st.tails = append(st.tails, from)
		}
		after = cells[len(cells)-1].Key
	}
}

// loadBase reports whether the base changed while it was read.
func (s *store) loadBase(ctx context.Context, ref actors.Ref, st *stored) (again bool, err error) {
	first, err := s.cells.Cell(ctx, baseKey(ref))
	if err != nil {
		return false, fmt.Errorf("reading the base of %s: %w", ref, err)
	}
	if first.Version == 0 {
		return false, nil
	}
	h, err := decodeBase(first.Value)
	if err != nil {
		return false, damaged(ref, "the base", err)
	}
	st.version, st.generation = first.Version, h.generation
	data := h.data
	if h.chunks > 0 {
		if st.chunks, err = s.loadChunks(ctx, ref); err != nil {
			return false, err
		}
		at, want := 0, chunkKey(ref, h.tag, 0)
		for _, c := range st.chunks {
			if c.Key == want {
				data = append(data, c.Value...)
				at++
				want = chunkKey(ref, h.tag, at)
			}
		}
		if at != h.chunks {
			return true, nil
		}
		for i := range st.chunks {
			st.chunks[i].Value = nil
		}
	}
	for _, x := range h.receipts {
		r := receipt{at: time.Unix(int64(x.at), 0), sealed: x.sealed}
		if len(x.bytes) > 0 {
			if r.of, err = crdt.DecodeReceipt(x.bytes); err != nil {
				return false, damaged(ref, "a receipt in the base", err)
			}
		}
		st.receipts = append(st.receipts, r)
	}
	if len(data) > 0 {
		st.bytes = len(data)
		if st.base, err = crdt.DecodeDelta(data, s.limits); err != nil {
			return false, damaged(ref, "the base", err)
		}
	}
	return false, nil
}

func (s *store) loadChunks(ctx context.Context, ref actors.Ref) ([]journal.Cell, error) {
	var chunks []journal.Cell
	prefix := baseKey(ref) + "/"
	for after := ""; ; {
		cells, err := s.cells.Cells(ctx, prefix, after, 0)
		if err != nil {
			return nil, fmt.Errorf("reading the chunks of %s: %w", ref, err)
		}
		if len(cells) == 0 {
			return chunks, nil
		}
		chunks = append(chunks, cells...)
		after = cells[len(cells)-1].Key
	}
}

func damaged(ref actors.Ref, what string, cause error) error {
	return actors.Errorf(actors.DataLoss,
		"the entity %s cannot be loaded: %s cannot be read; restore its cells from a backup, or upgrade this node if it is older than the others: %w",
		ref, what, cause)
}

// baseWrite replaces a base.
type baseWrite struct {
	ref actors.Ref
	// version is that of the base that is replaced.
	version    int64
	generation uint32
	tag        string
	data       []byte
	receipts   []receipt
	// chunks and tails go when the base is there: those of the replaced one, and those whose owners are gone.
	chunks, tails []journal.Cell
}

// writeBase returns the version of the new base. An error that matches journal.ErrConflict says that another base has
// come between, any other one leaves in doubt whether this one has been written.
func (s *store) writeBase(ctx context.Context, w *baseWrite) (int64, error) {
	h := &base{generation: w.generation, tag: w.tag}
	for _, r := range w.receipts {
		b := baseReceipt{at: uint64(r.at.Unix()), sealed: r.sealed}
		if r.of != nil {
			b.bytes = r.of.AppendBinary(nil)
		}
		h.receipts = append(h.receipts, b)
	}
	if len(w.data) <= s.chunk {
		h.data = w.data
	} else {
		h.chunks = (len(w.data) + s.chunk - 1) / s.chunk
		if h.chunks > maxChunks {
			return 0, actors.Errorf(actors.ResourceExhausted, "the state of %s has %d bytes, which is more than %d chunks",
				w.ref, len(w.data), maxChunks)
		}
		if err := s.putChunks(ctx, w, h.chunks); err != nil {
			return 0, err
		}
	}
	value := h.append(nil)
	if len(value) > journal.MaxCellBytes {
		return 0, actors.Errorf(actors.ResourceExhausted,
			"the base of %s has %d bytes of receipts for members that are gone; it is written when they are old enough to be dropped",
			w.ref, len(value)-len(h.data))
	}
	version, err := s.cells.Put(ctx, journal.Cell{Key: baseKey(w.ref), Value: value, Version: w.version})
	if err != nil && !errors.Is(err, journal.ErrConflict) {
		return 0, fmt.Errorf("writing the base of %s: %w", w.ref, err)
	}
	// Read back: nothing may leave a tail before it is certain that the base has it. That also tells our own lost commit.
	now, rerr := s.cells.Cell(ctx, baseKey(w.ref))
	if rerr != nil {
		return 0, fmt.Errorf("reading back the base of %s: %w", w.ref, rerr)
	}
	found, derr := decodeBase(now.Value)
	switch {
	case derr == nil && found.tag == w.tag:
		version = now.Version
	case err != nil:
		return 0, fmt.Errorf("writing the base of %s: %w", w.ref, err)
	default:
		// Somebody replaced ours meanwhile, from having read it: what it has is in theirs.
		return version, nil
	}
	for _, old := range [][]journal.Cell{w.chunks, w.tails} {
		for _, c := range old {
			// One that changed or went meanwhile is not ours to remove, and one that cannot be removed now is harmless.
			if err := s.cells.Remove(ctx, c.Key, c.Version); err != nil && !errors.Is(err, journal.ErrConflict) {
				return version, nil
			}
		}
	}
	return version, nil
}

func (s *store) putChunks(ctx context.Context, w *baseWrite, n int) error {
	// As many at once as a single cell may be big: the database's limits were chosen for that.
	group := max(1, journal.MaxCellBytes/s.chunk)
	var cells []journal.Cell
	for i := range n {
		cells = append(cells, journal.Cell{
			Key: chunkKey(w.ref, w.tag, i), Value: w.data[i*s.chunk : min((i+1)*s.chunk, len(w.data))],
		})
		if len(cells) < group && i < n-1 {
			continue
		}
		results, err := s.cells.PutEach(ctx, cells)
		if err != nil {
			return fmt.Errorf("writing chunks of %s: %w", w.ref, err)
		}
		for _, r := range results {
			if r.Err != nil {
				return fmt.Errorf("writing chunks of %s: %w", w.ref, r.Err)
			}
		}
		cells = cells[:0]
	}
	return nil
}
