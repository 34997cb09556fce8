package sdk_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/sdk"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/crdt"
	"github.com/dapr-entities/entities/sdk/replicated"
	"github.com/dapr-entities/entities/sdk/sdktest"
)

type votes = *replicated.Counter

const (
	change sdk.Method[int64, int64]     = "test.v1.Votes/Change"
	crash  sdk.Method[struct{}, int64]  = "test.v1.Votes/Crash"
	later  sdk.Method[struct{}, int64]  = "test.v1.Votes/Later"
	watch  sdk.StreamOut[string, int64] = "test.v1.Votes/Watch"
)

var ballot = replicated.Entity[votes]{
	Service: "test.v1.Votes",
	New: func(id string) votes {
		if id == "broken" {
			panic("secret")
		}
		if id == "none" {
			return nil
		}
		c := new(replicated.Counter)
		c.Add(7) // which is dropped
		return c
	},
	Commands: []replicated.Command[votes]{
		replicated.Handle(change, func(_ context.Context, t *replicated.Turn[votes], n int64) (int64, error) {
			t.Data().Add(n)
			t.SetMetadata("key", t.IdempotencyKey()+t.Metadata().Get("k"))
			return t.Data().Value(), nil
		}),
		replicated.Handle(crash, func(_ context.Context, t *replicated.Turn[votes], _ struct{}) (int64, error) {
			t.Data().Add(1)
			panic("secret")
		}),
		replicated.Handle(later, func(_ context.Context, t *replicated.Turn[votes], _ struct{}) (int64, error) {
			t.Data().Add(1)
			replicated.Effect(t, change.On("1", 1), sdk.After(1))
			return 0, nil
		}),
		replicated.Stream(watch, replicated.Watch[votes, string, int64]{
			Next: func(c votes, _ string) (int64, bool, bool) { return c.Value(), true, true },
		}),
	},
}

// replica is one stream, by a real connection.
type replica struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[crdt.CrdtStreamIn, crdt.CrdtStreamOut]
}

func replicate(t *testing.T, extensions ...string) *replica {
	t.Helper()
	conn := sdktest.Serve(t, ballot)
	if _, err := cloudstate.NewEntityDiscoveryClient(conn).Discover(t.Context(), &cloudstate.ProxyInfo{Extensions: extensions}); err != nil {
		t.Fatal(err)
	}
	stream, err := crdt.NewCrdtClient(conn).Handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return &replica{t, stream}
}

func (r *replica) send(in *crdt.CrdtStreamIn) {
	r.t.Helper()
	if err := r.stream.Send(in); err != nil {
		r.t.Fatal(err)
	}
}

func (r *replica) receive() *crdt.CrdtStreamOut {
	r.t.Helper()
	out, err := r.stream.Recv()
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// end is what the stream ends with, after the last message.
func (r *replica) end() error {
	r.t.Helper()
	out, err := r.stream.Recv()
	if err == nil {
		r.t.Fatalf("another message: %v", out)
	}
	return err
}

func begin(service, id string, d *crdt.CrdtDelta) *crdt.CrdtStreamIn {
	return &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_Init{Init: &crdt.CrdtInit{ServiceName: service, EntityId: id, Delta: d}}}
}

func told(n int64) *crdt.CrdtDelta {
	return &crdt.CrdtDelta{Delta: &crdt.CrdtDelta_Pncounter{Pncounter: &crdt.PNCounterDelta{Change: n}}}
}

func tell(d *crdt.CrdtDelta) *crdt.CrdtStreamIn {
	return &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_Delta{Delta: d}}
}

func order(id int64, entity, name, in string) *crdt.CrdtStreamIn {
	c := &cloudstate.Command{Id: id, EntityId: entity, Name: name, Streamed: name == "Watch"}
	c.Payload = &anypb.Any{TypeUrl: "json.cloudstate.io/x", Value: append([]byte{0x0a, byte(len(in))}, in...)}
	return &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_Command{Command: c}}
}

func cancelled(id int64) *crdt.CrdtStreamIn {
	return &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_StreamCancelled{StreamCancelled: &cloudstate.StreamCancelled{EntityId: "1", Id: id}}}
}

var gone = &crdt.CrdtStreamIn{Message: &crdt.CrdtStreamIn_Delete{Delete: new(crdt.CrdtDelete)}}

func TestReplicatedViolations(t *testing.T) {
	t.Parallel()
	const service = "test.v1.Votes"
	flag := &crdt.CrdtDelta{Delta: &crdt.CrdtDelta_Flag{Flag: new(crdt.FlagDelta)}}
	for _, test := range []struct {
		name, want string
		command    int64
		in         []*crdt.CrdtStreamIn
	}{
		{"a message without content", "without content", 0, []*crdt.CrdtStreamIn{{}}},
		{"a command first", "before init", 0, []*crdt.CrdtStreamIn{order(1, "1", "Change", "1")}},
		{"a delta first", "before init", 0, []*crdt.CrdtStreamIn{tell(told(1))}},
		{"the end of a stream first", "before init", 0, []*crdt.CrdtStreamIn{cancelled(1)}},
		{"another service", "test.v1.Votes", 0, []*crdt.CrdtStreamIn{begin("test.v1.None", "1", nil)}},
		{"a second init", "second init", 0, []*crdt.CrdtStreamIn{begin(service, "1", nil), begin(service, "1", nil)}},
		{"another id", `"2" on the stream of "1"`, 5, []*crdt.CrdtStreamIn{begin(service, "1", nil), order(5, "2", "Change", "1")}},
		{"init with another kind", "Flag, want PNCounter", 0, []*crdt.CrdtStreamIn{begin(service, "1", flag)}},
		{"init with an empty delta", "not known", 0, []*crdt.CrdtStreamIn{begin(service, "1", new(crdt.CrdtDelta))}},
		{"a delta of another kind", "update test.v1.Votes/1", 0, []*crdt.CrdtStreamIn{begin(service, "1", told(1)), tell(flag)}},
		{"an empty delta", "not known", 0, []*crdt.CrdtStreamIn{begin(service, "1", nil), tell(nil)}},
		{"New panics", "panicked", 0, []*crdt.CrdtStreamIn{begin(service, "broken", nil)}},
		{"New makes nothing", "New returned", 0, []*crdt.CrdtStreamIn{begin(service, "none", nil)}},
		{"an unknown command", `no command "Nothing"`, 3, []*crdt.CrdtStreamIn{begin(service, "1", nil), order(3, "1", "Nothing", "1")}},
		{"a panic", "failed inside its handler", 4, []*crdt.CrdtStreamIn{begin(service, "1", nil), order(4, "1", "Crash", "{}")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := replicate(t)
			for _, in := range test.in {
				r.send(in)
			}
			f := r.receive().GetFailure()
			if f == nil || f.GetCommandId() != test.command || !strings.Contains(f.GetDescription(), test.want) ||
				strings.Contains(f.GetDescription(), "secret") || f.GetCode() != 0 {
				t.Errorf("failure %v, want %d %q", f, test.command, test.want)
			}
			if err := r.end(); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
}

// A peer that understands codes hears of exceptions by ordinary failures, and the stream goes on with the data as it was.
func TestReplicatedExceptions(t *testing.T) {
	t.Parallel()
	r := replicate(t, "codes")
	r.send(begin("test.v1.Votes", "1", told(3)))
	for i, test := range []struct {
		name, in string
		code     sdk.Code
	}{
		{"Crash", "{}", sdk.CodeInternal}, {"Nothing", "1", sdk.CodeUnimplemented}, {"Change", `"x"`, sdk.CodeInvalidArgument},
		{"Change", "9223372036854775807", sdk.CodeOutOfRange}, {"Later", "{}", sdk.CodeUnimplemented},
	} {
		r.send(order(int64(i+1), "1", test.name, test.in))
		got := r.receive().GetReply()
		if f := got.GetClientAction().GetFailure(); sdk.Code(f.GetCode()) != test.code || f.GetCommandId() != int64(i+1) || got.GetStateAction() != nil {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	r.send(order(9, "1", "Change", "1"))
	if got := r.receive().GetReply(); got.GetStateAction().GetUpdate().GetPncounter().GetChange() != 1 ||
		string(got.GetClientAction().GetReply().GetPayload().GetValue()[2:]) != "4" {
		t.Errorf("then %v", got)
	}
}

// Commands need not wait for each other's replies, and what a stream is told follows the reply of whoever made the change.
func TestReplicatedPipelined(t *testing.T) {
	t.Parallel()
	r := replicate(t, "metadata")
	r.send(begin("test.v1.Votes", "1", nil))
	r.send(order(1, "1", "Watch", `""`))
	c := order(2, "1", "Change", "1")
	c.GetCommand().Metadata = &cloudstate.Metadata{Entries: []*cloudstate.MetadataEntry{{Key: "k", Value: &cloudstate.MetadataEntry_StringValue{StringValue: "v"}}}}
	c.GetCommand().IdempotencyKey = "i"
	r.send(c)
	r.send(order(3, "1", "Watch", `""`))
	r.send(order(4, "1", "Change", "1"))
	r.send(tell(told(1)))
	r.send(cancelled(3))
	r.send(cancelled(3)) // which is answered, too
	r.send(cancelled(77))
	r.send(order(5, "1", "Change", "1"))
	var got []string
	for range 13 {
		switch m := r.receive().GetMessage().(type) {
		case *crdt.CrdtStreamOut_Reply:
			got = append(got, "reply")
			if entries := m.Reply.GetClientAction().GetReply().GetMetadata().GetEntries(); m.Reply.GetCommandId() == 2 && entries[0].GetStringValue() != "iv" {
				t.Errorf("metadata %v", entries)
			}
			if m.Reply.GetStreamed() != (m.Reply.GetCommandId()%2 == 1 && m.Reply.GetCommandId() < 5) {
				t.Errorf("%v", m.Reply)
			}
		case *crdt.CrdtStreamOut_StreamedMessage:
			got = append(got, "message "+string('0'+rune(m.StreamedMessage.GetCommandId())))
		case *crdt.CrdtStreamOut_StreamCancelledResponse:
			got = append(got, "cancelled")
		default:
			t.Fatalf("%v", m)
		}
	}
	want := "reply reply message 1 reply reply message 1 message 3 message 1 message 3 cancelled cancelled cancelled reply"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %v\nwant %v", strings.Join(got, " "), want)
	}
	if got := r.receive().GetStreamedMessage(); got.GetCommandId() != 1 || string(got.GetClientAction().GetReply().GetPayload().GetValue()[2:]) != "4" {
		t.Error(got)
	}
	if err := r.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := r.end(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// An entity that was deleted elsewhere answers, but does nothing.
func TestReplicatedDeleted(t *testing.T) {
	t.Parallel()
	r := replicate(t, "codes")
	r.send(begin("test.v1.Votes", "1", nil))
	r.send(order(1, "1", "Watch", `""`))
	r.receive()
	r.send(gone)
	r.send(tell(told(1)))
	r.send(cancelled(1))
	if got := r.receive().GetStreamCancelledResponse(); got.GetCommandId() != 1 || got.GetStateAction() != nil {
		t.Error(got)
	}
	r.send(order(2, "1", "Change", "1"))
	if got := r.receive().GetReply(); sdk.Code(got.GetClientAction().GetFailure().GetCode()) != sdk.CodeNotFound || got.GetStateAction() != nil {
		t.Error(got)
	}
	if err := r.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := r.end(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	// Before an init, too.
	r = replicate(t)
	r.send(gone)
	if err := r.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := r.end(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
