package crdt

import "encoding/binary"

// Key is the identity of an element of a set, of a key of a map, and a value of a register: a type URL and the bytes of
// a message of that type, exactly as they came. Keys are equal if both are; nothing is ever decoded. The zero Key is
// an empty message without a type.
type Key struct {
	// s is the length of the type URL as a minimal uvarint, the type URL, and the bytes. Empty for the zero Key.
	s string
}

// MakeKey copies its arguments.
func MakeKey(typeURL string, value []byte) Key {
	if typeURL == "" && len(value) == 0 {
		return Key{}
	}
	b := make([]byte, 0, binary.MaxVarintLen32+len(typeURL)+len(value))
	b = binary.AppendUvarint(b, uint64(len(typeURL)))
	b = append(b, typeURL...)
	return Key{string(append(b, value...))}
}

// Split returns the type URL and the bytes, which share the Key's memory.
func (k Key) Split() (typeURL, value string) {
	if k.s == "" {
		return "", ""
	}
	n, used := uint64(0), 0
	for shift := 0; ; shift += 7 {
		c := k.s[used]
		used++
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			break
		}
	}
	end := used + int(n)
	return k.s[used:end], k.s[end:]
}

// Len is the number of bytes of the type URL and the value.
func (k Key) Len() int {
	u, v := k.Split()
	return len(u) + len(v)
}

// Update is a change of a replicated value in terms of the value, not of its metadata. A user function answers with
// Updates, and is told with Updates what others changed; a whole value is an Update of the zero value of its kind.
// Only the fields of its Kind have a meaning.
type Update struct {
	Kind Kind
	// Increment of a GCounter.
	Increment uint64
	// Change of a PNCounter.
	Change int64
	// Cleared, Removed and Added are those of a GSet (only Added), an ORSet, and (without Added) of an ORMap, and apply in
	// this order. The same key is not twice in one list.
	Cleared        bool
	Removed, Added []Key
	// Entries of an ORMap that are there already (Changed), then those that are new (Put). A Put of a key that is there
	// is merged into it. Each Update in them is that of the entry's value.
	Changed, Put []Entry
	// Value, Clock and Custom of a write to an LWWRegister. Clock and Custom are zero in what a user function is told.
	Value  Key
	Clock  Clock
	Custom int64
	// On of a Flag: true switches it on, false does nothing.
	On bool
	// Self is this member's Vote. Votes of Voters said yes; both are zero and ignored in what a user function says.
	Self          bool
	Votes, Voters uint32
}

// Entry of an ORMap.
type Entry struct {
	Key    Key
	Update *Update
}
