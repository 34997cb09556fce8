package tck

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

// ledger improvises event-sourced entities: every command writes one event, the request's bytes, and is answered with
// "name/id/how many events there are". It notes commands that came before the one ahead of them was answered.
type ledger struct {
	model *service
	name  string

	mu       sync.Mutex
	events   map[*exchange]int64
	asked    map[*exchange]*atomic.Int64
	problems []string
}

// keep has a played user function improvise.
func (p *theatre) keep(t *testing.T, name string) *ledger {
	t.Helper()
	l := &ledger{model: p.service, name: name, events: map[*exchange]int64{}, asked: map[*exchange]*atomic.Int64{}}
	improvise := func(x *exchange, m proto.Message) { l.answer(t, x, m.(*eventsourced.EventSourcedStreamIn)) }
	p.user.improvise.Store(&improvise)
	return l
}

func (l *ledger) answer(t *testing.T, x *exchange, in *eventsourced.EventSourcedStreamIn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if in.GetInit() != nil {
		l.asked[x] = new(atomic.Int64)
	}
	if in.GetEvent() != nil {
		l.events[x]++
	}
	c := in.GetCommand()
	if c == nil {
		return
	}
	asked := l.asked[x]
	if asked.Add(1) > 1 {
		l.problems = append(l.problems, fmt.Sprintf("command %d of %s came before the answer to the one before", c.GetId(), c.GetEntityId()))
	}
	l.events[x]++
	r := &eventsourced.EventSourcedReply{
		CommandId: c.GetId(), Events: []*anypb.Any{{TypeUrl: typePrefix + modelES + "Request", Value: c.GetPayload().GetValue()}},
		ClientAction: &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{Reply: &cloudstate.Reply{
			Payload: l.model.any(t, modelES+"Response", fmt.Sprintf(`{"message":%q}`, l.said(c.GetEntityId(), l.events[x]))),
		}}},
	}
	time.AfterFunc(200*time.Microsecond, func() {
		asked.Add(-1)
		x.say(&eventsourced.EventSourcedStreamOut{Message: &eventsourced.EventSourcedStreamOut_Reply{Reply: r}})
	})
}

func (l *ledger) said(id string, n int64) string { return fmt.Sprintf("%s/%s/%d", l.name, id, n) }

func (l *ledger) clean(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.problems {
		t.Error(p)
	}
}

// TestConcurrency has many callers at once. The original had one at a time.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	p := startTheatre(t)
	p.next(t, discoverPath)
	l := p.keep(t, "one")
	const process = "/" + eventSourcedFirst + "/Process"
	text := func(t *testing.T, c *called) string {
		t.Helper()
		<-c.done
		if c.err != nil {
			t.Fatal(c.err)
		}
		m := p.decode(t, modelES+"Response", c.reply).ProtoReflect()
		return m.Get(m.Descriptor().Fields().ByName("message")).String()
	}
	t.Run("X-P26 many commands of one entity", func(t *testing.T) {
		const callers = 100
		id := fresh()
		request := func(i int) *anypb.Any { return p.processRequest(t, modelES, id, step(fmt.Sprintf("emit %d", i))) }
		calls := make([]*called, callers)
		for i := range calls {
			calls[i] = p.begin(t, process, request(i))
		}
		// order is which caller was the n-th, by what it was answered.
		order := make([]int, callers+1)
		for i, c := range calls {
			var n int
			if _, err := fmt.Sscanf(text(t, c), "one/"+id+"/%d", &n); err != nil || n < 1 || n > callers || order[n] != 0 {
				t.Fatalf("caller %d was answered %q: %v", i, text(t, c), err)
			}
			order[n] = i + 1
		}
		x := p.next(t, eventPath)
		x.given(t, p.eventInit(eventSourcedFirst, id))
		for n := range callers {
			x.given(t, eventCommand(&cloudstate.Command{EntityId: id, Id: int64(n + 1), Name: "Process", Payload: request(order[n+1] - 1)}))
		}
		p.quiet(t, x)
		l.clean(t)

		// What was answered is what was stored, in that order.
		improvise := p.user.improvise.Swap(nil)
		p.dropped(t, p.eventSourcedKind(), x, id, callers+1)
		p.user.improvise.Store(improvise)
		if got, want := text(t, p.begin(t, process, request(callers))), l.said(id, callers+1); got != want {
			t.Errorf("after all: %s, want %s", got, want)
		}
		y := p.next(t, eventPath)
		y.given(t, p.eventInit(eventSourcedFirst, id))
		for n := range callers {
			y.given(t, &eventsourced.EventSourcedStreamIn{Message: &eventsourced.EventSourcedStreamIn_Event{Event: &eventsourced.EventSourcedEvent{
				Sequence: int64(n + 1), Payload: request(order[n+1] - 1),
			}}})
		}
		y.given(t, eventCommand(&cloudstate.Command{EntityId: id, Id: 1, Name: "Process", Payload: request(callers)}))
		p.quiet(t, y)
	})
	t.Run("X-P27 many entities", func(t *testing.T) {
		const entities, commands = 50, 6
		ids := make([]string, entities)
		request := func(id string, n int) *anypb.Any {
			return p.processRequest(t, modelES, id, step(fmt.Sprintf("emit %s-%d", id, n)))
		}
		for i := range ids {
			ids[i] = fresh()
		}
		var calls [entities][]*called
		for n := range commands / 2 { // two at a time of each entity
			for i, id := range ids {
				calls[i] = append(calls[i], p.begin(t, process, request(id, 2*n)), p.begin(t, process, request(id, 2*n+1)))
			}
			for i, id := range ids {
				got := []string{text(t, calls[i][2*n]), text(t, calls[i][2*n+1])}
				slices.Sort(got)
				if want := []string{l.said(id, int64(2*n+1)), l.said(id, int64(2*n+2))}; !slices.Equal(got, want) {
					t.Errorf("the callers of %s were answered %v, want %v", id, got, want)
				}
			}
		}
		streams := map[string]*exchange{}
		for range ids {
			x := p.next(t, eventPath)
			id := x.take(t, &x.in, "to").(*eventsourced.EventSourcedStreamIn).GetInit().GetEntityId()
			if streams[id] != nil || !slices.Contains(ids, id) {
				t.Errorf("there is a stream too many, of %q", id)
			}
			streams[id] = x
			for n := range commands {
				c := x.take(t, &x.in, "to").(*eventsourced.EventSourcedStreamIn).GetCommand()
				a, b := request(id, n/2*2), request(id, n/2*2+1)
				if c.GetEntityId() != id || c.GetId() != int64(n+1) || !proto.Equal(c.GetPayload(), a) && !proto.Equal(c.GetPayload(), b) {
					t.Errorf("the stream of %s had the command %v, want number %d", id, c, n+1)
				}
			}
		}
		p.quiet(t, slices.Collect(maps.Values(streams))...)
		l.clean(t)
	})
}

// TestUserFunctionRestarts cuts the user function off in the middle of a command.
func TestUserFunctionRestarts(t *testing.T) {
	t.Parallel()
	p := startTheatre(t)
	p.next(t, discoverPath)
	for _, k := range []*kindOfEntity{p.eventSourcedKind(), p.valueKind()} {
		t.Run("X-P28 "+k.service, func(t *testing.T) {
			id, neighbour := fresh(), fresh()
			c := p.ask(t, k, id, "A")
			x := p.begins(t, k, id)
			p.turn(t, k, x, c, id, 1, "A", "A")
			c = p.ask(t, k, neighbour, "N")
			y := p.begins(t, k, neighbour)
			p.turn(t, k, y, c, neighbour, 1, "N", "N")

			c = p.ask(t, k, id, "B")
			x.given(t, k.command(p.command(t, k.model, id, 2, k.steps("B"))))
			p.user.stop()
			c.failed(t, codes.Unavailable, fmt.Sprintf("the user function at %s cannot be reached for %s/%s; try again when it runs", p.user.address, k.service, id))
			p.ask(t, k, neighbour, "").failed(t, codes.Unavailable,
				fmt.Sprintf("the user function at %s cannot be reached for %s/%s; try again when it runs", p.user.address, k.service, neighbour))
			h := p.post(t, k.url+id, `{}`)
			<-h.done
			if h.status != 503 {
				t.Errorf("by HTTP: %d %s", h.status, h.body)
			}
			x.closes(t, patience)
			y.closes(t, patience)
			p.quiet(t, x, y)

			p.user.serve(t)
			// Nothing came of the command that was cut off. Every entity goes on from what is stored.
			for id, stored := range map[string]string{id: "A", neighbour: "N"} {
				c = p.again(t, k, id)
				x := p.begins(t, k, id, stored)
				p.turn(t, k, x, c, id, 1, "", "well")
				p.quiet(t, x)
			}
		})
	}
}

// again calls until the component has found the user function again, and returns the call that gets to it.
func (p *theatre) again(t *testing.T, k *kindOfEntity, id string) *called {
	t.Helper()
	c := p.ask(t, k, id, "")
	for end := time.Now().Add(20 * time.Second); !p.waiting(k.path); time.Sleep(5 * time.Millisecond) {
		select {
		case <-c.done:
			if c = p.ask(t, k, id, ""); time.Now().After(end) {
				t.Fatal("the component does not find the user function again")
			}
		default:
		}
	}
	return c
}
