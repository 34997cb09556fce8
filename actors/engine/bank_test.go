package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bank is a user function in process. It holds the engine to the contract of Session, and answers by a script where
// there is one.
type bank struct {
	t testing.TB
	// script answers a command instead of the account if it returns true.
	script func(ctx context.Context, a *account, t Turn) (Reply, error, bool)
	// opening is called first by Open.
	opening func(ctx context.Context, s Start) error

	// effects gives every event an effect that is to be kept, with the event's payload.
	effects bool
	// whole events hold the balance, not what is added to it.
	whole bool

	// eager sessions take commands ahead; ahead counts them.
	eager bool
	ahead atomic.Int64

	mu    sync.Mutex
	opens int
	open  map[*account]bool
	log   []string
}

// account is a session: its state is a balance.
type account struct {
	bank     *bank
	ref      actors.Ref
	balance  int64
	sequence int64
	busy     bool
	over     bool
	closed   bool
}

func (b *bank) Open(ctx context.Context, s Start) (Session, error) {
	if b.opening != nil {
		if err := b.opening(ctx, s); err != nil {
			return nil, err
		}
	}
	a := &account{bank: b, ref: s.Ref, sequence: max(s.SnapshotSequence, s.Origin)}
	if s.Snapshot != nil {
		a.balance = number(s.Snapshot)
	}
	for ev, err := range s.Events {
		if err != nil {
			return nil, err
		}
		if ev.Sequence != a.sequence+1 && (!b.whole || a.sequence > s.Origin) {
			b.t.Errorf("event %d of %s came after %d", ev.Sequence, s.Ref, a.sequence)
		}
		a.sequence = ev.Sequence
		a.apply(&ev.Payload)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opens++
	if b.open == nil {
		b.open = make(map[*account]bool)
	}
	b.open[a] = true
	if b.eager {
		return &eager{account: a}, nil
	}
	return a, nil
}

// eager is an account that takes commands ahead, and checks that they come in the order in which they were given.
type eager struct {
	*account
	given []Turn
}

func (s *eager) Ahead(_ context.Context, turns []Turn) {
	for k, t := range turns {
		if k > 0 && t.Sequence != UnknownSequence {
			s.bank.t.Errorf("command %d ahead of %s has the sequence %d", k, s.ref, t.Sequence)
		}
		s.given = append(s.given, t)
		s.bank.ahead.Add(1)
	}
	if len(s.given) > aheadCommands+1 {
		s.bank.t.Errorf("%d commands ahead of %s", len(s.given), s.ref)
	}
}

func (s *eager) Handle(ctx context.Context, t Turn) (Reply, error) {
	if len(s.given) > 0 {
		want := s.given[0].Command
		if s.given = s.given[1:]; want.Method != t.Command.Method || want.Key != t.Command.Key ||
			string(want.Payload.Data) != string(t.Command.Payload.Data) {
			s.bank.t.Errorf("%s handles %s %s, but was given %s %s", s.ref, t.Command.Method, t.Command.Payload.Data, want.Method, want.Payload.Data)
		}
	}
	return s.account.Handle(ctx, t)
}

func (a *account) enter(t Turn) {
	a.bank.mu.Lock()
	defer a.bank.mu.Unlock()
	switch {
	case a.busy:
		a.bank.t.Errorf("two commands at a time for %s", a.ref)
	case a.over, a.closed:
		a.bank.t.Errorf("a command for the ended session of %s", a.ref)
	case t.Sequence != a.sequence:
		a.bank.t.Errorf("the turn of %s is at %d, the session at %d", a.ref, t.Sequence, a.sequence)
	}
	a.busy = true
	a.bank.log = append(a.bank.log, t.Command.Method+" "+string(t.Command.Payload.Data))
}

// Handle knows the commands add, spend, get, and some for trouble.
func (a *account) Handle(ctx context.Context, t Turn) (r Reply, err error) {
	a.enter(t)
	defer func() {
		a.bank.mu.Lock()
		a.busy = false
		a.over = a.over || err != nil
		if err == nil && !r.Restart {
			a.sequence += int64(len(r.Events))
			for k := range r.Events {
				p := &r.Events[k].Payload
				if a.bank.whole {
					_, tag, _ := strings.Cut(string(p.Data), ":")
					p.Data = fmt.Appendf(nil, "%d:%s", a.balance+number(p), tag)
				}
				a.apply(p)
				if a.bank.effects {
					r.Outcome.Effects = append(r.Outcome.Effects, actors.Effect{Ref: account1("out"), Method: "told", Payload: *p})
				}
			}
		}
		a.bank.mu.Unlock()
	}()
	if a.bank.script != nil {
		if r, err, ok := a.bank.script(ctx, a, t); ok {
			return r, err
		}
	}
	n := number(&t.Command.Payload)
	event := Event{Payload: t.Command.Payload}
	switch t.Command.Method {
	case "add":
		return a.reply(a.balance+n, event), nil
	case "spend":
		if a.balance < n {
			return Reply{Outcome: actors.Outcome{Failure: actors.Errorf(actors.FailedPrecondition, "%d", a.balance)}}, nil
		}
		event.Payload.Data = append([]byte("-"), event.Payload.Data...)
		return a.reply(a.balance-n, event), nil
	case "get":
		return a.reply(a.balance), nil
	case "nudge": // has an effect to keep, and nothing else
		r := a.reply(a.balance)
		r.Outcome.Effects = []actors.Effect{{Ref: account1("out"), Method: "told", Payload: t.Command.Payload}}
		return r, nil
	case "fee": // fails, and has an event
		r := a.reply(0, event)
		r.Outcome = actors.Outcome{Failure: actors.Errorf(actors.FailedPrecondition, "a fee")}
		return r, nil
	case "restart":
		r := a.reply(0, event)
		r.Outcome, r.Restart = actors.Outcome{Failure: actors.Errorf(actors.Unknown, "restarting")}, true
		return r, nil
	case "crash":
		return Reply{}, actors.Errorf(actors.Unknown, "Unexpected entity failure")
	case "ended":
		return Reply{}, fmt.Errorf("%w: test", ErrSessionEnded)
	case "lost":
		return Reply{}, fmt.Errorf("%w: test", ErrSessionLost)
	case "hang":
		<-ctx.Done()
		return Reply{}, ctx.Err()
	case "sleep":
		time.Sleep(time.Duration(n) * time.Second)
		return a.reply(a.balance+n, event), nil
	default:
		return Reply{}, actors.Errorf(actors.Unimplemented, "no such method")
	}
}

func (a *account) apply(p *actors.Payload) {
	if a.bank.whole {
		a.balance = 0
	}
	a.balance += number(p)
}

func (a *account) reply(balance int64, events ...Event) Reply {
	return Reply{Outcome: actors.Outcome{Reply: amount(balance)}, Events: events}
}

func (a *account) Close() {
	a.bank.mu.Lock()
	defer a.bank.mu.Unlock()
	if a.closed {
		a.bank.t.Errorf("the session of %s was closed twice", a.ref)
	}
	a.closed = true
	delete(a.bank.open, a)
}

func (b *bank) sessions() (opens, open int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opens, len(b.open)
}

func amount(n int64) *actors.Payload {
	return &actors.Payload{TypeURL: "json.cloudstate.io/amount", ContentType: actors.ContentJSON, Data: strconv.AppendInt(nil, n, 10)}
}

// number of a payload, which may go on with a colon and a tag.
func number(p *actors.Payload) int64 {
	s, _, _ := strings.Cut(string(p.Data), ":")
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// rig is an engine that runs.
type rig struct {
	*Engine
	t       testing.TB
	journal journal.Journal
	// outbox is that of the journal in memory that the configuration began with.
	outbox journal.Outbox
	bank   *bank
	stop   func()
}

const bankService = "shop.v1.Bank"

func account1(id string) actors.Ref { return actors.Ref{Service: bankService, ID: id} }

// start runs an engine over a journal, which the configuration may exchange, until the test ends.
func start(t testing.TB, b *bank, configure func(*Config)) *rig {
	t.Helper()
	inner := memory.Open()
	c := Config{Journal: inner, Log: slog.New(slog.DiscardHandler)}
	if configure != nil {
		configure(&c)
	}
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if b == nil {
		b = &bank{}
	}
	b.t = t
	e.Serve([]Service{{Name: bankService, Persistence: "bank", Function: b, Whole: b.whole}})
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-ran; err != nil {
				t.Errorf("run: %v", err)
			}
			if _, open := b.sessions(); open != 0 {
				t.Errorf("%d sessions are left", open)
			}
		})
	}
	t.Cleanup(stop)
	return &rig{Engine: e, t: t, journal: c.Journal, outbox: inner, bank: b, stop: stop}
}

func command(id, method string, n int64) actors.Command {
	return actors.Command{Ref: account1(id), Method: method, Payload: *amount(n)}
}

func keyed(c actors.Command, key string) actors.Command {
	c.Key = key
	return c
}

// do a command that must succeed, and return the balance.
func (r *rig) do(c actors.Command) int64 {
	r.t.Helper()
	o, err := r.Handle(context.Background(), c)
	if err != nil || o.Failure != nil {
		r.t.Fatalf("%s %s: %v %v", c.Method, c.Payload.Data, err, o.Failure)
	}
	return number(o.Reply)
}

// begin a command and return how to get its result.
func (r *rig) begin(c actors.Command) func() (actors.Outcome, error) {
	type result struct {
		o   actors.Outcome
		err error
	}
	done := make(chan result, 1)
	before := r.load(c.Ref)
	go func() {
		o, err := r.Handle(context.Background(), c)
		done <- result{o, err}
	}()
	for n := 0; n < 10_000 && r.load(c.Ref) == before && len(done) == 0; n++ {
		time.Sleep(time.Microsecond)
	}
	return func() (actors.Outcome, error) {
		x := <-done
		return x.o, x.err
	}
}

func (r *rig) load(ref actors.Ref) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.instances[ref]; i != nil {
		return i.load()
	}
	return 0
}

func (r *rig) resident() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.instances)
}

// vacate waits until no entity is resident and no session is open, which is a little after the last reply.
func (r *rig) vacate() {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		_, open := r.bank.sessions()
		if open == 0 && r.resident() == 0 {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d entities are resident, %d sessions are open", r.resident(), open)
		}
	}
}

// history of an entity, its events' payloads.
func (r *rig) history(id string) string {
	var s []string
	for ev, err := range r.journal.Read(context.Background(), actors.Ref{Service: "bank", ID: id}, 0, 0) {
		if err != nil {
			r.t.Fatal(err)
		}
		s = append(s, string(ev.Payload.Data))
	}
	return strings.Join(s, " ")
}

// kept are the effects of an entity that are due, in order.
func (r *rig) kept(id string) []journal.Pending {
	r.t.Helper()
	list, err := keptEffects(r.outbox, actors.Ref{Service: "bank", ID: id})
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

func keptEffects(o journal.Outbox, source actors.Ref) (kept []journal.Pending, err error) {
	list, err := o.Due(context.Background(), nil, []int{journal.Lane(source)}, 0)
	for _, p := range list {
		if p.Source == source {
			kept = append(kept, p)
		}
	}
	return kept, err
}

func wantError(t testing.TB, err error, code actors.Code, texts ...string) {
	t.Helper()
	if actors.CodeOf(err) != code || err == nil {
		t.Fatalf("got %v (%s), want %s", err, actors.CodeOf(err), code)
	}
	for _, s := range texts {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}
