package crdt_test

import (
	"testing"

	"github.com/dapr-entities/entities/crdt"
	"github.com/dapr-entities/entities/crdt/crdttest"
)

func TestJoinCommutes(t *testing.T) { t.Parallel(); crdttest.Hold(t, crdttest.JoinCommutes) }

func TestJoinAssociates(t *testing.T) { t.Parallel(); crdttest.Hold(t, crdttest.JoinAssociates) }

func TestJoinIdempotent(t *testing.T) { t.Parallel(); crdttest.Hold(t, crdttest.JoinIdempotent) }

func TestJoinInflates(t *testing.T) { t.Parallel(); crdttest.Hold(t, crdttest.JoinInflates) }

func TestDeltaEqualsFull(t *testing.T) { t.Parallel(); crdttest.Hold(t, crdttest.DeltaEqualsFull) }

func TestDeltaGroupEqualsSequence(t *testing.T) {
	t.Parallel()
	crdttest.Hold(t, crdttest.DeltaGroupEqualsSequence)
}

func TestSinceIsSufficientAndMinimal(t *testing.T) {
	t.Parallel()
	crdttest.Hold(t, crdttest.SinceIsSufficientAndMinimal)
}

func TestEncodeCanonical(t *testing.T) { t.Parallel(); crdttest.Hold(t, crdttest.EncodeCanonical) }

func TestDecodeEncodeRoundTrip(t *testing.T) {
	t.Parallel()
	crdttest.Hold(t, crdttest.DecodeEncodeRoundTrip)
}

func TestDigestMatchesRecompute(t *testing.T) {
	t.Parallel()
	crdttest.Hold(t, crdttest.DigestMatchesRecompute)
}

// TestOracle compares replicas of every kind with the specification: after every step while deltas arrive in causal order,
// and in the end if they are lost, repeated and reordered.
func TestOracle(t *testing.T) {
	t.Parallel()

	for _, kind := range crdttest.Kinds {
		for name, delivery := range map[string]crdttest.Delivery{"causal": crdttest.Causal, "any order": crdttest.AnyOrder} {
			t.Run(kind.String()+" "+name, func(t *testing.T) {
				t.Parallel()
				crdttest.Check(t, crdttest.Run{Kind: kind, Delivery: delivery})
			})
		}
	}

	t.Run("maps, more of it", func(t *testing.T) {
		t.Parallel()
		crdttest.Check(t, crdttest.Run{Kind: crdt.ORMap, Replicas: 4, Streams: 2, Steps: 150})
	})
}
