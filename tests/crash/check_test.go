package crash

import (
	"math"
	"math/rand/v2"
	"slices"
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

var hosts = []string{"a", "b"}

// A run without evidence for one kind of blow must not pass.
func TestEvidenceIsAskedFor(t *testing.T) {
	t.Parallel()
	at := func(s sort, victim string) blow {
		return blow{fault: fault{Sort: s, Victim: victim, For: 10 * time.Second}, At: 10 * time.Second, Until: 21 * time.Second, Struck: true, Failures: 1}
	}
	good := []blow{
		at(kill, "handler a"), at(kill, "component a"), at(kill, "daprd b"), at(kill, database), at(pause, "daprd a"), at(zombie, "component b"),
	}
	ops := []operation{
		{Kind: deposit, Verdict: done, Call: 9 * time.Second, Return: 12 * time.Second, Account: "x"},
		{Kind: deposit, Verdict: done, Call: 16 * time.Second, Return: 17 * time.Second, Account: "x"},
	}
	for _, tt := range []struct {
		name  string
		blows func() []blow
		ops   []operation
		want  string
	}{
		{"all", func() []blow { return good }, ops, ""},
		{"no zombie", func() []blow { return good[:5] }, ops, "zombie component: no blow"},
		{"nothing behind the zombie's back", func() []blow { return good }, []operation{
			{Kind: get, Verdict: done, Call: 9 * time.Second, Return: 12 * time.Second, Account: "x"},
			{Kind: deposit, Verdict: done, Call: 16 * time.Second, Return: 17 * time.Second, Account: "y"},
		}, "behind its back"},
		{"not its entities", func() []blow { return good }, []operation{{Kind: deposit, Verdict: done, Call: 9 * time.Second, Return: 12 * time.Second, Account: "x", Sidecar: 1}, ops[1]}, "behind its back"},
		{"nothing under way", func() []blow { return good }, ops[1:], "kill handler: no command was under way"},
		{"missed", func() []blow { b := slices.Clone(good); b[3].Struck = false; return b }, ops, "kill postgres: no blow"},
		{"missed once", func() []blow {
			b := slices.Clone(good)
			b = append(b, b[3])
			b[3].Struck = false
			return b
		}, ops, "1 of 2 blows missed"},
		{"not felt", func() []blow { b := slices.Clone(good); b[4].Failures = 0; return b }, []operation{
			{Kind: deposit, Verdict: done, Call: 10*time.Second - 1, Return: 10*time.Second + 1},
			{Kind: deposit, Verdict: done, Call: 16 * time.Second, Return: 16*time.Second + 1},
		}, "pause: no client felt it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := enough(evidence(tt.blows(), tt.ops, hosts))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
}

// Every plan has what evidence is asked for, and leaves the zombie's sidecar alone while that sleeps.
func TestPlan(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		planned := plan(rand.New(rand.NewPCG(seed, 1)), hosts, 0)
		var blows []blow
		for _, f := range planned {
			blows = append(blows, blow{fault: f, Struck: true, Failures: 1, At: 1, Until: 3})
		}
		found := evidence(blows, []operation{{Call: 0, Return: 2}}, hosts)
		if len(found) != 6 {
			t.Fatalf("seed %d has %d kinds of blows: %v", seed, len(found), found)
		}
		host := strings.TrimPrefix(planned[0].Victim, "component ")
		for _, f := range planned[1 : 1+asleep] {
			if strings.HasSuffix(f.Victim, " "+host) {
				t.Errorf("seed %d strikes %s while the component of %s sleeps", seed, f.Victim, host)
			}
		}
	}
}
