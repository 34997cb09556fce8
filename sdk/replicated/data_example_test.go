package replicated_test

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/replicated"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

// A register whose values have versions: the greatest one stays, whoever comes last.
func ExampleRegister_SetAt() {
	type config = *replicated.Register[string]
	type version struct {
		N    int64
		Text string
	}
	const (
		set sdk.Method[version, struct{}] = "ops.v1.Config/Set"
		get sdk.Method[struct{}, string]  = "ops.v1.Config/Get"
	)
	configs := replicated.Entity[config]{
		Service: "ops.v1.Config",
		Commands: []replicated.Command[config]{
			replicated.Handle(set, func(_ context.Context, t *replicated.Turn[config], in version) (struct{}, error) {
				t.Data().SetAt(in.Text, replicated.CustomClock(in.N))
				return struct{}{}, nil
			}),
			replicated.Read(get, func(_ context.Context, c config, _ struct{}) (string, error) {
				if !c.Exists() {
					return "nothing", nil
				}
				return c.Value(), nil
			}),
		},
	}
	example(func(t testing.TB) {
		c := sdktest.Cluster(t, configs, "c-1", 2)
		fmt.Println(sdktest.Do(c.Node(0), get, struct{}{}).Reply)
		sdktest.Do(c.Node(0), set, version{2, "two"})
		sdktest.Do(c.Node(1), set, version{1, "one"})
		fmt.Println(sdktest.Do(c.Node(1), get, struct{}{}).Reply)
	})
	// Output:
	// nothing
	// two
}

// Nodes vote whether to switch something on; whoever sees that most are for it switches it on for good.
func ExampleVote() {
	type ballot = *replicated.Map[string, replicated.Data]
	const cast sdk.Method[bool, string] = "ops.v1.Ballot/Cast"
	ballots := replicated.Entity[ballot]{
		Service: "ops.v1.Ballot",
		New: func(string) ballot {
			return replicated.NewMap(func(key string) replicated.Data {
				if key == "on" {
					return new(replicated.Flag)
				}
				return new(replicated.Vote)
			})
		},
		Write: replicated.Majority,
		Commands: []replicated.Command[ballot]{
			replicated.Handle(cast, func(_ context.Context, t *replicated.Turn[ballot], yes bool) (string, error) {
				vote, on := t.Data().At("vote").(*replicated.Vote), t.Data().At("on").(*replicated.Flag)
				vote.Cast(yes)
				if 2*vote.Votes() > vote.Voters() {
					on.Enable()
				}
				return fmt.Sprintf("%d of %d, on: %t", vote.Votes(), vote.Voters(), on.Enabled()), nil
			}),
		},
	}
	example(func(t testing.TB) {
		c := sdktest.Cluster(t, ballots, "b-1", 3)
		sdktest.Do(c.Node(0), cast, false)
		for node := range 3 {
			fmt.Println(sdktest.Do(c.Node(node), cast, true).Reply)
		}
		fmt.Println(sdktest.Do(c.Node(0), cast, false).Reply)
	})
	// Output:
	// 1 of 3, on: false
	// 2 of 3, on: true
	// 3 of 3, on: true
	// 2 of 3, on: true
}

// Generated protobuf messages as inputs, replies, keys and elements.
func Example_protobuf() {
	type (
		slots = *replicated.Map[*durationpb.Duration, *replicated.GSet[*wrapperspb.StringValue]]
		turn  = *replicated.Turn[slots]
	)
	const (
		book  sdk.Method[*wrapperspb.StringValue, *emptypb.Empty] = "cal.v1.Day/Book"
		count sdk.Method[*emptypb.Empty, *wrapperspb.Int64Value]  = "cal.v1.Day/Count"
	)
	noon := &durationpb.Duration{Seconds: 12 * 60 * 60}
	days := replicated.Entity[slots]{
		Service: "cal.v1.Day",
		Commands: []replicated.Command[slots]{
			replicated.Handle(book, func(_ context.Context, t turn, who *wrapperspb.StringValue) (*emptypb.Empty, error) {
				t.Data().At(noon).Add(who)
				return new(emptypb.Empty), nil
			}),
			replicated.Read(count, func(_ context.Context, s slots, _ *emptypb.Empty) (*wrapperspb.Int64Value, error) {
				guests, _ := s.Get(noon)
				return wrapperspb.Int64(int64(guests.Len())), nil
			}),
		},
	}
	example(func(t testing.TB) {
		c := sdktest.Cluster(t, days, "d-1", 2)
		sdktest.Do(c.Node(0), book, wrapperspb.String("Ada"))
		sdktest.Do(c.Node(1), book, wrapperspb.String("Ada"))
		sdktest.Do(c.Node(1), book, wrapperspb.String("Bob"))
		fmt.Println(sdktest.Do(c.Node(0), count, new(emptypb.Empty)).Reply.GetValue())
	})
	// Output: 2
}
