package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/dapr-entities/entities/tests/harness"
)

// system is one way to run stateful things on Dapr: a sidecar and what stands behind it.
type system struct {
	name      string
	processes map[role]*harness.Process
	profiles  map[role]string // URLs that answer with a CPU profile
	dapr      runtimev1.DaprClient
	conn      *grpc.ClientConn
	gateway   *grpc.ClientConn // nil if it has none
}

// stage is what all systems share.
type stage struct {
	cluster   *harness.Cluster
	placement *harness.Placement
	postgres  *server
	systems   []*system
	folders   []string // outside of the cluster's, to be removed
}

// daprd returns what all sidecars are started with. The namespaces keep their placement tables apart: otherwise the
// host of one system that comes up would stop the actors of the others.
func (s *stage) daprd(name string) harness.DaprdOptions {
	return harness.DaprdOptions{
		AppID:     "bench-" + name,
		Placement: s.placement.Address,
		LogLevel:  "warn",
		Env:       []string{"NAMESPACE=bench-" + name},
		Args:      []string{"--enable-profiling"},
	}
}

// add connects to a sidecar that hosts the actor type, or is about to.
func (s *stage) add(
	ctx context.Context, name, actorType string, daprd *harness.Daprd, processes map[role]*harness.Process,
) (*system, error) {
	ready, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()

	if err := harness.Poll(ready, 50*time.Millisecond, daprd.ActorReady(actorType)); err != nil {
		return nil, fmt.Errorf("start system %s: %w", name, err)
	}

	processes[sidecar] = daprd.Process

	made, err := s.dial(name, daprd.GRPCAddress(), processes)
	if err == nil {
		made.profiles[sidecar] = fmt.Sprintf("http://127.0.0.1:%d", daprd.Options.Ports.Profile)
	}

	return made, err
}

// dial makes a system of processes that run.
func (s *stage) dial(name, address string, processes map[role]*harness.Process) (*system, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", name, err)
	}

	made := &system{
		name: name, processes: processes, profiles: make(map[role]string),
		dapr: runtimev1.NewDaprClient(conn), conn: conn,
	}
	s.systems = append(s.systems, made)

	return made, nil
}

// resources writes component files into a folder of their own.
func (s *stage) resources(name string, files map[string]string) (string, error) {
	folder, err := s.cluster.SubFolder("resources", name)
	if err != nil {
		return "", err //nolint:wrapcheck // it says what it did
	}

	for file, text := range files {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("write a component file: %w", err)
		}
	}

	return folder, nil
}

// invoke calls a method of an actor.
func (s *system) invoke(ctx context.Context, actorType, id, method string, data []byte) ([]byte, error) {
	response, err := s.dapr.InvokeActor(ctx, &runtimev1.InvokeActorRequest{
		ActorType: actorType, ActorId: id, Method: method, Data: data, Metadata: jsonMetadata,
	})

	return response.GetData(), err //nolint:wrapcheck // reported as it is, once per row
}

// Never written to after this, so all callers share it.
var jsonMetadata = map[string]string{"content-type": "application/json"}

// startNull is the load generator alone.
func (s *stage) startNull(ctx context.Context) (*system, error) {
	binary, err := harness.Build(ctx, "tests/bench/nullserver")
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}

	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}

	address := fmt.Sprintf("127.0.0.1:%d", ports[0])

	server, err := s.cluster.Start(ctx, harness.Command{
		Name: "nullserver", Path: binary, Args: []string{"-address", address}, Ready: harness.TCPReady(address),
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the process
	}

	return s.dial("null", address, map[role]*harness.Process{component: server})
}

// startEcho is the ceiling: the actor stream with nothing behind it.
func (s *stage) startEcho(ctx context.Context) (*system, error) {
	const actorType = "Echo"

	binary, err := harness.Build(ctx, "tests/bench/echohost")
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}

	daprd, err := s.cluster.StartDaprd(ctx, s.daprd("echo"))
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the process
	}

	host, err := s.cluster.Start(ctx, harness.Command{
		Name: "echohost", Path: binary, Args: []string{"-dapr", daprd.GRPCAddress(), "-type", actorType},
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the process
	}

	return s.add(ctx, "echo", actorType, daprd, map[role]*harness.Process{component: host})
}

// startPlain is what users of Dapr have today.
func (s *stage) startPlain(ctx context.Context) (*system, error) {
	if err := s.postgres.create(ctx, "plain"); err != nil {
		return nil, err
	}

	store := fmt.Sprintf(statestore, s.postgres.URL("plain"))

	folder, err := s.resources("plain", map[string]string{"statestore.yaml": store})
	if err != nil {
		return nil, err
	}

	options := s.daprd("plain")
	options.Resources = []string{folder}

	app, err := s.plainActors(ctx, &options)
	if err != nil {
		return nil, err
	}

	daprd, err := s.cluster.StartDaprd(ctx, options)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the process
	}

	return s.add(ctx, "plain", plainType, daprd, map[role]*harness.Process{handler: app})
}

// plainActors starts the app with plain actors for the sidecar that is to be started next with the options.
func (s *stage) plainActors(ctx context.Context, options *harness.DaprdOptions) (*harness.Process, error) {
	binary, err := harness.Build(ctx, "tests/bench/plainactor")
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}

	if options.Ports, err = harness.FreeDaprdPorts(); err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}

	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}

	options.AppPort = ports[0]
	address := fmt.Sprintf("127.0.0.1:%d", options.AppPort)

	return s.cluster.Start(ctx, harness.Command{ //nolint:wrapcheck // it names the process
		Name: "plainactor", Path: binary, Args: []string{"-address", address},
		Env:   []string{fmt.Sprintf("DAPR_GRPC_PORT=%d", options.Ports.GRPC)},
		Ready: harness.TCPReady(address),
	})
}

const plainType = "PlainAccount"

// statestore takes the URL of the database; everything else is Dapr's default.
const statestore = `apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: entities
spec:
  type: state.postgresql
  version: v2
  metadata:
  - {name: connectionString, value: "%s"}
  - {name: actorStateStore, value: "true"}
`
