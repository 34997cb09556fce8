package tck

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/action"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/eventsourced"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// TestMetadata looks at what the original never did: what goes with a message.
func TestMetadata(t *testing.T) {
	t.Parallel()
	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		p := startTheatre(t)
		t.Run("X-P21 replies", p.testReplyMetadata)
		t.Run("X-P22 entities of Cloudstate get none", p.testNoMetadata)
		t.Run("X-P23 actions", p.testActionMetadata)
	})
	t.Run("extended", func(t *testing.T) {
		t.Parallel()
		p := startTheatre(t, "metadata")
		t.Run("X-P24 entities", p.testEntityMetadata)
		t.Run("X-P25 forwards and effects", p.testForwardMetadata)
	})
}

func textEntry(key, value string) *cloudstate.MetadataEntry {
	return &cloudstate.MetadataEntry{Key: key, Value: &cloudstate.MetadataEntry_StringValue{StringValue: value}}
}

func bytesEntry(key, value string) *cloudstate.MetadataEntry {
	return &cloudstate.MetadataEntry{Key: key, Value: &cloudstate.MetadataEntry_BytesValue{BytesValue: []byte(value)}}
}

// wild is what a user function may say beside a reply, and what gRPC and HTTP callers get of it: no more than there can be.
func wild() *cloudstate.Metadata {
	return &cloudstate.Metadata{Entries: []*cloudstate.MetadataEntry{
		textEntry("X-Tck-Text", "some text"), textEntry("x-tck-many", "1"), textEntry("x-tck-many", "2"), bytesEntry("x-tck-bytes", "\x00\xff"), bytesEntry("x-tck-named-bin", "bin"),
		textEntry("grpc-status", "13"), textEntry("grpc-message", "no"), textEntry(":status", "500"), textEntry("content-length", "1"), textEntry("transfer-encoding", "chunked"),
		textEntry("connection", "close"), textEntry("bad key", "x"), textEntry("x-tck-lines", "a\r\nset-cookie: b"), textEntry("", "x"),
	}}
}

// header holds if the x-tck headers are what is left of wild.
func header(t *testing.T, got map[string][]string, encoded bool) {
	t.Helper()
	bin := func(s string) string {
		if encoded {
			return base64.RawStdEncoding.EncodeToString([]byte(s))
		}
		return s
	}
	want := map[string][]string{
		"x-tck-text": {"some text"}, "x-tck-many": {"1", "2"}, "x-tck-bytes-bin": {bin("\x00\xff")}, "x-tck-named-bin": {bin("bin")},
	}
	ours := map[string][]string{}
	for k, v := range got {
		k = strings.ToLower(k)
		if strings.HasPrefix(k, "x-tck-") {
			ours[k] = v
		}
		if slices.Contains([]string{"set-cookie", "bad key", "grpc-message"}, k) {
			t.Errorf("there is the header %s: %q", k, v)
		}
	}
	if diff := cmp.Diff(want, ours); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// with puts metadata beside the reply of an entity.
func with(m proto.Message, md *cloudstate.Metadata) proto.Message {
	switch out := m.(type) {
	case *eventsourced.EventSourcedStreamOut:
		out.GetReply().GetClientAction().GetReply().Metadata = md
	case *valueentity.ValueEntityStreamOut:
		out.GetReply().GetClientAction().GetReply().Metadata = md
	}
	return m
}

func (p *theatre) testReplyMetadata(t *testing.T) {
	p.next(t, discoverPath)
	for _, k := range []*kindOfEntity{p.eventSourcedKind(), p.valueKind()} {
		t.Run(k.service, func(t *testing.T) {
			id := fresh()
			// The first command takes the way through the sidecar, later ones do not, and the third is a write.
			c := p.ask(t, k, id, "")
			x := p.begins(t, k, id)
			for n, text := range []string{"", "", "A"} {
				if n > 0 {
					c = p.ask(t, k, id, text)
				}
				x.given(t, k.command(p.command(t, k.model, id, int64(n+1), k.steps(text))))
				x.say(with(k.reply(t, int64(n+1), "A", text != ""), wild()))
				p.replied(t, c, k.model, "A")
				header(t, c.header, false)
			}
			h := p.post(t, k.url+id, `{}`)
			x.given(t, k.command(p.command(t, k.model, id, 4, nil)))
			x.say(with(k.reply(t, 4, "A", false), wild()))
			h.replied(t, 200, `{"message":"A"}`)
			header(t, h.header, true)
			if h.header.Get("Content-Type") != "application/json" || h.header.Get("Entities-Sequence") != "1" {
				t.Errorf("got the headers %v", h.header)
			}
			p.quiet(t, x)
		})
	}
	t.Run(actionFirst, func(t *testing.T) {
		request := p.request(t, []step{"reply one"})
		c := p.begin(t, "/"+actionFirst+"/ProcessUnary", request)
		x := p.next(t, unaryPath)
		x.givenAction(t, actionCommand("ProcessUnary", request))
		m := p.response(t, "reply one")
		m.GetReply().Metadata = wild()
		x.answer(m)
		p.replied(t, c, modelA, "one")
		header(t, c.header, false)
		h := p.post(t, "/tck/model/action/unary", `{}`)
		x = p.next(t, unaryPath)
		x.givenAction(t, actionCommand("ProcessUnary", p.request(t)))
		x.answer(m)
		h.replied(t, 200, `{"message":"one"}`)
		header(t, h.header, true)
		p.quiet(t, x)
	})
	t.Run("first of a stream", func(t *testing.T) {
		s, _ := p.stream(t, "ProcessStreamedOut")
		request := p.request(t)
		give(t, s, request)
		finish(t, s)
		x := p.next(t, streamedOutPath)
		x.givenAction(t, actionCommand("ProcessStreamedOut", request))
		for i, md := range []*cloudstate.Metadata{wild(), {Entries: []*cloudstate.MetadataEntry{textEntry("x-tck-late", "x")}}} {
			m := p.response(t, "reply one")
			m.GetReply().Metadata = md
			x.say(m)
			p.got(t, s, "one")
			if i == 0 {
				got, err := s.Header()
				if err != nil {
					t.Fatal(err)
				}
				header(t, got, false)
			}
		}
		x.end(nil)
		ends(t, s)
		if late := s.Trailer().Get("x-tck-late"); len(late) > 0 {
			t.Errorf("a later answer's metadata are in the trailers: %v", late)
		}
		p.quiet(t, x)
	})
}

// testNoMetadata calls with metadata. That commands are compared exactly is the test.
func (p *theatre) testNoMetadata(t *testing.T) {
	for _, k := range []*kindOfEntity{p.eventSourcedKind(), p.valueKind()} {
		id := fresh()
		c := p.ask(t, k, id, "", "x-tck-text", "some text", "x-tck-bin", "\x00")
		x := p.begins(t, k, id)
		p.turn(t, k, x, c, id, 1, "", "well")
		h := p.post(t, k.url+id, `{}`, "X-Tck-Text", "some text")
		x.given(t, k.command(p.command(t, k.model, id, 2, nil)))
		x.say(k.reply(t, 2, "well", false))
		h.replied(t, 200, `{"message":"well"}`)
		p.quiet(t, x)
	}
}

// received holds if the metadata that a user function got have these entries of ours, and nothing that is the transport's.
func received(t *testing.T, md *cloudstate.Metadata, want ...*cloudstate.MetadataEntry) {
	t.Helper()
	ours := new(cloudstate.Metadata)
	for _, e := range md.GetEntries() {
		switch key := e.GetKey(); {
		case strings.HasPrefix(key, "x-tck-"):
			ours.Entries = append(ours.Entries, e)
		case key != strings.ToLower(key) || strings.HasPrefix(key, "grpc-") || strings.HasPrefix(key, ":") ||
			slices.Contains([]string{"te", "host", "connection", "content-length", "idempotency-key"}, key):
			t.Errorf("the user function got %v", e)
		}
	}
	equal(t, "the metadata", &cloudstate.Metadata{Entries: want}, ours)
}

func (p *theatre) testActionMetadata(t *testing.T) {
	const unary = "/" + actionFirst + "/ProcessUnary"
	request := p.request(t, []step{"reply one"})
	c := p.begin(t, unary, request, "X-Tck-Text", "some text", "x-tck-many", "1", "x-tck-many", "2", "x-tck-bin", "\x00\xff", "idempotency-key", "k")
	x := p.next(t, unaryPath)
	received(t, x.take(t, &x.in, "to").(*action.ActionCommand).GetMetadata(),
		bytesEntry("x-tck-bin", "\x00\xff"), textEntry("x-tck-many", "1"), textEntry("x-tck-many", "2"), textEntry("x-tck-text", "some text"))
	x.answer(p.response(t, "reply one"))
	p.replied(t, c, modelA, "one")

	h := p.post(t, "/tck/model/action/unary", `{}`, "X-Tck-Text", "some text", "X-Tck-Bin", "AP8", "Idempotency-Key", "k")
	x = p.next(t, unaryPath)
	received(t, x.take(t, &x.in, "to").(*action.ActionCommand).GetMetadata(), bytesEntry("x-tck-bin", "\x00\xff"), textEntry("x-tck-text", "some text"))
	x.answer(p.response(t, "reply one"))
	h.replied(t, 200, `{"message":"one"}`)

	h = p.post(t, "/tck/model/action/unary", `{}`, "X-Tck-Bin", "not base64!")
	<-h.done
	if h.status != http.StatusBadRequest || !strings.Contains(h.body, "the header x-tck-bin is binary, and its value is not base64") {
		t.Errorf("got %d %s", h.status, h.body)
	}

	// What a forward and an effect carry comes once, and nothing of the caller's with it.
	c = p.begin(t, unary, request, "x-tck-text", "of the caller")
	x = p.next(t, unaryPath)
	x.givenAction(t, actionCommand("ProcessUnary", request))
	m := p.response(t, "sync one", "forward two")
	m.SideEffects[0].Metadata = &cloudstate.Metadata{Entries: []*cloudstate.MetadataEntry{textEntry("x-tck-effect", "e"), bytesEntry("x-tck-bin", "\x00")}}
	m.GetForward().Metadata = &cloudstate.Metadata{Entries: []*cloudstate.MetadataEntry{textEntry("x-tck-forward", "f")}}
	x.answer(m)
	y := p.next(t, unaryPath)
	received(t, y.take(t, &y.in, "to").(*action.ActionCommand).GetMetadata(), textEntry("x-tck-effect", "e"), bytesEntry("x-tck-bin", "\x00"))
	y.answer(p.response(t, "reply one"))
	z := p.next(t, unaryPath)
	received(t, z.take(t, &z.in, "to").(*action.ActionCommand).GetMetadata(), textEntry("x-tck-forward", "f"))
	r := p.response(t, "reply two")
	r.GetReply().Metadata = wild()
	z.answer(r)
	p.replied(t, c, modelA, "two")
	header(t, c.header, false)

	s, err := p.gateway.NewStream(metadata.AppendToOutgoingContext(t.Context(), "x-tck-text", "of the stream"), streamDesc, "/"+actionFirst+"/ProcessStreamed", rawCodec)
	if err != nil {
		t.Fatal(err)
	}
	give(t, s, request)
	u := p.next(t, streamedPath)
	received(t, u.take(t, &u.in, "to").(*action.ActionCommand).GetMetadata(), textEntry("x-tck-text", "of the stream"))
	received(t, u.take(t, &u.in, "to").(*action.ActionCommand).GetMetadata())
	finish(t, s)
	u.end(nil)
	ends(t, s)
	p.quiet(t, x, y, z, u)
}

// entityCommand is the next command of an entity.
func entityCommand(t *testing.T, x *exchange) *cloudstate.Command {
	t.Helper()
	switch m := x.take(t, &x.in, "to").(type) {
	case *eventsourced.EventSourcedStreamIn:
		return m.GetCommand()
	case *valueentity.ValueEntityStreamIn:
		return m.GetCommand()
	default:
		t.Fatalf("got %v", m)
		return nil
	}
}

func (p *theatre) testEntityMetadata(t *testing.T) {
	p.next(t, discoverPath)
	for _, k := range []*kindOfEntity{p.eventSourcedKind(), p.valueKind()} {
		t.Run(k.service, func(t *testing.T) {
			id := fresh()
			var x *exchange
			for n := range int64(3) {
				c := p.ask(t, k, id, "", "X-Tck-Text", fmt.Sprint(n), "x-tck-many", "1", "x-tck-many", "2", "x-tck-bin", "\x00\xff")
				if n == 0 {
					x = p.begins(t, k, id)
				}
				want := []*cloudstate.MetadataEntry{
					bytesEntry("x-tck-bin", "\x00\xff"), textEntry("x-tck-many", "1"), textEntry("x-tck-many", "2"), textEntry("x-tck-text", fmt.Sprint(n)),
				}
				if n == 0 { // it came through Dapr, which carries one text for a key
					want = slices.Replace(want, 1, 3, textEntry("x-tck-many", "1,2"))
				}
				received(t, entityCommand(t, x).GetMetadata(), want...)
				x.say(k.reply(t, n+1, "well", false))
				p.replied(t, c, k.model, "well")
			}
			h := p.post(t, k.url+id, `{}`, "X-Tck-Text", "some text", "X-Tck-Bin", "AP8=", "Idempotency-Key", "k")
			received(t, entityCommand(t, x).GetMetadata(), bytesEntry("x-tck-bin", "\x00\xff"), textEntry("x-tck-text", "some text"))
			x.say(k.reply(t, 4, "well", false))
			h.replied(t, 200, `{"message":"well"}`)
			p.quiet(t, x)
		})
	}
}

func (p *theatre) testForwardMetadata(t *testing.T) {
	es := p.eventSourcedKind()
	id := fresh()
	c := p.ask(t, es, id, "", "x-tck-text", "of the caller")
	x := p.begins(t, es, id)
	received(t, entityCommand(t, x).GetMetadata(), textEntry("x-tck-text", "of the caller"))
	m := p.eventReply(t, 1, answer{forward: id, effects: []step{step("sync " + id), step("effect " + id)}})
	r := m.(*eventsourced.EventSourcedStreamOut).GetReply()
	for i, e := range r.SideEffects {
		e.Metadata = &cloudstate.Metadata{Entries: []*cloudstate.MetadataEntry{textEntry("x-tck-effect", fmt.Sprint(i)), bytesEntry("x-tck-bin", "b")}}
	}
	r.GetClientAction().GetForward().Metadata = &cloudstate.Metadata{Entries: []*cloudstate.MetadataEntry{textEntry("x-tck-forward", "f")}}
	x.say(m)
	y := p.next(t, eventPath)
	y.given(t, p.eventInit(eventSourcedTwo, id))
	// The synchronous effect comes before the forward; the other one may come at any time.
	var seen []string
	for n := range int64(3) {
		var entries []string
		for _, e := range entityCommand(t, y).GetMetadata().GetEntries() {
			if strings.HasPrefix(e.GetKey(), "x-tck-") {
				entries = append(entries, e.GetKey()+"="+e.GetStringValue()+string(e.GetBytesValue())+";")
			}
		}
		slices.Sort(entries)
		carried := strings.Join(entries, "")
		seen = append(seen, carried)
		y.say(with(p.eventReply(t, n+1, answer{text: carried}), wild()))
	}
	const synchronous, forward = "x-tck-bin=b;x-tck-effect=0;", "x-tck-forward=f;"
	p.replied(t, c, modelES, forward)
	header(t, c.header, false)
	if slices.Index(seen, synchronous) > slices.Index(seen, forward) {
		t.Errorf("the forward came before the synchronous effect: %q", seen)
	}
	slices.Sort(seen)
	if diff := cmp.Diff([]string{synchronous, "x-tck-bin=b;x-tck-effect=1;", forward}, seen); diff != "" {
		t.Errorf("what the forward and the effects carried (-want +got):\n%s", diff)
	}
	p.quiet(t, x, y)
}
