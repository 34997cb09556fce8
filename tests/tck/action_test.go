package tck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

const (
	modelA      = "cloudstate.tck.model.action."
	actionFirst = modelA + "ActionTckModel"
	actionTwo   = modelA + "ActionTwo"
	actionType  = "cloudstate.action.ActionProtocol"
)

// request is a Request of groups of steps.
func (s *service) request(t *testing.T, groups ...[]step) *anypb.Any {
	t.Helper()
	texts := make([]string, len(groups))
	for i, g := range groups {
		texts[i] = `{"steps":` + list(g) + `}`
	}
	return s.any(t, modelA+"Request", `{"groups":[`+strings.Join(texts, ",")+`]}`)
}

// response is what the steps are answered with: the last reply, forward or failure, and all effects.
func (s *service) response(t *testing.T, steps ...step) *action.ActionResponse {
	t.Helper()
	r := new(action.ActionResponse)
	other := func(id string) *anypb.Any { return s.any(t, modelA+"OtherRequest", fmt.Sprintf(`{"id":%q}`, id)) }
	for _, st := range steps {
		switch word, value := st.split(); word {
		case "reply":
			r.Response = &action.ActionResponse_Reply{Reply: &cloudstate.Reply{
				Payload: s.any(t, modelA+"Response", fmt.Sprintf(`{"message":%q}`, value)),
			}}
		case "forward":
			r.Response = &action.ActionResponse_Forward{Forward: &cloudstate.Forward{
				ServiceName: actionTwo, CommandName: "Call", Payload: other(value),
			}}
		case "fail":
			r.Response = &action.ActionResponse_Failure{Failure: &cloudstate.Failure{Description: value}}
		default:
			r.SideEffects = append(r.SideEffects, &cloudstate.SideEffect{
				ServiceName: actionTwo, CommandName: "Call", Payload: other(value), Synchronous: word == "sync",
			})
		}
	}
	return r
}

func actionCommand(method string, payload *anypb.Any) *action.ActionCommand {
	return &action.ActionCommand{ServiceName: actionFirst, Name: method, Payload: payload}
}

// The steps of four answers, each with what makes it an answer in front.
func answers(word string, count int) [][]step {
	effects := [][]step{nil, {"effect other"}, {"sync another"}, {"effect a", "effect b", "effect c"}, nil, {"effect other"}}
	numbers := []string{"one", "two", "three", "four", "five", "six"}
	out := make([][]step, count)
	for i := range out {
		if word != "" {
			out[i] = append(out[i], step(word+" "+numbers[i]))
		}
		out[i] = append(out[i], effects[i]...)
	}
	return out
}

func testAction(t *testing.T, s *service) {
	s.entity(t, actionFirst)
	s.entity(t, actionTwo)
	t.Run("A-M01 discovery", func(t *testing.T) {
		for _, name := range []string{actionFirst, actionTwo} {
			if e := s.entity(t, name); e.GetEntityType() != actionType {
				t.Errorf("got %v", e)
			}
		}
	})
	client := action.NewActionProtocolClient(s.conn)
	within := func(t *testing.T) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	number := 2
	next := func(what string) string {
		number++
		return fmt.Sprintf("A-M%02d %s", number-1, what)
	}

	// A-M02 to A-M17
	for _, kind := range []string{"reply", "", "forward", "fail"} {
		for i, steps := range answers(kind, 4) {
			what := []string{"", " with side effect", " with synchronous side effect", " with multiple side effects"}[i]
			t.Run(next("unary "+map[string]string{"reply": "reply", "": "no reply", "forward": "forward", "fail": "failure"}[kind]+what), func(t *testing.T) {
				t.Parallel()
				got, err := client.HandleUnary(within(t), actionCommand("ProcessUnary", s.request(t, steps)))
				if err != nil {
					t.Fatal(err)
				}
				equal(t, "the response", s.response(t, steps...), got)
			})
		}
	}

	// A-M18 to A-M26
	for _, c := range []struct {
		what   string
		inputs [][]step
	}{
		{"reply", [][]step{{"reply one"}}},
		{"reply with side effects", [][]step{{"reply two", "effect a"}, {"sync b"}, {"effect c", "effect d"}}},
		{"no reply without requests", nil},
		{"no reply", [][]step{{}}},
		{"no reply with side effects", [][]step{{"effect a"}, {"sync b"}, {"effect c", "effect d"}}},
		{"forward", [][]step{{"forward one"}}},
		{"forward with side effects", [][]step{{"forward two", "effect a"}, {"sync b"}, {"effect c", "effect d"}}},
		{"failure", [][]step{{"fail one"}}},
		{"failure with side effects", [][]step{{"fail two", "effect a"}, {"sync b"}, {"effect c", "effect d"}}},
	} {
		t.Run(next("streamed-in "+c.what), func(t *testing.T) {
			t.Parallel()
			stream, err := client.HandleStreamedIn(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(actionCommand("ProcessStreamedIn", nil)); err != nil {
				t.Fatal(err)
			}
			for _, steps := range c.inputs {
				if err := stream.Send(&action.ActionCommand{Payload: s.request(t, steps)}); err != nil {
					t.Fatal(err)
				}
			}
			got, err := stream.CloseAndRecv()
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "the response", s.response(t, slices.Concat(c.inputs...)...), got)
		})
	}

	// A-M27 to A-M30
	for _, kind := range []string{"reply", "", "forward", "fail"} {
		t.Run(next("streamed-out "+kind+" and side effects"), func(t *testing.T) {
			t.Parallel()
			groups := answers(kind, 4)
			stream, err := client.HandleStreamedOut(within(t), actionCommand("ProcessStreamedOut", s.request(t, groups...)))
			if err != nil {
				t.Fatal(err)
			}
			for i, steps := range groups {
				got, err := stream.Recv()
				if err != nil {
					t.Fatalf("response %d: %v", i+1, err)
				}
				equal(t, fmt.Sprintf("response %d", i+1), s.response(t, steps...), got)
			}
			if m, err := stream.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("after the last response: %v, %v; want the end", m, err)
			}
		})
	}

	// A-M31 to A-M34
	for _, kind := range []string{"reply", "", "forward", "fail"} {
		t.Run(next("streamed "+kind+" and side effects"), func(t *testing.T) {
			t.Parallel()
			b := open(t, client.HandleStreamed)
			b.send(t, actionCommand("ProcessStreamed", nil))
			groups := answers(kind, 6)
			for i, steps := range groups[:4] {
				b.send(t, &action.ActionCommand{Payload: s.request(t, steps)})
				equal(t, fmt.Sprintf("response %d", i+1), s.response(t, steps...), b.receive(t))
			}
			b.send(t, &action.ActionCommand{Payload: s.request(t, groups[4:]...)})
			for i, steps := range groups[4:] {
				equal(t, fmt.Sprintf("response %d", i+5), s.response(t, steps...), b.receive(t))
			}
			b.passivate(t)
		})
	}
	if number != 35 {
		t.Errorf("the cases end at A-M%02d, want A-M34", number-1)
	}
}
