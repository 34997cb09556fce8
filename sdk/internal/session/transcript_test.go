package session_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/eventsourced"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
)

var update = flag.Bool("update", false, "write the answers that the session gives into the transcripts")

// The transcripts in testdata are conversations with the entity below. A test sends the lines that begin with "->" and
// compares every other answer with the lines that begin with "<-":
//
//	peer <extensions>                          who is calling; nobody announces anything by default
//	-> init <service> <id> [<sequence> <JSON>] with a snapshot
//	-> event <sequence> <name> <type> <JSON>   "-" for no name
//	-> command <id> <entity> <name> <JSON> [<sequence>]
//	-> nothing                                 a message without content
//	<- reply <id> <JSON> [<event>…] [snapshot <JSON>] [effect …] [cancel <key>]
//	<- forward <id> <target> <payload> …       in place of the reply
//	<- refused <id> <text> [code] [restart]    an ordinary failure
//	<- failure <id> <text> [code]              a failure of the stream
//	<- end
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := converse(t, string(want))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func converse(t *testing.T, transcript string) string {
	entity, err := counter.Definition()
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	var (
		out  strings.Builder
		live *session.EventSourced
		peer session.Peer
		over bool
	)
	for line := range strings.Lines(transcript) {
		if strings.HasPrefix(line, "<-") {
			continue
		}
		out.WriteString(line)
		line = strings.TrimSpace(line)
		if names, ok := strings.CutPrefix(line, "peer "); ok {
			peer = session.PeerOf(strings.Fields(names))
		}
		message, ok := strings.CutPrefix(line, "-> ")
		if !ok {
			continue
		}
		if over {
			t.Fatalf("%q is sent after the end", line)
		}
		if live == nil {
			live = session.NewEventSourced(map[string]*def.Entity{entity.Service: entity}, peer, log)
		}
		answer, more := live.Step(t.Context(), parse(t, message))
		if answer != nil {
			fmt.Fprintf(&out, "<- %s\n", render(answer))
		}
		if over = !more; over {
			out.WriteString("<- end\n")
		}
	}
	return out.String()
}

func parse(t *testing.T, line string) *pb.EventSourcedStreamIn {
	f := strings.Fields(line)
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return n
	}
	switch f[0] {
	case "init":
		init := &pb.EventSourcedInit{ServiceName: f[1], EntityId: f[2]}
		if len(f) > 3 {
			init.Snapshot = &pb.EventSourcedSnapshot{SnapshotSequence: number(f[3]), Snapshot: wrap("state", f[4])}
		}
		return &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Init{Init: init}}
	case "event":
		event := &pb.EventSourcedEvent{Sequence: number(f[1]), Name: strings.Trim(f[2], "-"), Payload: wrap(f[3], f[4])}
		return &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Event{Event: event}}
	case "command":
		command := &cloudstate.Command{Id: number(f[1]), EntityId: f[2], Name: f[3], Payload: wrap("in", f[4])}
		if len(f) > 5 {
			command.Sequence = number(f[5])
		}
		return &pb.EventSourcedStreamIn{Message: &pb.EventSourcedStreamIn_Command{Command: command}}
	default:
		return new(pb.EventSourcedStreamIn)
	}
}

func wrap(name, text string) *anypb.Any {
	return &anypb.Any{TypeUrl: "json.cloudstate.io/" + name, Value: protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), text)}
}

func show(a *anypb.Any) string {
	if name, ok := strings.CutPrefix(a.GetTypeUrl(), "type.googleapis.com/"); ok {
		return fmt.Sprintf("%s[%x]", name, a.GetValue())
	}
	_, _, n := protowire.ConsumeTag(a.GetValue())
	text, _ := protowire.ConsumeBytes(a.GetValue()[n:])
	return strings.TrimPrefix(a.GetTypeUrl(), "json.cloudstate.io/") + string(text)
}

func render(out *pb.EventSourcedStreamOut) string {
	var b strings.Builder
	tail := func(f *cloudstate.Failure) {
		fmt.Fprintf(&b, " %d %q", f.GetCommandId(), f.GetDescription())
		if f.GetCode() != 0 {
			fmt.Fprintf(&b, " %v", sdk.Code(f.GetCode()))
		}
		if f.GetRestart() {
			b.WriteString(" restart")
		}
	}
	if f := out.GetFailure(); f != nil {
		b.WriteString("failure")
		tail(f)
		return b.String()
	}
	r := out.GetReply()
	if f := r.GetClientAction().GetFailure(); f != nil {
		b.WriteString("refused")
		tail(f)
	} else if f := r.GetClientAction().GetForward(); f != nil {
		fmt.Fprintf(&b, "forward %d %s", r.GetCommandId(), showForward(f))
	} else {
		fmt.Fprintf(&b, "reply %d %s", r.GetCommandId(), show(r.GetClientAction().GetReply().GetPayload()))
	}
	for i, e := range r.GetEvents() {
		fmt.Fprintf(&b, " event %s", show(e))
		if i < len(r.GetEventNames()) {
			fmt.Fprintf(&b, " named %s", r.GetEventNames()[i])
		}
	}
	if s := r.GetSnapshot(); s != nil {
		fmt.Fprintf(&b, " snapshot %s", show(s))
	}
	b.WriteString(showEffects(r.GetSideEffects()))
	return b.String()
}

// The entity that the transcripts speak to.

type (
	state struct{ N int }
	added struct{ N int }
)

const (
	add      sdk.Method[int, int]      = "test.Counter/Add"
	fail     sdk.Method[int, struct{}] = "test.Counter/Fail"
	explode  sdk.Method[int, struct{}] = "test.Counter/Panic"
	sequence sdk.Method[int, int64]    = "test.Counter/Sequence"
	send     sdk.Method[string, int]   = "test.Counter/Send"
)

var counter = eventsourced.Entity[state]{
	Service: "test.Counter",
	Commands: []eventsourced.Command[state]{
		eventsourced.Handle(add, func(_ context.Context, t *eventsourced.Turn[state], n int) (int, error) {
			for range n {
				t.Emit(added{1})
			}
			return t.State().N, nil
		}),
		eventsourced.Handle(fail, func(_ context.Context, t *eventsourced.Turn[state], n int) (struct{}, error) {
			for range n {
				t.Emit(added{1})
			}
			return struct{}{}, sdk.Errorf(sdk.CodeFailedPrecondition, "not %w", errors.New("today"))
		}),
		eventsourced.Handle(explode, func(_ context.Context, t *eventsourced.Turn[state], n int) (struct{}, error) {
			panic("secret")
		}),
		eventsourced.Handle(sequence, func(_ context.Context, t *eventsourced.Turn[state], _ int) (int64, error) {
			return t.Sequence(), nil
		}),
		eventsourced.Handle(send, func(_ context.Context, t *eventsourced.Turn[state], what string) (int, error) {
			for word := range strings.SplitSeq(what, "+") {
				switch call, options, kind := parseSend(word); {
				case kind == "emit":
					t.Emit(added{1})
				case kind == "cancel":
					eventsourced.Cancel(t, "k")
				case kind == "forward":
					return eventsourced.Forward(t, add.On("other", 1), sdk.WithMetadata(sdk.Metadata{{Key: "m", Text: "v"}}))
				case call != nil:
					eventsourced.Effect(t, *call, options...)
				default:
					eventsourced.Effect(t, add.On("other", 1), options...)
				}
			}
			return t.State().N, nil
		}),
	},
	Events: []eventsourced.Event[state]{
		eventsourced.On("added", func(s *state, e added) {
			if e.N < 0 {
				panic("secret")
			}
			s.N += e.N
		}),
	},
	SnapshotEvery: 4,
}

// FuzzStep: no message panics the session, however the stream went on before.
func FuzzStep(f *testing.F) {
	entity, err := counter.Definition()
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range []string{"init test.Counter c", `event 1 added added {"N":1}`, "command 1 c Add 2", "nothing"} {
		f.Add(encode(parse(nil, line)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		live := session.NewEventSourced(map[string]*def.Entity{entity.Service: entity}, session.PeerOf(session.Extensions()),
			slog.New(slog.DiscardHandler))
		for part := range bytes.SplitSeq(data, []byte("\n\n")) {
			in := new(pb.EventSourcedStreamIn)
			if decode(part, in) != nil {
				continue
			}
			if _, more := live.Step(t.Context(), in); !more {
				return
			}
		}
	})
}

func encode(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

func decode(b []byte, m proto.Message) error { return proto.Unmarshal(b, m) }
