package building

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// twice is how long after it was published a CloudEvent that is published again counts as the same. Later it is another
// message: somebody replays dead letters.
const twice = 2 * time.Minute

// publish appends messages, each for itself, and returns an error for each, nil for those that are durable. Those of one
// stream keep their order.
func publish(ctx context.Context, j Journal, caller string, messages []*message) []error {
	problems := make([]error, len(messages))
	writes := make([]*write, len(messages))
	for i, m := range messages {
		writes[i] = &write{
			ref:     actors.Ref{Service: topicService(m.topic), ID: m.id()},
			command: m.command(), expected: journal.AnySequence, events: []journal.Event{m.store(caller)},
		}
		if m.event.is() {
			writes[i].record = &journal.Record{Hash: m.event.content}
		}
	}
	g := &writing{journal: j, writes: writes}
	pending := writes
	for range attempts {
		if err := g.append(ctx, pending); err != nil {
			for _, w := range open(pending) {
				w.err = err
			}
		}
		for i, m := range messages {
			if w := writes[i]; w.done && w.repeated {
				w.err = again(ctx, j, w, m)
			}
		}
		if pending = open(pending); len(pending) == 0 {
			break
		}
	}
	for i, m := range messages {
		switch w := writes[i]; {
		case w.err != nil:
			problems[i] = w.err
		case !w.done:
			problems[i] = actors.Errorf(actors.Aborted, "publish to the topic %q: other writers were faster %d times; try again", cut(m.topic), attempts)
		}
	}
	return problems
}

// again looks at a CloudEvent that has been published before. Either that is how it came to be done, or it is one to be
// appended under another command.
func again(ctx context.Context, j Journal, w *write, m *message) error {
	doing := "publish to the topic " + cut(m.topic)
	w.repeated = false
	checked, err := j.Heads(ctx, []journal.Check{{Ref: w.ref, Command: w.command, After: journal.AnySequence}})
	if err != nil {
		return journalError(doing, err)
	}
	record := checked[0].Record
	if !checked[0].Applied || record == nil { // it is gone: nothing is there to be repeated
		w.done = false
		return nil
	}
	var before time.Time // zero if it is no longer kept
	for e, err := range j.Read(ctx, w.ref, record.Sequence-1, 1) {
		if err != nil && !errors.Is(err, journal.ErrForgotten) {
			return journalError(doing, err)
		}
		before = e.Time
	}
	switch {
	case time.Since(before) > twice:
		base, _, _ := strings.Cut(w.command, "@")
		w.command = base + "@" + strconv.FormatInt(record.Sequence, 10)
		w.done = false
		return nil
	case record.Hash != w.record.Hash:
		return actors.Errorf(actors.AlreadyExists,
			"another event with the id %q of the source %q was published to the topic %q less than %s ago; give each event an id of its own",
			cut(m.event.ID), cut(m.event.Source), cut(m.topic), twice)
	}
	return nil
}
