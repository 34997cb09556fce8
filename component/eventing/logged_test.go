package eventing

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

func event(name string, p actors.Payload) journal.Event {
	return journal.Event{
		Ref: actors.Ref{Service: "shop", ID: "a/b"}, Sequence: 7, Name: name, Payload: p,
		Time: time.Date(2026, 11, 23, 14, 0, 0, 5, time.UTC), Context: journal.Context{Traceparent: "00-trace"},
	}
}

func TestLogged(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		payload           actors.Payload
		contentType, data string
		schema            string
	}{
		"JSON":               {actors.Payload{TypeURL: "json.cloudstate.io/added", ContentType: "application/json", Data: []byte(`{"a":1}`)}, "application/json", `{"a":1}`, "json.cloudstate.io/added"},
		"JSON, wrapped":      {actors.Payload{TypeURL: "json.cloudstate.io/added", ContentType: actors.ContentProtobuf, Data: []byte("\x0a\x01" + "5")}, "application/json", `5`, "json.cloudstate.io/added"},
		"string":             {primitive(primitiveString, []byte("text")), contentText, `text`, ""},
		"bytes":              {primitive(primitiveBytes, []byte("\x01")), contentOctets, "\x01", ""},
		"unknown message":    {actors.Payload{TypeURL: "type.googleapis.com/a.B", ContentType: actors.ContentProtobuf, Data: []byte("\x08\x01")}, actors.ContentProtobuf, "\x08\x01", "type.googleapis.com/a.B"},
		"state value":        {actors.Payload{TypeURL: "state.entities/value?expires=x", Data: []byte(`[1]`)}, "application/json", `[1]`, ""},
		"state value, bytes": {actors.Payload{TypeURL: "state.entities/value", Data: []byte("\xff")}, contentOctets, "\xff", ""},
		"state value, typed": {actors.Payload{TypeURL: "state.entities/value", ContentType: "text/plain", Data: []byte("1")}, "text/plain", "1", ""},
		"deleted":            {actors.Payload{TypeURL: "state.entities/value"}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := Logged(event("added", test.payload), "shop.v1.Cart", "bus", nil)
			if err != nil {
				t.Fatal(err)
			}
			want := CloudEvent{
				ID: "shop/a%2Fb/7", Source: "shop.v1.Cart", Type: "added", SpecVersion: "1.0", ContentType: test.contentType, Data: []byte(test.data),
				Attributes: map[string]string{
					"subject": "a/b", "time": "2026-11-23T14:00:00.000000005Z", "sequence": "7", "topic": "shop.v1.Cart", "pubsubname": "bus",
					"traceparent": "00-trace", "traceid": "00-trace",
				},
			}
			if test.schema != "" {
				want.Attributes["dataschema"] = test.schema
			}
			if test.data == "" {
				want.Data = nil
			}
			if diff := cmp.Diff(want, e); diff != "" {
				t.Error(diff)
			}
		})
	}
	if e, err := Logged(event("", actors.Payload{TypeURL: "json.cloudstate.io/x.added?y"}), "t", "p", nil); err != nil || e.Type != "x.added" {
		t.Errorf("an event without a name: %+v, %v", e, err)
	}
	if _, err := Logged(event("n", actors.Payload{TypeURL: primitiveString, Data: []byte("\xff")}), "t", "p", nil); err == nil || !strings.Contains(err.Error(), "event 7 of shop/a/b") {
		t.Errorf("a damaged payload: %v", err)
	}
}

// Whatever is in the journal, there is a CloudEvent of it, or an error.
func FuzzLogged(f *testing.F) {
	f.Add("added", "json.cloudstate.io/added", "application/json", []byte(`{"a":1}`))
	f.Add("", "type.googleapis.com/google.protobuf.Any", actors.ContentProtobuf, []byte{10, 1, 65})
	f.Add("n", primitiveString, "", []byte{10, 1, 65})
	f.Add("n", "state.entities/value", "text/plain; charset=x", []byte("\xff"))
	f.Fuzz(func(t *testing.T, name, typeURL, contentType string, data []byte) {
		e, err := Logged(event(name, actors.Payload{TypeURL: typeURL, ContentType: contentType, Data: data}), "t", "p", nil)
		if err != nil {
			return
		}
		text, err := e.JSON()
		if err != nil || !json.Valid(text) {
			t.Errorf("%s, %v", text, err)
		}
	})
}
