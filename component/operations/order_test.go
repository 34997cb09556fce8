package operations

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/daprstate"
	"github.com/dapr-entities/entities/actors/journal/daprstate/daprstatetest"
)

// What a component wrote to a state store before it died is exported, also what it could not put into the order any more.
func TestExportAwaitsTheOrder(t *testing.T) {
	t.Parallel()
	store := daprstatetest.New()
	open := func() *Direct {
		j, err := daprstate.New(daprstate.Config{Store: store, Quiet: 100 * time.Millisecond})
		return direct(t, "dapr", j, err)
	}
	dead, after := open(), open()
	dying, buried := make(chan struct{}), make(chan struct{})
	var saves atomic.Int64
	store.Before(func(what string, keys []string) {
		// With the first save the stream is opened, and with the second one the event gets into the order.
		if what == "save" && slices.Equal(keys, []string{"entities/f"}) {
			if saves.Add(1) == 2 {
				close(dying)
				<-buried
			}
		}
	})
	add(t, dead.Of, refs[0], journal.Append{Events: []journal.Event{text("added", "{}")}})
	<-dying
	if events, _, err := after.Of.Tail(t.Context(), []string{refs[0].Service}, journal.Position{}, 0); err != nil || len(events) > 0 {
		t.Fatal(events, err)
	}
	export := exported(t, after)
	close(buried)
	if n := strings.Count(export, `{"kind":"event"`); n != 1 || !strings.Contains(export, `"sequence":1,"epoch":0`) {
		t.Errorf("%d events are exported:\n%s", n, export)
	}
}
