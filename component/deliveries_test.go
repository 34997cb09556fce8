package component

import (
	"slices"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

func consuming(t *testing.T, group string) *catalog.Catalog {
	t.Helper()
	method := func(name string, in *cloudstate.EventSource) *cloudstate.Method {
		m := &cloudstate.Method{Name: name}
		if in != nil {
			m.Input, m.Eventing = "added", &cloudstate.Eventing{In: in}
		}
		return m
	}
	c, err := catalog.New(&cloudstate.EntitySpec{
		ServiceInfo: &cloudstate.ServiceInfo{ProtocolMinorVersion: 2, Extensions: []string{"json"}},
		Entities: []*cloudstate.Entity{
			{EntityType: catalog.EntityType(actors.EventSourced), ServiceName: "shop.Cart", PersistenceId: "carts", Methods: []*cloudstate.Method{method("Add", nil)}},
			// An action may have a persistence id that means nothing.
			{EntityType: catalog.EntityType(actors.Action), ServiceName: "shop.View", PersistenceId: "views", Methods: []*cloudstate.Method{
				method("Added", &cloudstate.EventSource{ConsumerGroup: group, Source: &cloudstate.EventSource_EventLog{EventLog: "carts"}}),
			}},
		},
	}, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Effects are found by what they are kept under: an action's by its name, an entity's by its persistence id.
func TestSources(t *testing.T) {
	t.Parallel()
	if got := sources(consuming(t, "")); !slices.Equal(got, []string{"carts", "shop.View"}) {
		t.Errorf("got %v", got)
	}
}

func TestCheckFeeds(t *testing.T) {
	t.Parallel()
	if err := checkFeeds(consuming(t, strings.Repeat("g", 128))); err != nil {
		t.Error(err)
	}
	if err := checkFeeds(consuming(t, strings.Repeat("g", 129))); err == nil || !strings.Contains(err.Error(), "shop.View") {
		t.Errorf("got %v", err)
	}
}
