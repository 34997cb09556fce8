package component

import (
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/component/config"
	"github.com/dapr-entities/entities/component/daprapi"
)

// folder is a short one: the path of a socket has little room.
func folder(t *testing.T) string {
	t.Helper()
	f, err := os.MkdirTemp("", "e") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(f) })
	return f
}

const shop = "shop.v1.Cart"

// An Init with the same settings changes nothing, and one with others replaces the host. The journal goes along if it is
// the same one, else the new one is open before the old one is closed.
func TestInitReplaces(t *testing.T) {
	t.Parallel()
	p := begin(t, folder(t), nil)
	first := filepath.Join(p.folder, "first.db")
	settings := map[string]string{"journal": "sqlite:" + first, "host": "false"}
	p.mustInit(settings)
	if err := p.set("k", "1"); err != nil {
		t.Fatal(err)
	}
	before := p.host.Load()
	p.mustInit(settings)
	if p.host.Load() != before {
		t.Error("an Init with the same settings started a new host")
	}

	p.mustInit(map[string]string{"journal": "sqlite:" + first, "host": "false", "idleTimeout": "1m"})
	if now := p.host.Load(); now == before || now.journal != before.journal {
		t.Error("an Init with another idleTimeout: the host is the same, or the journal is not")
	}
	if got, err := p.get("k"); got != "1" || err != nil {
		t.Errorf("after that: %q, %v", got, err)
	}

	p.mustInit(map[string]string{"journal": "sqlite:" + p.folder + "/./second.db", "host": "false"})
	if got, err := p.get("k"); got != "" || err != nil {
		t.Errorf("in another journal: %q, %v", got, err)
	}
	if err := before.journal.Ping(t.Context()); err == nil {
		t.Error("the journal of the host before is still open")
	}
	second := p.host.Load()
	p.mustInit(map[string]string{"journal": "sqlite:" + p.folder + "/second.db", "host": "false"})
	if p.host.Load().journal != second.journal {
		t.Error("another spelling of the same file is another journal")
	}

	p.mustInit(settings)
	if got, err := p.get("k"); got != "1" || err != nil {
		t.Errorf("back in the first journal: %q, %v", got, err)
	}
	if n := strings.Count(p.log.String(), "msg=started"); n != 5 {
		t.Errorf("the log has %d lines about starts, want 5", n)
	}
}

// A journal in memory outlives a change of other settings.
func TestMemoryOutlivesOtherSettings(t *testing.T) {
	t.Parallel()
	p := begin(t, folder(t), nil)
	p.mustInit(map[string]string{"journal": "memory:", "host": "false"})
	if err := p.set("k", "1"); err != nil {
		t.Fatal(err)
	}
	p.mustInit(map[string]string{"journal": "memory:", "host": "false", "reads": "cached"})
	if got, err := p.get("k"); got != "1" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A wrong Init is said to whoever gave it. It stops nothing that runs, and the next right one is taken.
func TestBrokenInit(t *testing.T) {
	t.Parallel()
	sidecar, function := beginSidecar(t), beginFunction(t, shop)
	p := begin(t, folder(t), map[string]string{"daprGrpcEndpoint": sidecar.address})
	broken := map[string]string{"journal": "postgres://u:hunter2@127.0.0.1:1/d?sslmode=disable", "userFunction": function.address}
	err := p.init(broken)
	if err == nil || !strings.Contains(text(err), "127.0.0.1:1") || strings.Contains(text(err), "hunter2") {
		t.Errorf("the sidecar reads: %v", err)
	}
	if got := p.ready(); !strings.Contains(got, "host: not started") || !strings.Contains(got, "127.0.0.1:1") || strings.Contains(got, "hunter2") {
		t.Errorf("readiness: %s", got)
	}
	good := map[string]string{"journal": "memory:", "userFunction": function.address}
	p.mustInit(good)
	stream := <-sidecar.streams
	before := p.host.Load()

	if err := p.init(broken); err == nil {
		t.Error("a broken Init went through")
	}
	if p.host.Load() != before {
		t.Error("a broken Init took the host away")
	}
	stream.invoke("1", "Cart", "a", "Add")
	if m := <-stream.out; string(m.GetInvokeResponse().GetData()) != "1" {
		t.Errorf("a command after a broken Init: %v", m)
	}
	eventually(t, "ready after a broken Init", func() bool { return p.ready() == "" })
	p.mustInit(good)
	if p.host.Load() != before {
		t.Error("the settings that never stopped running were started again")
	}
	if err := p.set("k", "1"); err != nil {
		t.Errorf("the state store after a good Init: %v", err)
	}
	if strings.Contains(p.log.String(), "hunter2") {
		t.Error("the log holds the password")
	}
}

// A binding alone is a way to other hosts; with a host it goes through that, whichever came first.
func TestClient(t *testing.T) {
	t.Parallel()
	function := beginFunction(t, shop)
	p := begin(t, folder(t), nil)
	if err := p.initBinding(nil); err != nil {
		t.Fatal(err)
	}
	if h := p.host.Load(); h == nil || !h.client {
		t.Fatalf("a binding alone made %+v", h)
	}
	if got := p.ready(); got != "" {
		t.Errorf("a client is not ready: %s", got)
	}
	if _, err := p.invoke(shop, "a", "Add"); !strings.Contains(text(err), "the sidecar cannot be reached") {
		t.Errorf("a command without a sidecar: %v", err)
	}
	first := p.host.Load()
	if err := p.initBinding(map[string]string{"commandTimeout": "3s"}); err != nil {
		t.Fatal(err)
	}
	if now := p.host.Load(); now == first || now.settings.CommandTimeout != 3*time.Second {
		t.Error("other settings of the client were ignored")
	}

	p.mustInit(map[string]string{"journal": "memory:", "userFunction": function.address})
	host := p.host.Load()
	if host.client {
		t.Fatal("the host did not replace the client")
	}
	if err := p.initBinding(nil); err != nil {
		t.Fatal(err)
	}
	if p.host.Load() != host {
		t.Error("a client replaced the host")
	}
	eventually(t, "the user function is known", func() bool { return host.catalog.Load() != nil })
	if _, err := p.invoke("shop.v1.Nothing", "a", "Add"); !strings.Contains(text(err), `no service "shop.v1.Nothing" (known: shop.v1.Cart)`) {
		t.Errorf("an unknown service: %v", err)
	}
}

func TestStandalone(t *testing.T) {
	t.Parallel()
	sidecar, function := beginSidecar(t), beginFunction(t, shop)
	p := begin(t, folder(t), map[string]string{
		"daprGrpcEndpoint": sidecar.address, "journal": "memory:", "userFunction": function.address, "actorType." + shop: "Basket",
	}, func(c *Config) { c.Standalone = true })
	stream := <-sidecar.streams
	if want := []string{"Basket", "EntitiesJournal"}; !slices.Equal(stream.types, want) {
		t.Errorf("actor types = %v", stream.types)
	}
	stream.invoke("1", "Basket", "a", "Add")
	if m := <-stream.out; string(m.GetInvokeResponse().GetData()) != "1" {
		t.Errorf("add: %v", m)
	}
	eventually(t, "ready", func() bool { return p.ready() == "" })

	// A component that cannot do what its flags say ends and says why.
	broken, err := New(Config{Standalone: true, Base: []map[string]string{{
		"socketFolder": folder(t), "adminAddress": "off", "journal": "sqlite:/nowhere/at/all.db",
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := broken.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "/nowhere/at") {
		t.Errorf("Run: %v", err)
	}
}

// Told to stop, a component answers what it has begun, and the journal is open until then.
func TestStopsInOrder(t *testing.T) {
	t.Parallel()
	sidecar, function := beginSidecar(t), beginFunction(t, shop)
	p := begin(t, folder(t), map[string]string{"daprGrpcEndpoint": sidecar.address})
	file := filepath.Join(p.folder, "e.db")
	p.mustInit(map[string]string{"journal": "sqlite:" + file, "userFunction": function.address})
	stream := <-sidecar.streams
	stream.invoke("1", "Cart", "a", "Wait")
	<-function.waiting

	ended := make(chan error, 1)
	go func() { ended <- p.stop() }()
	eventually(t, "it says that it stops", func() bool { return p.stopping.Load() })
	if got := p.ready(); !strings.Contains(got, "host: stopping") {
		t.Errorf("readiness while it stops: %s", got)
	}
	if _, err := os.Stat(filepath.Join(p.folder, "entities.sock")); err == nil {
		eventually(t, "the socket goes", func() bool {
			_, err := os.Stat(filepath.Join(p.folder, "entities.sock"))
			return errors.Is(err, os.ErrNotExist)
		})
	}
	close(function.letGo)
	select {
	case m := <-stream.out:
		if string(m.GetInvokeResponse().GetData()) != "1" {
			t.Errorf("the command in flight: %v", m)
		}
	case err := <-ended:
		t.Fatalf("it ended before the command was answered: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}

	// What was acknowledged is there, and the file is nobody's.
	j, err := openJournal(t.Context(), config.Journal{Scheme: "sqlite", Source: config.Secret(file)}, daprapi.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if all, err := j.List(t.Context(), shop, "", 10); err != nil || len(all) != 1 {
		t.Errorf("in the journal: %v, %v", all, err)
	}
}

// A command that does not end is cut off after the drain timeout.
func TestStopsInTime(t *testing.T) {
	t.Parallel()
	sidecar, function := beginSidecar(t), beginFunction(t, shop)
	p := begin(t, folder(t), map[string]string{"daprGrpcEndpoint": sidecar.address, "drainTimeout": "50ms"})
	p.mustInit(map[string]string{"journal": "memory:", "userFunction": function.address})
	stream := <-sidecar.streams
	stream.invoke("1", "Cart", "a", "Wait")
	<-function.waiting
	began := time.Now()
	if err := p.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// What does not stop within the grace period is left, and that is said. Here the socket's drain takes up all of it, and
// the actor host's is still to come.
func TestGracePeriod(t *testing.T) {
	t.Parallel()
	sidecar, function := beginSidecar(t), beginFunction(t, shop)
	sidecar.invoked = make(chan struct{}, 1)
	p := begin(t, folder(t), map[string]string{"daprGrpcEndpoint": sidecar.address, "drainTimeout": "300ms", "gracePeriod": "300ms"})
	p.fails = "it takes longer than gracePeriod (300ms)"
	p.mustInit(map[string]string{"journal": "memory:", "userFunction": function.address})
	if err := p.initBinding(nil); err != nil {
		t.Fatal(err)
	}
	stream := <-sidecar.streams
	stream.invoke("1", "Cart", "a", "Wait")
	<-function.waiting
	cut := make(chan error, 1)
	go func() {
		_, err := p.invoke(shop, "elsewhere", "Add")
		cut <- err
	}()
	<-sidecar.invoked
	if err := p.stop(); err == nil {
		t.Error("it says that it has stopped")
	}
	if err := <-cut; err == nil {
		t.Error("a request that was cut off had an answer")
	}
	close(function.letGo)
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	sidecar := beginSidecar(t)
	ready := func(settings, base map[string]string, want ...string) *process {
		t.Helper()
		all := map[string]string{"daprGrpcEndpoint": sidecar.address}
		maps.Copy(all, base)
		p := begin(t, folder(t), all)
		if got := p.ready(); !strings.Contains(got, "host: nothing has said what to host: waiting for the sidecar") {
			t.Errorf("before Init: %s", got)
		}
		p.mustInit(settings)
		eventually(t, strings.Join(want, ", "), func() bool {
			got := p.ready()
			if len(want) == 0 {
				return got == ""
			}
			for _, w := range want {
				if !strings.Contains(got, w) {
					return false
				}
			}
			return true
		})
		return p
	}
	function := beginFunction(t, shop)
	broken := beginFunction(t, shop)
	broken.minor = 9
	const absent = "127.0.0.1:1"
	ready(map[string]string{"journal": "memory:", "userFunction": absent}, nil)
	ready(map[string]string{"journal": "memory:", "userFunction": absent, "host": "false"}, nil)
	ready(map[string]string{"journal": "memory:", "userFunction": absent, "host": "true"}, nil,
		"userFunction: no user function has answered at 127.0.0.1:1", "setting userFunction")
	ready(map[string]string{"journal": "memory:", "userFunction": broken.address}, nil,
		"userFunction: the user function at "+broken.address+" announces what cannot be served", "version 0.9")
	ready(map[string]string{"journal": "memory:", "userFunction": function.address}, map[string]string{"daprGrpcEndpoint": absent},
		"actorTypes: the actor stream is down", "127.0.0.1:1")
	p := ready(map[string]string{"journal": "memory:", "userFunction": function.address}, nil)
	stream := <-sidecar.streams
	stream.invoke("1", "Cart", "a", "Add")
	<-stream.out
	// Soon after this the journal is gone, about which those who use it may complain.
	if log := p.log.String(); strings.Contains(log, "WARN") || strings.Contains(log, "ERROR") || strings.Count(log, "\n") > 10 {
		t.Errorf("the log of a normal start and one command:\n%s", log)
	}
	if err := p.host.Load().journal.Close(); err != nil {
		t.Fatal(err)
	}
	if got := p.ready(); !strings.Contains(got, "journal: the journal cannot be written to") {
		t.Errorf("without a journal: %s", got)
	}
	metrics := p.http("/metrics")
	for _, want := range []string{
		"entities_actor_stream_up 1", "entities_actor_streams_total 1", `entities_discoveries_total{result="ok"} `,
		`entities_turn_seconds_count{service="shop.v1.Cart"} 1`, `entities_sessions{service="shop.v1.Cart"} 1`, "entities_resident 1",
		"entities_owned 1", "entities_in_flight 0", "entities_in_flight_bytes 0", "entities_events_appended_total 1",
		`entities_component_request_seconds_count{code="OK",method="StateStore/Init"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestAdminAddress(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := New(Config{Base: []map[string]string{{"socketFolder": folder(t), "adminAddress": l.Addr().String()}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "set adminAddress to another one or to off") {
		t.Errorf("an address in use: %v", err)
	}
	p := begin(t, folder(t), map[string]string{"adminAddress": "off"})
	p.mustInit(map[string]string{"journal": "memory:", "host": "false"})
	if err := p.set("k", "1"); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{Base: []map[string]string{{"nonsense": "1"}}}); err == nil || !strings.Contains(err.Error(), `no setting "nonsense"`) {
		t.Errorf("an unknown setting: %v", err)
	}
}

// One process hosts once, and says so.
func TestSecondHost(t *testing.T) {
	t.Parallel()
	at := folder(t)
	p := begin(t, at, nil)
	p.mustInit(map[string]string{"journal": "memory:", "host": "false"})
	host := p.host.Load()
	if err := p.initAs("other", map[string]string{"journal": "memory:"}); !strings.Contains(text(err), `"other" is a second host beside "entities"`) {
		t.Errorf("a second host: %v", err)
	}
	if p.host.Load() != host {
		t.Error("the second one replaced the first")
	}
	second, err := New(Config{Base: []map[string]string{{"socketFolder": at, "adminAddress": "off"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "is served by another process") {
		t.Errorf("a second component on the same socket: %v", err)
	}
}
