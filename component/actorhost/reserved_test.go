package actorhost

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/dapr-entities/entities/actors"
)

// A reserved actor type stands beside those of the catalog, never alone, and its commands reach its own entities as
// they are.
func TestReservedActorType(t *testing.T) {
	const reserved = "OfTheComponent"
	ref := actors.Ref{Service: reserved, ID: "a/b"}
	own := &entities{handle: func(_ context.Context, c actors.Command) (actors.Outcome, error) {
		if c.Method == "Fail" {
			return actors.Outcome{}, actors.Errorf(actors.InvalidArgument, "no")
		}
		return echo(t.Context(), c)
	}}
	bubble(t, Config{Reserved: map[string]Entities{reserved: own}}, func(t *testing.T, f *fake, h *hosted) {
		s := f.accept()
		if want := []string{"Cart", reserved, "Order"}; !slices.Equal(s.initial.GetEntities(), want) {
			t.Errorf("registered %q, want %q", s.initial.GetEntities(), want)
		}
		s.invoke("1", reserved, "a%2Fb", "AnyMethod", `not even JSON`)
		if r := s.receive().GetInvokeResponse(); r.GetId() != "1" || string(r.GetData()) != `not even JSON` {
			t.Errorf("answer %v", r)
		}
		want := actors.Command{Ref: ref, Method: "AnyMethod"}
		if c := own.last(); c.Ref != want.Ref || c.Method != want.Method {
			t.Errorf("command %+v", c)
		}
		if h.entities.owns(ref) || !own.owns(ref) {
			t.Error("owned by the entities of the catalog")
		}
		s.invoke("2", reserved, "a%2Fb", "Fail", "")
		if r := s.receive().GetRequestFailed(); r.GetId() != "2" || r.GetCode() != uint32(actors.InvalidArgument) {
			t.Errorf("answer %v", r)
		}
		s.invoke("3", "Cart", "c", "Echo", `{}`)
		if r := s.receive().GetInvokeResponse(); r.GetId() != "3" || h.entities.last().ID != "c" {
			t.Errorf("answer %v", r)
		}
		s.deactivate("4", reserved, "a%2Fb")
		if s.receive().GetDeactivateResponse().GetId() != "4" || own.owns(ref) {
			t.Error("still owned after its deactivation")
		}

		h.services.set(cart(t, "Cart"))
		h.Update()
		if s = f.accept(); !slices.Equal(s.initial.GetEntities(), []string{"Cart", reserved}) {
			t.Errorf("registered %q after an update", s.initial.GetEntities())
		}
		if all, _ := own.losses(); all != 1 {
			t.Errorf("everything was disowned %d times", all)
		}
		h.services.set(nil)
		h.Update()
		synctest.Wait()
		if len(f.streams) > 0 {
			t.Error("the reserved type is registered without services")
		}
	})
}
