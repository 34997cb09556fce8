package userfunction

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/engine"
	"github.com/dapr-entities/entities/component/catalog"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate"
	"github.com/dapr-entities/entities/sdk/protocol/cloudstate/valueentity"
)

// effect to the entity that the payload names.
func effect(change func(*cloudstate.SideEffect)) *cloudstate.SideEffect {
	named := payload("tea")
	named.Data = append([]byte("\x0a\x02c2"), named.Data...)
	e := &cloudstate.SideEffect{ServiceName: "shop.Cart1", CommandName: "Add", Payload: toAny(named)}
	if change != nil {
		change(e)
	}
	return e
}

func TestEffects(t *testing.T) {
	t.Parallel()
	due := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	base := actors.Effect{Ref: ref("c2"), Method: "Add", Payload: actors.Payload{
		TypeURL: "type.googleapis.com/shop.Line", ContentType: actors.ContentProtobuf, Data: []byte("\x0a\x02c2\x12\x03tea")}}
	want := func(change func(*actors.Effect)) actors.Effect { e := base; change(&e); return e }
	json := actors.Payload{TypeURL: "json.cloudstate.io/T", ContentType: actors.ContentJSON, Data: []byte("{}")}
	all := catalog.Extensions
	for name, tt := range map[string]struct {
		extensions []string
		in         func(*cloudstate.SideEffect)
		want       actors.Effect
		code       actors.Code
		says       string
	}{
		"key field":     {want: base},
		"synchronous":   {in: func(e *cloudstate.SideEffect) { e.Synchronous = true }, want: want(func(e *actors.Effect) { e.Synchronous = true })},
		"target":        {extensions: all, in: func(e *cloudstate.SideEffect) { e.EntityId = "c3" }, want: want(func(e *actors.Effect) { e.Ref.ID = "c3" })},
		"target of old": {in: func(e *cloudstate.SideEffect) { e.EntityId = "c3" }, want: base},
		"action": {in: func(e *cloudstate.SideEffect) { e.ServiceName, e.CommandName, e.EntityId = "shop.Act", "Unary", "x" },
			want: want(func(e *actors.Effect) { e.Ref, e.Method = actors.Ref{Service: "shop.Act"}, "Unary" })},
		"json and metadata": {extensions: all, in: func(e *cloudstate.SideEffect) {
			e.EntityId, e.Payload, e.Metadata = "c2", toAny(json), toMetadata(actors.Metadata{{Key: "a", Text: "b"}, {Key: "c", Bytes: []byte{1}}})
		}, want: want(func(e *actors.Effect) {
			e.Payload, e.Metadata = json, actors.Metadata{{Key: "a", Text: "b"}, {Key: "c", Bytes: []byte{1}}}
		})},
		"delay": {extensions: all, in: func(e *cloudstate.SideEffect) { e.DelayMillis, e.Key = 1500, "k" },
			want: want(func(e *actors.Effect) { e.Delay, e.Key = 1500*time.Millisecond, "k" })},
		"due":          {extensions: all, in: func(e *cloudstate.SideEffect) { e.DueMillis = due.UnixMilli() }, want: want(func(e *actors.Effect) { e.Due = due })},
		"delay of old": {in: func(e *cloudstate.SideEffect) { e.DelayMillis, e.DueMillis, e.Key, e.Cancel = -1, 5, "k", true }, want: base},
		"cancel": {extensions: all, in: func(e *cloudstate.SideEffect) { proto.Reset(e); e.Key, e.Cancel = "k", true },
			want: actors.Effect{Key: "k", Cancel: true}},

		"negative delay": {extensions: all, in: func(e *cloudstate.SideEffect) { e.DelayMillis = -1 }, code: actors.Unknown, says: "side effect 1 of 1 has a negative delay"},
		"negative due":   {extensions: all, in: func(e *cloudstate.SideEffect) { e.DueMillis = -1 }, code: actors.Unknown, says: "negative"},
		"endless":        {extensions: all, in: func(e *cloudstate.SideEffect) { e.DelayMillis = maxMillis + 1 }, code: actors.Unknown, says: "centuries"},
		"both":           {extensions: all, in: func(e *cloudstate.SideEffect) { e.DelayMillis, e.DueMillis = 1, 1 }, code: actors.Unknown, says: "both a delay and a due time"},
		"synchronous delay": {extensions: all, in: func(e *cloudstate.SideEffect) { e.DelayMillis, e.Synchronous = 1, true }, code: actors.Unknown,
			says: "synchronous and has a delay"},
		"synchronous key": {extensions: all, in: func(e *cloudstate.SideEffect) { e.Key, e.Synchronous = "k", true }, code: actors.Unknown, says: "synchronous"},
		"cancel of what":  {extensions: all, in: func(e *cloudstate.SideEffect) { proto.Reset(e); e.Cancel = true }, code: actors.Unknown, says: "by its key which"},
		"cancel and more": {extensions: all, in: func(e *cloudstate.SideEffect) { e.Cancel, e.Key = true, "k" }, code: actors.Unknown, says: "is one itself"},
		"long key":        {extensions: all, in: func(e *cloudstate.SideEffect) { e.Key = strings.Repeat("k", maxKeyBytes+1) }, code: actors.Unknown, says: "513 bytes"},

		"no service":  {in: func(e *cloudstate.SideEffect) { e.ServiceName = "shop.Cart9" }, code: actors.Unimplemented, says: `serves no service "shop.Cart9"`},
		"no command":  {in: func(e *cloudstate.SideEffect) { e.CommandName = "Drop" }, code: actors.Unimplemented, says: `has no method "Drop"; it has Add, Get`},
		"no entity":   {in: func(e *cloudstate.SideEffect) { e.Payload = toAny(payload("tea")) }, code: actors.InvalidArgument, says: "field cart"},
		"no payload":  {in: func(e *cloudstate.SideEffect) { e.Payload = nil }, code: actors.InvalidArgument, says: "not a serialized shop.Line"},
		"bad payload": {in: func(e *cloudstate.SideEffect) { e.Payload.Value = []byte{1} }, code: actors.InvalidArgument, says: "not a serialized shop.Line"},
		"bad id":      {extensions: all, in: func(e *cloudstate.SideEffect) { e.EntityId = "a\x00" }, code: actors.InvalidArgument, says: "control character"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &scripted{spec: ofKind(spec(tt.extensions, "Cart1", "Act"), actors.Action, "Act"), handle: follow(answer(func(r *reply) {
				r.ClientAction = replies("ok")
				r.SideEffects = []*cloudstate.SideEffect{effect(tt.in)}
				r.Events = append(r.Events, toAny(payload("a")))
				r.EventNames = []string{"a"}
			}))}
			r := run(t, Config{Address: f.start(t, "")})
			s := r.open(t, engine.Start{Ref: ref("c1")})
			defer s.Close()
			got, err := s.Handle(t.Context(), turn("Add", "tea"))
			if actors.CodeOf(err) != tt.code {
				t.Fatalf("got %v", err)
			}
			if err == nil {
				if diff := gocmp.Diff([]actors.Effect{tt.want}, got.Outcome.Effects); diff != "" || len(got.Events) != 1 {
					t.Errorf("effects (-want +got):\n%s", diff)
				}
				return
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %q, want it to say %q", err, tt.says)
			}
			if _, err := s.Handle(t.Context(), turn("Add", "tea")); err == nil {
				t.Error("the session went on")
			}
			if tt.code != actors.Unknown {
				eventually(t, "reported", func() bool { return len(f.reports()) == 1 })
				if text := f.reports()[0]; !strings.Contains(text, tt.says) || !strings.Contains(text, "side effect of shop.Cart1.Add)") {
					t.Errorf("reported: %s", text)
				}
			}
		})
	}
}

func TestKeysOfActions(t *testing.T) {
	t.Parallel()
	r := new(result)
	r.SideEffects = []*cloudstate.SideEffect{effect(func(e *cloudstate.SideEffect) { e.Key, e.DelayMillis = "k", 5 })}
	f := &scripted{action: answering(r)}
	if _, err := acting(t, f, Config{}, "delayed").Handle(t.Context(), toAct("Unary", "a")); actors.CodeOf(err) != actors.Unknown ||
		!strings.Contains(err.Error(), "an action is none") {
		t.Errorf("got %v", err)
	}
}

func TestOutTopic(t *testing.T) {
	t.Parallel()
	topic := actors.Effect{Ref: actors.Ref{Service: actors.Topics, ID: "lines"}, Method: "shop.News.Add", Payload: payload("ok")}
	for name, tt := range map[string]struct {
		action *cloudstate.ClientAction
		want   []actors.Effect
	}{
		"reply":   {replies("ok"), []actors.Effect{topic}},
		"nothing": {nil, nil},
		"empty":   {&cloudstate.ClientAction{Action: &cloudstate.ClientAction_Reply{Reply: &cloudstate.Reply{}}}, nil},
		"failure": {fails(&cloudstate.Failure{Description: "no"}), nil},
		"forward": {&cloudstate.ClientAction{Action: &cloudstate.ClientAction_Forward{Forward: &cloudstate.Forward{
			ServiceName: "shop.News", CommandName: "Add", Payload: effect(nil).Payload}}}, nil},
	} {
		f := &scripted{spec: spec(nil, "News"), handle: follow(answer(func(r *reply) { r.ClientAction = tt.action }))}
		r := run(t, Config{Address: f.start(t, "")})
		s, err := r.next(t).function("shop.News").Open(t.Context(), engine.Start{Ref: actors.Ref{Service: "shop.News", ID: "n"}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Handle(t.Context(), turn("Add", "tea"))
		if diff := gocmp.Diff(tt.want, got.Outcome.Effects); err != nil || diff != "" {
			t.Errorf("%s: %v; effects (-want +got):\n%s", name, err, diff)
		}
		s.Close()
	}
}

// serving is what a client serves that never ran.
func serving(t testing.TB, client *Client, s *cloudstate.EntitySpec) *served {
	t.Helper()
	c, err := catalog.New(s, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client.log = slog.New(slog.DiscardHandler)
	now := &served{catalog: c, actions: make(map[string]*action)}
	for _, s := range c.Services() {
		if s.Kind == actors.Action {
			now.actions[s.Name] = &action{service: newService(client, nil, s)}
		}
	}
	client.served.Store(now)
	return now
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unmarshal(data []byte, m proto.Message) error { return proto.Unmarshal(data, m) }

// sound checks what no outcome of a user function may break.
func sound(t *testing.T, o actors.Outcome) {
	t.Helper()
	for _, e := range o.Effects {
		switch {
		case e.Delay < 0, e.Delay > 0 && !e.Due.IsZero(), e.Synchronous && (e.Delayed() || e.Key != "" || e.Cancel), e.Cancel && e.Key == "":
			t.Fatalf("not sound: %+v", e)
		case !e.Cancel && e.Service == "shop.Cart1" && actors.ValidateID(e.Ref.ID) != nil:
			t.Fatalf("addressed to nobody: %+v", e)
		}
	}
	n := 0
	for _, set := range []bool{o.Reply != nil, o.Failure != nil, o.Forward != nil} {
		if set {
			n++
		}
	}
	if n > 1 {
		t.Fatalf("more than one answer: %+v", o)
	}
	// What is decided has to survive its way to other hosts.
	back, err := actors.UnmarshalOutcome(actors.MarshalOutcome(o))
	if err != nil || len(back.Effects) != len(o.Effects) {
		t.Fatalf("%+v became %+v, %v", o, back, err)
	}
}

func FuzzReply(f *testing.F) {
	client, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	c, _ := serving(f, client, spec(catalog.Extensions, "Cart1")).catalog.Service("shop.Cart1")
	fn := &function{newService(client, nil, c), &eventSourced{names: true}}
	for _, r := range []*reply{
		{CommandId: 1, ClientAction: replies("ok"), Events: []*anypb.Any{toAny(payload("a"))}, EventNames: []string{"added"}, Snapshot: toAny(payload("s"))},
		{ClientAction: fails(&cloudstate.Failure{Restart: true, Code: 3})},
		{SideEffects: []*cloudstate.SideEffect{effect(nil), {Cancel: true, Key: "k"}}},
	} {
		f.Add(encoded(f, r))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := new(reply)
		if unmarshal(data, in) != nil {
			return
		}
		s := &session{function: fn, id: "c1", stream: nowhere{}, cancel: func() {}}
		r, err := s.reply(in, "Add")
		if err != nil {
			return
		}
		sound(t, r.Outcome)
		if r.Restart && (len(r.Events) > 0 || r.Outcome.Failure == nil) || r.Snapshot != nil && len(r.Events) == 0 || !r.Restart && len(r.Events) != len(in.GetEvents()) {
			t.Fatalf("%v became %+v", in, r)
		}
	})
}

func FuzzValueReply(f *testing.F) {
	client, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	now := serving(f, client, ofKind(spec(catalog.Extensions, "Cart1"), actors.Value, "Cart1"))
	c, _ := now.catalog.Service("shop.Cart1")
	fn := &function{newService(client, nil, c), &value{}}
	for _, r := range []*valueentity.ValueEntityReply{
		{CommandId: 1, ClientAction: replies("ok"), StateAction: updates("a")},
		{StateAction: &valueentity.ValueEntityAction{Action: &valueentity.ValueEntityAction_Delete{}}},
		{StateAction: &valueentity.ValueEntityAction{}, SideEffects: []*cloudstate.SideEffect{effect(nil)}},
	} {
		f.Add(encoded(f, r))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := new(valueentity.ValueEntityReply)
		if unmarshal(data, in) != nil {
			return
		}
		s := &session{function: fn, id: "c1", stream: nowhere{}, cancel: func() {}}
		r, err := s.reply(in, "Add")
		if err != nil {
			return
		}
		sound(t, r.Outcome)
		if len(r.Events) > 1 || r.Restart || (len(r.Events) == 1) != (in.GetStateAction() != nil) {
			t.Fatalf("%v became %+v", in, r)
		}
	})
}
