// Package rules decides what becomes of appends once the state of their stream is known and cannot change meanwhile. All
// back ends share it, so that they cannot differ; what differs is how they hold the stream still.
package rules

import (
	"context"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Group is the part of a batch that goes to one stream. Index gives the place of each append in the batch.
type Group struct {
	Ref     actors.Ref
	Appends []*journal.Append
	Index   []int
}

// Groups sorts a batch by stream, keeping the order within each and of the streams' first appends.
func Groups(batch []journal.Append) []*Group {
	groups := make([]*Group, 0, len(batch))
	known := make(map[actors.Ref]*Group, len(batch))
	for i := range batch {
		g := known[batch[i].Ref]
		if g == nil {
			g = &Group{Ref: batch[i].Ref}
			known[g.Ref] = g
			groups = append(groups, g)
		}
		g.Appends = append(g.Appends, &batch[i])
		g.Index = append(g.Index, i)
	}
	return groups
}

// Judge decides over the appends of one stream that is at head. Record returns the record of a command, nil if there is
// none. The first n appends are Committed, provided that the caller now does commit them: the results say so already.
func Judge(head journal.Head, record func(command string) *journal.Record, appends []*journal.Append) (results []journal.Result, n int) {
	results = make([]journal.Result, len(appends))
	dropped := false
	fresh := map[string]*journal.Record{}
	for i, a := range appends {
		r := &results[i]
		if err := a.Validate(); err != nil {
			*r = journal.Result{Status: journal.Refused, Err: err}
			dropped = true
			continue
		}
		if a.Record != nil {
			old := fresh[a.Command]
			if old == nil {
				old = record(a.Command)
			}
			if old != nil {
				*r = Repeated(a, old)
				dropped = true
				continue
			}
		}
		if dropped || a.Epoch < head.Epoch || a.Expected != journal.AnySequence && a.Expected != head.Sequence {
			*r = journal.Result{Status: journal.Conflict, Head: head}
			dropped = true
			continue
		}
		head = journal.Head{Sequence: head.Sequence + int64(len(a.Events)), Epoch: a.Epoch}
		*r = journal.Result{Status: journal.Committed, Head: head}
		if a.Record != nil {
			fresh[a.Command] = &journal.Record{Hash: a.Record.Hash, Outcome: a.Record.Outcome, Sequence: head.Sequence}
		}
		n++
	}
	return results, n
}

// Repeated answers an append whose command is recorded.
func Repeated(a *journal.Append, old *journal.Record) journal.Result {
	if a.Record.Hash != old.Hash {
		return journal.Result{Status: journal.CommandIDReused}
	}
	kept := *old
	return journal.Result{Status: journal.AlreadyApplied, Record: &kept}
}

// Cancel turns the results of a transaction that does not take place into its answer: those that were not at fault, or
// only stood behind one that was, are refused.
func Cancel(groups []*Group, results []journal.Result) {
	for _, g := range groups {
		fault := false
		for _, i := range g.Index {
			switch results[i].Status {
			case journal.Committed:
				results[i] = journal.Result{Status: journal.Refused, Err: journal.ErrTransaction}
			case journal.Conflict:
				if fault {
					results[i] = journal.Result{Status: journal.Refused, Err: journal.ErrTransaction}
				}
				fault = true
			default:
				fault = true
			}
		}
	}
}

// All gives the same result to a whole batch.
func All(n int, status journal.Status, err error) []journal.Result {
	results := make([]journal.Result, n)
	for i := range results {
		results[i] = journal.Result{Status: status, Err: err}
	}
	return results
}

// Early returns the answer to a batch that need not be tried: the context has ended.
func Early(ctx context.Context, n int) []journal.Result {
	if ctx.Err() == nil {
		return nil
	}
	return All(n, journal.Refused, context.Cause(ctx))
}

// Raise is the head after a Fence.
func Raise(h journal.Head, epoch int64) journal.Head {
	return journal.Head{Sequence: h.Sequence, Epoch: max(h.Epoch+1, epoch)}
}
