package dispatch

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
)

// replicating is a dispatch with this host's copies, which answer by the world's script.
func replicating(t *testing.T, w *world, change func(*Config)) *Dispatch {
	return w.dispatch(t, func(c *Config) {
		c.Replicated = actions{w}
		c.Local, c.Remote = nil, actors.HandlerFunc(w.handle)
		if change != nil {
			change(c)
		}
	})
}

// Commands of replicated entities stay on this host, and what follows from them is done like that of actions.
func TestReplicated(t *testing.T) {
	t.Parallel()
	named := later("a/3.C")
	named.Key = "name"
	w := &world{answers: map[string][]actors.Outcome{
		"crdt/1.M": {{Reply: text("done"), Effects: []actors.Effect{later("a/1.A"), now("a/2.B"), named, {Key: "name", Cancel: true}}}},
		"crdt/1.F": {{Forward: forward("crdt/2.G", "")}},
		"a/1.F":    {{Forward: forward("crdt/3.G", "")}},
	}, outs: map[string]string{"crdt.F": "forwarded", "crdt.M": "own"}}
	d := replicating(t, w, nil)
	if o, err := d.Handle(t.Context(), to("crdt/1.M")); err != nil || string(o.Reply.Data) != "done" || len(o.Effects) > 0 {
		t.Errorf("%+v, %v", o, err)
	}
	// A user function's reply for a topic is among its effects already.
	w.wants(t, "crdt/1.M keep A keep C keep  a/2.B")
	if len(w.kept) != 3 || w.rung != 1 || w.kept[0].ID == "" || w.sources[0].ID != w.kept[0].ID || w.sources[1] != (actors.Ref{Service: "crdt", ID: "1"}) || w.sources[2] != w.sources[1] {
		t.Errorf("%+v of %v, rung %d times", w.kept, w.sources, w.rung)
	}
	w.log = nil
	if o, err := d.Handle(t.Context(), to("crdt/1.F")); err != nil || string(o.Reply.Data) != "crdt/2.G" {
		t.Errorf("%+v, %v", o, err)
	}
	w.wants(t, "crdt/1.F crdt/2.G /topics/forwarded.crdt.F")
	w.log = nil
	if o, err := d.Handle(t.Context(), to("a/1.F")); err != nil || string(o.Reply.Data) != "crdt/3.G" {
		t.Errorf("%+v, %v", o, err)
	}
	w.wants(t, "a/1.F crdt/3.G")
}

func TestReplicatedStream(t *testing.T) {
	t.Parallel()
	w := &world{streams: map[string][2]bool{"crdt.Watch": {false, true}}, answers: map[string][]actors.Outcome{
		"crdt/1.Watch": {{}, {}, {Reply: text("1"), Effects: []actors.Effect{later("a/1.A"), now("a/2.B")}}, {Forward: forward("c/1.G", "")}},
		"a/1.F":        {{Forward: forward("crdt/1.Watch", "")}},
	}}
	d := replicating(t, w, nil)
	var got []string
	err := d.Stream(t.Context(), to("crdt/1.Watch"), nil, func(o actors.Outcome) error {
		if o.Reply == nil { // accepted, which is said once
			got = append(got, "")
			return nil
		}
		got = append(got, string(o.Reply.Data))
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"", "1", "c/1.G"}) {
		t.Errorf("%q, %v", got, err)
	}
	w.wants(t, "crdt/1.Watch keep A a/2.B c/1.G")
	w.log = nil
	// Who waits for one outcome gets the first that answers something.
	if o, err := d.Handle(t.Context(), to("a/1.F")); err != nil || string(o.Reply.Data) != "1" {
		t.Errorf("%+v, %v", o, err)
	}
	w.wants(t, "a/1.F crdt/1.Watch keep A a/2.B")
}

// What nobody waits for any more is carried out all the same.
func TestLeftover(t *testing.T) {
	t.Parallel()
	w := &world{}
	d := replicating(t, w, nil)
	late := to("crdt/1.M")
	late.Deadline = time.Now().Add(-time.Second)
	o := actors.Outcome{Reply: text("unheard"), Forward: forward("a/9.F", ""), Effects: []actors.Effect{later("a/1.A"), now("crdt/2.B")}}
	if err := d.Leftover(t.Context(), late, o); err != nil {
		t.Error(err)
	}
	w.wants(t, "keep A crdt/2.B")
	if c := w.commands["crdt/2.B"]; !c.Deadline.After(time.Now()) {
		t.Errorf("its deadline is %s", c.Deadline)
	}
	w.full = errors.New("full")
	wantError(t, d.Leftover(t.Context(), late, o), actors.Unavailable, "could not all be kept")
}

// A host of a replicated entity is not held by a caller who cannot do what follows: it takes other commands meanwhile.
func TestFinishReplicated(t *testing.T) {
	t.Parallel()
	w := &world{}
	d := replicating(t, w, nil)
	if o, err := d.Finish(t.Context(), to("crdt/1.M"), actors.Outcome{Forward: forward("crdt/1.G", "")}); err != nil || string(o.Reply.Data) != "crdt/1.G" {
		t.Errorf("%+v, %v", o, err)
	}
	w.wants(t, "crdt/1.G")
	_, err := d.Finish(t.Context(), to("crdt/1.M"), actors.Outcome{Forward: forward("crdt/1.M", "")})
	wantError(t, err, actors.FailedPrecondition, "in circles")
}
