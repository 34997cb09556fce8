package tck

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// TestProxy is the proxy half. Its cases look at everything that passes, so they run one after the other.
func TestProxy(t *testing.T) {
	startProxy(t, startModel(t)).testProxy(t)
}

func (p *proxy) testProxy(t *testing.T) {
	t.Run("D-P01 proxy info and entity discovery", p.testInfo)
	t.Run("R-P01 server reflection", p.testReflection)
	t.Run("event sourced", p.testEventSourced)
	t.Run("value", p.testValue)
	t.Run("action", p.testAction)
	t.Run("replicated", p.testReplicated)
	t.Run("eventing", p.testEventing)
	t.Run("beyond", p.testBeyond)
}

func (p *proxy) testInfo(t *testing.T) {
	x := p.next(t, discoverPath)
	got := x.take(t, &x.in, "to").(*cloudstate.ProxyInfo)
	if got.GetProtocolMajorVersion() != 0 || got.GetProtocolMinorVersion() != 2 || got.GetProxyName() == "" || got.GetProxyVersion() == "" {
		t.Errorf("got %v", got)
	}
	want := []string{actionType, replicatedType, eventSourcedType, valueEntity}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(got.GetSupportedEntityTypes()))); diff != "" {
		t.Error(diff)
	}
}

func (p *proxy) testReflection(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stream, err := reflection.NewServerReflectionClient(p.gateway).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const host = "tck.example"
	names := []string{"grpc.reflection.v1alpha.ServerReflection"}
	var services []string
	for _, e := range p.spec.GetEntities() {
		services = append(services, e.GetServiceName())
	}
	slices.Sort(services)
	names = append(names, services...)
	for _, request := range []*reflection.ServerReflectionRequest{
		{Host: host, MessageRequest: &reflection.ServerReflectionRequest_ListServices{}},
		{Host: host, MessageRequest: &reflection.ServerReflectionRequest_ListServices{ListServices: "nonsense.blabla."}},
		{Host: host, MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "nonsense.blabla.Void"}},
	} {
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		want := &reflection.ServerReflectionResponse{ValidHost: host, OriginalRequest: request}
		if request.GetFileContainingSymbol() != "" {
			want.MessageResponse = &reflection.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: &reflection.FileDescriptorResponse{}}
		} else {
			list := new(reflection.ListServiceResponse)
			for _, name := range names {
				list.Service = append(list.Service, &reflection.ServiceResponse{Name: name})
			}
			want.MessageResponse = &reflection.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: list}
		}
		got, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the answer to "+request.String(), want, got)
	}
	b := &bidi[reflection.ServerReflectionRequest, reflection.ServerReflectionResponse]{stream, cancel}
	b.passivate(t)
	p.quiet(t)
}

func (p *proxy) testEventSourced(t *testing.T) {
	const process, second = "/" + eventSourcedFirst + "/Process", "/" + eventSourcedTwo + "/Call"
	do := func(t *testing.T, id, text string, steps ...step) {
		t.Helper()
		p.replies(t, process, p.processRequest(t, modelES, id, steps...), modelES, text)
	}
	// seen is one turn as the user function had it.
	seen := func(t *testing.T, x *exchange, id string, n int64, want answer, steps ...step) {
		t.Helper()
		x.given(t, eventCommand(p.command(t, modelES, id, n, steps)))
		x.answered(t, p.eventReply(t, n, want))
	}
	t.Run("E-P01 state changes", func(t *testing.T) {
		id := fresh()
		turns := []struct {
			want  answer
			steps []step
		}{
			{answer{}, nil},
			{answer{text: "A", events: []string{"A"}}, []step{"emit A"}},
			{answer{text: "ABCD", events: []string{"B", "C", "D"}}, []step{"emit B", "emit C", "emit D"}},
			{answer{text: "ABCDE", events: []string{"E"}, snapshot: "ABCDE"}, []step{"emit E"}},
			{answer{text: "ABCDEFGHI", events: []string{"F", "G", "H", "I"}}, []step{"emit F", "emit G", "emit H", "emit I"}},
			{answer{text: "ABCDEFGHIJK", events: []string{"J", "K"}, snapshot: "ABCDEFGHIJK"}, []step{"emit J", "emit K"}},
		}
		var x *exchange
		for i, turn := range turns {
			do(t, id, turn.want.text, turn.steps...)
			if x == nil {
				x = p.next(t, eventPath)
				x.given(t, p.eventInit(eventSourcedFirst, id))
			}
			seen(t, x, id, int64(i+1), turn.want, turn.steps...)
		}
		p.quiet(t, x)
	})
	t.Run("E-P02 forwards and side effects", func(t *testing.T) {
		id := fresh()
		do(t, id, "one", "emit one")
		x := p.next(t, eventPath)
		x.given(t, p.eventInit(eventSourcedFirst, id))
		seen(t, x, id, 1, answer{text: "one", events: []string{"one"}}, "emit one")
		do(t, id, "", step("forward "+id))
		seen(t, x, id, 2, answer{forward: id}, step("forward "+id))
		y := p.next(t, eventPath)
		y.given(t, p.eventInit(eventSourcedTwo, id))
		y.given(t, eventCommand(p.second(t, modelES, id, 1)))
		y.answered(t, p.eventReply(t, 1, answer{}))
		do(t, id, "one", step("effect "+id))
		seen(t, x, id, 3, answer{text: "one", effects: []step{step("effect " + id)}}, step("effect "+id))
		y.given(t, eventCommand(p.second(t, modelES, id, 2)))
		y.answered(t, p.eventReply(t, 2, answer{}))
		do(t, id, "one")
		seen(t, x, id, 4, answer{text: "one"})
		p.quiet(t, x, y)
	})
	t.Run("E-P03 failures", func(t *testing.T) {
		id := fresh()
		do(t, id, "123", "emit 1", "emit 2", "emit 3")
		x := p.next(t, eventPath)
		x.given(t, p.eventInit(eventSourcedFirst, id))
		seen(t, x, id, 1, answer{text: "123", events: []string{"1", "2", "3"}}, "emit 1", "emit 2", "emit 3")
		p.fails(t, process, p.processRequest(t, modelES, id, "fail expected failure"), "expected failure")
		seen(t, x, id, 2, answer{fail: "expected failure"}, "fail expected failure")
		do(t, id, "123")
		seen(t, x, id, 3, answer{text: "123"})
		x, n := p.failAfterEmit(t, x, id, 4, "another failure", []string{"1", "2", "3"}, process, "emit 4", "fail another failure", "emit 5")
		do(t, id, "12345", "emit 4", "emit 5")
		seen(t, x, id, n, answer{text: "12345", events: []string{"4", "5"}, snapshot: "12345"}, "emit 4", "emit 5")
		p.quiet(t, x)
	})
	t.Run("E-P04 HTTP API", func(t *testing.T) {
		id := fresh()
		path := "/tck/model/eventsourced/" + id
		p.post(t, path, `{}`, 200, `{"message":""}`)
		x := p.next(t, eventPath)
		x.given(t, p.eventInit(eventSourcedFirst, id))
		seen(t, x, id, 1, answer{})
		p.post(t, second, fmt.Sprintf(`{"id": %q}`, id), 200, `{"message":""}`)
		y := p.next(t, eventPath)
		y.given(t, p.eventInit(eventSourcedTwo, id))
		y.given(t, eventCommand(p.second(t, modelES, id, 1)))
		y.answered(t, p.eventReply(t, 1, answer{}))
		p.post(t, path, `{"actions": [{"emit": {"value": "x"}}]}`, 200, `{"message":"x"}`)
		seen(t, x, id, 2, answer{text: "x", events: []string{"x"}}, "emit x")
		p.post(t, path, `{"actions": [{"fail": {"message": "expected failure"}}]}`, 500, "expected failure")
		seen(t, x, id, 3, answer{fail: "expected failure"}, "fail expected failure")
		p.post(t, path, `{"actions": [{"emit": {"value": "y"}}]}`, 200, `{"message":"xy"}`)
		seen(t, x, id, 4, answer{text: "xy", events: []string{"y"}}, "emit y")
		p.post(t, path, `{"actions": [{"emit": {"value": "z"}}, {"fail": {"message": "emit then fail"}}]}`, 500, "emit then fail")
		x, n := p.seeFailAfterEmit(t, x, id, 5, "emit then fail", []string{"x", "y"}, "emit z", "fail emit then fail")
		p.post(t, path, `{"actions": [{"emit": {"value": "z"}}]}`, 200, `{"message":"xyz"}`)
		seen(t, x, id, n, answer{text: "xyz", events: []string{"z"}}, "emit z")
		p.quiet(t, x, y)
	})
	t.Run("E-P05 passivation timeout", func(t *testing.T) {
		id := fresh()
		p.replies(t, "/"+eventSourcedConf+"/Call", p.any(t, modelES+"Request", fmt.Sprintf(`{"id":%q}`, id)), modelES, "")
		x := p.next(t, eventPath)
		x.given(t, p.eventInit(eventSourcedConf, id))
		x.given(t, eventCommand(p.second(t, modelES, id, 1)))
		x.answered(t, p.eventReply(t, 1, answer{}))
		x.closes(t, 2*time.Second)
		p.quiet(t, x)
	})
}

// failAfterEmit calls, and looks at what the user function had of it.
func (p *proxy) failAfterEmit(
	t *testing.T, x *exchange, id string, n int64, text string, events []string, method string, steps ...step,
) (*exchange, int64) {
	t.Helper()
	p.fails(t, method, p.processRequest(t, modelES, id, steps...), text)
	return p.seeFailAfterEmit(t, x, id, n, text, events, steps...)
}

// seeFailAfterEmit returns the exchange and the number of the next command. A user function that asked for a restart gets
// a new stream with the events, before anybody calls again.
func (p *proxy) seeFailAfterEmit(
	t *testing.T, x *exchange, id string, n int64, text string, events []string, steps ...step,
) (*exchange, int64) {
	t.Helper()
	x.given(t, eventCommand(p.command(t, modelES, id, n, steps)))
	got := x.take(t, &x.out, "of")
	plain, restart := p.eventReply(t, n, answer{fail: text}), p.eventReply(t, n, answer{fail: text, restart: true})
	if cmp.Equal(fmt.Sprint(plain), fmt.Sprint(got)) {
		return x, n + 1
	}
	equal(t, "the failure", restart, got)
	x.closes(t, patience)
	next := p.next(t, eventPath)
	next.given(t, p.eventInit(eventSourcedFirst, id))
	for i, v := range events {
		next.given(t, p.replayed(t, int64(i+1), v))
	}
	p.quiet(t, x)
	return next, 1
}
