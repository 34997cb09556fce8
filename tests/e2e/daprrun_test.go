package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/dapr-entities/entities/tests/harness"
)

// sample is what users of the cart sample start.
const sample = "../../samples/cart"

// daprRun is `entities run -- dapr run -f dapr.yaml` on a copy of the sample.
type daprRun struct {
	*harness.Process
	dapr   *harness.Client
	folder string
	ports  []int // on which something listens while it runs
}

// newDaprRun copies the sample and changes what cannot be the same for two runs on one machine: ports, and the addresses
// of Dapr's services. It starts nothing but placement.
func newDaprRun(t *testing.T) (run *daprRun, start func() error) {
	t.Helper()
	s := prepare(t)
	// The CLI may have to be built first.
	cli, err := s.cluster.CLI(within(t, 10*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	entities, err := harness.Build(within(t, 3*time.Minute), "component/cmd/entities")
	if err != nil {
		t.Fatal(err)
	}
	ports, err := harness.FreePorts(5)
	if err != nil {
		t.Fatal(err)
	}
	http, grpc, app, nobody, admin := ports[0], ports[1], ports[2], ports[3], ports[4]
	folder, err := s.cluster.SubFolder("sample", "resources")
	if err != nil {
		t.Fatal(err)
	}
	folder = filepath.Dir(folder)
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(app))
	copyFile(t, "resources/binding.yaml", folder, "", "")
	copyFile(t, "resources/entities.yaml", folder, "127.0.0.1:8080", address)
	writeRunFile(t, folder, map[string]any{
		"daprHTTPPort": http, "daprGRPCPort": grpc,
		"placementHostAddress": s.placement.Address,
		// As after `dapr init --slim`: entities need no scheduler.
		"schedulerHostAddress": net.JoinHostPort("127.0.0.1", strconv.Itoa(nobody)),
		"env":                  map[string]string{"PORT": strconv.Itoa(app)},
	})

	run = &daprRun{dapr: harness.NewClient("http://127.0.0.1:" + strconv.Itoa(http)), folder: folder, ports: []int{http, grpc, app, admin}}
	command := harness.Command{
		Name: "entities-run", Path: entities,
		Args: []string{
			"run", "--adminAddress", net.JoinHostPort("127.0.0.1", strconv.Itoa(admin)),
			"--", cli, "run", "-f", "dapr.yaml",
		},
		Env: []string{
			// `dapr run -f` takes no notice of --runtime-path.
			"DAPR_RUNTIME_PATH=" + installed(t, s.cluster),
			"DAPR_GRPC_PORT=" + strconv.Itoa(grpc), "DAPR_HOST_IP=127.0.0.1", "TMPDIR=" + folder,
		},
		Folder: folder,
	}
	return run, func() (err error) {
		run.Process, err = s.cluster.Start(within(t, time.Minute), command)
		return err
	}
}

// installed is a folder such as `dapr init --slim` makes, with the daprd of all tests.
func installed(t *testing.T, cluster *harness.Cluster) string {
	t.Helper()
	found, err := harness.Dapr(within(t, 10*time.Minute), os.Stderr, harness.ToolDaprd)
	if err != nil {
		t.Fatal(err)
	}
	bin, err := cluster.SubFolder("home", ".dapr", "bin")
	if err != nil {
		t.Fatal(err)
	}
	const config = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: daprConfig\n"
	err = errors.Join(
		os.Symlink(found.Daprd, filepath.Join(bin, "daprd")),
		os.WriteFile(filepath.Join(filepath.Dir(bin), "config.yaml"), []byte(config), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(filepath.Dir(bin))
}

// copyFile copies a file of the sample, with one text in place of another.
func copyFile(t *testing.T, name, to, old, replacement string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(sample, name))
	if err != nil {
		t.Fatal(err)
	}
	if old != "" && bytes.Count(data, []byte(old)) != 1 {
		t.Fatalf("%s has not one %q", name, old)
	}
	data = bytes.ReplaceAll(data, []byte(old), []byte(replacement))
	if err := os.WriteFile(filepath.Join(to, name), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// writeRunFile copies dapr.yaml with other settings of its app. The copy lies outside the module, so the go command is
// told where to go.
func writeRunFile(t *testing.T, to string, settings map[string]any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(sample, "dapr.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	app := file["apps"].([]any)[0].(map[string]any)
	if app["daprGRPCPort"] != 50001.0 {
		t.Errorf("the sample's daprGRPCPort is %v, and the component's default is 50001", app["daprGRPCPort"])
	}
	maps.Copy(app, settings)
	here, err := filepath.Abs(sample)
	if err != nil {
		t.Fatal(err)
	}
	app["command"] = slices.Insert(app["command"].([]any), 1, any("-C"), any(here))
	if data, err = yaml.Marshal(file); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "dapr.yaml"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// command gives one command to the cart, and repeats it until it is answered: everything is still starting.
func (r *daprRun) command(t *testing.T, method, body string) string {
	t.Helper()
	header := map[string]string{"Content-Type": "application/json", "Idempotency-Key": t.Name() + method + body}
	var reply harness.Response
	err := harness.Poll(within(t, time.Minute), 100*time.Millisecond, func(ctx context.Context) (err error) {
		if !r.Running() {
			return nil
		}
		reply, err = r.dapr.Actor(ctx, "ShoppingCart", "cart-1", method, header, []byte(body))
		if err == nil && reply.Status >= 500 && !strings.Contains(string(reply.Body), "[entities code=") {
			err = fmt.Errorf("%d %s", reply.Status, reply.Body)
		}
		return err
	})
	if err != nil || reply.Status == 0 {
		t.Fatalf("%s: %v", method, err)
	}
	return string(reply.Body)
}

// ends waits for the end and checks that nothing is left of the run: no process, no listener, no socket folder.
func (r *daprRun) ends(t *testing.T, code int) {
	t.Helper()
	began := time.Now()
	err := r.Wait(within(t, time.Minute))
	t.Logf("ended after %s", time.Since(began).Round(time.Millisecond))
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s to end", took)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == code, err == nil && code == 0:
	default:
		t.Errorf("it ended with %v, want exit code %d", err, code)
	}
	if left := processes(r.folder); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	for _, port := range r.ports {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Errorf("port %d is still taken: %v", port, err)
			continue
		}
		listener.Close()
	}
	if left, _ := filepath.Glob(filepath.Join(r.folder, "entities-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// processes returns the names of those that have the folder in their environment, on systems that show it.
func processes(folder string) []string {
	var names []string
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range all {
		environment, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(environment, []byte("TMPDIR="+folder+"\x00")) {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
		names = append(names, strings.TrimSpace(string(name)))
	}
	slices.Sort(names)
	return names
}

// The cart sample as its README has it: started by Dapr's own CLI, used over HTTP, ended by a Ctrl-C, started again.
func TestDaprRun(t *testing.T) {
	t.Parallel()
	run, start := newDaprRun(t)
	if err := start(); err != nil {
		t.Fatal(err)
	}
	const tea = `{"product":"tea","name":"Green tea","quantity":2}`
	for range 2 { // with the same key
		if got, want := run.command(t, "AddItem", tea), `{"items":[`+tea+`]}`; got != want {
			t.Errorf("AddItem: %s, want %s", got, want)
		}
	}
	if got := run.command(t, "AddItem", `{"product":"tea","quantity":-1}`); !strings.Contains(got, "INVALID_ARGUMENT") {
		t.Errorf("a mistake is answered with %s", got)
	}
	if _, err := os.Stat("/proc/self/environ"); err == nil {
		// The second one is ours, built under a longer name, of which the kernel keeps so much.
		want := []string{"cart", "component-cmd-e", "dapr", "daprd", "go"}
		if got := processes(run.folder); !slices.Equal(got, want) {
			t.Errorf("processes: %v, want %v", got, want)
		}
	}
	if err := run.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	run.ends(t, 0)

	if err := start(); err != nil {
		t.Fatal(err)
	}
	if got, want := run.command(t, "GetCart", ""), `{"items":[`+tea+`]}`; got != want {
		t.Errorf("after a restart: %s, want %s", got, want)
	}
	reply, err := run.dapr.Binding(within(t, 30*time.Second), "entities-binding", harness.BindingRequest{
		Operation: "invoke", Data: json.RawMessage(`{}`),
		Metadata: map[string]string{"service": "shop.v1.ShoppingCart", "id": "cart-1", "command": "Checkout"},
	})
	if err != nil || string(reply.Body) != `{"order":"cart-1-2","quantity":2}` {
		t.Errorf("checkout: %s, %v", reply.Body, err)
	}
	if err := run.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	run.ends(t, 0)
}

// A sidecar that does not take the component ends at once, and `dapr run` waits for it for minutes and hears no Ctrl-C.
// The reason is shown, and a second Ctrl-C ends it all.
func TestDaprRunOfAWrongComponent(t *testing.T) {
	t.Parallel()
	run, start := newDaprRun(t)
	file := filepath.Join(run.folder, "resources", "entities.yaml")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(data, []byte("sqlite:entities.db"), []byte("redis:x")), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	says := func(text string) {
		t.Helper()
		err := harness.Poll(within(t, 30*time.Second), 50*time.Millisecond, func(context.Context) error {
			if log, err := run.Log(0); err != nil || !strings.Contains(log, text) {
				return fmt.Errorf("it does not say %q: %w", text, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	says("use sqlite:<file>, memory:, postgres://")
	for range 2 {
		if err := run.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		says("passing a signal on")
	}
	run.ends(t, 128+9)
}
