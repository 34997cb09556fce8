package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is the unit of processor time in /proc. The kernel shows 100 per second to programs on every architecture that
// Go runs on.
const tick = 10 * time.Millisecond

// usage is processor time by who took it.
type usage map[role]time.Duration

// role is what a process does for the row that is measured.
type role string

const (
	generator role = "generator"
	sidecar   role = "daprd"
	component role = "component"
	handler   role = "handler"
	postgres  role = "postgres"
	idle      role = "idle systems" // placement and the systems that are not measured
	machine   role = "machine"      // everything that runs, ours or not
)

// stat is a line of /proc/<pid>/stat as far as we need it.
type stat struct {
	parent int
	own    time.Duration // user and system time of the process
	waited time.Duration // the same of its children that have ended and been waited for
}

// parseStat reads a line of /proc/<pid>/stat. The name of the program stands in parentheses and may hold anything.
func parseStat(line []byte) (stat, error) {
	end := bytes.LastIndexByte(line, ')')
	if end < 0 {
		return stat{}, errors.New("no program name")
	}

	fields := bytes.Fields(line[end+1:]) // fields[0] is field 3 of the manual page
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("%d fields after the program name", len(fields))
	}

	var (
		numbers [5]int64
		err     error
	)

	for i, field := range []int{1, 11, 12, 13, 14} {
		if numbers[i], err = strconv.ParseInt(string(fields[field]), 10, 64); err != nil {
			return stat{}, fmt.Errorf("field %d: %w", field+3, err)
		}
	}

	return stat{
		parent: int(numbers[0]),
		own:    time.Duration(numbers[1]+numbers[2]) * tick,
		waited: time.Duration(numbers[3]+numbers[4]) * tick,
	}, nil
}

// processTime is the time that the process has taken so far, without its children.
func processTime(pid int) (time.Duration, error) {
	s, err := readStat(pid)

	return s.own, err
}

// treeTime is the time that the process and all that it started, living or not, have taken so far. It looks one level
// deep, which is how Postgres is built.
func treeTime(pid int) (time.Duration, error) {
	root, err := readStat(pid)
	if err != nil {
		return 0, err
	}

	total := root.own + root.waited

	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, fmt.Errorf("list processes: %w", err)
	}

	for _, entry := range entries {
		child, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}

		s, err := readStat(child)
		if err != nil || s.parent != pid {
			continue // ended meanwhile, or a stranger
		}

		total += s.own + s.waited
	}

	return total, nil
}

func readStat(pid int) (stat, error) {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err //nolint:wrapcheck // it names operation and path itself
	}

	s, err := parseStat(line)
	if err != nil {
		return stat{}, fmt.Errorf("read /proc/%d/stat: %w", pid, err)
	}

	return s, nil
}

// parseMachine reads the first line of /proc/stat: the time that all processors have been busy.
func parseMachine(text []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(text, []byte{'\n'})

	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf("read /proc/stat: begins with %.80q", line)
	}

	var busy int64

	// user, nice, system, irq, softirq and steal; not idle and iowait. Guests are in user already.
	for _, field := range []int{1, 2, 3, 6, 7, 8} {
		n, err := strconv.ParseInt(string(fields[field]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read /proc/stat: %w", err)
		}

		busy += n
	}

	return time.Duration(busy) * tick, nil
}

func machineTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err //nolint:wrapcheck // it names operation and path itself
	}

	return parseMachine(text)
}
