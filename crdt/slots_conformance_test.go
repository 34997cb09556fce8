package crdt_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// world is processes that lease slots from a store, crash, lose their leases without knowing it and go on writing, hear
// each other by a network that loses, repeats and reorders, and a sealer. All a real system does to one entity, at the
// level of the data types, in one thread: a seed is a run. Two kinds of entity run in it: a counter, whose increments are
// digits to the base 4, so that one that is lost or counted twice shows; and an add-wins set of elements that are added
// once.
type world struct {
	t      *testing.T
	random *rand.Rand
	wrong  wrong
	kind   crdt.Kind

	// The store: the entity, who holds which slot, and what was sealed.
	store    *crdt.Entity
	epochs   [slots]crdt.Epoch
	holder   [slots]*process
	sealed   [slots]crdt.Epoch
	receipts []*crdt.Receipt

	running []*process // also those that have lost their lease
	mail    []post
	writes  []*written
	adds    int
	moves   int // how many re-homed something

	lostDurable, twice, back int
}

const slots = 4

// wrong is a way to do it wrong.
type wrong uint8

const (
	right wrong = iota
	// withoutBarrier seals without asking the living members to flush first.
	withoutBarrier
	// withoutEpochs lets who takes a slot write under the epoch of who had it.
	withoutEpochs
	// withoutReceipts lets removals of what was sealed out come and go unrecorded.
	withoutReceipts
)

type process struct {
	*crdttest.Node
	fenced  [slots]crdt.Epoch // whose deltas it takes only from the store
	tail    *crdt.Delta       // what it said itself since it last wrote to the store
	knows   map[*written]bool
	zombie  bool // it has lost its lease and does not know
	started int
}

// written is one increment, addition or removal.
type written struct {
	by      crdt.Member
	digit   int    // of an increment
	element string // added or removed
	removes bool
	durable bool
	out     bool // the sealed state did not have what was added
}

type post struct {
	to    *process
	from  crdt.Member
	delta *crdt.Delta
	what  *written // nil: of the sealer
}

// seeds is how many runs a simulation has: 300, or what CRDT_SEEDS says. CRDT_SEED says which one is the first.
func seeds(t *testing.T, normal int) (first, end uint64) {
	t.Helper()

	number := func(name string, otherwise int) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return uint64(otherwise)
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}

		return n
	}
	first = number("CRDT_SEED", 1)

	return first, first + number("CRDT_SEEDS", normal)
}

func runWorld(t *testing.T, seed uint64, kind crdt.Kind, wrong wrong) *world {
	t.Helper()

	w := &world{t: t, random: rand.New(rand.NewPCG(seed, uint64(kind))), wrong: wrong, kind: kind, store: crdt.New(0)}
	w.start()
	w.start()
	steps := 60 + w.random.IntN(200)
	for range steps {
		w.step()
	}
	w.end()

	return w
}

func (w *world) step() {
	p := w.pick()

	switch action := w.random.IntN(100); {
	case p == nil || action < 5 && len(w.running) < 6:
		w.start()
	case action < 40:
		w.write(p)
	case action < 70:
		w.deliver()
	case action < 85:
		w.flush(p)
	case action < 88:
		w.crash(p)
	case action < 93:
		w.loseLease(p)
	case action < 98:
		w.seal()
	case !p.zombie:
		w.load(p)
	}
}

func (w *world) pick() *process {
	if len(w.running) == 0 {
		return nil
	}

	return w.running[w.random.IntN(len(w.running))]
}

// acquire a slot that nobody holds, with a new epoch.
func (w *world) acquire(p *process) bool {
	first := w.random.IntN(slots)
	for i := range slots {
		slot := (first + i) % slots
		if w.holder[slot] != nil {
			continue
		}
		if w.wrong != withoutEpochs || w.epochs[slot] == 0 {
			w.epochs[slot]++
		}
		w.holder[slot] = p
		p.Writer.Slot, p.Writer.Epoch, p.Writer.Last, p.zombie = crdt.Slot(slot), w.epochs[slot], 0, false
		if w.wrong == withoutEpochs {
			p.Writer.Last = w.store.Ctx().Last(p.Writer.Slot, p.Writer.Epoch)
		}

		return true
	}

	return false
}

func (w *world) start() {
	p := &process{Node: crdttest.NewNode(w.t, w.kind, 0, 0), knows: make(map[*written]bool)}
	if w.acquire(p) {
		w.running = append(w.running, p)
		w.load(p)
	}
}

// load lets a process have what the store has. One that starts also knows from the slots' records whose deltas it takes
// no more.
func (w *world) load(p *process) {
	if w.store.Kind() != 0 {
		p.Hear(w.store.Full())
	}
	p.fenced = w.sealed
	for _, what := range w.writes {
		if what.durable {
			p.knows[what] = true
		}
	}
}

func (w *world) write(p *process) {
	what := &written{by: p.Origin()}
	var u *crdt.Update
	elements := p.Plain().Elements

	switch {
	case w.kind == crdt.GCounter:
		if w.adds == 31 {
			return
		}
		what.digit = w.adds
		u = inc(1 << (2 * w.adds))
		w.adds++
	case len(elements) > 0 && w.random.IntN(3) == 0:
		var all []string
		for key := range elements {
			_, value := key.Split()
			all = append(all, value)
		}
		slices.Sort(all)
		what.removes, what.element = true, all[w.random.IntN(len(all))]
		u = remove(what.element)
	default:
		what.element = fmt.Sprint("e", w.adds)
		u = add(what.element)
		w.adds++
	}

	d := p.Say(u)
	w.writes = append(w.writes, what)
	p.knows[what] = true
	w.broadcast(p, d, what)
	if d = crdttest.Recode(w.t, d); p.tail == nil {
		p.tail = d
	} else if err := p.tail.Join(d); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) broadcast(from *process, d *crdt.Delta, what *written) {
	if d == nil {
		return
	}
	for _, to := range w.running {
		if to != from {
			w.mail = append(w.mail, post{to, from.Origin(), d, what})
		}
	}
}

func (w *world) deliver() {
	if len(w.mail) == 0 {
		return
	}
	i := w.random.IntN(len(w.mail))
	p := w.mail[i]
	fate := w.random.IntN(10)
	if fate != 0 {
		w.mail = slices.Delete(w.mail, i, i+1)
	}
	fenced := p.what != nil && p.from.Epoch <= p.to.fenced[p.from.Slot]
	if fate == 1 || fenced || !slices.Contains(w.running, p.to) {
		return
	}
	if own := p.to.Origin(); p.delta.Seals(own.Slot, own.Epoch) {
		// Its own epoch is over. What it still has must be moved before the rest of it is forgotten.
		w.rejoin(p.to)
		return
	}
	p.to.Hear(p.delta)
	if p.what != nil {
		p.to.knows[p.what] = true
	}
}

// flush writes what a process has to the store. One whose lease was taken notices then.
func (w *world) flush(p *process) {
	if p.zombie {
		w.rejoin(p)
		return
	}
	w.save(p)
}

// save joins all that a process has into the store, in one compare-and-set with the records of what was moved.
func (w *world) save(p *process) {
	if p.Entity.Kind() == 0 {
		return
	}
	w.bring(p, p.Entity)
	w.safe(p)
}

// bring joins a state of a process into the store. What it said itself is looked at apart: in the whole state a removal of
// what was moved meanwhile cannot be told from the move.
func (w *world) bring(p *process, e *crdt.Entity) {
	full := e.Full()
	w.join(w.store, full)
	w.follow(p.tail)
	w.follow(full)
	p.tail = nil
}

// follow records removals in the receipts, and removes what was moved meanwhile where it is now.
func (w *world) follow(d *crdt.Delta) {
	if d == nil || w.wrong == withoutReceipts || w.kind == crdt.GCounter {
		return
	}
	for i := 0; i < len(w.receipts); i++ {
		if kill := w.receipts[i].Follow(d); kill != nil {
			w.join(w.store, kill)
			w.tellAll(kill)
			d, i = kill, -1 // which may have moved again
		}
	}
}

func (w *world) tellAll(d *crdt.Delta) {
	for _, p := range w.running {
		w.mail = append(w.mail, post{to: p, delta: d})
	}
}

func (w *world) join(e *crdt.Entity, d *crdt.Delta) {
	if d == nil {
		return
	}
	if _, err := e.Join(crdttest.Recode(w.t, d), nil); err != nil {
		w.t.Fatalf("joining into the store: %v", err)
	}
}

func (w *world) crash(p *process) {
	w.running = slices.DeleteFunc(w.running, func(q *process) bool { return p == q })
	for slot := range w.holder {
		if w.holder[slot] == p {
			w.holder[slot] = nil
		}
	}
}

// loseLease lets a process's slot become free while it goes on.
func (w *world) loseLease(p *process) {
	if p.zombie {
		return
	}
	w.holder[p.Writer.Slot] = nil
	p.zombie = true
}

// rejoin is what a process does that finds its slot taken: it begins again under a new epoch, from the store, and brings
// what the store has sealed without it.
func (w *world) rejoin(p *process) {
	old, own := p.Origin(), p.Entity
	if !w.acquire(p) {
		return // all slots are taken; it tries again later
	}
	p.Entity = crdt.New(0)
	if w.store.Kind() != 0 {
		w.join(p.Entity, w.store.Full())
	}
	p.fenced = w.sealed

	for _, r := range w.receipts {
		if r.Slot != old.Slot || r.Through != w.through(old) {
			continue
		}
		d, err := p.Entity.Rehome(own, old.Epoch, r, p.Writer, nil)
		if err != nil {
			w.t.Fatalf("re-homing: %v", err)
		}
		if d != nil {
			w.moves++
			w.join(w.store, d)
			w.tellAll(d)
		}
	}
	if own.Kind() != 0 {
		w.bring(p, own)
		w.join(p.Entity, w.store.Full())
	}
	for what := range p.knows {
		if (what.by == old || what.by.Epoch > w.sealed[what.by.Slot]) && w.brings(old, what) {
			what.durable = true
		}
	}
	w.load(p)
}

// seal closes all epochs of a slot but that of its holder, after every living member has flushed and takes no more of them
// but from the store.
func (w *world) seal() {
	slot := w.random.IntN(slots)
	through := w.epochs[slot]
	if w.holder[slot] != nil {
		through--
	}
	if through <= w.sealed[slot] || w.store.Kind() == 0 || w.wrong == withoutEpochs {
		return
	}
	for _, p := range w.running {
		switch {
		case p.zombie:
		case w.wrong == withoutBarrier:
			w.safe(p)
		default:
			p.fenced[slot] = max(p.fenced[slot], through)
			w.save(p)
		}
	}
	receipt, d, err := w.store.Seal(crdt.Slot(slot), through)
	if err != nil {
		w.t.Fatalf("sealing slot %d through %d: %v", slot, through, err)
	}
	if receipt == nil {
		return // there is nothing to seal
	}
	w.sealed[slot] = through
	w.receipts = append(w.receipts, receipt)
	there := map[crdt.Key]bool{}
	for _, key := range w.store.Value(nil).Added {
		there[key] = true
	}
	for _, what := range w.writes {
		if int(what.by.Slot) == slot && what.by.Epoch <= through && what.element != "" && !what.removes && !there[crdttest.Element(what.element)] {
			what.out = true
		}
	}
	w.tellAll(d)
}
