package daprstate_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/daprstate"
	"github.com/dapr-entities/entities/actors/journal/daprstate/daprstatetest"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stored is a journal that remembers where it is.
type stored struct {
	*daprstate.Journal
	store *daprstatetest.Store
}

func open(t testing.TB) journal.Journal { return openIn(t, daprstatetest.New()) }

func openIn(t testing.TB, store *daprstatetest.Store) journal.Journal {
	t.Helper()
	j, err := daprstate.New(daprstate.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	return stored{j, store}
}

func TestJournal(t *testing.T) {
	t.Parallel()
	journaltest.Run(t, journaltest.Backend{
		Open: open,
		Reopen: func(t testing.TB, closed journal.Journal) journal.Journal {
			return openIn(t, closed.(stored).store)
		},
		Damage: func(t testing.TB, j journal.Journal, ref actors.Ref, d journaltest.Damage, sequence int64) {
			t.Helper()
			if err := j.(stored).Spoil(context.Background(), ref, d, sequence); err != nil {
				t.Fatal(err)
			}
		},
		Weaker: journaltest.Weaker{PositionsInTailOnly: true, EffectIDsPerSource: true},
	})
}

func BenchmarkJournal(b *testing.B) { journaltest.Bench(b, open) }
