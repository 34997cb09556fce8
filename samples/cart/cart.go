// Package cart is a shopping cart as an event-sourced entity, written with plain Go structs.
//
// The constants below are all that a caller needs; Entity is what a server registers.
package cart

import (
	"context"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
)

const service = "shop.v1.ShoppingCart"

// The methods that callers and the entity share.
const (
	// AddItem puts more of a product into the cart.
	AddItem sdk.Method[Item, Cart] = service + "/AddItem"
	// RemoveItem takes all of a product out.
	RemoveItem sdk.Method[Product, Cart] = service + "/RemoveItem"
	// GetCart shows the cart.
	GetCart sdk.Method[struct{}, Cart] = service + "/GetCart"
	// Checkout closes the cart for good.
	Checkout sdk.Method[struct{}, Receipt] = service + "/Checkout"
)

// Item is a line of the cart.
type Item struct {
	Product  string `json:"product"`
	Name     string `json:"name,omitempty"`
	Quantity int    `json:"quantity"`
}

// Product names a product.
type Product struct {
	Product string `json:"product"`
}

// Cart is the state, and what callers see of it.
type Cart struct {
	Items      []Item `json:"items"` // in the order in which they were first added
	CheckedOut bool   `json:"checkedOut,omitempty"`
}

// Receipt for a cart that was checked out.
type Receipt struct {
	Order    string `json:"order"`
	Quantity int    `json:"quantity"`
}

// The events.
type (
	itemAdded struct {
		Item Item `json:"item"`
	}
	itemRemoved struct {
		Product string `json:"product"`
	}
	checkedOut struct {
		Order string `json:"order"`
	}
)

// Entity is the definition of the service.
var Entity = eventsourced.Entity[Cart]{
	Service: service,
	Commands: []eventsourced.Command[Cart]{
		eventsourced.Handle(AddItem, addItem),
		eventsourced.Handle(RemoveItem, removeItem),
		eventsourced.Handle(GetCart, getCart),
		eventsourced.Handle(Checkout, checkout),
	},
	Events: []eventsourced.Event[Cart]{
		eventsourced.On("item-added", (*Cart).itemAdded),
		eventsourced.On("item-removed", (*Cart).itemRemoved),
		eventsourced.On("checked-out", (*Cart).checkedOut),
	},
	Upcasters: []eventsourced.Upcaster{
		eventsourced.Upcast("line-added", lineAdded.itemAdded),
		eventsourced.Renamed("ordered", "checked-out"),
	},
	SnapshotEvery: 50,
	New:           func() *Cart { return &Cart{Items: []Item{}} },
}

// maxQuantity of one product in a cart.
const maxQuantity = 1000

type turn = eventsourced.Turn[Cart]

func addItem(_ context.Context, t *turn, in Item) (Cart, error) {
	switch {
	case in.Product == "":
		return Cart{}, sdk.Errorf(sdk.CodeInvalidArgument, "the product is missing")
	case in.Quantity <= 0:
		return Cart{}, sdk.Errorf(sdk.CodeInvalidArgument, "the quantity of %s is %d, want a positive number", in.Product, in.Quantity)
	case t.State().CheckedOut:
		return Cart{}, closed(t)
	case t.State().Count(in.Product) > maxQuantity-in.Quantity:
		return Cart{}, sdk.Errorf(sdk.CodeOutOfRange, "the cart would hold more than %d of %s", maxQuantity, in.Product)
	}
	t.Emit(itemAdded{Item: in})
	return t.State().clone(), nil
}

func removeItem(_ context.Context, t *turn, in Product) (Cart, error) {
	switch {
	case t.State().CheckedOut:
		return Cart{}, closed(t)
	case t.State().Count(in.Product) == 0:
		return Cart{}, sdk.Errorf(sdk.CodeNotFound, "there is no %q in the cart", in.Product)
	}
	t.Emit(itemRemoved{Product: in.Product})
	return t.State().clone(), nil
}

func getCart(_ context.Context, t *turn, _ struct{}) (Cart, error) {
	return t.State().clone(), nil
}

func checkout(_ context.Context, t *turn, _ struct{}) (Receipt, error) {
	switch {
	case t.State().CheckedOut:
		return Receipt{}, closed(t)
	case len(t.State().Items) == 0:
		return Receipt{}, sdk.Errorf(sdk.CodeFailedPrecondition, "the cart is empty")
	}
	order := fmt.Sprintf("%s-%d", t.ID(), t.Sequence()+1)
	t.Emit(checkedOut{Order: order})
	receipt := Receipt{Order: order}
	for _, item := range t.State().Items {
		receipt.Quantity += item.Quantity
	}
	return receipt, nil
}

func closed(t *turn) error {
	return sdk.Errorf(sdk.CodeFailedPrecondition, "the cart %s has been checked out", t.ID())
}

// Count is how many of a product are in the cart.
func (c *Cart) Count(product string) int {
	if i := c.index(product); i >= 0 {
		return c.Items[i].Quantity
	}
	return 0
}

func (c *Cart) index(product string) int {
	return slices.IndexFunc(c.Items, func(i Item) bool { return i.Product == product })
}

func (c *Cart) clone() Cart {
	return Cart{Items: slices.Clone(c.Items), CheckedOut: c.CheckedOut}
}

// The appliers: the only place that changes a Cart.

func (c *Cart) itemAdded(e itemAdded) {
	if i := c.index(e.Item.Product); i >= 0 {
		c.Items[i].Quantity += e.Item.Quantity
		return
	}
	c.Items = append(c.Items, e.Item)
}

func (c *Cart) itemRemoved(e itemRemoved) {
	c.Items = slices.DeleteFunc(c.Items, func(i Item) bool { return i.Product == e.Product })
}

func (c *Cart) checkedOut(checkedOut) { c.CheckedOut = true }

// What the first release stored. Carts of that time are read for ever, so this stays.

// lineAdded is what an itemAdded was, before items had names.
type lineAdded struct {
	Product string `json:"product"`
	Count   int    `json:"count"`
}

func (e lineAdded) itemAdded() itemAdded {
	return itemAdded{Item: Item{Product: e.Product, Quantity: e.Count}}
}
