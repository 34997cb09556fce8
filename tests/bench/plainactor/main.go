// Command plainactor is what users of Dapr have today: an account as an actor of the Go SDK, served to daprd over HTTP,
// its balance in the actor state store. Every deposit reads the balance and writes it; the SDK keeps what it has read,
// so from the second deposit on only the write leaves the process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/dapr/go-sdk/actor"
	daprd "github.com/dapr/go-sdk/service/http"
)

// The SDK finds its sidecar by DAPR_GRPC_PORT.
func main() {
	address := flag.String("address", "127.0.0.1:8080", "where daprd reaches the actors")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	service := daprd.NewService(*address)
	service.RegisterActorImplFactoryContext(func() actor.ServerContext { return new(Account) })

	context.AfterFunc(ctx, func() { _ = service.Stop() }) // Start returns then

	if err := service.Start(); err != nil && !errors.Is(err, http.ErrServerClosed) {
		slog.Error("plainactor ended", "error", err)
		os.Exit(1)
	}
}

const balanceKey = "balance"

// Account has one key of state. The SDK wants it exported.
type Account struct {
	actor.ServerImplBaseCtx
}

// Amount is what to deposit.
type Amount struct {
	Amount int64 `json:"amount"`
}

// Balance is what is there.
type Balance struct {
	Balance int64 `json:"balance"`
}

// Type is the actor type.
func (*Account) Type() string { return "PlainAccount" }

// Deposit adds to the balance. The SDK saves the state before it answers.
func (a *Account) Deposit(ctx context.Context, amount *Amount) (*Balance, error) {
	current, err := a.read(ctx)
	if err != nil {
		return nil, err
	}

	current += amount.Amount
	if err := a.GetStateManager().Set(ctx, balanceKey, current); err != nil {
		return nil, fmt.Errorf("write the balance of %s: %w", a.ID(), err)
	}

	return &Balance{Balance: current}, nil
}

// Balance tells the balance.
func (a *Account) Balance(ctx context.Context) (*Balance, error) {
	current, err := a.read(ctx)
	if err != nil {
		return nil, err
	}

	return &Balance{Balance: current}, nil
}

// read asks first whether there is a balance, for the SDK's Get takes a missing key for an error.
func (a *Account) read(ctx context.Context) (int64, error) {
	exists, err := a.GetStateManager().Contains(ctx, balanceKey)
	if err != nil || !exists {
		return 0, err
	}

	var current int64
	if err := a.GetStateManager().Get(ctx, balanceKey, &current); err != nil {
		return 0, fmt.Errorf("read the balance of %s: %w", a.ID(), err)
	}

	return current, nil
}
