package journaltest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// kept is an effect that is to be kept; name gives it its key if it has one.
func kept(id string, name ...string) actors.Effect {
	e := actors.Effect{Ref: actors.Ref{Service: "shop.v1.Mailer", ID: "m"}, Method: "Send", Payload: payload("to " + id), ID: id}
	if len(name) > 0 {
		e.Key = name[0]
	}
	return e
}

func cancel(id, name string) actors.Effect { return actors.Effect{ID: id, Key: name, Cancel: true} }

func later(e actors.Effect) actors.Effect {
	e.Delay = time.Hour
	return e
}

func with(a journal.Append, effects ...actors.Effect) journal.Append {
	a.Effects = effects
	return a
}

func lanes() []int {
	all := make([]int, journal.Lanes)
	for i := range all {
		all[i] = i
	}
	return all
}

func due(t testing.TB, o journal.Outbox) []journal.Pending {
	t.Helper()
	list, err := o.Due(within(t), lanes(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func idsOf(list []journal.Pending) []string {
	ids := []string{}
	for _, p := range list {
		ids = append(ids, p.ID)
	}
	return ids
}

// dueOf are the ids of what is due of a source, in order.
func dueOf(t testing.TB, o journal.Outbox, source actors.Ref) []string {
	t.Helper()
	return idsOf(slices.DeleteFunc(due(t, o), func(p journal.Pending) bool { return p.Source != source }))
}

func sorted(ids []string) []string { return slices.Sorted(slices.Values(ids)) }

func settle(t testing.TB, o journal.Outbox, settlements ...journal.Settlement) {
	t.Helper()
	if err := o.Settle(within(t), settlements); err != nil {
		t.Fatal(err)
	}
}

func done(id string) journal.Settlement { return journal.Settlement{ID: id, Verdict: journal.Done} }

func postponed(id string, again time.Duration) journal.Settlement {
	return journal.Settlement{ID: id, Verdict: journal.Postponed, Again: again, Problem: "not now"}
}

func parked(id string) journal.Settlement {
	return journal.Settlement{ID: id, Verdict: journal.Parked, Problem: "never"}
}

func enqueue(t testing.TB, o journal.Outbox, source actors.Ref, effects ...actors.Effect) {
	t.Helper()
	if err := o.Enqueue(within(t), source, effects); err != nil {
		t.Fatal(err)
	}
}

func parkedOf(t testing.TB, o journal.Outbox) []journal.Pending {
	t.Helper()
	list, err := o.Parked(within(t), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// effectsOfAppends are kept if, and only if, their append is committed.
func (s *suite) effectsOfAppends(t *testing.T) {
	j := s.open(t)
	ctx := within(t)
	a, b := cart("a"), cart("b")
	first := with(keyed(add(a, 0, "1", "x"), 1), kept("1"))
	must(t, j, first, with(add(b, 0, "1", "y"), kept("2"), kept("3")))
	must(t, j, with(keyed(add(a, 1, "2"), 1), kept("4"))) // a record alone
	want(t, j.Append(ctx, []journal.Append{
		with(add(a, 7, "3", "no"), kept("conflict")),
		with(keyed(add(b, 1, "4", "z"), 1), kept("5")),
		with(add(a, 1, "5", "no"), kept("behind a conflict")),
	}), journal.Conflict, journal.Committed, journal.Conflict)
	again, reused := first, first
	again.Effects, again.Expected = []actors.Effect{kept("applied already")}, 1
	reused.Effects, reused.Expected = []actors.Effect{kept("reused")}, 1
	reused.Record = &journal.Record{Hash: [16]byte{2}}
	want(t, j.Append(ctx, []journal.Append{again}), journal.AlreadyApplied)
	want(t, j.Append(ctx, []journal.Append{reused}), journal.CommandIDReused)
	want(t, j.Append(ctx, []journal.Append{with(add(a, 1, "6", "no"), kept("refused"), kept("refused"))}), journal.Refused)
	want(t, j.Append(ctx, []journal.Append{with(add(a, 1, "6"), kept("neither events nor a record"))}), journal.Refused)
	want(t, j.Transact(ctx, []journal.Append{with(add(a, 1, "7", "no"), kept("cancelled")), add(b, 7, "7", "no")}),
		journal.Refused, journal.Conflict)
	want(t, j.Transact(ctx, []journal.Append{with(add(a, 1, "8", "x"), kept("6")), with(add(b, 2, "8", "y"), kept("7"))}),
		journal.Committed, journal.Committed)
	over, end := context.WithCancel(context.Background())
	end()
	want(t, j.Append(over, []journal.Append{with(add(a, 2, "9", "no"), kept("over"))}), journal.Refused)
	same(t, "due of a", dueOf(t, j, a), []string{"1", "4", "6"})
	same(t, "due of b", dueOf(t, j, b), []string{"2", "3", "5", "7"})

	// Whatever becomes of an append whose context ends, its effect shares its fate.
	for n := range 40 {
		ref, command := cart(fmt.Sprint("in doubt ", n)), fmt.Sprint("c", n)
		short, end := context.WithTimeout(context.Background(), time.Duration(rand.IntN(1500))*time.Microsecond)
		j.Append(short, []journal.Append{with(keyed(add(ref, 0, command, "x"), 1), kept(command))})
		end()
		if _, err := j.Fence(ctx, ref, 0); err != nil {
			t.Fatal(err)
		}
		checked, err := j.Heads(ctx, []journal.Check{{Ref: ref, Command: command, After: -1}})
		if err != nil {
			t.Fatal(err)
		}
		if is := len(dueOf(t, j, ref)) == 1; is != checked[0].Applied {
			t.Errorf("append %d is applied: %v, its effect is kept: %v", n, checked[0].Applied, is)
		}
	}
}

func (s *suite) effectFields(t *testing.T) {
	j := s.open(t)
	a := cart("ä ||'\"")
	everything := make([]byte, 256)
	for i := range everything {
		everything[i] = byte(i)
	}
	full := actors.Effect{
		Ref: actors.Ref{Service: "s ü", ID: `i"'`}, Method: "m\t", ID: `'; DROP TABLE effects; --`, Key: "🍵",
		Payload:  actors.Payload{TypeURL: "t", ContentType: actors.ContentJSON, Data: everything},
		Metadata: actors.Metadata{{Key: "k", Text: "v"}, {Key: "k", Bytes: everything}, {}},
	}
	// An action has no id, and the least there is to say is whom.
	least := actors.Effect{Ref: actors.Ref{Service: "s"}, ID: long(journal.MaxEffectIDBytes), Key: long(journal.MaxEffectIDBytes)}
	past := time.Date(2001, 2, 3, 4, 5, 6, 789_000, time.FixedZone("z", 3600))
	dated := actors.Effect{Ref: actors.Ref{Service: "s"}, ID: "dated", Due: past}
	before := time.Now()
	must(t, j, with(add(a, 0, "1", "x"), full, least, dated))
	got := due(t, j)
	slices.SortFunc(got, func(x, y journal.Pending) int { return len(x.ID) - len(y.ID) })
	for i := range got {
		if since := got[i].Since; since.Sub(before).Abs() > time.Minute || since.Location() != time.UTC {
			t.Errorf("effect %d is kept since %v", i, since)
		}
		got[i].Since = time.Time{}
	}
	dated.Due = past.UTC()
	same(t, "due", got, []journal.Pending{{Effect: dated, Source: a}, {Effect: full, Source: a}, {Effect: least, Source: a}})

	// The batch is not kept.
	source := payload("abc")
	effect := actors.Effect{Ref: cart("t"), ID: "own", Payload: source, Metadata: actors.Metadata{{Key: "k", Bytes: []byte("v")}}}
	enqueue(t, j, cart("c"), effect)
	source.Data[0], effect.Metadata[0].Bytes[0] = 'X', 'X'
	for _, p := range due(t, j) {
		if p.ID == "own" && (string(p.Payload.Data) != "abc" || string(p.Metadata[0].Bytes) != "v") {
			t.Errorf("the journal kept the caller's memory: %+v", p.Effect)
		}
	}
}

func (s *suite) effectsRefused(t *testing.T) {
	j := s.open(t)
	for name, bad := range map[string]func(*actors.Effect){
		"no id":                 func(e *actors.Effect) { e.ID = "" },
		"long id":               func(e *actors.Effect) { e.ID = long(journal.MaxEffectIDBytes + 1) },
		"id is not UTF-8":       func(e *actors.Effect) { e.ID = "\xff" },
		"id has a zero byte":    func(e *actors.Effect) { e.ID = "a\x00" },
		"long key":              func(e *actors.Effect) { e.Key = long(journal.MaxEffectIDBytes + 1) },
		"key has a zero byte":   func(e *actors.Effect) { e.Key = "\x00" },
		"synchronous":           func(e *actors.Effect) { e.Synchronous = true },
		"no target":             func(e *actors.Effect) { e.Ref = actors.Ref{} },
		"target is not UTF-8":   func(e *actors.Effect) { e.Ref.ID = "\xff" },
		"method is not UTF-8":   func(e *actors.Effect) { e.Method = "\xff" },
		"type has a zero byte":  func(e *actors.Effect) { e.Payload.TypeURL = "\x00" },
		"metadata is not UTF-8": func(e *actors.Effect) { e.Metadata = actors.Metadata{{Key: "k", Text: "\xff"}} },
		"negative delay":        func(e *actors.Effect) { e.Delay = -1 },
		"delay and due":         func(e *actors.Effect) { e.Delay, e.Due = 1, time.Now() },
		"due in year 10000":     func(e *actors.Effect) { e.Due = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
		"cancel without key":    func(e *actors.Effect) { *e = actors.Effect{ID: "1", Cancel: true} },
		"cancel with method":    func(e *actors.Effect) { *e = actors.Effect{ID: "1", Cancel: true, Key: "k", Method: "m"} },
		"cancel with target":    func(e *actors.Effect) { *e = actors.Effect{ID: "1", Cancel: true, Key: "k", Ref: cart("a")} },
		"cancel with payload":   func(e *actors.Effect) { *e = actors.Effect{ID: "1", Cancel: true, Key: "k", Payload: payload("")} },
		"cancel with delay":     func(e *actors.Effect) { *e = actors.Effect{ID: "1", Cancel: true, Key: "k", Delay: 1} },
		"id twice":              func(e *actors.Effect) { e.ID = "good" },
	} {
		t.Run(name, func(t *testing.T) {
			e := kept("bad")
			bad(&e)
			got := j.Append(within(t), []journal.Append{
				with(add(cart(name), 0, "1", "x"), kept("good"), e), add(cart("beside "+name), 0, "1", "x"),
			})
			want(t, got, journal.Refused, journal.Committed)
			if err := j.Enqueue(within(t), cart(name), []actors.Effect{kept("good"), e}); err == nil {
				t.Error("it was enqueued")
			}
		})
	}
	if err := j.Enqueue(within(t), actors.Ref{Service: "s"}, []actors.Effect{kept("1")}); err == nil {
		t.Error("a source without id was taken")
	}
	same(t, "due", idsOf(due(t, j)), []string{})
	if err := j.Enqueue(within(t), cart("a"), nil); err != nil {
		t.Errorf("no effects: %v", err)
	}
}
