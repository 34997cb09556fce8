package operations

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/sqlite"
)

// peak watches the heap while an export or an import goes on.
type peak struct {
	base, most uint64
}

func newPeak() *peak {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return &peak{base: m.HeapAlloc}
}

func (p *peak) look() {
	runtime.GC() // what is garbage does not count
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.most = max(p.most, m.HeapAlloc)
}

// grown is by how many MiB the heap was larger at most.
func (p *peak) grown() int64 { return (int64(p.most) - int64(p.base)) >> 20 }

// Histories that are much larger than the memory that is allowed go out and in.
func TestGateLargeHistories(t *testing.T) {
	switch {
	case raceDetector:
		t.Skip("the race detector has memory of its own, and takes a minute for this; the tests of a change run it without")
	case testing.Short():
		t.Skip("writes 100 MiB")
	}
	folder := t.TempDir()
	open := func(name string) *Direct {
		j, err := sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(folder, name)})
		return direct(t, "sqlite", j, err)
	}
	source := open("source.db")
	payload := strings.Repeat("x", 6<<10)
	const hot, few, batch = 10_000, 300, 100
	for i := 0; i < hot; i += batch {
		a := journal.Append{Ref: actors.Ref{Service: "shop.v1.Cart", ID: "hot"}, Expected: int64(i), Command: fmt.Sprint(i)}
		for n := range batch {
			a.Events = append(a.Events, text("added", fmt.Sprintf(`{"n":%d,"of":%q}`, i+n, payload)))
		}
		appends := []journal.Append{a}
		for n := range few / (hot / batch) {
			e := text("added", "{}")
			appends = append(appends, journal.Append{
				Ref: actors.Ref{Service: "shop.v1.Cart", ID: fmt.Sprint("cart-", i, "-", n)}, Command: "c", Events: []journal.Event{e, e},
				Record: &journal.Record{Outcome: []byte(payload)},
			})
		}
		for _, r := range source.Of.Append(t.Context(), appends) {
			if r.Status != journal.Committed {
				t.Fatal(r.Err)
			}
		}
	}
	file, err := os.Create(filepath.Join(folder, "export"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := newPeak()
	s, err := Exporting{From: source, Progress: func(Progress) { p.look() }}.Export(t.Context(), file, nil)
	if err != nil || s.Counts[kindEvent] != hot+2*few || s.Counts[kindStream] != few+1 {
		t.Fatal(s, err)
	}
	// A page of events, and what the database holds of them.
	const most = 48
	if p.grown() > most {
		t.Errorf("an export takes %d MiB", p.grown())
	}
	t.Logf("export: %d MiB more heap for %d events", p.grown(), s.Counts[kindEvent])
	target := open("target.db")
	p = newPeak()
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := (Importing{To: target, Progress: func(now Progress) { p.look() }}).Import(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	// A window of events, once read and once read back.
	if p.grown() > 2*most {
		t.Errorf("an import takes %d MiB", p.grown())
	}
	t.Logf("import: %d MiB more heap", p.grown())
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	rest, err := Resume(file)
	if err != nil || !rest.Complete {
		t.Fatal(rest, err)
	}
	var again bytes.Buffer
	if _, err := (Exporting{From: target, Name: s.Export}).Export(t.Context(), &again, nil); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	want, got := sorted(histories(t, string(first))), sorted(histories(t, again.String()))
	if len(want) != len(got) {
		t.Fatalf("%d lines, and %d", len(want), len(got))
	}
	for i := range want {
		if want[i] != got[i] {
			t.Fatalf("%.200s is not %.200s", got[i], want[i])
		}
	}
}
