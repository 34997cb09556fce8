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
	options options
	rows    []row
	done    map[string][]measurement
	// converged is how long writes took to get from one node to another.
	converged []converged
	fed       []feeding

	postgres string  // version
	daprd    string  // version
	syncs    float64 // of the disk, per second
}

// write returns how many gates were missed. A gate that was not measured, for its rows were not wanted, is not missed.
func (r report) write(out io.Writer) (missed int) {
	o := r.options

	fmt.Fprintf(out, `
Medians of %d interleaved rounds of %s after %s of warm-up; closed loop of %d callers, %s entities.
Load generator of all rows: tests/bench, one gRPC connection to daprd, InvokeActor or InvokeBinding with %s;
of the gateway's rows and the plain gRPC echo: the same with one connection to either, messages of the same content;
of the last row: pgbench -M prepared -c %d -j 1 over TCP, 200 bytes a row.
daprd %s; PostgreSQL %s with fsync, not tuned, one server for all rows;
%d processors; disk: %s fdatasync/s of 8 KiB. Commands carry no idempotency key.
A plain actor reads from the SDK's cache, so a call is one state transaction.
Set and get are SaveState and GetState of one key, %d bytes a value.

`, o.rounds, o.duration, o.warmup, o.callers, thousands(int64(o.entities)), deposit, o.callers,
		r.daprd, r.postgres, runtime.NumCPU(), thousands(int64(r.syncs)), len(stateValue))

	if o.journal != "" {
		kind, _, _ := strings.Cut(o.journal, ":") // the rest may hold a password
		fmt.Fprintf(out, "OUR ROWS HAVE ANOTHER JOURNAL: %s\n\n", kind)
	}

	if len(r.rows) > 0 {
		r.figures(out)
		r.processors(out)

		missed = r.bounds(out)
	}

	return missed + r.convergence(out) + r.feeding(out)
}

func (r report) figures(out io.Writer) {
	t := table{header: []string{
		"", "commands/s", "p50 ms", "p99 ms", "max ms", "errors", "÷ echo", "÷ plain", "samples",
	}}

	var notes []string

	for _, row := range r.rows {
		measured := r.done[row.name]
		all := merge(results(measured))

		if all.firstErr != nil {
			notes = append(notes, fmt.Sprintf("First error of %q: %v", row.title, all.firstErr))
		}

		echo, plain := rowEcho, against[row.name]

		switch {
		case plain != "":
			echo = "" // a state store does not answer as an actor does
		case len(row.ids) == 1:
			plain = rowHotPlain
		default:
			plain = rowPlain
		}

		t.add(row.title,
			thousands(int64(medianOf(measured, rate))),
			milliseconds(medianOf(measured, func(m measurement) float64 { return m.quantile(50) })),
			milliseconds(medianOf(measured, p99)),
			milliseconds(float64(all.latency.Max())/1000),
			thousands(all.failed),
			quotient(measured, r.done[echo]),
			quotient(measured, r.done[plain]),
			thousands(all.latency.TotalCount()),
		)
	}

	t.write(out)
	fmt.Fprintln(out, "max is of all rounds; hot rows are divided by the hot plain actor, set and get by state.postgresql;")
	fmt.Fprintln(out, "ratios are medians of ratios.")

	for _, note := range notes {
		fmt.Fprintln(out, note)
	}
}

func results(measured []measurement) []result {
	all := make([]result, len(measured))
	for i, m := range measured {
		all[i] = m.result
	}

	return all
}

// The roles that work for the measured row.
var working = []role{generator, sidecar, component, handler, postgres}

// processors writes who took how much processor time. It says what a profile should look at first, and whether somebody
// else was using the machine.
func (r report) processors(out io.Writer) {
	t := table{header: []string{"CPU µs per command"}}

	for _, who := range working {
		t.header = append(t.header, string(who))
	}

	t.header = append(t.header, "sum", string(idle), "machine busy", "strangers", "commits", "WAL bytes")

	var disturbed bool

	for _, row := range r.rows {
		measured := r.done[row.name]
		cells := []string{row.title}

		for _, who := range working {
			cells = append(cells, perCommand(measured, who))
		}

		foreign := medianOf(measured, strangers)
		disturbed = disturbed || foreign > 0.15

		t.add(append(cells,
			perCommand(measured, working...), perCommand(measured, idle),
			percent(medianOf(measured, func(m measurement) float64 { return m.share(m.used[machine]) })),
			percent(foreign),
			fmt.Sprintf("%.2f", medianOf(measured, func(m measurement) float64 {
				return float64(m.wrote.commits) / float64(max(1, m.done))
			})),
			thousands(int64(medianOf(measured, func(m measurement) float64 {
				return float64(m.wrote.wal) / float64(max(1, m.done))
			}))),
		)...)
	}

	fmt.Fprintln(out)
	t.write(out)
	fmt.Fprintln(out, "The stream host of the echo counts as component, the program of the plain actors as handler;")
	fmt.Fprintln(out, "strangers are processes that the benchmark has not started, and the kernel. Commits and bytes of")
	fmt.Fprintln(out, "write-ahead log are Postgres's, per command.")

	if disturbed {
		fmt.Fprintln(out, "Strangers took a good part of the machine: trust no rate of this run, and ratios only roughly.")
	}
}

// perCommand is a cell.
func perCommand(measured []measurement, who ...role) string {
	return microseconds(medianOf(measured, func(m measurement) float64 { return m.perCommand(who...) }))
}

// strangers is the share of the machine that went to nobody we know.
func strangers(m measurement) float64 {
	known := m.used[idle]
	for _, who := range working {
		known += m.used[who]
	}

	return m.share(max(0, m.used[machine]-known))
}

func (r report) bounds(out io.Writer) (missed int) {
	fmt.Fprintln(out)

	t := table{header: []string{"", "wanted", "got", ""}}

	for _, b := range bounds {
		kind := "goal"
		if b.isGate {
			kind = "gate"
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

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

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
