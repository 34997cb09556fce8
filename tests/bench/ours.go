package main

import (
	"context"
	"fmt"

	runtimev1 "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/dapr-entities/entities/tests/harness"
)

// What tests/bench/account serves.
const (
	accountService = "bench.v1.Account"
	accountType    = "Account"
)

// startOurs starts the component, with its journal in the same Postgres unless told another, and the handler in a
// process of its own.
func (s *stage) startOurs(ctx context.Context, journal string, profile bool) (*system, error) {
	if err := s.postgres.create(ctx, "ours"); err != nil {
		return nil, err
	}

	if journal == "" {
		journal = s.postgres.URL("ours")
	}

	arguments := []string{"--logLevel", "warn"}
	if profile {
		arguments = append(arguments, "--pprof")
	}

	options := s.daprd("ours")

	ports, err := harness.FreePorts(1)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}

	gateway := fmt.Sprintf("127.0.0.1:%d", ports[0])

	host, err := s.cluster.StartHost(ctx, harness.HostOptions{
		Name:       "ours",
		AppID:      options.AppID,
		Placement:  s.placement.Address,
		Journal:    journal,
		ActorTypes: []string{accountType, protoType},
		Metadata:   map[string]string{"gatewayAddress": gateway},
		Component:  harness.ComponentOptions{Args: arguments},
		Handler:    harness.HandlerOptions{Package: "tests/bench/account"},
		Daprd:      options,
	})
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the process
	}

	made, err := s.add(ctx, "ours", accountType, host.Daprd, map[role]*harness.Process{
		component: host.Component.Process, handler: host.Handler.Process,
	})
	if err != nil {
		return nil, err
	}

	made.profiles[component] = host.Component.Admin

	made.gateway, err = grpc.NewClient(gateway, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("dial the gateway: %w", err)
	}

	return made, nil
}

func actorCall(s *system) call {
	return func(ctx context.Context, id string) error {
		data, err := s.invoke(ctx, accountType, id, "Deposit", deposit)
		if err != nil {
			return err
		}

		_, err = parseBalance(data)

		return err
	}
}

func bindingCall(s *system) call {
	return func(ctx context.Context, id string) error {
		data, err := s.bind(ctx, id, "Deposit", deposit)
		if err != nil {
			return err
		}

		_, err = parseBalance(data)

		return err
	}
}

// bind sends a command through the output binding.
func (s *system) bind(ctx context.Context, id, command string, data []byte) ([]byte, error) {
	response, err := s.dapr.InvokeBinding(ctx, &runtimev1.InvokeBindingRequest{
		Name: harness.BindingName, Operation: "invoke", Data: data,
		Metadata: map[string]string{"service": accountService, "id": id, "command": command},
	})

	return response.GetData(), err //nolint:wrapcheck // reported as it is, once per row
}

func ourTotal(s *system) balanceOf {
	return func(ctx context.Context, id string) (int64, error) {
		data, err := s.invoke(ctx, accountType, id, "Balance", []byte("{}"))
		if err != nil {
			return 0, fmt.Errorf("read the balance of %s: %w", id, err)
		}

		return parseBalance(data)
	}
}
