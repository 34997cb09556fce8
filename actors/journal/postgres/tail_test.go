package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
)

func connect(t testing.TB, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// slowly appends an event to a stream as another program might: it takes its place in the order, and commits or gives up
// some time later.
func slowly(ctx context.Context, db *sql.DB, ref actors.Ref, sequence int64) (bool, error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback()
	e := item(ref.ID, 0, fmt.Sprint(sequence), false).Events[0]
	e.Ref, e.Sequence, e.Command = ref, sequence, fmt.Sprint(sequence)
	var stream int64
	err = tx.QueryRowContext(ctx, `INSERT INTO "odd ""name""".streams AS h (service, id, sequence, epoch) VALUES ($1, $2, $3, 0)
		ON CONFLICT (service, id) DO UPDATE SET sequence = $3 RETURNING stream`, ref.Service, ref.ID, sequence).Scan(&stream)
	if err != nil {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO "odd ""name""".events (stream, sequence, name, type_url, content_type, data, command, checksum)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, stream, sequence, e.Name, e.Payload.TypeURL, e.Payload.ContentType, e.Payload.Data,
		e.Command, int64(e.Checksum())); err != nil {
		return false, err
	}
	time.Sleep(time.Duration(rand.IntN(15)) * time.Millisecond)
	if rand.IntN(5) == 0 {
		return false, nil
	}
	return true, tx.Commit()
}

// TestTailLosesNothing has appends and slow transactions, some of which give up, between which a follower sees every
// event once and each stream in its order. One that follows pos alone does lose events: so the test could fail.
func TestTailLosesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	url := postgrestest.URL(t)
	j := openAt(t, url).(kept)
	t.Cleanup(func() { j.Close() })
	db := connect(t, url)
	const appending, slow, each = 8, 8, 25
	var written atomic.Int64
	var writers, readers sync.WaitGroup
	for w := range appending {
		writers.Go(func() {
			for n := range int64(4 * each) {
				if r := j.Append(ctx, []journal.Append{item(fmt.Sprint("a", w), n, fmt.Sprint(n), n%2 == 0)})[0]; r.Status != journal.Committed {
					t.Errorf("%+v", r)
					return
				}
				written.Add(1)
			}
		})
	}
	for w := range slow {
		writers.Go(func() {
			at := int64(0)
			for range each {
				committed, err := slowly(ctx, db, actors.Ref{Service: []string{"cart", "other"}[w%2], ID: fmt.Sprint("s", w)}, at+1)
				if err != nil {
					t.Error(err)
					return
				}
				if committed {
					at++
					written.Add(1)
				}
			}
		})
	}
	done := make(chan struct{})
	var events []journal.Event
	readers.Go(func() {
		var at journal.Position
		for {
			ended := false
			select {
			case <-done:
				ended = true
			default:
			}
			list, next, err := j.Tail(ctx, []string{"cart", "other"}, at, 1+rand.IntN(50))
			if err != nil {
				t.Error(err)
				return
			}
			events = append(events, list...)
			if ended && next == at && int64(len(events)) >= written.Load() || ctx.Err() != nil {
				return
			}
			at = next
		}
	})
	naive := 0
	readers.Go(func() {
		at := int64(0)
		for ended := false; !ended; {
			select {
			case <-done:
				ended = true
			default:
			}
			var n int
			err := db.QueryRowContext(ctx, `SELECT count(*), coalesce(max(pos), $1) FROM "odd ""name""".events WHERE pos > $1`, at).Scan(&n, &at)
			if err != nil {
				t.Error(err)
				return
			}
			naive += n
		}
	})
	writers.Wait()
	close(done)
	readers.Wait()
	if int64(len(events)) != written.Load() {
		t.Errorf("%d events were seen, %d were written", len(events), written.Load())
	}
	last := map[actors.Ref]int64{}
	for i, e := range events {
		if e.Sequence != last[e.Ref]+1 {
			t.Fatalf("event %d of %s after %d", e.Sequence, e.Ref, last[e.Ref])
		}
		if i > 0 && e.Position.Compare(events[i-1].Position) <= 0 {
			t.Fatalf("%+v after %+v", e.Position, events[i-1].Position)
		}
		last[e.Ref] = e.Sequence
	}
	if int64(naive) >= written.Load() {
		t.Errorf("whoever follows pos alone saw %d of %d events: nothing was tested", naive, written.Load())
	}
	t.Logf("%d events; following pos alone lost %d", len(events), written.Load()-int64(naive))
}

// eventually waits until Blocked says what is wanted. Other tests share the server, and may be what holds it up.
func eventually(t *testing.T, j journal.Blocked, want func(string) bool) string {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		who, err := j.Blocked(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want(who) {
			return who
		}
		if time.Now().After(deadline) {
			t.Fatalf("blocked by %q", who)
		}
	}
}

func TestBlocked(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	j := openAt(t, url).(kept)
	t.Cleanup(func() { j.Close() })
	// It is in another database: what is written there holds us up as well.
	tx, err := connect(t, postgrestest.URL(t)).Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var pid, database string
	if err := tx.QueryRow("SELECT pg_backend_pid()::text, current_database() FROM pg_current_xact_id()").Scan(&pid, &database); err != nil {
		t.Fatal(err)
	}
	if who, err := j.Blocked(t.Context()); who != "" || err != nil {
		t.Errorf("no event waits, and it is blocked by %q, %v", who, err)
	}
	if r := j.Append(t.Context(), []journal.Append{item("a", 0, "1", true)}); r[0].Status != journal.Committed {
		t.Fatalf("%+v", r)
	}
	who := eventually(t, j, func(who string) bool { return strings.Contains(who, "process "+pid+" in database "+database) })
	if !strings.HasSuffix(who, "s old") {
		t.Errorf("blocked by %q", who)
	}
	events, at, err := j.Tail(t.Context(), []string{"cart"}, journal.Position{}, 0)
	if len(events) != 0 || at != (journal.Position{}) || err != nil {
		t.Errorf("%d events, %+v, %v", len(events), at, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	eventually(t, j, func(who string) bool { return who == "" })
	if events, _, err = j.Tail(t.Context(), []string{"cart"}, at, 0); len(events) != 1 || err != nil {
		t.Errorf("%d events, %v", len(events), err)
	}
}
