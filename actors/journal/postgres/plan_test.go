package postgres

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
)

// TestPlans checks that every statement finds what it needs by an index, whatever the statistics say of tables that are
// new: a scan of a table that has grown would be noticed by everybody.
func TestPlans(t *testing.T) {
	t.Parallel()
	j, err := Open(t.Context(), Config{URL: postgrestest.URL(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	c, err := j.read.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var statements []string
	for _, q := range j.queries() {
		statements = append(statements, q.text)
	}
	reads := len(statements)
	statements = append(statements,
		appendSQL, appendEffectsSQL, moveSQL, moveKeptSQL, fenceSQL, enqueueSQL, settleSQL, releaseSQL, discardSQL, putSQL, putEachSQL,
		removeSQL, putDeltasSQL, trimDeltasSQL, forgetSQL, eraseRecordsSQL, eraseSQL, eraseEffectsSQL, restoreSQL)
	uses := map[string]bool{}
	for n, text := range statements {
		forbidden := []string{"Seq Scan", "Bitmap", "Parallel"}
		if n < reads {
			forbidden = append(forbidden, "Hash Join", "Merge Join")
		} else if _, err := c.ExecContext(t.Context(), "RESET ALL; "+planning); err != nil {
			t.Fatal(err)
		}
		parameters := slices.Compact(slices.Sorted(slices.Values(regexp.MustCompile(`\$\d+`).FindAllString(text, -1))))
		name := fmt.Sprint("s", n)
		if _, err := c.ExecContext(t.Context(), "PREPARE "+name+" AS "+j.sql(text)); err != nil {
			t.Fatal(err)
		}
		nulls := strings.TrimSuffix(strings.Repeat("NULL, ", len(parameters)), ", ")
		if len(parameters) > 0 {
			nulls = "(" + nulls + ")"
		}
		rows, err := c.QueryContext(t.Context(), "EXPLAIN EXECUTE "+name+nulls)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var plan strings.Builder
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&plan, line)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if err := rows.Close(); err != nil { //nolint:sqlclosecheck // there are many of them
			t.Fatal(err)
		}
		for _, bad := range forbidden {
			if strings.Contains(plan.String(), bad) && text != blockedSQL { // the server's own views have no index
				t.Errorf("%s\nis planned as\n%s", text, &plan)
			}
		}
		for _, index := range regexp.MustCompile(`using (\w+)`).FindAllStringSubmatch(plan.String(), -1) {
			uses[index[1]] = true
		}
	}
	for _, index := range []string{
		"events_order", "events_pkey", "streams_stream", "streams_pkey", "commands_pkey", "cells_pkey", "effects_pkey", "effects_key",
		"effects_order", "effects_fresh", "effects_waiting", "effects_holding", "effects_delayed", "effects_parked", "deltas_pkey", "deltas_at",
	} {
		if !uses[index] {
			t.Errorf("nothing uses the index %s", index)
		}
	}
}
