package eventsourced_test

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

// Account keeps a balance.
type Account struct {
	Balance int `json:"balance"`
}

type (
	Amount struct {
		Amount int `json:"amount"`
	}
	Deposited struct {
		Amount int `json:"amount"`
	}
	Withdrawn struct {
		Amount int `json:"amount"`
	}
)

const (
	Deposit  sdk.Method[Amount, Account] = "bank.v1.Account/Deposit"
	Withdraw sdk.Method[Amount, Account] = "bank.v1.Account/Withdraw"
)

var Accounts = eventsourced.Entity[Account]{
	Service: "bank.v1.Account",
	Commands: []eventsourced.Command[Account]{
		eventsourced.Handle(Deposit, deposit),
		eventsourced.Handle(Withdraw, withdraw),
	},
	Events: []eventsourced.Event[Account]{
		eventsourced.On("deposited", (*Account).deposited),
		eventsourced.On("withdrawn", (*Account).withdrawn),
	},
	SnapshotEvery: 50,
}

func deposit(_ context.Context, t *eventsourced.Turn[Account], in Amount) (Account, error) {
	t.Emit(Deposited(in))
	return *t.State(), nil
}

func withdraw(_ context.Context, t *eventsourced.Turn[Account], in Amount) (Account, error) {
	if have := t.State().Balance; have < in.Amount {
		return Account{}, sdk.Errorf(sdk.CodeFailedPrecondition, "%s has %d, which is less than %d", t.ID(), have, in.Amount)
	}
	t.Emit(Withdrawn(in))
	return *t.State(), nil
}

func (a *Account) deposited(e Deposited) { a.Balance += e.Amount }
func (a *Account) withdrawn(e Withdrawn) { a.Balance -= e.Amount }

// Plain structs travel and are stored as JSON.
func Example() {
	example(func(t testing.TB) {
		h := sdktest.New(t, Accounts, "a-1")
		fmt.Println(sdktest.Do(h, Deposit, Amount{50}).Reply)
		refused := sdktest.Do(h, Withdraw, Amount{80})
		fmt.Println(sdk.CodeOf(refused.Err), refused.Err)
		fmt.Println(sdktest.Do(h, Withdraw, Amount{20}).Events, sdktest.State[Account](h).Balance)
	})
	// Output:
	// {50}
	// FAILED_PRECONDITION a-1 has 50, which is less than 80
	// [withdrawn] 30
}

// Generated protobuf messages travel and are stored as protobuf. The state is a message too: S is the message type
// itself, and handlers get a pointer to it.
func Example_protobuf() {
	const Append sdk.Method[*wrapperspb.StringValue, *emptypb.Empty] = "example.v1.Log/Append"
	type turn = eventsourced.Turn[wrapperspb.StringValue]
	log := eventsourced.Entity[wrapperspb.StringValue]{
		Service: "example.v1.Log",
		Commands: []eventsourced.Command[wrapperspb.StringValue]{
			eventsourced.Handle(Append, func(_ context.Context, t *turn, in *wrapperspb.StringValue) (*emptypb.Empty, error) {
				t.Emit(in)
				return new(emptypb.Empty), nil
			}),
		},
		Events: []eventsourced.Event[wrapperspb.StringValue]{
			eventsourced.On("appended", func(s, e *wrapperspb.StringValue) { s.Value += e.GetValue() + ";" }),
		},
	}
	example(func(t testing.TB) {
		h := sdktest.New(t, log, "l-1")
		sdktest.Do(h, Append, wrapperspb.String("one"))
		h.Given(wrapperspb.String("two"))
		fmt.Println(sdktest.State[wrapperspb.StringValue](h).GetValue(), h.Journal())
	})
	// Output: one;two; [appended appended]
}

// New makes the state before the first event.
func ExampleEntity_new() {
	e := Accounts
	e.New = func() *Account { return &Account{Balance: 10} } // a present
	example(func(t testing.TB) {
		fmt.Println(sdktest.Do(sdktest.New(t, e, "a-2"), Withdraw, Amount{10}).Reply)
	})
	// Output: {0}
}

// A turn knows the entity, its sequence, and what came beside the command.
func ExampleTurn() {
	const Look sdk.Method[struct{}, string] = "bank.v1.Account/Look"
	e := Accounts
	e.Commands = append(e.Commands, eventsourced.Handle(Look,
		func(_ context.Context, t *eventsourced.Turn[Account], _ struct{}) (string, error) {
			return fmt.Sprintf("%s at %d: %+v, key %q", t.ID(), t.Sequence(), *t.State(), t.IdempotencyKey()), nil
		}))
	example(func(t testing.TB) {
		h := sdktest.New(t, e, "a-3")
		h.Given(Deposited{5}, Withdrawn{2})
		h.Snapshot()
		h.Reopen()
		fmt.Println(sdktest.Do(h, Look, struct{}{}).Reply)
	})
	// Output: a-3 at 2: {Balance:3}, key ""
}
