package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
)

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	good := postgrestest.URL(t)
	newer, latin := postgrestest.URL(t), "latin_"+strings.ToLower(t.Name())
	j, err := postgres.Open(t.Context(), postgres.Config{URL: newer})
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
	exec(t, newer, "UPDATE entities.meta SET value = '99' WHERE key = 'version'")
	exec(t, good, "CREATE DATABASE "+latin+" TEMPLATE template0 ENCODING 'LATIN1'")
	t.Cleanup(func() { exec(t, good, "DROP DATABASE "+latin+" WITH (FORCE)") })
	for _, test := range []struct {
		name   string
		config postgres.Config
		want   string
	}{
		{"no URL", postgres.Config{}, "URL is empty"},
		{"negative", postgres.Config{URL: good, Writers: -1}, "must not be negative"},
		{"not a URL", postgres.Config{URL: "postgres://u:s3cret@[host:x/db"}, "URL is not understood"},
		{"bad port", postgres.Config{URL: "postgres://u:s3cret@host:port/db"}, "URL is not understood"},
		{"no such host", postgres.Config{URL: "postgres://u:s3cret@nowhere.invalid/db"}, "nowhere.invalid"},
		{"nobody listens", postgres.Config{URL: "postgres://u:s3cret@127.0.0.1:1/db"}, "refused"},
		{"no such database", postgres.Config{URL: postgrestest.WithDatabase(t, good, "s3cretless")}, `database "s3cretless" does not exist`},
		{"wrong encoding", postgres.Config{URL: postgrestest.WithDatabase(t, good, latin)}, "encoding is LATIN1"},
		{"newer schema", postgres.Config{URL: newer}, "version 99, made by a newer release"},
		{"not safe", postgres.Config{URL: good + "&synchronous_commit=off"}, "synchronous_commit is off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			j, err := postgres.Open(ctx, test.config)
			if err == nil {
				j.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret@") || strings.Contains(err.Error(), "u:s3cret") {
				t.Errorf("error %q, want one that says %q", err, test.want)
			}
		})
	}
	j, err = postgres.Open(t.Context(), postgres.Config{URL: good + "&synchronous_commit=off", AllowUnsafe: true})
	if err != nil {
		t.Fatal(err)
	}
	j.Close()
}

// TestOpensRace makes one journal from many sides at once.
func TestOpensRace(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			j, err := postgres.Open(t.Context(), postgres.Config{URL: url})
			if err != nil {
				t.Error(err)
				return
			}
			defer j.Close()
			ids[i], _ = j.ID(t.Context())
			if r := j.Append(t.Context(), []journal.Append{item(fmt.Sprint(i), 0, "1", true)}); r[0].Status != journal.Committed {
				t.Errorf("%+v", r)
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Errorf("ids %v", ids)
		}
	}
}

// TestTimeoutIsNotOfConnections appends for longer than one write may take.
func TestTimeoutIsNotOfConnections(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	j, err := postgres.Open(t.Context(), postgres.Config{URL: postgrestest.URL(t), Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	ref := actors.Ref{Service: "shop.Cart", ID: "c1"}
	for began, n := time.Now(), int64(0); time.Since(began) < timeout+timeout/2; n++ {
		r := j.Append(t.Context(), []journal.Append{{
			Ref: ref, Expected: n, Epoch: 1, Command: fmt.Sprint(n), Events: []journal.Event{{Name: "added", Payload: actors.Payload{TypeURL: "t"}}},
		}})[0]
		if r.Status != journal.Committed {
			t.Fatalf("append %d, %v after the first: %v, %v", n, time.Since(began), r.Status, r.Err)
		}
		time.Sleep(timeout / 40)
	}
}

// TestOneCulprit lets the server object to single appends of a batch; the others are not harmed.
func TestOneCulprit(t *testing.T) {
	t.Parallel()
	url := postgrestest.URL(t)
	j := openAt(t, url)
	t.Cleanup(func() { j.Close() })
	exec(t, url, `ALTER TABLE "odd ""name""".events ADD CHECK (name <> 'bad')`)
	bad := func(a journal.Append) journal.Append {
		a.Events[0].Name = "bad"
		return a
	}
	var batch []journal.Append
	for i := range 20 {
		batch = append(batch, item(fmt.Sprint(i), 0, "1", true), item(fmt.Sprint(i), 1, "2", true), item(fmt.Sprint(i), 2, "3", false))
	}
	bad(batch[3*7+1]) // the second of stream 7
	bad(batch[3*12])  // the first of stream 12
	for i, r := range j.Append(t.Context(), batch) {
		want := journal.Committed
		switch i {
		case 3*7 + 1, 3 * 12:
			want = journal.Refused
		case 3*7 + 2, 3*12 + 1, 3*12 + 2:
			want = journal.Conflict
		}
		if r.Status != want {
			t.Errorf("append %d: %+v, want %v", i, r, want)
		}
	}
	whole := []journal.Append{item("t1", 0, "1", true), bad(item("t2", 0, "1", true))}
	for i, r := range j.Transact(t.Context(), whole) {
		if r.Status != journal.Refused {
			t.Errorf("transaction %d: %+v", i, r)
		}
	}
	heads, err := j.Heads(t.Context(), []journal.Check{
		{Ref: actors.Ref{Service: "cart", ID: "7"}}, {Ref: actors.Ref{Service: "cart", ID: "t1"}},
	})
	if err != nil || heads[0].Head.Sequence != 1 || heads[1].Head.Sequence != 0 {
		t.Errorf("%+v, %v", heads, err)
	}
}

// TestServerCrashes kills the server under load and checks that what was acknowledged is there afterwards, and that
// the journal goes on by itself.
func TestServerCrashes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	postgrestest.URL(t) // skips without PostgreSQL
	server, err := postgrestest.Start(ctx, postgrestest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	j, err := postgres.Open(ctx, postgres.Config{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var wg sync.WaitGroup
	acknowledged := make([]int64, 4)
	for w := range acknowledged {
		wg.Go(func() {
			for n := int64(0); ; n++ {
				r := j.Append(ctx, []journal.Append{item(fmt.Sprint(w), n, fmt.Sprint(n), true)})[0]
				if r.Status != journal.Committed {
					if r.Status != journal.Unknown && r.Status != journal.Refused {
						t.Errorf("%+v", r)
					}
					return
				}
				acknowledged[w] = r.Head.Sequence
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	server.Kill()
	wg.Wait()
	if err := j.Ping(ctx); err == nil {
		t.Error("a dead server answers")
	}
	for _, whole := range []bool{false, true} {
		call := j.Append
		if whole {
			call = j.Transact
		}
		for _, at := range []int64{0, journal.AnySequence} { // that one is asked about first
			if r := call(ctx, []journal.Append{item("x", at, "x", true)})[0]; r.Status != journal.Refused || !errors.Is(r.Err, journal.ErrUnavailable) {
				t.Errorf("nobody was there, and the append was %+v", r)
			}
		}
	}
	if err := server.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	for w, n := range acknowledged {
		ref := actors.Ref{Service: "cart", ID: fmt.Sprint(w)}
		heads, err := j.Heads(ctx, []journal.Check{{Ref: ref}})
		if err != nil {
			t.Fatal(err)
		}
		// One more may have been committed without our having been told.
		if at := heads[0].Head.Sequence; n == 0 || at < n || at > n+1 {
			t.Errorf("stream %d is at %d, acknowledged was %d", w, at, n)
		}
		if r := j.Append(ctx, []journal.Append{item(ref.ID, heads[0].Head.Sequence, "after", true)})[0]; r.Status != journal.Committed {
			t.Errorf("after the restart: %+v", r)
		}
	}
}
