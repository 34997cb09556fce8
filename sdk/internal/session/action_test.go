package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/action"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	actionpb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
)

// The transcripts in testdata/action are calls of the service below. A test sends the lines that begin with "->" when
// the session asks for them, and compares where the lines that begin with "<-" come between them, and what they say:
//
//	peer <extensions>                       who is calling; nobody announces anything by default
//	call unary|in|out|duplex                by which call of the protocol
//	-> first <service> <name> [<JSON>] [key <key>] [with <key> <text>]
//	-> input [<JSON>] [with <key> <text>]
//	-> gone                                 the caller cancels; without it the inputs end
//	<- reply <JSON> [with <key> <text>] [effect …]…
//	<- forward <service>/<name> <id> <JSON> [effect …]…
//	<- failure <text> [code] [effect …]…
//	<- nothing [effect …]…
//	<- end [<error>]
func TestActionTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/action/*.txt")
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
			got := act(t, string(want))
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

// shapes by the names of the protocol's calls in transcripts.
var shapes = map[string]session.Shape{"unary": {}, "in": {StreamedIn: true}, "out": {StreamedOut: true}, "duplex": {StreamedIn: true, StreamedOut: true}}

func act(t *testing.T, transcript string) string {
	var (
		out   strings.Builder
		peer  session.Peer
		shape session.Shape
		lines []string
	)
	for line := range strings.Lines(transcript) {
		switch {
		case strings.HasPrefix(line, "->"):
			lines = append(lines, line)
		case !strings.HasPrefix(line, "<-"):
			out.WriteString(line)
		}
		if names, ok := strings.CutPrefix(line, "peer "); ok {
			peer = session.PeerOf(strings.Fields(names))
		}
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "call "); ok {
			shape, ok = shapes[name]
			if !ok {
				t.Fatal(line)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	receive := func() (*actionpb.ActionCommand, error) {
		if len(lines) == 0 {
			return nil, io.EOF
		}
		line := lines[0]
		lines = lines[1:]
		out.WriteString(line)
		if strings.TrimSpace(line) == "-> gone" {
			cancel()
			return nil, status.Error(codes.Canceled, "the caller has gone")
		}
		return parseAction(t, strings.TrimPrefix(line, "->")), nil
	}
	send := func(r *actionpb.ActionResponse) error {
		if ctx.Err() != nil {
			return status.Error(codes.Canceled, "the caller has gone")
		}
		if fmt.Fprintf(&out, "<- %s\n", renderAction(r)); !proto.Equal(r, decoded(t, r)) {
			t.Errorf("%v does not survive its encoding", r)
		}
		return nil
	}
	live := session.NewAction(echoes(t), peer, slog.New(slog.NewTextHandler(t.Output(), nil)), nil, shape)
	if err := live.Run(ctx, receive, send); err != nil {
		fmt.Fprintf(&out, "<- end %v\n", err)
	} else {
		out.WriteString("<- end\n")
	}
	return out.String()
}

func decoded(t *testing.T, in *actionpb.ActionResponse) *actionpb.ActionResponse {
	out := new(actionpb.ActionResponse)
	if err := decode(encode(in), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func parseAction(t *testing.T, line string) *actionpb.ActionCommand {
	f := strings.Fields(line)
	c := new(actionpb.ActionCommand)
	rest := f[1:]
	if f[0] == "first" {
		c.ServiceName, c.Name = f[1], f[2]
		rest = f[3:]
	}
	for len(rest) > 0 {
		switch rest[0] {
		case "key":
			c.IdempotencyKey = rest[1]
			rest = rest[2:]
		case "with":
			c.Metadata = &cloudstate.Metadata{Entries: append(c.GetMetadata().GetEntries(), &cloudstate.MetadataEntry{
				Key: rest[1], Value: &cloudstate.MetadataEntry_StringValue{StringValue: rest[2]}})}
			rest = rest[3:]
		default:
			c.Payload = wrap("in", rest[0])
			rest = rest[1:]
		}
	}
	return c
}

func renderAction(r *actionpb.ActionResponse) string {
	var b strings.Builder
	with := func(m *cloudstate.Metadata) {
		for _, e := range m.GetEntries() {
			fmt.Fprintf(&b, " with %s %s", e.GetKey(), e.GetStringValue())
		}
	}
	switch v := r.GetResponse().(type) {
	case *actionpb.ActionResponse_Reply:
		fmt.Fprintf(&b, "reply %s", show(v.Reply.GetPayload()))
		with(v.Reply.GetMetadata())
	case *actionpb.ActionResponse_Forward:
		fmt.Fprintf(&b, "forward %s/%s %q %s", v.Forward.GetServiceName(), v.Forward.GetCommandName(), v.Forward.GetEntityId(), show(v.Forward.GetPayload()))
		with(v.Forward.GetMetadata())
	case *actionpb.ActionResponse_Failure:
		fmt.Fprintf(&b, "failure %q", v.Failure.GetDescription())
		if v.Failure.GetCode() != 0 {
			fmt.Fprintf(&b, " %v", sdk.Code(v.Failure.GetCode()))
		}
		if v.Failure.GetCommandId() != 0 || v.Failure.GetRestart() {
			b.WriteString(" and what is not for actions")
		}
	default:
		b.WriteString("nothing")
	}
	for _, e := range r.GetSideEffects() {
		fmt.Fprintf(&b, " effect %s/%s %q %s", e.GetServiceName(), e.GetCommandName(), e.GetEntityId(), show(e.GetPayload()))
		if e.GetSynchronous() {
			b.WriteString(" synchronous")
		}
		if e.GetDelayMillis() != 0 {
			fmt.Fprintf(&b, " after %d ms", e.GetDelayMillis())
		}
	}
	return b.String()
}

const (
	echoUnary  sdk.Method[string, string]    = "test.Echo/Unary"
	echoIn     sdk.StreamIn[string, string]  = "test.Echo/In"
	echoOut    sdk.StreamOut[string, string] = "test.Echo/Out"
	echoDuplex sdk.Duplex[string, string]    = "test.Echo/Duplex"
	place      sdk.Method[string, string]    = "test.Shop/Place"
)

// echoes has one method of each shape, and an entity beside it. What a method does is its input: a list of words.
func echoes(t testing.TB) map[string]*def.Entity {
	service, err := action.Service{Service: "test.Echo", Methods: []action.Method{
		action.Handle(echoUnary, func(_ context.Context, t *action.Turn, in string) (string, error) {
			return once(t, in)
		}),
		action.HandleIn(echoIn, func(_ context.Context, t *action.Turn, in iter.Seq2[string, error]) (string, error) {
			var all []string
			for text, err := range in {
				if err != nil {
					return "", err
				}
				all = append(all, text)
			}
			return once(t, strings.Join(all, ","))
		}),
		action.HandleOut(echoOut, func(_ context.Context, t *action.Turn, in string, send func(string) error) error {
			return several(t, in, send)
		}),
		action.HandleDuplex(echoDuplex, func(_ context.Context, t *action.Turn, in iter.Seq2[string, error], send func(string) error) error {
			for text, err := range in {
				if err != nil {
					return err
				}
				if err := several(t, text, send); err != nil {
					return err
				}
			}
			return nil
		}),
	}}.Definition()
	if err != nil {
		t.Fatal(err)
	}
	entity, err := counter.Definition()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*def.Entity{service.Service: service, entity.Service: entity}
}

func effects(t *action.Turn, word string) (is bool) {
	switch word {
	case "effect":
		action.Effect(t, place.On("s-1", "asked"))
	case "synchronous":
		action.Effect(t, place.On("s-1", "asked"), sdk.Synchronous())
	case "delayed":
		action.Effect(t, place.On("s-1", "asked"), sdk.After(1000000))
	case "metadata":
		t.SetMetadata("k", "v")
	default:
		return false
	}
	return true
}

func once(t *action.Turn, in string) (string, error) {
	for word := range strings.SplitSeq(in, ",") {
		switch {
		case effects(t, word):
		case word == "forward":
			return action.Forward(t, place.On("s-1", "asked"))
		case word == "fail":
			return "", sdk.Errorf(sdk.CodeNotFound, "nothing there")
		case word == "panic":
			panic("secret")
		case word == "beside":
			return t.IdempotencyKey() + t.Metadata().Get("a") + t.Metadata().Get("b"), nil
		case word == "none":
			return "", action.ErrNoReply
		}
	}
	return in, nil
}

func several(t *action.Turn, in string, send func(string) error) error {
	for word := range strings.SplitSeq(in, ",") {
		var err error
		switch {
		case effects(t, word):
		case word == "forward":
			err = action.SendForward(t, place.On("s-1", "asked"))
		case word == "fail":
			err = t.SendFailure(sdk.Errorf(sdk.CodeNotFound, "nothing there"))
		case word == "end":
			err = errors.New("over")
		case word == "panic":
			panic("secret")
		case word == "flush":
			err = t.Flush()
		case word == "beside":
			err = send(t.Metadata().Get("a") + t.Metadata().Get("b"))
		default:
			err = send(word)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// FuzzAction: no messages panic the session, and a call that replies once does so exactly once.
func FuzzAction(f *testing.F) {
	for _, line := range []string{`first test.Echo Unary "effect,fail"`, `first test.Echo In`, `first test.Echo Out "a,b,forward"`, `input "a"`} {
		f.Add(encode(parseAction(nil, line)), false, true)
	}
	f.Add([]byte(nil), true, true)
	services := echoes(f)
	f.Fuzz(func(t *testing.T, data []byte, in, out bool) {
		var messages []*actionpb.ActionCommand
		for part := range strings.SplitSeq(string(data), "\n\n") {
			m := new(actionpb.ActionCommand)
			if decode([]byte(part), m) == nil {
				messages = append(messages, m)
			}
		}
		sent := 0
		live := session.NewAction(services, session.PeerOf(session.Extensions()), slog.New(slog.DiscardHandler), nil,
			session.Shape{StreamedIn: in, StreamedOut: out})
		err := live.Run(t.Context(), func() (*actionpb.ActionCommand, error) {
			if len(messages) == 0 {
				return nil, io.EOF
			}
			m := messages[0]
			messages = messages[1:]
			return m, nil
		}, func(r *actionpb.ActionResponse) error {
			sent++
			_, err := proto.Marshal(r)
			return err
		})
		if err != nil || !out && sent != 1 {
			t.Errorf("%d responses, %v", sent, err)
		}
	})
}
