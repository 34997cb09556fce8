package replica_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// copies are replicas of counters, kept in memory: what a node would have without its peers.
type copies struct {
	mu   sync.Mutex
	open map[actors.Ref]*tally
	kept map[actors.Ref]*state
	// openings so far, and what they come to.
	openings int
	broken   error
	// hold keeps writes unconfirmed until settle is called.
	hold bool
	// refuse is what writes come to.
	refuse error
}

// state of an entity, which outlives its replicas.
type state struct {
	value   int64
	exists  bool
	deleted bool
	// barred says that it cannot be created again.
	barred  bool
	waiting []func(error)
}

// tally is the open replica of an entity.
type tally struct {
	*copies
	*state
	ref     actors.Ref
	told    int64
	changed func()
}

func (s *copies) Open(ctx context.Context, ref actors.Ref, changed func()) (replica.Replica, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.openings++
	if s.broken != nil {
		return nil, s.broken
	}
	if s.open[ref] != nil {
		panic("two replicas of " + ref.String() + " are open")
	}
	st := s.at(ref)
	if st.deleted && !st.barred {
		*st = state{}
	}
	c := &tally{s, st, ref, 0, changed}
	s.open[ref] = c
	return c, ctx.Err()
}

func (s *copies) at(ref actors.Ref) *state {
	if s.kept[ref] == nil {
		s.kept[ref] = new(state)
	}
	return s.kept[ref]
}

// change is what another node does to an entity.
func (s *copies) change(id string, by int64) {
	s.others(id, func(st *state) { st.value += by; st.exists = true })
}

func (s *copies) others(id string, do func(*state)) {
	ref := counting(id)
	s.mu.Lock()
	do(s.at(ref))
	c := s.open[ref]
	s.mu.Unlock()
	if c != nil {
		c.changed()
	}
}

// settle confirms, or fails to confirm, what is held.
func (s *copies) settle(id string, err error) {
	s.mu.Lock()
	st := s.at(counting(id))
	waiting := st.waiting
	st.waiting = nil
	s.mu.Unlock()
	for _, done := range waiting {
		done(err)
	}
}

func (s *copies) value(id string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(counting(id)).value
}

func counting(id string) actors.Ref { return actors.Ref{Service: "counters", ID: id} }

func (c *tally) Begin() (*crdt.Update, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = c.state.value
	if !c.exists {
		return nil, c.deleted
	}
	return &crdt.Update{Kind: crdt.PNCounter, Change: c.state.value}, c.deleted
}

func (c *tally) Flush() (*crdt.Update, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	by := c.state.value - c.told
	c.told = c.state.value
	if by == 0 || c.deleted {
		return nil, c.deleted
	}
	return &crdt.Update{Kind: crdt.PNCounter, Change: by}, false
}

func (c *tally) Update(u *crdt.Update, level replica.Level, done func(error)) error {
	return c.write(level, done, func() { c.exists = true; c.state.value += u.Change; c.told += u.Change })
}

func (c *tally) Delete(level replica.Level, done func(error)) error {
	return c.write(level, done, func() { c.deleted = true })
}

func (c *tally) write(level replica.Level, done func(error), do func()) error {
	c.mu.Lock()
	switch {
	case c.open[c.ref] != c:
		panic("a replica that is closed is written to")
	case c.refuse != nil || c.deleted:
		defer c.mu.Unlock()
		if c.deleted {
			return replica.ErrDeleted
		}
		return c.refuse
	}
	do()
	if c.hold && level > replica.Local {
		c.waiting = append(c.waiting, done)
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	done(nil)
	return nil
}

func (c *tally) Value() *crdt.Update { u, _ := c.Begin(); return u }

func (c *tally) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[c.ref] != c {
		panic("a replica is closed twice")
	}
	delete(c.open, c.ref)
}

// author is a user function that does what the test says.
type author struct {
	mu      sync.Mutex
	streams []*stream
	broken  error
	// answer, if set, is called for every command, and withheld is what commands come to.
	answer   func(s *stream, number int64, c *actors.Command)
	withheld error
}

// stream is one session of it.
type stream struct {
	replica.Start
	author *author
	mu     sync.Mutex
	heard  []string
	closed bool
	// stuck makes commands wait until their time is up.
	stuck bool
	// told are the value and the updates, value is what comes of them and of what was said.
	told     []string
	value    *crdttest.Plain
	commands int
}

func (f *author) Open(ctx context.Context, start replica.Start) (replica.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return nil, f.broken
	}
	s := &stream{Start: start, author: f}
	s.hear("init" + amount(start.Value))
	value, err := crdttest.PlainOf(start.Value)
	s.value = value
	s.tell(start.Value, err)
	f.streams = append(f.streams, s)
	return s, ctx.Err()
}

func amount(u *crdt.Update) string {
	if u == nil {
		return ""
	}
	if u.Kind != crdt.PNCounter {
		return " " + short(u)
	}
	return fmt.Sprintf(" %+d", u.Change)
}

// short is u without the type of its elements.
func short(u *crdt.Update) string {
	return strings.NewReplacer(`"`+crdttest.TypeURL+`":`, "", `"`, "").Replace(crdttest.Format(u))
}

// tell notes what the user function is told.
func (s *stream) tell(u *crdt.Update, err error) {
	s.told = append(s.told, short(u))
	if err != nil {
		s.told = append(s.told, fmt.Sprintf("which cannot be: %v", err))
	}
}

func (s *stream) hear(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, text)
}

func (s *stream) Command(ctx context.Context, number int64, c *actors.Command, streamed bool) error {
	text := fmt.Sprintf("%s=%d", c.Method, number)
	if streamed {
		text += "*"
	}
	s.hear(text)
	s.mu.Lock()
	s.commands = int(number)
	s.mu.Unlock()
	if s.author.withheld != nil {
		return s.author.withheld
	}
	if s.stuck {
		<-ctx.Done()
		return ctx.Err()
	}
	if s.author.answer != nil {
		s.author.answer(s, number, c)
	}
	return nil
}

func (s *stream) Cancelled(_ context.Context, number int64) error {
	s.hear(fmt.Sprintf("cancel %d", number))
	return nil
}

func (s *stream) Update(_ context.Context, u *crdt.Update) error {
	s.hear("update" + amount(u))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tell(u, s.value.Told(u))
	return nil
}

func (s *stream) Delete(context.Context) error {
	s.hear("delete")
	return nil
}

func (s *stream) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.heard = append(s.heard, "close")
	}
}

// says gives an answer; it has to be accepted.
func (s *stream) says(t *testing.T, a replica.Answer) {
	t.Helper()
	if w := a.Write; w != nil && w.Update != nil {
		s.mu.Lock()
		s.value.Said(w.Update)
		s.mu.Unlock()
	}
	if err := s.Answer(a); err != nil {
		t.Errorf("the answer %+v is wrong: %v", a, err)
	}
}

// hears compares what the user function has heard, once nothing moves any more.
func (s *stream) hears(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.heard, want) {
		t.Errorf("the user function heard %q, want %q", s.heard, want)
	}
}

// bench is a host with everything around it, inside a synctest bubble.
type bench struct {
	*replica.Host
	*testing.T
	copies *copies
	author *author
	left   []string
	stop   func()
}

func host(t *testing.T, change func(*replica.Config), test func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, author: &author{}, copies: &copies{open: make(map[actors.Ref]*tally), kept: make(map[actors.Ref]*state)}}
		var mu sync.Mutex
		c := replica.Config{Replicas: b.copies, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Leftover: func(_ context.Context, c actors.Command, o actors.Outcome) error {
				mu.Lock()
				defer mu.Unlock()
				for _, x := range o.Effects {
					b.left = append(b.left, c.Method+" "+x.Method)
				}
				return nil
			}}
		if change != nil {
			change(&c)
		}
		h, err := replica.New(c)
		if err != nil {
			t.Fatal(err)
		}
		b.Host = h
		b.serve()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := h.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		b.stop = func() { cancel(); running.Wait() }
		defer b.stop()
		test(b)
	})
}

func (b *bench) serve() {
	b.Serve([]replica.Service{{Name: "shop.Counter", Persistence: "counters", Function: b.author}})
}

// stream is the n-th session so far, from 1.
func (b *bench) stream(n int) *stream {
	b.Helper()
	synctest.Wait()
	b.author.mu.Lock()
	defer b.author.mu.Unlock()
	if len(b.author.streams) < n {
		b.Fatalf("there are %d sessions, not %d", len(b.author.streams), n)
	}
	return b.author.streams[n-1]
}

func (b *bench) sessions() int {
	synctest.Wait()
	b.author.mu.Lock()
	defer b.author.mu.Unlock()
	return len(b.author.streams)
}

func (b *bench) leaves(want ...string) {
	b.Helper()
	synctest.Wait()
	if !slices.Equal(b.left, want) {
		b.Errorf("the effects that were left over are %q, want %q", b.left, want)
	}
}
