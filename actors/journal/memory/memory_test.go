package memory_test

import (
	"testing"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/journaltest"
	"github.com/dapr-entities/entities/actors/journal/memory"
)

func TestJournal(t *testing.T) {
	t.Parallel()
	journaltest.Run(t, journaltest.Backend{Open: open, Damage: damage})
}

func BenchmarkJournal(b *testing.B) { journaltest.Bench(b, open) }

func open(testing.TB) journal.Journal { return memory.Open() }

func damage(t testing.TB, j journal.Journal, ref actors.Ref, d journaltest.Damage, sequence int64) {
	m := j.(*memory.Journal)
	switch d {
	case journaltest.FlipEvent:
		m.Flip(ref, sequence)
	case journaltest.RenameEvent:
		m.Rename(ref, sequence)
	case journaltest.RemoveEvent:
		m.Lose(ref, sequence)
	case journaltest.FlipSnapshot:
		m.FlipSnapshot(ref)
	}
}
