package operations

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/daprstate"
	"github.com/dapr-entities/entities/actors/journal/daprstate/daprstatetest"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
	"github.com/dapr-entities/entities/actors/replica/slot"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// backends open new journals.
var backends = map[string]func(t testing.TB) *Direct{
	"memory": func(t testing.TB) *Direct { return direct(t, "memory", memory.Open(), nil) },
	"sqlite": func(t testing.TB) *Direct {
		j, err := sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(t.TempDir(), "e.db")})
		return direct(t, "sqlite", j, err)
	},
	"postgres": func(t testing.TB) *Direct {
		j, err := postgres.Open(context.Background(), postgres.Config{URL: postgrestest.URL(t)})
		return direct(t, "postgres", j, err)
	},
	"dapr": func(t testing.TB) *Direct {
		j, err := daprstate.New(daprstate.Config{Store: daprstatetest.New(), Quiet: 100 * time.Millisecond})
		return direct(t, "dapr", j, err)
	},
}

func direct(t testing.TB, scheme string, j journal.Journal, err error) *Direct {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return &Direct{Of: j, Scheme: scheme}
}

func text(name, data string) journal.Event {
	return journal.Event{Name: name, Payload: actors.Payload{TypeURL: "json.cloudstate.io/" + name, ContentType: actors.ContentJSON, Data: []byte(data)}}
}

var refs = []actors.Ref{
	{Service: "shop.v1.Cart", ID: "a"}, {Service: "shop.v1.Cart", ID: "b/ü🍵"}, {Service: "chat.v1.Profile", ID: "ada"},
	{Service: StateService, ID: "shop||key"}, {Service: "gone.v1.Gone", ID: "erased"}, {Service: "gone.v1.Gone", ID: "again"},
}

// add appends to a stream wherever it is.
func add(t testing.TB, j journal.Journal, ref actors.Ref, a journal.Append) {
	t.Helper()
	span, err := j.Span(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	a.Ref, a.Expected, a.Epoch, a.Command = ref, span.Sequence, span.Epoch, fmt.Sprintf("c%d-%d", span.Sequence, len(a.Events))
	if r := j.Append(t.Context(), []journal.Append{a})[0]; r.Status != journal.Committed {
		t.Fatal(r.Status, r.Err)
	}
}

// fill writes some of everything into a journal.
func fill(t testing.TB, j journal.Journal, rounds int) {
	t.Helper()
	ctx := t.Context()
	for round := range rounds {
		for _, ref := range refs {
			e := text("added", fmt.Sprintf(`{"n":%d,"html":"<&>"}`, round))
			e.Context = journal.Context{Correlation: "x", Causation: "y", Traceparent: "00-z", Caller: "shop"}
			a := journal.Append{Events: []journal.Event{e, {Payload: actors.Payload{TypeURL: "type.googleapis.com/X", ContentType: actors.ContentProtobuf, Data: []byte{0, 255, byte(round)}}}}}
			if round%3 == 0 {
				a.Record = &journal.Record{Hash: [16]byte{1, 2, byte(round)}, Outcome: []byte{2, 0, 255, 1}}
				a.Snapshot = &actors.Payload{TypeURL: "snap", ContentType: actors.ContentJSON, Data: []byte(`{"at":1}`)}
			}
			add(t, j, ref, a)
		}
	}
	mail := actors.Ref{Service: "mail", ID: "x"}
	add(t, j, refs[0], journal.Append{Record: &journal.Record{Outcome: []byte("refused")}, Effects: []actors.Effect{
		{Ref: mail, Method: "Send", ID: "e1", Payload: text("", "{}").Payload, Metadata: actors.Metadata{{Key: "k", Text: "v"}, {Key: "b-bin", Bytes: []byte{0, 1}}}},
		{Ref: mail, Method: "Send", ID: "e2", Key: "later", Delay: time.Hour},
		{Ref: mail, Method: "Send", ID: "e3"},
		{Ref: mail, Method: "Send", ID: "e4"},
	}})
	for _, err := range []error{
		j.Settle(ctx, []journal.Settlement{{ID: "e3", Verdict: journal.Parked, Problem: "no such mail"}}),
		j.Erase(ctx, refs[4]), j.Erase(ctx, refs[5]), j.Forget(ctx, refs[3], 1, true),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	add(t, j, refs[5], journal.Append{Events: []journal.Event{text("added", "{}")}})
	if _, err := j.Fence(ctx, actors.Ref{Service: "shop.v1.Cart", ID: "fenced"}, 7); err != nil {
		t.Fatal(err)
	}
	if _, err := slot.Rotate(ctx, j, "shop"); err != nil {
		t.Fatal(err)
	}
	fillCells(t, j)
}

func fillCells(t testing.TB, j journal.Journal) {
	t.Helper()
	var at positionForm
	for at == (positionForm{}) { // in its order it is a moment later, or when somebody else's transaction has ended
		events, _, err := j.Tail(t.Context(), []string{refs[0].Service}, journal.Position{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Ref == refs[0] && e.Sequence == 2 {
				at = positionForm(e.Position)
			}
		}
	}
	for key, value := range map[string]any{
		"cursor/g/shop.v1.Cart":          map[string]any{"transaction": at.Transaction, "ordinal": at.Ordinal, "writer": "w", "time": "2026-01-01T00:00:00Z"},
		"parked/feed/g/shop.v1.Cart/a/2": map[string]any{"transaction": at.Transaction, "ordinal": at.Ordinal, "service": refs[0].Service, "id": refs[0].ID, "sequence": 2, "problem": "no"},
		"lane/g/0": map[string]any{"writer": "w", "places": []any{
			map[string]any{"transaction": 0, "ordinal": 0, "services": []string{"x"}},
			map[string]any{"transaction": at.Transaction, "ordinal": at.Ordinal, "services": []string{"shop.v1.Cart"}},
		}},
		"subscription/g":              map[string]any{"lanes": 4, "sources": map[string]any{"shop.v1.Cart": map[string]any{"transaction": at.Transaction, "ordinal": at.Ordinal}}},
		"retention/x":                 map[string]any{"after": "y"},
		"parked/topic/x":              map[string]any{"event": 1},
		"slot/shop/0000":              map[string]any{"epoch": 7, "owner": "me", "ttl": 1},
		"of/shop/ent/presence/x/base": nil,
		"lease/a/b":                   "mine",
		"odd/a":                       "odd",
	} {
		data := marshal(t, value)
		if value == nil {
			data = []byte{0, 1, 254, 255}
		}
		if _, err := j.Put(t.Context(), journal.Cell{Key: key, Value: data}); err != nil {
			t.Fatal(err)
		}
	}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func exported(t testing.TB, j Journal) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := (Exporting{From: j, Name: "same"}).Export(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// histories are the lines of an export that are the same wherever it is made: without checksums, positions, and what is of
// one journal alone.
func histories(t testing.TB, export string) (lines []string) {
	t.Helper()
	r := newLineReader(strings.NewReader(export))
	for {
		kind, body, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(body, &v); err != nil {
			t.Fatal(err)
		}
		switch kind {
		case kindEnd:
			return lines
		case kindJournal, kindCut:
			continue
		case kindEvent:
			delete(v, "at")
		case kindEffect:
			delete(v, "since")
			delete(v, "tries")
		}
		lines = append(lines, string(marshal(t, v)))
	}
}
