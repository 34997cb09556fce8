package peers

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

// linked runs a Link, and returns it with what its bus hears.
func linked(t testing.TB, bus replica.Bus, self slot.Member, answer func(context.Context, []byte) ([]byte, error)) (*Link, *ear) {
	t.Helper()
	l, err := NewLink(LinkConfig{Bus: bus, Self: func() (slot.Member, bool) { return self, self.Epoch > 0 }, MaxMessage: 1000, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Peers().Run(ctx, answer) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l, deliver(t, l.Bus())
}

func TestLink(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	j := shared(t, url)
	hold := make(chan struct{})
	one, two, three := slot.Member{Slot: 1, Epoch: 5}, slot.Member{Slot: 2, Epoch: 1 << 19}, slot.Member{Slot: 3}
	a, hearsA := linked(t, journalBus(t, j, "g", nil), one, echo)
	b, hearsB := linked(t, journalBus(t, j, "g", nil), two, func(_ context.Context, request []byte) ([]byte, error) {
		switch string(request) {
		case "big":
			return make([]byte, 1001), nil
		case "fail":
			return nil, errors.New("my own words " + strings.Repeat("x", 5000))
		case "hold":
			<-hold
		}
		return append([]byte("b: "), request...), nil
	})
	linked(t, journalBus(t, j, "g", nil), three, echo) // no member
	for _, test := range []struct {
		from    *Link
		to      slot.Member
		request string
		answer  string
		err     string
	}{
		{a, two, "hi", "b: hi", ""},
		{b, one, "", "re: ", ""},
		{a, two, strings.Repeat("x", 997), "b: " + strings.Repeat("x", 997), ""},
		{a, two, strings.Repeat("x", 1001), "", "at most 1000"},
		{a, two, "big", "", "at most 1000 go over the bus; set peerAddress"},
		{a, two, "fail", "", "my own words"},
		{a, slot.Member{Slot: 2, Epoch: 1}, "hi", "", "did not answer"},
		{a, slot.Member{Slot: 9, Epoch: 1}, "hi", "", "did not answer"},
		{a, three, "hi", "", "did not answer"},
	} {
		// Whoever does not listen yet, or is about to finish an answer, does not hear a question: it is asked again.
		tries, patience := 10, 3*time.Second
		if test.err == "did not answer" {
			tries, patience = 1, 400*time.Millisecond
		}
		var got []byte
		err := context.DeadlineExceeded
		for ; tries > 0 && errors.Is(err, context.DeadlineExceeded); tries-- {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			got, err = test.from.Peers().Ask(ctx, test.to, []byte(test.request))
			cancel()
		}
		if string(got) != test.answer || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%.10q to %+v: %.20q, %v", test.request, test.to, got, err)
		}
		if err != nil && len(err.Error()) > 1200 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
	// Batches go beside.
	if err := a.Bus().Publish(within(t), []byte("batch")); err != nil {
		t.Error(err)
	}
	until(t, "a batch", func() bool { _, ok := hearsB.at("batch"); return ok })
	if got := append(hearsA.all(), hearsB.all()...); len(got) != 1 {
		t.Errorf("batches %q", got)
	}
	// Of two questions at once one is not heard.
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := a.Peers().Ask(within(t), two, []byte("hold")); err != nil {
			t.Error(err)
		}
	})
	until(t, "a question", func() bool { return len(b.answers) == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if got, err := a.Peers().Ask(ctx, two, []byte("hi")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one question too many: %q, %v", got, err)
	}
	close(hold)
	wg.Wait()
	if len(a.waiting) != 0 {
		t.Errorf("%d questions wait", len(a.waiting))
	}
	if _, err := NewLink(LinkConfig{}); err == nil {
		t.Error("a Link of nothing")
	}
}

// FuzzTake gives a Link and a Topic whatever somebody may have published to their topic.
func FuzzTake(f *testing.F) {
	for _, seed := range []string{"", "B", "Bbatch", "Q", "Q\x01\x00\x05\x00\x00\x00aaaaaaaabbbbbbbbhi", "Aaaaaaaaabbbbbbbbhi", "Raaaaaaaabbbbbbbb",
		"baaaaaaaabatch", "paaaaaaaa12345678", "paaaaaaaa1234567", "?"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		bus := &Topic{prober: newProber(1, time.Second), wake: make(chan struct{}, 1)}
		l, err := NewLink(LinkConfig{Bus: bus, Self: func() (slot.Member, bool) { return slot.Member{Slot: 1, Epoch: 5}, true }})
		if err != nil {
			t.Fatal(err)
		}
		l.take(data)
		bus.take(data, func(batch []byte) {
			if len(batch) != len(data)-headerBytes || data[0] != messageBatch {
				t.Errorf("%q of %q", batch, data)
			}
		})
	})
}

// Whoever is asked before it knows that it is a member answers when it does.
func TestAskedTooSoon(t *testing.T) {
	t.Parallel()
	began := time.Now()
	self := slot.Member{Slot: 4, Epoch: 2}
	soon := func() (slot.Member, bool) { return self, time.Since(began) > 200*time.Millisecond }
	late := func() (slot.Member, bool) { return slot.Member{}, false }
	for name, test := range map[string]struct {
		self func() (slot.Member, bool)
		want bool
	}{"soon": {soon, true}, "never": {late, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := meant(t.Context(), test.self, "4.2"); got != test.want {
				t.Errorf("meant: %v", got)
			}
			if meant(t.Context(), test.self, "4.3") {
				t.Error("another epoch is taken for this one")
			}
			over, cancel := context.WithCancel(t.Context())
			cancel()
			if meant(over, late, "4.2") {
				t.Error("meant without an end")
			}
		})
	}
}
