package replicated_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/replicated"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

// Cart is a list of products with their quantities: for each product a counter.
type Cart = *replicated.Map[string, *replicated.Counter]

type Item struct {
	Product  string `json:"product"`
	Quantity int64  `json:"quantity"`
}

const (
	Put    sdk.Method[Item, struct{}]     = "shop.v1.Cart/Put"
	Take   sdk.Method[string, struct{}]   = "shop.v1.Cart/Take"
	List   sdk.Method[struct{}, []Item]   = "shop.v1.Cart/List"
	Empty  sdk.Method[struct{}, struct{}] = "shop.v1.Cart/Empty"
	Order  sdk.Method[struct{}, string]   = "shop.v1.Cart/Order"
	Place  sdk.Method[[]Item, string]     = "shop.v1.Orders/Place"
	Record sdk.Method[string, struct{}]   = "shop.v1.Audit/Record"
)

var Carts = replicated.Entity[Cart]{
	Service: "shop.v1.Cart",
	Commands: []replicated.Command[Cart]{
		replicated.Handle(Put, put),
		replicated.Handle(Take, take),
		replicated.Handle(Empty, empty),
		replicated.Handle(Order, order),
		replicated.Read(List, func(_ context.Context, c Cart, _ struct{}) ([]Item, error) { return items(c), nil }),
	},
}

func put(_ context.Context, t *replicated.Turn[Cart], in Item) (struct{}, error) {
	quantity := t.Data().At(in.Product) // makes the counter if there is none
	quantity.Add(in.Quantity)
	if quantity.Value() < 0 { // what this turn did is taken back
		return struct{}{}, sdk.Errorf(sdk.CodeFailedPrecondition, "there is less of %s", in.Product)
	}
	return struct{}{}, nil
}

func take(_ context.Context, t *replicated.Turn[Cart], product string) (struct{}, error) {
	t.Data().Remove(product)
	return struct{}{}, nil
}

func empty(_ context.Context, t *replicated.Turn[Cart], _ struct{}) (struct{}, error) {
	t.Delete()
	return struct{}{}, nil
}

// An order is worth waiting until most nodes know that the cart is empty.
func order(_ context.Context, t *replicated.Turn[Cart], _ struct{}) (string, error) {
	list := items(t.Data())
	t.Data().Clear()
	t.Write(replicated.Majority)
	replicated.Effect(t, Record.On("carts", "ordered "+t.ID()))
	return replicated.Forward(t, Place.On("order-1", list))
}

func items(c Cart) (list []Item) {
	for product, quantity := range c.All() {
		list = append(list, Item{product, quantity.Value()})
	}
	return list
}

// A cart is changed on two nodes at the same time. Nothing is lost.
func Example() {
	example(func(t testing.TB) {
		c := sdktest.Cluster(t, Carts, "cart-1", 3)
		sdktest.Do(c.Node(0), Put, Item{"tea", 1})
		c.Partition(2)
		sdktest.Do(c.Node(0), Put, Item{"tea", 2})
		sdktest.Do(c.Node(2), Put, Item{"tea", 4})
		sdktest.Do(c.Node(2), Put, Item{"salt", 1})
		c.Heal()
		c.Converge()
		fmt.Println(sdktest.Do(c.Node(1), List, struct{}{}).Reply)
		fmt.Println(sdktest.Do(c.Node(1), Put, Item{"salt", -2}).Err)
		fmt.Println(sdktest.Do(c.Node(1), List, struct{}{}).Reply)
	})
	// Output:
	// [{salt 1} {tea 7}]
	// there is less of salt
	// [{salt 1} {tea 7}]
}

// A turn changes the data, asks for effects, and hands the command on, all at once.
func ExampleForward() {
	example(func(t testing.TB) {
		h := sdktest.New(t, Carts, "cart-1")
		sdktest.Do(h, Put, Item{"tea", 1})
		got := sdktest.Do(h, Order, struct{}{})
		fmt.Println(got.Forward.Service, got.Forward.ID, got.Forward.Input)
		fmt.Println(got.Effects[0].Method, got.Effects[0].Input)
		fmt.Println(got.Events, got.Level == replicated.Majority, sdktest.Do(h, List, struct{}{}).Reply)
	})
	// Output:
	// shop.v1.Orders order-1 [{"product":"tea","quantity":1}]
	// Record "ordered cart-1"
	// [updated] true []
}

// An entity that was deleted begins anew.
func ExampleTurn_Delete() {
	example(func(t testing.TB) {
		c := sdktest.Cluster(t, Carts, "cart-1", 2)
		sdktest.Do(c.Node(0), Put, Item{"tea", 1})
		fmt.Println(sdktest.Do(c.Node(1), Empty, struct{}{}).Events)
		fmt.Println(sdktest.Do(c.Node(0), List, struct{}{}).Reply)
		sdktest.Do(c.Node(0), Put, Item{"salt", 1})
		fmt.Println(sdktest.Do(c.Node(1), List, struct{}{}).Reply)
	})
	// Output:
	// [deleted]
	// []
	// [{salt 1}]
}

// Who is in a room: a set of names, which callers watch. Who watches is in it.
func ExampleStream() {
	type names = *replicated.Set[string]
	const join sdk.StreamOut[string, []string] = "chat.v1.Room/Join"
	room := replicated.Entity[names]{
		Service: "chat.v1.Room",
		Commands: []replicated.Command[names]{
			replicated.Stream(join, replicated.Watch[names, string, []string]{
				Open: func(_ context.Context, t *replicated.Turn[names], name string) error {
					t.Data().Add(name)
					return nil
				},
				Next: func(n names, _ string) (out []string, send, more bool) { return slices.Collect(n.All()), true, true },
				Done: func(_ context.Context, t *replicated.Turn[names], name string) { t.Data().Remove(name) },
			}),
		},
	}
	example(func(t testing.TB) {
		c := sdktest.Cluster(t, room, "room-1", 2)
		ada := sdktest.Watch(c.Node(0), join, "Ada")
		fmt.Println(ada.Replies())
		bob := sdktest.Watch(c.Node(1), join, "Bob")
		bob.Cancel()
		fmt.Println(ada.Replies())
	})
	// Output:
	// [[Ada]]
	// [[Ada Bob] [Ada]]
}

// A map whose keys say what is under them.
func ExampleNewMap() {
	type profile = *replicated.Map[string, replicated.Data]
	const (
		visit sdk.Method[string, int64]    = "chat.v1.Profile/Visit"
		show  sdk.Method[struct{}, string] = "chat.v1.Profile/Show"
	)
	profiles := replicated.Entity[profile]{
		Service: "chat.v1.Profile",
		New: func(string) profile {
			return replicated.NewMap(func(key string) replicated.Data {
				switch key {
				case "visits":
					return new(replicated.Counter)
				case "last":
					return new(replicated.Register[string])
				default:
					return nil
				}
			})
		},
		Commands: []replicated.Command[profile]{
			replicated.Handle(visit, func(_ context.Context, t *replicated.Turn[profile], by string) (int64, error) {
				visits := t.Data().At("visits").(*replicated.Counter)
				visits.Add(1)
				t.Data().At("last").(*replicated.Register[string]).Set(by)
				return visits.Value(), nil
			}),
			replicated.Read(show, func(_ context.Context, p profile, _ struct{}) (string, error) {
				if last, ok := p.Get("last"); ok {
					return last.(*replicated.Register[string]).Value(), nil
				}
				return "nobody", nil
			}),
		},
	}
	example(func(t testing.TB) {
		c := sdktest.Cluster(t, profiles, "ada", 2)
		fmt.Println(sdktest.Do(c.Node(0), show, struct{}{}).Reply)
		fmt.Println(sdktest.Do(c.Node(0), visit, "Bob").Reply, sdktest.Do(c.Node(1), visit, "Eve").Reply)
		fmt.Println(sdktest.Do(c.Node(0), show, struct{}{}).Reply)
	})
	// Output:
	// nobody
	// 1 2
	// Eve
}

// Data that is in no entity may be changed anywhere: for a test of what works on it.
func Example_data() {
	var online replicated.Set[string]
	online.Add("Ada", "Bob")
	online.Remove("Ada")
	fmt.Println(online.Len(), online.Has("Bob"), slices.Collect(online.All()))

	var title replicated.Register[string]
	title.Set("Tea")
	title.SetAt("Salt", replicated.AutoIncrementClock(1))
	fmt.Println(title.Exists(), title.Value())

	var (
		tags replicated.GSet[int]
		read replicated.GCounter
		done replicated.Flag
		vote replicated.Vote
	)
	tags.Add(10, 9)
	read.Add(2)
	done.Enable()
	vote.Cast(true)
	fmt.Println(slices.Collect(tags.All()), read.Value(), done.Enabled(), vote.Self(), vote.Votes(), vote.Voters())
	// Output:
	// 1 true [Bob]
	// true Salt
	// [9 10] 2 true true 1 1
}
