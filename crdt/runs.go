package crdt

import "slices"

// runs find the positions of a set's elements by their live dots, in the order of the dots.
type runs struct {
	list []*run
	last *run
}

// run has the live dots of one slot and epoch, sorted.
type run struct {
	base Dot
	refs []ref
	// dead refs, whose position is gone.
	dead int
	// next is where the last find ended, since most finds go in order.
	next int
}

type ref struct{ n, pos uint32 }

const gone = ^uint32(0)

func (r *runs) of(d Dot) *run {
	base := d &^ Dot(^uint32(0))
	if r.last != nil && r.last.base == base {
		return r.last
	}
	i, ok := slices.BinarySearchFunc(r.list, base, func(r *run, base Dot) int {
		if r.base < base {
			return -1
		} else if r.base > base {
			return 1
		}
		return 0
	})
	if !ok {
		return nil
	}
	r.last = r.list[i]
	return r.last
}

// find the first ref that is not before n.
func (r *run) find(n uint32) int {
	if r.next < len(r.refs) && r.refs[r.next].n == n {
		r.next++
		return r.next - 1
	}
	if k := len(r.refs); k == 0 || r.refs[k-1].n < n {
		return k
	}
	lo, hi := 0, len(r.refs)
	for lo < hi {
		if m := int(uint(lo+hi) >> 1); r.refs[m].n < n {
			lo = m + 1
		} else {
			hi = m
		}
	}
	r.next = lo + 1
	return lo
}

// pos of the element with a live dot.
func (r *runs) pos(d Dot) (uint32, bool) {
	run := r.of(d)
	if run == nil {
		return 0, false
	}
	i := run.find(d.N())
	if i == len(run.refs) || run.refs[i].n != d.N() || run.refs[i].pos == gone {
		return 0, false
	}
	return run.refs[i].pos, true
}

func (r *runs) add(d Dot, pos uint32) {
	at := r.of(d)
	if at == nil {
		at = &run{base: d &^ Dot(^uint32(0))}
		i, _ := slices.BinarySearchFunc(r.list, at.base, func(r *run, base Dot) int {
			if r.base < base {
				return -1
			}
			return 1
		})
		r.list = slices.Insert(r.list, i, at)
		r.last = at
	}
	n := d.N()
	if k := len(at.refs); k == 0 || at.refs[k-1].n < n {
		if at.dead > 32 && at.dead > k/2 {
			at.compact()
		}
		at.refs = append(at.refs, ref{n, pos})
		return
	}
	i := at.find(n)
	if at.refs[i].n == n {
		if at.refs[i].pos == gone {
			at.dead--
		}
		at.refs[i].pos = pos
		return
	}
	at.refs = slices.Insert(at.refs, i, ref{n, pos})
}

func (r *run) compact() {
	live := make([]ref, 0, len(r.refs)-r.dead+len(r.refs)/8)
	for _, f := range r.refs {
		if f.pos != gone {
			live = append(live, f)
		}
	}
	r.refs, r.dead, r.next = live, 0, 0
}

// remove leaves the refs where they are, so that it can be called while they are walked over.
func (r *runs) remove(d Dot) {
	run := r.of(d)
	if run == nil {
		return
	}
	if i := run.find(d.N()); i < len(run.refs) && run.refs[i].n == d.N() && run.refs[i].pos != gone {
		run.refs[i].pos = gone
		run.dead++
	}
}

// in yields the live dots within a range in order.
func (r *runs) in(within Range, yield func(d Dot, pos uint32)) {
	i, _ := slices.BinarySearchFunc(r.list, within.First, func(r *run, d Dot) int {
		if r.base|Dot(^uint32(0)) < d {
			return -1
		}
		return 1
	})
	for ; i < len(r.list) && r.list[i].base <= within.Last; i++ {
		run := r.list[i]
		at := 0
		if within.First > run.base {
			at = run.find(within.First.N())
		}
		for ; at < len(run.refs); at++ {
			f := run.refs[at]
			if run.base|Dot(f.n) > within.Last {
				break
			}
			if f.pos != gone {
				yield(run.base|Dot(f.n), f.pos)
			}
		}
	}
}

// live is the number of dots.
func (r *runs) live() (n int) {
	for _, run := range r.list {
		n += len(run.refs) - run.dead
	}
	return n
}

var allDots = Range{0, ^Dot(0)}
