package sdktest_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

const (
	upper sdk.Method[string, string]       = "test.Words/Upper"
	join  sdk.StreamIn[string, string]     = "test.Words/Join"
	split sdk.StreamOut[string, string]    = "test.Words/Split"
	each  sdk.Duplex[string, string]       = "test.Words/Each"
	heard sdk.Method[*anypb.Any, struct{}] = "test.Words/Heard"
)

var words = action.Service{
	Service: "test.Words",
	Methods: []action.Method{
		action.Handle(upper, func(_ context.Context, t *action.Turn, in string) (string, error) {
			if in == "" {
				return "", sdk.Errorf(sdk.CodeInvalidArgument, "no word")
			}
			action.Effect(t, do.On("n-1", in))
			return strings.ToUpper(in), nil
		}),
		action.HandleIn(join, func(_ context.Context, _ *action.Turn, in iter.Seq2[string, error]) (string, error) {
			var all []string
			for word, err := range in {
				if err != nil {
					return "", err
				}
				all = append(all, word)
			}
			return strings.Join(all, " "), nil
		}),
		action.HandleOut(split, func(_ context.Context, _ *action.Turn, in string, send func(string) error) error {
			for word := range strings.SplitSeq(in, " ") {
				if err := send(word); err != nil {
					return err
				}
			}
			return nil
		}),
		action.HandleDuplex(each, func(_ context.Context, _ *action.Turn, in iter.Seq2[string, error], send func(string) error) error {
			for word, err := range in {
				if err != nil {
					return err
				}
				if err := send(strings.ToUpper(word)); err != nil {
					return err
				}
			}
			return nil
		}),
		action.Handle(heard, func(_ context.Context, t *action.Turn, in *anypb.Any) (struct{}, error) {
			event, ok := t.Event()
			fmt.Println(event.Subject, event.Type, ok, in.GetTypeUrl())
			return struct{}{}, action.ErrNoReply
		}, sdk.FromLog("names")),
	},
}

func ExampleInvoke() {
	var t example // in a test: t *testing.T
	got := sdktest.Invoke(t, words, upper, "ada")
	fmt.Println(got.Reply, got.Effects[0].Service, got.Effects[0].ID, got.Effects[0].Input)

	got = sdktest.Invoke(t, words, upper, "")
	fmt.Println(got.Replied, sdk.CodeOf(got.Err), got.Err)
	// Output:
	// ADA test.Names n-1 "ada"
	// false INVALID_ARGUMENT no word
}

func ExampleInvokeIn() {
	var t example
	fmt.Println(sdktest.InvokeIn(t, words, join, []string{"Ada", "Lovelace"}).Reply)
	// Output: Ada Lovelace
}

// A caller that has heard enough.
func ExampleInvokeOut() {
	var t example
	for _, got := range sdktest.InvokeOut(t, words, split, "Ada King Lovelace", sdktest.Take(2)) {
		fmt.Println(got.Reply)
	}
	// Output:
	// Ada
	// King
}

func ExampleInvokeDuplex() {
	var t example
	for _, got := range sdktest.InvokeDuplex(t, words, each, []string{"ada", "grace"}) {
		fmt.Println(got.Reply)
	}
	// Output:
	// ADA
	// GRACE
}

// The event of an entity, delivered to a method that takes events of any type.
func ExampleDeliver() {
	var t example
	sdktest.Invoke(t, words, heard, sdktest.Any(t, "named", named{Name: "Ada"}), sdktest.Deliver(action.Event{Subject: "n-1"}))
	// Output: n-1 json.cloudstate.io/named true json.cloudstate.io/named
}

// fatal is a test that only says how it would end.
type fatal struct{ example }

func (fatal) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

func TestCallsThatCannotBe(t *testing.T) {
	t.Parallel()
	var f fatal
	other := words
	other.Service = "test.Other"
	for want, run := range map[string]func(){
		"test.Words/Upper is no method of an action test.Names":          func() { sdktest.Invoke(f, names, upper, "x") },
		"test.Other: method test.Words/Upper belongs to another service": func() { sdktest.Invoke(f, other, upper, "x") },
		"encode chan int: chan int has the type chan int, which JSON":    func() { sdktest.Any(f, "x", make(chan int)) },
		`Upper: its metadata "k" is not valid UTF-8`: func() {
			sdktest.Invoke(f, words, upper, "x", sdktest.WithMetadata(sdk.Metadata{{Key: "k", Text: "\xff"}}))
		},
		"test.Words/Nothing is not among the methods of the action test.Words": func() { sdktest.Invoke(f, words, sdk.Method[string, string]("test.Words/Nothing"), "x") },
		"test.Words/Split is streamed out":                                     func() { sdktest.Invoke(f, words, sdk.Method[string, string](split), "x") },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
			}()
			run()
		}()
	}
}
