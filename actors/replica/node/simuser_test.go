package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
)

// simUser is what works with the entities of one process: a user function for each that is open, which believes what it
// is told.
type simUser struct {
	n       *simNode
	h       *history
	streams map[string]*simStream
	// unanswered counts writes whose done has not been called.
	unanswered int
}

type simStream struct {
	user     *simUser
	name     string
	replica  *handle
	opening  bool
	closed   bool
	flushing bool
	// What the user function believes.
	count uint64
	set   map[string]bool
}

// history is what all users did, and what they were promised.
type history struct {
	adds                   map[string]*simOp
	order                  []string
	removes                map[string]*simOp
	digits                 []*simOp
	unsure, named          int
	started, safe, deletes int
	problems               []string
}

// simOp is one write. safe says that its level above Local was confirmed, by who has done it.
type simOp struct {
	asked, safe bool
	by          []*simNode
}

// lasts says whether the write must be there in the end: it has been confirmed, or who has done it lives.
func (o *simOp) lasts() bool {
	return o.safe || slices.ContainsFunc(o.by, func(n *simNode) bool { return !n.dead })
}

func newHistory() *history {
	return &history{adds: map[string]*simOp{}, removes: map[string]*simOp{}}
}

func (h *history) problemf(format string, args ...any) {
	h.problems = append(h.problems, fmt.Sprintf(format, args...))
}

func (s *sim) user(n *simNode, h *history) *simUser {
	u := &simUser{n: n, h: h, streams: map[string]*simStream{}}
	n.user = u
	return u
}

// open begins a stream unless there is one.
func (u *simUser) open(name string) {
	if u.streams[name] != nil {
		return
	}
	st := &simStream{user: u, name: name, opening: true, set: map[string]bool{}}
	u.streams[name] = st
	o := &opener{func() { st.changed() }, func(h *handle, err error) {
		st.opening = false
		if err != nil {
			delete(u.streams, name)
			return
		}
		st.replica = h
		if value, deleted := h.Begin(); deleted {
			st.close()
		} else {
			st.told(value)
		}
	}}
	u.n.input(partitionOf(refOf(name), u.n.config.Partitions), func(p *partition) { p.open(refOf(name), o) })
}

func (st *simStream) part() int {
	return partitionOf(refOf(st.name), st.user.n.config.Partitions)
}

func (st *simStream) close() {
	if st.closed || st.replica == nil {
		return
	}
	st.closed = true
	delete(st.user.streams, st.name)
	st.replica.Close()
	st.user.n.sim.after(0, st.user.n, func() { st.user.n.serve(st.part()) })
}

// changed comes when there is something to be told; user functions are slow.
func (st *simStream) changed() {
	if st.flushing {
		return
	}
	st.flushing = true
	n := st.user.n
	n.sim.after(n.sim.some(300*time.Millisecond), n, func() {
		st.flushing = false
		st.flush()
	})
}

func (st *simStream) flush() {
	if st.closed || st.replica == nil {
		return
	}
	u, err := st.replica.Flush()
	if err != nil {
		st.close()
		return
	}
	st.told(u)
	st.user.n.serve(st.part())
}

// told applies an update to what the user function believes, and complains if it does not fit.
func (st *simStream) told(u *crdt.Update) {
	if u == nil {
		return
	}
	st.count += u.Increment
	if u.Kind != crdt.ORSet && u.Kind != crdt.GSet {
		return
	}
	if u.Cleared {
		clear(st.set)
	}
	for _, k := range u.Removed {
		if !st.set[keyText(k)] {
			st.user.h.problemf("%s: told to remove %s, which is not there", st.name, keyText(k))
		}
		delete(st.set, keyText(k))
	}
	for _, k := range u.Added {
		if st.set[keyText(k)] {
			st.user.h.problemf("%s: told to add %s, which is there", st.name, keyText(k))
		}
		st.set[keyText(k)] = true
	}
}

func keyOf(s string) crdt.Key { return crdt.MakeKey("t/s", []byte(s)) }

func keyText(k crdt.Key) string {
	_, v := k.Split()
	return v
}

// act does something at random with an open stream.
func (u *simUser) act(name string) {
	st := u.streams[name]
	if st == nil || st.replica == nil {
		u.open(name)
		return
	}
	s, h := u.n.sim, u.h
	level := replica.Level(s.random.IntN(3))
	op := &simOp{}
	update := &crdt.Update{}
	// What the user function said it believes, also if it is refused; what is done stands in the history.
	believe, commit := func() {}, func() {}
	switch kind, _, _ := strings.Cut(name, "-"); kind {
	case "count":
		if len(h.digits) >= 31 {
			return
		}
		update.Kind, update.Increment = crdt.GCounter, 1<<(2*len(h.digits))
		believe = func() { st.count += update.Increment }
		commit = func() { h.digits = append(h.digits, op) }
	case "set", "del":
		update.Kind = crdt.ORSet
		believed := slices.Sorted(maps.Keys(st.set))
		if kind == "del" && s.chance(0.1) {
			h.deletes++
			_ = st.replica.Delete(level, func(error) {})
			st.close()
			return
		}
		if len(believed) > 0 && s.chance(0.3) {
			e := believed[s.random.IntN(len(believed))]
			update.Removed = []crdt.Key{keyOf(e)}
			believe = func() { delete(st.set, e) }
			commit = func() {
				if old := h.removes[e]; old != nil {
					op = old
				}
				h.removes[e] = op
			}
			break
		}
		e := fmt.Sprintf("%s/%d", name, h.named)
		h.named++
		update.Added = []crdt.Key{keyOf(e)}
		believe = func() { st.set[e] = true }
		commit = func() {
			h.adds[e] = op
			h.order = append(h.order, e)
		}
	case "grow":
		// What is in doubt is said again, by anybody.
		e := fmt.Sprintf("%s/%d", name, h.named)
		if n := len(h.order); n > 0 && s.chance(0.6) {
			if old := h.order[max(0, n-1-s.random.IntN(10))]; strings.HasPrefix(old, name) {
				e = old
			}
		}
		if h.adds[e] == nil {
			h.named++
		} else {
			op = h.adds[e]
		}
		update.Kind, update.Added = crdt.GSet, []crdt.Key{keyOf(e)}
		believe = func() { st.set[e] = true }
		commit = func() {
			if h.adds[e] == nil {
				h.adds[e] = op
				h.order = append(h.order, e)
			}
		}
	case "map":
		k := keyOf(fmt.Sprint(s.random.IntN(4)))
		update.Kind = crdt.ORMap
		if s.chance(0.2) {
			update.Removed = []crdt.Key{k}
		} else {
			update.Put = []crdt.Entry{{Key: k, Update: &crdt.Update{Kind: crdt.PNCounter, Change: int64(s.random.IntN(9)) - 3}}}
		}
	case "reg":
		update.Kind, update.Value = crdt.LWWRegister, keyOf(fmt.Sprint(s.random.IntN(100)))
	}
	wants := level
	settled := false
	err := st.replica.Update(update, level, func(err error) {
		if settled {
			h.problemf("%s: answered twice", name)
		}
		settled = true
		u.unanswered--
		if err == nil && wants != replica.Local {
			op.safe = true
			h.safe++
			u.n.promised(h, name, update, wants)
		} else if err != nil {
			h.unsure++
		}
	})
	if err == nil || errors.Is(err, replica.ErrReadOnly) {
		believe()
	}
	if err == nil {
		s.trace("%v: node %d writes to %s at level %v as %s: +%d %d added %d removed", s.stamp(), u.n.place, name, level,
			memberName(u.n.standing.Self), update.Increment, len(update.Added), len(update.Removed))
		h.started++
		u.unanswered++
		op.asked = true
		op.by = append(op.by, u.n)
		commit()
	}
	u.n.serve(st.part())
}

// promised looks whether a confirmed write is where it was promised to be.
func (n *simNode) promised(h *history, name string, u *crdt.Update, level replica.Level) {
	s, ref := n.sim, refOf(name)
	st, err := (&store{cells: &simCells{n: n, sure: true}}).load(context.Background(), ref)
	if err != nil {
		h.problemAtf(s, "%s cannot be loaded: %v", name, err)
		return
	}
	stored := crdt.New(st.generation)
	for _, t := range st.tails {
		if t.generation > stored.Generation() {
			stored = crdt.New(t.generation)
		}
	}
	join := func(d *crdt.Delta) {
		if d != nil {
			if _, err := stored.Join(d, nil); err != nil && !errors.Is(err, crdt.ErrNewerGeneration) {
				h.problemAtf(s, "%s: what is stored does not fit together: %v", name, err)
			}
		}
	}
	join(st.base)
	for _, t := range st.tails {
		join(t.delta)
	}
	if missing := h.missing(stored, u); missing != "" {
		h.problemAtf(s, "%s: confirmed at level %v, but the journal does not have %s", name, level, missing)
	}
	if level != replica.All {
		return
	}
	for _, m := range s.live() {
		p := m.parts[partitionOf(ref, m.config.Partitions)]
		r := p.residents[ref]
		if r == nil || r.phase != phaseLive || r.behind || !m.standing.writable() || !s.seats.holds(m, m.standing.Self) {
			continue
		}
		if missing := h.missing(r.state, u); missing != "" {
			h.problemAtf(s, "%s: confirmed by all, but node %d does not have %s", name, m.place, missing)
		}
	}
}

// missing says what of an update is not in a state, though nothing can have taken it away.
func (h *history) missing(e *crdt.Entity, u *crdt.Update) string {
	if e.Deleted() || e.Generation() > 0 {
		return ""
	}
	there := map[string]bool{}
	v := e.Value(nil)
	if v == nil {
		v = &crdt.Update{}
	}
	for _, k := range v.Added {
		there[keyText(k)] = true
	}
	for _, k := range u.Added {
		if !there[keyText(k)] && h.removes[keyText(k)] == nil {
			return keyText(k)
		}
	}
	for _, k := range u.Removed {
		if there[keyText(k)] {
			return "the removal of " + keyText(k)
		}
	}
	if i := u.Increment; i > 0 && v.Increment/i&3 != 1 {
		return fmt.Sprintf("increment %d once", i)
	}
	return ""
}
