package crdt

import (
	"fmt"
	"math"
)

// Apply performs what a user function said as of what it had seen, and returns the delta for the other members, nil if
// nothing changed. seen is what removals and clears may touch; nil means everything that is here. ch, unless nil, gets what
// changed for others than this user function. lost reports that a write to a register did not become visible. After an error
// nothing has changed.
//
// A change of an entry that a map does not have is ignored. If an entry is put under a key with a value of another kind,
// both live until the key is removed, and the one with the smaller kind is shown.
func (e *Entity) Apply(w *Writer, u *Update, seen *Ctx, ch *Changes) (d *Delta, lost bool, err error) {
	switch {
	case e.tomb != nil:
		return nil, false, fmt.Errorf("updating the %v: %w", u.Kind, ErrDeleted)
	case u.Kind < GCounter || u.Kind > Vote:
		return nil, false, fmt.Errorf("updating the entity: %w", ErrNoKind)
	case e.kind != 0 && e.kind != u.Kind:
		return nil, false, fmt.Errorf("updating a %v as a %v: %w", e.kind, u.Kind, ErrKindMismatch)
	}
	a := apply{w: w, e: e, seen: seen, last: w.Last}
	d, err = a.delta(u)
	if err != nil {
		return nil, false, fmt.Errorf("updating the %v: %w", u.Kind, err)
	}
	if e.kind == 0 {
		if d == nil {
			// Others learn the kind even if there is nothing in it yet.
			d = &Delta{kind: u.Kind, gen: e.gen}
		}
		e.take(u.Kind)
		ch.touch()
	}
	if d == nil {
		return nil, a.lost, nil
	}
	w.Last = a.last
	e.forced += a.forced
	e.merge(d, ch)
	return d, a.lost, nil
}

// apply is one Apply: it makes the delta, and leaves the entity alone.
type apply struct {
	w      *Writer
	e      *Entity
	seen   *Ctx
	last   uint32
	limits Limits
	lost   bool
	forced uint64
}

// next dot. Whether there are enough is known before.
func (a *apply) next() Dot {
	a.last++
	return MakeDot(a.w.Slot, a.w.Epoch, a.last)
}

func (a *apply) saw(d Dot) bool { return a.seen == nil || a.seen.Has(d) }

func (a *apply) own(d Dot) bool { return d.Slot() == a.w.Slot && d.Epoch() == a.w.Epoch }

func (a *apply) delta(u *Update) (*Delta, error) {
	e := a.e
	switch u.Kind {
	case GCounter:
		if u.Increment == 0 {
			return nil, nil
		}
		if p := e.counts.p; p.hi > 0 || p.lo+u.Increment < p.lo {
			return nil, fmt.Errorf("incrementing by %d: %w", u.Increment, ErrOverflow)
		}
		return a.count(GCounter, u.Increment, 0)
	case PNCounter:
		if u.Change == 0 {
			return nil, nil
		}
		p, n := split(u.Change)
		return a.count(PNCounter, p, n)
	case Vote:
		mine, _ := a.counted()
		if (mine.p%2 == 1) == u.Self {
			return nil, nil
		}
		return a.count(Vote, 1, 0)
	case LWWRegister:
		a.limits = a.w.Limits.withDefaults()
		return a.register(u)
	case Flag:
		if !u.On || e.on {
			return nil, nil
		}
		return &Delta{kind: Flag, gen: e.gen, on: true}, nil
	}
	if through, ok := e.ctx.Closed(a.w.Slot); ok && through >= a.w.Epoch {
		return nil, fmt.Errorf("writing under slot %d, epoch %d: %w", a.w.Slot, a.w.Epoch, ErrSealed)
	}
	if dots := dotsFor(u); uint64(a.last)+dots >= math.MaxUint32 {
		return nil, fmt.Errorf("numbering %d events after %d: %w", dots, a.last, ErrEpochExhausted)
	}
	a.limits = a.w.Limits.withDefaults()
	if grow := e.Size() + sizeOf(u); grow > a.limits.Bytes {
		return nil, fmt.Errorf("growing to about %d of %d bytes: %w", grow, a.limits.Bytes, ErrTooLarge)
	}
	d := a.w.elemDelta()
	d.kind, d.gen = u.Kind, e.gen
	d.Delta.body = &d.body
	d.body.kind = u.Kind
	d.body.elems = d.one[:0]
	err := a.dotted(e.root, u, &d.body, 0)
	if err != nil || d.body.empty() {
		return nil, err
	}
	return &d.Delta, nil
}

// dotsFor is how many dots an update may need at most.
func dotsFor(u *Update) uint64 {
	n := 2 + uint64(len(u.Added))
	for _, list := range [2][]Entry{u.Changed, u.Put} {
		for i := range list {
			n += 2
			if list[i].Update != nil {
				n += dotsFor(list[i].Update)
			}
		}
	}
	return n
}

// sizeOf is about what an update may add to the size.
func sizeOf(u *Update) int {
	n := len(u.Value.s)
	for i := range u.Added {
		n += elemSize(u.Added[i])
	}
	for _, list := range [2][]Entry{u.Changed, u.Put} {
		for i := range list {
			n += elemSize(list[i].Key)
			if list[i].Update != nil {
				n += sizeOf(list[i].Update)
			}
		}
	}
	return n
}

// counted is what the writer has counted so far.
func (a *apply) counted() (count, error) {
	c := &a.e.counts
	i, ok, sealed := c.at(a.w.Slot, a.w.Epoch)
	switch {
	case sealed:
		return count{}, fmt.Errorf("writing under slot %d, epoch %d: %w", a.w.Slot, a.w.Epoch, ErrSealed)
	case ok:
		return c.list[i], nil
	}
	return count{slot: a.w.Slot, epoch: a.w.Epoch}, nil
}

func (a *apply) count(k Kind, p, n uint64) (*Delta, error) {
	mine, err := a.counted()
	if err != nil {
		return nil, err
	}
	if mine.p+p < mine.p || mine.n+n < mine.n {
		return nil, fmt.Errorf("counting %d up and %d down: %w", p, n, ErrOverflow)
	}
	if k == PNCounter {
		up, down := a.e.counts.p, a.e.counts.n
		up.add(p)
		down.add(n)
		if !fits(up, down) {
			return nil, fmt.Errorf("counting %d up and %d down: %w", p, n, ErrOverflow)
		}
	}
	mine.p += p
	mine.n += n
	d := a.w.countDelta()
	d.kind, d.gen = k, a.e.gen
	d.one[0] = mine
	d.counts = d.one[:]
	return &d.Delta, nil
}

func (a *apply) register(u *Update) (*Delta, error) {
	if err := a.key(u.Value); err != nil {
		return nil, err
	}
	if a.last >= math.MaxUint32-1 {
		return nil, fmt.Errorf("numbering an event after %d: %w", a.last, ErrEpochExhausted)
	}
	clock, err := a.clock(u, a.e.reg)
	if err != nil {
		return nil, err
	}
	it := &item{dot: a.next(), a: uint64(clock), value: u.Value}
	it.from = it.dot
	if a.e.reg != nil && !it.after(a.e.reg) {
		a.lost = true
		return nil, nil
	}
	return &Delta{kind: LWWRegister, gen: a.e.gen, reg: it}, nil
}

// clock of a write. shown is what the register shows, nil if nothing.
func (a *apply) clock(u *Update, shown *item) (int64, error) {
	var now int64
	switch u.Clock {
	case ClockCustom:
		return u.Custom, nil
	case ClockAutoIncrement:
		if shown == nil || u.Custom > shown.clock() {
			return u.Custom, nil
		}
		now = u.Custom
	case ClockReverse:
		now = -a.w.now()
		if shown == nil {
			return now, nil
		}
		if shown.clock() == math.MinInt64 {
			return 0, fmt.Errorf("setting a clock before %d: %w", shown.clock(), ErrClockExhausted)
		}
		return min(now, shown.clock()-1), nil
	default:
		now = a.w.now()
		if shown == nil {
			return now, nil
		}
	}
	if shown.clock() == math.MaxInt64 {
		return 0, fmt.Errorf("setting a clock after %d: %w", shown.clock(), ErrClockExhausted)
	}
	return max(now, shown.clock()+1), nil
}

func (a *apply) key(k Key) error {
	if k.Len() > a.limits.Key {
		return fmt.Errorf("taking a value of %d bytes where %d are allowed: %w", k.Len(), a.limits.Key, ErrTooLarge)
	}
	return nil
}
