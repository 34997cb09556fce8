package userfunction

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/replica"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	protocol "github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
)

type (
	crdtIn    = protocol.CrdtStreamIn
	crdtOut   = protocol.CrdtStreamOut
	crdtWire  = wireOf[crdtIn, crdtOut]
	crdtStep  func(l *crdtWire, m *crdtIn) error
	crdtReply = protocol.CrdtReply
)

// crdtServer serves replicated entities by scripted.crdt.
type crdtServer struct {
	protocol.UnimplementedCrdtServer
	f *scripted
}

func (v crdtServer) Handle(stream protocol.Crdt_HandleServer) error {
	s := &crdtWire{stream: stream}
	return v.f.serve(stream.Context(), &s.notes, func() error { return v.f.crdt(s) })
}

// followCrdt answers the n-th command or cancellation of all streams by the n-th step.
func followCrdt(steps ...crdtStep) func(l *crdtWire) error {
	return func(l *crdtWire) error {
		for {
			m, err := l.recv()
			if err != nil {
				if strings.HasSuffix(err.Error(), "EOF") {
					return nil
				}
				return err
			}
			if m.GetCommand() == nil && m.GetStreamCancelled() == nil {
				continue
			}
			step := steps[0]
			if len(steps) > 1 {
				steps = steps[1:]
			}
			if err := step(l, m); errors.Is(err, errHalt) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
}

func crdtAnswer(f func(r *crdtReply)) crdtStep {
	return func(l *crdtWire, m *crdtIn) error {
		r := &crdtReply{CommandId: m.GetCommand().GetId()}
		f(r)
		return l.send(&crdtOut{Message: &protocol.CrdtStreamOut_Reply{Reply: r}})
	}
}

func crdtMessage(m *crdtOut) crdtStep {
	return func(l *crdtWire, _ *crdtIn) error { return l.send(m) }
}

func all(steps ...crdtStep) crdtStep {
	return func(l *crdtWire, m *crdtIn) error {
		for _, s := range steps {
			if err := s(l, m); err != nil {
				return err
			}
		}
		return nil
	}
}

func changes(d *protocol.CrdtDelta) *protocol.CrdtStateAction {
	return &protocol.CrdtStateAction{Action: &protocol.CrdtStateAction_Update{Update: d}}
}

func counts(by int64) *protocol.CrdtDelta {
	return &protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Pncounter{Pncounter: &protocol.PNCounterDelta{Change: by}}}
}

// played is the host's side of a session: it writes down what it gets.
type played struct {
	replica.Session
	mu      sync.Mutex
	answers int
	texts   strings.Builder
	ended   bool
	// refuse is what answers come to.
	refuse error
}

func (p *played) start(id string, value *crdt.Update) replica.Start {
	return replica.Start{
		Ref: ref(id), Value: value,
		Answer: func(a replica.Answer) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.answers++
			p.describe(a)
			if a.Kind == replica.Failed {
				return nil
			}
			return p.refuse
		},
		Ended: func(err error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.ended {
				p.texts.WriteString("  ended twice\n")
			}
			p.ended = true
			fmt.Fprintf(&p.texts, "  ended: %s: %v\n", actors.CodeOf(err), err)
		},
	}
}

func (p *played) describe(a replica.Answer) {
	b := &p.texts
	fmt.Fprintf(b, "  %s %d:", [...]string{replica.Replied: "reply", replica.Message: "message", replica.CancelledToo: "cancelled", replica.Failed: "failed"}[a.Kind], a.Number)
	tell(b, a.Outcome)
	if a.Streamed {
		b.WriteString(" streamed")
	}
	if a.End {
		b.WriteString(" end")
	}
	if w := a.Write; w != nil {
		fmt.Fprintf(b, " write %s delete=%t", w.Level, w.Delete)
		if w.Update != nil {
			fmt.Fprintf(b, " %s", text(toDelta(w.Update)))
		}
	}
	b.WriteString("\n")
}

func (p *played) wait(t testing.TB, answers int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d answers, or the end", answers), func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.answers >= answers || p.ended
	})
}

func (p *played) over(t testing.TB) {
	t.Helper()
	eventually(t, "the end is told", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.ended
	})
}

// TestReplicatedTranscripts is TestTranscripts for replicated entities.
func TestReplicatedTranscripts(t *testing.T) {
	t.Parallel()
	ok := crdtAnswer(func(r *crdtReply) { r.ClientAction = replies("ok") })
	state := func(a *protocol.CrdtStateAction) crdtStep {
		return crdtAnswer(func(r *crdtReply) { r.ClientAction = replies("ok"); r.StateAction = a })
	}
	level := func(a *protocol.CrdtStateAction, l protocol.CrdtWriteConsistency) *protocol.CrdtStateAction {
		a.WriteConsistency = l
		return a
	}
	says := func(number int64, change func(m *protocol.CrdtStreamedMessage)) crdtStep {
		m := &protocol.CrdtStreamedMessage{CommandId: number}
		change(m)
		return crdtMessage(&crdtOut{Message: &protocol.CrdtStreamOut_StreamedMessage{StreamedMessage: m}})
	}
	accepts := crdtAnswer(func(r *crdtReply) { r.ClientAction = replies("accepted"); r.Streamed = true })
	rich := turn("Add", "tea").Command
	rich.Key = "key-1"
	rich.Metadata = actors.Metadata{{Key: "User", Text: "ann"}}
	type play func(ctx context.Context, p *played) error
	command := func(number int64, c actors.Command, streamed bool) play {
		return func(ctx context.Context, p *played) error { return p.Command(ctx, number, &c, streamed) }
	}
	add := func(number int64) play { return command(number, turn("Add", "a").Command, false) }
	watch := func(number int64) play { return command(number, turn("Get", "").Command, true) }
	for _, tt := range []struct {
		name       string
		extensions []string
		value      *crdt.Update
		plays      []play
		// answers that are waited for after each play.
		answers []int
		steps   []crdtStep
		refuse  error
		logs    string
		reports string
		halts   bool // the user function ends it
	}{
		{name: "read", steps: []crdtStep{ok}},
		{name: "begin_with_a_value", value: &crdt.Update{Kind: crdt.ORSet, Added: []crdt.Key{crdt.MakeKey("p.cloudstate.io/string", []byte("\x0a\x01a"))}}, steps: []crdtStep{ok}},
		{name: "levels", plays: []play{add(1), add(2), add(3), add(4)}, steps: []crdtStep{
			state(changes(counts(1))), state(level(changes(counts(-2)), protocol.CrdtWriteConsistency_MAJORITY)),
			state(level(changes(counts(3)), protocol.CrdtWriteConsistency_ALL)), state(level(changes(counts(4)), 9)),
		}},
		{name: "delete", steps: []crdtStep{state(&protocol.CrdtStateAction{Action: &protocol.CrdtStateAction_Delete{Delete: &protocol.CrdtDelete{}}, WriteConsistency: 2})}},
		{name: "told", plays: []play{
			func(ctx context.Context, p *played) error {
				return p.Update(ctx, &crdt.Update{Kind: crdt.Vote, Self: true, Votes: 2, Voters: 3})
			},
			func(ctx context.Context, p *played) error { return p.Delete(ctx) },
		}, answers: []int{0, 0}},
		{name: "streamed", plays: []play{watch(1), add(2), func(ctx context.Context, p *played) error { return p.Cancelled(ctx, 1) }}, answers: []int{1, 4, 5}, steps: []crdtStep{
			accepts,
			all(ok, says(1, func(m *protocol.CrdtStreamedMessage) { m.ClientAction = replies("more") }),
				says(1, func(m *protocol.CrdtStreamedMessage) {
					m.SideEffects = []*cloudstate.SideEffect{effect(nil)}
					m.EndStream = true
				})),
			crdtMessage(&crdtOut{Message: &protocol.CrdtStreamOut_StreamCancelledResponse{StreamCancelledResponse: &protocol.CrdtStreamCancelledResponse{
				CommandId: 1, SideEffects: []*cloudstate.SideEffect{effect(nil)}, StateAction: changes(counts(-1))}}}),
		}},
		{name: "extensions_announced", extensions: catalog.Extensions, plays: []play{command(1, rich, false)}, steps: []crdtStep{
			crdtAnswer(func(r *crdtReply) { r.ClientAction = fails(&cloudstate.Failure{Description: "no tea", Code: 5}) })}},
		{name: "extensions_not_announced", plays: []play{command(1, rich, false)}, steps: []crdtStep{
			crdtAnswer(func(r *crdtReply) { r.ClientAction = fails(&cloudstate.Failure{Description: "no tea", Code: 5}) })}},
		{name: "forward_with_state_and_effects", steps: []crdtStep{crdtAnswer(func(r *crdtReply) {
			r.ClientAction = &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: &cloudstate.Forward{
				ServiceName: "shop.Cart1", CommandName: "Get", Payload: effect(nil).Payload}}}
			r.StateAction = changes(counts(1))
			r.SideEffects = []*cloudstate.SideEffect{effect(nil), effect(func(e *cloudstate.SideEffect) { e.Synchronous = true })}
		})}},
		{name: "top_level_failure", plays: []play{add(1), add(2)}, steps: []crdtStep{
			crdtMessage(&crdtOut{Message: &protocol.CrdtStreamOut_Failure{Failure: &cloudstate.Failure{CommandId: 1, Description: "its own words"}}}), ok}},
		{name: "effect_to_nowhere", steps: []crdtStep{crdtAnswer(func(r *crdtReply) {
			r.StateAction = changes(counts(1))
			r.SideEffects = []*cloudstate.SideEffect{effect(func(e *cloudstate.SideEffect) { e.ServiceName = "shop.Nowhere" })}
		})}, answers: []int{2}, logs: "side effect of shop.Cart1.Add", reports: "shop.Nowhere"},
		{name: "empty_delta", steps: []crdtStep{state(changes(&protocol.CrdtDelta{}))}, answers: []int{2}, logs: "an empty delta", reports: "an empty delta (shop.Cart1/c1)"},
		{name: "empty_state_action", steps: []crdtStep{state(&protocol.CrdtStateAction{})}, answers: []int{2}, reports: "neither update nor delete"},
		{name: "empty_message", steps: []crdtStep{crdtMessage(&crdtOut{})}, answers: []int{2}, reports: "none of the messages"},
		{name: "refused", refuse: actors.Errorf(actors.OutOfRange, "too much"), steps: []crdtStep{ok}, answers: []int{2}, logs: "broke the protocol", reports: "too much"},
		{name: "stray", refuse: fmt.Errorf("%w: the command 1", replica.ErrStray), plays: []play{add(1), add(2)}, steps: []crdtStep{ok}, reports: "the command 1 (shop.Cart1/c1)"},
		{name: "stream_ended", halts: true, steps: []crdtStep{func(*crdtWire, *crdtIn) error { return errHalt }}},
		{name: "stream_aborted", halts: true, steps: []crdtStep{func(*crdtWire, *crdtIn) error { return status.Error(codes.Internal, "s3cret") }}, logs: "s3cret"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &scripted{spec: ofKind(spec(tt.extensions, "Cart1"), actors.Replicated, "Cart1"), crdt: followCrdt(tt.steps...)}
			r := run(t, Config{Address: f.start(t, "")})
			r.next(t)
			p := &played{refuse: tt.refuse}
			s, err := r.Replicated("shop.Cart1").Open(t.Context(), p.start("c1", tt.value))
			if err != nil {
				t.Fatal(err)
			}
			p.Session = s
			if tt.plays == nil {
				tt.plays = []play{add(1)}
			}
			for n, play := range tt.plays {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				if err := play(ctx, p); err != nil {
					t.Error(err)
				}
				cancel()
				want := n + 1
				if tt.answers != nil {
					want = tt.answers[n]
				}
				p.wait(t, want)
			}
			if tt.halts {
				p.over(t)
			}
			s.Close()
			s.Close()
			p.over(t)
			eventually(t, "the report is made", func() bool { return strings.Contains(strings.Join(f.reports(), "\n"), tt.reports) })
			caller := p.texts.String()
			if strings.Contains(caller, "s3cret") {
				t.Errorf("the caller reads what is for the log:\n%s", caller)
			}
			if !strings.Contains(r.log.String(), tt.logs) {
				t.Errorf("the log does not say %q:\n%s", tt.logs, r.log)
			}
			golden(t, "replicated_"+tt.name, f.transcript(t)+"host\n"+caller)
		})
	}
}

func TestReplicatedConnection(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: ofKind(spec(nil, "Cart1", "Cart2"), actors.Replicated, "Cart1")}
	f.crdt = followCrdt(crdtAnswer(func(r *crdtReply) {}))
	address := f.start(t, "")
	r := run(t, Config{Address: address})
	if r.Replicated("shop.Cart1") != nil {
		t.Error("a service is known before discovery")
	}
	c := r.next(t)
	if c.function("shop.Cart1") != nil || r.Replicated("shop.Cart2") != nil || r.Replicated("shop.None") != nil {
		t.Error("a service has a function of another kind")
	}
	p := new(played)
	function := r.Replicated("shop.Cart1")
	s, err := function.Open(t.Context(), p.start("c1", nil))
	if err != nil {
		t.Fatal(err)
	}
	add := turn("Add", "a").Command
	if err := s.Command(t.Context(), 1, &add, false); err != nil {
		t.Fatal(err)
	}
	p.wait(t, 1)
	f.server.Stop()
	p.over(t)
	if got := p.texts.String(); !strings.Contains(got, "ended: UNAVAILABLE: the user function at "+address+" cannot be reached for shop.Cart1/c1") {
		t.Errorf("got %s", got)
	}
	s.Close()
	if _, err := function.Open(t.Context(), p.start("c1", nil)); actors.CodeOf(err) != actors.Unavailable {
		t.Error(err)
	}
	// It comes back with another spec: what was opened before goes on being understood.
	g := &scripted{spec: ofKind(spec(nil, "Cart1", "Cart2"), actors.Replicated, "Cart1", "Cart2"), crdt: f.crdt}
	g.start(t, address)
	r.next(t)
	for _, again := range []replica.Function{function, r.Replicated("shop.Cart1"), r.Replicated("shop.Cart2")} {
		q := new(played)
		s, err := again.Open(t.Context(), q.start("c1", nil))
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		q.over(t)
	}
	r.stop()
	if _, err := function.Open(t.Context(), new(played).start("c1", nil)); actors.CodeOf(err) != actors.Unavailable {
		t.Error(err)
	}
}

// A user function that reads nothing holds its session up until the host's time for it is over.
func TestReplicatedHangs(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: ofKind(spec(nil, "Cart1"), actors.Replicated, "Cart1"), crdt: func(l *crdtWire) error { return l.hang() }}
	r := run(t, Config{Address: f.start(t, "")})
	r.next(t)
	p := new(played)
	s, err := r.Replicated("shop.Cart1").Open(t.Context(), p.start("c1", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	big := turn("Add", "").Command
	big.Payload.Data = make([]byte, 1<<20)
	for n := int64(1); ctx.Err() == nil && n < 100; n++ {
		_ = s.Command(ctx, n, &big, false)
	}
	if ctx.Err() == nil {
		t.Error("nothing held it up")
	}
	p.over(t)
}

func TestReplicatedSizes(t *testing.T) {
	t.Parallel()
	f := &scripted{spec: ofKind(spec(nil, "Cart1"), actors.Replicated, "Cart1")}
	f.crdt = followCrdt(crdtAnswer(func(*crdtReply) {}), crdtAnswer(func(r *crdtReply) {
		r.StateAction = changes(&protocol.CrdtDelta{Delta: &protocol.CrdtDelta_Lwwregister{Lwwregister: &protocol.LWWRegisterDelta{Value: &anypb.Any{Value: make([]byte, 20_100)}}}})
	}))
	r := run(t, Config{Address: f.start(t, ""), MaxMessage: 20_000})
	r.next(t)
	function := r.Replicated("shop.Cart1")
	p := new(played)
	s, err := function.Open(t.Context(), p.start("c1", nil))
	if err != nil {
		t.Fatal(err)
	}
	big, small := turn("Add", "").Command, turn("Add", "a").Command
	big.Payload.Data = make([]byte, 20_000)
	if err := s.Command(t.Context(), 1, &big, false); actors.CodeOf(err) != actors.ResourceExhausted || !strings.Contains(err.Error(), "the command Add to shop.Cart1/c1 is larger") {
		t.Error(err)
	}
	if err := s.Command(t.Context(), 2, &small, false); err != nil {
		t.Error(err)
	}
	p.wait(t, 1)
	if err := s.Command(t.Context(), 3, &small, false); err != nil {
		t.Error(err)
	}
	p.over(t)
	if got := p.texts.String(); !strings.Contains(got, "RESOURCE_EXHAUSTED: what the user function answers for shop.Cart1/c1 is larger") {
		t.Error(got)
	}
	s.Close()
	value := &crdt.Update{Kind: crdt.LWWRegister, Value: crdt.MakeKey("x/y", make([]byte, 20_000))}
	if _, err := function.Open(t.Context(), p.start("c1", value)); actors.CodeOf(err) != actors.ResourceExhausted || !strings.Contains(err.Error(), "the state of shop.Cart1/c1") {
		t.Error(err)
	}
}
