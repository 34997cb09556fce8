package cart

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

func tea(n int) Item { return Item{Product: "tea", Name: "Green tea", Quantity: n} }

func TestAddItemTwice(t *testing.T) {
	t.Parallel()

	h := sdktest.New(t, Entity, "cart-42")
	sdktest.Do(h, AddItem, tea(1))
	got := sdktest.Do(h, AddItem, tea(2))
	if want := []string{"item-added"}; !slices.Equal(got.Events, want) {
		t.Errorf("events = %v, want %v", got.Events, want)
	}
	if want := []Item{tea(3)}; !slices.Equal(got.Reply.Items, want) {
		t.Errorf("items = %v, want %v", got.Reply.Items, want)
	}
	if n := sdktest.State[Cart](h).Count("tea"); n != 3 {
		t.Errorf("tea = %d, want 3", n)
	}
}

func TestShopping(t *testing.T) {
	t.Parallel()

	h := sdktest.New(t, Entity, "cart-1")
	sdktest.Do(h, AddItem, tea(2))
	sdktest.Do(h, AddItem, Item{Product: "mug", Quantity: 1})
	sdktest.Do(h, AddItem, Item{Product: "cake", Quantity: 1})
	sdktest.Do(h, RemoveItem, Product{"cake"})
	h.Reopen()
	receipt := sdktest.Do(h, Checkout, struct{}{})
	if want := (Receipt{Order: "cart-1-5", Quantity: 3}); receipt.Reply != want || receipt.Err != nil {
		t.Errorf("receipt = %v, %v, want %v", receipt.Reply, receipt.Err, want)
	}
	h.Snapshot()
	h.Reopen()
	got := sdktest.Do(h, GetCart, struct{}{})
	if want := []Item{tea(2), {Product: "mug", Quantity: 1}}; !slices.Equal(got.Reply.Items, want) || !got.Reply.CheckedOut {
		t.Errorf("cart = %+v, want %v, checked out", got.Reply, want)
	}
	want := []string{"item-added", "item-added", "item-added", "item-removed", "checked-out"}
	if !slices.Equal(h.Journal(), want) {
		t.Errorf("journal = %v, want %v", h.Journal(), want)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()

	checked := []any{itemAdded{tea(1)}, checkedOut{"o-1"}}
	tests := []struct {
		name  string
		given []any
		do    func(h *sdktest.Harness) error
		code  sdk.Code
		text  string
	}{
		{"no product", nil, add(Item{Quantity: 1}), sdk.CodeInvalidArgument, "the product is missing"},
		{"no quantity", nil, add(tea(0)), sdk.CodeInvalidArgument, "the quantity of tea is 0, want a positive number"},
		{"negative quantity", nil, add(tea(-1)), sdk.CodeInvalidArgument, "the quantity of tea is -1, want a positive number"},
		{"too much at once", nil, add(tea(1001)), sdk.CodeOutOfRange, "the cart would hold more than 1000 of tea"},
		{"too much", []any{itemAdded{tea(999)}}, add(tea(2)), sdk.CodeOutOfRange, "the cart would hold more than 1000 of tea"},
		{"add when closed", checked, add(tea(1)), sdk.CodeFailedPrecondition, "the cart c has been checked out"},
		{"remove when closed", checked, remove("tea"), sdk.CodeFailedPrecondition, "the cart c has been checked out"},
		{"check out twice", checked, checkOut, sdk.CodeFailedPrecondition, "the cart c has been checked out"},
		{"check out nothing", nil, checkOut, sdk.CodeFailedPrecondition, "the cart is empty"},
		{"remove what is not there", nil, remove("tea"), sdk.CodeNotFound, `there is no "tea" in the cart`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := sdktest.New(t, Entity, "c")
			h.Given(test.given...)
			err := test.do(h)
			if sdk.CodeOf(err) != test.code || err.Error() != test.text {
				t.Errorf("error = %v %v, want %v %s", sdk.CodeOf(err), err, test.code, test.text)
			}
			if n := len(h.Journal()); n != len(test.given) {
				t.Errorf("the journal has %d events, want %d", n, len(test.given))
			}
		})
	}
}

func TestLimitIsReachable(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, Entity, "c")
	if got := sdktest.Do(h, AddItem, tea(maxQuantity)); got.Err != nil {
		t.Error(got.Err)
	}
}

func add(i Item) func(*sdktest.Harness) error {
	return func(h *sdktest.Harness) error { return sdktest.Do(h, AddItem, i).Err }
}

func remove(product string) func(*sdktest.Harness) error {
	return func(h *sdktest.Harness) error { return sdktest.Do(h, RemoveItem, Product{product}).Err }
}

func checkOut(h *sdktest.Harness) error { return sdktest.Do(h, Checkout, struct{}{}).Err }

func TestReplyOfAnEmptyCart(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, Entity, "c")
	h.Given(itemAdded{tea(1)}, itemRemoved{"tea"})
	h.Snapshot()
	h.Reopen()
	got := sdktest.Do(h, GetCart, struct{}{})
	if b, err := json.Marshal(got.Reply); err != nil || string(b) != `{"items":[]}` {
		t.Errorf("an empty cart is %s, %v", b, err)
	}
}

// TestStoredEvents: what a release has stored comes to the same cart for ever. A change of the code that breaks this test
// needs an upcaster; the files never change.
func TestStoredEvents(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]Cart{
		"testdata/first-release.jsonl":  {Items: []Item{{Product: "tea", Quantity: 3}}, CheckedOut: true},
		"testdata/second-release.jsonl": {Items: []Item{tea(2)}, CheckedOut: true},
	} {
		h := sdktest.New(t, Entity, "c")
		h.GivenFile(file)
		if got := *sdktest.State[Cart](h); !slices.Equal(got.Items, want.Items) || got.CheckedOut != want.CheckedOut {
			t.Errorf("%s: the cart is %+v, want %+v", file, got, want)
		}
	}
}

// TestWritesTheLatestRelease: what is stored today is what the newest file has.
func TestWritesTheLatestRelease(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, Entity, "cart-8")
	sdktest.Do(h, AddItem, tea(2))
	sdktest.Do(h, AddItem, Item{Product: "mug", Quantity: 1})
	sdktest.Do(h, RemoveItem, Product{"mug"})
	sdktest.Do(h, Checkout, struct{}{})
	path := filepath.Join(t.TempDir(), "today.jsonl")
	h.WriteFile(path)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/second-release.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("stored are\n%s\nwhere the release has stored\n%s", got, want)
	}
}

// TestFiles: what `dapr run` and the sidecar read is well formed and fits the sample.
func TestFiles(t *testing.T) {
	t.Parallel()
	read := func(path string, into any) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err == nil {
			err = yaml.UnmarshalStrict(b, into)
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	var run struct {
		Version int
		Apps    []struct {
			AppID, AppDirPath             string
			DaprHTTPPort, DaprGRPCPort    int
			ResourcesPaths                []string
			MaxBodySize                   string
			DaprdLogDestination, LogLevel string
			Command                       []string
		}
	}
	read("dapr.yaml", &run)
	app := run.Apps[0]
	address := sdk.Address() // where cmd/cart listens unless it is told otherwise
	if run.Version != 1 || !slices.Equal(app.ResourcesPaths, []string{"./resources"}) {
		t.Errorf("dapr.yaml: %+v", run)
	}
	types := map[string]string{"resources/entities.yaml": "state.entities", "resources/binding.yaml": "bindings.entities"}
	for path, want := range types {
		var component struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
			Spec             struct {
				Type, Version string
				Metadata      []struct{ Name, Value string }
			}
		}
		read(path, &component)
		if component.Kind != "Component" || component.Spec.Type != want || component.Spec.Version != "v1" {
			t.Errorf("%s: %+v", path, component)
		}
		for _, m := range component.Spec.Metadata {
			if m.Name == "userFunction" && m.Value != address {
				t.Errorf("the component looks for the cart at %s, which listens at %s", m.Value, address)
			}
		}
	}
}
