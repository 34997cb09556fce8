package lease

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestSimulation lets members come, go, crash and lose the journal, whose calls are slow, are lost, lose their answers and
// are carried out late, in fake time. No name is ever worked for twice, and in the end each is, evenly.
func TestSimulation(t *testing.T) {
	t.Parallel()
	begun := 0
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		steps := rapid.SliceOfN(rapid.IntRange(0, 99), 5, 25).Draw(rt, "steps")
		trouble := rapid.Float64Range(0, 0.4).Draw(rt, "trouble")
		var problems []string
		synctest.Test(t, func(t *testing.T) {
			problems = simulate(t, rand.New(rand.NewPCG(seed, 1)), steps, trouble, &begun)
		})
		if len(problems) > 0 {
			rt.Fatal(problems)
		}
	})
	if begun < 1000 && !testing.Short() {
		t.Errorf("only %d works were begun", begun)
	}
}

func simulate(t *testing.T, random *rand.Rand, steps []int, trouble float64, begun *int) (problems []string) {
	c := newCluster(t)
	names := lanes(8)
	stopping := rand.New(rand.NewPCG(random.Uint64(), 2))
	c.stops = func() time.Duration {
		c.mu.Lock()
		defer c.mu.Unlock()
		return time.Duration(stopping.Int64N(int64(1200 * time.Millisecond))) // less than Grace
	}
	var living []*member
	number := 0
	add := func() {
		number++
		m := c.start(fmt.Sprintf("m%d", number), names...)
		m.cells.set(func(f *faultyCells) { f.random, f.trouble = rand.New(rand.NewPCG(random.Uint64(), 3)), trouble })
		living = append(living, m)
	}
	add()
	for _, step := range steps {
		time.Sleep(time.Duration(random.Int64N(int64(4 * time.Second))))
		i := random.IntN(len(living))
		switch m := living[i]; {
		case step < 30 || len(living) == 1:
			if len(living) < 5 {
				add()
			}
		case step < 45:
			m.stop()
			living = slices.Delete(living, i, i+1)
		case step < 60:
			m.crash()
			living = slices.Delete(living, i, i+1)
		case step < 80:
			m.cells.set(func(f *faultyCells) { f.down, f.hangs = !f.down, step%2 == 0 })
		default:
			time.Sleep(4 * time.Second)
		}
	}
	for _, m := range living {
		m.cells.set(func(f *faultyCells) { f.down, f.trouble = false, 0 })
	}
	time.Sleep(30 * time.Second)
	total := 0
	for _, m := range living {
		n := len(c.working(m.name))
		total += n
		if share := (len(names) + len(living) - 1) / len(living); n > share {
			problems = append(problems, fmt.Sprintf("%s works for %d of %d names, and there are %d members", m.name, n, len(names), len(living)))
		}
	}
	if total != len(names) {
		problems = append(problems, fmt.Sprintf("%d of %d names are worked for", total, len(names)))
	}
	c.mu.Lock()
	*begun += c.begun
	if c.overlaps > 0 {
		problems = append(problems, fmt.Sprintf("two members worked for one name %d times", c.overlaps))
	}
	c.mu.Unlock()
	c.end()
	return problems
}

func TestSpread(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.IntRange(1, 9).Draw(t, "members")
		names := lanes(rapid.IntRange(1, 40).Draw(t, "names"))
		wants := map[string][]string{}
		for i := range members {
			wants[fmt.Sprint("m", i)] = names
		}
		load := map[string]int{}
		for name, member := range Spread(wants) {
			if !slices.Contains(names, name) {
				t.Errorf("%s was not wanted", name)
			}
			load[member]++
		}
		total := 0
		for member, n := range load {
			total += n
			if n > (len(names)+members-1)/members {
				t.Errorf("%s has %d of %d names, and there are %d members", member, n, len(names), members)
			}
		}
		if total != len(names) {
			t.Errorf("%d of %d names are assigned", total, len(names))
		}
	})
}
