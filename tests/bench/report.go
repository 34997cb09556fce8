package main

import (
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"
)

// report writes what was measured.
type report struct {
	options  options
	rows     []row
	done     map[string][]measurement
	postgres string  // version
	daprd    string  // version
	syncs    float64 // of the disk, per second
}

// write returns how many gates were missed. A gate that was not measured, for its rows were not wanted, is not missed.
func (r report) write(out io.Writer) (missed int) {
	o := r.options

	fmt.Fprintf(out, "\nMedians of %d interleaved rounds of %s after %s of warm-up; closed loop of %d callers, %s entities\n",
		o.rounds, o.duration, o.warmup, o.callers, thousands(int64(o.entities)))
	fmt.Fprintf(out, "Load generator of all rows: tests/bench, one gRPC connection to daprd, InvokeActor or InvokeBinding, %s as data;\n",
		deposit)
	fmt.Fprintf(out, "of the last row: pgbench -M prepared -c %d -j 1 over TCP, 200 bytes a row\n", o.callers)
	fmt.Fprintf(out, "daprd %s; PostgreSQL %s with fsync, not tuned, one server for all rows; %d processors; disk: %s fdatasync/s of 8 KiB\n",
		r.daprd, r.postgres, runtime.NumCPU(), thousands(int64(r.syncs)))
	fmt.Fprintf(out, "Commands carry no idempotency key. A plain actor reads from the SDK's cache, so a call is one state transaction.\n\n")

	r.figures(out)
	r.processors(out)

	return r.bounds(out)
}

func (r report) figures(out io.Writer) {
	t := table{header: []string{"", "commands/s", "p50 ms", "p99 ms", "max ms", "errors", "÷ echo", "÷ plain", "samples"}}

	var notes []string

	for _, row := range r.rows {
		var (
			all             = r.done[row.name]
			longest         float64
			errors, samples int64
			first           error
		)

		for _, m := range all {
			longest = max(longest, m.max())
			errors += m.failed
			samples += m.latency.TotalCount()

			if first == nil {
				first = m.firstErr
			}
		}

		if first != nil {
			notes = append(notes, fmt.Sprintf("first error of %q: %v", row.title, first))
		}

		plain := rowPlain
		if len(row.ids) == 1 {
			plain = rowHotPlain
		}

		t.add(row.title,
			thousands(int64(medianOf(all, rate))),
			milliseconds(medianOf(all, func(m measurement) float64 { return m.quantile(50) })),
			milliseconds(medianOf(all, p99)),
			milliseconds(longest),
			strconv.FormatInt(errors, 10),
			quotient(all, r.done[rowEcho]),
			quotient(all, r.done[plain]),
			thousands(samples),
		)
	}

	t.write(out)
	fmt.Fprintln(out, "max is of all rounds; a hot row is divided by the hot plain actor; a ratio is the median of the rounds' ratios")

	for _, note := range notes {
		fmt.Fprintln(out, note)
	}
}

// processors writes who took how much processor time. It says what a profile should look at first, and whether somebody
// else was using the machine.
func (r report) processors(out io.Writer) {
	roles := []role{generator, sidecar, component, handler, postgres}
	t := table{header: []string{"CPU µs per command"}}

	for _, who := range roles {
		t.header = append(t.header, string(who))
	}

	t.header = append(t.header, "sum", string(idle), "machine busy", "strangers")

	for _, row := range r.rows {
		var (
			all   = r.done[row.name]
			cells = []string{row.title}
			ours  = func(m measurement) (total float64) {
				for _, who := range roles {
					total += m.perCommand(who)
				}

				return total
			}
		)

		for _, who := range roles {
			cells = append(cells, microseconds(medianOf(all, func(m measurement) float64 { return m.perCommand(who) })))
		}

		capacity := func(m measurement) float64 { return float64(m.window.Microseconds()) * float64(runtime.NumCPU()) / 100 }

		t.add(append(cells,
			microseconds(medianOf(all, ours)),
			microseconds(medianOf(all, func(m measurement) float64 { return m.perCommand(idle) })),
			fmt.Sprintf("%.0f %%", medianOf(all, func(m measurement) float64 {
				return float64(m.used[machine].Microseconds()) / capacity(m)
			})),
			fmt.Sprintf("%.0f %%", medianOf(all, func(m measurement) float64 {
				known := (ours(m) + m.perCommand(idle)) * float64(m.done)

				return max(0, float64(m.used[machine].Microseconds())-known) / capacity(m)
			})),
		)...)
	}

	fmt.Fprintln(out)
	t.write(out)
	fmt.Fprintln(out, "The stream host of the echo counts as component, the program of the plain actors as handler. Strangers are "+
		"processes that the benchmark has not started, and the kernel.")
}

func (r report) bounds(out io.Writer) (missed int) {
	fmt.Fprintln(out)

	t := table{header: []string{"", "wanted", "got", ""}}

	for _, b := range bounds {
		kind := "goal"
		if b.isGate {
			kind = "gate"
		}

		if b.unmeasured != "" {
			t.add(kind, b.String(), "-", "not measured: "+b.unmeasured)

			continue
		}

		got, ok := ratio(r.done[b.of], r.done[b.by], b.figure)

		switch {
		case !ok:
			t.add(kind, b.String(), "-", "not measured")
		case b.met(got):
			t.add(kind, b.String(), fmt.Sprintf("%.2f", got), "pass")
		default:
			t.add(kind, b.String(), fmt.Sprintf("%.2f", got), "MISS")

			if b.isGate {
				missed++
			}
		}
	}

	t.left = 2
	t.write(out)

	return missed
}

// quotient is a cell with the ratio of two rows' rates.
func quotient(of, by []measurement) string {
	if q, ok := ratio(of, by, rate); ok {
		return fmt.Sprintf("%.2f", q)
	}

	return "-"
}

func milliseconds(value float64) string {
	if value >= 100 {
		return fmt.Sprintf("%.0f", value)
	}

	return fmt.Sprintf("%.1f", value)
}

func microseconds(value float64) string {
	if value < 0.5 {
		return "-"
	}

	return fmt.Sprintf("%.0f", value)
}

// thousands separates them by commas.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)

	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}

	return text
}

// table is text in columns. The first ones are aligned to the left, the others to the right.
type table struct {
	header []string
	lines  [][]string
	left   int // defaults to 1
}

func (t *table) add(cells ...string) { t.lines = append(t.lines, cells) }

func (t *table) write(out io.Writer) {
	all := append([][]string{t.header}, t.lines...)
	widths := make([]int, len(t.header))

	for _, line := range all {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}

	for _, line := range all {
		var text strings.Builder

		for i, cell := range line {
			blanks := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))

			if i < max(1, t.left) {
				text.WriteString(cell + blanks + "  ")
			} else {
				text.WriteString(blanks + cell + "  ")
			}
		}

		fmt.Fprintln(out, strings.TrimRight(text.String(), " "))
	}
}
