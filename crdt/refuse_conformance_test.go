package crdt_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

// A user function whose writes are refused now and then is led back to what is there, whatever else happens, or begins
// again if its kind knows no way back.
func TestRefusedIsTakenBack(t *testing.T) {
	t.Parallel()

	for _, kind := range crdttest.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			begun, refused := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				n, other := crdttest.NewNode(t, kind, 0, 1), crdttest.NewNode(t, kind, 1, 1)
				s := crdttest.NewStream(t, n)
				for range rapid.IntRange(1, 20).Draw(t, "steps") {
					switch rapid.SampledFrom([]string{"said", "refused", "refused", "others", "flush"}).Draw(t, "step") {
					case "said":
						s.Say(crdttest.DrawUpdate(t, kind, s.Plain))
					case "refused":
						refused++
						s.Refuse(crdttest.DrawUpdate(t, kind, s.Plain))
					case "others":
						other.Hear(n.Entity.Full())
						n.Hear(other.Say(crdttest.DrawUpdate(t, kind, other.Plain())))
					case "flush":
						s.Flush()
					}
				}
				s.Flush()
				begun += s.Begun
			})
			t.Logf("%d updates were refused, %d times it began again", refused, begun)
			if kind == crdt.ORSet || kind == crdt.PNCounter || kind == crdt.ORMap || kind == crdt.Vote {
				if begun > refused/2 {
					t.Error("it begins again too often")
				}
			}
		})
	}
}

// What only grows cannot be told to shrink: not after a write was refused, and not if a sealing has taken away what a writer
// that is gone had told only this node.
func TestShrunkHasDiverged(t *testing.T) {
	t.Parallel()

	for name, way := range ways {
		if name != "GCounter" && name != "PNCounter" && name != "GSet" && name != "nested counter" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own, fellow, store := three(t, way.kind)
			store.Hear(own.Say(way.wrap("x")))
			store.Hear(fellow.Say(way.wrap("z")))
			own.Say(way.wrap("y"))
			fellow.Hear(own.Entity.Full())
			s := crdttest.NewStream(t, fellow)
			_, sealed, err := store.Entity.Seal(0, 1)
			if err != nil {
				t.Fatal(err)
			}
			fellow.Hear(sealed)
			s.Flush()
			want := 0
			if way.kind == crdt.GCounter || way.kind == crdt.GSet {
				want = 1
			}
			if s.Begun != want {
				t.Errorf("it began again %d times, want %d", s.Begun, want)
			}
			if got, want := s.Plain.String(), fellow.Plain().String(); got != want {
				t.Errorf("it has %s, want %s", got, want)
			}
		})
	}
}
