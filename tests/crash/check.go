package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// entry is one event of an account, as the journal has it.
type entry struct {
	key     string
	amount  int64 // what it adds to the balance
	balance int64 // after it
}

// keyPrefix is how the engine marks command ids that are callers' keys.
const keyPrefix = "k:"

// ledger reads every account from the journal and checks what needs no history: dense sequences, one event for each
// command, no command twice.
func ledger(ctx context.Context, j journal.Reader, service string, accounts []string) (map[string][]entry, error) {
	var errs []error
	all := map[string][]entry{}
	for _, id := range accounts {
		seen := map[string]int64{}
		var entries []entry
		var balance int64
		for e, err := range j.Read(ctx, actors.Ref{Service: service, ID: id}, 0, 0) {
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", id, err)
			}
			if want := int64(len(entries)) + 1; e.Sequence != want {
				errs = append(errs, fmt.Errorf("%s: event %d stands where %d should", id, e.Sequence, want))
			}
			if first, twice := seen[e.Command]; twice {
				errs = append(errs, fmt.Errorf("%s: command %s was applied at %d and again at %d", id, e.Command, first, e.Sequence))
			}
			seen[e.Command] = e.Sequence
			amount, err := amountOf(e)
			if err != nil {
				return nil, err
			}
			balance += amount
			entries = append(entries, entry{key: strings.TrimPrefix(e.Command, keyPrefix), amount: amount, balance: balance})
		}
		heads, err := j.Heads(ctx, []journal.Check{{Ref: actors.Ref{Service: service, ID: id}, After: -1}})
		if err != nil {
			return nil, fmt.Errorf("head of %s: %w", id, err)
		}
		if heads[0].Head.Sequence != int64(len(entries)) {
			errs = append(errs, fmt.Errorf("%s: the head is at %d, but there are %d events", id, heads[0].Head.Sequence, len(entries)))
		}
		all[id] = entries
	}
	return all, errors.Join(errs...)
}

func amountOf(e journal.Event) (int64, error) {
	var body struct {
		Amount int64 `json:"amount"`
	}
	if err := json.Unmarshal(e.Payload.Data, &body); err != nil {
		return 0, fmt.Errorf("event %d of %s: %w", e.Sequence, e.Ref, err)
	}
	switch e.Name {
	case "deposited":
		return body.Amount, nil
	case "withdrawn":
		return -body.Amount, nil
	default:
		return 0, fmt.Errorf("event %d of %s has the unknown name %q", e.Sequence, e.Ref, e.Name)
	}
}

// reconcile holds the history against the journal: nothing acknowledged is missing, nothing is there that nobody sent,
// and every reply says what the events up to its sequence add up to. Unknown operations that the journal has become
// done without an end; those that it does not have are left out of what it returns.
func reconcile(ops []operation, books map[string][]entry) ([]operation, error) {
	var errs []error
	place := map[string]int64{} // account and key → sequence
	for id, entries := range books {
		for i, e := range entries {
			place[id+"\x00"+e.key] = int64(i) + 1
		}
	}
	sent := map[string]bool{}
	var settled []operation
	for _, o := range ops {
		at, stored := place[o.Account+"\x00"+o.Key]
		sent[o.Account+"\x00"+o.Key] = true
		switch o.Verdict {
		case done:
			if o.Kind != get && !stored {
				errs = append(errs, fmt.Errorf("%s: acknowledged %s %s at %d is not in the journal", o.Account, o.Kind, o.Key, o.Sequence))
				continue
			}
			if o.Kind != get && at != o.Sequence {
				errs = append(errs, fmt.Errorf("%s: %s was acknowledged at %d and stands at %d", o.Account, o.Key, o.Sequence, at))
			}
		case refused:
			// A refusal leaves no record. An earlier attempt that was held up on its way may therefore succeed after a
			// later one was refused; whoever gives up on the first answer has to expect that.
			if stored && o.Attempts > 1 {
				o.Sequence, o.Balance = at, books[o.Account][at-1].balance
				o.Return, o.Verdict = math.MaxInt64, done
			} else if stored {
				errs = append(errs, fmt.Errorf("%s: %s %s was refused and stands in the journal at %d", o.Account, o.Kind, o.Key, at))
			}
		case unknown:
			if !stored {
				continue
			}
			o.Sequence, o.Balance = at, books[o.Account][at-1].balance
			o.Return, o.Verdict = math.MaxInt64, done
		}
		if err := consistent(o, books[o.Account]); err != nil {
			errs = append(errs, err)
		}
		settled = append(settled, o)
	}
	for key := range place {
		if !sent[key] {
			errs = append(errs, fmt.Errorf("the journal has a command that nobody sent: %q", key))
		}
	}
	return settled, errors.Join(errs...)
}

func consistent(o operation, entries []entry) error {
	if o.Sequence < 0 || o.Sequence > int64(len(entries)) {
		return fmt.Errorf("%s: %s %s was answered at sequence %d of %d", o.Account, o.Kind, o.Key, o.Sequence, len(entries))
	}
	var balance int64
	if o.Sequence > 0 {
		balance = entries[o.Sequence-1].balance
	}
	if o.Verdict == refused {
		if o.Amount <= balance {
			return fmt.Errorf("%s: withdrawing %d was refused at %d, where the balance is %d", o.Account, o.Amount, o.Sequence, balance)
		}
		return nil
	}
	if o.Balance != balance {
		return fmt.Errorf("%s: %s %s was answered with balance %d at %d, where it is %d", o.Account, o.Kind, o.Key, o.Balance, o.Sequence, balance)
	}
	return nil
}

// account is the model's state.
type account struct{ sequence, balance int64 }

// linearizable searches for an order of the settled operations that respects real time and explains every answer.
func linearizable(ops []operation, timeout time.Duration) error {
	model := porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			by := map[string][]porcupine.Operation{}
			for _, o := range all {
				id := o.Input.(operation).Account
				by[id] = append(by[id], o)
			}
			var parts [][]porcupine.Operation
			for _, p := range by {
				parts = append(parts, p)
			}
			return parts
		},
		Init: func() any { return account{} },
		Step: func(state, _, output any) (bool, any) {
			s, o := state.(account), output.(operation)
			switch {
			case o.Kind == get:
				return s.sequence == o.Sequence && s.balance == o.Balance, s
			case o.Verdict == refused:
				return s.sequence == o.Sequence && s.balance < o.Amount, s
			case o.Kind == withdraw:
				s = account{s.sequence + 1, s.balance - o.Amount}
			default:
				s = account{s.sequence + 1, s.balance + o.Amount}
			}
			return s.sequence == o.Sequence && s.balance == o.Balance, s
		},
	}
	var in []porcupine.Operation
	for _, o := range ops {
		if o.Kind == get && o.Verdict != done {
			continue // a read without an answer constrains nothing
		}
		in = append(in, porcupine.Operation{ClientId: o.Client, Input: o, Output: o, Call: int64(o.Call), Return: int64(o.Return)})
	}
	switch porcupine.CheckOperationsTimeout(model, in, timeout) {
	case porcupine.Ok:
		return nil
	case porcupine.Illegal:
		return errors.New("the history is not linearizable")
	default:
		return fmt.Errorf("no verdict on linearizability within %s", timeout)
	}
}
