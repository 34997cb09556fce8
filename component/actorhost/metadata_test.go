package actorhost

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
)

func TestReadMetadata(t *testing.T) {
	t.Parallel()
	got := readMetadata(map[string]string{
		"Content-Type": "application/x-protobuf", "IDEMPOTENCY-KEY": "k", "entities-Timeout": "1500",
		"Entities-Outcome": "1", "Traceparent": "tp", "dapr-caller-app-id": "shop", "X-User": "u", "Dapr-Api-Call": "true",
		"X-Dapr-Remote": "true", "Content-Length": "3", "grpc-accept-encoding": "gzip", ":authority": "x",
		"Dapr-Api-Token": "secret", "raw-bin": "AP8=", "bare-bin": "AP8", "odd-bin": "*", "Authorization": "Bearer b",
		"": "x", "Connection": "close",
	})
	want := incoming{contentType: "application/protobuf", key: "k", timeout: "1500", outcome: true, metadata: actors.Metadata{
		{Key: "authorization", Text: "Bearer b"}, {Key: "dapr-caller-app-id", Text: "shop"}, {Key: "traceparent", Text: "tp"},
		{Key: "x-user", Text: "u"}, {Key: "bare-bin", Bytes: []byte{0, 255}}, {Key: "odd-bin", Text: "*"},
		{Key: "raw-bin", Bytes: []byte{0, 255}},
	}}
	byKey := cmpopts.SortSlices(func(a, b actors.Entry) bool { return a.Key < b.Key })
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(incoming{}), byKey); diff != "" {
		t.Error(diff)
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"1": time.Millisecond, "60000": time.Minute, "9223372036854775807": maxTimeout,
	} {
		got, err := incoming{timeout: text}.deadline()
		if err != nil || (time.Until(got)-want).Abs() > time.Second {
			t.Errorf("%s: got %v, %v", text, time.Until(got), err)
		}
	}
	for _, text := range []string{"0", "-1", "1s", "9223372036854775808", " 1"} {
		if _, err := (incoming{timeout: text}).deadline(); actors.CodeOf(err) != actors.InvalidArgument {
			t.Errorf("%q: got %v", text, err)
		}
	}
	if got, err := (incoming{}).deadline(); err != nil || !got.IsZero() {
		t.Errorf("none: got %v, %v", got, err)
	}
}

func testSession(maxReply int) *session {
	return &session{host: &Stream{config: Config{MaxReply: maxReply}, log: slog.New(slog.DiscardHandler)}}
}

func TestFailed(t *testing.T) {
	t.Parallel()
	n, ref := testSession(minReply), actors.Ref{Service: "s.S", ID: "a b"}
	for _, c := range []struct {
		err  error
		code uint32
		text string
	}{
		{actors.Errorf(actors.Aborted, "m"), 10, "m [entities code=ABORTED entity=s.S/a+b sequence=4]"},
		// daprd would drop the text of a NotFound.
		{actors.Errorf(actors.NotFound, "m"), 2, "m [entities code=NOT_FOUND entity=s.S/a+b sequence=4]"},
		{&actors.Error{Message: "m"}, 2, "m [entities code=UNKNOWN entity=s.S/a+b sequence=4]"},
		{&actors.Error{Code: 99, Message: "m\xff"}, 2, "m\uFFFD [entities code=UNKNOWN entity=s.S/a+b sequence=4]"},
		{errors.New("postgres://u:p@h"), 13, "the command failed inside the component; its log says more [entities code=INTERNAL entity=s.S/a+b sequence=4]"},
	} {
		got := n.failed("1", ref, 4, c.err).GetRequestFailed()
		if got.GetId() != "1" || got.GetCode() != c.code || got.GetMessage() != c.text {
			t.Errorf("%v: got %v", c.err, got)
		}
	}
	long := n.failed("1", ref, 0, actors.Errorf(actors.Internal, "%s", strings.Repeat("€", maxText)))
	if text := long.GetRequestFailed().GetMessage(); len(text) > maxText+100 || !utf8.ValidString(text) {
		t.Errorf("%d bytes", len(text))
	}
}

func TestSized(t *testing.T) {
	t.Parallel()
	n := testSession(minReply)
	size := minReply - proto.Size(invoked("1", make([]byte, minReply), nil)) + minReply
	if got := n.sized("1", actors.Ref{}, 0, invoked("1", make([]byte, size), nil)); got.GetInvokeResponse() == nil || proto.Size(got) != minReply {
		t.Errorf("a reply of exactly the largest size is %d bytes, %v", proto.Size(got), got.GetRequestFailed())
	}
	got := n.sized("1", actors.Ref{}, 0, invoked("1", make([]byte, size+1), nil)).GetRequestFailed()
	if got.GetCode() != 8 || !strings.Contains(got.GetMessage(), "65537 bytes and at most 65536") {
		t.Errorf("one byte more: got %v", got)
	}
}

func TestBound(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<16)
	for _, r := range []*response{
		invoked("", nil, nil),
		invoked("1", []byte("{}"), map[string]string{"content-type": "application/json", "entities-sequence": "1"}),
		invoked(long, []byte(long), map[string]string{long: long, "": "", "a": long}),
	} {
		if size, bound := proto.Size(r), bound(r.GetInvokeResponse()); bound < size || bound > size+200 {
			t.Errorf("%d bytes are bounded by %d", size, bound)
		}
	}
}

// Whatever a handler replies can be encoded: a string that is not UTF-8 would end the stream.
func FuzzReplyMetadata(f *testing.F) {
	f.Add("x-mood", "good", "X-Mood", "better")
	f.Add("Content-Type", "a\r\nb", "entities-sequence", "9")
	f.Add("\xff", "\xff", "entities-repeated", "true")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		m := replyMetadata(actors.Outcome{Sequence: 3, Metadata: actors.Metadata{{Key: k1, Text: v1}, {Key: k2, Text: v2}}}, "application/json")
		if m[headerSequence] != "3" || m[headerContentType] != "application/json" || m[headerRepeated] != "" {
			t.Errorf("got %v", m)
		}
		for k, v := range m {
			if !token(k) || strings.ContainsAny(v, "\r\n\x00") {
				t.Errorf("header %q: %q", k, v)
			}
		}
		if _, err := proto.Marshal(invoked("1", nil, m)); err != nil {
			t.Error(err)
		}
	})
}

func FuzzReadMetadata(f *testing.F) {
	f.Add("entities-timeout", "12", "raw-bin", "AA==")
	f.Add("Entities-Timeout", "1e9", "-bin", "\x00")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		in := readMetadata(map[string]string{k1: v1, k2: v2})
		if _, err := in.deadline(); err != nil && actors.CodeOf(err) != actors.InvalidArgument {
			t.Error(err)
		}
		for _, e := range in.metadata {
			if dropped(e.Key) || e.Key != strings.ToLower(e.Key) {
				t.Errorf("got %+v", e)
			}
		}
	})
}

// daprd's two APIs spell one name differently, and only one of them passes an answer's metadata on.
func TestDataOnly(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"Dapr-API-Call": true, "Dapr-Api-Call": false, "dapr-api-call": false, "": false} {
		if got := readMetadata(map[string]string{name: "true", "a": "b"}).dataOnly; got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
