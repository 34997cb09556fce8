package building

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
)

// todo is the catalog of a user function with two services of plain JSON.
func todo(t testing.TB) *catalog.Catalog {
	t.Helper()
	entity := func(name, persistence string, methods ...string) *cloudstate.Entity {
		e := &cloudstate.Entity{EntityType: "cloudstate.eventsourced.EventSourced", ServiceName: name, PersistenceId: persistence}
		for _, m := range methods {
			e.Methods = append(e.Methods, &cloudstate.Method{Name: m, Input: m, Output: "Done"})
		}
		return e
	}
	c, err := catalog.New(&cloudstate.EntitySpec{
		Entities: []*cloudstate.Entity{entity("todo.List", "lists", "Add", "Get"), entity("todo.Board", "boards", "Pin")},
		ServiceInfo: &cloudstate.ServiceInfo{
			ProtocolMajorVersion: 0, ProtocolMinorVersion: 2, Extensions: []string{"json", "targets"},
		},
	}, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bound is a rig whose binding hands commands to handle.
func bound(t testing.TB, j Journal, c *catalog.Catalog, handle actors.HandlerFunc) *rig {
	t.Helper()
	r := start(t, nil)
	r.Attach(Runtime{Entities: handle, Journal: j, Catalog: func() *catalog.Catalog { return c }})
	if err := r.initBinding(r.ctx, map[string]string{"commandTimeout": "5s", "maxMessage": "5242879"}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) invoke(operation, data string, metadata map[string]string) (*components.InvokeResponse, error) {
	return r.binding.Invoke(r.ctx, &components.InvokeRequest{Operation: operation, Data: []byte(data), Metadata: metadata})
}

func none(context.Context, actors.Command) (actors.Outcome, error) {
	return actors.Outcome{}, actors.Errorf(actors.Internal, "not to be called")
}

func TestInvoke(t *testing.T) {
	t.Parallel()
	var got actors.Command
	r := bound(t, nil, todo(t), func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		got = c
		if d, ok := ctx.Deadline(); !ok || !d.Equal(c.Deadline) {
			t.Errorf("deadlines: %v, %v", d, c.Deadline)
		}
		return actors.Outcome{
			Reply:    &actors.Payload{TypeURL: "json.cloudstate.io/Done", ContentType: actors.ContentJSON, Data: []byte(`{"n":1}`)},
			Metadata: actors.Metadata{{Key: "x-handler", Text: "yes"}, {Key: "sequence", Text: "forged"}},
			Sequence: 7, Repeated: true,
		}, nil
	})
	began := time.Now()
	resp, err := r.invoke("invoke", `{"text":"tea"}`, map[string]string{
		"service": "List", "ID": "a/b 🫖", "command": "Add", "idempotencykey": "k1", "traceparent": "00-1-2-01",
		"x-tenant": "blue", "dapr-api-token": "hunter2", "dapr-app-id": "x", "content-type": "application/grpc", "user-agent": "grpc-go",
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(resp.Data) != `{"n":1}` || resp.ContentType != "application/json" {
		t.Errorf("%s, %s", resp.Data, resp.ContentType)
	}
	// The entity's own metadata come along, and cannot pass for ours.
	metadata := map[string]string{"sequence": "7", "repeated": "true", "content-type": "application/json", "x-handler": "yes"}
	if diff := cmp.Diff(metadata, resp.Metadata); diff != "" {
		t.Error(diff)
	}
	command := actors.Command{
		Ref: actors.Ref{Service: "todo.List", ID: "a/b 🫖"}, Method: "Add", Key: "k1", Deadline: got.Deadline,
		Payload:  actors.Payload{TypeURL: "json.cloudstate.io/Add", ContentType: actors.ContentJSON, Data: []byte(`{"text":"tea"}`)},
		Metadata: actors.Metadata{{Key: "traceparent", Text: "00-1-2-01"}, {Key: "x-tenant", Text: "blue"}},
	}
	if diff := cmp.Diff(command, got); diff != "" {
		t.Error(diff)
	}
	if d := got.Deadline.Sub(began); d < 4*time.Second || d > 7*time.Second {
		t.Errorf("the deadline is %v away", d)
	}
	// No data, in both ways that the sidecar has to say so.
	for _, data := range []string{"", "null", " null\n"} {
		if _, err := r.invoke("create", data, map[string]string{"service": "todo.List", "id": "x", "command": "Get"}); err != nil || string(got.Payload.Data) != "{}" {
			t.Errorf("%q: %s, %v", data, got.Payload.Data, err)
		}
	}
}

func TestInvokeProblems(t *testing.T) {
	t.Parallel()
	r := bound(t, nil, todo(t), none)
	good := func(change ...string) map[string]string {
		m := map[string]string{"service": "todo.List", "id": "x", "command": "Add"}
		for i := 0; i < len(change); i += 2 {
			if m[change[i]] = change[i+1]; change[i+1] == "-" {
				delete(m, change[i])
			}
		}
		return m
	}
	for name, test := range map[string]struct {
		operation, data string
		metadata        map[string]string
		code            codes.Code
		want            string
	}{
		"operation":         {"delete", "", good(), codes.Unimplemented, `no operation "delete" (known: invoke, create, get, history, list, outcome)`},
		"no service":        {"invoke", "", good("service", "-"), codes.InvalidArgument, "invoke needs the metadata service (required: service, id, command; optional: idempotencyKey, contentType)"},
		"unknown service":   {"invoke", "", good("service", "todo.Lists"), codes.Unimplemented, `there is no service "todo.Lists" (known: todo.Board, todo.List)`},
		"unknown command":   {"invoke", "", good("command", "Remove"), codes.Unimplemented, "Add"},
		"no id":             {"invoke", "", good("id", "-"), codes.InvalidArgument, "needs the metadata id"},
		"long id":           {"invoke", "", good("id", strings.Repeat("x", 10<<10)), codes.InvalidArgument, "at most 256 are allowed"},
		"control in id":     {"invoke", "", good("id", "a\nb"), codes.InvalidArgument, "control character"},
		"misspelt":          {"invoke", "", good("command", "-", "comand", "Add"), codes.InvalidArgument, `does not know the metadata "comand"; did you mean command?`},
		"misspelt, option":  {"invoke", "", good("idempotentKey", "x"), codes.InvalidArgument, "did you mean idempotencyKey?"},
		"twice":             {"invoke", "", good("Service", "todo.Board"), codes.InvalidArgument, "has service twice"},
		"malformed":         {"invoke", `{"a":`, good(), codes.InvalidArgument, "Add"},
		"protobuf for JSON": {"invoke", "\x0a\x00", good("contentType", "application/protobuf"), codes.InvalidArgument, "takes JSON"},
		"limit":             {"history", "", map[string]string{"service": "todo.List", "id": "x", "limit": "0"}, codes.FailedPrecondition, "no journal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := r.invoke(test.operation, test.data, test.metadata)
			wantCode(t, err, test.code)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v\ndoes not say: %s", err, test.want)
			}
			if err != nil && len(err.Error()) > 800 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestInvokeFailures(t *testing.T) {
	t.Parallel()
	var outcome actors.Outcome
	var fail error
	r := bound(t, nil, todo(t), func(context.Context, actors.Command) (actors.Outcome, error) { return outcome, fail })
	call := func() error {
		_, err := r.invoke("invoke", "", map[string]string{"service": "List", "id": "x", "command": "Add"})
		return err
	}
	outcome = actors.Outcome{Failure: &actors.Error{Code: actors.NotFound, Message: "no tea"}, Sequence: 3}
	if err := call(); status.Convert(err).Message() != "no tea [entities code=NOT_FOUND entity=todo.List/x sequence=3]" {
		t.Error(err)
	}
	outcome, fail = actors.Outcome{}, actors.Errorf(actors.Aborted, "the entity moved")
	err := call()
	wantCode(t, err, codes.Aborted)
	if status.Convert(err).Message() != "the entity moved [entities code=ABORTED entity=todo.List/x sequence=0]" {
		t.Error(err)
	}
	fail = errors.New("plain")
	wantCode(t, call(), codes.Internal)
	outcome, fail = actors.Outcome{Forward: &actors.Forward{}}, nil
	wantCode(t, call(), codes.Internal)
	outcome = actors.Outcome{Reply: &actors.Payload{ContentType: actors.ContentJSON, Data: []byte(`"` + strings.Repeat("x", maxResponse) + `"`)}}
	err = call()
	wantCode(t, err, codes.ResourceExhausted)
	if err == nil || !strings.Contains(err.Error(), "the sidecar takes no more than") {
		t.Error(err)
	}
	_, err = r.invoke("invoke", strings.Repeat("x", 5<<20), map[string]string{"service": "List", "id": "x", "command": "Add"})
	wantCode(t, err, codes.ResourceExhausted)
	outcome = actors.Outcome{Sequence: 2} // no reply at all
	if resp, err := r.invoke("invoke", "", map[string]string{"service": "List", "id": "x", "command": "Add"}); err != nil || len(resp.Data) != 0 || resp.Metadata["sequence"] != "2" {
		t.Errorf("%v, %v", resp, err)
	}
}

// TestPureClient: without a catalog the payload goes on as it is, and there is nothing to read.
func TestPureClient(t *testing.T) {
	t.Parallel()
	var got actors.Command
	r := bound(t, nil, nil, func(_ context.Context, c actors.Command) (actors.Outcome, error) {
		got = c
		return actors.Outcome{Reply: &actors.Payload{ContentType: actors.ContentProtobuf, Data: []byte{1}}}, nil
	})
	resp, err := r.invoke("invoke", "\x0a", map[string]string{"service": "Any", "id": "x", "command": "Do", "contentType": "application/x-protobuf"})
	if err != nil || got.Service != "Any" || got.Payload.ContentType != actors.ContentProtobuf || resp.ContentType != actors.ContentProtobuf {
		t.Errorf("%+v, %v, %v", got, resp, err)
	}
	_, err = r.invoke("get", "", map[string]string{"service": "Any", "id": "x"})
	wantCode(t, err, codes.FailedPrecondition)
}

func TestNotAttached(t *testing.T) {
	t.Parallel()
	r := bound(t, nil, nil, none)
	r.Attach(Runtime{})
	_, err := r.invoke("invoke", "", map[string]string{"service": "Any", "id": "x", "command": "Do"})
	wantCode(t, err, codes.Unavailable)
}

// fill puts events of an entity into a journal.
func fill(t testing.TB, j journal.Journal, id string, events, bytes int, snapshot bool) {
	t.Helper()
	ref := actors.Ref{Service: "lists", ID: id}
	for i := range events {
		a := journal.Append{Ref: ref, Expected: int64(i), Command: fmt.Sprintf("key:%d", i+1), Events: []journal.Event{{
			Name: "added", Context: journal.Context{Traceparent: "00-1", Caller: "shop"},
			Payload: actors.Payload{TypeURL: "json.cloudstate.io/Added", ContentType: actors.ContentJSON, Data: []byte(`"` + strings.Repeat("x", bytes) + `"`)},
		}}, Record: &journal.Record{Outcome: actors.MarshalOutcome(actors.Outcome{
			Reply: &actors.Payload{TypeURL: "json.cloudstate.io/Done", ContentType: actors.ContentJSON, Data: []byte(`{"ok":true}`)}, Sequence: int64(i + 1),
		})}}
		if snapshot && i == 1 {
			a.Snapshot = &actors.Payload{TypeURL: "strange/type", ContentType: actors.ContentProtobuf, Data: []byte{0xff}}
		}
		if r := j.Append(context.Background(), []journal.Append{a})[0]; r.Status != journal.Committed {
			t.Fatal(r)
		}
	}
}

func read[T any](t testing.TB, r *rig, operation string, metadata map[string]string) (T, map[string]string) {
	t.Helper()
	resp, err := r.invoke(operation, "", metadata)
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(resp.Data, &v); err != nil || resp.ContentType != actors.ContentJSON {
		t.Fatalf("%v: %s", err, resp.Data)
	}
	return v, resp.Metadata
}

func TestGetAndHistory(t *testing.T) {
	t.Parallel()
	j := memory.Open()
	fill(t, j, "a", 5, 3, true)
	r := bound(t, j, todo(t), none)

	e, m := read[map[string]any](t, r, "get", map[string]string{"service": "List", "id": "a"})
	events := e["events"].([]any)
	if e["found"] != true || e["service"] != "todo.List" || e["sequence"] != 5.0 || len(events) != 3 || m["sequence"] != "5" || m["next"] != "" {
		t.Errorf("%v, %v", e, m)
	}
	snapshot := e["snapshot"].(map[string]any)
	if snapshot["sequence"] != 2.0 || fmt.Sprint(snapshot["data"]) != "map[@type:strange/type base64:/w==]" {
		t.Errorf("%v", snapshot)
	}
	if e, _ := read[map[string]any](t, r, "get", map[string]string{"service": "List", "id": "b"}); e["found"] != false || len(e["events"].([]any)) != 0 {
		t.Errorf("%v", e)
	}

	type event struct {
		Sequence                                       int64
		Name, Type, Data, Command, Traceparent, Caller string
		Time                                           time.Time
	}
	var all []int64
	metadata := map[string]string{"service": "todo.List", "id": "a", "limit": "2"}
	for {
		h, m := read[[]event](t, r, "history", metadata)
		for _, e := range h {
			all = append(all, e.Sequence)
			if e.Name != "added" || e.Type != "json.cloudstate.io/Added" || e.Data != "xxx" || e.Command != fmt.Sprintf("key:%d", e.Sequence) ||
				e.Traceparent != "00-1" || e.Caller != "shop" || time.Since(e.Time) > time.Minute {
				t.Errorf("%+v", e)
			}
		}
		if m["next"] == "" {
			break
		}
		metadata["after"] = m["next"]
	}
	if diff := cmp.Diff([]int64{1, 2, 3, 4, 5}, all); diff != "" {
		t.Error(diff)
	}
	for _, wrong := range []map[string]string{{"after": "x"}, {"after": "-1"}, {"limit": "1001"}, {"limit": "0"}} {
		wrong["service"], wrong["id"] = "List", "a"
		_, err := r.invoke("history", "", wrong)
		wantCode(t, err, codes.InvalidArgument)
	}
}

// TestHistoryFits: pages end by size as well, and none gets past what the sidecar takes.
func TestHistoryFits(t *testing.T) {
	t.Parallel()
	j := memory.Open()
	fill(t, j, "a", 10, 1<<20, false)
	fill(t, j, "huge", 1, 5<<20, false)
	r := bound(t, j, todo(t), none)
	h, m := read[[]json.RawMessage](t, r, "history", map[string]string{"service": "List", "id": "a"})
	if len(h) != 3 || m["next"] != "3" {
		t.Errorf("%d events, %v", len(h), m)
	}
	e, m := read[map[string]json.RawMessage](t, r, "get", map[string]string{"service": "List", "id": "a"})
	if m["next"] != "3" || string(e["sequence"]) != "10" {
		t.Errorf("%s, %v", e["sequence"], m)
	}
	_, err := r.invoke("history", "", map[string]string{"service": "List", "id": "huge"})
	wantCode(t, err, codes.ResourceExhausted)
}

func TestList(t *testing.T) {
	t.Parallel()
	j := memory.Open()
	for _, id := range []string{"c", "a", "b 🫖"} {
		fill(t, j, id, 2, 1, false)
	}
	r := bound(t, j, todo(t), none)
	type summary struct {
		ID       string
		Sequence int64
		Updated  time.Time
	}
	l, m := read[[]summary](t, r, "list", map[string]string{"service": "todo.List", "limit": "2"})
	if len(l) != 2 || l[0].ID != "a" || l[1].ID != "b 🫖" || l[0].Sequence != 2 || l[0].Updated.IsZero() || m["next"] != "b 🫖" {
		t.Errorf("%v, %v", l, m)
	}
	l, m = read[[]summary](t, r, "list", map[string]string{"service": "todo.List", "after": m["next"]})
	if len(l) != 1 || l[0].ID != "c" || m["next"] != "" {
		t.Errorf("%v, %v", l, m)
	}
	if l, _ := read[[]summary](t, r, "list", map[string]string{"service": "Board"}); l == nil || len(l) != 0 {
		t.Errorf("%v", l)
	}
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	known := map[string]actors.Outcome{
		"1":       {Sequence: 1, Reply: &actors.Payload{TypeURL: "json.cloudstate.io/Done", ContentType: actors.ContentJSON, Data: []byte(`{"ok":true}`)}},
		"failed":  {Sequence: 1, Failure: &actors.Error{Code: actors.InvalidArgument, Message: "no tea"}},
		"forward": {Sequence: 1, Forward: &actors.Forward{Ref: actors.Ref{Service: "todo.Board", ID: "b"}, Method: "Pin"}},
	}
	c := todo(t)
	r := bound(t, nil, c, none)
	r.Attach(Runtime{
		Entities: actors.HandlerFunc(none), Journal: memory.Open(), Catalog: func() *catalog.Catalog { return c },
		Outcomes: func(_ context.Context, ref actors.Ref, key string) (actors.Outcome, bool, error) {
			if ref != (actors.Ref{Service: "todo.List", ID: "a"}) {
				t.Errorf("asked for %s", ref)
			}
			if key == "broken" {
				return actors.Outcome{}, false, actors.Errorf(actors.DataLoss, "it cannot be read")
			}
			o, found := known[key]
			return o, found, nil
		},
	})
	for key, want := range map[string]string{
		"1":       `{"found":true,"sequence":1,"reply":{"ok":true}}`,
		"2":       `{"found":false}`,
		"failed":  `{"found":true,"sequence":1,"failure":{"code":"INVALID_ARGUMENT","message":"no tea"}}`,
		"forward": `{"found":true,"sequence":1,"forward":{"service":"todo.Board","id":"b","command":"Pin"}}`,
	} {
		resp, err := r.invoke("outcome", "", map[string]string{"service": "List", "id": "a", "idempotencyKey": key})
		if err != nil || string(resp.GetData()) != want {
			t.Errorf("%s: %s, %v", key, resp.GetData(), err)
		}
	}
	_, err := r.invoke("outcome", "", map[string]string{"service": "List", "id": "a", "idempotencyKey": "broken"})
	wantCode(t, err, codes.DataLoss)
	_, err = r.invoke("outcome", "", map[string]string{"service": "List", "id": "a"})
	wantCode(t, err, codes.InvalidArgument)
}

func TestListOperations(t *testing.T) {
	t.Parallel()
	r := bound(t, nil, nil, none)
	got, err := r.binding.ListOperations(r.ctx, &components.ListOperationsRequest{})
	if diff := cmp.Diff([]string{"invoke", "create", "get", "history", "list", "outcome"}, got.GetOperations()); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func FuzzBindingMetadata(f *testing.F) {
	f.Add(0, "service", "a.B", "id", "x")
	f.Add(3, "after", "12", "comand", "x")
	f.Add(5, "idempotencyKey", "\x00", "Dapr-Api-Token", "t")
	f.Fuzz(func(t *testing.T, n int, k1, v1, k2, v2 string) {
		o := &operations[max(n, -n, 0)%len(operations)]
		var c call
		err := c.read(o, map[string]string{k1: v1, k2: v2})
		if err != nil {
			if actors.CodeOf(err) != actors.InvalidArgument || len(err.Error()) > 2000 {
				t.Errorf("%v", err)
			}
			return
		}
		for _, k := range o.required {
			if c.values[k] == "" {
				t.Errorf("%s without %s", o.name, k)
			}
		}
		for _, e := range c.others {
			if strings.HasPrefix(strings.ToLower(e.Key), "dapr-") {
				t.Errorf("%s goes on", e.Key)
			}
		}
	})
}
