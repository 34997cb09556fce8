// Command account does with an event-sourced entity what command plainactor does with an actor: a deposit adds to the
// balance. It writes one small event per deposit and a snapshot every 100 events, as entities do by default.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
)

type (
	amount struct {
		Amount int64 `json:"amount"`
	}
	balance struct {
		Balance int64 `json:"balance"`
	}
	nothing struct{}
)

const (
	service = "bench.v1.Account"

	deposit sdk.Method[amount, balance]  = service + "/Deposit"
	get     sdk.Method[nothing, balance] = service + "/Balance"
)

// The state is the balance, the event the amount.
type (
	state     balance
	deposited amount
	turn      = eventsourced.Turn[state]
)

var account = eventsourced.Entity[state]{
	Service: service,
	Commands: []eventsourced.Command[state]{
		eventsourced.Handle(deposit, func(_ context.Context, t *turn, in amount) (balance, error) {
			t.Emit(deposited(in))

			return balance(*t.State()), nil
		}),
		eventsourced.Handle(get, func(_ context.Context, t *turn, _ nothing) (balance, error) {
			return balance(*t.State()), nil
		}),
	},
	Events: []eventsourced.Event[state]{
		eventsourced.On("deposited", func(s *state, e deposited) { s.Balance += e.Amount }),
	},
	// As long as Dapr keeps an actor, so that neither is loaded anew in every round.
	Idle: time.Hour,
}

func main() {
	address := flag.String("address", sdk.Address(), "where to listen; by default $HOST:$PORT")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := run(ctx, *address); err != nil {
		fmt.Fprintln(os.Stderr, "account:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, address string) error {
	server := sdk.NewServer(sdk.Config{Name: "bench", Version: sdk.Version})
	if err := server.Register(account, protoAccount, echo); err != nil {
		return fmt.Errorf("register the services: %w", err)
	}

	return server.ListenAndServe(ctx, address) //nolint:wrapcheck // it says what it did
}
