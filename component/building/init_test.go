package building

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/grpc/codes"

	"github.com/dapr-entities/entities/component/config"
)

func TestBeforeInit(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	calls := map[string]func() error{
		"get":      func() error { _, err := r.state.Get(r.ctx, &components.GetRequest{Key: "k"}); return err },
		"set":      func() error { _, err := r.state.Set(r.ctx, &components.SetRequest{Key: "k"}); return err },
		"delete":   func() error { _, err := r.state.Delete(r.ctx, &components.DeleteRequest{Key: "k"}); return err },
		"bulk get": func() error { _, err := r.state.BulkGet(r.ctx, &components.BulkGetRequest{}); return err },
		"bulk set": func() error { _, err := r.state.BulkSet(r.ctx, &components.BulkSetRequest{}); return err },
		"bulk del": func() error { _, err := r.state.BulkDelete(r.ctx, &components.BulkDeleteRequest{}); return err },
		"transact": func() error { _, err := r.state.Transact(r.ctx, &components.TransactionalStateRequest{}); return err },
		"max size": func() error { _, err := r.state.MultiMaxSize(r.ctx, &components.MultiMaxSizeRequest{}); return err },
		"features": func() error { _, err := r.state.Features(r.ctx, &components.FeaturesRequest{}); return err },
		"ops": func() error {
			_, err := r.binding.ListOperations(r.ctx, &components.ListOperationsRequest{})
			return err
		},
		"invoke": func() error {
			_, err := r.binding.Invoke(r.ctx, &components.InvokeRequest{Operation: "invoke"})
			return err
		},
	}
	for name, call := range calls {
		err := call()
		wantCode(t, err, codes.FailedPrecondition)
		if err != nil && !strings.Contains(err.Error(), `"store" is not initialised`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.init(r.ctx, nil); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls { // initialised, and nothing attached yet
		if name == "features" || name == "max size" {
			if err := call(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if name != "ops" && name != "invoke" {
			wantCode(t, call(), codes.Unavailable)
		} else {
			wantCode(t, call(), codes.FailedPrecondition) // a binding of the same name is another component
		}
	}
}

func TestInit(t *testing.T) {
	t.Parallel()
	var clients []config.Config
	r := start(t, func(c *Config) {
		c.Base = []map[string]string{{"daprGrpcEndpoint": "127.0.0.1:3"}, {"maxQueue": "7", "userFunction": "a:1"}}
		c.OnClient = func(_ context.Context, c config.Config) error { clients = append(clients, c); return nil }
	})
	for range 2 { // the second changes nothing
		if err := r.init(r.ctx, map[string]string{"userfunction": "b:2"}); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.inits) != 1 || r.inits[0].UserFunction != "b:2" || r.inits[0].MaxQueue != 7 || r.inits[0].DaprGRPCEndpoint != "127.0.0.1:3" {
		t.Fatalf("%+v", r.inits)
	}
	if err := r.init(r.ctx, map[string]string{"userFunction": "c:3"}); err != nil || len(r.inits) != 2 {
		t.Errorf("changed settings: %v, %d inits", err, len(r.inits))
	}
	err := r.init(as(t, "other"), nil)
	wantCode(t, err, codes.FailedPrecondition)
	if err == nil || !strings.Contains(err.Error(), `"other" is a second host beside "store"`) {
		t.Error(err)
	}
	err = r.init(r.ctx, map[string]string{"maxQeue": "1", "reads": "x", "journal": "mysql://u:hunter2@h"})
	wantCode(t, err, codes.InvalidArgument)
	for _, want := range []string{`state.entities "store": `, "did you mean maxQueue", "checked, cached", "unknown scheme"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say: %s", err, want)
		}
	}
	if err != nil && strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a password shows: %v", err)
	}
	_, err = r.state.Get(r.ctx, &components.GetRequest{Key: "k"})
	if err == nil || !strings.Contains(err.Error(), "the last attempt ended with") {
		t.Errorf("after a failed Init: %v", err)
	}
	for _, name := range []string{"store", "b"} { // the host's name, and any number of bindings
		if err := r.initBinding(as(t, name), map[string]string{"commandTimeout": "3s", "direction": "output"}); err != nil {
			t.Error(err)
		}
	}
	if len(clients) != 2 || clients[0].CommandTimeout != 3*time.Second {
		t.Errorf("%+v", clients)
	}
	wantCode(t, r.initBinding(r.ctx, map[string]string{"journal": "memory:"}), codes.InvalidArgument)
}

func TestInitCallback(t *testing.T) {
	t.Parallel()
	fail := errors.New("the journal is locked by host b")
	calls := 0
	r := start(t, func(c *Config) {
		c.InitTimeout = 50 * time.Millisecond
		c.OnInit = func(ctx context.Context, _ config.Config) error {
			if calls++; calls == 3 {
				<-ctx.Done()
				return ctx.Err()
			}
			return fail
		}
	})
	for range 2 { // a failure is not remembered as done
		if err := r.init(r.ctx, nil); err == nil || !strings.Contains(err.Error(), fail.Error()) {
			t.Errorf("%v", err)
		}
	}
	wantCode(t, r.init(r.ctx, nil), codes.DeadlineExceeded)
	fail = nil
	if err := r.init(r.ctx, nil); err != nil || calls != 4 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestInitsAreOneAfterTheOther(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}, 2), make(chan struct{})
	r := start(t, func(c *Config) {
		c.OnInit = func(context.Context, config.Config) error { entered <- struct{}{}; <-leave; return nil }
	})
	first := make(chan error, 1)
	go func() { first <- r.init(r.ctx, nil) }()
	<-entered
	short, cancel := context.WithTimeout(r.ctx, 50*time.Millisecond)
	defer cancel()
	wantCode(t, r.init(short, map[string]string{"maxQueue": "1"}), codes.DeadlineExceeded)
	close(leave)
	if err := <-first; err != nil || len(entered) != 0 {
		t.Errorf("%v, %d more", err, len(entered))
	}
}

func TestInitFile(t *testing.T) {
	t.Parallel()
	folder := shortDir(t)
	path := filepath.Join(folder, ".entities", "init.json")
	in := func(c *Config) { c.Folder = folder }
	r := start(t, in)
	if kept, err := r.Kept(); err != nil || len(kept) != 0 {
		t.Fatalf("%v, %v", kept, err)
	}
	if err := r.initBinding(as(t, "b"), nil); err != nil {
		t.Fatal(err)
	}
	if err := r.init(r.ctx, map[string]string{"journal": "postgres://u:hunter2@h/d", "maxQueue": "3"}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	r.stop()

	r = start(t, in)
	kept, err := r.Kept()
	if err != nil || len(kept) != 2 || kept[0].String() != "state.entities store" || kept[1].String() != "bindings.entities b" {
		t.Fatalf("%v, %v", kept, err)
	}
	if s := fmt.Sprintf("%v %+v %#v %s", kept, kept, kept, kept[0]); strings.Contains(s, "hunter2") {
		t.Errorf("a password shows: %s", s)
	}
	for _, k := range kept {
		if err := r.Resume(r.ctx, k); err != nil {
			t.Error(err)
		}
	}
	if len(r.inits) != 1 || r.inits[0].MaxQueue != 3 || r.inits[0].Journal.Source.Reveal() != "postgres://u:hunter2@h/d" {
		t.Errorf("%+v", r.inits)
	}
	if _, err := r.binding.ListOperations(as(t, "b"), &components.ListOperationsRequest{}); err != nil {
		t.Error(err)
	}
	// Init goes over the file; a Resume that comes after it does nothing.
	if err := r.init(r.ctx, map[string]string{"maxQueue": "4"}); err != nil || len(r.inits) != 2 {
		t.Fatalf("%v, %d", err, len(r.inits))
	}
	if err := r.Resume(r.ctx, kept[0]); err != nil || len(r.inits) != 2 {
		t.Fatalf("%v, %d", err, len(r.inits))
	}
	// A failed Init leaves the file as it was.
	before, _ := os.ReadFile(path)
	r.init(r.ctx, map[string]string{"nonsense": "x"})
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) || !bytes.Contains(after, []byte(`"4"`)) {
		t.Errorf("%s", after)
	}
	if err := r.init(r.ctx, map[string]string{"initFile": "off"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(folder, ".entities", "init-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestInitFileOfOthers(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	dir := t.TempDir()
	f := &initFile{path: filepath.Join(dir, "init.json"), logger: slog.New(slog.NewTextHandler(&log, nil))}
	if err := f.save([]Kept{{Type: stateType, Name: "s", properties: map[string]string{"a": "b"}}}); err != nil {
		t.Fatal(err)
	}
	os.Chmod(f.path, 0o644)
	if kept, err := f.load(); err != nil || len(kept) != 1 || !strings.Contains(log.String(), "could be read by others") {
		t.Errorf("%v, %v, %s", kept, err, log.String())
	}
	if info, _ := os.Lstat(f.path); info.Mode().Perm() != 0o600 {
		t.Errorf("%v", info.Mode())
	}
	os.Rename(f.path, filepath.Join(dir, "real"))
	os.Symlink(filepath.Join(dir, "real"), f.path)
	if _, err := f.load(); err == nil {
		t.Error("followed a link")
	}
	os.Remove(f.path)
	os.Mkdir(f.path, 0o700)
	if _, err := f.load(); err == nil {
		t.Error("read a folder")
	}
}

func FuzzInitFile(f *testing.F) {
	f.Add([]byte(`{"version":1,"instances":[{"type":"state.entities","name":"s","metadata":{"journal":"memory:"}}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"instances":[{"type":"x"}]}`))
	f.Add([]byte(`hunter2`))
	f.Fuzz(func(t *testing.T, data []byte) {
		kept, err := parseInitFile(data, "/path")
		if err != nil {
			if len(err.Error()) > 300 {
				t.Errorf("quotes too much: %v", err)
			}
			return
		}
		for _, k := range kept {
			if k.Type != stateType && k.Type != bindingType {
				t.Errorf("%+v", k)
			}
		}
	})
}
