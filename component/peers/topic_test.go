package peers

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dapr-entities/entities/component/daprapi"
)

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

// start a program until the test ends, or stop is called.
func start(t testing.TB, program string, args ...string) (stop func()) {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.TempDir(), &log, &log
	cmd.Env = append(os.Environ(), "DAPR_API_TOKEN=")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait() // killed
		if text := log.String(); t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(program), text[max(0, len(text)-5000):])
		}
	})
	t.Cleanup(stop)
	return stop
}

// redis starts a server, and returns its address.
func redis(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no redis-server")
	}
	port := ports(t, 1)[0]
	start(t, program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	address := "127.0.0.1:" + port
	until(t, "redis", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return address
}

// sidecar starts a daprd of one app with a pub/sub component, and returns a client of it.
func sidecar(t testing.TB, kind string, metadata map[string]string) *daprapi.Client {
	t.Helper()
	client, _ := mortal(t, kind, metadata)
	return client
}

// mortal starts a sidecar whose end and new beginning restart brings about.
func mortal(t testing.TB, kind string, metadata map[string]string) (_ *daprapi.Client, restart func()) {
	t.Helper()
	program := filepath.Join(os.Getenv("ENTITIES_DAPR_BIN"), "daprd")
	if _, err := os.Stat(program); err != nil || os.Getenv("ENTITIES_DAPR_BIN") == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no daprd: set ENTITIES_DAPR_BIN to a folder with it")
		}
		t.Skip("no daprd: set ENTITIES_DAPR_BIN to a folder with it")
	}
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "apiVersion: dapr.io/v1alpha1\nkind: Component\nmetadata:\n  name: bus\nspec:\n  type: %s\n  version: v1\n  metadata:\n", kind)
	fmt.Fprint(&yaml, "  - {name: unused, value: none}\n")
	for name, value := range metadata {
		fmt.Fprintf(&yaml, "  - {name: %s, value: %q}\n", name, value)
	}
	resources := t.TempDir()
	if err := os.WriteFile(filepath.Join(resources, "bus.yaml"), []byte(yaml.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := ports(t, 4)
	args := []string{"--app-id", "cart", "--resources-path", resources, "--dapr-listen-addresses", "127.0.0.1",
		"--dapr-http-port", p[0], "--dapr-grpc-port", p[1], "--dapr-internal-grpc-port", p[2],
		"--dapr-internal-grpc-listen-address", "127.0.0.1", "--metrics-listen-address", "127.0.0.1",
		"--metrics-port", p[3], "--enable-metrics=false", "--log-level", "info"}
	stop := start(t, program, args...)
	client, err := daprapi.Dial(daprapi.Config{Endpoint: "127.0.0.1:" + p[1], Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if err := client.WaitReady(within(t)); err != nil {
		t.Fatal(err)
	}
	return client, func() {
		stop()
		stop = start(t, program, args...)
	}
}

func topicBus(t testing.TB, client *daprapi.Client) *Topic {
	t.Helper()
	b, err := NewTopic(TopicConfig{Topics: client, PubSub: "bus", App: "cart", ProbeTimeout: 3 * time.Second, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTopic has two components of one app, each with a sidecar, publish any bytes over Redis.
func TestTopic(t *testing.T) {
	t.Parallel()
	address := redis(t)
	with := map[string]string{"redisHost": address, "consumerID": "{uuid}"}
	a, b := topicBus(t, sidecar(t, "pubsub.redis", with)), topicBus(t, sidecar(t, "pubsub.redis", with))
	if a.Err() == nil {
		t.Error("ready before it has begun")
	}
	hearsA, hearsB := deliver(t, a), deliver(t, b)
	until(t, "both to be ready", func() bool { return a.Err() == nil && b.Err() == nil })
	everything := make([]byte, 256)
	for i := range everything {
		everything[i] = byte(i)
	}
	batches := []string{"text", string(everything), `{"json": 1}`, "\x00", "", strings.Repeat("x", 512<<10)}
	var took []time.Duration
	for n := range 50 {
		batch := fmt.Sprint("number ", n)
		if n < len(batches) {
			batch = batches[n]
		}
		began := time.Now()
		if err := a.Publish(within(t), []byte(batch)); err != nil {
			t.Fatal(err)
		}
		until(t, "a batch", func() bool { _, ok := hearsB.at(batch); return ok })
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("from before publishing to delivery: median %s, longest %s", took[len(took)/2], took[len(took)-1])
	if err := b.Publish(within(t), []byte("back")); err != nil {
		t.Fatal(err)
	}
	until(t, "a batch back", func() bool { _, ok := hearsA.at("back"); return ok })
	if got := hearsA.all(); len(got) != 1 {
		t.Errorf("a hears %d batches", len(got))
	}
	if err := a.Publish(within(t), make([]byte, 512<<10+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("one too big: %v", err)
	}
}

// A sidecar that goes down and comes back is subscribed with again, and what is published then gets through.
func TestTopicOutlivesItsSidecar(t *testing.T) {
	t.Parallel()
	with := map[string]string{"redisHost": redis(t), "consumerID": "{uuid}"}
	client, restart := mortal(t, "pubsub.redis", with)
	a, b := topicBus(t, client), topicBus(t, sidecar(t, "pubsub.redis", with))
	hearsA, hearsB := deliver(t, a), deliver(t, b)
	until(t, "both to be ready", func() bool { return a.Err() == nil && b.Err() == nil })
	restart()
	until(t, "the loss to be noticed", func() bool { return a.Err() != nil })
	until(t, "both to be ready again", func() bool { return a.Err() == nil && b.Err() == nil })
	for from, to := range map[*Topic]*ear{a: hearsB, b: hearsA} {
		if err := from.Publish(within(t), []byte("after all")); err != nil {
			t.Error(err)
		}
		until(t, "a batch", func() bool { _, ok := to.at("after all"); return ok })
	}
}

// Without consumer ids the sidecars of one app share the messages, and each component says so.
func TestCompetingConsumersDetectedAtStart(t *testing.T) {
	t.Parallel()
	with := map[string]string{"redisHost": redis(t)}
	a, b := topicBus(t, sidecar(t, "pubsub.redis", with)), topicBus(t, sidecar(t, "pubsub.redis", with))
	deliver(t, a)
	deliver(t, b)
	for _, bus := range []*Topic{a, b} {
		until(t, "the fault to be found", func() bool {
			err := bus.Err()
			return err != nil && strings.Contains(err.Error(), `component bus: {name: consumerID, value: "{uuid}"}`)
		})
	}
}

// A bus in memory is for one process alone.
func TestTopicInMemory(t *testing.T) {
	t.Parallel()
	client := sidecar(t, "pubsub.in-memory", nil)
	a, b := topicBus(t, client), topicBus(t, client)
	deliver(t, a)
	hears := deliver(t, b)
	until(t, "both to be ready", func() bool { return a.Err() == nil && b.Err() == nil })
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 25 {
				if err := a.Publish(within(t), fmt.Appendf(nil, "%d/%d", n, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	until(t, "all batches", func() bool { return len(hears.all()) == 200 })
}

func TestTopicWithoutAComponent(t *testing.T) {
	t.Parallel()
	client := sidecar(t, "pubsub.in-memory", nil)
	bus, err := NewTopic(TopicConfig{Topics: client, PubSub: "none", App: "cart", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, bus)
	until(t, "an error", func() bool { err := bus.Err(); return err != nil && strings.Contains(err.Error(), "none") })
	if err := bus.Publish(within(t), []byte("x")); err == nil || !strings.Contains(err.Error(), "none") {
		t.Errorf("publish: %v", err)
	}
	_, err = NewTopic(TopicConfig{MaxBatch: -1, ProbeTimeout: -1})
	for _, word := range []string{"PubSub", "MaxBatch", "ProbeTimeout"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s is not reported: %v", word, err)
		}
	}
}
