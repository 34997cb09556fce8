package eventsourced_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

// Order is open, then paid or expired.
type Order struct {
	Total  int    `json:"total"`
	Status string `json:"status"`
}

type (
	Placed  struct{ Total int }
	Paid    struct{}
	Expired struct{}
)

const (
	Place  sdk.Method[int, Order]         = "shop.v1.Order/Place"
	Pay    sdk.Method[string, Account]    = "shop.v1.Order/Pay"
	Expire sdk.Method[struct{}, struct{}] = "shop.v1.Order/Expire"
	Notify sdk.Method[string, struct{}]   = "shop.v1.Desk/Notify"
)

var Orders = eventsourced.Entity[Order]{
	Service: "shop.v1.Order",
	Commands: []eventsourced.Command[Order]{
		eventsourced.Handle(Place, place),
		eventsourced.Handle(Pay, pay),
		eventsourced.Handle(Expire, expire),
	},
	Events: []eventsourced.Event[Order]{
		eventsourced.On("placed", func(o *Order, e Placed) { o.Total, o.Status = e.Total, "open" }),
		eventsourced.On("paid", func(o *Order, _ Paid) { o.Status = "paid" }),
		eventsourced.On("expired", func(o *Order, _ Expired) { o.Status = "expired" }),
	},
}

// An order that is not paid within a quarter of an hour expires.
func place(_ context.Context, t *eventsourced.Turn[Order], total int) (Order, error) {
	t.Emit(Placed{total})
	eventsourced.Effect(t, Notify.On("desk", "placed "+t.ID()), sdk.WithMetadata(sdk.Metadata{{Key: "topic", Text: "orders"}}))
	eventsourced.Effect(t, Expire.On(t.ID(), struct{}{}), sdk.After(15*time.Minute), sdk.Named("expiry"))
	return *t.State(), nil
}

func pay(_ context.Context, t *eventsourced.Turn[Order], account string) (Account, error) {
	if t.State().Status != "open" {
		return Account{}, sdk.Errorf(sdk.CodeFailedPrecondition, "%s is not open", t.ID())
	}
	t.Emit(Paid{})
	eventsourced.Cancel(t, "expiry")
	return eventsourced.Forward(t, Withdraw.On(account, Amount{t.State().Total}))
}

func expire(_ context.Context, t *eventsourced.Turn[Order], _ struct{}) (struct{}, error) {
	if t.State().Status == "open" {
		t.Emit(Expired{})
	}
	return struct{}{}, nil
}

// Effects are commands to others: at once, or later.
func ExampleEffect() {
	example(func(t testing.TB) {
		h := sdktest.New(t, Orders, "o-1")
		for _, e := range sdktest.Do(h, Place, 30).Effects {
			fmt.Println(e.Service, e.ID, e.Method, e.Input, e.After, e.Name, e.Metadata.Get("topic"))
		}
	})
	// Output:
	// shop.v1.Desk desk Notify "placed o-1" 0s  orders
	// shop.v1.Order o-1 Expire {} 15m0s expiry
}

// An effect that has a name can be taken back.
func ExampleCancel() {
	example(func(t testing.TB) {
		h := sdktest.New(t, Orders, "o-1")
		h.Given(Placed{30})
		e := sdktest.Do(h, Pay, "a-1").Effects[0]
		fmt.Println(e.Name, e.Cancelled)
	})
	// Output: expiry true
}

// The target of a forward answers the caller. The compiler checks that it replies with what this command promised.
func ExampleForward() {
	example(func(t testing.TB) {
		h := sdktest.New(t, Orders, "o-1")
		h.Given(Placed{30})
		got := sdktest.Do(h, Pay, "a-1")
		fmt.Println(got.Events, got.Forward.Service, got.Forward.ID, got.Forward.Method, got.Forward.Input)
	})
	// Output: [paid] bank.v1.Account a-1 Withdraw {"amount":30}
}

// Deposits were once stored in cents, and before that as text; withdrawals had another name.
func ExampleUpcast() {
	type (
		text  struct{ Amount string }
		cents struct{ Cents int }
	)
	e := Accounts
	e.Upcasters = []eventsourced.Upcaster{
		eventsourced.Upcast("deposit-text", func(e text) cents {
			var whole, cent int
			fmt.Sscanf(e.Amount, "%d.%d", &whole, &cent)
			return cents{100*whole + cent}
		}),
		eventsourced.Upcast("deposit-cents", func(e cents) Deposited { return Deposited{e.Cents / 100} }),
		eventsourced.Renamed("paid-out", "withdrawn"),
	}
	example(func(t testing.TB) {
		h := sdktest.New(t, e, "a-1")
		h.GivenFile("testdata/account.jsonl")
		fmt.Println(h.Journal(), sdktest.State[Account](h).Balance)
	})
	// Output: [deposit-text deposit-cents paid-out deposited] 54
}

// A new name for what is stored under an old one.
func ExampleRenamed() {
	e := Accounts
	e.Upcasters = []eventsourced.Upcaster{eventsourced.Renamed("paid-out", "no-such-event")}
	_, err := e.Definition()
	fmt.Println(err)
	// Output: upcaster "paid-out": neither an event nor an upcaster takes "no-such-event"
}
