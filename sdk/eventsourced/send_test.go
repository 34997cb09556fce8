package eventsourced_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

const (
	remote  sdk.Method[added, struct{}] = "test.Remote/Take"
	nowhere sdk.Method[added, struct{}] = "Take"
	closed  sdk.Method[chan int, int]   = "test.Remote/Take"
	oddly   sdk.Method[fragile, int]    = "test.Remote/Odd"
)

func TestEffects(t *testing.T) {
	t.Parallel()
	due := time.Date(2030, 1, 2, 3, 4, 5, 6, time.FixedZone("east", 3600))
	h := sdktest.New(t, entity(func(tn *turn) error {
		tn.Emit(added{1})
		eventsourced.Effect(tn, remote.On("r-1", added{1}))
		eventsourced.Effect(tn, remote.On("", added{2}), sdk.Synchronous(),
			sdk.WithMetadata(sdk.Metadata{{Key: "a", Text: "b"}, {Key: "c", Bytes: []byte{1}}}))
		eventsourced.Effect(tn, remote.On("r-1", added{3}), sdk.After(time.Second+1))
		eventsourced.Effect(tn, remote.On("r-1", added{4}), sdk.At(due), sdk.Named("k"))
		eventsourced.Effect(tn, remote.On("r-1", added{5}), sdk.After(-time.Second))
		eventsourced.Cancel(tn, "k")
		return nil
	}), "c")
	got := sdktest.Do(h, do, "")
	want := []sdktest.Effect{
		{Call: sdktest.CallOf(t, remote.On("r-1", added{1}))},
		{Call: sdktest.CallOf(t, remote.On("", added{2})), Synchronous: true},
		{Call: sdktest.CallOf(t, remote.On("r-1", added{3})), After: 1001 * time.Millisecond},
		{Call: sdktest.CallOf(t, remote.On("r-1", added{4})), At: time.Date(2030, 1, 2, 2, 4, 5, 1e6, time.UTC), Name: "k"},
		{Call: sdktest.CallOf(t, remote.On("r-1", added{5}))},
		{Name: "k", Cancelled: true},
	}
	want[1].Metadata = sdk.Metadata{{Key: "a", Text: "b"}, {Key: "c", Bytes: []byte{1}}}
	if d := cmp.Diff(want, got.Effects); d != "" || got.Err != nil || got.Forward != nil {
		t.Error(got.Err, got.Forward, d)
	}
	if in := sdktest.Input(t, remote, got.Effects[1].Call); in.N != 2 {
		t.Errorf("the input is %+v", in)
	}
}

func TestForward(t *testing.T) {
	t.Parallel()
	h := sdktest.New(t, entity(func(tn *turn) error {
		tn.Emit(added{1})
		_, err := eventsourced.Forward(tn, remote.On("r-1", added{1}), sdk.WithMetadata(sdk.Metadata{{Key: "a", Text: "b"}}))
		return err
	}), "c")
	got := sdktest.Do(h, do, "")
	want := sdktest.CallOf(t, remote.On("r-1", added{1}))
	want.Metadata = sdk.Metadata{{Key: "a", Text: "b"}}
	if d := cmp.Diff(&want, got.Forward); d != "" || got.Err != nil || len(got.Events) != 1 {
		t.Error(got.Err, got.Events, d)
	}
}

// A turn that fails, however it does, sends nothing.
func TestFailuresSendNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		f    func(*turn) error
		code sdk.Code
	}{
		"refused": {func(t *turn) error {
			eventsourced.Effect(t, remote.On("r", added{}))
			return errors.New("no")
		}, sdk.CodeUnknown},
		"refused after a forward": {func(t *turn) error {
			_, _ = eventsourced.Forward(t, remote.On("r", added{}))
			return errors.New("no")
		}, sdk.CodeUnknown},
		"panic": {func(t *turn) error {
			eventsourced.Effect(t, remote.On("r", added{}))
			panic("secret")
		}, sdk.CodeInternal},
		"forwarded twice": {func(t *turn) error {
			_, _ = eventsourced.Forward(t, remote.On("r", added{}))
			_, err := eventsourced.Forward(t, remote.On("r", added{}))
			return err
		}, sdk.CodeInternal},
		"method without service":             {func(t *turn) error { eventsourced.Effect(t, nowhere.On("r", added{})); return nil }, sdk.CodeInternal},
		"input of a type that cannot travel": {func(t *turn) error { eventsourced.Effect(t, closed.On("r", nil)); return nil }, sdk.CodeInternal},
		"input that cannot be encoded": {func(t *turn) error {
			_, err := eventsourced.Forward(t, oddly.On("r", fragile{make(chan int)}))
			return err
		}, sdk.CodeInternal},
		"id that is no text":       {func(t *turn) error { eventsourced.Effect(t, remote.On("\xff", added{})); return nil }, sdk.CodeInternal},
		"name that is no text":     {func(t *turn) error { eventsourced.Cancel(t, "\xff"); return nil }, sdk.CodeInternal},
		"no name":                  {func(t *turn) error { eventsourced.Effect(t, remote.On("r", added{}), sdk.Named("")); return nil }, sdk.CodeInternal},
		"no time":                  {func(t *turn) error { eventsourced.Effect(t, remote.On("r", added{}), sdk.At(time.Time{})); return nil }, sdk.CodeInternal},
		"two times":                {effect(sdk.After(1), sdk.At(time.Now())), sdk.CodeInternal},
		"synchronous and later":    {effect(sdk.Synchronous(), sdk.After(1)), sdk.CodeInternal},
		"synchronous and named":    {effect(sdk.Named("k"), sdk.Synchronous()), sdk.CodeInternal},
		"metadata that is no text": {effect(sdk.WithMetadata(sdk.Metadata{{Key: "a", Text: "\xff"}})), sdk.CodeInternal},
		"recovered from a bad effect": {func(t *turn) error {
			defer func() { _ = recover() }()
			eventsourced.Effect(t, nowhere.On("r", added{}))
			return nil
		}, sdk.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := sdktest.New(t, entity(test.f), "c")
			got := sdktest.Do(h, do, "")
			if sdk.CodeOf(got.Err) != test.code || got.Effects != nil || got.Forward != nil || len(h.Journal()) != 0 {
				t.Errorf("got %+v", got)
			}
			if after := sdktest.Do(h, add, 2); after.Reply != 2 || after.Err != nil || after.Effects != nil {
				t.Errorf("afterwards %+v", after)
			}
		})
	}
}

func effect(options ...sdk.EffectOption) func(*turn) error {
	return func(t *turn) error { eventsourced.Effect(t, remote.On("r", added{}), options...); return nil }
}

func TestSendingEndsWithTheTurn(t *testing.T) {
	t.Parallel()
	var kept *turn
	sdktest.Do(sdktest.New(t, entity(func(t *turn) error { kept = t; return nil }), "c"), do, "")
	for name, use := range map[string]func(){
		"Effect":  func() { eventsourced.Effect(kept, remote.On("r", added{})) },
		"Cancel":  func() { eventsourced.Cancel(kept, "k") },
		"Forward": func() { _, _ = eventsourced.Forward(kept, remote.On("r", added{})) },
	} {
		func() {
			defer func() {
				if v := recover(); v != "eventsourced: the Turn was used after its handler had returned" {
					t.Errorf("%s: %v", name, v)
				}
			}()
			use()
		}()
	}
}
