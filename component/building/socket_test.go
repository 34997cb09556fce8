package building

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"google.golang.org/grpc/codes"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	"github.com/dapr-entities/entities/component/config"
)

func TestSocketLife(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	info, err := os.Lstat(r.path())
	if err != nil || info.Mode().Type() != os.ModeSocket || info.Mode().Perm() != 0o660 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	entries, _ := os.ReadDir(r.folder)
	for _, e := range entries {
		if !e.IsDir() && e.Name() != "entities.sock" {
			t.Errorf("a sidecar would trip over %s", e.Name())
		}
	}
	if info, err := os.Lstat(filepath.Join(r.folder, ".entities")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("own folder: %v, %v", info.Mode(), err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(r.path()); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestSocketModeAndName(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(shortDir(t), "a", "b")
	for _, name := range []string{"one", "two"} { // side by side in one folder
		s, err := listen(folder, name, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		defer s.release()
		path := filepath.Join(folder, name+".sock")
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s shows before it is published: %v", name, err)
		}
		if err := s.publish(); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

// stale leaves a socket that nobody listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestStaleSocketIsReplaced(t *testing.T) {
	t.Parallel()
	folder := shortDir(t)
	stale(t, filepath.Join(folder, "entities.sock"))
	os.Mkdir(filepath.Join(folder, ".entities"), 0o755) // wider than it should be
	stale(t, filepath.Join(folder, ".entities", "s"))
	r := start(t, func(c *Config) { c.Folder = folder })
	if err := r.init(r.ctx, nil); err != nil {
		t.Error(err)
	}
	if info, _ := os.Lstat(filepath.Join(folder, ".entities")); info.Mode().Perm() != 0o700 {
		t.Errorf("own folder: %v", info.Mode())
	}
}

func TestSocketInTheWay(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prepare func(t *testing.T, folder string)
		want    string
	}{
		"our own, alive": {func(t *testing.T, folder string) { start(t, func(c *Config) { c.Folder = folder }) }, "is served by another process"},
		"a foreign one, alive": {func(t *testing.T, folder string) {
			l, err := net.Listen("unix", filepath.Join(folder, "entities.sock"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
		}, "is served by another process"},
		"a file": {func(t *testing.T, folder string) {
			os.WriteFile(filepath.Join(folder, "entities.sock"), nil, 0o600)
		}, "not a socket; remove it"},
		"a file for a folder": {func(t *testing.T, folder string) {
			os.WriteFile(filepath.Join(folder, ".entities"), nil, 0o600)
		}, "is not a folder of this user"},
		"a link for a lock": {func(t *testing.T, folder string) {
			os.Mkdir(filepath.Join(folder, ".entities"), 0o700)
			os.Symlink("/dev/null", filepath.Join(folder, ".entities", "lock"))
		}, "open the lock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := shortDir(t)
			test.prepare(t, folder)
			before, _ := os.Lstat(filepath.Join(folder, "entities.sock"))
			s, err := New(Config{Folder: folder, OnInit: func(context.Context, config.Config) error { return nil }})
			if err != nil {
				t.Fatal(err)
			}
			err = s.Run(context.Background())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want: %s", err, test.want)
			}
			after, _ := os.Lstat(filepath.Join(folder, "entities.sock"))
			if (before == nil) != (after == nil) || before != nil && !os.SameFile(before, after) {
				t.Error("what was in the way was touched")
			}
		})
	}
}

func TestSocketPathTooLong(t *testing.T) {
	t.Parallel()
	_, err := listen("/tmp/"+strings.Repeat("x", 100), "entities", 0o600)
	if err == nil || !strings.Contains(err.Error(), "choose a shorter socketFolder") {
		t.Error(err)
	}
}

func TestForeignSocketIsNotRemoved(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	os.Remove(r.path())
	stale(t, r.path())
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(r.path()); err != nil {
		t.Errorf("a socket that was not ours is gone: %v", err)
	}
}

// TestReflection asks as daprd does (v1alpha), and as everybody else does.
func TestReflection(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	want := []string{
		"dapr.proto.components.v1.InputBinding", "dapr.proto.components.v1.OutputBinding", "dapr.proto.components.v1.PubSub", "dapr.proto.components.v1.StateStore",
		"dapr.proto.components.v1.TransactionalStateStore", "dapr.proto.components.v1.TransactionalStoreMultiMaxSize",
		"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
	}
	alpha, err := reflectionalpha.NewServerReflectionClient(r.conn).ServerReflectionInfo(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	alpha.Send(&reflectionalpha.ServerReflectionRequest{MessageRequest: &reflectionalpha.ServerReflectionRequest_ListServices{}})
	a, err := alpha.Recv()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range a.GetListServicesResponse().GetService() {
		got = append(got, s.GetName())
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	v1, err := reflection.NewServerReflectionClient(r.conn).ServerReflectionInfo(r.ctx)
	if err != nil {
		t.Fatal(err)
	}
	v1.Send(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_ListServices{}})
	if b, err := v1.Recv(); err != nil || len(b.GetListServicesResponse().GetService()) != len(want) {
		t.Errorf("%v, %v", b, err)
	}
	alpha.CloseSend()
	v1.CloseSend()
}

func TestLargeRequestAndPanic(t *testing.T) {
	t.Parallel()
	seen := make(chan codes.Code, 10)
	r := start(t, func(c *Config) {
		c.MaxMessage = 6 << 20
		c.Observe = func(_ string, code codes.Code, _ time.Duration) { seen <- code }
		c.OnInit = func(context.Context, config.Config) error { panic("by design") }
	})
	err := r.init(r.ctx, map[string]string{"userFunction": strings.Repeat("x", 5<<20)})
	wantCode(t, err, codes.Internal) // it got through, to the panic
	if code := <-seen; code != codes.Internal {
		t.Errorf("observed %v", code)
	}
	wantCode(t, r.init(r.ctx, map[string]string{"userFunction": strings.Repeat("x", 7<<20)}), codes.ResourceExhausted)
	if _, err := r.state.Ping(r.ctx, &components.PingRequest{}); err != nil {
		t.Errorf("after a panic: %v", err)
	}
	// The turn of init was given back.
	wantCode(t, r.init(r.ctx, nil), codes.Internal)
}

// TestDrain: a request in progress ends well although the socket is gone.
func TestDrain(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	r := start(t, func(c *Config) {
		c.OnInit = func(context.Context, config.Config) error { close(entered); <-leave; return nil }
	})
	ended := make(chan error, 1)
	go func() { ended <- r.init(r.ctx, nil) }()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	for {
		if _, err := os.Lstat(r.path()); os.IsNotExist(err) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(leave)
	if err := <-ended; err != nil {
		t.Errorf("the request was cut off: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestConfigProblems(t *testing.T) {
	t.Parallel()
	_, err := New(Config{DrainTimeout: -1, Mode: 1 << 20})
	for _, want := range []string{"OnInit is missing", "negative", "not a file mode"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say: %s", err, want)
		}
	}
}
