package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dapr-entities/entities/component/operations"
)

// progress shows how long work goes on: a bar where somebody watches, else a line now and then.
type progress struct {
	to       io.Writer
	terminal bool
	shown    time.Time
	drawn    bool
}

func newProgress(to io.Writer) *progress {
	p := &progress{to: to, shown: time.Now()}
	if file, ok := to.(*os.File); ok {
		p.terminal = isTerminal(file)
	}
	return p
}

// isTerminal takes devices for terminals that take characters, but not the one that takes everything.
func isTerminal(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && !os.SameFile(info, null)
}

// How often something is shown.
const (
	redrawn = 200 * time.Millisecond
	lineNow = 10 * time.Second
)

func (p *progress) show(now operations.Progress) {
	every := lineNow
	if p.terminal {
		every = redrawn
	}
	if time.Since(p.shown) < every {
		return
	}
	p.shown = time.Now()
	text := fmt.Sprintf("%s  %d", now.Doing, now.Done)
	if now.Total > 0 {
		text = fmt.Sprintf("%s  %3d%%  %d of %d", now.Doing, 100*now.Done/now.Total, now.Done, now.Total)
	}
	if !p.terminal {
		fmt.Fprintln(p.to, text)
		return
	}
	const width = 30
	bar := ""
	if now.Total > 0 {
		full := int(width * min(now.Done, now.Total) / now.Total)
		bar = "[" + strings.Repeat("=", full) + strings.Repeat(" ", width-full) + "]  "
	}
	fmt.Fprintf(p.to, "\r\x1b[K%s%s", bar, text)
	p.drawn = true
}

// done takes the bar away.
func (p *progress) done() {
	if p.drawn {
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
