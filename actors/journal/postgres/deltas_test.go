package postgres_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dapr-entities/entities/actors/journal"
)

func deltasOf(t *testing.T, j journal.Deltas, group string, after map[int64]int64) []string {
	t.Helper()
	var all []string
	after = maps.Clone(after)
	if after == nil {
		after = map[int64]int64{}
	}
	for {
		list, err := j.Deltas(t.Context(), group, after)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			return all
		}
		for _, d := range list {
			if at, known := after[d.Origin]; known && d.Number != at+1 {
				t.Errorf("number %d after %d of %d", d.Number, at, d.Origin)
			}
			after[d.Origin] = d.Number
			all = append(all, fmt.Sprint(d.Origin, "/", d.Number, ":", string(d.Body[:min(len(d.Body), 10)])))
		}
	}
}

func TestDeltas(t *testing.T) {
	t.Parallel()
	j := open(t).(kept)
	t.Cleanup(func() { j.Close() })
	write := func(group string, origin, first int64, bodies ...string) {
		t.Helper()
		var deltas [][]byte
		for _, b := range bodies {
			deltas = append(deltas, []byte(b))
		}
		if err := j.PutDeltas(t.Context(), group, origin, first, deltas); err != nil {
			t.Fatal(err)
		}
	}
	write("g", 7, 1, "a", "b", "c")
	write("g", 7, 2, "other", "other", "d") // once more, and one more
	write("g", 3, 1, "x")
	write("h", 7, 1, "elsewhere")
	write("many", 1, 1, make([]string, 6000)...) // more than are removed at once
	write("g", 3, 2)
	for _, test := range []struct {
		after map[int64]int64
		want  []string
	}{
		{nil, []string{"3/1:x", "7/1:a", "7/2:b", "7/3:c", "7/4:d"}},
		{map[int64]int64{3: 1, 7: 2}, []string{"7/3:c", "7/4:d"}},
		{map[int64]int64{3: 1, 7: 4, 99: 5}, nil},
		{map[int64]int64{7: 1 << 62}, []string{"3/1:x"}},
	} {
		if diff := cmp.Diff(test.want, deltasOf(t, j, "g", test.after)); diff != "" {
			t.Errorf("after %v (- want, + got):\n%s", test.after, diff)
		}
	}
	last, err := j.LastDeltas(t.Context(), "g")
	if diff := cmp.Diff(map[int64]int64{3: 1, 7: 4}, last); diff != "" || err != nil {
		t.Errorf("last (- want, + got):\n%s%v", diff, err)
	}
	// Big ones come in pieces, and one origin does not hide another.
	big := strings.Repeat("B", journal.MaxDeltaBytes)
	write("big", 1, 1, big, big, "end")
	write("big", 2, 1, "small")
	if got := deltasOf(t, j, "big", nil); len(got) != 4 {
		t.Errorf("got %v", got)
	}
	for name, err := range map[string]error{
		"too big":   j.PutDeltas(t.Context(), "g", 1, 1, [][]byte{make([]byte, journal.MaxDeltaBytes+1)}),
		"no group":  j.PutDeltas(t.Context(), "", 1, 1, nil),
		"no origin": j.PutDeltas(t.Context(), "g", 0, 1, nil),
		"no number": j.PutDeltas(t.Context(), "g", 1, 0, nil),
		"zero byte": j.RingDeltas(t.Context(), "\x00"),
		"long":      j.ListenDeltas(t.Context(), strings.Repeat("x", journal.MaxDeltaGroupBytes+1), nil),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := j.TrimDeltas(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := deltasOf(t, j, "g", nil); len(got) != 5 {
		t.Errorf("young ones are trimmed: %v", got)
	}
	if err := j.TrimDeltas(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, group := range []string{"g", "h", "big", "many"} {
		if got := deltasOf(t, j, group, nil); len(got) != 0 {
			t.Errorf("left of %s: %v", group, got)
		}
	}
}

// TestJournalOutOfOrderCommitNotSkipped has many origins write at once, in transactions that take their time, while one
// reads: it misses none.
func TestJournalOutOfOrderCommitNotSkipped(t *testing.T) {
	t.Parallel()
	j := open(t).(kept)
	t.Cleanup(func() { j.Close() })
	other := openAt(t, j.url).(kept)
	t.Cleanup(func() { other.Close() })
	const writers, each = 6, 60
	var wg sync.WaitGroup
	for w := range int64(writers) {
		wg.Go(func() {
			for n := int64(1); n <= each; {
				k := 1 + n%3
				var deltas [][]byte
				for i := range k {
					deltas = append(deltas, fmt.Append(nil, n+i))
				}
				if err := j.PutDeltas(t.Context(), "g", w+1, n, deltas); err != nil {
					t.Error(err)
					return
				}
				n += k
			}
		})
	}
	written := make(chan struct{})
	go func() {
		wg.Wait()
		close(written)
	}()
	after := map[int64]int64{}
	for over := false; ; {
		list, err := other.Deltas(t.Context(), "g", after)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			if d.Number != after[d.Origin]+1 || string(d.Body) != fmt.Sprint(d.Number) {
				t.Fatalf("%d of %d after %d", d.Number, d.Origin, after[d.Origin])
			}
			after[d.Origin] = d.Number
		}
		if over && len(list) == 0 {
			break
		}
		select {
		case <-written:
			over = true
		default:
		}
	}
	for w := range int64(writers) {
		if after[w+1] < each {
			t.Errorf("%d of %d has been read", after[w+1], w+1)
		}
	}
}

func TestBells(t *testing.T) {
	t.Parallel()
	p, through := behind(t)
	j := openAt(t, through).(kept)
	t.Cleanup(func() { j.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	rang := make(chan struct{}, 100)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := j.ListenDeltas(ctx, "g", func() { rang <- struct{}{} }); err != nil {
			t.Error(err)
		}
	})
	<-rang // listening
	for round := range 3 {
		if err := j.RingDeltas(t.Context(), "other"); err != nil {
			t.Fatal(err)
		}
		if err := j.RingDeltas(t.Context(), "g"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-rang:
		case <-time.After(10 * time.Second):
			t.Fatal("no bell in round ", round)
		}
		if round == 1 {
			p.cut()
			<-rang // connected again
		}
	}
	if len(rang) != 0 {
		t.Errorf("%d bells too many", len(rang))
	}
	cancel()
	wg.Wait()
}
