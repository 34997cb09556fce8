package replica_test

import (
	"context"
	"fmt"
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

// author is a user function that does what the test says.
type author struct {
	mu      sync.Mutex
	streams []*stream
	broken  error
	// answer, if set, is called for every command, and withheld is what commands come to.
	answer   func(s *stream, number int64, c *actors.Command)
	withheld error
	// cancelled, if set, is called for every cancellation.
	cancelled func(s *stream, number int64)
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
	// turn is held by whoever answers, if several do.
	turn sync.Mutex
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
	if s.author.cancelled != nil {
		s.author.cancelled(s, number)
	}
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
