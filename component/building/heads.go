package building

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// heads remembers where streams are, to spare appends that go anywhere the journal's looking for the place: it is told
// one instead. What it remembers may be wrong, for others may write to the journal; the journal finds that out.
type heads struct {
	mu    sync.Mutex
	known *simplelru.LRU[actors.Ref, journal.Head]
}

const (
	maxHeads = 10_000
	// contested as a sequence says that others write to the stream, too: it is not worth remembering.
	contested = -1
)

func newHeads() *heads {
	known, err := simplelru.NewLRU[actors.Ref, journal.Head](maxHeads, nil)
	if err != nil { // the size is wrong
		panic(err)
	}
	return &heads{known: known}
}

// guess tells the appends that go anywhere where that will be, in a batch that is the caller's own. It returns what was
// guessed, by the places in the batch, or nil.
func (h *heads) guess(batch []journal.Append) map[int]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	var guessed map[int]int64
	added := map[actors.Ref]int64{} // by the appends before
	for i := range batch {
		a := &batch[i]
		if a.Expected != journal.AnySequence || a.Record != nil {
			continue
		}
		head, known := h.known.Get(a.Ref)
		if !known || head.Sequence == contested || head.Epoch > a.Epoch {
			continue
		}
		a.Expected = head.Sequence + added[a.Ref]
		added[a.Ref] += int64(len(a.Events))
		if guessed == nil {
			guessed = map[int]int64{}
		}
		guessed[i] = a.Expected
	}
	return guessed
}

// learn takes in what became of a batch. What was guessed wrong is not guessed again.
func (h *heads) learn(batch []journal.Append, results []journal.Result, guessed map[int]int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, r := range results {
		ref := batch[i].Ref
		before, known := h.known.Peek(ref)
		_, wrong := guessed[i]
		switch {
		case known && before.Sequence == contested:
		case r.Status == journal.Committed:
			h.known.Add(ref, r.Head)
		case wrong && r.Status == journal.Conflict:
			h.known.Add(ref, journal.Head{Sequence: contested})
		case known:
			h.known.Remove(ref)
		}
	}
}
