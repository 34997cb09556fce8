package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// face is how one person looks at one node. The zero value is somebody of whom the node knows nothing.
type face struct {
	known, online bool
	seen          time.Time
	unread        int64
}

// picture is what one node shows of the room.
type picture struct {
	title string
	faces map[string]face
}

// String is short, for comparison: + is online and - is away, and then how much is unread.
func (p picture) String() string {
	var parts []string

	for _, name := range people {
		if f := p.faces[name]; f.known {
			sign := "-"
			if f.online {
				sign = "+"
			}

			parts = append(parts, fmt.Sprintf("%s%s%d", name, sign, f.unread))
		}
	}

	return strings.Join(parts, " ")
}

// The widths of columns.
const (
	nameWidth  = 6
	nodeWidth  = 26
	stateWidth = 17
)

// pictures draws what the nodes show beside each other, a column for each, and marks where they differ.
func (p *printer) pictures(pictures []picture) {
	heads, rule := []string{pad("", nameWidth)}, []string{strings.Repeat("─", nameWidth)}
	for _, one := range pictures {
		heads = append(heads, p.paint(bold, pad(one.title, nodeWidth)))
		rule = append(rule, strings.Repeat("─", nodeWidth))
	}

	p.line("")
	p.line("  " + strings.TrimRight(strings.Join(heads, " │ "), " "))
	p.line("  " + p.paint(dim, strings.Join(rule, "─┼─")))

	for _, name := range people {
		cells, same, known := []string{pad(name, nameWidth)}, true, false

		for _, one := range pictures {
			f := one.faces[name]
			same, known = same && f == pictures[0].faces[name], known || f.known
			cells = append(cells, p.face(f))
		}

		if !known {
			continue
		}

		mark := ""
		if !same {
			mark = " " + p.paint(red, "≠")
		}

		p.line(strings.TrimRight("  "+strings.Join(cells, " │ ")+mark, " "))
	}
}

func (p *printer) face(f face) string {
	unread := ""
	if f.unread != 0 {
		unread = fmt.Sprintf("%d unread", f.unread)
	}

	switch {
	case !f.known:
		return pad("", nodeWidth)
	case f.online:
		return p.paint(green, pad("● online", stateWidth)) + pad(unread, nodeWidth-stateWidth)
	default:
		return p.paint(dim, pad("○ seen "+f.seen.UTC().Format(time.TimeOnly), stateWidth)) + pad(unread, nodeWidth-stateWidth)
	}
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(width-utf8.RuneCountInString(text), 0))
}
