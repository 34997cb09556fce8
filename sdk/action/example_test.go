package action_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

type (
	Item struct {
		Product  string `json:"product"`
		Quantity int    `json:"quantity"`
	}
	Receipt struct {
		Total int `json:"total"`
	}
	Line struct {
		Text string `json:"text"`
	}
)

// What the examples call: an entity's methods, and those of the action itself.
const (
	AddItem sdk.Method[Item, Receipt] = "shop.v1.Cart/AddItem"
	Write   sdk.Method[Line, Line]    = "shop.v1.Ledger/Write"

	Order     sdk.Method[Item, Receipt]    = "shop.v1.Desk/Order"
	ItemAdded sdk.Method[Item, struct{}]   = "shop.v1.Desk/ItemAdded"
	Total     sdk.StreamIn[Item, Receipt]  = "shop.v1.Desk/Total"
	Watch     sdk.StreamOut[Line, Receipt] = "shop.v1.Desk/Watch"
	Haggle    sdk.Duplex[Item, Receipt]    = "shop.v1.Desk/Haggle"
)

// desk is the service of most examples, with one method.
func desk(m action.Method) action.Service {
	return action.Service{Service: "shop.v1.Desk", Methods: []action.Method{m}}
}

// An action checks what comes in, asks for an effect, and forwards to an entity: the caller gets the entity's reply.
func ExampleHandle() {
	s := desk(action.Handle(Order, func(_ context.Context, t *action.Turn, in Item) (Receipt, error) {
		if in.Quantity <= 0 {
			return Receipt{}, sdk.Errorf(sdk.CodeInvalidArgument, "%d of %s", in.Quantity, in.Product)
		}
		action.Effect(t, Write.On("2026", Line{Text: "sold " + in.Product}))
		return action.Forward(t, AddItem.On("cart-42", in))
	}))

	got := sdktest.Invoke(t, s, Order, Item{Product: "tea", Quantity: 2})
	fmt.Println(got.Effects[0].Service, got.Effects[0].ID, got.Effects[0].Input)
	fmt.Println(got.Forward.Service, got.Forward.ID, got.Forward.Input)
	fmt.Println(sdktest.Invoke(t, s, Order, Item{Product: "tea"}).Err)
	// Output:
	// shop.v1.Ledger 2026 {"text":"sold tea"}
	// shop.v1.Cart cart-42 {"product":"tea","quantity":2}
	// 0 of tea
}

// Inputs are ranged over; the reply comes after the last.
func ExampleHandleIn() {
	s := desk(action.HandleIn(Total, func(_ context.Context, _ *action.Turn, items iter.Seq2[Item, error]) (Receipt, error) {
		total := 0
		for item, err := range items {
			if err != nil {
				return Receipt{}, err
			}
			total += item.Quantity
		}
		return Receipt{Total: total}, nil
	}))

	fmt.Println(sdktest.InvokeIn(t, s, Total, []Item{{"tea", 2}, {"milk", 1}}).Reply)
	// Output: {3}
}

// Replies are sent; an error of send says that the caller has gone. A handler that could go on for ever ends when the
// server stops.
func ExampleHandleOut() {
	s := desk(action.HandleOut(Watch, func(ctx context.Context, t *action.Turn, in Line, send func(Receipt) error) error {
		for total := 1; ; total++ {
			select {
			case <-t.Stopping():
				return nil
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
			if err := send(Receipt{Total: total}); err != nil {
				return err
			}
		}
	}))

	for _, got := range sdktest.InvokeOut(t, s, Watch, Line{}, sdktest.Take(3)) {
		fmt.Println(got.Reply)
	}
	// Output:
	// {1}
	// {2}
	// {3}
}

// A duplex method receives and sends as it likes.
func ExampleHandleDuplex() {
	s := desk(action.HandleDuplex(Haggle, func(_ context.Context, _ *action.Turn, items iter.Seq2[Item, error], send func(Receipt) error) error {
		for item, err := range items {
			if err != nil {
				return err
			}
			if item.Quantity == 0 {
				continue
			}
			if err := send(Receipt{Total: item.Quantity * 10}); err != nil {
				return err
			}
		}
		return nil
	}))

	for _, got := range sdktest.InvokeDuplex(t, s, Haggle, []Item{{"tea", 2}, {"air", 0}, {"milk", 1}}) {
		fmt.Println(got.Reply)
	}
	// Output:
	// {20}
	// {10}
}

// The handler of an event knows which entity it came from, and often has nothing to reply.
func ExampleTurn_Event() {
	s := desk(action.Handle(ItemAdded, func(_ context.Context, t *action.Turn, in Item) (struct{}, error) {
		if event, ok := t.Event(); ok {
			action.Effect(t, Write.On(event.Subject, Line{Text: "added " + in.Product}))
		}
		return struct{}{}, action.ErrNoReply
	}, sdk.FromLog("shop.v1.Cart"), sdk.Event("item-added")))

	got := sdktest.Invoke(t, s, ItemAdded, Item{Product: "tea"}, sdktest.Deliver(action.Event{Subject: "cart-42"}))
	fmt.Println(got.Effects[0].ID, got.Effects[0].Input, got.Replied)
	// Output: cart-42 {"text":"added tea"} false
}

// A reply that is published has the attributes that its metadata say.
func ExampleTurn_SetMetadata() {
	s := desk(action.Handle(Order, func(_ context.Context, t *action.Turn, in Item) (Receipt, error) {
		t.SetMetadata("ce-type", "shop.ordered")
		t.SetMetadata("ce-subject", in.Product)
		return Receipt{Total: in.Quantity}, nil
	}, sdk.ToTopic("orders")))

	got := sdktest.Invoke(t, s, Order, Item{Product: "tea", Quantity: 2})
	fmt.Println(got.Reply, got.Metadata.Get("ce-type"), got.Metadata.Get("ce-subject"))
	// Output: {2} shop.ordered tea
}

// The metadata of a call are those of the way that it came by; its idempotency key is the same on every attempt.
func ExampleTurn_Metadata() {
	s := desk(action.Handle(Order, func(_ context.Context, t *action.Turn, in Item) (Receipt, error) {
		fmt.Println(t.Metadata().Get("Accept-Language"), t.IdempotencyKey())
		return Receipt{}, nil
	}))
	sdktest.Invoke(t, s, Order, Item{}, sdktest.WithKey("effect-1"),
		sdktest.WithMetadata(sdk.Metadata{{Key: "accept-language", Text: "de"}}))
	// Output: de effect-1
}

// Some replies of a stream come from others, fail, or are nothing but effects. Each takes along the effects since the
// one before it.
func ExampleSendForward() {
	s := desk(action.HandleOut(Watch, func(_ context.Context, t *action.Turn, in Line, send func(Receipt) error) error {
		for word := range strings.SplitSeq(in.Text, " ") {
			var err error
			switch word {
			case "tea":
				err = action.SendForward(t, AddItem.On("cart-42", Item{Product: word, Quantity: 1}))
			case "poison":
				err = t.SendFailure(sdk.Errorf(sdk.CodePermissionDenied, "not here"))
			case "note":
				action.Effect(t, Write.On("2026", Line{Text: "noted"}))
				err = t.Flush()
			default:
				err = send(Receipt{Total: len(word)})
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))

	for _, got := range sdktest.InvokeOut(t, s, Watch, Line{"milk tea poison note"}) {
		switch {
		case got.Replied:
			fmt.Println("reply", got.Reply)
		case got.Forward != nil:
			fmt.Println("forward", got.Forward.ID, got.Forward.Input)
		case got.Err != nil:
			fmt.Println(sdk.CodeOf(got.Err), got.Err)
		default:
			fmt.Println("effects", got.Effects[0].Input)
		}
	}
	// Output:
	// reply {4}
	// forward cart-42 {"product":"tea","quantity":1}
	// PERMISSION_DENIED not here
	// effects {"text":"noted"}
}

// A handler that fails keeps the effects that it has asked for.
func ExampleEffect() {
	s := desk(action.Handle(Order, func(_ context.Context, t *action.Turn, in Item) (Receipt, error) {
		action.Effect(t, Write.On("2026", Line{Text: "asked for " + in.Product}))
		action.Effect(t, Write.On("2026", Line{Text: "remind them"}), sdk.After(24*time.Hour))
		return Receipt{}, errors.New("sold out")
	}))

	got := sdktest.Invoke(t, s, Order, Item{Product: "tea"})
	fmt.Println(got.Err, got.Effects[0].Input, got.Effects[1].After)
	// Output: sold out {"text":"asked for tea"} 24h0m0s
}

// A method that takes *anypb.Any gets events of every type.
func ExampleErrNoReply() {
	const All sdk.Method[*anypb.Any, struct{}] = "shop.v1.Desk/All"
	s := desk(action.Handle(All, func(_ context.Context, t *action.Turn, in *anypb.Any) (struct{}, error) {
		if !strings.HasSuffix(in.GetTypeUrl(), "/item-added") {
			return struct{}{}, action.ErrNoReply // of no interest
		}
		item, err := sdk.Unpack[Item](in)
		fmt.Println(item, err)
		return struct{}{}, err
	}, sdk.FromLog("shop.v1.Cart")))

	fmt.Println(sdktest.Invoke(t, s, All, sdktest.Any(t, "checked-out", Receipt{}), sdktest.Deliver(action.Event{})).Replied)
	fmt.Println(sdktest.Invoke(t, s, All, sdktest.Any(t, "item-added", Item{"tea", 2}), sdktest.Deliver(action.Event{})).Replied)
	// Output:
	// false
	// {tea 2} <nil>
	// true
}

// Everything that is wrong is said at once, before anything is served.
func ExampleService() {
	s := desk(action.Handle(ItemAdded, func(context.Context, *action.Turn, Item) (struct{}, error) { return struct{}{}, nil },
		sdk.FromLog("shop.v1.Cart")))
	s.Methods = append(s.Methods, action.Handle(AddItem, func(context.Context, *action.Turn, Item) (Receipt, error) { return Receipt{}, nil }))
	fmt.Println(sdk.NewServer(sdk.Config{}).Register(s))
	// Output:
	// shop.v1.Desk: method ItemAdded: the input is JSON: say with Event which events it takes
	// shop.v1.Desk: method shop.v1.Cart/AddItem belongs to another service
}
