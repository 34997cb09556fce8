package sdktest_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	"github.com/dapr-entities/entities/sdk/sdktest"
	"github.com/dapr-entities/entities/sdk/value"
)

// TestMetadataOfReplies: entities send them as actions do.
func TestMetadataOfReplies(t *testing.T) {
	t.Parallel()
	const (
		say  sdk.Method[string, string] = "test.Noted/Say"
		keep sdk.Method[string, string] = "test.Kept/Keep"
	)
	type note struct{ N int }
	type setter interface{ SetMetadata(key, text string) }
	run := func(t setter, in string) (string, error) {
		t.SetMetadata("ce-type", "first")
		t.SetMetadata("CE-TYPE", in)
		if in == "fail" {
			return "", sdk.Errorf(sdk.CodeAborted, "no")
		}
		return in, nil
	}
	definitions := map[sdk.Method[string, string]]sdk.Definition{
		say: eventsourced.Entity[note]{Service: "test.Noted", Commands: []eventsourced.Command[note]{
			eventsourced.Handle(say, func(_ context.Context, t *eventsourced.Turn[note], in string) (string, error) { return run(t, in) }, sdk.ToTopic("notes")),
		}},
		keep: value.Entity[note]{Service: "test.Kept", Commands: []value.Command[note]{
			value.Handle(keep, func(_ context.Context, t *value.Turn[note], in string) (string, error) { return run(t, in) }, sdk.ToTopic("notes")),
		}},
	}
	for method, d := range definitions {
		h := sdktest.New(t, d, "e")
		if d := cmp.Diff(sdk.Metadata{{Key: "CE-TYPE", Text: "x"}}, sdktest.Do(h, method, "x").Metadata); d != "" {
			t.Errorf("%s: %s", method, d)
		}
		if got := sdktest.Do(h, method, "fail"); got.Metadata != nil || got.Err == nil {
			t.Errorf("%s: %+v", method, got)
		}
	}
}
