package building

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	components "github.com/dapr/dapr/pkg/proto/components/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/memory"
	"github.com/dapr-entities/entities/actors/journal/postgres"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
	"github.com/dapr-entities/entities/component/config"
)

func TestMain(m *testing.M) {
	// The PostgreSQL that tests share ends with the process.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest.(*Server).Restart.func1"),
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).writerDescriptor.func1"))
}

// rig is a server on a real socket and a connection to it, such as a sidecar makes.
type rig struct {
	*Server
	folder string
	conn   *grpc.ClientConn
	ctx    context.Context // names the component "store"
	state  struct {
		components.StateStoreClient
		components.TransactionalStateStoreClient
		components.TransactionalStoreMultiMaxSizeClient
	}
	binding components.OutputBindingClient
	stop    func() error

	mu    sync.Mutex
	inits []config.Config
}

// shortDir is a temporary folder with a path that a socket's address has room for.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ent") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// start runs a server. Whatever change sets in the Config holds.
func start(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{folder: filepath.Join(shortDir(t), "sockets")}
	c := Config{
		Folder: r.folder,
		Logger: slog.New(slog.DiscardHandler),
		OnInit: func(_ context.Context, c config.Config) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.inits = append(r.inits, c)
			return nil
		},
	}
	if change != nil {
		change(&c)
	}
	r.folder = c.Folder
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-s.Ready():
	case err := <-done:
		done <- nil
		t.Fatal(err)
	case <-time.After(10 * time.Second):
		t.Fatal("the socket is not served")
	}
	r.conn, err = grpc.NewClient("unix:"+r.path(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.conn.Close() })
	r.ctx = as(t, "store")
	r.state.StateStoreClient = components.NewStateStoreClient(r.conn)
	r.state.TransactionalStateStoreClient = components.NewTransactionalStateStoreClient(r.conn)
	r.state.TransactionalStoreMultiMaxSizeClient = components.NewTransactionalStoreMultiMaxSizeClient(r.conn)
	r.binding = components.NewOutputBindingClient(r.conn)
	return r
}

func (r *rig) path() string { return filepath.Join(r.folder, "entities.sock") }

// as is the context of a request for the component with that name.
func as(t testing.TB, name string) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "x-component-instance", name)
}

func (r *rig) init(ctx context.Context, properties map[string]string) error {
	_, err := r.state.Init(ctx, &components.InitRequest{Metadata: &components.MetadataRequest{Properties: properties}})
	return err
}

func (r *rig) initBinding(ctx context.Context, properties map[string]string) error {
	_, err := r.binding.Init(ctx, &components.OutputBindingInitRequest{Metadata: &components.MetadataRequest{Properties: properties}})
	return err
}

// store is a rig whose state store and binding are ready, on a journal.
func store(t testing.TB, j Journal, properties map[string]string) *rig {
	t.Helper()
	r := start(t, nil)
	if j == nil {
		j = memory.Open()
	}
	r.Attach(Runtime{Journal: j, Entities: actors.HandlerFunc(func(context.Context, actors.Command) (actors.Outcome, error) {
		return actors.Outcome{}, actors.Errorf(actors.Unimplemented, "no entities here")
	})})
	if err := r.init(r.ctx, properties); err != nil {
		t.Fatal(err)
	}
	return r
}

func wantCode(t testing.TB, err error, code codes.Code) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("got %v, want the code %v", err, code)
	}
}

func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come")
		}
	}
}

// onEach runs a test on each back end.
func onEach(t *testing.T, test func(t *testing.T, j Journal)) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		test(t, memory.Open())
	})
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		j, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "entities.db")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { j.Close() })
		test(t, j)
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		j, err := postgres.Open(t.Context(), postgres.Config{URL: postgrestest.URL(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { j.Close() })
		test(t, j)
	})
}
