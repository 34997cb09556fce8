package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
)

func alter(t testing.TB, path string, statements string) {
	t.Helper()
	db, err := sql.Open("sqlite", sqlite.DSN(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statements); err != nil {
		t.Fatal(err)
	}
}

// TestUpgrade opens a file of the first schema: what is in it stays, and what is new can be used.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	dump, err := os.ReadFile("testdata/version1.sql")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "j")
	alter(t, path, string(dump))
	a, b := actors.Ref{Service: "cart", ID: "a"}, actors.Ref{Service: "cart", ID: "b"}
	for round := range 2 { // the second time it is of this version
		j := openAt(t, path).(file)
		if id, err := j.ID(t.Context()); err != nil || id != "DDXNHFH2WJTBGY5RONJJSULOWV" {
			t.Fatalf("id %q, %v", id, err)
		}
		events, position, err := j.Tail(t.Context(), []string{"cart"}, journal.Position{}, 3)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range events {
			got = append(got, e.Ref.ID+"/"+string(e.Payload.Data))
		}
		all := [][]string{{"a/one", "a/one", "b/three"}, {"a/one", "b/three", "a/four"}}
		if diff := cmp.Diff(all[round], got); diff != "" || position.Ordinal != int64(3+round) {
			t.Errorf("events to %+v (-want +got):\n%s", position, diff)
		}
		checked, err := j.Heads(t.Context(), []journal.Check{{Ref: a, Command: "c0", After: -1}, {Ref: b}})
		if err != nil || string(checked[0].Record.Outcome) != "outcome" || checked[1].Head.Epoch != 7 {
			t.Errorf("heads: %+v, %v", checked, err)
		}
		l, err := j.Load(t.Context(), a)
		if err != nil || l.Snapshot == nil || string(l.Snapshot.Payload.Data) != "two" {
			t.Errorf("load: %+v, %v", l, err)
		}
		if round == 0 {
			next := item("a", 2, "four")
			next.Effects = []actors.Effect{{Ref: b, ID: "e"}}
			if r := j.Append(t.Context(), []journal.Append{next})[0]; r.Status != journal.Committed {
				t.Errorf("append: %+v", r)
			}
			if _, err := j.Put(t.Context(), journal.Cell{Key: "k"}); err != nil {
				t.Error(err)
			}
		}
		due, err := j.Due(t.Context(), nil, []int{journal.Lane(a)}, 0)
		if err != nil || len(due) != 1 || due[0].ID != "e" {
			t.Errorf("due: %+v, %v", due, err)
		}
		if c, err := j.Cell(t.Context(), "k"); err != nil || c.Version != 1 {
			t.Errorf("cell: %+v, %v", c, err)
		}
		if span, err := j.Span(t.Context(), a); err != nil || span.Origin != 0 || span.Floor != int64(round) {
			t.Errorf("span %+v, %v", span, err)
		}
		if err := j.Forget(t.Context(), a, 1, false); err != nil {
			t.Error(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlans looks at how SQLite goes about the questions that are asked again and again: by index, and without sorting.
func TestPlans(t *testing.T) {
	t.Parallel()
	j := openAt(t, filepath.Join(t.TempDir(), "j")).(file)
	defer j.Close()
	db, err := sql.Open("sqlite", sqlite.DSN(j.path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for query, index := range sqlite.Queries {
		rows, err := db.Query("EXPLAIN QUERY PLAN "+query, make([]any, strings.Count(query, "?"))...)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(plan, "\n")
		rest := text
		for _, allowed := range []string{"SCAN f VIRTUAL TABLE", "SCAN json_each VIRTUAL TABLE", "SCAN (subquery", "SCAN CONSTANT ROW"} { // lists given by us
			rest = strings.ReplaceAll(rest, allowed, "")
		}
		if strings.Contains(rest, "SCAN") || strings.Contains(rest, "TEMP B-TREE FOR ORDER") || !strings.Contains(text, index) {
			t.Errorf("want %s for %s\nbut:\n%s", index, query, text)
		}
	}
}

// TestDamagedEffect has an effect that cannot be read any more: it comes as what can be parked, and holds up nobody.
func TestDamagedEffect(t *testing.T) {
	t.Parallel()
	j := openAt(t, filepath.Join(t.TempDir(), "j")).(file)
	defer j.Close()
	source := actors.Ref{Service: "cart", ID: "a"}
	effects := []actors.Effect{{Ref: source, ID: "1", Key: "k"}, {Ref: source, ID: "2"}}
	if err := j.Enqueue(t.Context(), source, effects); err != nil {
		t.Fatal(err)
	}
	alter(t, j.path, "UPDATE effects SET body = X'01FF' WHERE id = '1'")
	due, err := j.Due(t.Context(), nil, []int{journal.Lane(source)}, 0)
	if err != nil || len(due) != 2 || due[0].Key != "k" || due[0].Service != "" || !strings.Contains(due[0].Problem, "damaged") ||
		due[1].Service != "cart" || due[1].Problem != "" {
		t.Fatalf("due: %+v, %v", due, err)
	}
	if err := j.Settle(t.Context(), []journal.Settlement{{ID: "1", Verdict: journal.Parked}}); err != nil {
		t.Fatal(err)
	}
	if err := j.Discard(t.Context(), []string{"1"}); err != nil {
		t.Fatal(err)
	}
	if due, err = j.Due(t.Context(), nil, []int{journal.Lane(source)}, 0); err != nil || len(due) != 1 || due[0].ID != "2" {
		t.Fatalf("due: %+v, %v", due, err)
	}
}

// TestManySourcesLeaveRoom has one source with many effects: it does not crowd out the others.
func TestManySourcesLeaveRoom(t *testing.T) {
	t.Parallel()
	j := openAt(t, filepath.Join(t.TempDir(), "j")).(file)
	defer j.Close()
	greedy, modest, retried := actors.Ref{Service: "s", ID: "1"}, actors.Ref{Service: "s", ID: "2"}, actors.Ref{Service: "s", ID: "3"}
	var many []actors.Effect
	for i := range 500 {
		many = append(many, actors.Effect{Ref: greedy, ID: string(rune('a'+i%26)) + string(rune('a'+i/26))})
	}
	for source, effects := range map[actors.Ref][]actors.Effect{
		greedy: many, modest: {{Ref: modest, ID: "modest"}}, retried: {{Ref: retried, ID: "retried"}},
	} {
		if err := j.Enqueue(t.Context(), source, effects); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Settle(t.Context(), []journal.Settlement{{ID: "retried", Verdict: journal.Postponed}}); err != nil {
		t.Fatal(err)
	}
	lanes := []int{journal.Lane(greedy), journal.Lane(modest), journal.Lane(retried)}
	for limit, greedily := range map[int]int{3: 1, 10: 8} {
		due, err := j.Due(t.Context(), nil, lanes, limit)
		if err != nil {
			t.Fatal(err)
		}
		count := map[actors.Ref]int{}
		for _, p := range due {
			count[p.Source]++
		}
		if diff := cmp.Diff(map[actors.Ref]int{greedy: greedily, modest: 1, retried: 1}, count); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
	}
}
