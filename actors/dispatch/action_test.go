package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// Asynchronous effects of actions are kept before the answer leaves, and before anything else is done.
func TestKeep(t *testing.T) {
	t.Parallel()
	named := later("a/3.C")
	named.Key, named.Delay = "name", time.Minute
	answers := map[string][]actors.Outcome{"act.M": {{Reply: text("done"), Effects: []actors.Effect{later("a/1.A"), now("a/2.B"), named, later("/topics/t.D"), {Key: "name", Cancel: true}}}}}
	w := &world{answers: answers}
	d := w.dispatch(t, nil)
	if o, err := d.Handle(t.Context(), keyed(to("act.M"), "k")); err != nil || string(o.Reply.Data) != "done" || len(o.Effects) > 0 {
		t.Errorf("%+v, %v", o, err)
	}
	w.wants(t, "act.M keep A keep C keep D keep  a/2.B")
	seen := map[string]bool{}
	for _, x := range w.kept {
		if x.ID == "" || seen[x.ID] || x.Synchronous {
			t.Errorf("%+v", x)
		}
		seen[x.ID] = true
	}
	if k := w.kept[1]; k.Key != "name" || k.Delay != time.Minute || w.rung != 1 || len(w.reports) > 0 {
		t.Errorf("%+v, rung %d times, %q", k, w.rung, w.reports)
	}

	w = &world{answers: answers, full: errors.New("password=secret")}
	_, err := w.dispatch(t, nil).Handle(t.Context(), to("act.M"))
	wantError(t, err, actors.Unavailable, "act.M was carried out", "some may be")
	if strings.Contains(err.Error(), "secret") || !isUndecided(err) || w.rung != 1 {
		t.Errorf("%v, rung %d times", err, w.rung)
	}
	w.wants(t, "act.M keep A")

	_, err = (&world{answers: answers}).dispatch(t, func(c *Config) { c.Outbox = nil }).Handle(t.Context(), to("act.M"))
	wantError(t, err, actors.Unimplemented, "act.M was carried out", "configure a journal")

	w = &world{answers: map[string][]actors.Outcome{"act.M": {{Effects: []actors.Effect{later("nope/1.A"), later("a/1.A")}}}}}
	if _, err := w.dispatch(t, func(c *Config) { c.MaxEffects = 2 }).Handle(t.Context(), to("act.M")); err != nil || len(w.kept) != 2 {
		t.Errorf("%v, %+v", err, w.kept)
	}
	if len(w.reports) != 1 || !strings.Contains(w.reports[0], "(act.M → nope/1.A): there is no service nope") {
		t.Errorf("reported %q", w.reports)
	}
	_, err = w.dispatch(t, func(c *Config) { c.MaxEffects = 1 }).Handle(t.Context(), to("act.M"))
	wantError(t, err, actors.ResourceExhausted, "maxEffects")
}

func TestStream(t *testing.T) {
	t.Parallel()
	streams := map[string][2]bool{"act.In": {true, false}, "act.Out": {false, true}, "act.Both": {true, true}, "act.Many": {false, true}}
	no := actors.Errorf(actors.NotFound, "no")
	answers := map[string][]actors.Outcome{
		"act.In":   {{Reply: text("sum")}},
		"act.Out":  {{Reply: text("1")}, {Effects: []actors.Effect{now("a/1.X"), later("b/1.K")}}, {Forward: forward("b/1.Y", "")}, {Reply: text("3"), Effects: []actors.Effect{now("a/2.X")}}},
		"act.Both": {{Reply: text("1")}, {Forward: forward("act.Many", "")}, {Forward: forward("c/1.No", "")}, {Reply: text("never")}},
		"act.Many": {{Effects: []actors.Effect{now("a/3.X")}}, {Reply: text("first of many"), Effects: []actors.Effect{now("a/4.X")}}, {Reply: text("never")}},
		"c/1.No":   {{Failure: no}},
		"a/9.None": {{}},
		"act.One":  {{Reply: text("one"), Effects: []actors.Effect{now("a/1.X")}}},
	}
	for _, x := range []struct {
		name, first string
		in          func() (actors.Input, error)
		log, got    string
		code        actors.Code
	}{
		{name: "in", first: "act.In", in: inputs("x", "y"), log: "in x in y act.In", got: "sum"},
		{name: "out", first: "act.Out", log: "act.Out keep K a/1.X b/1.Y a/2.X", got: "1 b/1.Y 3"},
		{name: "both", first: "act.Both", in: inputs("x"), log: "in x act.Both act.Many a/3.X a/4.X c/1.No", got: "1 first of many F:no"},
		{name: "one message to a stream", first: "act.In", log: "in to act.In act.In", got: "sum"},
		{name: "a stream to one message", first: "act.Out", in: inputs("x"), log: "act.Out keep K a/1.X b/1.Y a/2.X", got: "1 b/1.Y 3"},
		{name: "an action that is none", first: "act.One", log: "act.One a/1.X", got: "one"},
		{name: "an action that is none, by a stream", first: "act.One", in: inputs("x", "y"), log: "act.One a/1.X", got: "one"},
		{name: "an entity", first: "a/1.M", in: inputs("x"), log: "a/1.M", got: "a/1.M"},
		{name: "an entity that answers nothing", first: "a/9.None", log: "a/9.None"},
		{name: "no message", first: "a/1.M", in: inputs(), code: actors.InvalidArgument},
		{name: "nobody", first: "nope/1.M", code: actors.Unimplemented},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			w := &world{answers: answers, streams: streams}
			var got []string
			c := to(x.first)
			if x.in != nil {
				c.Payload = actors.Payload{}
			}
			c.Metadata = actors.Metadata{{Key: "call", Text: "yes"}}
			err := w.dispatch(t, nil).Stream(t.Context(), c, x.in, func(o actors.Outcome) error {
				switch {
				case o.Forward != nil || len(o.Effects) > 0:
					return fmt.Errorf("%+v", o)
				case o.Failure != nil:
					got = append(got, "F:"+o.Failure.Message)
				default:
					got = append(got, string(o.Reply.Data))
				}
				return nil
			})
			w.wants(t, x.log)
			if x.code != actors.OK {
				wantError(t, err, x.code)
			} else if err != nil || strings.Join(got, " ") != x.got {
				t.Errorf("%q, %v", got, err)
			}
			if m := w.commands["a/1.M"].Metadata; x.name == "an entity" && (m.Get("call") != "yes" || m.Get("of") != "x" || len(m) != 2) {
				t.Errorf("the metadata are %v", m)
			}
		})
	}
}

func TestStreamEnds(t *testing.T) {
	t.Parallel()
	w := &world{streams: map[string][2]bool{"act.Out": {false, true}, "act.Slow": {false, true}}, answers: map[string][]actors.Outcome{
		"act.Out":  {{Reply: text("1")}, {Effects: []actors.Effect{now("nope/1.X")}, Reply: text("2")}, {Reply: text("3")}},
		"act.Slow": {},
	}, errors: map[string]error{"act.Slow": actors.Errorf(actors.Unavailable, "lost")}}
	d := w.dispatch(t, nil)
	gone := errors.New("gone")
	n := 0
	err := d.Stream(t.Context(), to("act.Out"), nil, func(actors.Outcome) error { n++; return gone })
	if !errors.Is(err, gone) || n != 1 {
		t.Errorf("%v after %d", err, n)
	}
	n = 0
	err = d.Stream(t.Context(), to("act.Out"), nil, func(actors.Outcome) error { n++; return nil })
	wantError(t, err, actors.Unimplemented, "act.Out → nope/1.X")
	if n != 1 {
		t.Errorf("%d outcomes", n)
	}
	wantError(t, d.Stream(t.Context(), to("act.Slow"), nil, nil), actors.Unavailable, "lost")
	_, err = d.Handle(t.Context(), to("act.Slow"))
	wantError(t, err, actors.Unavailable, "lost")
	late := to("act.Out")
	late.Deadline = time.Now().Add(-time.Second)
	w.answers = nil
	if err := d.Stream(t.Context(), late, nil, nil); actors.CodeOf(err) != actors.DeadlineExceeded {
		t.Error(err)
	}
	if _, err := d.Handle(t.Context(), late); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	bad := errors.New("torn")
	w.streams["act.Both"] = [2]bool{true, true}
	for _, method := range []string{"act.Both", "a/1.M"} {
		c := to(method)
		c.Payload = actors.Payload{}
		err := d.Stream(t.Context(), c, func() (actors.Input, error) { return actors.Input{}, bad }, nil)
		if !errors.Is(err, bad) {
			t.Errorf("%s: %v", method, err)
		}
	}
}

// Without a word about which methods are streamed, they are what the caller takes them for.
func TestStreamUntold(t *testing.T) {
	t.Parallel()
	w := &world{streams: map[string][2]bool{"act.Both": {true, true}}, answers: map[string][]actors.Outcome{"act.Both": {{Reply: text("1")}}}}
	d := w.dispatch(t, func(c *Config) { c.Streamed = nil })
	n := 0
	if err := d.Stream(t.Context(), actors.Command{Ref: actors.Ref{Service: "act"}, Method: "Both"}, inputs("x"), func(actors.Outcome) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%v, %d", err, n)
	}
	if o, err := d.Handle(t.Context(), to("act.One")); err != nil || string(o.Reply.Data) != "act.One" {
		t.Errorf("%+v, %v", o, err)
	}
}
