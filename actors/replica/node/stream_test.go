package node_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/actors/replica/node"
)

// A caller who goes before the user function has accepted is told to it once, after it has.
func TestCancelBeforeTheReply(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		w := b.open(to("c", "W"), nil)
		s := b.stream(1)
		w.cancel()
		w.fails(actors.Canceled, "went away")
		s.hears(t, "init", "W=1*")
		a := with(accept(1), 2, replica.Local)
		a.Outcome = effect(a.Outcome, "Accepted")
		s.says(t, a)
		s.hears(t, "init", "W=1*", "cancel 1")
		crossing := message(1, "m", false)
		crossing.Outcome = effect(crossing.Outcome, "Crossing")
		s.says(t, crossing)
		s.says(t, message(1, "m", true)) // it did not know yet
		last := with(node.Answer{Kind: node.CancelledToo, Number: 1}, -1, replica.Local)
		last.Outcome = effect(last.Outcome, "Cancelled")
		s.says(t, last)
		b.copies.change("c", 5)
		s.hears(t, "init", "W=1*", "cancel 1", "update +5")
		if len(b.left) != 3 || b.copies.value("c") != 6 {
			t.Errorf("%q were left over, and the counter is %d", b.left, b.copies.value("c"))
		}
	})
	host(t, nil, func(b *bench) { // it did not accept, so there is nothing to cancel
		w := b.open(to("c", "W"), nil)
		s := b.stream(1)
		w.cancel()
		s.says(t, reply(1, "one"))
		b.copies.change("c", 5)
		s.hears(t, "init", "W=1*", "update +5")
	})
}

// A reply that opens no stream ends the caller's, whether it writes or not.
func TestStreamThatIsNotAccepted(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		one, two := b.open(to("c", "W"), nil), b.open(to("c", "V"), nil)
		s := b.stream(1)
		s.says(t, reply(1, "only"))
		one.gets(true, "only")
		s.says(t, with(reply(2, "only"), 1, replica.Local))
		two.gets(true, "only")
		three := b.open(to("c", "U"), nil)
		s.says(t, node.Answer{Kind: node.Replied, Number: 3, Streamed: true, Outcome: actors.Outcome{Failure: actors.Errorf(actors.NotFound, "no")}})
		three.gets(true, "F:no")
		s.hears(t, "init", "W=1*", "V=2*", "U=3*", "cancel 3")
	})
}

func TestMessagesOfAStream(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		w := b.open(to("c", "W"), nil)
		s := b.stream(1)
		s.says(t, node.Answer{Kind: node.Replied, Number: 1, Streamed: true})
		w.gets(false, "nothing") // the headers wait for it
		s.says(t, node.Answer{Kind: node.Message, Number: 1})
		s.says(t, node.Answer{Kind: node.Message, Number: 1, Outcome: effect(actors.Outcome{}, "X")})
		s.says(t, node.Answer{Kind: node.Failed, Number: 1, Outcome: actors.Outcome{Failure: actors.Errorf(actors.Unknown, "enough")}})
		w.gets(true, "nothing", "nothing and X", "F:enough")
		other := b.open(to("c", "V"), nil)
		s.says(t, accept(2))
		other.lost = errBroken
		s.says(t, message(2, "m", false))
		other.fails(actors.Internal, "broken")
		s.hears(t, "init", "W=1*", "V=2*", "cancel 2")
		s.says(t, node.Answer{Kind: node.Failed, Number: 2}) // in place of the answer
		b.copies.change("c", 1)
		s.hears(t, "init", "W=1*", "V=2*", "cancel 2", "update +1")
		late := to("c", "U")
		late.Deadline = time.Now().Add(time.Second)
		three := b.open(late, nil)
		s.says(t, accept(3))
		time.Sleep(time.Second)
		three.fails(actors.DeadlineExceeded, "did not come to its end before its deadline")
	})
	host(t, nil, func(b *bench) {
		err := b.Stream(t.Context(), to("c", "W"), func() (actors.Input, error) { return actors.Input{}, io.EOF }, nil)
		if actors.CodeOf(err) != actors.InvalidArgument {
			t.Error(err)
		}
	})
}

// A caller who takes nothing costs neither memory nor the user function's time.
func TestSlowCaller(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*node.Config){
		"maxUnread": func(c *node.Config) { c.MaxUnread = 3 },
		"maxBytes":  func(c *node.Config) { c.MaxBuffered = 16 * 3500 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var limited []string
			host(t, func(c *node.Config) {
				change(c)
				c.Observer.Limited = func(_, setting string) { limited = append(limited, setting) }
			}, func(b *bench) {
				room := make(chan struct{})
				slow := b.open(to("c", "W"), room)
				s := b.stream(1)
				s.says(t, accept(1))
				s.hears(t, "init", "W=1*")
				for range 4 {
					m := message(1, strings.Repeat("m", 1000), false)
					m.Outcome = effect(m.Outcome, "X")
					s.says(t, m)
				}
				s.hears(t, "init", "W=1*", "cancel 1")
				b.leaves("W X", "W X", "W X", "W X")
				quick := b.command(to("c", "A"))
				s.says(t, reply(2, "quick"))
				quick.gets(true, "quick")
				close(room)
				slow.fails(actors.ResourceExhausted, name, "call it again")
				if len(slow.got) != 1 || len(limited) != 1 || limited[0] != name {
					t.Errorf("%d outcomes; limited by %q", len(slow.got), limited)
				}
				s.says(t, node.Answer{Kind: node.CancelledToo, Number: 1})
				if got := b.Stats(); got != (node.Stats{Resident: 1}) {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	host(t, func(c *node.Config) {
		c.MaxQueued, c.MaxInFlight, c.MaxStreams, c.MaxMessage, c.MaxMetadata, c.MaxEffects = 2, 3, 1, 10, 10, 1
	}, func(b *bench) {
		large := to("c", "A")
		large.Payload.Data = make([]byte, 11)
		b.command(large).fails(actors.ResourceExhausted, "maxMessage")
		large = to("c", "A")
		large.Metadata = actors.Metadata{{Key: "key", Text: "12345678"}}
		b.command(large).fails(actors.ResourceExhausted, "maxMetadata")
		one, two := b.command(to("c", "A")), b.command(to("c", "B"))
		b.command(to("c", "C")).fails(actors.ResourceExhausted, "maxQueue")
		b.command(to("d", "A"))
		b.command(to("e", "A")).fails(actors.ResourceExhausted, "maxInFlight")
		s := b.stream(1)
		s.says(t, reply(1, "0123456789a"))
		one.fails(actors.ResourceExhausted, "the reply of A", "maxMessage")
		if err := s.Answer(with(node.Answer{Kind: node.Replied, Number: 2, Outcome: effect(effect(actors.Outcome{}, "X"), "Y")}, 1, replica.Local)); actors.CodeOf(err) != actors.ResourceExhausted {
			t.Error(err)
		}
		two.fails(actors.ResourceExhausted, "2 effects", "maxEffects")
		if b.copies.value("c") != 0 {
			t.Error("it was applied")
		}
		b.stream(2).says(t, reply(1, "ok"))
		w := b.open(to("d", "W"), nil)
		b.stream(2).says(t, accept(2))
		b.open(to("d", "V"), nil).fails(actors.ResourceExhausted, "maxStreams")
		b.stream(2).says(t, message(2, "0123456789a", false))
		w.fails(actors.ResourceExhausted, "the reply of W")
		b.stream(2).hears(t, "init", "A=1", "W=2*", "cancel 2")
	})
	host(t, func(c *node.Config) { c.MaxBuffered = 1000 }, func(b *bench) {
		b.command(to("c", "A"))
		b.command(to("c", "B")).fails(actors.ResourceExhausted, "maxBytes")
	})
	_, err := node.New(node.Config{Idle: -1, MaxQueued: -1})
	for _, want := range []string{"Replicas is not set", "Idle is -1ns", "MaxQueued is -1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
