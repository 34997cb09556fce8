package feed

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
)

// lookBlocked is how often to look, while there are no events, what holds the order up.
const lookBlocked = 10 * time.Second

// block watches whether somebody else's transaction is why nothing comes.
type block struct {
	tailer   journal.Tailer
	observer Observer
	log      *slog.Logger
	moved    time.Time // when the end of the journal last moved, or somebody was asked why it does not
	by       string
}

// over says that something has come.
func (b *block) over() {
	b.moved = time.Now()
	if b.by != "" {
		b.by = ""
		b.observer.Blocked("")
	}
}

// look asks, now and then.
func (b *block) look(ctx context.Context) error {
	asked, ok := b.tailer.(journal.Blocked)
	if !ok || time.Since(b.moved) < lookBlocked {
		return nil
	}
	b.moved = time.Now()
	by, err := asked.Blocked(ctx)
	if err != nil {
		return fmt.Errorf("ask what blocks the journal: %w", err)
	}
	if by != b.by {
		b.by = by
		b.observer.Blocked(by)
		if by != "" {
			b.log.Warn("the feed waits for a transaction to end", "by", by)
		}
	}
	return nil
}
