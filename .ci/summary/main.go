// Command summary reads "go test -json" and prints what a person wants to know: the line of each package as go test
// prints it, the whole output of what failed, and at the end every test that was skipped and why. It exits with 1 if
// anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	ok, err := summarize(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "summary:", err)
	}

	if err != nil || !ok {
		os.Exit(1)
	}
}

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action, Package, ImportPath, Test, Output string
}

type test struct{ pkg, name string }

func summarize(in io.Reader, out io.Writer) (ok bool, err error) {
	var (
		ended   bool // a package came to its end
		skipped []string
	)

	ok = true

	said := make(map[test][]string) // what tests have printed that are not known to be well
	reader := bufio.NewReader(in)

	for {
		line, err := reader.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			break
		}

		if err != nil && err != io.EOF {
			return false, fmt.Errorf("read test events: %w", err)
		}

		var e event
		if json.Unmarshal(line, &e) != nil {
			fmt.Fprint(out, string(line)) // not of go test: somebody's wish to be heard
			continue
		}

		t := test{e.Package, e.Test}

		switch e.Action {
		case "output":
			if e.Test != "" {
				said[t] = append(said[t], e.Output)
			} else if e.Output != "PASS\n" && !strings.HasSuffix(e.Output, "[no test files]\n") {
				fmt.Fprint(out, e.Output)
			}
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "build-fail":
			ok = false
		case "pass":
			ended = true
			delete(said, t)
		case "skip":
			ended = true
			if e.Test != "" {
				skipped = append(skipped, e.Package+" "+e.Test+": "+reason(said[t]))
			}

			delete(said, t)
		case "fail":
			ok = false

			// A package that fails as a whole (panic, timeout) leaves tests without a verdict of their own.
			for _, other := range slices.SortedFunc(maps.Keys(said), func(a, b test) int { return strings.Compare(a.name, b.name) }) {
				if other == t || e.Test == "" && other.pkg == e.Package {
					fmt.Fprint(out, strings.Join(said[other], ""))
					delete(said, other)
				}
			}
		}
	}

	for i, line := range skipped {
		if i == 0 {
			fmt.Fprintln(out, "\nSkipped:")
		}

		fmt.Fprintln(out, "  "+line)
	}

	// A go test that did not get as far as a test has not passed, whatever it said.
	return ok && ended, nil
}

// reason is the line with which the test skipped itself: the last one with a file's name in front.
func reason(lines []string) string {
	for _, line := range slices.Backward(lines) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "===") {
			return line
		}
	}

	return "no reason given"
}
