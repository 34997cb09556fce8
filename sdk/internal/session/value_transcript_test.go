package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/internal/def"
	"github.com/dapr-entities/entities/sdk/internal/session"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	pb "github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
	"github.com/dapr-entities/entities/sdk/value"
)

// The transcripts in testdata/value are conversations with the value entity below, written as those of TestTranscripts:
//
//	-> init <service> <id> [<JSON>]            with a value
//	<- reply <id> <JSON> [set <JSON>] [deleted]
func TestValueTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/value/*.txt")
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
			got := converseValue(t, string(want))
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

func converseValue(t *testing.T, transcript string) string {
	entities := map[string]*def.Entity{}
	for _, d := range []sdk.Definition{note, counter} {
		e, err := d.Definition()
		if err != nil {
			t.Fatal(err)
		}
		entities[e.Service] = e
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	var (
		out  strings.Builder
		live *session.Value
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
			live = session.NewValue(entities, peer, log)
		}
		answer, more := live.Step(t.Context(), parseValue(message))
		if answer != nil {
			fmt.Fprintf(&out, "<- %s\n", renderValue(answer))
		}
		if over = !more; over {
			out.WriteString("<- end\n")
		}
	}
	return out.String()
}

func parseValue(line string) *pb.ValueEntityStreamIn {
	switch f := strings.Fields(line); f[0] {
	case "init":
		init := &pb.ValueEntityInit{ServiceName: f[1], EntityId: f[2], State: new(pb.ValueEntityInitState)}
		if len(f) > 3 {
			init.State.Value = wrap("state", f[3])
		}
		return &pb.ValueEntityStreamIn{Message: &pb.ValueEntityStreamIn_Init{Init: init}}
	case "command":
		id, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			panic(err)
		}
		command := &cloudstate.Command{Id: id, EntityId: f[2], Name: f[3], Payload: wrap("in", f[4])}
		if len(f) > 5 {
			if command.Sequence, err = strconv.ParseInt(f[5], 10, 64); err != nil {
				panic(err)
			}
		}
		return &pb.ValueEntityStreamIn{Message: &pb.ValueEntityStreamIn_Command{Command: command}}
	default:
		return new(pb.ValueEntityStreamIn)
	}
}

func renderValue(out *pb.ValueEntityStreamOut) string {
	failure := func(word string, f *cloudstate.Failure) string {
		s := fmt.Sprintf("%s %d %q", word, f.GetCommandId(), f.GetDescription())
		if f.GetCode() != 0 {
			s += " " + sdk.Code(f.GetCode()).String()
		}
		if f.GetRestart() {
			s += " restart"
		}
		return s
	}
	if f := out.GetFailure(); f != nil {
		return failure("failure", f)
	}
	r := out.GetReply()
	var b strings.Builder
	switch a := r.GetClientAction().GetAction().(type) {
	case *cloudstate.ClientAction_Failure:
		b.WriteString(failure("refused", a.Failure))
	case *cloudstate.ClientAction_Forward:
		fmt.Fprintf(&b, "forward %d %s", r.GetCommandId(), showForward(a.Forward))
	default:
		fmt.Fprintf(&b, "reply %d %s", r.GetCommandId(), show(r.GetClientAction().GetReply().GetPayload()))
	}
	switch a := r.GetStateAction().GetAction().(type) {
	case *pb.ValueEntityAction_Update:
		fmt.Fprintf(&b, " set %s", show(a.Update.GetValue()))
	case *pb.ValueEntityAction_Delete:
		b.WriteString(" deleted")
	}
	b.WriteString(showEffects(r.GetSideEffects()))
	return b.String()
}

// The value entity that the transcripts speak to.

// text panics when it is read as "poison".
type text struct{ Text string }

func (x *text) UnmarshalJSON(b []byte) error {
	err := json.Unmarshal(b, &x.Text)
	if x.Text == "poison" {
		panic("secret")
	}
	return err
}

func (x text) MarshalJSON() ([]byte, error) { return json.Marshal(x.Text) }

const (
	noteSet   sdk.Method[string, string]   = "test.Note/Set"
	noteGet   sdk.Method[struct{}, string] = "test.Note/Get"
	noteFail  sdk.Method[string, struct{}] = "test.Note/Fail"
	notePanic sdk.Method[string, struct{}] = "test.Note/Panic"
	noteSeq   sdk.Method[string, int64]    = "test.Note/Sequence"
	noteSend  sdk.Method[string, string]   = "test.Note/Send"
)

type noteTurn = value.Turn[text]

var note = value.Entity[text]{
	Service: "test.Note",
	Commands: []value.Command[text]{
		value.Handle(noteSet, func(_ context.Context, t *noteTurn, in string) (string, error) { return change(t, in), nil }),
		value.Read(noteGet, func(_ context.Context, x text, _ struct{}) (string, error) { return x.Text, nil }),
		value.Handle(noteFail, func(_ context.Context, t *noteTurn, in string) (struct{}, error) {
			change(t, in)
			return struct{}{}, sdk.Errorf(sdk.CodeFailedPrecondition, "not %w", errors.New("today"))
		}),
		value.Handle(notePanic, func(_ context.Context, t *noteTurn, in string) (struct{}, error) {
			change(t, in)
			panic("secret")
		}),
		value.Handle(noteSeq, func(_ context.Context, t *noteTurn, _ string) (int64, error) { return t.Sequence(), nil }),
		value.Handle(noteSend, func(_ context.Context, t *noteTurn, what string) (string, error) {
			for word := range strings.SplitSeq(what, "+") {
				switch call, options, kind := parseSend(word); {
				case kind == "set":
					change(t, "sent")
				case kind == "cancel":
					value.Cancel(t, "k")
				case kind == "forward":
					return value.Forward(t, noteSet.On("other", "x"), sdk.WithMetadata(sdk.Metadata{{Key: "m", Text: "v"}}))
				case call != nil:
					value.Effect(t, *call, options...)
				default:
					value.Effect(t, noteSet.On("other", "x"), options...)
				}
			}
			x, _ := t.Get()
			return x.Text, nil
		}),
	},
}

// change sets the words one after the other; "-" deletes.
func change(t *noteTurn, words string) string {
	for word := range strings.SplitSeq(words, "+") {
		if word == "-" {
			t.Delete()
			continue
		}
		t.Set(text{word})
	}
	x, exists := t.Get()
	return fmt.Sprint(x.Text, " ", exists)
}

// FuzzValueStep: no message panics the session, however the stream went on before.
func FuzzValueStep(f *testing.F) {
	entity, err := note.Definition()
	if err != nil {
		f.Fatal(err)
	}
	for _, line := range []string{"init test.Note n", `init test.Note n "a"`, `command 1 n Set "b"`, `command 1 n Send "effect+forward"`, "nothing"} {
		f.Add(encode(parseValue(line)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		live := session.NewValue(map[string]*def.Entity{entity.Service: entity}, session.PeerOf(session.Extensions()),
			slog.New(slog.DiscardHandler))
		for part := range bytes.SplitSeq(data, []byte("\n\n")) {
			in := new(pb.ValueEntityStreamIn)
			if decode(part, in) != nil {
				continue
			}
			if _, more := live.Step(t.Context(), in); !more {
				return
			}
		}
	})
}
