package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// table writes rows for people, in columns, or objects for programs, one a line.
type table struct {
	to   io.Writer
	rows *tabwriter.Writer // nil for JSON
	head []string
	// unflushed rows. Columns are aligned over so many.
	unflushed int
	empty     bool
}

// alignedRows is how many rows are held back so that their columns can be aligned.
const alignedRows = 200

func newTable(to io.Writer, output string, head ...string) *table {
	t := &table{to: to, head: head, empty: true}
	if output == "table" {
		t.rows = tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	}
	return t
}

// row adds what is an object for programs and cells for people.
func (t *table) row(object any, cells ...string) error {
	if t.rows == nil {
		data, err := json.Marshal(object)
		if err != nil {
			return err
		}
		_, err = t.to.Write(append(data, '\n'))
		return err
	}
	if t.empty {
		fmt.Fprintln(t.rows, strings.Join(t.head, "\t"))
		t.empty = false
	}
	for i, c := range cells {
		cells[i] = printable(c)
	}
	fmt.Fprintln(t.rows, strings.Join(cells, "\t"))
	if t.unflushed++; t.unflushed >= alignedRows {
		return t.flush()
	}
	return nil
}

// flush writes what is held back.
func (t *table) flush() error {
	t.unflushed = 0
	if t.rows == nil {
		return nil
	}
	return t.rows.Flush()
}

// printable escapes what would do something to a terminal, or to the columns.
func printable(s string) string {
	plain := utf8.ValidString(s)
	for _, r := range s {
		plain = plain && unicode.IsPrint(r)
	}
	if plain {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) && r != utf8.RuneError {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// brief cuts a text for a column.
func brief(s string, most int) string {
	if most <= 0 || utf8.RuneCountInString(s) <= most {
		return s
	}
	runes := []rune(s)
	return string(runes[:most-1]) + "…"
}
