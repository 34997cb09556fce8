package actorhost

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
)

// channelHost runs a host that the sidecar dials until the test ends.
type channelHost struct {
	*Channel
	port     string
	entities *entities
	services *services
	stop     func()
}

func channel(t testing.TB, config Config, app http.Handler, types ...string) *channelHost {
	t.Helper()
	h := &channelHost{port: ports(t, 1)[0], entities: &entities{}, services: &services{now: cart(t, types...)}}
	at := ChannelConfig{Address: "127.0.0.1:" + h.port, MaxRequest: 1 << 20, Token: "t0ken"}
	if app != nil {
		server := httptest.NewServer(app)
		t.Cleanup(server.Close)
		var err error
		if at.Upstream, err = url.Parse(server.URL); err != nil {
			t.Fatal(err)
		}
	}
	config.Catalog, config.Entities, config.Log = h.services.get, h.entities, testLog(t)
	var err error
	if h.Channel, err = NewChannel(config, at); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	group.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	h.stop = func() { cancel(); group.Wait() }
	t.Cleanup(h.stop)
	return h
}

// ask asks as the sidecar does.
func (h *channelHost) ask(t testing.TB, method, path, body string, headers ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1:"+h.port+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("dapr-api-token", "t0ken")
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		t.Error(err)
	}
	return reply{w.StatusCode, w.Header, string(b)}
}

func (h *channelHost) listening(t testing.TB) {
	t.Helper()
	await(t, 30*time.Second, "the port is open", func() bool { return h.ask(t, http.MethodGet, "/healthz", "").status == http.StatusOK })
}

// robots is an app with routes, and actors of its own.
func robots() *http.ServeMux {
	app := http.NewServeMux()
	app.HandleFunc("GET /dapr/config", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"entities":["Robot","Cart"],"actorIdleTimeout":"10m","entitiesConfig":[{"entities":["Robot"],"drainOngoingCallTimeout":"1s"}]}`)
	})
	app.HandleFunc("PUT /actors/Robot/{id}/method/{method}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "robot %s does %s", r.PathValue("id"), r.PathValue("method"))
	})
	app.HandleFunc("DELETE /actors/Robot/{id}", func(http.ResponseWriter, *http.Request) {})
	app.HandleFunc("POST /hello", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-App", "yes")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "hello %s from %s", b, r.Header.Get("X-Forwarded-For"))
	})
	return app
}

func TestChannelDapr(t *testing.T) {
	t.Parallel()
	h := channel(t, Config{MaxReply: 64 << 10, IdleTimeout: time.Second}, robots(), "Cart")
	h.channel.Token = "" // daprd is given none
	s := daprd(t, placement(t), "--app-port", h.port, "--app-protocol", "http")
	invoker := s.client().Invoker(simpleName)
	h.entities.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		switch string(c.Payload.Data) {
		case `"no"`:
			return actors.Outcome{Failure: actors.Errorf(actors.NotFound, "there is no tea"), Sequence: 3}, nil
		case `"large"`:
			p := actors.Payload{ContentType: actors.ContentJSON, Data: []byte(`"` + strings.Repeat("x", 64<<10) + `"`)}
			return actors.Outcome{Reply: &p}, nil
		}
		o, err := echo(ctx, c)
		o.Metadata = actors.Metadata{{Key: "X-Mood", Text: "good\r\nEvil: 1"}}
		return o, err
	}
	await(t, 30*time.Second, "the host is ready", func() bool { return h.Ready() == nil })
	await(t, 30*time.Second, "served", func() bool { return s.invoke("Cart", "c0", "Echo", `{}`).status == http.StatusOK })

	r := s.invoke("Cart", "c1", "Echo", `{"a":1}`, "Idempotency-Key", "k1", "Content-Type", "application/json", "X-User", "u")
	if r.status != 200 || r.body != `{"a":1}` || r.header.Get("Entities-Sequence") != "7" || r.header.Get("X-Mood") != "good  Evil: 1" ||
		r.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %s %v", r.status, r.body, r.header)
	}
	if c := h.entities.last(); c.Key != "k1" || c.Metadata.Get("x-user") != "u" {
		t.Errorf("the entity gets %+v", c)
	}
	for _, c := range []struct {
		method, body, text string
		code               actors.Code
	}{
		{"Echo", `"no"`, "there is no tea", actors.NotFound},
		{"Echo", `"large"`, "maxReply", actors.ResourceExhausted},
		{"Echo", `{`, "JSON", actors.InvalidArgument},
		{"Nope", `{}`, `no method "Nope"; it has Echo, Fail`, actors.Unimplemented},
	} {
		r := s.invoke("Cart", "c2", c.method, c.body)
		r.body = strings.ReplaceAll(r.body, `\"`, `"`)
		if r.status != 500 || !strings.Contains(r.body, c.text) ||
			!strings.Contains(r.body, "[entities code="+c.code.String()+" entity=shop.v1.Cart/c2 sequence=") {
			t.Errorf("HTTP %s %s: got %d %s", c.method, c.body, r.status, r.body)
		}
		cmd := command("c2", c.body)
		cmd.Method = c.method
		o, err := invoker.Handle(t.Context(), cmd)
		if err == nil && o.Failure != nil {
			err = o.Failure
		}
		if actors.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "[entities") ||
			strings.Contains(err.Error(), "(500)") {
			t.Errorf("invoker %s %s: got %v %+v", c.method, c.body, err, o)
		}
	}
	for _, id := range []string{"a/b", `a\b`, "a||b", "100%", "two words", "tea 🍵", "..", "#?", "%2F", "a&b=c;d", "ü+x", "two words/b", "ü/method/x"} {
		o, err := invoker.Handle(t.Context(), command(id, `{}`))
		if err != nil || o.Reply == nil || o.Sequence != 7 {
			t.Errorf("%q: got %+v, %v", id, o, err)
		} else if got := h.entities.last().ID; got != id {
			t.Errorf("the entity is %q, want %q", got, id)
		}
	}
	await(t, 30*time.Second, "deactivated", func() bool { _, alone := h.entities.losses(); return len(alone) > 0 })

	// The app goes on as before, with its own actors.
	if r := s.invoke("Robot", "r1", "dance", ""); r.status != 200 || r.body != "robot r1 does dance" {
		t.Errorf("the app's actor: got %d %s", r.status, r.body)
	}
	w, err := http.Post(s.http+"/v1.0/invoke/entities-test/method/hello", "text/plain", strings.NewReader("you"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	if b, _ := io.ReadAll(w.Body); w.StatusCode != http.StatusTeapot || !strings.HasPrefix(string(b), "hello you") || w.Header.Get("X-App") != "yes" {
		t.Errorf("the app's route: got %d %s %v", w.StatusCode, b, w.Header)
	}

	// New types are not hosted before the sidecar asks again.
	h.services.set(cart(t, "Cart", "Order"))
	h.Update()
	await(t, 30*time.Second, "out of date", func() bool { return errors.Is(h.Ready(), errOutdated) })
	h.services.set(cart(t, "Cart"))
	h.Update()
	await(t, 30*time.Second, "as it was", func() bool { return h.Ready() == nil })

	begun, finish := make(chan struct{}), make(chan struct{})
	h.entities.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		if string(c.Payload.Data) == `"slow"` {
			close(begun)
			<-finish
		}
		return echo(ctx, c)
	}
	var group sync.WaitGroup
	defer group.Wait()
	group.Go(func() {
		if r := s.invoke("Cart", "c1", "Echo", `"slow"`); r.status != 200 {
			t.Errorf("the command in flight: got %d %s", r.status, r.body)
		}
	})
	<-begun
	group.Go(h.stop)
	await(t, 30*time.Second, "it takes no more", func() bool { return s.invoke("Cart", "c2", "Echo", `{}`).status != 200 })
	close(finish)
	await(t, 30*time.Second, "not running", func() bool { return errors.Is(h.Ready(), errNotRunning) })
}

func TestChannelConfiguration(t *testing.T) {
	t.Parallel()
	own := map[string]any{"entities": []any{"Cart"}, "actorIdleTimeout": "1h0m0s", "drainOngoingCallTimeout": "2s", "drainRebalancedActors": true}
	alone := map[string]any{"entities": []any{"Cart"}, "entitiesConfig": []any{own}}
	for name, c := range map[string]struct {
		app  http.Handler
		want map[string]any
	}{
		"no app":         {nil, alone},
		"without actors": {http.NotFoundHandler(), alone},
		"damaged":        {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"entities": 7`) }), alone},
		"null":           {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `null`) }), alone},
		"with actors": {robots(), map[string]any{
			"entities": []any{"Robot", "Cart"}, "actorIdleTimeout": "10m",
			"entitiesConfig": []any{map[string]any{"entities": []any{"Robot"}, "drainOngoingCallTimeout": "1s"}, own},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := channel(t, Config{}, c.app, "Cart")
			h.listening(t)
			if !errors.Is(h.Ready(), errUnasked) {
				t.Errorf("nobody has asked, and Ready says %v", h.Ready())
			}
			r := h.ask(t, http.MethodGet, "/dapr/config", "")
			var got map[string]any
			if err := json.Unmarshal([]byte(r.body), &got); err != nil || r.status != http.StatusOK {
				t.Fatalf("got %d %s, %v", r.status, r.body, err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if h.Ready() != nil {
				t.Errorf("Ready says %v", h.Ready())
			}
			if all, _ := h.entities.losses(); all != 0 {
				t.Error("a sidecar that asks for the first time has let go of nothing")
			}
			h.ask(t, http.MethodGet, "/dapr/config", "")
			if all, _ := h.entities.losses(); all != 1 {
				t.Errorf("a sidecar that asks again has let go of everything, once, not %d times", all)
			}
		})
	}
}

func TestChannelRefuses(t *testing.T) {
	t.Parallel()
	h := channel(t, Config{MaxInFlight: 1}, nil, "Cart")
	h.listening(t)
	const at = "/actors/Cart/c1/method/"
	for _, c := range []struct {
		method, path, body, text string
		status                   int
	}{
		{"PUT", at + "remind/daily", `{}`, "entities have no reminds; unregister it", 500},
		{"PUT", at + "timer/daily", `{}`, "code=UNIMPLEMENTED", 500},
		{"PUT", "/actors/Cart/" + strings.Repeat("x", 257) + "/method/Echo", `{}`, "code=INVALID_ARGUMENT", 500},
		{"PUT", "/actors/Cart/a%0Ab/method/Echo", `{}`, "code=INVALID_ARGUMENT", 500},
		{"PUT", at + "Echo", strings.Repeat(" ", 1<<20+1), "maxMessage", 500},
		{"PATCH", at + "Echo", `{}`, "nothing that a sidecar asks", 500},
		{"POST", at + "Echo", `{}`, "nothing that a sidecar asks", 500},
		{"PUT", "/actors/Cart/c1", `{}`, "nothing that a sidecar asks", 500},
		{"PUT", at, `{}`, "nothing that a sidecar asks", 500},
		{"PUT", "/actors/Robot/c1/method/Echo", `{}`, "--upstream", 404},
		{"GET", "/anything", "", "--upstream", 404},
		{"GET", "/dapr/subscribe", "", "[]", 200},
		{"DELETE", "/actors/Cart/c1", "", "", 200},
	} {
		if r := h.ask(t, c.method, c.path, c.body); r.status != c.status || !strings.Contains(r.body, c.text) {
			t.Errorf("%s %s: got %d %s, want %d %s", c.method, c.path, r.status, r.body, c.status, c.text)
		}
	}
	for _, path := range []string{"/dapr/config", at + "Echo"} {
		method := http.MethodGet
		if path != "/dapr/config" {
			method = http.MethodPut
		}
		if r := h.ask(t, method, path, `{}`, "dapr-api-token", "wrong"); r.status != http.StatusUnauthorized {
			t.Errorf("%s with a wrong token: got %d %s", path, r.status, r.body)
		}
	}
	begun, finish := make(chan struct{}), make(chan struct{})
	h.entities.handle = func(ctx context.Context, c actors.Command) (actors.Outcome, error) {
		close(begun)
		<-finish
		return echo(ctx, c)
	}
	var group sync.WaitGroup
	group.Go(func() {
		if r := h.ask(t, http.MethodPut, at+"Echo", `{}`); r.status != 200 {
			t.Errorf("the first one: got %d %s", r.status, r.body)
		}
	})
	<-begun
	if r := h.ask(t, http.MethodPut, at+"Echo", `{}`); r.status != 500 || !strings.Contains(r.body, "maxInFlight") {
		t.Errorf("one too many: got %d %s", r.status, r.body)
	}
	close(finish)
	group.Wait()
	_, err := NewChannel(Config{}, ChannelConfig{Address: "here", MaxRequest: -1, Upstream: &url.URL{Scheme: "ftp"}})
	for _, word := range []string{"Catalog", "Entities", "host:port", "largest request", "http://"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %q", err, word)
		}
	}
}

// What is not for entities reaches the app as it was, and what it answers comes back as it is.
func TestChannelPassesThrough(t *testing.T) {
	t.Parallel()
	app := http.NewServeMux()
	more := make(chan struct{})
	app.HandleFunc("/stream", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "one")
		_ = http.NewResponseController(w).Flush()
		<-more
		fmt.Fprintln(w, "two")
	})
	app.HandleFunc("/headers/", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Odd"] = []string{"a", "b"}
		fmt.Fprint(w, r.Host, " ", r.URL.RequestURI(), " ", r.Header["X-Forwarded-For"], r.Header["Accept-Encoding"], r.Header["X-Many"], r.Header["Dapr-Api-Token"])
	})
	app.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
		conn, buffer, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		line, _ := buffer.ReadString('\n')
		fmt.Fprint(conn, "echo ", line)
	})
	h := channel(t, Config{}, app, "Cart")
	h.listening(t)

	w, err := http.Get("http://127.0.0.1:" + h.port + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	lines := bufio.NewReader(w.Body)
	if line, err := lines.ReadString('\n'); line != "one\n" || err != nil {
		t.Errorf("got %q, %v", line, err)
	}
	close(more)
	if line, err := lines.ReadString('\n'); line != "two\n" || err != nil {
		t.Errorf("got %q, %v", line, err)
	}

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+h.port+"/headers/x%2Fy?q=a%2Fb;c", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "shop.example.com"
	r.Header = http.Header{"X-Forwarded-For": {"10.0.0.1"}, "Accept-Encoding": {"br"}, "X-Many": {"1", "2"}, "Dapr-Api-Token": {"other"}}
	w, err = http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	b, _ := io.ReadAll(w.Body)
	if want := "shop.example.com /headers/x%2Fy?q=a%2Fb;c [10.0.0.1] [br] [1 2] [other]"; string(b) != want {
		t.Errorf("the app got %q, want %q", b, want)
	}
	if diff := cmp.Diff([]string{"a", "b"}, w.Header["X-Odd"]); diff != "" {
		t.Error(diff)
	}

	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+h.port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols || answer.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("got %+v, %v", answer, err)
	}
	fmt.Fprint(conn, "hello\n")
	if line, err := in.ReadString('\n'); line != "echo hello\n" || err != nil {
		t.Errorf("got %q, %v", line, err)
	}
}

// The port stays shut until the types are known and the app listens, and an app that goes away is missed.
func TestChannelWaits(t *testing.T) {
	t.Parallel()
	app := httptest.NewUnstartedServer(http.NotFoundHandler())
	defer app.Close()
	at := ChannelConfig{Address: "127.0.0.1:" + ports(t, 1)[0], Upstream: &url.URL{Scheme: "http", Host: app.Listener.Addr().String()}}
	_ = app.Listener.Close()
	none := &services{}
	c, err := NewChannel(Config{Catalog: none.get, Entities: &entities{}, Log: testLog(t)}, at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		if err := c.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	h := &channelHost{Channel: c, port: at.Address[strings.LastIndexByte(at.Address, ':')+1:]}
	await(t, 30*time.Second, "it waits for the user function", func() bool { return errors.Is(c.Ready(), errUndiscovered) })
	none.set(cart(t, "Cart"))
	c.Update()
	await(t, 30*time.Second, "it waits for the app", func() bool { return errors.Is(c.Ready(), errNoApp) })
	if app.Listener, err = net.Listen("tcp", at.Upstream.Host); err != nil {
		t.Fatal(err)
	}
	app.Start()
	h.listening(t)
	app.Close()
	if r := h.ask(t, http.MethodGet, "/healthz", ""); r.status != http.StatusServiceUnavailable {
		t.Errorf("got %d %s", r.status, r.body)
	}
	if r := h.ask(t, http.MethodGet, "/x", ""); r.status != http.StatusBadGateway {
		t.Errorf("got %d %s", r.status, r.body)
	}
	cancel()
	group.Wait()
}
