package journaltest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dapr-entities/entities/actors/journal"
)

func put(t testing.TB, j journal.Cells, key, value string, version int64) int64 {
	t.Helper()
	next, err := j.Put(within(t), journal.Cell{Key: key, Value: []byte(value), Version: version})
	if err != nil {
		t.Fatal(err)
	}
	if next <= version {
		t.Fatalf("version %d after %d", next, version)
	}
	return next
}

func cellOf(t testing.TB, j journal.Cells, key string) journal.Cell {
	t.Helper()
	c, err := j.Cell(within(t), key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func conflict(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, journal.ErrConflict) {
		t.Errorf("%s: %v, want a conflict", what, err)
	}
}

func (s *suite) cells(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	same(t, "no cell", cellOf(t, j, "a"), journal.Cell{Key: "a"})
	one := put(t, j, "a", "x\x00\xff", 0)
	same(t, "cell", cellOf(t, j, "a"), journal.Cell{Key: "a", Value: []byte("x\x00\xff"), Version: one})
	for _, version := range []int64{0, one - 1, one + 1, one + 100} {
		if version < 0 {
			continue
		}
		_, err := j.Put(ctx, journal.Cell{Key: "a", Value: []byte("no"), Version: version})
		conflict(t, fmt.Sprint("put at ", version), err)
		conflict(t, fmt.Sprint("remove at ", version), j.Remove(ctx, "a", version))
	}
	two := put(t, j, "a", "", one)
	same(t, "empty cell", cellOf(t, j, "a"), journal.Cell{Key: "a", Version: two})
	three := put(t, j, "a", "", two) // a change, though not of the value
	other := put(t, j, "b", "b", 0)
	if err := j.Remove(ctx, "a", three); err != nil {
		t.Fatal(err)
	}
	same(t, "no cell", cellOf(t, j, "a"), journal.Cell{Key: "a"})
	conflict(t, "remove again", j.Remove(ctx, "a", three))
	conflict(t, "remove nothing", j.Remove(ctx, "a", 0))
	_, err := j.Put(ctx, journal.Cell{Key: "a", Version: three})
	conflict(t, "put what is removed", err)
	if four := put(t, j, "a", "again", 0); four <= three {
		t.Errorf("version %d after %d", four, three)
	}
	same(t, "the other", cellOf(t, j, "b"), journal.Cell{Key: "b", Value: []byte("b"), Version: other})

	// What is given and what is returned is the caller's.
	value := []byte("mine")
	version, err := j.Put(ctx, journal.Cell{Key: "m", Value: value})
	if err != nil {
		t.Fatal(err)
	}
	value[0] = 'X'
	cellOf(t, j, "m").Value[1] = 'X'
	same(t, "cell", cellOf(t, j, "m"), journal.Cell{Key: "m", Value: []byte("mine"), Version: version})
}

// cellsAtOnce puts many cells in one call, each for itself.
func (s *suite) cellsAtOnce(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	if results, err := j.PutEach(ctx, nil); err != nil || len(results) != 0 {
		t.Errorf("none: %v, %v", results, err)
	}
	there := put(t, j, "there", "old", 0)
	gone := put(t, j, "gone", "", 0)
	if err := j.Remove(ctx, "gone", gone); err != nil {
		t.Fatal(err)
	}
	big := make([]byte, journal.MaxCellBytes)
	cells := []journal.Cell{
		{Key: "z", Value: []byte("x\x00\xff")},
		{Key: "there", Value: []byte("new"), Version: there},
		{Key: "b", Version: 7},
		{Key: "a"},
		{Key: "a", Value: []byte("again")},
		{Key: ""},
		{Key: "gone", Version: gone},
		{Key: "bad", Version: -1},
		{Key: "\xff"},
		{Key: "big", Value: big},
		{Key: "too big", Value: make([]byte, journal.MaxCellBytes+1)},
		{Key: long(journal.MaxCellKeyBytes)},
	}
	const set, conflicting, refused = 0, 1, 2
	want := []int{set, set, conflicting, set, refused, refused, conflicting, refused, refused, set, refused, set}
	results, err := j.PutEach(ctx, cells)
	if err != nil || len(results) != len(cells) {
		t.Fatalf("%d results for %d cells, %v", len(results), len(cells), err)
	}
	n := 0
	for i, r := range results {
		got := set
		if errors.Is(r.Err, journal.ErrConflict) {
			got = conflicting
		} else if r.Err != nil {
			got = refused
		}
		if got != want[i] || (r.Version > max(cells[i].Version, 0)) != (got == set) {
			t.Errorf("cell %d: %+v, want %d", i, r, want[i])
		}
		if got != set {
			continue
		}
		n++
		kept := cellOf(t, j, cells[i].Key)
		if kept.Version != r.Version || string(kept.Value) != string(cells[i].Value) {
			t.Errorf("cell %d is at %d with %d bytes, want %d with %d", i, kept.Version, len(kept.Value), r.Version, len(cells[i].Value))
		}
	}
	if list, err := j.Cells(ctx, "", "", 0); err != nil || len(list) != n {
		t.Errorf("%d cells, %v, want %d", len(list), err, n)
	}
	// What is given is the caller's.
	cells[0].Value[0] = 'X'
	same(t, "cell", string(cellOf(t, j, "z").Value), "x\x00\xff")

	// More than fit into one message, however the back end cuts them.
	many := make([]journal.Cell, 1200)
	for i := range many {
		many[i] = journal.Cell{Key: fmt.Sprintf("many/%d", i*7919%len(many)), Value: make([]byte, i%17*1000)}
	}
	for round := range 2 {
		results, err = j.PutEach(ctx, many)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if r.Err != nil || r.Version <= many[i].Version {
				t.Fatalf("round %d, cell %d: %+v after %d", round, i, r, many[i].Version)
			}
			many[i].Version = r.Version
		}
	}
	for _, i := range []int{0, 600, 1199} {
		same(t, "version", cellOf(t, j, many[i].Key).Version, many[i].Version)
	}
}

func (s *suite) cellLists(t *testing.T) {
	j := s.open(t)
	keys := []string{
		"a", "a/", "a/%", "a/1", "a/10", "a/2", "a/B", "a/_", "a/b", "a/ü", "a/🍵", "a/\U0010FFFF", "a/\U0010FFFF/x", "a0", "aa",
		"b/1", "B/1", "\uD7FFx", "\uE000", "\U0010FFFF", `back\slash`, "quo'te",
	}
	slices.Sort(keys)
	for _, key := range keys {
		put(t, j, key, "of "+key, 0)
	}
	for _, prefix := range []string{"", "a", "a/", "a/1", "a/%", "a/_", "a/\U0010FFFF", "\U0010FFFF", "\uD7FF", "B", "none", `back\`, "quo'", "a/🍵"} {
		for _, after := range []string{"", "a/1", "a/ü", "b", "zzz"} {
			var expected []string
			for _, key := range keys {
				if key > after && len(key) >= len(prefix) && key[:len(prefix)] == prefix {
					expected = append(expected, key)
				}
			}
			for _, limit := range []int{0, 1, 3, 100} {
				var got []string
				for from := after; ; {
					page, err := j.Cells(within(t), prefix, from, limit)
					if err != nil || limit > 0 && len(page) > limit {
						t.Fatalf("%d cells, limit %d, %v", len(page), limit, err)
					}
					if len(page) == 0 {
						break
					}
					for _, c := range page {
						got = append(got, c.Key)
						if string(c.Value) != "of "+c.Key || c.Version <= 0 {
							t.Errorf("cell %+v", c)
						}
					}
					from = page[len(page)-1].Key
				}
				same(t, fmt.Sprintf("cells of %q after %q, limit %d", prefix, after, limit), got, expected)
			}
		}
	}
}

func (s *suite) cellLimits(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	longest := journal.Cell{Key: long(journal.MaxCellKeyBytes), Value: make([]byte, journal.MaxCellBytes)}
	if _, err := j.Put(ctx, longest); err != nil {
		t.Fatal(err)
	}
	if got := cellOf(t, j, longest.Key); len(got.Value) != journal.MaxCellBytes {
		t.Errorf("%d bytes of %d", len(got.Value), journal.MaxCellBytes)
	}
	for name, bad := range map[string]journal.Cell{
		"no key":            {},
		"long key":          {Key: long(journal.MaxCellKeyBytes + 1)},
		"not UTF-8":         {Key: "\xff"},
		"zero byte":         {Key: "a\x00b"},
		"big value":         {Key: "big", Value: make([]byte, journal.MaxCellBytes+1)},
		"version below any": {Key: "v", Version: -1},
	} {
		if _, err := j.Put(ctx, bad); err == nil || errors.Is(err, journal.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	list, err := j.Cells(ctx, "", "", 0)
	if err != nil || len(list) != 1 {
		t.Errorf("%d cells, %v", len(list), err)
	}
	// Eight megabytes come, in however many pieces.
	for i := range 7 {
		put(t, j, fmt.Sprint("big/", i), string(longest.Value), 0)
	}
	n := 0
	for after := ""; ; n++ {
		page, err := j.Cells(ctx, "big/", after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].Key
	}
	if n < 3 {
		t.Errorf("seven cells in %d pages of three", n)
	}
}

// cellRacesAtOnce has many who count in the same cells, each call in another order, and who remove and make them.
func (s *suite) cellRacesAtOnce(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	const racers, rounds, width = 6, 12, 9
	var counted [width]atomic.Int64
	var removed [width]atomic.Int64
	var mu sync.Mutex
	versions := map[string]int64{} // by key and version, how often
	var wg sync.WaitGroup
	for racer := range racers {
		wg.Go(func() {
			for round := range rounds {
				list, err := j.Cells(ctx, "c/", "", 0)
				if err != nil {
					t.Error(err)
					return
				}
				is := map[string]journal.Cell{}
				for _, c := range list {
					is[c.Key] = c
				}
				if racer == 0 && round%3 == 2 {
					k := round % width
					c := is[fmt.Sprint("c/", k)]
					count, _ := strconv.Atoi(string(c.Value))
					switch err := j.Remove(ctx, fmt.Sprint("c/", k), c.Version); {
					case err == nil:
						removed[k].Add(int64(count))
					case !errors.Is(err, journal.ErrConflict):
						t.Error(err)
					}
					continue
				}
				cells := make([]journal.Cell, width)
				for i := range cells {
					key := fmt.Sprint("c/", (i*(racer+1)+round)%width)
					if racer == 2 || racer == 5 { // 3 and 6 divide the width
						key = fmt.Sprint("c/", (width-1-i+round)%width)
					}
					count, _ := strconv.Atoi(string(is[key].Value))
					cells[i] = journal.Cell{Key: key, Value: []byte(strconv.Itoa(count + 1)), Version: is[key].Version}
				}
				results, err := j.PutEach(ctx, cells)
				if err != nil {
					t.Error(err)
					return
				}
				for i, r := range results {
					if errors.Is(r.Err, journal.ErrConflict) {
						continue
					}
					mu.Lock()
					name := fmt.Sprint(cells[i].Key, " ", r.Version)
					versions[name]++
					if r.Err != nil || r.Version <= cells[i].Version || versions[name] > 1 {
						t.Errorf("%s: %+v after %d", cells[i].Key, r, cells[i].Version)
					}
					mu.Unlock()
					k, _ := strconv.Atoi(cells[i].Key[2:])
					counted[k].Add(1)
				}
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for k := range width {
		count, _ := strconv.ParseInt(string(cellOf(t, j, fmt.Sprint("c/", k)).Value), 10, 64)
		if want := counted[k].Load() - removed[k].Load(); count != want {
			t.Errorf("cell %d says %d, want %d", k, count, want)
		}
		total += counted[k].Load()
	}
	if total < rounds {
		t.Errorf("only %d puts were successful", total)
	}
}

// cellRaces has many who count in one cell, remove it and make it again.
func (s *suite) cellRaces(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	const racers, each = 8, 15
	var made, removed atomic.Int64
	var mu sync.Mutex
	versions := map[int64]bool{}
	var wg sync.WaitGroup
	for range racers {
		wg.Go(func() {
			for n := 0; n < each; {
				c, err := j.Cell(ctx, "count")
				if err != nil {
					t.Error(err)
					return
				}
				count, _ := strconv.Atoi(string(c.Value))
				next, err := j.Put(ctx, journal.Cell{Key: "count", Value: []byte(strconv.Itoa(count + 1)), Version: c.Version})
				if errors.Is(err, journal.ErrConflict) {
					continue
				}
				mu.Lock()
				if err != nil || next <= c.Version || versions[next] {
					t.Errorf("version %d after %d, %v", next, c.Version, err)
				}
				versions[next] = true
				mu.Unlock()
				n++
			}
			for range each {
				c, err := j.Cell(ctx, "coming and going")
				if err == nil && c.Version == 0 {
					if _, err = j.Put(ctx, c); err == nil {
						made.Add(1)
					}
				} else if err == nil {
					if err = j.Remove(ctx, c.Key, c.Version); err == nil {
						removed.Add(1)
					}
				}
				if err != nil && !errors.Is(err, journal.ErrConflict) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := string(cellOf(t, j, "count").Value); got != strconv.Itoa(racers*each) {
		t.Errorf("counted %s, want %d", got, racers*each)
	}
	there := int64(0)
	if cellOf(t, j, "coming and going").Version > 0 {
		there = 1
	}
	if made.Load()-removed.Load() != there {
		t.Errorf("made %d times, removed %d times, there: %d", made.Load(), removed.Load(), there)
	}
}
