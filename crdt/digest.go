package crdt

import "math/bits"

// The digest of a state is the sum of the hashes of its parts, so that it follows every change in constant time. The hash
// has a fixed key because digests are compared between processes; tables in memory use another one.

const (
	hash0 = 0xa0761d6478bd642f
	hash1 = 0xe7037ed1a0b428db
	hash2 = 0x8ebc6af09c88c6e3
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func hashString(s string) uint64 {
	h := uint64(len(s)) ^ hash0
	for len(s) >= 8 {
		h = mix(h^hash1, le64(s)^hash2)
		s = s[8:]
	}
	var tail uint64
	for i := range len(s) {
		tail |= uint64(s[i]) << (8 * i)
	}
	return mix(h^hash2, tail^hash1)
}

func le64(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// hashDot of a dot at a place in the value.
func hashDot(d Dot, place uint64) uint64 { return mix(uint64(d)^hash0, place^hash1) }

func (i *item) hash() uint64 {
	h := hashDot(i.dot, uint64(i.from))
	if i.value != (Key{}) {
		h = mix(h^hash0, hashString(i.value.s)^hash2)
	}
	return mix(h^i.a^hash1, i.b^hash2)
}

func (c *Ctx) hash() uint64 {
	h := uint64(len(c.ranges))
	for _, r := range c.ranges {
		h += mix(uint64(r.First)^hash1, uint64(r.Last)^hash2)
	}
	return mix(h^hash0, hash1)
}
