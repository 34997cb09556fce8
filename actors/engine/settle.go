package engine

import (
	"fmt"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// settle answers the pending turns of i that may be answered, and asks about the reads among them that have no proof.
// The package comment has the rules.
func (e *Engine) settle(i *instance) {
	// Reads before an own append that landed are proved by it.
	var proved *work
	for w := i.pending.first; w != nil && (!w.wrote || w.landed()); w = w.next {
		if w.wrote {
			proved = w
		}
	}
	rest, blocked := works{}, false
	for i.pending.n > 0 {
		w := i.pending.pop()
		if w == proved {
			proved = nil
		}
		blocked = blocked || w.wrote && !w.landed()
		switch {
		case blocked:
			rest.push(w)
		case w.wrote:
			i.writing--
			i.durable, i.proofAt, i.proofTick = w.end, w.end, w.launched
			e.finish(w, w.outcome, nil)
		case w.failure != nil:
			e.finish(w, actors.Outcome{}, w.failure)
		default:
			if proved != nil || i.proofAt == w.base && i.proofTick > w.arrived {
				w.headKnown = true
			}
			if w.headKnown && w.keyKnown {
				e.finish(w, w.outcome, nil)
				continue
			}
			rest.push(w)
			e.askFor(i, w)
		}
	}
	i.pending = rest
}

// askFor asks what w needs to know, once.
func (e *Engine) askFor(i *instance, w *work) {
	if w.asked || i.broken {
		return
	}
	w.asked = true
	q := question{instance: i, generation: i.generation}
	if w.command.Key != "" {
		q.work = w
	} else if i.asking {
		return
	} else {
		i.asking = true
	}
	e.questions = append(e.questions, q)
	ring(e.toCheck)
}

// fail breaks i: nothing more of it is sent to the journal, and its worker will recover it.
func (e *Engine) fail(i *instance) {
	i.broken = true
	appends := e.appends[:0]
	for _, w := range e.appends {
		if w.instance != i {
			appends = append(appends, w)
		}
	}
	clear(e.appends[len(appends):])
	e.appends = appends
	questions := e.questions[:0]
	for _, q := range e.questions {
		if q.instance != i {
			questions = append(questions, q)
		}
	}
	clear(e.questions[len(questions):])
	e.questions = questions
	i.asking = false
}

// storedOutcome is the answer to a command whose key is recorded.
func storedOutcome(c *actors.Command, r *journal.Record) (actors.Outcome, error) {
	if r == nil {
		return actors.Outcome{}, actors.Errorf(actors.DataLoss, "the outcome of %s to %s is recorded, but the journal does not give it", c.Method, c.Ref)
	}
	o, err := actors.UnmarshalOutcome(r.Outcome)
	if err != nil {
		return actors.Outcome{}, &actors.Error{Code: actors.DataLoss, Cause: err,
			Message: fmt.Sprintf("the outcome of %s to %s is recorded, but the record cannot be read", c.Method, c.Ref)}
	}
	o.Repeated = true
	return o, nil
}
