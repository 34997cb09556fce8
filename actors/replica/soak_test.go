package replica_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
)

// Whatever callers, user functions and other nodes do at the same time: a write that was answered happened once, and one of
// which nothing came did not happen. In the end nothing is left in the host.
func TestWritesUnderFire(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			host(t, func(c *replica.Config) {
				c.MaxQueued, c.MaxUnread, c.MaxResident, c.Idle = 8, 4, 2, 20*time.Millisecond
				c.CommandTimeout, c.AnswerTimeout = 50*time.Millisecond, 60*time.Millisecond
			}, func(b *bench) { fire(b, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

// told is what callers heard of an entity's writes.
type told struct{ done, perhaps int64 }

func fire(b *bench, random *rand.Rand) {
	var mu sync.Mutex
	chance := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	b.copies.hold = true
	var answering sync.WaitGroup
	// Each session answers one at a time, but not in order, and now and then not at all.
	b.author.answer = func(s *stream, number int64, c *actors.Command) {
		answering.Go(func() {
			time.Sleep(time.Duration(chance(10)) * time.Millisecond)
			s.turn.Lock()
			defer s.turn.Unlock()
			a := with(reply(number, "ok"), 1, replica.Level(chance(3)))
			a.Streamed = c.Method == "Watch"
			a.Outcome = effect(a.Outcome, "X")
			switch chance(60) {
			case 0: // it forgets
				return
			case 1:
				s.Ended(actors.Errorf(actors.Unavailable, "lost"))
				return
			case 2:
				a.Number += 1000
			case 3:
				a = replica.Answer{Kind: replica.Failed, Number: number, Outcome: actors.Outcome{Failure: actors.Errorf(actors.NotFound, "no")}}
			}
			if s.Answer(a) != nil || !a.Streamed {
				return
			}
			for range chance(8) {
				if s.Answer(message(number, "m", chance(10) == 0)) != nil {
					return
				}
			}
		})
	}
	b.author.cancelled = func(s *stream, number int64) {
		answering.Go(func() {
			s.turn.Lock()
			defer s.turn.Unlock()
			_ = s.Answer(replica.Answer{Kind: replica.CancelledToo, Number: number, Outcome: effect(actors.Outcome{}, "X")})
		})
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
			}
			for k := range 3 {
				b.copies.others(fmt.Sprint(k), func(*state) {}) // changed is called once too often
				var err error
				if chance(3) == 0 {
					err = replica.ErrUnconfirmed
				}
				b.copies.settle(fmt.Sprint(k), err)
			}
		}
	})
	results := make([]told, 3)
	var callers sync.WaitGroup
	for range 12 {
		callers.Go(func() {
			for range 20 {
				k := chance(3)
				ctx, cancel := context.WithTimeout(b.Context(), time.Duration(1+chance(80))*time.Millisecond)
				done, err := b.once(ctx, to(fmt.Sprint(k), []string{"Add", "Watch"}[chance(2)]), chance(5))
				cancel()
				mu.Lock()
				switch {
				case done:
					results[k].done++
				case err == nil, strings.Contains(err.Error(), "nothing came of it"), strings.Contains(err.Error(), "maxQueue"):
				default:
					results[k].perhaps++
				}
				mu.Unlock()
			}
		})
	}
	callers.Wait()
	time.Sleep(time.Second)
	close(stop)
	others.Wait()
	for k := range 3 {
		b.copies.settle(fmt.Sprint(k), nil)
	}
	answering.Wait()
	time.Sleep(time.Second)
	synctest.Wait()
	if got := b.Stats(); got != (replica.Stats{}) {
		b.Errorf("the host still has %+v", got)
	}
	for k, r := range results {
		if v := b.copies.value(fmt.Sprint(k)); v < r.done || v > r.done+r.perhaps {
			b.Errorf("the counter %d is %d; callers were told of %d writes, and of %d perhaps", k, v, r.done, r.perhaps)
		}
	}
}

// once makes a call, which the caller leaves after so many outcomes, and reports whether he was told that it was applied.
func (b *bench) once(ctx context.Context, c actors.Command, outcomes int) (applied bool, err error) {
	take := func(o actors.Outcome) {
		applied = applied || o.Reply != nil && string(o.Reply.Data) == "ok" || o.Failure != nil && strings.Contains(o.Failure.Message, "was applied on this node")
	}
	if c.Method == "Add" {
		o, err := b.Handle(ctx, c)
		if err == nil {
			take(o)
		}
		return applied, err
	}
	err = b.Stream(ctx, c, nil, func(o actors.Outcome) error {
		take(o)
		if outcomes--; outcomes < 0 {
			return errBroken
		}
		time.Sleep(time.Millisecond)
		return nil
	})
	return applied, err
}
