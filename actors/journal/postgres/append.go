package postgres

import (
	"context"
	"database/sql/driver"
	"fmt"
	"slices"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// patience is how often a stream may move between being read and being written before its appends queue up with the
// others of this process that have the same trouble. Each time somebody else got on, but not for ever at our cost.
const patience = 3

// plan is what is to be written to one stream: the first n appends of a group, from a sequence that is known.
type plan struct {
	*rules.Group
	n        int
	expected int64
	epoch    int64
	added    int
	// judged are the results of the whole group if the plan comes about.
	judged []journal.Result
}

// Append implements journal.Appender.
func (j *Journal) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	if len(batch) == 0 {
		return nil
	}
	if err := j.enter(ctx); err != nil {
		return rules.All(len(batch), journal.Refused, err)
	}
	defer j.running.RUnlock()
	results := make([]journal.Result, len(batch))
	var plans []*plan
	var open []*rules.Group // to be judged by what the journal holds
	for _, g := range rules.Groups(batch) {
		if p := plain(g); p != nil {
			plans = append(plans, p)
		} else {
			open = append(open, g)
		}
	}
	open = append(open, j.try(ctx, plans, results)...)
	ctx, cancel := context.WithTimeout(ctx, j.config.Timeout)
	defer cancel()
	for n := 0; len(open) > 0; n++ {
		if n == patience {
			j.unlucky.Lock()
			defer j.unlucky.Unlock()
		}
		plans, err := j.judge(ctx, open)
		if err != nil {
			for _, g := range open {
				set(g, results, journal.Result{Status: journal.Refused, Err: refusal(err)})
			}
			break
		}
		plans = slices.DeleteFunc(plans, func(p *plan) bool {
			if p.n == 0 {
				p.done(results)
			}
			return p.n == 0
		})
		open = j.try(ctx, plans, results)
	}
	return results
}

// plain plans a group that is most likely all right, without asking: no doubt about its appends themselves, and each
// expects what the one before it leaves behind.
func plain(g *rules.Group) *plan {
	first := g.Appends[0]
	p := &plan{Group: g, n: len(g.Appends), expected: first.Expected, epoch: first.Epoch}
	p.judged = make([]journal.Result, 0, p.n)
	at := first.Expected
	for i, a := range g.Appends {
		if a.Expected == journal.AnySequence || a.Expected != at || a.Epoch != first.Epoch || a.Validate() != nil {
			return nil
		}
		if a.Record != nil && slices.ContainsFunc(g.Appends[:i], func(b *journal.Append) bool { return b.Command == a.Command }) {
			return nil
		}
		at += int64(len(a.Events))
		p.added += len(a.Events)
		p.judged = append(p.judged, journal.Result{Status: journal.Committed, Head: journal.Head{Sequence: at, Epoch: a.Epoch}})
	}
	return p
}

// judge decides over groups by the state that their streams have now.
func (j *Journal) judge(ctx context.Context, groups []*rules.Group) ([]*plan, error) {
	var checks []journal.Check
	for _, g := range groups {
		if journal.ValidateRef(g.Ref) != nil {
			continue
		}
		checks = append(checks, journal.Check{Ref: g.Ref, After: -1})
		for _, a := range g.Appends {
			if a.Record != nil && a.Validate() == nil {
				checks = append(checks, journal.Check{Ref: g.Ref, Command: a.Command, After: -1})
			}
		}
	}
	checked, err := j.look(ctx, checks)
	if err != nil {
		return nil, err
	}
	heads := make(map[actors.Ref]journal.Head, len(groups))
	records := map[journal.Check]*journal.Record{}
	for i, c := range checks {
		heads[c.Ref] = checked[i].Head
		records[c] = checked[i].Record
	}
	plans := make([]*plan, 0, len(groups))
	for _, g := range groups {
		head := heads[g.Ref]
		p := &plan{Group: g, expected: head.Sequence}
		p.judged, p.n = rules.Judge(head, func(command string) *journal.Record {
			return records[journal.Check{Ref: g.Ref, Command: command, After: -1}]
		}, g.Appends)
		for _, a := range g.Appends[:p.n] {
			p.added += len(a.Events)
			p.epoch = a.Epoch
		}
		plans = append(plans, p)
	}
	return plans, nil
}

func (p *plan) done(results []journal.Result) {
	for k, i := range p.Index {
		results[i] = p.judged[k]
	}
}

func set(g *rules.Group, results []journal.Result, r journal.Result) {
	for _, i := range g.Index {
		results[i] = r
	}
}

// try writes plans in one statement. It sets the results of those that are settled and returns the groups of the others,
// which the journal's state speaks against.
func (j *Journal) try(ctx context.Context, plans []*plan, results []journal.Result) (open []*rules.Group) {
	if len(plans) == 0 {
		return nil
	}
	moved, err := j.put(ctx, plans, false)
	switch state := sqlState(err); {
	case err == nil:
		for _, p := range plans {
			if moved[p.Ref] {
				p.done(results)
			} else {
				open = append(open, p.Group)
			}
		}
		return open
	case !definite(err):
		for _, p := range plans {
			set(p.Group, results, journal.Result{Status: journal.Unknown, Err: err})
		}
		return nil
	case contended(state):
		// Somebody else was there at the same time, with the same command or the same streams.
		for _, p := range plans {
			open = append(open, p.Group)
		}
		return open
	case len(plans) > 1 && someonesFault(state):
		half := len(plans) / 2
		return append(j.try(ctx, plans[:half], results), j.try(ctx, plans[half:], results)...)
	case plans[0].n > 1 && someonesFault(state):
		return j.oneByOne(ctx, plans[0], results)
	}
	for _, p := range plans {
		set(p.Group, results, journal.Result{Status: journal.Refused, Err: refusal(err)})
	}
	return nil
}

// contended reports whether an error says that somebody else was there at the same time.
func contended(state string) bool {
	return state == codeUnique || state == codeDeadlock || state == codeSerialize || state == codeNoLock
}

// someonesFault reports whether an error may be about one append, and not about the server.
func someonesFault(state string) bool {
	if len(state) != 5 || state == codeDiskFull || state == codeTooMany || state == codeCanceled {
		return false
	}
	switch state[:2] {
	case "22", "23", "53", "54", "XX":
		return true
	}
	return false
}

// oneByOne writes the appends of a plan each for itself, up to the one at fault.
func (j *Journal) oneByOne(ctx context.Context, p *plan, results []journal.Result) []*rules.Group {
	at := journal.Head{Sequence: p.expected, Epoch: p.epoch}
	for k, a := range p.Appends[:p.n] {
		one := &plan{
			Group: &rules.Group{Ref: p.Ref, Appends: p.Appends[k : k+1], Index: p.Index[k : k+1]},
			n:     1, expected: at.Sequence, epoch: a.Epoch, added: len(a.Events), judged: p.judged[k : k+1],
		}
		rest := &rules.Group{Ref: p.Ref, Appends: p.Appends[k:], Index: p.Index[k:]}
		if len(j.try(ctx, []*plan{one}, results)) > 0 {
			return []*rules.Group{rest}
		}
		switch r := results[p.Index[k]]; r.Status {
		case journal.Committed:
			at = r.Head
		case journal.Unknown:
			set(rest, results, r)
			return nil
		default:
			for _, i := range p.Index[k+1:] {
				results[i] = journal.Result{Status: journal.Conflict, Head: at}
			}
			return nil
		}
	}
	for k := p.n; k < len(p.Index); k++ {
		results[p.Index[k]] = p.judged[k]
	}
	return nil
}

// Transact implements journal.Appender.
func (j *Journal) Transact(ctx context.Context, batch []journal.Append) []journal.Result {
	if len(batch) == 0 {
		return nil
	}
	if err := j.enter(ctx); err != nil {
		return rules.All(len(batch), journal.Refused, err)
	}
	defer j.running.RUnlock()
	groups := rules.Groups(batch)
	results := make([]journal.Result, len(batch))
	ctx, cancel := context.WithTimeout(ctx, j.config.Timeout)
	defer cancel()
	for n := 0; ; n++ {
		if n == patience {
			j.unlucky.Lock()
			defer j.unlucky.Unlock()
		}
		plans, err := j.judge(ctx, groups)
		if err != nil {
			return rules.All(len(batch), journal.Refused, refusal(err))
		}
		total := 0
		for _, p := range plans {
			p.done(results)
			total += p.n
		}
		if total < len(batch) {
			rules.Cancel(groups, results)
			return results
		}
		moved, err := j.put(ctx, plans, true)
		switch state := sqlState(err); {
		case err == nil && len(moved) == len(plans):
			return results
		case err == nil: // none moved
		case !definite(err):
			return rules.All(len(batch), journal.Unknown, err)
		case state == codeDivision || contended(state):
		default:
			return rules.All(len(batch), journal.Refused, refusal(err))
		}
	}
}

// put runs the statement and returns the streams that moved.
func (j *Journal) put(ctx context.Context, plans []*plan, whole bool) (map[actors.Ref]bool, error) {
	slices.SortFunc(plans, func(a, b *plan) int { return a.Ref.Compare(b.Ref) })
	moved := make(map[actors.Ref]bool, len(plans))
	statement, args := arguments(plans, whole)
	err := j.write(ctx, statement, args, func(row []driver.Value) {
		moved[plans[row[0].(int64)-1].Ref] = true
	})
	return moved, err
}

// Fence implements journal.Appender. The row of the stream is locked by an append until its end, and so makes it wait.
func (j *Journal) Fence(ctx context.Context, ref actors.Ref, epoch int64) (journal.Head, error) {
	if err := journal.ValidateRef(ref); err != nil {
		return journal.Head{}, err
	}
	if err := j.enter(ctx); err != nil {
		return journal.Head{}, err
	}
	defer j.running.RUnlock()
	var head journal.Head
	args := values(ref.Service, ref.ID, epoch)
	err := j.write(ctx, fenceSQL, args, func(row []driver.Value) {
		head = journal.Head{Sequence: row[0].(int64), Epoch: row[1].(int64)}
	})
	if err != nil {
		return journal.Head{}, fmt.Errorf("fence %s: %w", ref, err)
	}
	return head, nil
}
