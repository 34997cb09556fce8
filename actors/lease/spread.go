package lease

import (
	"hash/fnv"
	"slices"
)

// Spread assigns names to the members that want them: each goes to the member with the highest hash of both, as long as
// that one has not got its share already. Everybody who knows the same members computes the same.
func Spread(members map[string][]string) map[string]string {
	var names []string
	wanted := map[string][]string{} // by name, who wants it
	for member, wants := range members {
		for _, name := range wants {
			if wanted[name] == nil {
				names = append(names, name)
			}
			wanted[name] = append(wanted[name], member)
		}
	}
	slices.Sort(names)
	willing := 0
	for _, wants := range members {
		if len(wants) > 0 {
			willing++
		}
	}
	assigned, load := map[string]string{}, map[string]int{}
	for _, name := range names {
		share := (len(names) + willing - 1) / willing
		best, bestFree, bestScore := "", false, uint64(0)
		for _, member := range wanted[name] {
			free, score := load[member] < share, score(member, name)
			better := score > bestScore || score == bestScore && member > best
			if best == "" || free && !bestFree || free == bestFree && better {
				best, bestFree, bestScore = member, free, score
			}
		}
		assigned[name] = best
		load[best]++
	}
	return assigned
}

func score(member, name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(member)) // never fails
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(name))
	// FNV's high bits hardly depend on the last bytes; this spreads them.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
