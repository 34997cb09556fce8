package daprstate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// index is a sorted map in pages, each of which is a record. A page knows up to which key it reaches, and which page comes
// behind it; a full one is split by writing its upper half to a new page first and then itself, with a pointer to it. So
// whoever comes to a page that has lost what he looks for goes on to the right, and the pages above are hints only. Pages
// never go away, and what a page begins with never changes. The page at the top keeps its key.
type index struct {
	j    *Journal
	name string
	work combiner[pagework]
}

type page struct {
	level int64 // 0 holds entries, the others hold pages: the value is the name of one whose keys begin with the key
	// counter grows with every change of an entry in this page or in those from which it was split.
	counter int64
	high    string // keys are less; empty for no end
	next    string // name of the page behind it
	entries []entry
}

type entry struct {
	key   string
	value []byte
}

// pageBytes is how big a page gets before it is split.
const pageBytes = 32 << 10

// pageKeys is how many entries of a page are changed with one save.
const pageKeys = 128

func newIndex(j *Journal, name string) *index {
	x := &index{j: j, name: name}
	x.work = combiner[pagework]{j: j, run: x.runAll}
	return x
}

func (x *index) pageKey(name string) string {
	if name == "" {
		return x.j.key("i", x.name)
	}
	return x.j.key("i", x.name, name)
}

func (p *page) encode() []byte {
	e := encoder{make([]byte, 0, 1024)}
	e.number(p.level)
	e.number(p.counter)
	e.text(p.high)
	e.text(p.next)
	e.count(len(p.entries))
	for _, v := range p.entries {
		e.text(v.key)
		e.bytes(v.value)
	}
	return e.data
}

func decodePage(r record) (*page, error) {
	p := &page{}
	if r.version == 0 {
		return p, nil
	}
	d := decoder{data: r.body}
	p.level, p.counter, p.high, p.next = d.number(), d.number(), d.text(), d.text()
	for range d.count() {
		v := entry{d.text(), d.bytes()}
		if d.bad {
			break
		}
		p.entries = append(p.entries, v)
	}
	if err := d.end(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, r.key)
	}
	return p, nil
}

// place of a key, and whether it is there.
func (p *page) place(key string) (int, bool) {
	return slices.BinarySearchFunc(p.entries, key, func(v entry, key string) int { return strings.Compare(v.key, key) })
}

func (p *page) get(key string) ([]byte, bool) {
	if i, ok := p.place(key); ok {
		return p.entries[i].value, true
	}
	return nil, false
}

func (p *page) set(key string, value []byte) {
	i, ok := p.place(key)
	if ok {
		p.entries[i].value = value
		return
	}
	p.entries = slices.Insert(p.entries, i, entry{key, value})
}

func (p *page) remove(key string) {
	if i, ok := p.place(key); ok {
		p.entries = slices.Delete(p.entries, i, i+1)
	}
}

// down finds the page of a level that has a key.
func (x *index) down(ctx context.Context, key string, level int64) (record, *page, error) {
	name := ""
	for {
		item, err := x.j.getOne(ctx, x.pageKey(name))
		if err != nil {
			return record{}, nil, err
		}
		r, err := decodeRecord(item)
		if err != nil {
			return r, nil, err
		}
		p, err := decodePage(r)
		if err != nil {
			return r, nil, err
		}
		switch {
		case p.high != "" && key >= p.high:
			name = p.next
		case p.level <= level:
			return r, p, nil
		default:
			i := sort.Search(len(p.entries), func(i int) bool { return p.entries[i].key > key })
			if i == 0 {
				return r, nil, fmt.Errorf("%w: %s has no page for the first keys", errDamaged, r.key)
			}
			name = string(p.entries[i-1].value)
		}
		if name == "" {
			return r, nil, fmt.Errorf("%w: %s leads nowhere", errDamaged, r.key)
		}
	}
}

// pagework changes the entries of some sorted keys. It may be called many times before it is saved, each time for those
// keys that the page reaches.
type pagework struct {
	keys []string
	run  func(p *page, keys []string)
}

// do has work done, together with what others want. Different keys may be in different pages: each page is saved for
// itself. An error leaves in doubt what of it was done.
func (x *index) do(ctx context.Context, keys []string, run func(p *page, keys []string)) error {
	if len(keys) == 0 {
		return nil
	}
	return x.work.do(ctx, pagework{keys, run})
}

func (x *index) runAll(ctx context.Context, jobs []pagework) error {
	left := make([][]string, len(jobs))
	for i, job := range jobs {
		left[i] = job.keys
	}
	for {
		// The page of the first key that is left does all keys that it reaches.
		first, found := "", false
		for _, keys := range left {
			if len(keys) > 0 && (!found || keys[0] < first) {
				first, found = keys[0], true
			}
		}
		if !found {
			return nil
		}
		done := make([]int, len(jobs))
		err := x.save(ctx, first, 0, func(p *page) {
			room := pageKeys
			for i, keys := range left {
				done[i] = min(reached(keys, p.high), room)
				if room -= done[i]; done[i] > 0 {
					jobs[i].run(p, keys[:done[i]])
				}
			}
		})
		if err != nil {
			return fmt.Errorf("change the index of %s: %w", x.name, err)
		}
		for i, n := range done {
			left[i] = left[i][n:]
		}
	}
}

// reached is how many of sorted keys are below high.
func reached(keys []string, high string) int {
	if high == "" {
		return len(keys)
	}
	return sort.SearchStrings(keys, high)
}

// save changes the page that has a key, and splits it if it got too big.
func (x *index) save(ctx context.Context, key string, level int64, change func(p *page)) error {
	for try := 0; ; try++ {
		if try > 0 && !pause(ctx, try) {
			return context.Cause(ctx)
		}
		r, p, err := x.down(ctx, key, level)
		if err != nil {
			return err
		}
		if p.level != level {
			return fmt.Errorf("%w: %s has no pages of level %d", errDamaged, r.key, level)
		}
		before := p.encode()
		change(p)
		body := p.encode()
		if slices.Equal(before, body) {
			return nil
		}
		if len(body) <= pageBytes || len(p.entries) < 2 {
			err = x.j.save(ctx, r, body)
		} else {
			err = x.split(ctx, r, p)
		}
		if !errors.Is(err, errLost) {
			return err
		}
	}
}

// split saves a page in two halves.
func (x *index) split(ctx context.Context, r record, p *page) error {
	at := p.half()
	right := &page{level: p.level, counter: p.counter, high: p.high, next: p.next, entries: p.entries[at:]}
	name := rand.Text()
	if err := x.j.save(ctx, record{key: x.pageKey(name)}, right.encode()); err != nil {
		return err
	}
	left := &page{level: p.level, counter: p.counter, high: p.entries[at].key, next: name, entries: p.entries[:at]}
	if r.key != x.pageKey("") {
		if err := x.j.save(ctx, r, left.encode()); err != nil {
			return err // if it was lost, the other half is left behind
		}
		// It can be found without this.
		err := x.save(ctx, left.high, p.level+1, func(above *page) {
			above.counter++
			above.set(left.high, []byte(name))
		})
		if err != nil {
			x.j.config.Log.Debug("the way to a page is longer than it should be", "index", x.name, "error", err)
		}
		return nil
	}
	// The page at the top moves down, both halves of it.
	leftName := rand.Text()
	if err := x.j.save(ctx, record{key: x.pageKey(leftName)}, left.encode()); err != nil {
		return err
	}
	lowest := ""
	if p.level > 0 {
		lowest = p.entries[0].key
	}
	top := &page{level: p.level + 1, counter: p.counter, entries: []entry{
		{lowest, []byte(leftName)}, {left.high, []byte(name)},
	}}
	return x.j.save(ctx, r, top.encode())
}

// half is where to cut.
func (p *page) half() int {
	total := 0
	for _, v := range p.entries {
		total += len(v.key) + len(v.value)
	}
	size := 0
	for i, v := range p.entries[:len(p.entries)-1] {
		if size += len(v.key) + len(v.value); size >= total/2 {
			return i + 1
		}
	}
	return len(p.entries) - 1
}

// get returns the value of a key.
func (x *index) get(ctx context.Context, key string) ([]byte, bool, error) {
	_, p, err := x.down(ctx, key, 0)
	if err != nil {
		return nil, false, err
	}
	value, ok := p.get(key)
	return value, ok, nil
}

// scan calls visit with what a page has of the keys that are greater than after and begin with prefix, page by page, until
// visit returns false.
func (x *index) scan(ctx context.Context, prefix, after string, visit func(entries []entry) (more bool, err error)) error {
	from := max(prefix, after)
	for {
		_, p, err := x.down(ctx, from, 0)
		if err != nil {
			return err
		}
		entries := p.entries
		first := sort.Search(len(entries), func(i int) bool { return entries[i].key > after && entries[i].key >= prefix })
		entries = entries[first:]
		last := sort.Search(len(entries), func(i int) bool { return !strings.HasPrefix(entries[i].key, prefix) })
		if more, err := visit(entries[:last]); err != nil || !more {
			return err
		}
		if p.high == "" || last < len(entries) {
			return nil
		}
		from = p.high
	}
}

// insert makes sure that a key is there.
func (x *index) insert(ctx context.Context, key string) error {
	return x.do(ctx, []string{key}, func(p *page, keys []string) {
		for _, key := range keys {
			if _, ok := p.get(key); !ok {
				p.counter++
				p.set(key, nil)
			}
		}
	})
}
