package component

import (
	"fmt"
	"strings"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
	"github.com/dapr-entities/entities/component/building"
)

// Retention works without a user function, by the settings of the last Init, and goes on after a restart.
func TestRetention(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	file := dir + "/entities.db"
	history := func(p *process, key string) string {
		t.Helper()
		r, err := components.NewStateStoreClient(p.conn).Get(instance(t.Context(), "entities"),
			&components.GetRequest{Key: key, Metadata: map[string]string{"history": "true"}})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(strings.Count(string(r.GetData()), `"version"`))
	}
	// Versions that are old enough to go at once.
	j, err := sqlite.Open(t.Context(), sqlite.Config{Path: file})
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"app||a", "app||b", "entities||a", "other||a", "a"}
	for _, key := range keys {
		r := journal.Restored{Ref: actors.Ref{Service: building.StateService, ID: key}, Span: journal.Span{Head: journal.Head{Sequence: 5}}}
		for n := range int64(5) {
			r.Events = append(r.Events, journal.Event{
				Ref: r.Ref, Sequence: n + 1, Name: "set", Command: fmt.Sprint(n), Time: time.Now().Add(-time.Hour),
				Payload: actors.Payload{TypeURL: "state.entities/value", Data: []byte("x")},
			})
		}
		r.Span.Updated = r.Events[4].Time
		if err := j.Restore(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{
		"journal": "sqlite:" + file, "host": "false", "appId": "app", "keyPrefix": "name", "retentionInterval": "100ms",
		"retention": "off", "retention.b": "count=2",
	}
	p := begin(t, dir, nil)
	if err := p.init(map[string]string{"journal": "memory:", "host": "false", "retention": "count=1"}); err == nil || !strings.Contains(err.Error(), "needs appId") {
		t.Errorf("rules about nobody's keys: %v", err)
	}
	check := func(want ...string) {
		t.Helper()
		eventually(t, fmt.Sprintf("%v are kept of %v", want, keys), func() bool {
			for i, key := range keys {
				if history(p, key) != want[i] {
					return false
				}
			}
			return true
		})
	}
	p.mustInit(settings)
	check("5", "2", "5", "5", "5")
	settings["retention"] = "age=10m"
	p.mustInit(settings)
	check("1", "2", "1", "5", "5")
	eventually(t, "the metrics tell", func() bool {
		text := p.http("/metrics")
		return strings.Contains(text, "entities_retention_removed_events_total 11") && !strings.Contains(text, "entities_retention_sweep_seconds_count 0")
	})
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if log := p.log.String(); !strings.Contains(log, "retention removed") || !strings.Contains(log, "events=3") {
		t.Errorf("the log:\n%s", log)
	}
	p = begin(t, dir, nil)
	settings["keyPrefix"] = "none"
	p.mustInit(settings)
	check("1", "2", "1", "5", "1")
}
