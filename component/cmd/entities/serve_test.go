package main

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

func serve(t *testing.T, folder string) *process {
	t.Helper()
	p := entities(t, "serve", "--adminAddress", "off", "--socketFolder", folder)
	p.says("serving the socket")
	return p
}

func answers(t *testing.T, folder string) {
	t.Helper()
	conn, err := net.Dial("unix", filepath.Join(folder, "entities.sock"))
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestServeStops(t *testing.T) {
	t.Parallel()
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			folder := shortDir(t)
			p := serve(t, folder)
			answers(t, folder)
			p.signal(s)
			p.exits(0)
			if _, err := os.Lstat(filepath.Join(folder, "entities.sock")); !os.IsNotExist(err) {
				t.Errorf("the socket is left: %v", err)
			}
		})
	}
}

// A folder belongs to one component; the one that comes second says so and does no harm to the first.
func TestServeOnATakenSocket(t *testing.T) {
	t.Parallel()
	folder := shortDir(t)
	first := serve(t, folder)
	for _, args := range [][]string{
		{"serve", "--adminAddress", "off", "--socketFolder", folder},
		{"run", "--adminAddress", "off", "--socketFolder", folder, "--", "sleep", "100"},
	} {
		second := entities(t, args...)
		second.exits(1)
		second.says("is served by another process; stop it, or give each sidecar a socketFolder of its own")
	}
	answers(t, folder)
	first.signal(syscall.SIGTERM)
	first.exits(0)
}

// The socket of a component that was killed is in nobody's way.
func TestServeAfterAKill(t *testing.T) {
	t.Parallel()
	folder := shortDir(t)
	first := serve(t, folder)
	first.signal(syscall.SIGKILL)
	<-first.ended
	if _, err := os.Lstat(filepath.Join(folder, "entities.sock")); err != nil {
		t.Fatalf("a killed component leaves its socket: %v", err)
	}
	serve(t, folder)
	answers(t, folder)
}

// A sidecar that holds on to a request delays the end; whoever cannot wait asks again.
func TestServeStopsAtOnceWhenAskedTwice(t *testing.T) {
	t.Parallel()
	folder := shortDir(t)
	p := entities(t, "serve", "--adminAddress", "off", "--socketFolder", folder, "--drainTimeout", "7s")
	p.says("serving the socket")
	conn, err := grpc.NewClient("unix:"+filepath.Join(folder, "entities.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := reflection.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	request := &reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(request); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGINT)
	select {
	case <-p.ended:
		t.Fatal("it ended while a request was in progress")
	case <-time.After(300 * time.Millisecond):
	}
	began := time.Now()
	p.signal(syscall.SIGINT)
	p.exits(-1) // by the signal
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %s to end", took)
	}
}
