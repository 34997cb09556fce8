package building

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

const (
	// sharedAppends and sharedBytes bound the writes of several requests that share a commit, sharedKeys the keys that are
	// read together, whose values are in memory at the same time.
	sharedAppends = 256
	sharedBytes   = 8 << 20
	sharedKeys    = 64
	// patience is for one call of the journal that several requests share, none of whose deadlines can hold for it.
	patience = 30 * time.Second
	// gathering is for how long writes wait for company at most.
	gathering = 4 * time.Millisecond
)

// shared is a journal of which concurrent requests share the calls that cost most: a commit takes about as long for
// thirty writes as for one, and so does a round trip. Every request gets the answer that it would have got alone.
type shared struct {
	Journal
	heads        *heads
	appends      joint[[]journal.Append, []journal.Result]
	transactions joint[[]journal.Append, []journal.Result]
	lasts        joint[[]actors.Ref, newest]
}

// newest is what Last returns.
type newest struct {
	events []journal.Event
	err    error
}

func share(j Journal) *shared {
	s := &shared{Journal: j, heads: newHeads()}
	s.appends.join, s.appends.carry, s.appends.gather = joinAppends, s.append, gathering
	s.transactions.join, s.transactions.carry, s.transactions.gather = joinAppends, s.transact, gathering
	s.lasts.join, s.lasts.carry = joinKeys, s.last
	return s
}

// Append implements journal.Appender.
func (s *shared) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	results, err := s.appends.do(ctx, batch)
	return resultsOf(results, len(batch), err)
}

// Transact implements journal.Appender.
func (s *shared) Transact(ctx context.Context, batch []journal.Append) []journal.Result {
	results, err := s.transactions.do(ctx, batch)
	return resultsOf(results, len(batch), err)
}

// Last implements journal.Reader.
func (s *shared) Last(ctx context.Context, refs []actors.Ref) ([]journal.Event, error) {
	answer, err := s.lasts.do(ctx, refs)
	if err != nil {
		return nil, err
	}
	return answer.events, answer.err
}

// resultsOf gives an error of do to all of a batch.
func resultsOf(results []journal.Result, n int, err error) []journal.Result {
	if err == nil {
		return results
	}
	status := journal.Unknown
	if errors.Is(err, errNotBegun) {
		status = journal.Refused
	}
	return all(n, status, err)
}

func all(n int, status journal.Status, err error) []journal.Result {
	results := make([]journal.Result, n)
	for i := range results {
		results[i] = journal.Result{Status: status, Err: err}
	}
	return results
}

// joinAppends lets batches go together as long as each stream is touched by one of them, for what becomes of an append
// depends on those before it in its stream. Appends wherever the stream is do not mind.
func joinAppends() func(batch []journal.Append) bool {
	anywhere := map[actors.Ref]bool{} // of the streams that are touched
	n, size := 0, 0
	return func(batch []journal.Append) bool {
		bytes := 0
		for i := range batch {
			a := &batch[i]
			if before, touched := anywhere[a.Ref]; touched && !(before && a.Expected == journal.AnySequence) {
				return false
			}
			for k := range a.Events {
				bytes += len(a.Events[k].Payload.Data)
			}
		}
		if n > 0 && (n+len(batch) > sharedAppends || size+bytes > sharedBytes) {
			return false
		}
		n, size = n+len(batch), size+bytes
		for i := range batch {
			anywhere[batch[i].Ref] = batch[i].Expected == journal.AnySequence
		}
		return true
	}
}

func joinKeys() func(refs []actors.Ref) bool {
	n := 0
	return func(refs []actors.Ref) bool {
		if n > 0 && n+len(refs) > sharedKeys {
			return false
		}
		n += len(refs)
		return true
	}
}

type appendCall = joined[[]journal.Append, []journal.Result]

func together(calls []*appendCall) []journal.Append {
	var batch []journal.Append
	for _, c := range calls {
		batch = append(batch, c.question...)
	}
	return batch
}

func apart(calls []*appendCall, results []journal.Result) {
	for _, c := range calls {
		n := len(c.question)
		c.answer, results = results[:n:n], results[n:]
	}
}

func (s *shared) append(ctx context.Context, calls []*appendCall) {
	batch := together(calls)
	guessed := s.heads.guess(batch)
	results := s.Journal.Append(ctx, batch)
	s.heads.learn(batch, results, guessed)
	for i := range guessed {
		if results[i].Status == journal.Conflict {
			s.anywhere(ctx, batch, results, guessed)
			break
		}
	}
	apart(calls, results)
}

// anywhere appends anew what was guessed to be elsewhere than it is, unless that is so because it was appended already.
func (s *shared) anywhere(ctx context.Context, batch []journal.Append, results []journal.Result, guessed map[int]int64) {
	var wrong []int
	var checks []journal.Check
	for i := range batch {
		if at, guess := guessed[i]; guess && results[i].Status == journal.Conflict {
			wrong = append(wrong, i)
			checks = append(checks, journal.Check{Ref: batch[i].Ref, Command: batch[i].Command, After: at})
		}
	}
	checked, err := s.Heads(ctx, checks)
	var again []journal.Append
	var places []int
	for k, i := range wrong {
		switch {
		case err != nil:
			results[i] = journal.Result{Status: journal.Unknown, Err: err}
		case checked[k].Applied:
			results[i] = journal.Result{Status: journal.Committed, Head: journal.Head{Sequence: checked[k].LastSequence, Epoch: checked[k].Head.Epoch}}
		default:
			a := batch[i]
			a.Expected = journal.AnySequence
			again, places = append(again, a), append(places, i)
		}
	}
	if len(again) == 0 {
		return
	}
	for k, r := range s.Journal.Append(ctx, again) {
		results[places[k]] = r
	}
}

// transact makes one transaction of several. Those that were not carried out for what may be wrong with another one are
// tried again without it, or alone where the journal does not tell which it was.
func (s *shared) transact(ctx context.Context, calls []*appendCall) {
	batch := together(calls)
	results := s.Journal.Transact(ctx, batch)
	s.heads.learn(batch, results, nil)
	apart(calls, results)
	var again []*appendCall
	for _, c := range calls {
		if !slices.ContainsFunc(c.answer, func(r journal.Result) bool { return r.Status != journal.Refused || blameless(r.Err) }) {
			again = append(again, c)
		}
	}
	switch {
	case len(calls) == 1 || len(again) == 0:
	case len(again) < len(calls):
		s.transact(ctx, again)
	default:
		for _, c := range again {
			c.answer = s.Journal.Transact(ctx, c.question)
			s.heads.learn(c.question, c.answer, nil)
		}
	}
}

// blameless reports whether an error is not about what was to be written, and would meet everybody.
func blameless(err error) bool {
	return errors.Is(err, journal.ErrUnavailable) || errors.Is(err, journal.ErrFull) || errors.Is(err, journal.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded)
}

// last reads the keys of several calls. A damaged event among them is the trouble of the call that asked for it.
func (s *shared) last(ctx context.Context, calls []*joined[[]actors.Ref, newest]) {
	if len(calls) > 1 {
		var refs []actors.Ref
		for _, c := range calls {
			refs = append(refs, c.question...)
		}
		events, err := s.Journal.Last(ctx, refs)
		if err == nil {
			for _, c := range calls {
				c.answer.events, events = events[:len(c.question):len(c.question)], events[len(c.question):]
			}
			return
		}
		if !errors.Is(err, journal.ErrCorrupt) {
			for _, c := range calls {
				c.answer.err = err
			}
			return
		}
	}
	for _, c := range calls {
		c.answer.events, c.answer.err = s.Journal.Last(ctx, c.question)
	}
}
