package replica_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// wants the value that the stream was told and said altogether.
func (s *stream) wants(t *testing.T, kind crdt.Kind, want string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := s.value.String(); got != want {
		t.Errorf("the user function believes that it %s, want %s (%s)", got, want, kind)
	}
}

// Whatever two user functions say, and whenever, each is told what a plain value can take, and both come to the same.
func TestDeltaAppliesCleanlyToPlainValue(t *testing.T) {
	t.Parallel()
	for _, kind := range crdttest.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			sites(t, 2, func(t *testing.T, s []*site) {
				run := 0
				rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) { // rapid asks a testing.T for its deadline, which a bubble forbids
					run++
					talk(t, s, kind, fmt.Sprint("e", run))
				})
			})
		})
	}
}

// talk has the user functions of an entity say what is drawn, while others do.
func talk(t *rapid.T, s []*site, kind crdt.Kind, id string) {
	// One command is kept open at each, so that there is a session with a number to answer.
	watches := []*caller{s[0].open(to(id, "Watch"), nil), s[1].open(to(id, "Watch"), nil)}
	time.Sleep(time.Second)
	streams := []*stream{s[0].latest(id), s[1].latest(id)}
	for _, in := range streams {
		in.says(s[0].T, accept(1))
	}
	open := make([][]int64, len(s)) // commands without an answer
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		k := rapid.IntRange(0, len(s)-1).Draw(t, "site")
		switch in := streams[k]; rapid.SampledFrom([]string{"command", "answer", "answer", "wait"}).Draw(t, "step") {
		case "command":
			s[k].command(to(id, "Do"))
			open[k] = append(open[k], in.number())
		case "answer":
			if len(open[k]) == 0 {
				continue
			}
			n := rapid.IntRange(0, len(open[k])-1).Draw(t, "which")
			synctest.Wait()
			in.mu.Lock()
			u := crdttest.DrawUpdate(t, kind, in.value)
			in.mu.Unlock()
			in.says(s[k].T, replica.Answer{Kind: replica.Replied, Number: open[k][n], Write: &replica.Write{Update: u}})
			open[k] = slices.Delete(open[k], n, n+1)
		case "wait":
			time.Sleep(time.Duration(rapid.IntRange(1, 50).Draw(t, "ms")) * time.Millisecond)
		}
	}
	for k, in := range streams {
		for _, n := range open[k] {
			in.says(s[k].T, replica.Answer{Kind: replica.Replied, Number: n})
		}
	}
	time.Sleep(3 * time.Second)
	synctest.Wait()
	var values []string
	for _, in := range streams {
		for _, text := range in.updates() {
			if strings.HasPrefix(text, "which cannot be") {
				t.Errorf("a user function was told %q", in.updates())
			}
		}
		in.mu.Lock()
		values = append(values, in.value.String())
		in.mu.Unlock()
	}
	if kind != crdt.Vote && !strings.Contains(values[0], "self ") && values[0] != values[1] {
		t.Errorf("one user function has %s, the other %s", values[0], values[1])
	}
	for _, w := range watches {
		w.cancel()
	}
	synctest.Wait()
	for _, in := range streams {
		in.says(s[0].T, replica.Answer{Kind: replica.CancelledToo, Number: 1})
	}
}

// latest session of an entity.
func (s *site) latest(id string) *stream {
	synctest.Wait()
	s.author.mu.Lock()
	defer s.author.mu.Unlock()
	for _, in := range slices.Backward(s.author.streams) {
		if in.Ref.ID == id {
			return in
		}
	}
	s.Fatalf("%s has no session", id)
	return nil
}
