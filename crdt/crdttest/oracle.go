package crdttest

import (
	"cmp"
	"math"
	"slices"

	"github.com/dapr-entities/entities/crdt"
)

// Oracle is the specification of the types. Each operation makes facts and ends facts that it had observed; both are fixed
// where it happens. A value is then a function of the operations that are visible: of the facts that a visible operation
// made and no visible operation ended. There is no join in it, no context and no delta, so it cannot have their faults.
type Oracle struct {
	kind  crdt.Kind
	ops   int
	facts []fact
}

// place is a way into nested maps: the entries' keys with the kinds, which are part of an entry's identity.
type place []step

type step struct {
	key  crdt.Key
	kind crdt.Kind
}

type factKind uint8

const (
	kept      factKind = iota + 1 // an entry of a map is there, whatever its value
	increased                     // a counter
	has                           // a set has an element
	written                       // a register
	switched                      // a flag
	voted                         // yes or no
)

// fact is what an operation makes true until another one ends it.
type fact struct {
	op     int
	at     place
	what   factKind
	origin crdt.Member
	key    crdt.Key // of an element; the value of a register
	up     uint64
	down   uint64
	clock  int64
	ended  Ops // by which operations
}

// NewOracle returns the specification of one value of the kind.
func NewOracle(k crdt.Kind) *Oracle { return &Oracle{kind: k} }

// Apply takes an operation of which visible is what its replica knew and seen is what its stream had been shown: only that
// can it remove. now is what its replica took for the time, in milliseconds. It returns the operation, which is visible
// from then on where it happened; ok is false if nothing at all happened.
func (o *Oracle) Apply(from crdt.Member, u *crdt.Update, visible, seen Ops, now int64) (id int, ok bool) {
	a := &application{Oracle: o, id: o.ops, from: from, visible: visible.Clone(), seen: seen.Clone(), now: now}
	o.ops++
	a.visible.Add(a.id)
	a.seen.Add(a.id)
	a.apply(nil, o.kind, u)

	return a.id, a.did
}

// alive calls f for the facts under the place that are true where the operations are visible.
func (o *Oracle) alive(visible Ops, at place, f func(*fact)) {
	for i := range o.facts {
		fact := &o.facts[i]
		if visible.Has(fact.op) && at.contains(fact.at) && !fact.ended.intersects(visible) {
			f(fact)
		}
	}
}

func (p place) contains(q place) bool {
	if len(q) < len(p) {
		return false
	}
	for i := range p {
		if p[i] != q[i] {
			return false
		}
	}

	return true
}

// application is one operation while it happens.
type application struct {
	*Oracle
	id            int
	from          crdt.Member
	visible, seen Ops
	now           int64
	did           bool
}

// apply returns whether the operation made a fact at the place or in it.
func (a *application) apply(at place, k crdt.Kind, u *crdt.Update) (made bool) {
	switch k {
	case crdt.GCounter:
		return u.Increment > 0 && a.make(fact{at: at, what: increased, up: u.Increment})
	case crdt.PNCounter:
		up, down := uint64(u.Change), uint64(0)
		if u.Change < 0 {
			up, down = 0, -uint64(u.Change)
		}
		return u.Change != 0 && a.make(fact{at: at, what: increased, up: up, down: down})
	case crdt.GSet, crdt.ORSet:
		return a.applySet(at, k, u)
	case crdt.LWWRegister:
		return a.applyWrite(at, u)
	case crdt.Flag:
		if !u.On || len(at) == 0 && a.any(at) {
			return false
		}
		a.end(at, a.visible, func(f *fact) bool { return f.what == switched })
		return a.make(fact{at: at, what: switched})
	case crdt.Vote:
		mine := func(f *fact) bool { return f.what == voted && f.origin == a.from }
		if len(at) == 0 && u.Self == a.anyOf(at, mine) {
			return false
		}
		a.end(at, a.visible, mine)
		return u.Self && a.make(fact{at: at, what: voted})
	case crdt.ORMap:
		return a.applyMap(at, u)
	default:
		return false
	}
}

func (a *application) applySet(at place, k crdt.Kind, u *crdt.Update) (made bool) {
	if k == crdt.ORSet {
		if u.Cleared {
			a.clear(at, func(f *fact) bool { return f.what == has })
		}
		for _, key := range u.Removed {
			a.end(at, a.seen, func(f *fact) bool { return f.what == has && f.key == key })
		}
	}

	for _, key := range u.Added {
		this := func(f *fact) bool { return f.what == has && f.key == key }
		if k == crdt.GSet && a.anyOf(at, this) {
			continue // which is no news, as nothing takes it away except the removal of a map's entry
		}
		a.end(at, a.visible, this)
		made = a.make(fact{at: at, what: has, key: key})
	}

	return made
}

func (a *application) applyWrite(at place, u *crdt.Update) (made bool) {
	wins := a.winner(a.visible, at)

	clock := int64(0)
	switch {
	case u.Clock == crdt.ClockCustom, u.Clock == crdt.ClockAutoIncrement && (wins == nil || u.Custom > wins.clock):
		clock = u.Custom
	case u.Clock == crdt.ClockAutoIncrement:
		clock = wins.clock + 1
	case u.Clock == crdt.ClockDefault:
		clock = a.now
		if wins != nil {
			clock = max(clock, wins.clock+1)
		}
	case u.Clock == crdt.ClockReverse:
		clock = -a.now
		if wins != nil {
			clock = min(clock, wins.clock-1)
		}
	}

	write := fact{at: at, what: written, key: u.Value, clock: clock, origin: a.from}
	if len(at) == 0 && wins != nil && wins.after(&write) {
		return false // where nothing is ever removed, it never matters
	}
	// A write that loses takes away nothing that it loses against. It stays in case that is removed, but of each writer
	// only one does.
	a.end(at, a.visible, func(f *fact) bool {
		return f.what == written && (!f.after(&write) || f.origin == a.from && f.op != wins.op)
	})

	return a.make(write)
}

// after says which of two writes a register shows. Of one writer's with equal clocks it is the last one.
func (f *fact) after(o *fact) bool {
	return f.clock > o.clock || f.clock == o.clock && less(o.origin, f.origin)
}

func (a *application) applyMap(at place, u *crdt.Update) (made bool) {
	if u.Cleared {
		a.clear(at, func(f *fact) bool { return len(f.at) > len(at) })
	}
	for _, key := range u.Removed {
		a.end(at, a.seen, func(f *fact) bool { return len(f.at) > len(at) && f.at[len(at)].key == key })
	}

	for _, entry := range u.Changed {
		// A change of what was removed meanwhile, or is hidden by another kind, is ignored.
		if inner := at.in(entry); a.shows(at, entry) && !u.Cleared && !slices.Contains(u.Removed, entry.Key) {
			made = a.update(inner, entry.Update) || made
		}
	}

	for _, entry := range u.Put {
		inner := at.in(entry)
		switch {
		case u.Cleared || slices.Contains(u.Removed, entry.Key):
			// It is a new one even if others have changed the old one meanwhile, which then lives on in it.
			visible, seen := a.visible, a.seen
			a.visible, a.seen = Ops{}, Ops{}
			a.visible.Add(a.id)
			a.seen.Add(a.id)
			a.keep(inner)
			a.apply(inner, entry.Update.Kind, entry.Update)
			a.visible, a.seen = visible, seen
			made = true
		case a.any(inner):
			made = a.update(inner, entry.Update) || made
		default:
			a.keep(inner)
			a.apply(inner, entry.Update.Kind, entry.Update)
			made = true
		}
	}

	return made
}

// update changes what is there, and leaves something that no removal can have seen, unless nothing was asked for.
func (a *application) update(at place, u *crdt.Update) (made bool) {
	switch {
	case a.apply(at, u.Kind, u):
		return true
	case idle(u):
		return false
	default:
		a.keep(at)
		return true
	}
}

func idle(u *crdt.Update) bool {
	switch u.Kind {
	case crdt.LWWRegister, crdt.Vote:
		return false
	case crdt.Flag:
		return !u.On
	default:
		return u.Increment == 0 && u.Change == 0 && !u.Cleared &&
			len(u.Removed)+len(u.Added)+len(u.Changed)+len(u.Put) == 0
	}
}

// shows says whether the entry is there and no other kind hides it.
func (a *application) shows(at place, e crdt.Entry) bool {
	least := crdt.Kind(0)
	a.alive(a.visible, at, func(f *fact) {
		if len(f.at) > len(at) && f.at[len(at)].key == e.Key && (least == 0 || f.at[len(at)].kind < least) {
			least = f.at[len(at)].kind
		}
	})

	return least == e.Update.Kind
}

// keep makes the entry be there whatever becomes of its value.
func (a *application) keep(at place) {
	a.end(at, a.visible, func(f *fact) bool { return f.what == kept && len(f.at) == len(at) })
	a.make(fact{at: at, what: kept})
}

func (p place) in(e crdt.Entry) place {
	return append(slices.Clip(p), step{e.Key, e.Update.Kind})
}

func (a *application) make(f fact) bool {
	f.op, f.origin = a.id, a.from
	a.facts = append(a.facts, f)
	a.did = true

	return true
}

// end ends the facts under the place that are known and meant. Those that it makes itself it never ends: what it takes
// away comes before what it adds.
func (a *application) end(at place, known Ops, meant func(*fact) bool) {
	a.alive(a.visible, at, func(f *fact) {
		if known.Has(f.op) && meant(f) {
			f.ended.Add(a.id)
			a.did = true
		}
	})
}

// clear ends all facts under the place that were seen and are meant. At the top it says of all that was ever seen that it
// is over, also of what ended before: who hears of the clearing first need not wait for the rest.
func (a *application) clear(at place, meant func(*fact) bool) {
	if len(at) > 0 || !a.any(at) {
		a.end(at, a.seen, meant)
		return
	}
	for i := range a.facts {
		if f := &a.facts[i]; a.visible.Has(f.op) && a.seen.Has(f.op) && f.op != a.id {
			f.ended.Add(a.id)
			a.did = true
		}
	}
}

func (a *application) any(at place) bool {
	return a.anyOf(at, func(*fact) bool { return true })
}

func (a *application) anyOf(at place, meant func(*fact) bool) bool {
	found := false
	a.alive(a.visible, at, func(f *fact) { found = found || meant(f) })

	return found
}

// winner is the write that is visible in a register, if any.
func (o *Oracle) winner(visible Ops, at place) *fact {
	var wins *fact
	o.alive(visible, at, func(f *fact) {
		if f.what == written && (wins == nil || !wins.after(f)) {
			wins = f
		}
	})

	return wins
}

// less says which of two writers wins if their clocks are equal.
func less(a, b crdt.Member) bool {
	return cmp.Or(cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Epoch, b.Epoch)) < 0
}

// Value is what it is where the operations are visible, for a member self among the members that are there. Nil if nothing
// ever happened to a value whose kind has to come with an operation.
func (o *Oracle) Value(visible Ops, self crdt.Member, live []crdt.Member) *Plain {
	return o.value(visible, nil, o.kind, self, live)
}

func (o *Oracle) value(visible Ops, at place, k crdt.Kind, self crdt.Member, live []crdt.Member) *Plain {
	p := NewPlain(k)

	var up, down uint64
	var voters []crdt.Member
	least := make(map[crdt.Key]crdt.Kind)
	o.alive(visible, at, func(f *fact) {
		if len(f.at) > len(at) {
			step := f.at[len(at)]
			if known, ok := least[step.key]; !ok || step.kind < known {
				least[step.key] = step.kind
			}
			return
		}

		switch f.what {
		case increased:
			up, down = up+f.up, down+f.down
		case has:
			p.Elements[f.key] = struct{}{}
		case switched:
			p.On = true
		case voted:
			if slices.Contains(live, f.origin) && !slices.Contains(voters, f.origin) {
				voters = append(voters, f.origin)
				p.Votes++
				p.Self = p.Self || f.origin == self
			}
		}
	})

	switch k {
	case crdt.GCounter:
		p.Count = up
	case crdt.PNCounter:
		p.Sum = difference(up, down)
	case crdt.Vote:
		p.Voters = uint32(len(live))
	case crdt.LWWRegister:
		if wins := o.winner(visible, at); wins != nil {
			p.Register = wins.key
		}
	case crdt.ORMap:
		for key, kind := range least {
			inner := append(slices.Clip(at), step{key, kind})
			p.Entries[key] = o.value(visible, inner, kind, self, live)
		}
	}

	return p
}

func difference(up, down uint64) int64 {
	if up >= down {
		return int64(min(up-down, math.MaxInt64))
	}

	return -int64(min(down-up, math.MaxInt64))
}
