// Package bank is a sample: accounts, and transfers between them that survive a crash at every step. An account and a
// transfer are event-sourced entities, and the steps of a transfer are effects, which are stored with the events that ask
// for them and take effect once. So money is neither lost nor made. cmd/bank serves both.
package bank

import (
	"context"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
)

const accountService = "bank.v1.Account"

// The methods of accounts. The last three are steps of a transfer, which sends them itself.
const (
	Open     sdk.Method[struct{}, Balance] = accountService + "/Open"
	Deposit  sdk.Method[Money, Balance]    = accountService + "/Deposit"
	Withdraw sdk.Method[Money, Balance]    = accountService + "/Withdraw"
	Show     sdk.Method[struct{}, Balance] = accountService + "/Balance"

	Debit  sdk.Method[Step, struct{}] = accountService + "/Debit"
	Credit sdk.Method[Step, struct{}] = accountService + "/Credit"
	Refund sdk.Method[Step, struct{}] = accountService + "/Refund"
)

// Money is an amount in the smallest unit of the currency.
type Money struct {
	Amount int64 `json:"amount"`
}

// Balance of an account.
type Balance struct {
	Balance int64 `json:"balance"`
}

// Step is a transfer's request to one of its accounts.
type Step struct {
	Transfer string `json:"transfer"`
	Amount   int64  `json:"amount"`
}

// Account is the state of one.
type Account struct {
	Opened  bool  `json:"opened"`
	Balance int64 `json:"balance"`
}

// The events of accounts. Transfer is empty in those of callers.
type (
	opened    struct{}
	deposited struct {
		Amount   int64  `json:"amount"`
		Transfer string `json:"transfer,omitempty"`
	}
	withdrawn struct {
		Amount   int64  `json:"amount"`
		Transfer string `json:"transfer,omitempty"`
	}
)

// maxBalance keeps amounts where every reader of JSON has them exactly.
const maxBalance = 1 << 53

// Accounts is the definition of their service.
var Accounts = eventsourced.Entity[Account]{
	Service: accountService,
	Commands: []eventsourced.Command[Account]{
		eventsourced.Handle(Open, open),
		eventsourced.Handle(Deposit, deposit),
		eventsourced.Handle(Withdraw, withdraw),
		eventsourced.Handle(Show, show),
		eventsourced.Handle(Debit, debit),
		eventsourced.Handle(Credit, credit),
		eventsourced.Handle(Refund, refund),
	},
	Events: []eventsourced.Event[Account]{
		eventsourced.On("opened", func(a *Account, _ opened) { a.Opened = true }),
		eventsourced.On("deposited", func(a *Account, e deposited) { a.Balance += e.Amount }),
		eventsourced.On("withdrawn", func(a *Account, e withdrawn) { a.Balance -= e.Amount }),
	},
	SnapshotEvery: 50,
}

type account = eventsourced.Turn[Account]

func open(_ context.Context, t *account, _ struct{}) (Balance, error) {
	if t.State().Opened {
		return Balance{}, sdk.Errorf(sdk.CodeAlreadyExists, "the account %s is open", t.ID())
	}
	t.Emit(opened{})
	return balance(t), nil
}

func deposit(_ context.Context, t *account, in Money) (Balance, error) {
	if err := in.check(); err != nil {
		return Balance{}, err
	}
	if err := t.State().receives(t.ID(), in.Amount); err != nil {
		return Balance{}, err
	}
	t.Emit(deposited{Amount: in.Amount})
	return balance(t), nil
}

func withdraw(_ context.Context, t *account, in Money) (Balance, error) {
	if err := in.check(); err != nil {
		return Balance{}, err
	}
	if err := t.State().gives(t.ID(), in.Amount); err != nil {
		return Balance{}, err
	}
	t.Emit(withdrawn{Amount: in.Amount})
	return balance(t), nil
}

func show(_ context.Context, t *account, _ struct{}) (Balance, error) {
	if err := t.State().exists(t.ID()); err != nil {
		return Balance{}, err
	}
	return balance(t), nil
}

// The steps refuse by an effect, too: an error would drop the effects of the turn, and the transfer would wait for ever.

func debit(_ context.Context, t *account, in Step) (struct{}, error) {
	if err := t.State().gives(t.ID(), in.Amount); err != nil {
		eventsourced.Effect(t, Refused.On(in.Transfer, Reason{err.Error()}))
		return struct{}{}, nil
	}
	t.Emit(withdrawn{Amount: in.Amount, Transfer: in.Transfer})
	eventsourced.Effect(t, Debited.On(in.Transfer, struct{}{}))
	return struct{}{}, nil
}

func credit(_ context.Context, t *account, in Step) (struct{}, error) {
	if err := t.State().receives(t.ID(), in.Amount); err != nil {
		eventsourced.Effect(t, Rejected.On(in.Transfer, Reason{err.Error()}))
		return struct{}{}, nil
	}
	t.Emit(deposited{Amount: in.Amount, Transfer: in.Transfer})
	eventsourced.Effect(t, Credited.On(in.Transfer, struct{}{}))
	return struct{}{}, nil
}

// refund takes back what debit took, without a limit: there is nowhere else to put it.
func refund(_ context.Context, t *account, in Step) (struct{}, error) {
	t.Emit(deposited{Amount: in.Amount, Transfer: in.Transfer})
	eventsourced.Effect(t, Refunded.On(in.Transfer, struct{}{}))
	return struct{}{}, nil
}

func balance(t *account) Balance { return Balance{t.State().Balance} }

func (m Money) check() error {
	if m.Amount <= 0 || m.Amount > maxBalance {
		return sdk.Errorf(sdk.CodeInvalidArgument, "the amount is %d, want 1 to %d", m.Amount, int64(maxBalance))
	}
	return nil
}

func (a *Account) exists(id string) error {
	if !a.Opened {
		return sdk.Errorf(sdk.CodeNotFound, "there is no account %q", id)
	}
	return nil
}

func (a *Account) gives(id string, amount int64) error {
	if err := a.exists(id); err != nil {
		return err
	}
	if a.Balance < amount {
		return sdk.Errorf(sdk.CodeFailedPrecondition, "the account %s has %d, less than %d", id, a.Balance, amount)
	}
	return nil
}

func (a *Account) receives(id string, amount int64) error {
	if err := a.exists(id); err != nil {
		return err
	}
	if a.Balance > maxBalance-amount {
		return sdk.Errorf(sdk.CodeOutOfRange, "the account %s would hold more than %d", id, int64(maxBalance))
	}
	return nil
}
