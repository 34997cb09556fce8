package crash

import (
	"math"
	"strings"
	"testing"
	"time"
)

// The checkers themselves must be able to fail: each planted mistake is one that a broken runtime would make.
func TestCheckersFindPlantedMistakes(t *testing.T) {
	t.Parallel()
	books := map[string][]entry{"a": {{"k1", 5, 5}, {"k2", 7, 12}, {"k3", -2, 10}}}
	good := []operation{
		{Account: "a", Kind: deposit, Amount: 5, Key: "k1", Call: 0, Return: 10, Verdict: done, Sequence: 1, Balance: 5},
		{Account: "a", Kind: deposit, Amount: 7, Key: "k2", Call: 11, Return: 20, Verdict: unknown},
		{Account: "a", Kind: get, Key: "r1", Call: 21, Return: 22, Verdict: done, Sequence: 2, Balance: 12},
		{Account: "a", Kind: withdraw, Amount: 2, Key: "k3", Call: 23, Return: 30, Verdict: done, Sequence: 3, Balance: 10},
		{Account: "a", Kind: withdraw, Amount: 90, Key: "k4", Call: 31, Return: 32, Verdict: refused, Sequence: 3},
	}
	for _, tt := range []struct {
		name string
		bend func(ops []operation) []operation
		want string
	}{
		{"nothing", func(ops []operation) []operation { return ops }, ""},
		{"lost", func(ops []operation) []operation {
			return append(ops, operation{Account: "a", Kind: deposit, Amount: 1, Key: "k9", Verdict: done, Sequence: 4, Balance: 11})
		}, "not in the journal"},
		{"phantom", func(ops []operation) []operation { return ops[1:] }, "nobody sent"},
		{"moved", func(ops []operation) []operation { ops[0].Sequence = 2; return ops }, "stands at 1"},
		{"wrong balance", func(ops []operation) []operation { ops[2].Balance = 5; return ops }, "answered with balance"},
		{"refused but applied", func(ops []operation) []operation { ops[3].Verdict = refused; return ops }, "stands in the journal"},
		{"refused for nothing", func(ops []operation) []operation { ops[4].Amount = 3; return ops }, "was refused at"},
		{"stale read", func(ops []operation) []operation {
			ops[2].Sequence, ops[2].Balance, ops[2].Call, ops[2].Return = 1, 5, 40, 41
			return ops
		}, "not linearizable"},
		{"stale refusal", func(ops []operation) []operation {
			ops[4].Sequence, ops[4].Call, ops[4].Return = 1, 40, 41
			return ops
		}, "not linearizable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			settled, err := reconcile(tt.bend(append([]operation(nil), good...)), books)
			if err == nil {
				err = linearizable(settled, 10*time.Second)
			}
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("unexpected: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
}

func TestUnknownIsSettledByTheJournal(t *testing.T) {
	t.Parallel()
	books := map[string][]entry{"a": {{"k1", 5, 5}}}
	settled, err := reconcile([]operation{
		{Account: "a", Kind: deposit, Amount: 5, Key: "k1", Verdict: unknown, Return: 3},
		{Account: "a", Kind: deposit, Amount: 9, Key: "k2", Verdict: unknown, Return: 4},
	}, books)
	if err != nil {
		t.Fatal(err)
	}
	if len(settled) != 1 || settled[0].Sequence != 1 || settled[0].Return != math.MaxInt64 {
		t.Errorf("settled = %+v, want k1 at 1 without an end", settled)
	}
}
