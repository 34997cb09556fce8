package sdktest_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

// example stands for the *testing.T that an example does not have.
type example struct{ testing.TB }

func (example) Helper()                      {}
func (example) Context() context.Context     { return context.Background() }
func (example) Output() io.Writer            { return io.Discard }
func (example) Name() string                 { return "example" }
func (example) Cleanup(f func())             {}
func (example) Errorf(f string, args ...any) { fmt.Printf(f+"\n", args...) }

var names = entity(keep, emit)

func ExampleDo() {
	var t example // in a test: t *testing.T
	h := sdktest.New(t, names, "n-1")
	h.Given(named{Name: "Ada"})
	got := sdktest.Do(h, do, "Grace")
	fmt.Println(got.Reply, got.Err, got.Events)
	// Output: [Ada] <nil> [named]
}

func ExampleState() {
	var t example
	h := sdktest.New(t, names, "n-1")
	sdktest.Do(h, do, "Ada")
	fmt.Println(sdktest.State[state](h).Counts)
	// Output: map[Ada:1]
}

func ExampleHarness_Reopen() {
	var t example
	h := sdktest.New(t, names, "n-1")
	sdktest.Do(h, do, "Ada")
	h.Snapshot() // the next opening begins here
	sdktest.Do(h, do, "Grace")
	h.Reopen()
	fmt.Println(sdktest.State[state](h).Names, h.Journal())
	// Output: [Ada Grace] [named named]
}

// The kit reports a handler that changes the state without an event.
func ExampleNew() {
	var t example
	forgetful := entity(keep, func(t *turn, in string) error {
		t.State().Names = append(t.State().Names, in)
		return nil
	})
	sdktest.Do(sdktest.New(t, forgetful, "n-1"), do, "Ada")
	// Output:
	// after test.Names/Do the live state differs from what its events give: state.Names has 1 elements, replayed 0
}

// A proxy, or a test of one, speaks the inverted protocol with a real server.
func ExampleServe() {
	var t cleanup
	defer t.done()
	conn := sdktest.Serve(&t, names)
	spec, err := cloudstate.NewEntityDiscoveryClient(conn).Discover(context.Background(), new(cloudstate.ProxyInfo))
	fmt.Println(spec.GetEntities()[0].GetServiceName(), err)
	// Output: test.Names <nil>
}

// cleanup is an example that runs what a test would at its end.
type cleanup struct {
	example
	last func()
}

func (c *cleanup) Cleanup(f func()) { c.last = f }
func (c *cleanup) done()            { c.last() }

// A value entity has a value, or none.
func ExampleValue() {
	var t example
	h := sdktest.New(t, notes, "n-1")
	fmt.Println(sdktest.Value[note](h))
	sdktest.Do(h, write, "Ada")
	fmt.Println(sdktest.Value[note](h))
	// Output:
	// {} false
	// {Ada} true
}

// What a turn sends is compared with the call that it should send.
func ExampleCallOf() {
	var t example
	h := sdktest.New(t, notes, "n-1")
	got := sdktest.Do(h, share, "n-2")
	fmt.Println(reflect.DeepEqual(*got.Forward, sdktest.CallOf(t, write.On("n-2", "shared"))))
	fmt.Println(sdktest.Input(t, write, *got.Forward))
	// Output:
	// true
	// shared
}

func ExampleInput() {
	var t example
	h := sdktest.New(t, notes, "n-1")
	effect := sdktest.Do(h, remind, 5).Effects[0]
	fmt.Println(sdktest.Input(t, write, effect.Call), "after", effect.After)
	// Output: remember after 5s
}

// A file of stored events is read for ever after.
func ExampleHarness_GivenFile() {
	var t example
	path := filepath.Join(os.TempDir(), fmt.Sprintf("names-%d.jsonl", os.Getpid()))
	defer os.Remove(path)
	h := sdktest.New(t, names, "n-1")
	sdktest.Do(h, do, "Ada")
	sdktest.Do(h, do, "Grace")
	h.WriteFile(path) // once, into testdata

	h = sdktest.New(t, names, "n-1")
	h.GivenFile(path)
	fmt.Println(sdktest.State[state](h).Names)
	// Output: [Ada Grace]
}
