package actorhost

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/dispatch"
)

// finisher makes the Finish that the component has.
func finisher(t *testing.T, remote actors.Handler) func(context.Context, actors.Command, actors.Outcome) (actors.Outcome, error) {
	t.Helper()
	d, err := dispatch.New(dispatch.Config{Remote: remote, Report: func(string) {}})
	if err != nil {
		t.Fatal(err)
	}
	return d.Finish
}

// Callers who do not know outcomes get what an effect and a forward come to, while daprd holds the entity's turn.
func TestDaprFinish(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	invoker := s.client().Invoker(simpleName)
	h := host(t, s, Config{Finish: finisher(t, invoker)}, "Cart", "Order")
	var mu sync.Mutex
	var done []string
	order := func(id string) actors.Ref { return actors.Ref{Service: "shop.v1.Order", ID: id} }
	said := func(s string) *actors.Payload {
		return &actors.Payload{ContentType: actors.ContentJSON, Data: []byte(`"` + s + `"`)}
	}
	h.entities.handle = func(_ context.Context, c actors.Command) (actors.Outcome, error) {
		what := strings.Trim(string(c.Payload.Data), `"`)
		mu.Lock()
		done = append(done, c.Ref.ID+" "+what+" "+c.Key)
		mu.Unlock()
		o := actors.Outcome{Sequence: 3}
		forward := func(to actors.Ref, what string) {
			o.Forward = &actors.Forward{Ref: to, Method: "Echo", Payload: *said(what), Key: "f", Metadata: actors.Metadata{{Key: "x-hop", Text: "1"}}}
		}
		switch what {
		case "forward":
			o.Effects = []actors.Effect{{Ref: order("e"), Method: "Echo", Payload: *said("effect"), ID: "id1", Synchronous: true}}
			forward(order("o"), "on")
		case "on":
			o.Reply, o.Sequence, o.Metadata = said("from the order"), 9, actors.Metadata{{Key: "x-from", Text: "order"}}
		case "effect":
			o.Failure = actors.Errorf(actors.NotFound, "ignored")
		case "refuse", "refused":
			if what == "refused" {
				o.Failure = actors.Errorf(actors.FailedPrecondition, "sold out")
				break
			}
			forward(order("o"), "refused")
		case "self":
			forward(c.Ref, "on")
		case "around":
			forward(order("back"), "back")
		case "back":
			forward(actors.Ref{Service: "shop.v1.Cart", ID: "c1"}, "on")
		case "nowhere":
			forward(actors.Ref{Service: "shop.v1.Cart", ID: "c9"}, "broken")
		case "broken":
			return actors.Outcome{}, actors.Errorf(actors.ResourceExhausted, "there is no room")
		}
		return o, nil
	}
	h.awaitReady(10 * time.Second)
	await(t, 10*time.Second, "served", func() bool {
		return s.invoke("Cart", "c0", "Echo", `"effect"`).status == 500 && s.invoke("Order", "o", "Echo", `"on"`).status == 200
	})
	for _, x := range []struct {
		what   string
		status int
		text   string
	}{
		{"forward", 200, `"from the order"`},
		{"refuse", 500, "sold out [entities code=FAILED_PRECONDITION"},
		{"self", 500, "(shop.v1.Cart/c1.Echo → shop.v1.Cart/c1.Echo): shop.v1.Cart/c1 would wait"},
		{"around", 500, "shop.v1.Cart/c1.Echo → shop.v1.Order/back.Echo → shop.v1.Cart/c1.Echo"},
		{"nowhere", 500, "there is no room [entities code=RESOURCE_EXHAUSTED entity=shop.v1.Cart/c1 sequence=3]"},
	} {
		mu.Lock()
		done = nil
		mu.Unlock()
		began := time.Now()
		r := s.invoke("Cart", "c1", "Echo", `"`+x.what+`"`)
		if r.status != x.status || !strings.Contains(r.body, x.text) {
			t.Errorf("%s: got %d %s", x.what, r.status, r.body)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s took %v", x.what, took)
		}
		mu.Lock()
		if got := strings.Join(done, ", "); x.what == "forward" && got != "c1 forward , e effect id1, o on f" {
			t.Errorf("done were %s", got)
		}
		mu.Unlock()
		if x.what == "forward" && (r.header.Get("Entities-Sequence") != "9" || r.header.Get("X-From") != "order") {
			t.Errorf("the headers are %v", r.header)
		}
	}
	// Our own callers follow for themselves.
	o, err := invoker.Handle(t.Context(), command("c1", `"forward"`))
	if err != nil || o.Forward == nil || len(o.Effects) != 1 || o.Effects[0].ID != "id1" || o.Forward.Key != "f" || o.Sequence != 3 {
		t.Errorf("%+v, %v", o, err)
	}
}

// Finish is asked only where something follows, and its error is the answer.
func TestFinish(t *testing.T) {
	asked := 0
	finish := func(_ context.Context, c actors.Command, o actors.Outcome) (actors.Outcome, error) {
		asked++
		if c.Ref.ID == "bad" {
			return actors.Outcome{}, &actors.Error{Code: actors.Unavailable, Message: "was carried out, but", Cause: errors.New("secret")}
		}
		return actors.Outcome{Reply: &c.Payload, Sequence: o.Sequence + 1}, nil
	}
	bubble(t, Config{Finish: finish}, func(t *testing.T, f *fake, h *hosted) {
		h.entities.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
			o, err := echo(ctx, c)
			if c.Method == "Fail" {
				o.Reply, o.Failure = nil, actors.Errorf(actors.NotFound, "no")
			}
			if c.Ref.ID != "plain" {
				o.Effects = []actors.Effect{{Ref: c.Ref, Method: "Echo", Synchronous: true}}
			}
			return o, err
		}
		s := f.accept()
		for n, x := range []struct{ id, method, answer, failure string }{
			{"plain", "Echo", "{}", ""},
			{"effects", "Echo", "{}", ""},
			{"effects", "Fail", "{}", ""},
			{"bad", "Echo", "", "was carried out, but [entities code=UNAVAILABLE entity=shop.v1.Cart/bad sequence=7]"},
		} {
			s.invoke("1", "Cart", x.id, x.method, "{}")
			r := s.receive()
			if got := string(r.GetInvokeResponse().GetData()); got != x.answer || r.GetRequestFailed().GetMessage() != x.failure || asked != n {
				t.Errorf("%s %s: %v, asked %d times", x.id, x.method, r, asked)
			}
		}
	})
}
