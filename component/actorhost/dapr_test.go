package actorhost

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
)

func simpleName(service string) string { return service[strings.LastIndexByte(service, '.')+1:] }

func command(id, body string) actors.Command {
	return actors.Command{
		Ref: actors.Ref{Service: "shop.v1.Cart", ID: id}, Method: "Echo",
		Payload: actors.Payload{ContentType: actors.ContentJSON, Data: []byte(body)},
	}
}

func TestDaprInvoke(t *testing.T) {
	t.Parallel()
	s := daprd(t, placement(t))
	h := host(t, s, Config{MaxReply: 64 << 10}, "Cart")
	invoker := s.client().Invoker(simpleName)
	h.entities.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		switch string(c.Payload.Data) {
		case `"no"`:
			return actors.Outcome{Failure: actors.Errorf(actors.NotFound, "there is no tea"), Sequence: 3}, nil
		case `"moved"`:
			return actors.Outcome{}, actors.Errorf(actors.Aborted, "the entity has moved")
		case `"secret"`:
			return actors.Outcome{}, errors.New("dial postgres://me:hunter2@db")
		case `"forward"`:
			return actors.Outcome{Forward: &actors.Forward{Ref: actors.Ref{Service: "a.B", ID: "1"}, Method: "M"}}, nil
		case `"large"`:
			p := actors.Payload{ContentType: actors.ContentJSON, Data: []byte(`"` + strings.Repeat("x", 64<<10) + `"`)}
			return actors.Outcome{Reply: &p}, nil
		case `"nothing"`:
			return actors.Outcome{Sequence: 1}, nil
		case `"long"`:
			return actors.Outcome{Failure: actors.Errorf(actors.Internal, "%s", strings.Repeat("ä", 10_000))}, nil
		}
		o, err := echo(ctx, c)
		o.Metadata = actors.Metadata{{Key: "X-Mood", Text: "good\r\nEvil: 1"}, {Key: "x-mood", Text: "better"},
			{Key: "Content-Length", Text: "1"}, {Key: "bad key", Text: "1"}, {Key: "raw-bin", Bytes: []byte{1}},
			{Key: "umlaut", Text: "\xff"}}
		o.Repeated = c.Key == "k1"
		return o, err
	}
	h.awaitReady(10 * time.Second)

	t.Run("reply over HTTP", func(t *testing.T) {
		r := s.invoke("Cart", "c1", "Echo", `{"a":1}`, "Idempotency-Key", "k1", "Content-Type", "application/json",
			"Traceparent", "00-1-2-01", "X-User", "u", "Dapr-Api-Token", "t0ken", "Entities-Timeout", "5000")
		if r.status != 200 || r.body != `{"a":1}` {
			t.Fatalf("got %d %s", r.status, r.body)
		}
		for key, want := range map[string]string{
			"Content-Type": "application/json", "Entities-Sequence": "7", "Entities-Repeated": "true",
			"X-Mood": "good  Evil: 1, better", "Content-Length": "7", "Raw-Bin": "",
		} {
			if got := r.header.Get(key); got != want {
				t.Errorf("header %s is %q, want %q", key, got, want)
			}
		}
		c := h.entities.last()
		if c.Key != "k1" || c.Metadata.Get("x-user") != "u" || c.Metadata.Get("traceparent") != "00-1-2-01" ||
			c.Metadata.Get("dapr-caller-app-id") != "entities-test" || time.Until(c.Deadline) > 5*time.Second ||
			c.Deadline.IsZero() {
			t.Errorf("got %+v", c)
		}
		for _, e := range c.Metadata {
			if dropped(e.Key) || e.Key != strings.ToLower(e.Key) || strings.HasPrefix(e.Key, "entities-") {
				t.Errorf("the entity gets %s: %s", e.Key, e.Text)
			}
		}
	})

	t.Run("failures reach HTTP and gRPC", func(t *testing.T) {
		for _, c := range []struct {
			method, body, text string
			code               actors.Code
		}{
			{"Echo", `"no"`, "there is no tea", actors.NotFound},
			{"Echo", `"moved"`, "the entity has moved", actors.Aborted},
			{"Echo", `"secret"`, "failed inside the component", actors.Internal},
			{"Echo", `"long"`, strings.Repeat("ä", 1000), actors.Internal},
			{"Echo", `"large"`, "maxReply", actors.ResourceExhausted},
			{"Echo", `{`, "JSON", actors.InvalidArgument},
			{"Nope", `{}`, `no method "Nope"; it has Echo, Fail`, actors.Unimplemented},
		} {
			r := s.invoke("Cart", "c2", c.method, c.body)
			r.body = strings.ReplaceAll(r.body, `\"`, `"`)
			if r.status != 500 || !strings.Contains(r.body, c.text) || strings.Contains(r.body, "hunter2") ||
				!strings.Contains(r.body, "[entities code="+c.code.String()+" entity=shop.v1.Cart/c2 sequence=") {
				t.Errorf("HTTP %s %s: got %d %s", c.method, c.body, r.status, r.body)
			}
			cmd := command("c2", c.body)
			cmd.Method = c.method
			o, err := invoker.Handle(t.Context(), cmd)
			if err == nil && o.Failure != nil {
				err = o.Failure
			}
			if actors.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) ||
				strings.Contains(err.Error(), "[entities") {
				t.Errorf("invoker %s %s: got %v %+v", c.method, c.body, err, o)
			}
		}
		if r := s.invoke("Cart", "c2", "Echo", `"forward"`); r.status != 500 || !strings.Contains(r.body, "forwards to a.B/1") {
			t.Errorf("forward: got %d %s", r.status, r.body)
		}
		if r := s.invoke("Cart", "c2", "Echo", `"nothing"`); r.status != 200 || r.body != "" {
			t.Errorf("nothing: got %d %q", r.status, r.body)
		}
	})

	t.Run("outcome round trip", func(t *testing.T) {
		cmd := command("c3", `{"a":2}`)
		cmd.Key = "k2"
		cmd.Deadline = time.Now().Add(7 * time.Second)
		cmd.Metadata = actors.Metadata{{Key: "X-A", Text: "1"}, {Key: "x-a", Text: "2"}, {Key: "raw", Bytes: []byte{0, 255}},
			{Key: "entities-outcome", Text: "0"}}
		o, err := invoker.Handle(t.Context(), cmd)
		if err != nil {
			t.Fatal(err)
		}
		if o.Reply == nil || string(o.Reply.Data) != `{"a":2}` || o.Sequence != 7 || o.Metadata.Get("x-mood") == "" {
			t.Errorf("got %+v", o)
		}
		got := h.entities.last()
		want := actors.Metadata{{Key: "dapr-caller-app-id", Text: "entities-test"}, {Key: "dapr-caller-namespace"},
			{Key: "raw-bin", Bytes: []byte{0, 255}}, {Key: "x-a", Text: "1,2"}}
		want[1].Text = got.Metadata.Get("dapr-caller-namespace")
		if diff := cmp.Diff(want, got.Metadata); diff != "" {
			t.Error(diff)
		}
		if got.Key != "k2" || got.Deadline.Sub(cmd.Deadline).Abs() > time.Second {
			t.Errorf("got key %q, deadline %v, want %v", got.Key, got.Deadline, cmd.Deadline)
		}
		o, err = invoker.Handle(t.Context(), command("c3", `"forward"`))
		if err != nil || o.Forward == nil || o.Forward.Service != "a.B" {
			t.Errorf("got %+v, %v", o, err)
		}
	})

	t.Run("ids", func(t *testing.T) {
		for _, id := range []string{"a/b", `a\b`, "a||b", "100%", "two words", "tea 🍵", "..", ".", "#?", "%2F", "a&b=c;d", "ü+x",
			strings.Repeat("%", 256)} {
			o, err := invoker.Handle(t.Context(), command(id, `{}`))
			if err != nil || o.Reply == nil {
				t.Errorf("%q: got %+v, %v", id, o, err)
				continue
			}
			if got := h.entities.last().ID; got != id {
				t.Errorf("the entity is %q, want %q", got, id)
			}
			// daprd reads a plus sign in the path as a space.
			path := strings.ReplaceAll(url.PathEscape(actors.EscapeID(id)), "+", "%2B")
			if r := s.invoke("Cart", path, "Echo", `{}`); r.status != 200 || h.entities.last().ID != id {
				t.Errorf("HTTP: %q arrives as %q: %d %s", id, h.entities.last().ID, r.status, r.body)
			}
		}
		for path, text := range map[string]string{
			"a%252fb": "write the actor id as", "100%25": "write a percent sign as %25", "a%2520b": "second spelling",
		} {
			if r := s.invoke("Cart", path, "Echo", `{}`); r.status != 500 || !strings.Contains(r.body, text) {
				t.Errorf("%s: got %d %s, want %s", path, r.status, r.body, text)
			}
		}
		for _, id := range []string{"", strings.Repeat("x", 257), "a\nb", "a\x00b", "\xff"} {
			if _, err := invoker.Handle(t.Context(), command(id, `{}`)); actors.CodeOf(err) != actors.InvalidArgument {
				t.Errorf("%q: got %v", id, err)
			}
		}
	})

	t.Run("metadata of the sidecar", func(t *testing.T) {
		m, err := s.client().Metadata(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, has := m.Actors.Active["Cart"]; m.AppID != "entities-test" || !m.Actors.Enabled || !m.Actors.Registered ||
			!m.Actors.Ready || !has {
			t.Errorf("got %+v", m)
		}
	})

	t.Run("200 at once", func(t *testing.T) {
		var group sync.WaitGroup
		for i := range 200 {
			group.Go(func() {
				body := fmt.Sprintf(`{"n":%d}`, i)
				o, err := invoker.Handle(t.Context(), command(fmt.Sprintf("many-%d", i%50), body))
				if err != nil || o.Reply == nil || string(o.Reply.Data) != body {
					t.Errorf("%d: got %+v, %v", i, o, err)
				}
			})
		}
		group.Wait()
	})
	if all, _ := h.entities.losses(); all != 0 {
		t.Errorf("everything was disowned %d times", all)
	}
	if took := s.exits(syscall.SIGTERM); took > time.Second {
		t.Errorf("daprd took %v to exit with active actors", took)
	} else {
		t.Logf("daprd exited within %v", took)
	}
}

// Commands of a caller with a sidecar of its own: replies, failures and limits survive the hop between sidecars.
func TestDaprRemote(t *testing.T) {
	t.Parallel()
	p := placement(t)
	s := daprd(t, p)
	caller := daprd(t, p, "--app-id", "caller")
	h := host(t, s, Config{}, "Cart")
	largest := h.config.MaxReply - 1000
	h.entities.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		var size int
		switch string(c.Payload.Data) {
		case `"no"`:
			return actors.Outcome{Failure: actors.Errorf(actors.NotFound, "there is no tea")}, nil
		case `"large"`:
			size = largest
		case `"larger"`:
			size = largest + 1000
		default:
			return echo(ctx, c)
		}
		data := []byte(`"` + strings.Repeat("x", size-2) + `"`)
		return actors.Outcome{Reply: &actors.Payload{ContentType: actors.ContentJSON, Data: data}}, nil
	}
	h.awaitReady(10 * time.Second)
	await(t, 10*time.Second, "served", func() bool { return caller.invoke("Cart", "c1", "Echo", `{}`).status == 200 })
	// Without mTLS the sidecar does not know who the caller of another sidecar is, and names itself.
	if got := h.entities.last().Metadata.Get("dapr-caller-app-id"); got == "" {
		t.Errorf("the caller is %q", got)
	}
	invoker := caller.client().Invoker(simpleName)
	for body, want := range map[string]struct {
		status int
		code   actors.Code
		text   string
	}{
		`"no"`:     {500, actors.NotFound, "there is no tea"},
		`"large"`:  {200, actors.OK, "xxx"},
		`"larger"`: {500, actors.ResourceExhausted, "raise maxReply"},
	} {
		if r := caller.invoke("Cart", "c1", "Echo", body); r.status != want.status || !strings.Contains(r.body, want.text) {
			t.Errorf("%s: got %d %.300s", body, r.status, r.body)
		}
		o, err := invoker.Handle(t.Context(), command("c1", body))
		if err == nil && o.Failure != nil {
			err = o.Failure
		}
		if actors.CodeOf(err) != want.code || err != nil && !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: got %v", body, err)
		}
	}
	// The largest command that our own client sends gets through, on every hop.
	cmd := command("c1", `"`+strings.Repeat("x", 4<<20-65<<10)+`"`)
	if _, err := invoker.Handle(t.Context(), cmd); err != nil {
		t.Errorf("the largest command: %v", err)
	}
	if all, _ := h.entities.losses(); all != 0 {
		t.Errorf("everything was disowned %d times", all)
	}
}
