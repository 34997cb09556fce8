package operations

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Progress of long work.
type Progress struct {
	// Doing is what is done now: events, streams, effects, cells.
	Doing string
	// Done of Total, which is 0 if it is not known.
	Done, Total int64
}

// Summary of an export or an import.
type Summary struct {
	Export  string           `json:"export"`
	Counts  map[string]int64 `json:"counts"`
	LeftOut map[string]int64 `json:"leftOut,omitempty"`
	// Unplaced are cursors that an interrupted export came too late for: their consumers begin anew.
	Unplaced []string `json:"unplaced,omitempty"`
	SHA256   string   `json:"sha256"`
	// Already says that there was nothing left to do.
	Already bool `json:"already,omitempty"`
}

// Exporting is an export.
type Exporting struct {
	From Journal
	// Name of the export. Defaults to a random one.
	Name string
	// Progress is called now and then. Defaults to nothing.
	Progress func(Progress)
}

// Export writes all that is worth keeping of a journal. After an interruption, rest, which Resume made of what had been
// written, says where to go on; nil begins anew.
//
// Events come in the order that the journal has over all streams, up to a cut, and what is said of streams is how they were
// at the cut: writes that come while an export runs do not tear it. Effects and cells are as they are when they are read,
// which is after the cut.
func (x Exporting) Export(ctx context.Context, to io.Writer, rest *Rest) (Summary, error) {
	if x.Progress == nil {
		x.Progress = func(Progress) {}
	}
	e := &export{Exporting: x, began: time.Now(), leftOut: map[string]int64{}}
	if err := e.run(ctx, to, rest); err != nil {
		return Summary{}, fmt.Errorf("export the journal: %w", err)
	}
	c := e.w.chain
	return Summary{Export: e.head.Export, Counts: c.counts, LeftOut: e.leftOut, Unplaced: e.unplaced, SHA256: e.digest}, nil
}

type export struct {
	Exporting
	w        *lineWriter
	head     journalLine
	began    time.Time
	total    int64
	services []string
	cursors  []cursor // still to be written, in order
	unplaced []string
	at       journal.Position
	// written are the last events of all streams, if the journal does not tell where an event is; awaited are those that
	// were there when the export began and are still to be written.
	written, awaited map[actors.Ref]int64
	leftOut          map[string]int64
	digest           string
}

// cursor of a consumer, or one of several.
type cursor struct {
	cursorLine
	at journal.Position
}

func (e *export) run(ctx context.Context, to io.Writer, rest *Rest) error {
	about, err := e.From.About(ctx)
	if err != nil {
		return err
	}
	if rest == nil {
		rest = &Rest{chain: newChain()}
	}
	e.w, e.head = newLineWriter(to, rest.chain), rest.head
	if e.written = rest.written; e.written == nil && positionsInTailOnly(about.Scheme) {
		e.written = map[actors.Ref]int64{}
	}
	e.awaited = map[actors.Ref]int64{}
	if rest.head.Export == "" {
		name := e.Name
		if name == "" {
			name = rand.Text()
		}
		e.head = journalLine{line{kindJournal}, formatVersion, name, about.ID, about.Scheme, time.Now().UTC().Truncate(time.Second)}
		if err := e.w.write(kindJournal, &e.head); err != nil {
			return err
		}
	} else if e.head.Journal != about.ID {
		return fmt.Errorf("what there is of it is of another journal (%s, not %s); give the file another name, or export the journal that was begun with", e.head.Journal, about.ID)
	}
	e.Progress(Progress{Doing: "begin"})
	if e.services, err = e.From.Services(ctx); err != nil {
		return err
	}
	if err := e.measure(ctx); err != nil {
		return err
	}
	if !rest.cut {
		if err := e.events(ctx, rest); err != nil {
			return err
		}
	} else {
		e.at = rest.at
	}
	if !rest.streams {
		if err := e.streams(ctx, rest.stream); err != nil {
			return err
		}
	}
	if err := e.effects(ctx); err != nil {
		return err
	}
	if err := e.cells(ctx); err != nil {
		return err
	}
	e.digest = e.w.chain.digest()
	end := endLine{line{kindEnd}, e.w.chain.lines, e.w.chain.counts, e.leftOut, e.digest}
	if err := e.w.write(kindEnd, &end); err != nil {
		return err
	}
	return e.flush()
}

func (e *export) flush() error {
	if err := e.w.to.Flush(); err != nil {
		return fmt.Errorf("write line %d: %w", e.w.chain.lines, err)
	}
	return nil
}

// measure finds out how many events there are, about.
func (e *export) measure(ctx context.Context) error {
	for _, s := range e.services {
		for entity, err := range List(ctx, e.From, s, "", 0) {
			if err != nil && !NotFound(err) {
				return err
			}
			e.total += entity.Sequence
			if ref := (actors.Ref{Service: s, ID: entity.ID}); e.written != nil && e.written[ref] < entity.Sequence {
				e.awaited[ref] = entity.Sequence
			}
		}
	}
	return nil
}
