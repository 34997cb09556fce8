package bank

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

var order = Order{From: "a", To: "b", Amount: 10}

// TestTransferSteps: every step records what it says, and asks for the next one.
func TestTransferSteps(t *testing.T) {
	t.Parallel()
	step := Step{Transfer: "t-1", Amount: 10}
	no := Reason{"no"}
	started, debited := transferStarted{order}, sourceDebited{}
	tests := []struct {
		name   string
		given  []any
		do     func(*sdktest.Harness) ([]string, []sdktest.Effect, error)
		events []string
		next   []sdktest.Call
		phase  Phase
	}{
		{"start", nil, do(Start, order), []string{"transfer-started"}, calls(t, Debit.On("a", step)), Debiting},
		{"start again", []any{started}, do(Start, order), nil, nil, Debiting},
		{"debited", []any{started}, do(Debited, struct{}{}), []string{"source-debited"}, calls(t, Credit.On("b", step)), Crediting},
		{"refused", []any{started}, do(Refused, no), []string{"transfer-failed"}, nil, Failed},
		{"credited", []any{started, debited}, do(Credited, struct{}{}), []string{"transfer-completed"}, nil, Completed},
		{"rejected", []any{started, debited}, do(Rejected, no), []string{"target-rejected"}, calls(t, Refund.On("a", step)), Refunding},
		{"refunded", []any{started, debited, targetRejected(no)}, do(Refunded, struct{}{}), []string{"transfer-failed"}, nil, Failed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := sdktest.New(t, Transfers, "t-1")
			h.Given(test.given...)
			events, effects, err := test.do(h)
			if err != nil {
				t.Fatal(err)
			}
			check(t, events, test.events, effects, test.next)
			if phase := sdktest.State[Transfer](h).Phase; phase != test.phase {
				t.Errorf("the phase is %s, want %s", phase, test.phase)
			}
		})
	}
}

func TestAccountSteps(t *testing.T) {
	t.Parallel()
	step := Step{Transfer: "t-1", Amount: 10}
	ten := []any{opened{}, deposited{Amount: 10}}
	tests := []struct {
		name    string
		given   []any
		do      func(*sdktest.Harness) ([]string, []sdktest.Effect, error)
		events  []string
		next    []sdktest.Call
		balance int64
	}{
		{"debit", ten, do(Debit, step), []string{"withdrawn"}, calls(t, Debited.On("t-1", struct{}{})), 0},
		{"debit too much", []any{opened{}, deposited{Amount: 9}}, do(Debit, step), nil,
			calls(t, Refused.On("t-1", Reason{"the account a has 9, less than 10"})), 9},
		{"debit nobody", nil, do(Debit, step), nil, calls(t, Refused.On("t-1", Reason{`there is no account "a"`})), 0},
		{"credit", ten, do(Credit, step), []string{"deposited"}, calls(t, Credited.On("t-1", struct{}{})), 20},
		{"credit nobody", nil, do(Credit, step), nil, calls(t, Rejected.On("t-1", Reason{`there is no account "a"`})), 0},
		{"credit too much", []any{opened{}, deposited{Amount: maxBalance - 9}}, do(Credit, step), nil,
			calls(t, Rejected.On("t-1", Reason{"the account a would hold more than 9007199254740992"})), maxBalance - 9},
		{"refund", ten, do(Refund, step), []string{"deposited"}, calls(t, Refunded.On("t-1", struct{}{})), 20},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := sdktest.New(t, Accounts, "a")
			h.Given(test.given...)
			events, effects, err := test.do(h)
			if err != nil {
				t.Fatal(err)
			}
			check(t, events, test.events, effects, test.next)
			if b := sdktest.State[Account](h).Balance; b != test.balance {
				t.Errorf("the balance is %d, want %d", b, test.balance)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	over := []any{transferStarted{order}, sourceDebited{}, transferCompleted{}}
	ten := []any{opened{}, deposited{Amount: 10}}
	tests := []struct {
		name   string
		entity sdk.Definition
		given  []any
		do     func(*sdktest.Harness) ([]string, []sdktest.Effect, error)
		code   sdk.Code
	}{
		{"open twice", Accounts, ten, do(Open, struct{}{}), sdk.CodeAlreadyExists},
		{"deposit to nobody", Accounts, nil, do(Deposit, Money{1}), sdk.CodeNotFound},
		{"deposit nothing", Accounts, ten, do(Deposit, Money{0}), sdk.CodeInvalidArgument},
		{"deposit too much", Accounts, ten, do(Deposit, Money{maxBalance}), sdk.CodeOutOfRange},
		{"withdraw too much", Accounts, ten, do(Withdraw, Money{11}), sdk.CodeFailedPrecondition},
		{"withdraw a debt", Accounts, ten, do(Withdraw, Money{-1}), sdk.CodeInvalidArgument},
		{"balance of nobody", Accounts, nil, do(Show, struct{}{}), sdk.CodeNotFound},
		{"transfer to oneself", Transfers, nil, do(Start, Order{"a", "a", 1}), sdk.CodeInvalidArgument},
		{"transfer nothing", Transfers, nil, do(Start, Order{"a", "b", 0}), sdk.CodeInvalidArgument},
		{"another transfer", Transfers, over, do(Start, Order{"a", "b", 11}), sdk.CodeAlreadyExists},
		{"status of nothing", Transfers, nil, do(Status, struct{}{}), sdk.CodeNotFound},
		{"debited twice", Transfers, over, do(Debited, struct{}{}), sdk.CodeFailedPrecondition},
		{"refused late", Transfers, over, do(Refused, Reason{}), sdk.CodeFailedPrecondition},
		{"credited twice", Transfers, over, do(Credited, struct{}{}), sdk.CodeFailedPrecondition},
		{"rejected late", Transfers, over, do(Rejected, Reason{}), sdk.CodeFailedPrecondition},
		{"refunded late", Transfers, over, do(Refunded, struct{}{}), sdk.CodeFailedPrecondition},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := sdktest.New(t, test.entity, "x")
			h.Given(test.given...)
			if _, effects, err := test.do(h); sdk.CodeOf(err) != test.code || len(effects) > 0 {
				t.Errorf("error %v %v, effects %v, want %v", sdk.CodeOf(err), err, effects, test.code)
			}
			if n := len(h.Journal()); n != len(test.given) {
				t.Errorf("the journal has %d events, want %d", n, len(test.given))
			}
		})
	}
}

func do[In, Out any](m sdk.Method[In, Out], in In) func(*sdktest.Harness) ([]string, []sdktest.Effect, error) {
	return func(h *sdktest.Harness) ([]string, []sdktest.Effect, error) {
		got := sdktest.Do(h, m, in)
		return got.Events, got.Effects, got.Err
	}
}

func calls[In, Out any](t *testing.T, c sdk.Call[In, Out]) []sdktest.Call {
	t.Helper()
	return []sdktest.Call{sdktest.CallOf(t, c)}
}

func check(t *testing.T, events, want []string, effects []sdktest.Effect, next []sdktest.Call) {
	t.Helper()
	if !slices.Equal(events, want) {
		t.Errorf("events = %v, want %v", events, want)
	}
	var asked []sdktest.Call
	for _, e := range effects {
		if e.Synchronous {
			t.Errorf("%s would not outlive a crash", e.Method)
		}
		asked = append(asked, e.Call)
	}
	if d := cmp.Diff(next, asked); d != "" {
		t.Error(d)
	}
}
