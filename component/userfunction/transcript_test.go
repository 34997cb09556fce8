package userfunction

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

var update = flag.Bool("update", false, "write the transcripts anew")

type reply = eventsourced.EventSourcedReply

// TestTranscripts plays one behaviour after the other against a scripted user function, and compares what went over the
// wire and what the engine got with testdata/transcripts. Among them are the cases of Cloudstate's ExceptionHandlingSpec:
// failure_keeps_the_stream, top_level_failure and stream_aborted.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	ok := answer(func(r *reply) { r.ClientAction = replies("ok") })
	line := func(product string) *anypb.Any { return toAny(payload(product)) }
	json := &anypb.Any{TypeUrl: "json.cloudstate.io/Added", Value: []byte("\x0a\x07{\"n\":1}")}
	rich := turn("Add", "tea")
	rich.Command.Key = "key-1"
	rich.Command.Metadata = actors.Metadata{{Key: "User", Text: "ann"}, {Key: "bin", Bytes: []byte{1}}, {Key: "latin", Text: "caf\xe9"}}
	snapshot := payload("state")
	replay := engine.Start{
		Ref: ref("c1"), Snapshot: &snapshot, SnapshotSequence: 4,
		Events: events(engine.Event{Sequence: 5, Name: "added", Payload: payload("a")},
			engine.Event{Sequence: 6, Name: "json", Payload: actors.Payload{TypeURL: json.TypeUrl, ContentType: actors.ContentJSON, Data: []byte(`{"n":1}`)}}),
	}

	tests := []struct {
		name       string
		extensions []string
		start      engine.Start
		turns      []engine.Turn
		timeout    time.Duration
		steps      []step
		// logs that must be there.
		logs []string
	}{
		{name: "reply", steps: []step{ok}},
		{name: "commands_count_from_1", turns: []engine.Turn{turn("Add", "a"), turn("Add", "b"), turn("Add", "c")}, steps: []step{ok}},
		{name: "replay_foreign", start: replay, steps: []step{ok}},
		{name: "replay_with_event_names", extensions: []string{"events"}, start: replay, steps: []step{ok}},
		{name: "extensions_not_announced", turns: []engine.Turn{rich}, steps: []step{answer(func(r *reply) {
			r.ClientAction = fails(&cloudstate.Failure{Description: "no tea", Code: 5})
			r.EventNames = []string{"ignored"}
		})}},
		{name: "extensions_announced", extensions: catalog.Extensions, turns: []engine.Turn{rich}, steps: []step{answer(func(r *reply) {
			r.ClientAction = fails(&cloudstate.Failure{Description: "no tea", Code: 5})
		})}},
		{name: "failure_code_invalid", extensions: []string{"codes"}, turns: []engine.Turn{turn("Add", "a"), turn("Add", "b"), turn("Add", "c")}, steps: []step{
			answer(func(r *reply) { r.ClientAction = fails(&cloudstate.Failure{Description: "a", Code: 17}) }),
			answer(func(r *reply) { r.ClientAction = fails(&cloudstate.Failure{Description: "b", Code: -1}) }),
			answer(func(r *reply) { r.ClientAction = fails(&cloudstate.Failure{Code: 256 + 5}) }),
		}},
		{name: "events_and_snapshot", steps: []step{answer(func(r *reply) {
			r.ClientAction = replies("ok")
			r.Events = []*anypb.Any{line("a"), json}
			r.Snapshot = line("state")
		})}},
		{name: "events_with_names", extensions: []string{"events"}, steps: []step{answer(func(r *reply) {
			r.Events = []*anypb.Any{line("a"), json}
			r.EventNames = []string{"added", "json"}
		})}},
		{name: "event_names_mismatch", extensions: []string{"events"}, steps: []step{answer(func(r *reply) {
			r.Events = []*anypb.Any{line("a"), json}
			r.EventNames = []string{"added"}
		})}, logs: []string{"2 events with 1 names"}},
		{name: "event_without_type", steps: []step{answer(func(r *reply) { r.Events = []*anypb.Any{{Value: []byte{1}}} })}, logs: []string{"event 1 of 1 has no type URL"}},
		{name: "snapshot_without_events", steps: []step{answer(func(r *reply) { r.Snapshot = line("state") })}, logs: []string{"a snapshot without events was ignored"}},
		{name: "no_client_action", steps: []step{answer(func(*reply) {})}},
		{name: "reply_metadata", steps: []step{answer(func(r *reply) {
			r.ClientAction = replies("ok")
			r.ClientAction.GetReply().Metadata = &cloudstate.Metadata{Entries: []*cloudstate.MetadataEntry{
				{Key: "a", Value: &cloudstate.MetadataEntry_StringValue{StringValue: "b"}}, {Key: "c", Value: &cloudstate.MetadataEntry_BytesValue{BytesValue: []byte{1}}}}}
		})}},
		{name: "failure_keeps_the_stream", turns: []engine.Turn{turn("Add", "a"), turn("Add", "b")}, steps: []step{
			answer(func(r *reply) { r.ClientAction = fails(&cloudstate.Failure{Description: "description"}) }), ok}},
		{name: "failure_with_events", steps: []step{answer(func(r *reply) {
			r.ClientAction = fails(&cloudstate.Failure{Description: "description"})
			r.Events = []*anypb.Any{line("a")}
		})}},
		{name: "failure_with_restart", steps: []step{answer(func(r *reply) {
			r.ClientAction = fails(&cloudstate.Failure{Description: "description", Restart: true})
			r.Events = []*anypb.Any{line("a")}
		})}},
		{name: "forward", steps: []step{answer(func(r *reply) {
			r.Events = []*anypb.Any{line("a")}
			r.ClientAction = &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: &cloudstate.Forward{ServiceName: "shop.Cart1", CommandName: "Add", Payload: effect(nil).Payload}}}
		})}},
		{name: "forward_to_nowhere", steps: []step{answer(func(r *reply) {
			r.Events = []*anypb.Any{line("a")}
			r.ClientAction = &cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: &cloudstate.Forward{ServiceName: "shop.Cart2", CommandName: "Add"}}}
		})}, logs: []string{"forwarded from shop.Cart1.Add"}},
		{name: "side_effects", turns: []engine.Turn{turn("Add", "a"), turn("Add", "b")}, steps: []step{answer(func(r *reply) {
			r.ClientAction = replies("ok")
			r.Events = []*anypb.Any{line("a")}
			r.SideEffects = []*cloudstate.SideEffect{effect(nil), {ServiceName: "shop.Cart2", CommandName: "Add"}}
		})}, logs: []string{"side effect of shop.Cart1.Add"}},
		{name: "wrong_command_id", steps: []step{answer(func(r *reply) { r.CommandId = 9 })}, logs: []string{"a reply to command 9"}},
		{name: "reply_out_of_turn", turns: []engine.Turn{turn("Add", "a"), turn("Add", "b")}, steps: []step{func(l *wire, c *cloudstate.Command) error {
			if err := ok(l, c); err != nil {
				return err
			}
			return ok(l, c)
		}}, logs: []string{"a reply to command 1"}},
		{name: "top_level_failure", steps: []step{topLevel(&cloudstate.Failure{CommandId: 1, Description: "s3cret", Code: 5})}, logs: []string{"failure of command 1: s3cret"}},
		{name: "top_level_failure_without_id", steps: []step{topLevel(&cloudstate.Failure{Description: "boom"})}, logs: []string{"failure of command 0: boom"}},
		{name: "top_level_failure_with_codes", extensions: []string{"codes"}, steps: []step{topLevel(&cloudstate.Failure{CommandId: 1, Description: "not found", Code: 5})}},
		{name: "top_level_failure_of_another_command", extensions: []string{"codes"}, steps: []step{topLevel(&cloudstate.Failure{CommandId: 9, Description: "not found", Code: 5})}},
		{name: "empty_message", steps: []step{message(&out{})}, logs: []string{"neither a reply nor a failure"}},
		{name: "stream_aborted", steps: []step{func(*wire, *cloudstate.Command) error { return status.Error(codes.Internal, "boom") }}, logs: []string{"boom"}},
		{name: "stream_ended", turns: []engine.Turn{turn("Add", "a"), turn("Add", "b")}, steps: []step{func(*wire, *cloudstate.Command) error { return errHalt }}},
		{name: "hang", timeout: 100 * time.Millisecond, turns: []engine.Turn{turn("Add", "a"), turn("Add", "b")},
			steps: []step{func(l *wire, _ *cloudstate.Command) error { return l.hang() }}},
		{name: "half_close_without_a_command", turns: []engine.Turn{}, start: replay},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := &scripted{spec: spec(tt.extensions, "Cart1"), handle: follow(tt.steps...)}
			r := run(t, Config{Address: f.start(t, "")})
			if tt.start.Ref.ID == "" {
				tt.start.Ref = ref("c1")
			}
			if tt.turns == nil {
				tt.turns = []engine.Turn{turn("Add", "tea")}
			}
			var caller strings.Builder
			s := r.open(t, tt.start)
			for _, turn := range tt.turns {
				ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(tt.timeout, 5*time.Second))
				got, err := s.Handle(ctx, turn)
				cancel()
				describe(&caller, turn.Command.Method, got, err)
			}
			s.Close()
			eventually(t, "the stream is seen", func() bool { return f.opened() == 1 })
			text := f.transcript(t) + "engine\n" + caller.String()
			for _, want := range tt.logs {
				if !strings.Contains(r.log.String(), want) {
					t.Errorf("the log does not say %q:\n%s", want, r.log)
				}
			}
			golden(t, tt.name, text)
		})
	}
}

func describe(b *strings.Builder, method string, r engine.Reply, err error) {
	if err != nil {
		fmt.Fprintf(b, "  %s: %s: %v\n", method, actors.CodeOf(err), err)
		return
	}
	fmt.Fprintf(b, "  %s:", method)
	tell(b, r.Outcome)
	for _, e := range r.Events {
		fmt.Fprintf(b, " event %q %s", e.Name, show(e.Payload))
	}
	if r.Snapshot != nil {
		fmt.Fprintf(b, " snapshot %s", show(*r.Snapshot))
	}
	if r.Restart {
		b.WriteString(" restart")
	}
	b.WriteString(".\n")
}

func describeOutcome(b *strings.Builder, method string, o actors.Outcome) {
	fmt.Fprintf(b, "  %s:", method)
	tell(b, o)
	b.WriteString(".\n")
}

func tell(b *strings.Builder, o actors.Outcome) {
	if p := o.Reply; p != nil {
		fmt.Fprintf(b, " reply %s", show(*p))
	}
	if f := o.Failure; f != nil {
		fmt.Fprintf(b, " failure %s %q", f.Code, f.Message)
	}
	if f := o.Forward; f != nil {
		fmt.Fprintf(b, " forward %s %s %s", f.Ref, f.Method, show(f.Payload))
	}
	for _, m := range o.Metadata {
		fmt.Fprintf(b, " metadata %s=%q%v", m.Key, m.Text, m.Bytes)
	}
	for _, e := range o.Effects {
		fmt.Fprintf(b, " effect %s %s %s", e.Ref, e.Method, show(e.Payload))
		if e.Synchronous {
			b.WriteString(" synchronous")
		}
	}
}

func show(p actors.Payload) string { return fmt.Sprintf("%s %s %q", p.TypeURL, p.ContentType, p.Data) }

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "transcripts", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
