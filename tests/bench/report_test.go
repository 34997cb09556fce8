package main

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// measured makes a row with a rate per round, every call taking so many milliseconds.
func measured(latency int64, rates ...int64) []measurement {
	all := make([]measurement, len(rates))

	for i, rate := range rates {
		all[i] = measurement{
			result: result{latency: newHistogram(), done: rate},
			window: time.Second,
			wrote:  work{commits: rate / 4, wal: rate * 100},
			used:   usage{component: time.Duration(rate) * 50 * time.Microsecond, machine: time.Second / 10},
		}
		_ = all[i].latency.RecordValues(latency*1000, rate)
	}

	return all
}

func TestRatioIsTakenWithinRounds(t *testing.T) {
	t.Parallel()

	// Both sides were slow in the second round: 2, 2 and 4. The ratio of the medians would be 400/150.
	got, ok := ratio(measured(1, 300, 40, 400), measured(1, 150, 20, 100), rate)
	if !ok || got != 2 {
		t.Errorf("got %v, %v; want 2", got, ok)
	}

	if _, ok := ratio(measured(1, 300), nil, rate); ok {
		t.Error("there is a ratio to a row that was not measured")
	}

	if _, ok := ratio(measured(1, 300), measured(1, 0), rate); ok {
		t.Error("there is a ratio to nothing")
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()

	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{5, 1, 3}, 3},
		{[]float64{4, 1, 2, 100}, 3},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v is %v; want %v", test.values, got, test.want)
		}
	}
}

func TestReport(t *testing.T) {
	t.Parallel()

	report := func(ours, hot int64, tail int64) (string, int) {
		failing := measured(tail, ours, ours, ours)
		failing[1].failed, failing[1].firstErr = 7, errors.New("the third reason")

		r := report{
			options: options{rounds: 3, entities: 1000},
			rows: []row{
				{name: rowEcho, title: "echo"}, {name: rowPlain, title: "plain"}, {name: rowActor, title: "ours"},
				{name: rowHotPlain, title: "hot plain", ids: ids("h", 1)},
				{name: rowHotBinding, title: "hot ours", ids: ids("b", 1)},
			},
			done: map[string][]measurement{
				rowEcho: measured(1, 10_000, 10_000, 10_000), rowPlain: measured(100, 2000, 2000, 2000), rowActor: failing,
				rowHotPlain: measured(90, 600, 600, 600), rowHotBinding: measured(9, hot, hot, hot),
			},
		}

		var out strings.Builder
		missed := r.write(&out)

		return out.String(), missed
	}

	text, missed := report(4000, 3000, 50)
	if missed != 0 {
		t.Errorf("%d gates missed; want none\n%s", missed, text)
	}

	for _, pattern := range []string{
		`(?m)^ours +4,000 +50\.\d +50\.\d +50\.\d +7 +0\.40 +2\.00 +12,000$`,
		`(?m)^hot ours +3,000 +9\.0 +9\.0 +9\.0 +0 +0\.30 +5\.00 +9,000$`,
		`(?m)^First error of "ours": the third reason$`,
		`(?m)^ours +- +- +50 +- +- +50 +- +\d+ % +\d+ % +0\.25 +100$`,
		`(?m)^gate +ours by actor API ÷ echo ≥ 0\.4 +0\.40 +pass$`,
		`(?m)^goal +ours by actor API ÷ echo ≥ 0\.5 +0\.40 +MISS$`,
		`(?m)^goal +ours by gateway ÷ pgbench ≥ 0\.65 +- +not measured$`,
	} {
		if !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("no line matches %s\n%s", pattern, text)
		}
	}

	if text, missed := report(3999, 2999, 51); missed != 4 {
		t.Errorf("%d gates missed; want 4\n%s", missed, text)
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()

	got := map[int64]string{}
	for _, n := range []int64{0, 999, 1000, 1234567, -1000} {
		got[n] = thousands(n)
	}

	want := map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseBalance(t *testing.T) {
	t.Parallel()

	for _, test := range []struct {
		data string
		want int64
		ok   bool
	}{
		{`{"balance":5}`, 5, true},
		{`{"balance":-5}`, -5, true},
		{`{"balance":5,"sequence":7}`, 5, true},
		{` { "balance" : 5 } `, 5, true},
		{`{"amount":1}`, 0, false},
		{`{"balance":five}`, 0, false},
		{``, 0, false},
	} {
		got, err := parseBalance([]byte(test.data))
		if got != test.want || (err == nil) != test.ok {
			t.Errorf("parseBalance(%s) = %d, %v", test.data, got, err)
		}
	}
}
