package daprapi

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	runtime "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestEndpoint(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		endpoint, target string
		secure           bool
	}{
		{"127.0.0.1:50001", "127.0.0.1:50001", false},
		{"localhost", "localhost:50001", false},
		{"[::1]:7", "[::1]:7", false},
		{"http://dapr", "dapr:80", false},
		{"http://dapr:3501/", "dapr:3501", false},
		{"https://dapr.example.com", "dapr.example.com:443", true},
		{"https://dapr.example.com:8443", "dapr.example.com:8443", true},
		{"dapr:50001?tls=true", "dapr:50001", true},
		{"grpcs://dapr", "dapr:50001", true},
		{"unix:///run/dapr.sock", "unix:///run/dapr.sock", false},
		{"unix:/run/dapr.sock", "unix:/run/dapr.sock", false},
		{"dns:///dapr:1", "dns:///dapr:1", false},
	} {
		target, secure, err := parseEndpoint(c.endpoint)
		if err != nil || target != c.target || secure != c.secure {
			t.Errorf("%s: got %s, %t, %v", c.endpoint, target, secure, err)
		}
	}
	for _, endpoint := range []string{"ftp://dapr", "http://", "http://dapr/path", "https://me:hunter2@dapr", "http://me:hunter2@%zz", ":1:2:3"} {
		if _, _, err := parseEndpoint(endpoint); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", endpoint, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Getenv: env(nil)}, "127.0.0.1:50001"},
		{Config{Getenv: env(map[string]string{"DAPR_GRPC_PORT": "7"})}, "127.0.0.1:7"},
		{Config{Getenv: env(map[string]string{"DAPR_GRPC_PORT": "7", "DAPR_GRPC_ENDPOINT": "http://e:8"})}, "http://e:8"},
		{Config{Endpoint: "x:9", Getenv: env(map[string]string{"DAPR_GRPC_ENDPOINT": "http://e:8"})}, "x:9"},
	} {
		client, err := Dial(c.config)
		if err != nil {
			t.Fatal(err)
		}
		if client.Endpoint() != c.want {
			t.Errorf("got %s, want %s", client.Endpoint(), c.want)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := Dial(Config{Timeout: -1, MaxRequest: -1, MaxReply: -1, Token: "sec\nret"})
	for _, want := range []string{"timeout", "request", "reply", "token"} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sec") {
			t.Errorf("no word of the %s in %v", want, err)
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	s := &sidecar{metadata: func() (*runtime.GetMetadataResponse, error) {
		return &runtime.GetMetadataResponse{
			Id: "shop", RuntimeVersion: "1.18.2",
			RegisteredComponents: []*runtime.RegisteredComponents{
				{Name: "entities", Type: "state.entities", Version: "v1", Capabilities: []string{"ETAG", "ACTOR"}},
			},
			ActorRuntime: &runtime.ActorRuntime{
				RuntimeStatus: runtime.ActorRuntime_RUNNING, HostReady: true, Placement: "placement: connected",
				ActiveActors: []*runtime.ActiveActorsCount{{Type: "Cart", Count: 3}},
			},
		}, nil
	}}
	got, err := s.start(t, Config{}).Metadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := Sidecar{
		AppID: "shop", Version: "1.18.2",
		Components: []Component{{Name: "entities", Type: "state.entities", Version: "v1", Capabilities: []string{"ETAG", "ACTOR"}}},
		Actors:     Actors{Enabled: true, Registered: true, Ready: true, Placement: "placement: connected", Active: map[string]int{"Cart": 3}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, ok := got.Component("other"); ok {
		t.Error("a component that is not there is there")
	}
}

func TestWaitReady(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	s := &sidecar{metadata: func() (*runtime.GetMetadataResponse, error) {
		if calls.Add(1) < 3 {
			return nil, status.Error(codes.Unavailable, "starting")
		}
		return &runtime.GetMetadataResponse{}, nil
	}}
	if err := s.start(t, Config{}).WaitReady(t.Context()); err != nil || calls.Load() != 3 {
		t.Errorf("got %v after %d calls", err, calls.Load())
	}

	refusing := &sidecar{metadata: func() (*runtime.GetMetadataResponse, error) {
		return nil, status.Error(codes.Unauthenticated, "missing token")
	}}
	if err := refusing.start(t, Config{}).WaitReady(t.Context()); err == nil || !strings.Contains(err.Error(), "DAPR_API_TOKEN") {
		t.Errorf("got %v", err)
	}

	nobody, err := Dial(Config{Endpoint: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	if err := nobody.WaitReady(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("got %v", err)
	}
}

func TestShutdown(t *testing.T) {
	t.Parallel()
	s := &sidecar{shutdown: func() error { return nil }}
	if err := s.start(t, Config{}).Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	s = &sidecar{shutdown: func() error { return status.Error(codes.PermissionDenied, "no") }}
	if err := s.start(t, Config{}).Shutdown(t.Context()); err == nil || !strings.Contains(err.Error(), "DAPR_API_TOKEN") {
		t.Errorf("got %v", err)
	}
}
