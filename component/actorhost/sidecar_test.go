package actorhost

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapr-entities/entities/component/daprapi"
)

// Dapr's own programs, from the folder that ENTITIES_DAPR_BIN names.
func binary(t testing.TB, name string) string {
	t.Helper()
	folder := os.Getenv("ENTITIES_DAPR_BIN")
	path := filepath.Join(folder, name)
	if _, err := os.Stat(path); folder == "" || err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no %s: set ENTITIES_DAPR_BIN to a folder with daprd and placement", name)
		}
		t.Skipf("no %s: set ENTITIES_DAPR_BIN to a folder with daprd and placement", name)
	}
	return path
}

// process is one that a test has started. It is killed when the test ends.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{}
}

func start(t testing.TB, env []string, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...), log: new(bytes.Buffer), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Dir = t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		defer close(p.done)
		// Its exit code is of no interest: most are killed.
		_ = p.cmd.Wait()
	})
	t.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		group.Wait()
		if t.Failed() {
			text := p.log.String()
			t.Logf("%s:\n%s", filepath.Base(program), text[max(0, len(text)-20000):])
		}
	})
	return p
}

func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		// It may have exited meanwhile.
		_ = p.cmd.Process.Signal(s)
	}
}

// ports returns free ports of the loopback interface.
func ports(t testing.TB, n int) []string {
	t.Helper()
	var free []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		free = append(free, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return free
}

// placement starts a placement service and returns its address.
func placement(t testing.TB) string {
	t.Helper()
	p := ports(t, 3)
	start(t, nil, binary(t, "placement"), "--listen-address", "127.0.0.1", "--port", p[0],
		"--healthz-listen-address", "127.0.0.1", "--healthz-port", p[1], "--enable-metrics=false",
		"--id", "p0", "--initial-cluster", "p0=127.0.0.1:"+p[2], "--log-level", "warn")
	return "127.0.0.1:" + p[0]
}

// sidecar is a daprd.
type sidecar struct {
	*process
	t          testing.TB
	http, grpc string
	args       []string
}

// daprd starts a sidecar and waits until it answers. Further arguments win over the standard ones.
func daprd(t testing.TB, placement string, args ...string) *sidecar {
	t.Helper()
	// Between the choice of a port and its use somebody else may take it.
	for range 3 {
		p := ports(t, 4)
		s := &sidecar{t: t, http: "http://127.0.0.1:" + p[0], grpc: "127.0.0.1:" + p[1]}
		s.args = append([]string{
			"--app-id", "entities-test", "--dapr-listen-addresses", "127.0.0.1",
			"--dapr-http-port", p[0], "--dapr-grpc-port", p[1], "--dapr-internal-grpc-port", p[2],
			"--dapr-internal-grpc-listen-address", "127.0.0.1", "--metrics-listen-address", "127.0.0.1",
			"--metrics-port", p[3], "--enable-metrics=false", "--log-level", "info",
		}, args...)
		if placement != "" {
			s.args = append(s.args, "--placement-host-address", placement)
		}
		if s.start() {
			return s
		}
		s.signal(syscall.SIGKILL)
	}
	t.Fatal("daprd does not start")
	return nil
}

// start starts the sidecar, again if need be, on the same ports. It reports whether both its APIs came up.
func (s *sidecar) start() bool {
	s.t.Helper()
	s.process = start(s.t, []string{"DAPR_API_TOKEN="}, binary(s.t, "daprd"), s.args...)
	ctx, cancel := context.WithTimeout(s.t.Context(), 7*time.Second)
	defer cancel()
	if err := s.client().WaitReady(ctx); err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for ctx.Err() == nil {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.http+"/v1.0/healthz/outbound", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		if w, err := client.Do(r); err == nil {
			w.Body.Close()
			if w.StatusCode == http.StatusNoContent {
				return true
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

// exits sends the signal and returns how long the sidecar takes to exit.
func (s *sidecar) exits(signal syscall.Signal) time.Duration {
	s.t.Helper()
	begin := time.Now()
	s.signal(signal)
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		s.t.Fatal("daprd hangs")
	}
	return time.Since(begin)
}

func (s *sidecar) client() *daprapi.Client {
	s.t.Helper()
	c, err := daprapi.Dial(daprapi.Config{Endpoint: s.grpc})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// reply is the sidecar's answer to an HTTP request.
type reply struct {
	status int
	header http.Header
	body   string
}

// invoke calls an actor over HTTP.
func (s *sidecar) invoke(actorType, id, method, body string, headers ...string) reply {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
	defer cancel()
	url := fmt.Sprintf("%s/v1.0/actors/%s/%s/method/%s", s.http, actorType, id, method)
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	w, err := client.Do(r)
	if err != nil {
		return reply{body: err.Error()}
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	if err != nil {
		s.t.Error(err)
	}
	return reply{w.StatusCode, w.Header, string(b)}
}

// hosted is a stream host that runs.
type hosted struct {
	*Stream
	t        testing.TB
	entities *entities
	services *services
	stop     func()
}

// host runs a stream host for the sidecar until the test ends.
func host(t testing.TB, s *sidecar, config Config, types ...string) *hosted {
	t.Helper()
	h := &hosted{t: t, entities: &entities{}, services: &services{now: cart(t, types...)}}
	config.Dial = s.client().Connect
	config.Catalog = h.services.get
	config.Entities = h.entities
	config.Log = testLog(t)
	var err error
	if h.Stream, err = New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	group.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	h.stop = func() {
		cancel()
		group.Wait()
	}
	t.Cleanup(h.stop)
	return h
}

// await waits until cond holds.
func await(t testing.TB, within time.Duration, what string, cond func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	for !cond() {
		if time.Since(begin) > within {
			t.Fatalf("%s: not within %v", what, within)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return time.Since(begin)
}

func (h *hosted) awaitReady(within time.Duration) time.Duration {
	h.t.Helper()
	return await(h.t, within, "host ready", func() bool { return h.Ready() == nil })
}
