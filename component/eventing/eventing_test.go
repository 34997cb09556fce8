package eventing

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

func TestPayload(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		contentType, ceType, data string
		want                      actors.Payload
	}{
		"protobuf by type": {"application/protobuf", "shop.v1.Added", "\x0a\x01x",
			actors.Payload{TypeURL: "type.googleapis.com/shop.v1.Added", ContentType: actors.ContentProtobuf, Data: []byte("\x0a\x01x")}},
		"protobuf by parameter": {"application/x-protobuf; messageType=shop.v1.Other", "shop.v1.Added", "",
			actors.Payload{TypeURL: "type.googleapis.com/shop.v1.Other", ContentType: actors.ContentProtobuf, Data: []byte{}}},
		"proto before messageType": {"application/vnd.google.protobuf; proto=a.B; messageType=c.D", "x", "",
			actors.Payload{TypeURL: "type.googleapis.com/a.B", ContentType: actors.ContentProtobuf, Data: []byte{}}},
		"JSON": {"application/json", "added", `{"a":1}`,
			actors.Payload{TypeURL: "json.cloudstate.io/added", ContentType: actors.ContentJSON, Data: []byte(`{"a":1}`)}},
		"JSON by suffix": {"application/vnd.shop+json; charset=utf-8", "added", `1`,
			actors.Payload{TypeURL: "json.cloudstate.io/added", ContentType: actors.ContentJSON, Data: []byte(`1`)}},
		"text": {"text/plain", "", "hi",
			actors.Payload{TypeURL: "p.cloudstate.io/string", ContentType: actors.ContentProtobuf, Data: []byte("\x0a\x02hi")}},
		"no text": {"text/plain; charset=UTF-8", "", "",
			actors.Payload{TypeURL: "p.cloudstate.io/string", ContentType: actors.ContentProtobuf}},
		"text in another charset": {"text/plain; charset=latin1", "", "\xe4",
			actors.Payload{TypeURL: "p.cloudstate.io/bytes", ContentType: actors.ContentProtobuf, Data: []byte("\x0a\x01\xe4")}},
		"anything": {"image/png", "", "\x00",
			actors.Payload{TypeURL: "p.cloudstate.io/bytes", ContentType: actors.ContentProtobuf, Data: []byte("\x0a\x01\x00")}},
		"not a content type": {"a/b/c;;", "", "",
			actors.Payload{TypeURL: "p.cloudstate.io/bytes", ContentType: actors.ContentProtobuf}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := CloudEvent{ContentType: c.contentType, Type: c.ceType, Data: []byte(c.data)}
			if diff := cmp.Diff(c.want, e.payload()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is published comes back as what it was.
func TestPublish(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	for name, c := range map[string]struct {
		payload  actors.Payload
		metadata actors.Metadata
		key      string
		want     string
	}{
		"protobuf": {
			payload: actors.Payload{TypeURL: "type.googleapis.com/shop.v1.Added", ContentType: actors.ContentProtobuf, Data: []byte("\x0a\x01x")},
			key:     "k1",
			want: `{"data_base64":"CgF4","datacontenttype":"application/protobuf","id":"k1","source":"shop.v1.Cart","specversion":"1.0",` +
				`"time":"2026-03-04T05:06:07.000000008Z","type":"shop.v1.Added"}`,
		},
		"JSON, with attributes": {
			payload: actors.Payload{TypeURL: "json.cloudstate.io/added", ContentType: actors.ContentJSON, Data: []byte(`{"a":1}`)},
			metadata: actors.Metadata{{Key: "ce-id", Text: "7"}, {Key: "Ce-Subject", Text: "cart-1"}, {Key: "ce-region", Text: "eu"},
				{Key: "ce-data", Text: "evil"}, {Key: "ce-bad name", Text: "x"}, {Key: "other", Text: "x"}, {Key: "ce-type", Bytes: []byte{1}}},
			want: `{"data":{"a":1},"datacontenttype":"application/json","id":"7","region":"eu","source":"shop.v1.Cart","specversion":"1.0",` +
				`"subject":"cart-1","time":"2026-03-04T05:06:07.000000008Z","type":"added"}`,
		},
		"text": {
			payload: primitive(primitiveString, []byte("hi")), key: "k",
			want: `{"data":"hi","datacontenttype":"text/plain; charset=utf-8","id":"k","source":"shop.v1.Cart","specversion":"1.0",` +
				`"time":"2026-03-04T05:06:07.000000008Z","type":"shop.v1.Cart"}`,
		},
		"bytes": {
			payload: primitive(primitiveBytes, []byte{0}), key: "k",
			want: `{"data_base64":"AA==","datacontenttype":"application/octet-stream","id":"k","source":"shop.v1.Cart","specversion":"1.0",` +
				`"time":"2026-03-04T05:06:07.000000008Z","type":"shop.v1.Cart"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var topic, got string
			p := Publisher{Now: func() time.Time { return now }, Publish: func(_ context.Context, to string, event []byte) error {
				topic, got = to, string(event)
				return nil
			}}
			_, err := p.Handle(t.Context(), actors.Command{
				Ref: actors.Ref{Service: actors.Topics, ID: "added"}, Method: "shop.v1.Cart.Add", Payload: c.payload, Metadata: c.metadata, Key: c.key,
			})
			if err != nil || topic != "added" {
				t.Fatalf("topic %q, %v", topic, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("malformed", func(t *testing.T) {
		t.Parallel()
		p := actors.Payload{TypeURL: primitiveString, Data: []byte("\x0a\xff")}
		_, err := Publisher{}.Handle(t.Context(), actors.Command{Method: "a.B.C", Payload: p})
		if actors.CodeOf(err) != actors.InvalidArgument || !strings.Contains(err.Error(), "a.B.C") {
			t.Errorf("got %v", err)
		}
	})
}

// commands notes what it is given.
type commands struct {
	got    []actors.Command
	inputs []actors.Input
	answer actors.Outcome
	err    error
	// streams so far.
	streams int
}

func (h *commands) Handle(_ context.Context, c actors.Command) (actors.Outcome, error) {
	h.got = append(h.got, c)
	return h.answer, h.err
}

func (h *commands) Stream(_ context.Context, c actors.Command, in func() (actors.Input, error), out func(actors.Outcome) error) error {
	h.got = append(h.got, c)
	h.streams++
	for in != nil {
		input, err := in()
		if errors.Is(err, io.EOF) {
			break
		}
		h.inputs = append(h.inputs, input)
	}
	if err := out(h.answer); err != nil {
		return err
	}
	return h.err
}

func consumer(t *testing.T, extensions []string, method *cloudstate.Method) catalog.Consumer {
	t.Helper()
	c, err := catalog.New(&cloudstate.EntitySpec{
		ServiceInfo: &cloudstate.ServiceInfo{ProtocolMinorVersion: 2, Extensions: append(extensions, "json")},
		Entities: []*cloudstate.Entity{{
			EntityType: catalog.EntityType(actors.Action), ServiceName: "shop.v1.View", Methods: []*cloudstate.Method{method},
		}},
	}, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Consumers()[0]
}

func fromLog() *cloudstate.Eventing {
	return &cloudstate.Eventing{In: &cloudstate.EventSource{Source: &cloudstate.EventSource_EventLog{EventLog: "carts"}}}
}

func TestLog(t *testing.T) {
	t.Parallel()
	stored := journal.Event{
		Ref: actors.Ref{Service: "carts", ID: "c/1"}, Sequence: 7, Name: "added", Time: time.Unix(1, 0),
		Payload: actors.Payload{TypeURL: "json.cloudstate.io/added", ContentType: actors.ContentJSON, Data: []byte(`{}`)},
	}
	tabled := actors.Metadata{
		{Key: "ce-id", Text: "c/1/7"}, {Key: "ce-source", Text: "carts"}, {Key: "ce-specversion", Text: "1.0"},
		{Key: "ce-type", Text: "json.cloudstate.io/added"}, {Key: "Content-Type", Text: "application/vnd.cloudstate.protobuf.any"},
		{Key: "ce-subject", Text: "c/1"},
	}
	more := actors.Metadata{{Key: "ce-time", Text: "1970-01-01T00:00:01Z"}, {Key: "ce-eventname", Text: "added"}, {Key: "ce-sequence", Text: "7"}}
	for name, c := range map[string]struct {
		extensions []string
		streamed   bool
		want       actors.Metadata
	}{
		"as tabled":  {want: tabled},
		"extensions": {extensions: []string{"events"}, want: append(slices.Clip(tabled), more...)},
		"streamed":   {streamed: true, want: tabled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &commands{}
			x := Consumption{Consumer: consumer(t, c.extensions, &cloudstate.Method{
				Name: "Added", Input: "added", Eventing: fromLog(), StreamedIn: c.streamed, StreamedOut: c.streamed,
			}), Commands: h}
			for range 2 {
				if err := x.Log(t.Context(), stored); err != nil {
					t.Fatal(err)
				}
			}
			first, again := h.got[0], h.got[1]
			if first.Key == "" || first.Key != again.Key || first.Service != "shop.v1.View" || first.Method != "Added" || first.ID != "" {
				t.Errorf("got %+v and %+v", first, again)
			}
			metadata, payload := first.Metadata, first.Payload
			if c.streamed {
				metadata, payload = h.inputs[0].Metadata, h.inputs[0].Payload
			}
			if diff := cmp.Diff(c.want, metadata); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(stored.Payload, payload); diff != "" {
				t.Error(diff)
			}
			next := stored
			next.Sequence++
			if err := x.Log(t.Context(), next); err != nil || h.got[2].Key == first.Key {
				t.Errorf("another event has the key of the first, or %v", err)
			}
			h.answer.Failure = actors.Errorf(actors.FailedPrecondition, "no")
			if err := x.Log(t.Context(), stored); actors.CodeOf(err) != actors.FailedPrecondition {
				t.Errorf("a failure counts as delivered: %v", err)
			}
		})
	}
	t.Run("skipped", func(t *testing.T) {
		t.Parallel()
		var skipped string
		x := Consumption{Consumer: consumer(t, nil, &cloudstate.Method{Name: "M", Input: "other", Eventing: fromLog()}),
			Skipped: func(url string) { skipped = url }}
		if err := x.Log(t.Context(), stored); err != nil || skipped != "json.cloudstate.io/added" {
			t.Errorf("skipped %q, %v", skipped, err)
		}
	})
}

func TestTopic(t *testing.T) {
	t.Parallel()
	eventing := &cloudstate.Eventing{In: &cloudstate.EventSource{Source: &cloudstate.EventSource_Topic{Topic: "added"}}}
	h := &commands{}
	x := Consumption{Consumer: consumer(t, nil, &cloudstate.Method{Name: "Added", Input: "added", Eventing: eventing}), Commands: h}
	e := CloudEvent{ID: "1", Source: "app", SpecVersion: "1.0", Type: "com.dapr.event.sent", ContentType: "application/json",
		Data: []byte(`{"a":1}`), Attributes: map[string]string{"subject": "s", "time": "2026-01-01T00:00:00Z", "traceid": "x"}}
	if err := x.Topic(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	want := actors.Payload{TypeURL: "json.cloudstate.io/added", ContentType: actors.ContentJSON, Data: []byte(`{"a":1}`)}
	if diff := cmp.Diff(want, h.got[0].Payload); diff != "" {
		t.Error(diff)
	}
	if got := h.got[0].Metadata; got.Get("ce-subject") != "s" || got.Get("ce-time") != "2026-01-01T00:00:00Z" || got.Get("ce-source") != "app" {
		t.Errorf("got %v", got)
	}
	e.Data = []byte(`{`)
	if err := x.Topic(t.Context(), e); !actors.CodeOf(err).Lasting() {
		t.Errorf("malformed JSON: %v", err)
	}
	e.ContentType = "text/plain"
	if err := x.Topic(t.Context(), e); err != nil || len(h.got) != 1 {
		t.Errorf("text that nobody takes: %v", err)
	}
}

// Whatever a reply holds, what is published is a CloudEvent in JSON.
func FuzzPublish(f *testing.F) {
	f.Add("json.cloudstate.io/a", []byte(`{"a":1}`), "ce-type", "x")
	f.Add("p.cloudstate.io/string", []byte("\x0a\x02\xff\xfe"), "content-type", "text/plain")
	f.Add("type.googleapis.com/a.B", []byte{1}, "ce-data", "\xff")
	f.Add("", []byte(nil), "ce-time", "")
	f.Fuzz(func(t *testing.T, typeURL string, data []byte, key, text string) {
		p := Publisher{Publish: func(_ context.Context, _ string, event []byte) error {
			var fields map[string]any
			if err := json.Unmarshal(event, &fields); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"id", "source", "specversion", "type"} {
				if _, ok := fields[name].(string); !ok {
					t.Errorf("%s is %v", name, fields[name])
				}
			}
			return nil
		}}
		contentType := actors.ContentProtobuf
		if strings.HasPrefix(typeURL, catalog.JSONPrefix) {
			contentType = actors.ContentJSON
		}
		_, err := p.Handle(t.Context(), actors.Command{
			Ref: actors.Ref{Service: actors.Topics, ID: "t"}, Method: "a.B.C",
			Payload: actors.Payload{TypeURL: typeURL, ContentType: contentType, Data: data}, Metadata: actors.Metadata{{Key: key, Text: text}},
		})
		if err != nil && actors.CodeOf(err) != actors.InvalidArgument {
			t.Error(err)
		}
	})
}

// What is parked comes back as what it was.
func TestJSON(t *testing.T) {
	t.Parallel()
	for _, e := range []CloudEvent{
		{ID: "1", Source: "s", Type: "t", SpecVersion: "1.0", ContentType: "application/json", Data: []byte(`{"a":1}`), Attributes: map[string]string{"subject": "x"}},
		{ID: "1", Source: "s", Type: "t", SpecVersion: "1.0", ContentType: "text/plain; charset=utf-8", Data: []byte("hällo"), Attributes: map[string]string{}},
		{ID: "1", Source: "s", Type: "t", SpecVersion: "1.0", ContentType: "application/protobuf", Data: []byte{0, 255}, Attributes: map[string]string{}},
		{ID: "1", Source: "s", Type: "t", SpecVersion: "1.0", ContentType: "application/json", Data: []byte(`{`), Attributes: map[string]string{}},
		{ID: "1", Source: "s", Type: "t", SpecVersion: "1.0", ContentType: "image/png", Attributes: map[string]string{}},
	} {
		text, err := e.JSON()
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseCloudEvent(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}
