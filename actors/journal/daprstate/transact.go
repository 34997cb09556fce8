package daprstate

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// A transaction over several streams leaves an intent in the head of each: what it will be. Then the record of the
// transaction is made, which decides over all of them at once. Whoever finds an intent asks that record: there is one that
// says committed, and the intent is the head; or one that says aborted, and it is nothing; or none, and after some
// patience the finder makes one that says aborted. Only one of them can be made.
const (
	aborted   = "aborted"
	committed = "committed"
)

func (j *Journal) transactionKey(name string) string { return j.key("t", name) }

// verdict on a transaction; empty if there is none.
func (j *Journal) verdict(ctx context.Context, name string) (string, error) {
	item, err := j.getOne(ctx, j.transactionKey(name))
	if err != nil {
		return "", err
	}
	r, err := decodeRecord(item)
	if err != nil {
		return "", err
	}
	return string(r.body), nil
}

// decide makes the record of a transaction that has none. Somebody else may have been first: errLost.
func (j *Journal) decide(ctx context.Context, name, verdict string) error {
	return j.save(ctx, record{key: j.transactionKey(name)}, []byte(verdict))
}

// patience with a transaction that is under way.
type patience struct {
	most  time.Duration
	since map[string]time.Time
}

func newPatience(j *Journal) *patience {
	return &patience{most: j.config.Timeout / 5, since: map[string]time.Time{}}
}

// resolve takes the intent out of a head if it can, and waits a little otherwise. The head has to be read again then.
func (j *Journal) resolve(ctx context.Context, r record, h *head, p *patience) error {
	name := h.intent.transaction
	verdict, err := j.verdict(ctx, name)
	if err != nil {
		return err
	}
	if verdict == "" {
		first, known := p.since[name]
		switch {
		case !known:
			p.since[name] = time.Now()
		case time.Since(first) > p.most:
			if err := j.decide(ctx, name, aborted); err != nil && !errors.Is(err, errLost) {
				return err
			}
			return nil
		}
		if !pause(ctx, 3) {
			return context.Cause(ctx)
		}
		return nil
	}
	if err := j.finish(ctx, r, h, verdict); err != nil && !errors.Is(err, errLost) {
		return err
	}
	return nil
}

// finish replaces a head with an intent by what the verdict makes of it.
func (j *Journal) finish(ctx context.Context, r record, h *head, verdict string) error {
	if verdict == committed {
		return j.save(ctx, r, h.intent.next)
	}
	h.intent = nil
	return j.save(ctx, r, h.encode())
}

// view is a head as a reader has to see it: with an intent that is committed, without one that is not.
func (j *Journal) view(ctx context.Context, h *head, item Item) (*head, error) {
	for h.intent != nil {
		verdict, err := j.verdict(ctx, h.intent.transaction)
		if err != nil {
			return nil, err
		}
		switch verdict {
		case committed:
			return decodeHeadBody(h.intent.next, h.ref)
		case aborted:
			return h, nil
		}
		// The record goes away when every head is done with: then this head is another one by now.
		again, err := j.getOne(ctx, item.Key)
		if err != nil {
			return nil, err
		}
		if again.ETag == item.ETag {
			return h, nil
		}
		item = again
		r, err := decodeRecord(item)
		if err != nil {
			return nil, err
		}
		if h, err = decodeHead(r, h.ref); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Transact implements journal.Appender.
func (j *Journal) Transact(ctx context.Context, batch []journal.Append) []journal.Result {
	if len(batch) == 0 {
		return nil
	}
	if err := j.enter(ctx); err != nil {
		return rules.All(len(batch), journal.Refused, err)
	}
	defer j.leave()
	t := &transaction{j: j, groups: rules.Groups(batch), batch: batch}
	for try := 0; ; try++ {
		if try > 0 && !pause(ctx, try+2) {
			return rules.All(len(batch), journal.Refused, context.Cause(ctx))
		}
		results, err := t.try(ctx)
		switch {
		case errors.Is(err, errLost): // somebody else was faster
		case errors.Is(err, errDoubt):
			return rules.All(len(batch), journal.Unknown, err)
		case err != nil:
			return rules.All(len(batch), journal.Refused, refusal(err))
		default:
			return results
		}
	}
}

type transaction struct {
	j      *Journal
	batch  []journal.Append
	groups []*rules.Group
}

// member is one stream of a transaction.
type member struct {
	change *change
	group  *rules.Group
	record record
	next   []byte
}

// try goes the whole way once. An error that is neither errLost nor errDoubt says that nothing was done, nor will be.
func (t *transaction) try(ctx context.Context) ([]journal.Result, error) {
	members, results, err := t.judge(ctx)
	if err != nil || members == nil {
		return results, err
	}
	j, name := t.j, rand.Text()
	slices.SortFunc(members, func(a, b *member) int { return cmp.Compare(a.record.key, b.record.key) })
	for i, m := range members {
		h, err := decodeHead(m.record, m.group.Ref)
		if err == nil {
			h.intent = &intent{name, m.next}
			err = j.save(ctx, m.record, h.encode())
		}
		if err != nil {
			return nil, t.abort(ctx, name, members[:i+1], err)
		}
	}
	if err := j.decide(ctx, name, committed); err != nil {
		if errors.Is(err, errLost) {
			return nil, t.abort(ctx, name, members, err)
		}
		return nil, err
	}
	t.finish(name, members, committed)
	runs := make([]landed, 0, len(members))
	for _, m := range members {
		runs = append(runs, m.change.run())
		j.discard(m.change.obsolete)
	}
	j.feed.publish(runs)
	return results, nil
}

// judge decides over all appends and prepares what they make of their streams. Without members the results stand.
func (t *transaction) judge(ctx context.Context) (members []*member, results []journal.Result, err error) {
	j := t.j
	results = make([]journal.Result, len(t.batch))
	total := 0
	for _, g := range t.groups {
		if journal.ValidateRef(g.Ref) != nil {
			judged, _ := rules.Judge(journal.Head{}, func(string) *journal.Record { return nil }, g.Appends)
			for k, r := range judged {
				results[g.Index[k]] = r
			}
			continue
		}
		item, err := j.getOne(ctx, j.headKey(g.Ref))
		if err != nil {
			return nil, nil, err
		}
		r, h, err := j.settled(ctx, g.Ref, item)
		if err != nil {
			return nil, nil, err
		}
		known, err := j.keptRecords(ctx, h, recorded(g.Appends))
		if err != nil {
			return nil, nil, err
		}
		judged, n := rules.Judge(h.at, func(id string) *journal.Record { return known[id] }, g.Appends)
		for k, r := range judged {
			results[g.Index[k]] = r
		}
		total += n
		members = append(members, &member{group: g, record: r, change: &change{head: h, parts: parts{j: j}, before: h.at}})
	}
	if total < len(t.batch) {
		rules.Cancel(t.groups, results)
		return nil, results, nil
	}
	for _, m := range members {
		if err := t.prepare(ctx, m); err != nil {
			return nil, nil, err
		}
	}
	return members, results, nil
}

// prepare makes the head that a member is to have.
func (t *transaction) prepare(ctx context.Context, m *member) error {
	c := m.change
	existed := c.exists
	sealed := c.seal(t.j)
	for left := m.group.Appends; len(left) > 0; {
		judged := rules.All(len(left), journal.Committed, nil)
		left = left[c.apply(left, judged):]
	}
	if err := c.fits(); err != nil {
		return err
	}
	if err := c.register(ctx, existed); err != nil {
		return err
	}
	if err := t.j.put(ctx, append(sealed, c.parts.items...)); err != nil {
		return err
	}
	m.next = c.encode()
	if size := 2*len(m.next) + len(m.record.body); size > maxHeadBytes {
		return fmt.Errorf("%w: a transaction writes %d bytes to %s", ErrTooBig, size, c.ref)
	}
	return nil
}

// abort ends a transaction that could not leave all its intents. Once its record says so it has not happened, and err
// stays what it is unless it was in doubt.
func (t *transaction) abort(ctx context.Context, name string, members []*member, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.j.config.Timeout)
	defer cancel()
	if deciding := t.j.decide(ctx, name, aborted); deciding != nil && !errors.Is(deciding, errLost) {
		return fmt.Errorf("%w: %w", errDoubt, err)
	}
	t.finish(name, members, aborted)
	for _, m := range members {
		m.change.parts.discard()
	}
	if errors.Is(err, errDoubt) {
		return errLost
	}
	return err
}

// finish takes the intents out of the heads. Whoever comes later would do it otherwise, so it need not succeed. A record
// that says committed goes when no intent asks for it any more; one that says aborted has to stay, for somebody may still
// be about to make one that says committed.
func (t *transaction) finish(name string, members []*member, verdict string) {
	j := t.j
	ctx, cancel := context.WithTimeout(context.Background(), j.config.Timeout)
	defer cancel()
	var finishing sync.WaitGroup
	done := make([]bool, len(members))
	for i, m := range members {
		finishing.Go(func() {
			item, err := j.getOne(ctx, m.record.key)
			if err != nil {
				return
			}
			r, err := decodeRecord(item)
			if err != nil {
				return
			}
			h, err := decodeHead(r, m.group.Ref)
			if err != nil {
				return
			}
			if h.intent == nil || h.intent.transaction != name {
				done[i] = true
				return
			}
			err = j.finish(ctx, r, h, verdict)
			done[i] = err == nil || errors.Is(err, errLost)
		})
	}
	finishing.Wait()
	if verdict == committed && !slices.Contains(done, false) {
		j.discard([]string{j.transactionKey(name)})
	}
}
