package crdt_test

import (
	"fmt"
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// TestSlots runs processes that crash, lose their leases and go on, and a sealer: CRDT_SEEDS=30000 for more of it, and
// CRDT_SEED=n CRDT_SEEDS=1 for one of them.
func TestSlots(t *testing.T) {
	t.Parallel()

	for _, kind := range []crdt.Kind{crdt.GCounter, crdt.ORSet} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			writes, moves, sealed := 0, 0, 0
			first, end := seeds(t, 300)
			for seed := first; seed < end; seed++ {
				w := runWorld(t, seed, kind, right)
				if w.lostDurable+w.twice+w.back > 0 || t.Failed() {
					t.Fatalf("seed %d: %d durable writes are lost, %d increments count twice, %d removed elements are back",
						seed, w.lostDurable, w.twice, w.back)
				}
				writes, moves, sealed = writes+len(w.writes), moves+w.moves, sealed+len(w.receipts)
			}
			t.Logf("seeds %d to %d: %d writes, %d seals, %d times something was brought again", first, end-1, writes, sealed, moves)
			if end-first >= 300 && (moves < 10 || sealed < 100) {
				t.Errorf("too little happened: %d seals, %d times something was brought again", sealed, moves)
			}
		})
	}
}

// The barrier and the epochs are needed: without them the same runs break.
func TestSealWithoutBarrierFails(t *testing.T) {
	t.Parallel()

	for _, kind := range []crdt.Kind{crdt.GCounter, crdt.ORSet} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			breaks(t, kind, withoutBarrier)
		})
	}
}

// breaks wants some of the runs to go wrong if something is done the wrong way.
func breaks(t *testing.T, kind crdt.Kind, wrong wrong) {
	t.Helper()

	broken := 0
	first, end := seeds(t, 300)
	for seed := first; seed < end; seed++ {
		if w := runWorld(t, seed, kind, wrong); w.lostDurable+w.twice+w.back > 0 {
			broken++
		}
	}
	t.Logf("%d of %d runs broke", broken, end-first)
	if broken == 0 {
		t.Error("no run broke: the simulation would not notice")
	}
}

// So are the records of what was moved and of what may not be, although it takes two processes that lost their leases and
// had talked to each other: one run in some hundred.
func TestReceiptsUnfollowedFail(t *testing.T) {
	t.Parallel()

	for seed := uint64(1); seed <= 3000; seed++ {
		if w := runWorld(t, seed, crdt.ORSet, withoutReceipts); w.lostDurable+w.twice+w.back > 0 {
			t.Logf("run %d broke first", seed)
			return
		}
	}
	t.Error("no run broke: the simulation would not notice")
}

func TestCrashBeforeFlushNeverReusesDot(t *testing.T) {
	t.Parallel()

	run := func(epoch crdt.Epoch) *crdttest.Node {
		first, b := crdttest.NewNode(t, crdt.ORSet, 0, 1), crdttest.NewNode(t, crdt.ORSet, 1, 1)
		b.Hear(first.Say(add("x")))
		stored, last := first.Entity.Full(), first.Writer.Last
		b.Hear(first.Say(add("y")))
		// It crashes with y in nobody's store, and what follows begins with what is stored.
		second := crdttest.NewNode(t, crdt.ORSet, 0, epoch)
		second.Hear(stored)
		if epoch == 1 {
			second.Writer.Last = last
		}
		b.Hear(second.Say(add("z")))

		return b
	}
	wantAll(t, "ORSet{"+x+" "+y+" "+z+"}", run(2))

	// With the epoch of before, z would have the dot of y, and be taken for what is there already.
	if got := run(1).Plain().String(); got == "ORSet{"+x+" "+y+" "+z+"}" {
		t.Error("a dot that is used twice does no harm: this test would not notice")
	}

	t.Run("simulated", func(t *testing.T) {
		t.Parallel()
		breaks(t, crdt.ORSet, withoutEpochs)
	})
}

// fencedProcess is a process in slot 0, epoch 1, of which the store has sealed less than it has: x is there, y is not. b is
// another one.
func fencedProcess(t *testing.T, kind crdt.Kind, wrap func(string) *crdt.Update) (own, b, store *crdttest.Node, r *crdt.Receipt) {
	t.Helper()

	own, b, store = three(t, kind)
	store.Hear(own.Say(wrap("x")))
	store.Hear(b.Say(wrap("z")))
	own.Say(wrap("y"))
	r, sealed, err := store.Entity.Seal(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	b.Hear(sealed)

	return own, b, store, r
}

var ways = map[string]struct {
	kind crdt.Kind
	wrap func(string) *crdt.Update
	want func(...string) string
}{
	"GCounter": {
		kind: crdt.GCounter,
		wrap: func(s string) *crdt.Update { return inc(digit(s)) },
		want: func(have ...string) string { return fmt.Sprint("counts ", digits(have)) },
	},
	"PNCounter": {
		kind: crdt.PNCounter,
		wrap: func(s string) *crdt.Update { return change(-int64(digit(s))) },
		want: func(have ...string) string { return fmt.Sprint("sums up to -", digits(have)) },
	},
	"ORSet": {
		kind: crdt.ORSet,
		wrap: func(s string) *crdt.Update { return add(s) },
		want: func(have ...string) string { return elementsOf("ORSet", have) },
	},
	"GSet": {
		kind: crdt.GSet,
		wrap: func(s string) *crdt.Update { return gset(s) },
		want: func(have ...string) string { return elementsOf("GSet", have) },
	},
	"nested counter": {
		kind: crdt.ORMap,
		wrap: func(s string) *crdt.Update { return put("k", inc(digit(s))) },
		want: func(have ...string) string { return fmt.Sprintf("{%s: counts %d}", k, digits(have)) },
	},
	"nested set": {
		kind: crdt.ORMap,
		wrap: func(s string) *crdt.Update { return put("k", put("l", add(s))) },
		want: func(have ...string) string { return fmt.Sprintf("{%s: {%s: %s}}", k, l, elementsOf("ORSet", have)) },
	},
}

// digit of x, y and z to the base 4.
func digit(s string) uint64 { return 1 << (2 * (s[0] - 'x')) }

func digits(have []string) (sum uint64) {
	for _, s := range have {
		sum += digit(s)
	}

	return sum
}

func elementsOf(kind string, have []string) string {
	p := crdttest.NewPlain(map[string]crdt.Kind{"ORSet": crdt.ORSet, "GSet": crdt.GSet}[kind])
	for _, key := range keys(have...) {
		p.Elements[key] = struct{}{}
	}

	return p.String()
}

func TestZombieProcessRehomesExactlyDifference(t *testing.T) {
	t.Parallel()

	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own, b, store, r := fencedProcess(t, way.kind, way.wrap)
			wantAll(t, way.want("x", "z"), store, b)

			again := crdttest.NewNode(t, way.kind, 3, 1)
			again.Hear(store.Entity.Full())
			d, err := again.Entity.Rehome(own.Entity, 1, r, again.Writer, nil)
			if err != nil {
				t.Fatal(err)
			}
			b.Hear(d)
			store.Hear(d)
			wantAll(t, way.want("x", "y", "z"), again, b, store)
			// What it wrote under its old epoch comes late, and counts no more.
			b.Hear(own.Entity.Full())
			store.Hear(own.Entity.Full())
			wantAll(t, way.want("x", "y", "z"), b, store)
			if encoded(b.Entity) != encoded(store.Entity) || encoded(again.Entity) != encoded(store.Entity) {
				t.Error("states differ")
			}
		})
	}
}

func TestReceiptMakesRehomeExact(t *testing.T) {
	t.Parallel()

	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own, _, store, r := fencedProcess(t, way.kind, way.wrap)
			// The store goes on: the slot is sealed further, and its receipt of then is read back much later.
			next := crdttest.NewNode(t, way.kind, 0, 2)
			next.Hear(store.Entity.Full())
			again := crdttest.NewNode(t, way.kind, 3, 1)
			if way.kind != crdt.GSet {
				store.Hear(next.Say(way.wrap("z")))
			}
			if _, _, err := store.Entity.Seal(0, 2); err != nil {
				t.Fatal(err)
			}
			before := store.Plain()
			r, err := crdt.DecodeReceipt(r.AppendBinary(nil))
			if err != nil {
				t.Fatal(err)
			}
			again.Hear(store.Entity.Full())
			d, err := again.Entity.Rehome(own.Entity, 1, r, again.Writer, nil)
			if err != nil {
				t.Fatal(err)
			}
			store.Hear(d)
			p := store.Plain()
			if way.kind == crdt.GCounter && p.Count != before.Count+digit("y") {
				t.Errorf("%s became %s", before, p)
			}
			if way.kind == crdt.ORSet && p.String() != way.want("x", "y", "z") {
				t.Errorf("%s became %s", before, p)
			}
			// What a receipt says was moved is not moved again.
			d, err = again.Entity.Rehome(own.Entity, 1, r, again.Writer, nil)
			if err != nil {
				t.Fatal(err)
			}
			store.Hear(d)
			wantAll(t, p.String(), store)
		})
	}
}

func TestSealBarrierKeepsLiveKnowledge(t *testing.T) {
	t.Parallel()

	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The slot's holder is dead. One member heard more of it than the store.
			dead, living, store := three(t, way.kind)
			store.Hear(dead.Say(way.wrap("x")))
			living.Hear(store.Entity.Full())
			living.Hear(dead.Say(way.wrap("y")))
			store.Hear(living.Entity.Full()) // the barrier
			_, sealed, err := store.Entity.Seal(0, 1)
			if err != nil {
				t.Fatal(err)
			}
			living.Hear(sealed)
			wantAll(t, way.want("x", "y"), store, living)
			// What it had not told anybody is lost, and does not come by the network any more.
			late := dead.Say(way.wrap("z"))
			living.Hear(late)
			store.Hear(late)
			wantAll(t, way.want("x", "y"), store, living)
		})
	}
}

// Somebody had seen an element that the sealed state never had, and removes it. If that comes first, the element is not
// brought again.
func TestKillOfSealedOutDotBlocksRehome(t *testing.T) {
	t.Parallel()

	own, b, store, r := fencedProcess(t, crdt.ORSet, ways["ORSet"].wrap)
	fellow := crdttest.NewNode(t, crdt.ORSet, 2, 1)
	fellow.Hear(own.Entity.Full())
	removal := fellow.Say(remove("y"))
	if moved := r.Follow(removal); moved != nil {
		t.Error("nothing is moved yet")
	}
	store.Hear(removal)

	again := crdttest.NewNode(t, crdt.ORSet, 3, 1)
	again.Hear(store.Entity.Full())
	r, err := crdt.DecodeReceipt(r.AppendBinary(nil))
	if err != nil {
		t.Fatal(err)
	}
	d, err := again.Entity.Rehome(own.Entity, 1, r, again.Writer, nil)
	if err != nil {
		t.Fatal(err)
	}
	store.Hear(d)
	b.Hear(store.Entity.Full())
	wantAll(t, ways["ORSet"].want("x", "z"), store, again, b)
}

// If it comes later, it removes the element where it is now.
func TestKillFollowsMovedDot(t *testing.T) {
	t.Parallel()

	own, b, store, r := fencedProcess(t, crdt.ORSet, ways["ORSet"].wrap)
	fellow := crdttest.NewNode(t, crdt.ORSet, 2, 1)
	fellow.Hear(own.Entity.Full())
	removal := fellow.Say(remove("y"))

	again := crdttest.NewNode(t, crdt.ORSet, 3, 1)
	again.Hear(store.Entity.Full())
	d, err := again.Entity.Rehome(own.Entity, 1, r, again.Writer, nil)
	if err != nil {
		t.Fatal(err)
	}
	store.Hear(d)
	wantAll(t, ways["ORSet"].want("x", "y", "z"), store)

	r, err = crdt.DecodeReceipt(r.AppendBinary(nil))
	if err != nil {
		t.Fatal(err)
	}
	store.Hear(removal)
	kill := r.Follow(removal)
	if kill == nil {
		t.Fatal("a removal of what was moved leads nowhere")
	}
	store.Hear(kill)
	again.Hear(kill)
	b.Hear(store.Entity.Full())
	wantAll(t, ways["ORSet"].want("x", "z"), store, again, b)
}

// The user function of the process that was fenced is told of no change when its elements are brought again, and removes
// them. What it has not been told of stays.
func TestRemovalFollowsMovedDot(t *testing.T) {
	t.Parallel()

	for name, removed := range map[string][]string{"ORSet": {"x", "y"}, "nested set": {"k"}, "nested counter": {"k"}} {
		way := ways[name]
		for _, u := range []*crdt.Update{
			{Kind: way.kind, Removed: keys(removed...)},
			{Kind: way.kind, Cleared: true},
		} {
			t.Run(fmt.Sprint(name, " cleared ", u.Cleared), func(t *testing.T) {
				t.Parallel()
				own, _, store, r := fencedProcess(t, way.kind, way.wrap)
				var view crdt.View
				view.Begin(own.Entity, nil)

				again := crdttest.NewNode(t, way.kind, 3, 1)
				again.Hear(store.Entity.Full())
				d, err := again.Entity.Rehome(own.Entity, 1, r, again.Writer, nil)
				if err != nil {
					t.Fatal(err)
				}
				store.Hear(d)
				if r, err = crdt.DecodeReceipt(r.AppendBinary(nil)); err != nil {
					t.Fatal(err)
				}
				view.Follow(again.Entity, r)

				store.Hear(again.SaySeen(u, view.Seen()))
				wantAll(t, way.want("z"), store, again)
			})
		}
	}
}

func TestThousandIncarnationsBoundedState(t *testing.T) {
	t.Parallel()

	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			run := func(incarnations int) int {
				store := crdttest.NewNode(t, way.kind, 5, 1)
				for i := range 1000 {
					epoch := crdt.Epoch(i*incarnations/1000) + 1
					n := crdttest.NewNode(t, way.kind, 0, epoch)
					n.Hear(store.Entity.Full())
					n.Writer.Last = n.Entity.Ctx().Last(0, epoch)
					store.Hear(n.Say(way.wrap(string("xyz"[i%3]))))
					if epoch > 32 && i*incarnations%1000 == 0 {
						if _, _, err := store.Entity.Seal(0, epoch-1); err != nil {
							t.Fatal(err)
						}
					}
				}

				return len(encoded(store.Entity))
			}
			once, often := run(1), run(1000)
			t.Logf("%d bytes after one incarnation, %d after a thousand", once, often)
			if often > 2*once {
				t.Errorf("%d bytes after a thousand incarnations, %d after one", often, once)
			}
		})
	}
}

// Others who heard what was brought again, but not of the seal, have both the old dots and the new ones. What they write to
// the store does not take away what was moved.
func TestRehomedSurvivesWhoHeardOfIt(t *testing.T) {
	t.Parallel()

	for _, name := range []string{"ORSet", "GSet", "nested set", "nested counter"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			way := ways[name]
			own, _, store, r := fencedProcess(t, way.kind, way.wrap)
			again, witness := crdttest.NewNode(t, way.kind, 3, 1), crdttest.NewNode(t, way.kind, 4, 1)
			witness.Hear(own.Entity.Full())
			again.Hear(store.Entity.Full())
			d, err := again.Entity.Rehome(own.Entity, 1, r, again.Writer, nil)
			if err != nil {
				t.Fatal(err)
			}
			store.Hear(d)
			witness.Hear(d)
			store.Hear(witness.Entity.Full())
			store.Hear(r.Follow(d))
			store.Hear(r.Follow(witness.Entity.Full()))
			wantAll(t, way.want("x", "y", "z"), store)
		})
	}
}

// The owner of a counter's events may have folded them after the seal, when it did not know that it is fenced: what the
// sealed state had of them is counted there, and only the rest is brought again.
func TestRehomeOfFoldedEventsIsExact(t *testing.T) {
	t.Parallel()

	for name, fold := range map[string]func(own *crdttest.Node) int{
		"as all had seen them": func(own *crdttest.Node) int {
			for range 10 {
				own.Say(changed("k", inc(1)))
			}
			own.Entity.Stable(own.Writer, own.Seen())

			return 20
		},
		"as there were too many": func(own *crdttest.Node) int {
			for range 90 {
				own.Say(changed("k", inc(1)))
			}

			return 100
		},
		"before and after": func(own *crdttest.Node) int {
			own.Entity.Stable(own.Writer, own.Seen())
			own.Say(changed("k", inc(1)))
			own.Entity.Stable(own.Writer, own.Seen())

			return 11
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own, again, store := three(t, crdt.ORMap)
			increments(own, 10)
			store.Hear(own.Entity.Full())
			store.Hear(again.Say(put("k", inc(100))))
			r, _, err := store.Entity.Seal(0, 1)
			if err != nil {
				t.Fatal(err)
			}
			total := fold(own)
			again.Hear(store.Entity.Full())
			d, err := again.Entity.Rehome(own.Entity, 1, r, again.Writer, nil)
			if err != nil {
				t.Fatal(err)
			}
			store.Hear(d)
			store.Hear(own.Entity.Full())
			wantAll(t, counts(100+total), store, again)
		})
	}
}
