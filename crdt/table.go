package crdt

import "hash/maphash"

// table finds the positions of a set's elements by their keys: open addressing over 32 bit cells, each with 8 bits of the
// hash and the position, because a Go map of the same elements takes four times as much.
type table struct {
	cells []uint32
	// used cells, those of removed elements included.
	used int
}

const (
	cellFree    = 0
	cellRemoved = 1
	cellFirst   = 2
	cellBits    = 24
	cellMask    = 1<<cellBits - 1
)

// seed differs between processes, so that nobody can make up elements that collide. Nothing observable depends on it.
var seed = maphash.MakeSeed()

func hashKey(k Key) uint64 { return maphash.String(seed, k.s) }

// find the cell of a key, and its position in entries; or, with ok false, the cell where to put it.
func (t *table) find(entries []entry, k Key, hash uint64) (cell int, pos uint32, ok bool) {
	if len(t.cells) == 0 {
		return -1, 0, false
	}
	mask := uint64(len(t.cells) - 1)
	tag := uint32(hash>>56) << cellBits
	put := -1
	for at := hash & mask; ; at = (at + 1) & mask {
		switch c := t.cells[at]; {
		case c == cellFree:
			if put < 0 {
				put = int(at)
			}
			return put, 0, false
		case c == cellRemoved:
			if put < 0 {
				put = int(at)
			}
		case c&^cellMask == tag:
			if pos := c&cellMask - cellFirst; entries[pos].key.s == k.s {
				return int(at), pos, true
			}
		}
	}
}

// put a position into the cell that find returned. The table has room.
func (t *table) put(cell int, hash uint64, pos uint32) {
	if t.cells[cell] == cellFree {
		t.used++
	}
	t.cells[cell] = uint32(hash>>56)<<cellBits | (pos + cellFirst)
}

// remove what is in a cell.
func (t *table) remove(cell int) {
	mask := len(t.cells) - 1
	if t.cells[(cell+1)&mask] != cellFree {
		t.cells[cell] = cellRemoved
		return
	}
	// Nobody looks past a free cell, so this one and the removed ones before it become free too.
	t.cells[cell] = cellFree
	t.used--
	for at := (cell - 1) & mask; t.cells[at] == cellRemoved; at = (at - 1) & mask {
		t.cells[at] = cellFree
		t.used--
	}
}

// full says that rebuild must come before the next put.
func (t *table) full() bool { return (t.used+1)*8 > len(t.cells)*7 }

// rebuild for the entries that live, with room for more.
func (t *table) rebuild(entries []entry, live int) {
	size := 8
	for (live+1)*5 > size*4 {
		size *= 2
	}
	t.cells, t.used = make([]uint32, size), live
	mask := uint64(size - 1)
	for pos := range entries {
		if entries[pos].dot == 0 {
			continue
		}
		hash := hashKey(entries[pos].key)
		at := hash & mask
		for t.cells[at] != cellFree {
			at = (at + 1) & mask
		}
		t.cells[at] = uint32(hash>>56)<<cellBits | (uint32(pos) + cellFirst)
	}
}
