package engine

import (
	"strings"

	"github.com/dapr-entities/entities/actors"
)

// checkEffects holds what the outbox has against the journal and the history: every event has told one effect, in the
// order of the events; every acknowledged nudge one more, in its place among them; nothing else was kept, and nothing
// twice.
func (s *sim) checkEffects() {
	// at is the sequence that the entity had when it kept the effect with a tag.
	at := make(map[string]int64)
	ids := make(map[string]bool)
	for id, kept := range s.kept {
		next := 0
		for _, p := range kept {
			data := string(p.Payload.Data)
			_, tag, _ := strings.Cut(data, ":")
			if _, twice := at[tag]; twice || ids[p.ID] {
				s.t.Errorf("%s: the effect of %s was kept twice", id, tag)
			}
			ids[p.ID] = true
			if next < len(s.stored[id]) && data == string(s.stored[id][next].Payload.Data) {
				command := s.stored[id][next].Command
				if want := actors.EffectID(actors.Ref{Service: "bank", ID: id}, command, 1); p.ID != want {
					s.t.Errorf("%s: the effect of %s has the id %s, want %s", id, tag, p.ID, want)
				}
				next++
			}
			at[tag] = int64(next)
		}
		if next != len(s.stored[id]) {
			s.t.Errorf("%s: only %d of %d events have their effect, in their order", id, next, len(s.stored[id]))
		}
	}
	decided := make(map[string]bool)
	for _, events := range s.stored {
		for _, ev := range events {
			_, tag, _ := strings.Cut(string(ev.Payload.Data), ":")
			decided[tag] = true
		}
	}
	for _, o := range s.history {
		if o.method != "nudge" {
			continue
		}
		decided[o.tag] = true
		sequence, kept := at[o.tag]
		switch {
		case o.outcome.Failure != nil: // of a session that restarted
			if kept && o.harmless {
				s.t.Errorf("%s: the effect of %s is kept, though it was refused", o.id, o.tag)
			}
		case o.err == nil && (!kept || sequence != o.outcome.Sequence):
			s.t.Errorf("%s: %s was acknowledged at %d, and its effect is not there but at %d (%v)", o.id, o.tag, o.outcome.Sequence, sequence, kept)
		case o.err != nil && kept && o.harmless:
			s.t.Errorf("%s: the effect of %s is kept, though its caller was told otherwise: %v", o.id, o.tag, o.err)
		}
	}
	for tag := range at {
		if !decided[tag] {
			s.t.Errorf("the effect of %s was kept without an append", tag)
		}
	}
}
