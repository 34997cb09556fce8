package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"

	commonv1 "github.com/dapr/dapr/pkg/proto/common/v1"
	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"

	"github.com/dapr-entities/entities/tests/harness"
)

// stateValue is what the keys of the state rows have.
var stateValue = []byte(`{"text":"` + string(bytes.Repeat([]byte{'x'}, 200-11)) + `"}`)

// against names the rows that those of the state API are divided by in the table. The state store of every system is
// called the same.
var against = map[string]string{
	rowSetPostgres: rowSetPostgres, rowSet: rowSetPostgres, rowSetRedis: rowSetPostgres,
	rowGetPostgres: rowGetPostgres, rowGet: rowGetPostgres, rowGetRedis: rowGetPostgres,
}

// startStored is the same app with plain actors as that of startPlain, on state.entities. There is no user function: the
// component is nothing but a state store.
func (s *stage) startStored(ctx context.Context, journal string, profile bool) (*system, error) {
	if err := s.postgres.create(ctx, "stored"); err != nil {
		return nil, err
	}

	if journal == "" {
		journal = s.postgres.URL("stored")
	}

	arguments := []string{"--logLevel", "warn"}
	if profile {
		arguments = append(arguments, "--pprof")
	}

	options := s.daprd("stored")

	app, err := s.plainActors(ctx, &options)
	if err != nil {
		return nil, err
	}

	host, err := s.cluster.StartHost(ctx, harness.HostOptions{
		Name: "stored", AppID: options.AppID, Placement: s.placement.Address, Journal: journal,
		Metadata:  map[string]string{"host": "false"},
		Component: harness.ComponentOptions{Args: arguments},
		Daprd:     options,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the process
	}

	made, err := s.add(ctx, "stored", plainType, host.Daprd, map[role]*harness.Process{
		component: host.Component.Process, handler: app,
	})
	if err == nil {
		made.profiles[component] = host.Component.Admin
	}

	return made, err
}

// startRedis is a state store that is known to be fast, made to have on disk what it acknowledges.
func (s *stage) startRedis(ctx context.Context, data string) (*system, error) {
	folder, err := os.MkdirTemp(data, "entities-redis-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for redis: %w", err)
	}

	s.folders = append(s.folders, folder)

	redis, err := s.cluster.StartRedis(ctx, "--appendfsync", "always", "--dir", folder)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the process
	}

	resources, err := s.resources("redis", map[string]string{
		"statestore.yaml": string(redis.Component(harness.StateName, "state.redis", "")),
	})
	if err != nil {
		return nil, err
	}

	options := s.daprd("redis")
	options.Resources = []string{resources}

	daprd, err := s.cluster.StartDaprd(ctx, options)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the process
	}

	return s.dial("redis", daprd.GRPCAddress(), map[role]*harness.Process{sidecar: daprd.Process, component: redis.Process})
}

func setCall(s *system) call {
	return func(ctx context.Context, id string) error {
		_, err := s.dapr.SaveState(ctx, &runtimev1.SaveStateRequest{
			StoreName: harness.StateName, States: []*commonv1.StateItem{{Key: id, Value: stateValue}},
		})

		return err //nolint:wrapcheck // reported as it is, once per row
	}
}

func getCall(s *system) call {
	return func(ctx context.Context, id string) error {
		got, err := s.dapr.GetState(ctx, &runtimev1.GetStateRequest{StoreName: harness.StateName, Key: id})
		if err == nil && !bytes.Equal(got.GetData(), stateValue) {
			return fmt.Errorf("the value of %s is %.100q", id, got.GetData())
		}

		return err //nolint:wrapcheck // reported as it is, once per row
	}
}

// writes tells how often a key was set. The ETags of these stores count that.
func writes(s *system) balanceOf {
	return func(ctx context.Context, id string) (int64, error) {
		got, err := s.dapr.GetState(ctx, &runtimev1.GetStateRequest{StoreName: harness.StateName, Key: id})
		if err != nil {
			return 0, fmt.Errorf("read the ETag of %s: %w", id, err)
		}

		return strconv.ParseInt(got.GetEtag(), 10, 64) //nolint:wrapcheck // it shows the ETag
	}
}
