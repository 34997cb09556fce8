package postgres_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest/postgrestest"
	"github.com/dapr-entities/entities/actors/journal/postgres"
)

func behind(t *testing.T) (*proxy, string) {
	direct := postgrestest.URL(t)
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, u.Host)
	return p, p.url(direct)
}

func item(id string, expected int64, command string, keyed bool) journal.Append {
	a := journal.Append{
		Ref: actors.Ref{Service: "cart", ID: id}, Expected: expected, Command: command,
		Events: []journal.Event{{Name: "added", Payload: actors.Payload{TypeURL: "t", Data: []byte(command)}}},
	}
	if keyed {
		a.Record = &journal.Record{Hash: [16]byte{1}, Outcome: []byte(command)}
	}
	return a
}

// TestLostAcknowledgements loses the reply of every statement that writes, in every way, and resolves what is then
// unknown by the contract's rule: look, fence, look again. What comes out is exactly one effect, or none where the
// statement had not reached the server.
func TestLostAcknowledgements(t *testing.T) {
	t.Parallel()
	var hit atomic.Int64
	sites := map[string]func(j journal.Journal, ctx context.Context) ([]journal.Append, []journal.Result){}
	write := func(name string, batch []journal.Append, whole bool) {
		sites[name] = func(j journal.Journal, ctx context.Context) ([]journal.Append, []journal.Result) {
			if whole {
				return batch, j.Transact(ctx, batch)
			}
			return batch, j.Append(ctx, batch)
		}
	}
	write("append with a record", []journal.Append{item("a", 1, "new", true)}, false)
	write("append without a record", []journal.Append{item("a", 1, "new", false)}, false)
	write("batch", []journal.Append{item("a", 1, "new", true), item("b", 0, "one", true), item("a", 2, "newer", false)}, false)
	with := item("a", 1, "new", true)
	with.Effects = []actors.Effect{effect("new/1", ""), effect("new/2", "k"), effect("new/3", "k")}
	bare := item("b", 0, "one", true)
	bare.Events, bare.Effects = nil, []actors.Effect{effect("one/1", "k")}
	write("append with effects", []journal.Append{with, bare}, false)
	write("transaction with effects", []journal.Append{with, bare}, true)
	write("transaction", []journal.Append{item("a", 1, "new", true), item("b", 0, "one", false)}, true)
	losses := []loss{lossFIN, lossRST, lossBlackhole, lossLate, lossRequest}
	t.Run("cells", func(t *testing.T) {
		for name, site := range sites {
			for _, how := range losses {
				t.Run(fmt.Sprint(name, "/", how), func(t *testing.T) {
					t.Parallel()
					p, through := behind(t)
					j := openAt(t, through)
					t.Cleanup(func() { j.Close() })
					long, cancel := context.WithTimeout(context.Background(), 30*time.Second)
					defer cancel()
					if r := j.Append(long, []journal.Append{item("a", 0, "first", true)}); r[0].Status != journal.Committed {
						t.Fatalf("%+v", r)
					}
					p.lose("INSERT INTO \"odd \"\"name\"\"\".events", how)
					ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
					defer cancel()
					batch, results := site(j, ctx)
					if p.hits() != 1 {
						t.Fatalf("%d statements were struck", p.hits())
					}
					hit.Add(1)
					want := journal.Unknown
					if how == lossLate {
						want = journal.Committed
					}
					for i, r := range results {
						if r.Status != want || (r.Err == nil) != (how == lossLate) {
							t.Errorf("append %d: %+v, want %v", i, r, want)
						}
					}
					resolve(t, p, j, batch, how != lossRequest)
				})
			}
		}
	})
	if n := int(hit.Load()); n != len(sites)*len(losses) {
		t.Errorf("%d of %d cells were hit", n, len(sites)*len(losses))
	}
}

func resolve(t *testing.T, p *proxy, j journal.Journal, batch []journal.Append, applied bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	applies := func(moment string) {
		t.Helper()
		for _, a := range batch {
			c, err := j.Heads(ctx, []journal.Check{{Ref: a.Ref, Command: a.Command, After: a.Expected}})
			if err != nil {
				t.Fatal(err)
			}
			if c[0].Applied != applied {
				t.Errorf("%s the fence: %s of %s applied: %v", moment, a.Command, a.Ref, c[0].Applied)
			}
		}
	}
	applies("before")
	for _, a := range batch {
		if _, err := j.Fence(ctx, a.Ref, 1); err != nil {
			t.Fatal(err)
		}
	}
	close(p.release) // what was on its way arrives now
	time.Sleep(100 * time.Millisecond)
	applies("after")
	count := map[string]int{}
	for _, id := range []string{"a", "b"} {
		for e, err := range j.Read(ctx, actors.Ref{Service: "cart", ID: id}, 0, 0) {
			if err != nil {
				t.Fatal(err)
			}
			count[id+e.Command]++
		}
	}
	effects := map[string]int{}
	for _, id := range due(t, j.(kept)) {
		effects[id]++
	}
	for _, a := range batch {
		for i, e := range a.Effects {
			want := 0
			if applied && (e.Key == "" || i == len(a.Effects)-1) { // the others have been replaced
				want = 1
			}
			if effects[e.ID] != want {
				t.Errorf("effect %s is kept %d times, want %d", e.ID, effects[e.ID], want)
			}
		}
		if len(a.Events) == 0 {
			continue
		}
		if n := count[a.Ref.ID+a.Command]; n != 1 && applied || n != 0 && !applied {
			t.Errorf("%s took effect %d times", a.Command, n)
		}
		if applied && a.Record != nil {
			if r := j.Append(ctx, []journal.Append{a}); r[0].Status != journal.AlreadyApplied {
				t.Errorf("%s again: %+v", a.Command, r[0])
			}
		}
	}
}

func TestLostReplyOfAFence(t *testing.T) {
	t.Parallel()
	for _, how := range []loss{lossFIN, lossRST, lossBlackhole, lossLate} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			p, through := behind(t)
			j := openAt(t, through)
			t.Cleanup(func() { j.Close() })
			ref := actors.Ref{Service: "cart", ID: "a"}
			if _, err := j.Fence(t.Context(), ref, 1); err != nil {
				t.Fatal(err)
			}
			p.lose("greatest(h.epoch + 1", how)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			head, err := j.Fence(ctx, ref, 5)
			if p.hits() != 1 || (err == nil) != (how == lossLate) {
				t.Errorf("%d hits, %+v, %v", p.hits(), head, err)
			}
			if head, err = j.Fence(t.Context(), ref, 5); err != nil || head.Epoch != 6 {
				t.Errorf("second fence: %+v, %v", head, err)
			}
		})
	}
}

func TestLostCommitOfTheMigration(t *testing.T) {
	t.Parallel()
	for _, how := range []loss{lossFIN, lossRST, lossBlackhole, lossLate, lossRequest} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			p, through := behind(t)
			p.lose("COMMIT", how)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			j, err := postgres.Open(ctx, postgres.Config{URL: through, Timeout: 2 * time.Second})
			if err == nil {
				j.Close()
			}
			if p.hits() != 1 || (err == nil) != (how == lossLate) {
				t.Errorf("%d hits, %v", p.hits(), err)
			}
			close(p.release)
			j, err = postgres.Open(t.Context(), postgres.Config{URL: through})
			if err != nil {
				t.Fatal(err)
			}
			if r := j.Append(t.Context(), []journal.Append{item("a", 0, "1", true)}); r[0].Status != journal.Committed {
				t.Errorf("%+v", r)
			}
			j.Close()
		})
	}
}

// TestDriverRepeatsWrites shows why appends do not go through database/sql: it inserts twice and reports success. If
// this fails after an update of the driver, the reason for that has gone; the rest of these tests still holds.
func TestDriverRepeatsWrites(t *testing.T) {
	t.Parallel()
	p, through := behind(t)
	db, err := sql.Open("postgres", through)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE effects (what text)"); err != nil {
		t.Fatal(err)
	}
	p.lose("INSERT INTO effects", lossFIN)
	if _, err := db.Exec("INSERT INTO effects VALUES ('once')"); err != nil {
		t.Fatalf("the driver reports it: %v", err)
	}
	var n int
	if err := db.QueryRow("SELECT count(*) FROM effects").Scan(&n); err != nil || p.hits() != 1 || n != 2 {
		t.Errorf("%d hits, %d effects, %v", p.hits(), n, err)
	}
}
