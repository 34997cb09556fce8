package harness

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// prefixed writes whole lines with the name of who said them in front. Several of them may share one writer, and its
// lock.
type prefixed struct {
	mu     *sync.Mutex
	to     io.Writer
	prefix string
	rest   []byte // the line that is not complete yet
}

// Write implements io.Writer. It never fails: what cannot be shown is in the log file all the same.
func (w *prefixed) Write(data []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()

	w.rest = append(w.rest, data...)

	for {
		line, rest, found := bytes.Cut(w.rest, []byte{'\n'})
		if !found {
			return len(data), nil
		}

		_, _ = fmt.Fprintf(w.to, "%s%s\n", w.prefix, line)
		w.rest = rest
	}
}

// lastLines returns the last n lines of the text, all of it if n is 0.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if n > 0 && len(lines) > n {
		lines = lines[len(lines)-n:]
	}

	return strings.Join(lines, "\n")
}
