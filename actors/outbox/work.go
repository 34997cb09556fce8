package outbox

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// work carries out the effects of one source.
func (w *Worker) work(s *source) {
	var settling sync.WaitGroup
	heldBack := false
	for i := range s.effects {
		p := &s.effects[i]
		if w.over(s.lane) {
			break
		}
		if heldBack && !p.Delayed() {
			continue
		}
		settlement, why := w.try(s.lane, p)
		if settlement.Verdict == 0 {
			break
		}
		heldBack = heldBack || settlement.Verdict == journal.Postponed && !p.Delayed()
		w.hand(settlement, p, why, &settling)
	}
	settling.Wait()
	w.end(s)
}

// try to carry out an effect once. There is no verdict if the try was cut.
func (w *Worker) try(l *lane, p *journal.Pending) (journal.Settlement, error) {
	if p.Service == "" {
		return journal.Settlement{ID: p.ID, Verdict: journal.Parked, Problem: p.Problem}, actors.Errorf(actors.DataLoss, "%s", p.Problem)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(l.tries, w.config.Timeout)
	defer cancel()
	o, err := w.config.Handler.Handle(ctx, actors.Command{
		Ref: p.Ref, Method: p.Method, Payload: p.Payload, Metadata: p.Metadata, Key: p.ID, Deadline: began.Add(w.config.Timeout),
	})
	if err == nil && o.Failure != nil {
		err = o.Failure
	}
	took := time.Since(began)
	switch {
	case err == nil:
		w.config.Observer.Delivered(p.Service, took, waited(p))
		return journal.Settlement{ID: p.ID, Verdict: journal.Done}, nil
	case l.tries.Err() != nil:
		return journal.Settlement{}, err
	}
	code := actors.CodeOf(err)
	settlement := journal.Settlement{ID: p.ID, Verdict: journal.Parked, Problem: code.String() + ": " + err.Error()}
	if !code.Lasting() && p.Tries+1 < w.config.MaxTries {
		settlement.Verdict, settlement.Again = journal.Postponed, w.backoff(p.Tries)
		w.config.Observer.Retried(p.Service, took)
	}
	return settlement, err
}

// backoff after so many earlier tries.
func (w *Worker) backoff(tries int) time.Duration {
	d := w.config.Backoff
	for range tries {
		if d >= w.config.MaxBackoff/2 {
			d = w.config.MaxBackoff
			break
		}
		d *= 2
	}
	return d - rand.N(d/2+1)
}

// settling is a settlement on its way to the journal.
type settling struct {
	journal.Settlement
	done *sync.WaitGroup
	// kept, if set, is called when the journal has it.
	kept func()
}

// hand a settlement over to the settler.
func (w *Worker) hand(settlement journal.Settlement, p *journal.Pending, why error, done *sync.WaitGroup) {
	s := settling{Settlement: settlement, done: done}
	if settlement.Verdict == journal.Parked {
		s.kept = func() {
			w.config.Log.Warn("an effect was parked: nobody carries it out until it is released", logSource, p.Source.String(),
				logEffect, p.ID, logTarget, p.Ref.String(), logMethod, p.Method, logError, settlement.Problem)
			w.config.Observer.Parked(p.Service)
			w.config.Report(context.Background(), *p, why)
		}
	}
	done.Add(1)
	w.settled <- s
}

// How often, and how long each time, the journal is to take settlements before their effects are left to be carried out
// again.
const (
	settleTries   = 6
	settleTimeout = 10 * time.Second
)

// settle is the settler: it takes settlements to the journal until there are no more.
func (w *Worker) settle(ctx context.Context) {
	for first := range w.settled {
		batch := []settling{first}
	gather:
		for len(batch) < w.config.Batch {
			select {
			case s, open := <-w.settled:
				if !open {
					break gather
				}
				batch = append(batch, s)
			default:
				break gather
			}
		}
		settlements := make([]journal.Settlement, len(batch))
		for i, s := range batch {
			settlements[i] = s.Settlement
		}
		err := w.put(ctx, settlements)
		if err != nil {
			w.config.Log.Warn("the journal does not take what became of effects; they are carried out again", logEffects, len(batch), logError, err)
		}
		for _, s := range batch {
			if err == nil && s.kept != nil {
				s.kept()
			}
			s.done.Done()
		}
	}
}

// put settlements into the journal. While the worker stops it does not wait for a journal that fails.
func (w *Worker) put(ctx context.Context, settlements []journal.Settlement) (err error) {
	for try := range settleTries {
		putting, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
		err = w.config.Outbox.Settle(putting, settlements)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		timer := time.NewTimer(w.backoff(try))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return err
}
