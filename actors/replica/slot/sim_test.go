package slot

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/crdt"
)

// world is a simulated journal and the processes that use it, in steps, without goroutines. Its time is exact; the clocks of
// the processes run faster or slower.
type world struct {
	random *rand.Rand
	now    time.Duration
	ttl    time.Duration
	slots  int

	cells   map[string]journal.Cell
	version int64

	processes []*process
	started   int
	pending   []*event
	problems  []string
	calm      bool // no faults any more

	holders map[Member]string // who was ever a member as what
	joins   int
}

type event struct {
	at time.Duration
	do func()
}

// process is one core and the shell around it.
type process struct {
	*core
	world  *world
	name   string
	rate   float64
	cut    bool // it does not reach the journal
	dead   bool
	paused time.Duration // until then
	busy   bool
	turn   int // of its shell; a step that belongs to an earlier one is over
	joined Member
	ended  bool
}

var errSim = errors.New("the journal did not answer")

func (w *world) after(d time.Duration, do func()) {
	w.pending = append(w.pending, &event{w.now + d, do})
}

func (p *process) clock() time.Time {
	return time.Unix(0, 0).Add(time.Duration(float64(p.world.now) * p.rate))
}

// writes reports whether the process would write now.
func (p *process) writes() bool { return !p.dead && p.phase == in && p.clock().Before(p.fence()) }

func (w *world) start() *process {
	w.started++
	p := &process{world: w, name: fmt.Sprint("p", w.started), rate: 0.8 + 0.4*w.random.Float64()}
	p.core = newCore("g", record{Owner: p.name, TTL: w.ttl}, w.slots, w.random.Uint64)
	w.processes = append(w.processes, p)
	w.after(0, p.turnOver)
	return p
}

// turnOver is one round of the shell.
func (p *process) turnOver() {
	w := p.world
	if p.dead || p.ended || p.busy {
		return
	}
	if w.now < p.paused {
		w.after(p.paused-w.now, p.turnOver)
		return
	}
	p.turn++
	turn := p.turn
	s := p.next(p.clock())
	p.note()
	switch s.do {
	case doStop:
		p.ended = true
		if p.fatal != nil {
			w.problems = append(w.problems, fmt.Sprintf("%s: %v", p.name, p.fatal))
		}
	case doWait:
		d := time.Duration(float64(s.until.Sub(p.clock())) / p.rate)
		w.after(max(d, time.Microsecond), func() {
			if p.turn == turn {
				p.turnOver()
			}
		})
	default:
		p.busy = true
		p.carryOut(s, turn)
	}
}

// carryOut sends a step to the journal, where it arrives sometime, or not; so does the answer.
func (p *process) carryOut(s step, turn int) {
	w := p.world
	r := result{began: p.clock()}
	answered := false
	answer := func(r result) {
		if answered || p.dead {
			return
		}
		if w.now < p.paused {
			return // the timeout will be seen then
		}
		answered = true
		p.busy = false
		p.done(s, r, p.clock())
		p.note()
		p.turnOver()
	}
	var late func()
	late = func() {
		if w.now < p.paused {
			w.after(p.paused-w.now, late)
			return
		}
		r.err = errSim
		answer(r)
	}
	w.after(time.Duration(float64(w.ttl/6)/p.rate), late)
	there, back := w.delay(), w.delay()
	lost := !w.calm && w.random.IntN(10) == 0
	w.after(there, func() {
		if p.cut || lost && w.random.IntN(2) == 0 {
			return
		}
		w.apply(s, &r)
		if lost || p.cut {
			return
		}
		w.after(back, func() { answer(r) })
	})
}

// delay of a message: mostly short, now and then longer than anybody waits.
func (w *world) delay() time.Duration {
	d := time.Duration(w.random.Int64N(int64(w.ttl / 100)))
	if !w.calm && w.random.IntN(12) == 0 {
		d = time.Duration(w.random.Int64N(int64(2 * w.ttl)))
	}
	return d + time.Microsecond
}

func (w *world) apply(s step, r *result) {
	if s.do == doRead || s.do == doLook {
		r.group = w.cells[groupKey("g")]
		r.group.Key = groupKey("g")
		for key, c := range w.cells {
			if strings.HasPrefix(key, slotPrefix("g")) {
				r.slots = append(r.slots, c)
			}
		}
		slices.SortFunc(r.slots, func(a, b journal.Cell) int { return strings.Compare(a.Key, b.Key) })
		return
	}
	c := s.cell
	if w.cells[c.Key].Version != c.Version {
		r.err = journal.ErrConflict
		return
	}
	was := w.cells[c.Key]
	w.version++
	c.Version, r.version = w.version, w.version
	w.cells[c.Key] = c
	if s.do == doView {
		before, _ := decodeGroup(was)
		if s.group.View != before.View+1 || before.ClusterUID != 0 && s.group.ClusterUID != before.ClusterUID {
			w.problems = append(w.problems, fmt.Sprintf("view %d after %d", s.group.View, before.View))
		}
	}
	w.check("a change of " + c.Key)
}

// note who has become a member.
func (p *process) note() {
	if p.phase != in || p.joined == p.mine {
		return
	}
	w := p.world
	if other, taken := w.holders[p.mine]; taken {
		w.problems = append(w.problems, fmt.Sprintf("%s was %s before and %s now", fmt.Sprint(p.mine), other, p.name))
	}
	w.holders[p.mine], p.joined = p.name, p.mine
	w.joins++
	w.check("a join")
}

// check that whoever writes has its slot and is in the view.
func (w *world) check(when string) {
	g, err := decodeGroup(w.cells[groupKey("g")])
	if err != nil {
		w.problems = append(w.problems, err.Error())
	}
	for _, p := range w.processes {
		if !p.writes() {
			continue
		}
		r, err := decodeRecord(w.cells[slotKey("g", p.mine.Slot)])
		if err != nil || r.Owner != p.name || r.Epoch != p.mine.Epoch {
			w.problems = append(w.problems, fmt.Sprintf("at %s after %s %s writes as %v, whose slot is %+v, %v", w.now, when, p.name, p.mine, r, err))
		}
		if !g.has(p.mine) {
			w.problems = append(w.problems, fmt.Sprintf("at %s after %s %s writes as %v, and the view is %+v", w.now, when, p.name, p.mine, g))
		}
	}
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now + d
	for {
		next := -1
		for i, e := range w.pending {
			if next < 0 || e.at < w.pending[next].at {
				next = i
			}
		}
		if next < 0 || w.pending[next].at > end || len(w.problems) > 0 {
			w.now = max(w.now, end)
			return
		}
		e := w.pending[next]
		w.pending = slices.Delete(w.pending, next, next+1)
		w.now = max(w.now, e.at)
		e.do()
	}
}

func (w *world) living() (living []*process) {
	for _, p := range w.processes {
		if !p.dead && !p.ended {
			living = append(living, p)
		}
	}
	return living
}

func newWorld(seed uint64) *world {
	return &world{random: rand.New(rand.NewPCG(seed, 1)), ttl: 15 * time.Second, slots: 8,
		cells: map[string]journal.Cell{}, holders: map[Member]string{}}
}

// TestSimulation lets processes come, leave, crash, stand still, and lose the journal, whose answers are late, lost, or both.
// Nobody ever writes as somebody whom the view does not have, no slot and epoch are ever two processes', and when all is
// calm again the living are the members.
func TestSimulation(t *testing.T) {
	t.Parallel()
	joins, runs := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rapid.Uint64().Draw(rt, "seed"))
		for _, choice := range rapid.SliceOfN(rapid.IntRange(0, 99), 5, 40).Draw(rt, "steps") {
			w.run(time.Duration(w.random.Int64N(int64(w.ttl))))
			living := w.living()
			if len(living) == 0 || choice < 25 && len(living) < 6 {
				w.start()
				continue
			}
			switch p := living[w.random.IntN(len(living))]; {
			case choice < 35:
				p.dead = true
			case choice < 45:
				p.stop()
				p.turnOver()
			case choice < 60:
				p.cut = !p.cut
			case choice < 80:
				p.paused = w.now + time.Duration(w.random.Int64N(int64(3*w.ttl)))
			default:
				w.run(2 * w.ttl)
			}
		}
		w.calm = true
		for _, p := range w.processes {
			p.cut = false
		}
		w.run(10 * w.ttl)
		joins += w.joins
		runs++
		if len(w.problems) > 0 {
			rt.Fatal(w.problems)
		}
		g, err := decodeGroup(w.cells[groupKey("g")])
		living := w.living()
		if err != nil || len(g.Members) != len(living) && len(living) > 0 {
			rt.Fatalf("%d are alive, the view is %+v, %v", len(living), g, err)
		}
		for _, p := range living {
			if !p.writes() || !g.has(p.mine) {
				rt.Fatalf("%s is alive and no member of %+v: %v", p.name, g, p.problem)
			}
		}
	})
	if joins < 3*runs {
		t.Errorf("%d joins in %d runs are not enough to show anything", joins, runs)
	}
}

// TestThousandIncarnations checks that slots are used again: processes that come and go one after another need few, whether
// they leave or crash.
func TestThousandIncarnations(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		leave func(*process)
		slots int
	}{
		{"left", func(p *process) { p.stop(); p.turnOver() }, 1},
		{"crashed", func(p *process) { p.dead = true }, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(1)
			w.calm = true
			for range 1000 {
				p := w.start()
				w.run(2 * w.ttl) // by the slowest clock more than once
				if !p.writes() {
					t.Fatalf("%s is no member: %v", p.name, p.problem)
				}
				test.leave(p)
				w.run(w.ttl / 2)
				w.processes = w.processes[:0]
			}
			slots := map[crdt.Slot]bool{}
			for m := range w.holders {
				slots[m.Slot] = true
			}
			if len(w.problems) > 0 || len(w.holders) != 1000 || len(slots) > test.slots {
				t.Errorf("%d members in %d slots, want %d; %v", len(w.holders), len(slots), test.slots, w.problems)
			}
		})
	}
}
