package replica_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
)

func TestManyOutstanding(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		var callers []*caller
		for _, m := range []string{"A", "B", "C"} {
			callers = append(callers, b.command(to("c", m)))
		}
		s := b.stream(1)
		s.hears(t, "init", "A=1", "B=2", "C=3")
		for n := 3; n >= 1; n-- {
			s.says(t, reply(int64(n), string(rune('0'+n))))
			callers[n-1].gets(true, string(rune('0'+n)))
		}
		if got := b.Stats(); got != (replica.Stats{Resident: 1}) {
			t.Errorf("%+v", got)
		}
	})
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		first := b.command(to("c", "A"))
		s := b.stream(1)
		no := replica.Answer{Kind: replica.Replied, Number: 1, Outcome: actors.Outcome{Failure: actors.Errorf(actors.NotFound, "no")}}
		s.says(t, with(no, 3, replica.Local)) // its write counts all the same
		first.gets(true, "F:no")
		second := b.command(to("c", "B"))
		s.says(t, replica.Answer{Kind: replica.Failed, Number: 2, Outcome: actors.Outcome{Failure: actors.Errorf(actors.Unknown, "its own words")}})
		second.gets(true, "F:its own words")
		third := b.command(to("c", "C"))
		s.says(t, replica.Answer{Kind: replica.Replied, Number: 3, Outcome: effect(effect(actors.Outcome{}, "X"), "Y")})
		third.gets(true, "nothing and X and Y")
		s.hears(t, "init", "A=1", "B=2", "C=3")
		if got := b.copies.value("c"); got != 3 {
			t.Errorf("the counter is %d", got)
		}
		b.leaves()
	})
}

// A reply waits until its write is confirmed. What cannot be confirmed has happened all the same, and the entity lives on.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		b.copies.hold = true
		first := b.command(to("c", "A"))
		s := b.stream(1)
		a := with(reply(1, "done"), 2, replica.Majority)
		a.Outcome = effect(a.Outcome, "X")
		s.says(t, a)
		first.gets(false)
		b.copies.change("c", 1) // the user function has answered: it may be told
		s.hears(t, "init", "A=1", "update +1")
		second := b.command(to("c", "B"))
		s.says(t, reply(2, "read"))
		second.gets(true, "read")
		b.copies.settle("c", nil)
		first.gets(true, "done and X")

		third := b.command(to("c", "C"))
		a.Number = 3
		s.says(t, a)
		b.copies.settle("c", errors.Join(replica.ErrUnconfirmed, errBroken))
		third.gets(true, "F:what C does to shop.Counter/c was applied on this node, not confirmed at the level majority; look at the entity before you repeat it and X")
		fourth := b.command(to("c", "D"))
		s.says(t, reply(4, "alive"))
		fourth.gets(true, "alive")
		if got := b.copies.value("c"); got != 5 {
			t.Errorf("the counter is %d", got)
		}
	})
}

// The messages of a stream do not pass its first answer.
func TestConfirmationOfAStream(t *testing.T) {
	t.Parallel()
	for _, failure := range []error{nil, replica.ErrUnconfirmed} {
		host(t, nil, func(b *bench) {
			b.copies.hold = true
			w := b.open(to("c", "Watch"), nil)
			s := b.stream(1)
			s.says(t, with(accept(1), 1, replica.All))
			s.says(t, message(1, "m", false))
			w.gets(false)
			b.copies.settle("c", failure)
			if failure == nil {
				w.gets(false, "accepted", "m")
				w.cancel()
			} else {
				w.gets(true, "F:what Watch does to shop.Counter/c was applied on this node, not confirmed at the level all; look at the entity before you repeat it")
			}
			s.hears(t, "init", "Watch=1*", "cancel 1")
		})
	}
}

func TestRetriedReplyAppliedOnce(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		first, other := b.command(to("c", "A")), b.command(to("c", "B"))
		s := b.stream(1)
		s.says(t, with(reply(1, "done"), 2, replica.Local))
		first.gets(true, "done")
		err := s.Answer(with(reply(1, "done"), 2, replica.Local))
		if actors.CodeOf(err) != actors.Unknown || !strings.Contains(err.Error(), "the command 1, which is not to be answered") {
			t.Error(err)
		}
		other.fails(actors.Aborted, "ended before B was answered", "the command 1")
		if got := b.copies.value("c"); got != 2 {
			t.Errorf("the counter is %d", got)
		}
		s.hears(t, "init", "A=1", "B=2", "close")
	})
}

// What breaks the protocol ends the session. Whom it concerns gets to know what, the others that it is over; then the
// entity begins anew.
func TestViolations(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name   string
		answer replica.Answer
		text   string
		// who gets the text: 1 the unary command, 2 the streamed one, 3 the open stream, 0 nobody.
		who int
	}{
		{name: "an unknown command", answer: reply(9, ""), text: "the command 9, which is not"},
		{name: "a message for nobody", answer: message(9, "", false), text: "the command 9, which is not"},
		{name: "a failure of nobody", answer: replica.Answer{Kind: replica.Failed, Number: 9}, text: "the command 9, which is not"},
		{name: "a failure of everything", answer: replica.Answer{Kind: replica.Failed, Outcome: actors.Outcome{Failure: actors.Errorf(actors.Unknown, "boom")}}, text: "gave up the entity: boom"},
		{name: "a stream to a unary command", answer: accept(1), text: "1 with a stream, and Add is not streamed", who: 1},
		{name: "a message to a unary command", answer: message(1, "", false), text: "a message for the command 1 before", who: 1},
		{name: "a message before the reply", answer: message(2, "", false), text: "a message for the command 2 before", who: 2},
		{name: "a second reply", answer: accept(3), text: "replied to the command 3 twice", who: 3},
		{name: "a cancellation of nothing", answer: replica.Answer{Kind: replica.CancelledToo, Number: 3}, text: "a cancellation of the command 3", who: 3},
		{name: "no kind", answer: replica.Answer{Number: 1}, text: "an unknown kind", who: 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			host(t, nil, func(b *bench) {
				one, two, three := b.command(to("c", "Add")), b.open(to("c", "Watch"), nil), b.open(to("c", "Watch"), nil)
				s := b.stream(1)
				s.says(t, accept(3))
				err := s.Answer(x.answer)
				if actors.CodeOf(err) != actors.Unknown || !strings.Contains(err.Error(), x.text) || errors.Is(err, replica.ErrStray) {
					t.Errorf("got %v", err)
				}
				s.Ended(err)
				for n, w := range []*caller{one, two, three} {
					if x.who == n+1 {
						w.fails(actors.Unknown, x.text)
					} else {
						w.fails(actors.Aborted, x.text)
					}
				}
				s.says(t, reply(1, "too late"))
				s.hears(t, "init", "Add=1", "Watch=2*", "Watch=3*", "close")
				again := b.command(to("c", "Get"))
				b.stream(2).says(t, reply(1, "ok"))
				again.gets(true, "ok")
			})
		})
	}
}

// A message for a stream that is over is reported, and harms nobody.
func TestStray(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		w := b.open(to("c", "Watch"), nil)
		s := b.stream(1)
		s.says(t, accept(1))
		s.says(t, message(1, "end", true))
		w.gets(true, "accepted", "end")
		if err := s.Answer(message(1, "late", false)); !errors.Is(err, replica.ErrStray) {
			t.Error(err)
		}
		again := b.command(to("c", "Get"))
		s.says(t, reply(2, "ok"))
		again.gets(true, "ok")
	})
}

func TestRefusedWrite(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name          string
		cause         error
		code, others  actors.Code
		text          string
		broke, undone bool
	}{
		{name: "what cannot be", cause: errBroken, code: actors.Unknown, others: actors.Aborted, text: "the PNCounter by which", broke: true},
		{name: "with a code", cause: actors.Errorf(actors.OutOfRange, "too much"), code: actors.OutOfRange, others: actors.Aborted, text: "too much", broke: true},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			host(t, nil, func(b *bench) {
				first, other := b.command(to("c", "A")), b.command(to("c", "B"))
				s := b.stream(1)
				b.copies.refuse = x.cause
				if err := s.Answer(with(reply(1, "done"), 2, replica.All)); (err != nil) != x.broke {
					t.Error(err)
				}
				first.fails(x.code, x.text)
				other.fails(x.others, x.text)
				s.hears(t, "init", "A=1", "B=2", "close")
				b.copies.refuse = nil
				again := b.command(to("c", "Get"))
				b.stream(2).hears(t, "init", "Get=1")
				b.stream(2).says(t, reply(1, "ok"))
				again.gets(true, "ok")
			})
		})
	}
}

// A node that has lost its slot refuses writes, and nothing else: the user function is told what is so before it gets the
// next command, and goes on. Streams are not ended, unless they were to begin with that write.
func TestRefusedBecauseReadOnly(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		watcher, first, reader, opening := b.open(to("c", "Watch"), nil), b.command(to("c", "A")), b.command(to("c", "Get")), b.open(to("c", "Watch"), nil)
		s := b.stream(1)
		s.says(t, accept(1))
		b.copies.refuse = replica.ErrReadOnly
		s.says(t, with(reply(2, "done"), 2, replica.All))
		first.fails(actors.Unavailable, "A to shop.Counter/c came to nothing", "not a member at present", "try again")
		late := b.command(to("c", "B"))
		s.says(t, with(accept(4), 3, replica.Local))
		opening.fails(actors.Unavailable, "not a member at present")
		s.says(t, reply(3, "old"))
		reader.gets(true, "old")
		s.hears(t, "init", "Watch=1*", "A=2", "Get=3", "Watch=4*", "cancel 4")
		s.says(t, replica.Answer{Kind: replica.CancelledToo, Number: 4})
		s.hears(t, "init", "Watch=1*", "A=2", "Get=3", "Watch=4*", "cancel 4", "update -5", "B=5")
		b.copies.refuse = nil
		s.says(t, with(reply(5, "added"), 1, replica.Local))
		late.gets(true, "added")
		s.says(t, message(1, "still here", false))
		watcher.gets(false, "accepted", "still here")
		if got := b.copies.value("c"); got != 1 {
			t.Errorf("the counter is %d", got)
		}
		watcher.cancel()
	})
}

// A deletion that is refused is nothing that an update takes back: the entity begins anew.
func TestRefusedDeletion(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		watcher, first := b.open(to("c", "Watch"), nil), b.command(to("c", "Delete"))
		s := b.stream(1)
		s.says(t, accept(1))
		b.copies.refuse = replica.ErrReadOnly
		s.says(t, deleting(reply(2, "bye")))
		first.fails(actors.Unavailable, "not a member at present")
		watcher.fails(actors.Unavailable, "ended before Watch was over", "not a member at present", "call it again")
		s.hears(t, "init", "Watch=1*", "Delete=2", "close")
	})
}

// A user function that believes what no update takes back begins anew. Its streams are ended; commands wait for it.
func TestDiverged(t *testing.T) {
	t.Parallel()
	var reasons []string
	host(t, func(c *replica.Config) {
		c.Observer.Passivated = func(_ string, r replica.Reason) { reasons = append(reasons, string(r)) }
	}, func(b *bench) {
		watcher, first := b.open(to("c", "Watch"), nil), b.command(to("c", "A"))
		s := b.stream(1)
		s.says(t, accept(1))
		b.copies.mu.Lock()
		b.copies.diverged = true
		b.copies.mu.Unlock()
		b.copies.change("c", 1)
		s.says(t, reply(2, "done"))
		first.gets(true, "done")
		watcher.fails(actors.Unavailable, "Watch of shop.Counter/c is ended", "begins again", "call it again")
		s.hears(t, "init", "Watch=1*", "A=2", "close")
		b.copies.mu.Lock()
		b.copies.diverged = false
		b.copies.mu.Unlock()
		next := b.command(to("c", "Get"))
		b.stream(2).hears(t, "init +1", "Get=1")
		b.stream(2).says(t, reply(1, "ok"))
		next.gets(true, "ok")
		if len(reasons) != 1 || reasons[0] != "diverged" {
			t.Error(reasons)
		}
	})
}

func TestDelete(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		b.copies.change("c", 5)
		watcher, waiting, w := b.open(to("c", "Watch"), nil), b.command(to("c", "Slow")), b.command(to("c", "Delete"))
		s := b.stream(1)
		s.says(t, accept(1))
		s.says(t, deleting(reply(3, "bye")))
		w.gets(true, "bye")
		watcher.fails(actors.Aborted, "was deleted before Watch")
		waiting.fails(actors.Aborted, "was deleted before Slow")
		s.hears(t, "init +5", "Watch=1*", "Slow=2", "Delete=3", "close")
		// A later command begins a new life, if the copies let it.
		next := b.command(to("c", "Add"))
		b.stream(2).says(t, with(reply(1, "new"), 1, replica.Local))
		next.gets(true, "new")
		b.stream(2).hears(t, "init", "Add=1")
		if got := b.copies.value("c"); got != 1 {
			t.Errorf("the counter is %d", got)
		}
	})
}

func TestDeletedElsewhere(t *testing.T) {
	t.Parallel()
	gone := func(st *state) { st.deleted, st.barred = true, true }
	host(t, nil, func(b *bench) {
		watcher, reader, writer := b.open(to("c", "Watch"), nil), b.command(to("c", "Get")), b.command(to("c", "Add"))
		s := b.stream(1)
		s.says(t, accept(1))
		b.copies.others("c", gone)
		s.says(t, reply(2, "old"))
		reader.gets(true, "old")
		s.hears(t, "init", "Watch=1*", "Get=2", "Add=3")
		s.says(t, with(reply(3, "lost"), 1, replica.Local))
		writer.fails(actors.NotFound, "the entity shop.Counter/c is deleted")
		watcher.fails(actors.Aborted, "was deleted before Watch")
		s.hears(t, "init", "Watch=1*", "Get=2", "Add=3", "delete", "close")
		b.command(to("c", "Get")).fails(actors.NotFound, "is deleted")
		if b.sessions() != 1 {
			t.Error("a deleted entity has got a session")
		}
	})
}

// A session that is lost costs what was unanswered. The error of a lone command is the session's own.
func TestSessionLost(t *testing.T) {
	t.Parallel()
	lost := actors.Errorf(actors.Unavailable, "the user function is gone")
	host(t, nil, func(b *bench) {
		alone := b.command(to("c", "A"))
		b.stream(1).Ended(lost)
		alone.fails(actors.Unavailable, "the user function is gone")
		one, two := b.command(to("c", "A")), b.open(to("c", "W"), nil)
		b.stream(2).says(t, accept(2))
		b.stream(2).Ended(lost)
		one.fails(actors.Unavailable, "ended before A was answered", "is gone")
		two.fails(actors.Unavailable, "ended before W was over", "is gone")
		b.author.broken = lost
		b.command(to("c", "A")).fails(actors.Unavailable, "the user function is gone")
		b.author.broken, b.copies.broken = nil, errBroken
		b.command(to("c", "A")).fails(actors.Unavailable, "its journal, or its other copies")
		b.copies.broken = nil
		if got := b.Stats(); got != (replica.Stats{}) {
			t.Errorf("%+v", got)
		}
	})
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	host(t, func(c *replica.Config) { c.CommandTimeout, c.AnswerTimeout = 10*time.Second, 15*time.Second }, func(b *bench) {
		b.copies.hold = true
		soon := to("c", "Soon")
		soon.Deadline = time.Now().Add(time.Second)
		one, two, three := b.command(soon), b.command(to("c", "A")), b.command(to("c", "B"))
		s := b.stream(1)
		time.Sleep(time.Second)
		one.fails(actors.DeadlineExceeded, "was not answered before its deadline and may still be")
		a := with(reply(1, "late"), 7, replica.Local)
		a.Outcome = effect(a.Outcome, "X")
		s.says(t, a)
		b.leaves("Soon X")
		s.says(t, with(reply(2, "a"), 1, replica.All))
		time.Sleep(9 * time.Second)
		two.fails(actors.DeadlineExceeded, "applied on this node, but not confirmed")
		three.fails(actors.DeadlineExceeded, "was not answered")
		b.copies.settle("c", nil)
		if got := b.copies.value("c"); got != 8 {
			t.Errorf("the counter is %d", got)
		}
		// Who never answers is told of nothing any more, so that the session has to end.
		b.copies.change("c", 1)
		waiting := b.open(to("c", "W"), nil)
		s.says(t, accept(4))
		s.hears(t, "init", "Soon=1", "A=2", "B=3", "W=4*")
		time.Sleep(5 * time.Second)
		waiting.fails(actors.Aborted, "did not answer B within 15s")
		s.hears(t, "init", "Soon=1", "A=2", "B=3", "W=4*", "close")
	})
}

func TestUnansweredCancellation(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		w, other := b.open(to("c", "W"), nil), b.open(to("c", "V"), nil)
		s := b.stream(1)
		s.says(t, accept(1))
		s.says(t, accept(2))
		w.cancel()
		time.Sleep(90 * time.Second)
		other.fails(actors.Aborted, "did not answer the cancellation of W within 1m30s")
		s.hears(t, "init", "W=1*", "V=2*", "cancel 1", "close")
	})
}

// A user function that takes nothing holds up its own entity, for a while.
func TestStuckUserFunction(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		b.command(to("c", "A"))
		s := b.stream(1)
		s.says(t, reply(1, "ok"))
		s.stuck = true
		stuck, queued := b.command(to("c", "B")), b.command(to("c", "C"))
		other := b.command(to("d", "A"))
		b.stream(2).says(t, reply(1, "ok"))
		other.gets(true, "ok")
		time.Sleep(time.Minute)
		stuck.fails(actors.DeadlineExceeded, "was not answered before its deadline")
		queued.fails(actors.DeadlineExceeded, "was not begun before its deadline; nothing came of it")
		s.hears(t, "init", "A=1", "B=2")
		time.Sleep(30 * time.Second)
		s.hears(t, "init", "A=1", "B=2", "close")
	})
}

func TestSessionThatEndsAtOnce(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		b.Serve([]replica.Service{{Name: "shop.Counter", Function: quitter{}}})
		b.command(to("c", "A")).fails(actors.Unknown, "it quits")
	})
}

type quitter struct{}

func (quitter) Open(_ context.Context, start replica.Start) (replica.Session, error) {
	s := &stream{Start: start, author: &author{}}
	start.Ended(actors.Errorf(actors.Unknown, "it quits"))
	return s, nil
}

// A command that cannot be given to a session costs nobody else anything.
func TestCommandThatCannotBeGiven(t *testing.T) {
	t.Parallel()
	host(t, nil, func(b *bench) {
		one := b.command(to("c", "A"))
		b.author.withheld = actors.Errorf(actors.ResourceExhausted, "it is too large")
		b.command(to("c", "B")).fails(actors.ResourceExhausted, "too large")
		b.author.withheld = nil
		s := b.stream(1)
		s.says(t, reply(1, "ok"))
		one.gets(true, "ok")
		b.copies.change("c", 1)
		s.hears(t, "init", "A=1", "B=2", "update +1")
	})
}
