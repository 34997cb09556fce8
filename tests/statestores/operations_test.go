package statestores

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/daprstate"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
	"github.com/dapr-entities/entities/component/daprapi"
	"github.com/dapr-entities/entities/tests/harness"
)

// program is the command for operations on journals, whose sidecar has the state stores.
type program struct {
	*testing.T
	path, endpoint string
}

// command is one that ends when the test takes too long.
func (p program) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(p.Context(), 3*time.Minute)
	p.Cleanup(cancel)
	c := exec.CommandContext(ctx, p.path, append([]string{"journal"}, args...)...)
	c.Env = append(os.Environ(), "DAPR_GRPC_ENDPOINT="+p.endpoint)
	return c
}

// says runs a command to its end, and looks whether it says so.
func (p program) says(want string, args ...string) {
	p.Helper()
	if out, err := p.command(args...).CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
		p.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// beginning runs a command until it has written so many bytes, and then ends it.
func (p program) beginning(n int64, args ...string) []byte {
	p.Helper()
	c := p.command(args...)
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		p.Fatal(err)
	}
	var begun bytes.Buffer
	if _, err := io.CopyN(&begun, out, n); err != nil {
		p.Fatal(err)
	}
	_ = c.Process.Kill() // or it has ended by itself: nobody reads it
	_ = c.Wait()
	return begun.Bytes()
}

// killed runs a command that gets a part of its input, and kills it when it has begun to do something.
func (p program) killed(input []byte, begun func() bool, args ...string) {
	p.Helper()
	c := p.command(args...)
	in, err := c.StdinPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		p.Fatal(err)
	}
	if _, err := in.Write(input); err != nil {
		p.Fatal(err)
	}
	err = harness.Poll(p.Context(), time.Millisecond, func(context.Context) error {
		if !begun() {
			return fmt.Errorf("%q has done nothing", args)
		}
		return nil
	})
	_ = c.Process.Kill()
	_ = c.Wait() // the error says that it was killed
	if err != nil {
		p.Fatal(err)
	}
}

func cart(n int) actors.Ref { return actors.Ref{Service: "shop.v1.Cart", ID: fmt.Sprint("cart-", n)} }

const (
	carts  = 100
	rounds = 5
	each   = 10
)

// fill writes events and records of many carts.
func fill(t *testing.T, j journal.Journal) {
	t.Helper()
	for round := range rounds {
		var batch []journal.Append
		for n := range carts {
			a := journal.Append{Ref: cart(n), Expected: int64(round * each), Command: fmt.Sprint(round), Record: &journal.Record{Outcome: []byte{0, 255, byte(n)}}}
			for i := range each {
				a.Events = append(a.Events, journal.Event{Name: "added", Payload: actors.Payload{
					TypeURL: "json.cloudstate.io/added", ContentType: actors.ContentJSON, Data: fmt.Appendf(nil, `{"n":%d,"html":"<ü>"}`, i),
				}})
			}
			batch = append(batch, a)
		}
		for _, r := range j.Append(t.Context(), batch) {
			if r.Status != journal.Committed {
				t.Fatal(r.Status, r.Err)
			}
		}
	}
}

// history is the checksum of all that a journal has of its entities.
func history(t *testing.T, j journal.Journal) string {
	t.Helper()
	sum := sha256.New()
	list, err := j.List(t.Context(), "shop.v1.Cart", "", 0)
	if err != nil || len(list) != carts {
		t.Fatal(len(list), err)
	}
	for _, s := range list {
		ref := actors.Ref{Service: "shop.v1.Cart", ID: s.ID}
		span, err := j.Span(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%v %+v\n", ref, span)
		for e, err := range j.Read(t.Context(), ref, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			e.Position = journal.Position{}
			fmt.Fprintf(sum, "%+v\n", e)
		}
		records, err := j.Records(t.Context(), ref, "", 0)
		if err != nil || len(records) != rounds {
			t.Fatal(len(records), err)
		}
		fmt.Fprintf(sum, "%+v\n", records)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// wiped has everything gone from the stores: those in memory live as long as daprd.
func wiped(t *testing.T, daprd *harness.Daprd, redis *harness.Redis) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := daprd.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", redis.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 5)
	if _, err = conn.Write([]byte("FLUSHALL\r\n")); err == nil {
		_, err = io.ReadFull(conn, answer)
	}
	if err != nil || string(answer) != "+OK\r\n" {
		t.Fatalf("flush Redis: %q, %v", answer, err)
	}
	if err := daprd.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// Export, wipe, import, both interrupted, and a move, by the program and through a sidecar: the histories are the same, byte
// for byte.
func TestExportWipeImport(t *testing.T) {
	cluster := harness.Test(t, harness.ClusterConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	redis, err := cluster.StartRedis(ctx)
	if err != nil {
		t.Fatal(err)
	}
	daprd, client := sidecar(t, cluster, map[string]string{
		"redis":  string(redis.Component("redis", "state.redis", "")),
		"memory": component("memory", "state.in-memory", "v1"),
		"other":  component("other", "state.in-memory", "v1"),
	})
	path, err := harness.Build(ctx, harness.ComponentPackage)
	if err != nil {
		t.Fatal(err)
	}
	p := program{t, path, daprd.GRPCAddress()}
	// Under the prefix that the setting of the journal has.
	open := func(store string) journal.Journal { return openUnder(t, client, store, "entities") }
	want, exports := map[string]string{}, map[string]string{}
	for _, store := range []string{"redis", "memory"} {
		j := open(store)
		fill(t, j)
		want[store] = history(t, j)
		begun := p.beginning(500<<10, "export", "--journal", "dapr:"+store, "-")
		exports[store] = filepath.Join(cluster.Folder(), store+".export")
		if err := os.WriteFile(exports[store], begun, 0o600); err != nil {
			t.Fatal(err)
		}
		p.says("exported 5000 events of 100 entities, 500 records", "export", "--journal", "dapr:"+store, exports[store])
	}
	wiped(t, daprd, redis)
	for store, export := range exports {
		whole, err := os.ReadFile(export)
		if err != nil {
			t.Fatal(err)
		}
		j := open(store)
		if services, err := j.Services(t.Context()); err != nil || len(services) > 0 {
			t.Fatal(store, services, err)
		}
		// Which it does before it has all of it: a window is smaller.
		p.killed(whole[:len(whole)*9/10], func() bool {
			list, err := j.List(t.Context(), "shop.v1.Cart", "", 0)
			return err == nil && len(list) > carts/4
		}, "import", "--journal", "dapr:"+store, "-")
		p.says("imported 5000 events of 100 entities", "import", "--journal", "dapr:"+store, export)
		p.says("had been imported already", "import", "--journal", "dapr:"+store, export)
		if got := history(t, open(store)); got != want[store] {
			t.Errorf("the history in %s is %s, and was %s", store, got, want[store])
		}
	}
	moved := filepath.Join(cluster.Folder(), "moved.db")
	p.says("moved 5000 events", "move", "--journal", "dapr:redis", "--to", "sqlite:"+moved)
	p.says("moved 5000 events", "move", "--journal", "sqlite:"+moved, "--to", "dapr:other")
	there, err := sqlite.Open(t.Context(), sqlite.Config{Path: moved})
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	for name, j := range map[string]journal.Journal{"the file": there, "the other store": open("other")} {
		if got := history(t, j); got != want["redis"] {
			t.Errorf("the history that was moved to %s is %s, and was %s", name, got, want["redis"])
		}
	}
}

// openUnder opens the journal that is under a prefix.
func openUnder(t testing.TB, client *daprapi.Client, store, prefix string) journal.Journal {
	t.Helper()
	j, err := daprstate.New(daprstate.Config{Store: client.StateStore(store), Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}
