package node

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	inmemory "github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/crdt"
)

// stateOf is a set with that many elements, encoded.
func stateOf(t *testing.T, n int) []byte {
	t.Helper()
	e, w := crdt.New(0), &crdt.Writer{Slot: 1, Epoch: 1}
	u := &crdt.Update{Kind: crdt.ORSet}
	for i := range n {
		u.Added = append(u.Added, crdt.MakeKey("t", fmt.Append(nil, i)))
	}
	if _, _, err := e.Apply(w, u, nil, nil); err != nil {
		t.Fatal(err)
	}
	return e.Full().AppendBinary(nil)
}

// A base is replaced whole, whatever its size, and leaves nothing behind.
func TestBasesReplaceEachOther(t *testing.T) {
	t.Parallel()
	cells := inmemory.Open()
	s := &store{cells: cells, chunk: 100}
	ref := actors.Ref{Service: "a/b", ID: "c%?#/d"}
	var version int64
	for i, n := range []int{3, 500, 10, 900, 900, 1} {
		st, err := s.load(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if st.version != version {
			t.Fatalf("the version is %d, written was %d", st.version, version)
		}
		data := stateOf(t, n)
		w := &baseWrite{ref: ref, version: st.version, tag: tagOf(identity{1, 1}, uint64(i)), data: data, chunks: st.chunks}
		if version, err = s.writeBase(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if st, err = s.load(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(st.base.AppendBinary(nil), data) {
			t.Errorf("%d elements: another state is read than was written", n)
		}
		all, err := cells.Cells(t.Context(), "ent/", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		chunks := (len(data) + 99) / 100
		if len(data) <= 100 {
			chunks = 0
		}
		if len(all) != 1+chunks {
			t.Errorf("%d elements, %d bytes: %d cells", n, len(data), len(all))
		}
	}
	// Who read an older one does not replace it.
	w := &baseWrite{ref: ref, version: version - 1, tag: "late", data: stateOf(t, 300)}
	if _, err := s.writeBase(t.Context(), w); !isConflict(err) {
		t.Errorf("replacing a base that has been replaced: %v", err)
	}
}

func TestDamagedCellsAreNamed(t *testing.T) {
	t.Parallel()
	ref := actors.Ref{Service: "s", ID: "i"}
	good := stateOf(t, 50)
	damages := map[string]func(cells journal.Cells) error{
		"the tail of slot 3": func(cells journal.Cells) error {
			v := (&tail{owner: identity{3, 1}, delta: good}).append(nil)
			_, err := cells.Put(t.Context(), journal.Cell{Key: tailKey(ref, 3), Value: v[:len(v)-1]})
			return err
		},
		"the cell": func(cells journal.Cells) error {
			_, err := cells.Put(t.Context(), journal.Cell{Key: keyPrefix(ref) + "tail/x"})
			return err
		},
		"the base": func(cells journal.Cells) error {
			_, err := cells.Put(t.Context(), journal.Cell{Key: baseKey(ref), Value: (&base{tag: "t", data: good[1:]}).append(nil)})
			return err
		},
		"chunks of it are missing": func(cells journal.Cells) error {
			_, err := cells.Put(t.Context(), journal.Cell{Key: baseKey(ref), Value: (&base{tag: "t", chunks: 2}).append(nil)})
			return err
		},
	}
	for what, damage := range damages {
		cells := inmemory.Open()
		if err := damage(cells); err != nil {
			t.Fatal(err)
		}
		_, err := (&store{cells: cells, chunk: 100}).load(t.Context(), ref)
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "s/i") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestLongestNamesFit(t *testing.T) {
	t.Parallel()
	ref := actors.Ref{Service: "s", ID: strings.Repeat("x", journal.MaxCellKeyBytes-len("ent/s//")-longestSuffix)}
	if err := validateRef(ref); err != nil {
		t.Error(err)
	}
	if n := len(chunkKey(ref, tagOf(identity{4095, 1<<20 - 1}, 1<<64-1), maxChunks)); n+groupBytes != journal.MaxCellKeyBytes {
		t.Errorf("the longest key has %d bytes, and %d for the group", n, groupBytes)
	}
	ref.ID += "x"
	if err := validateRef(ref); actors.CodeOf(err) != actors.InvalidArgument {
		t.Errorf("one byte more: %v", err)
	}
}
