package sdk_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/sdktest"
	"github.com/dapr-entities/entities/sdk/value"
)

const (
	Ring sdk.Method[string, struct{}]   = "example.v1.Bell/Ring"
	Set  sdk.Method[struct{}, struct{}] = "example.v1.Alarm/Set"
)

// effects prints what a turn of an alarm asks for.
func effects(send func(t *value.Turn[int])) {
	alarm := value.Entity[int]{Service: "example.v1.Alarm", Commands: []value.Command[int]{
		value.Handle(Set, func(_ context.Context, t *value.Turn[int], _ struct{}) (struct{}, error) {
			send(t)
			return struct{}{}, nil
		}),
	}}
	for _, e := range sdktest.Do(sdktest.New(exampleTB{}, alarm, "a"), Set, struct{}{}).Effects {
		fmt.Println(e.Method, e.Input)
		if e.Synchronous {
			fmt.Println("synchronous")
		}
		if e.After > 0 {
			fmt.Println("after", e.After)
		}
		if !e.At.IsZero() {
			fmt.Println("at", e.At)
		}
		if e.Name != "" {
			fmt.Println("named", e.Name)
		}
		if e.Metadata != nil {
			fmt.Println("with", e.Metadata)
		}
	}
}

// The caller gets its answer after the bell has rung.
func ExampleSynchronous() {
	effects(func(t *value.Turn[int]) { value.Effect(t, Ring.On("front", "now"), sdk.Synchronous()) })
	// Output:
	// Ring "now"
	// synchronous
}

// The bell rings in an hour.
func ExampleAfter() {
	effects(func(t *value.Turn[int]) { value.Effect(t, Ring.On("front", "later"), sdk.After(time.Hour)) })
	// Output:
	// Ring "later"
	// after 1h0m0s
}

// The bell rings at noon.
func ExampleAt() {
	noon := time.Date(2031, time.May, 1, 12, 0, 0, 0, time.UTC)
	effects(func(t *value.Turn[int]) { value.Effect(t, Ring.On("front", "noon"), sdk.At(noon)) })
	// Output:
	// Ring "noon"
	// at 2031-05-01 12:00:00 +0000 UTC
}

// The bell rings once, an hour after the last turn that asked for it.
func ExampleNamed() {
	effects(func(t *value.Turn[int]) {
		value.Effect(t, Ring.On("front", "idle"), sdk.After(time.Hour), sdk.Named("idle"))
	})
	// Output:
	// Ring "idle"
	// after 1h0m0s
	// named idle
}

// Metadata goes along only if it is said.
func ExampleWithMetadata() {
	effects(func(t *value.Turn[int]) {
		value.Effect(t, Ring.On("front", "x"), sdk.WithMetadata(sdk.Metadata{{Key: "loud", Text: "very"}}))
	})
	// Output:
	// Ring "x"
	// with [{loud very []}]
}

type exampleTB struct{ testing.TB }

func (exampleTB) Helper()                  {}
func (exampleTB) Output() io.Writer        { return io.Discard }
func (exampleTB) Context() context.Context { return context.Background() }
func (exampleTB) Fatalf(f string, args ...any) {
	panic("the example fails: " + fmt.Sprintf(f, args...))
}
