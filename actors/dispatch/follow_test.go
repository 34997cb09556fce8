package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
)

func TestFollow(t *testing.T) {
	t.Parallel()
	refusal := actors.Outcome{Failure: actors.Errorf(actors.NotFound, "no")}
	late := actors.Errorf(actors.DeadlineExceeded, "too late")
	for _, x := range []struct {
		name    string
		first   string
		answers map[string][]actors.Outcome
		errors  map[string]error
		outs    map[string]string
		log     string
		reply   string
		code    actors.Code
		text    string
		reports int
	}{
		{name: "nothing", first: "a/1.M", log: "a/1.M", reply: "a/1.M"},
		{name: "effects in order", first: "a/1.M", log: "a/1.M b/1.X act.Y b/2.X", reply: "done",
			answers: map[string][]actors.Outcome{"a/1.M": {{Reply: text("done"), Effects: []actors.Effect{now("b/1.X"), now("act.Y"), now("b/2.X")}}}}},
		{name: "effects of a refusal", first: "a/1.M", log: "a/1.M b/1.X", code: actors.NotFound,
			answers: map[string][]actors.Outcome{"a/1.M": {{Failure: refusal.Failure, Effects: []actors.Effect{now("b/1.X")}}}}},
		{name: "an effect refuses", first: "a/1.M", log: "a/1.M b/1.X b/2.X", reply: "done",
			answers: map[string][]actors.Outcome{"a/1.M": {{Reply: text("done"), Effects: []actors.Effect{now("b/1.X"), now("b/2.X")}}}, "b/1.X": {refusal}}},
		{name: "an effect cannot be carried out", first: "a/1.M", log: "a/1.M b/1.X", code: actors.DeadlineExceeded,
			text:    "a/1.M was carried out, but the effect b/1.X could not be carried out (a/1.M → b/1.X): too late",
			answers: map[string][]actors.Outcome{"a/1.M": {{Reply: text("done"), Effects: []actors.Effect{now("b/1.X"), now("b/2.X")}}}},
			errors:  map[string]error{"b/1.X": late}},
		{name: "an effect to nobody", first: "a/1.M", log: "a/1.M", code: actors.Unimplemented, reports: 1, text: "(a/1.M → nope/1.X): there is no service nope",
			answers: map[string][]actors.Outcome{"a/1.M": {{Effects: []actors.Effect{now("nope/1.X")}}}}},
		{name: "effects of effects and their forwards", first: "a/1.M", log: "a/1.M b/1.X c/1.Y c/2.Z b/2.X", reply: "done",
			answers: map[string][]actors.Outcome{
				"a/1.M": {{Reply: text("done"), Effects: []actors.Effect{now("b/1.X"), now("b/2.X")}}},
				"b/1.X": {{Effects: []actors.Effect{now("c/1.Y")}, Forward: forward("c/2.Z", "")}}}},
		{name: "a deep effect fails", first: "a/1.M", log: "a/1.M b/1.X c/1.Y", code: actors.DeadlineExceeded,
			text: "a/1.M was carried out, but the effect c/1.Y could not be carried out (a/1.M → b/1.X → c/1.Y): too late",
			answers: map[string][]actors.Outcome{
				"a/1.M": {{Reply: text("done"), Effects: []actors.Effect{now("b/1.X"), now("b/2.X")}}},
				"b/1.X": {{Effects: []actors.Effect{now("c/1.Y")}}}},
			errors: map[string]error{"c/1.Y": late}},
		{name: "a forward", first: "a/1.M", log: "a/1.M b/1.X", reply: "b/1.X",
			answers: map[string][]actors.Outcome{"a/1.M": {{Forward: forward("b/1.X", "")}}}},
		{name: "effects before a chain of forwards", first: "a/1.M", log: "a/1.M c/1.Y act.M b/1.X", reply: "b/1.X",
			answers: map[string][]actors.Outcome{"a/1.M": {{Forward: forward("act.M", ""), Effects: []actors.Effect{now("c/1.Y")}}}, "act.M": {{Forward: forward("b/1.X", "")}}}},
		{name: "a forward to a refusal", first: "a/1.M", log: "a/1.M b/1.X", code: actors.NotFound,
			answers: map[string][]actors.Outcome{"a/1.M": {{Forward: forward("b/1.X", "")}}, "b/1.X": {refusal}}},
		{name: "a forward without outcome", first: "a/1.M", log: "a/1.M b/1.X", code: actors.DeadlineExceeded,
			text:    "a/1.M was carried out, but b/1.X, to which it forwards, gave no outcome (a/1.M → b/1.X): too late",
			answers: map[string][]actors.Outcome{"a/1.M": {{Forward: forward("b/1.X", "")}}},
			errors:  map[string]error{"b/1.X": late}},
		{name: "to another method of its own", first: "a/1.M", log: "a/1.M a/1.N", reply: "a/1.N",
			answers: map[string][]actors.Outcome{"a/1.M": {{Forward: forward("a/1.N", "")}}}},
		{name: "in circles", first: "a/1.M", log: "a/1.M b/1.X", code: actors.FailedPrecondition, reports: 1, text: "(a/1.M → b/1.X → a/1.M): it goes in circles",
			answers: map[string][]actors.Outcome{"a/1.M": {{Forward: forward("b/1.X", "")}}, "b/1.X": {{Effects: []actors.Effect{now("a/1.M")}}}}},
		{name: "the same effect twice is no circle", first: "a/1.M", log: "a/1.M b/1.X b/1.X b/1.X", reply: "b/1.X",
			answers: map[string][]actors.Outcome{"a/1.M": {{Forward: forward("b/1.X", ""), Effects: []actors.Effect{now("b/1.X"), now("b/1.X")}}}}},
		{name: "a reply of an action with a topic", first: "act.M", log: "act.M /topics/t.act.M", reply: "act.M", outs: map[string]string{"act.M": "t"}},
		{name: "a refusal has nothing to publish", first: "act.M", log: "act.M", code: actors.NotFound, outs: map[string]string{"act.M": "t"},
			answers: map[string][]actors.Outcome{"act.M": {refusal}}},
		{name: "a reply of an entity is published by its journal", first: "a/1.M", log: "a/1.M", reply: "a/1.M", outs: map[string]string{"a.M": "t"}},
		{name: "the reply to a forward", first: "a/1.M", log: "a/1.M b/1.X /topics/t.a.M", reply: "b/1.X", outs: map[string]string{"a.M": "t", "b.X": "u"},
			answers: map[string][]actors.Outcome{"a/1.M": {{Forward: forward("b/1.X", "")}}}},
		{name: "a broker that is down", first: "act.M", log: "act.M /topics/t.act.M", outs: map[string]string{"act.M": "t"}, code: actors.Unavailable,
			text:   `act.M was carried out, but its reply could not be published to the topic "t"`,
			errors: map[string]error{"/topics/t.act.M": actors.Errorf(actors.Unavailable, "down")}},
		{name: "a command to a topic", first: "/topics/t.x", log: "/topics/t.x", reply: "/topics/t.x"},
		{name: "an effect to a topic", first: "a/1.M", log: "a/1.M /topics/t.x", reply: "done",
			answers: map[string][]actors.Outcome{"a/1.M": {{Reply: text("done"), Effects: []actors.Effect{now("/topics/t.x")}}}}},
		{name: "not served", first: "crdt/1.M", code: actors.Unimplemented},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			w := &world{answers: x.answers, errors: x.errors, outs: x.outs}
			d := w.dispatch(t, nil)
			c := to(x.first)
			c.Metadata = actors.Metadata{{Key: "of", Text: "the caller"}}
			c.Deadline = time.Now().Add(time.Hour)
			o, err := d.Handle(t.Context(), c)
			w.wants(t, x.log)
			if len(o.Effects) > 0 || o.Forward != nil || len(w.reports) != x.reports {
				t.Errorf("%+v; reported %q", o, w.reports)
			}
			if err == nil && o.Failure != nil {
				err = o.Failure
			}
			if x.code != actors.OK {
				wantError(t, err, x.code, x.text)
			} else if err != nil || o.Reply == nil || string(o.Reply.Data) != x.reply {
				t.Errorf("%+v, %v", o, err)
			}
			if x.text != "" && !isUndecided(err) {
				t.Errorf("who gets %q may believe that nothing came of it", err)
			}
			for n, c := range w.commands {
				switch of := c.Metadata.Get("of"); {
				case n == x.first && of != "the caller", n != x.first && of == "the caller":
					t.Errorf("%s has the metadata of %s", n, of)
				case of == "effect" && c.Key != "id of "+n && !strings.HasPrefix(x.first, "act"):
					t.Errorf("the effect %s has the key %q", n, c.Key)
				case c.Deadline.IsZero():
					t.Errorf("%s has no deadline", n)
				}
			}
		})
	}
}

func TestHops(t *testing.T) {
	t.Parallel()
	w := &world{answers: map[string][]actors.Outcome{}}
	for n := range 20 {
		w.answers[fmt.Sprintf("a/%d.M", n)] = []actors.Outcome{{Forward: forward(fmt.Sprintf("a/%d.M", n+1), "")}}
	}
	d := w.dispatch(t, func(c *Config) { c.MaxHops = 3 })
	if o, err := d.Handle(t.Context(), to("a/17.M")); err != nil || string(o.Reply.Data) != "a/20.M" {
		t.Errorf("%+v, %v", o, err)
	}
	_, err := d.Handle(t.Context(), to("a/16.M"))
	wantError(t, err, actors.FailedPrecondition, "a/16.M → a/17.M → a/18.M → a/19.M → a/20.M", "maxHops")
	_, err = w.dispatch(t, nil).Handle(t.Context(), to("a/0.M"))
	wantError(t, err, actors.FailedPrecondition, "at most 16")
}

func TestFinish(t *testing.T) {
	t.Parallel()
	circle := map[string][]actors.Outcome{"b/1.X": {{Forward: forward("a/1.Other", "")}}, "b/2.X": {{Effects: []actors.Effect{now("a/1.M")}}}}
	for _, x := range []struct {
		name    string
		outcome actors.Outcome
		log     string
		text    string
	}{
		{name: "effects and forward", outcome: actors.Outcome{Effects: []actors.Effect{now("c/1.X")}, Forward: forward("c/2.Y", "")}, log: "c/1.X c/2.Y"},
		{name: "itself", outcome: actors.Outcome{Forward: forward("a/1.Other", "")}, text: "(a/1.M → a/1.Other): a/1 would wait"},
		{name: "an effect on itself", outcome: actors.Outcome{Effects: []actors.Effect{now("c/1.X"), now("a/1.Other")}}, log: "c/1.X", text: "the effect a/1.Other"},
		{name: "back to itself", outcome: actors.Outcome{Forward: forward("b/1.X", "")}, log: "b/1.X", text: "a/1.M → b/1.X → a/1.Other"},
		{name: "back by an effect", outcome: actors.Outcome{Effects: []actors.Effect{now("b/2.X")}}, log: "b/2.X", text: "a/1.M → b/2.X → a/1.M"},
		{name: "another of the service", outcome: actors.Outcome{Forward: forward("a/2.M", "")}, log: "a/2.M"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			w := &world{answers: circle}
			o, err := w.dispatch(t, nil).Finish(t.Context(), to("a/1.M"), x.outcome)
			w.wants(t, x.log)
			if x.text != "" {
				wantError(t, err, actors.FailedPrecondition, x.text)
			} else if err != nil || o.Reply == nil || o.Forward != nil || len(o.Effects) > 0 {
				t.Errorf("%+v, %v", o, err)
			}
			for n, c := range w.commands {
				if c.Deadline.IsZero() {
					t.Errorf("%s has no deadline", n)
				}
			}
		})
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{MaxHops: -1, MaxEffects: -1, FinishTimeout: -1})
	for _, s := range []string{"Remote", "MaxHops", "MaxEffects", "FinishTimeout"} {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("%v does not name %s", err, s)
		}
	}
	w := &world{}
	d := w.dispatch(t, func(c *Config) { c.Publish, c.Actions, c.Report = nil, nil, nil })
	_, err = d.Handle(t.Context(), to("/topics/t.x"))
	wantError(t, err, actors.Unimplemented, `"t"`, "no pub/sub")
	_, err = d.Handle(t.Context(), to("act.M"))
	wantError(t, err, actors.Unimplemented, `"action"`)
	wantError(t, d.Stream(t.Context(), to("act.M"), nil, nil), actors.Unimplemented, `"action"`)
}

// Whoever makes an error without a code does not mean it for callers.
func TestForeignError(t *testing.T) {
	t.Parallel()
	w := &world{answers: map[string][]actors.Outcome{"a/1.M": {{Forward: forward("b/1.X", "")}}},
		errors: map[string]error{"b/1.X": errors.New("password=secret")}}
	_, err := w.dispatch(t, nil).Handle(t.Context(), to("a/1.M"))
	wantError(t, err, actors.Internal, "a/1.M → b/1.X")
	if strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	w.errors["b/1.X"] = context.DeadlineExceeded
	_, err = w.dispatch(t, nil).Handle(t.Context(), to("a/1.M"))
	wantError(t, err, actors.DeadlineExceeded, "(a/1.M → b/1.X): there was no answer")
}

// Repeats of a keyed command give what follows the same keys.
func TestKeys(t *testing.T) {
	t.Parallel()
	answers := map[string][]actors.Outcome{
		"act.M": {{Effects: []actors.Effect{now("a/1.X"), now("b/1.X")}, Forward: forward("do.M", "")}},
		"do.M":  {{Forward: forward("c/1.Y", "")}},
	}
	run := func(key string) map[string]string {
		w := &world{answers: answers, outs: map[string]string{"act.M": "t"}}
		if _, err := w.dispatch(t, nil).Handle(t.Context(), keyed(to("act.M"), key)); err != nil {
			t.Fatal(err)
		}
		keys := make(map[string]string)
		for n, c := range w.commands {
			keys[n] = c.Key
		}
		return keys
	}
	first, again, other, none := run("k"), run("k"), run("l"), run("")
	if d := cmp.Diff(first, again); d != "" {
		t.Error(d)
	}
	seen := map[string]bool{}
	for n, key := range first {
		if key == "" || seen[key] || other[n] == key || none[n] == key {
			t.Errorf("%s has the key %q", n, key)
		}
		seen[key] = true
	}
	if none["a/1.X"] == "" || none["/topics/t.act.M"] == "" || none["do.M"] != "" || none["c/1.Y"] != "" {
		t.Errorf("without a key: %v", none)
	}
}
