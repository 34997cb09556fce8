package operations

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// Moving takes all that is worth keeping from one journal to another.
type Moving struct {
	From, To Journal
	// Merge is that of Importing.
	Merge bool
	// Progress is called now and then. Defaults to nothing.
	Progress func(Progress)
}

// Move exports into an import, and then looks whether the target has what the source has. It may be called again after an
// interruption, or after the source has gone on.
func (m Moving) Move(ctx context.Context) (Summary, error) {
	about, err := m.From.About(ctx)
	if err != nil {
		return Summary{}, fmt.Errorf("move the journal: %w", err)
	}
	var s Summary
	r, w := io.Pipe()
	g, ctx2 := errgroup.WithContext(ctx)
	g.Go(func() error {
		_, err := Exporting{From: m.From, Name: movePrefix + about.ID, Progress: m.Progress}.Export(ctx2, w, nil)
		return errors.Join(err, w.CloseWithError(err))
	})
	g.Go(func() (err error) {
		s, err = Importing{To: m.To, Merge: m.Merge}.Import(ctx2, r)
		r.CloseWithError(err)
		return err
	})
	if err := g.Wait(); err != nil {
		return s, fmt.Errorf("move the journal: %w", err)
	}
	return s, m.compare(ctx)
}

// movePrefix is what the names of exports begin with that are moves. They may be repeated when they are done: the source
// may have gone on.
const movePrefix = "move-"

// compare looks whether the source has gone on.
func (m Moving) compare(ctx context.Context) error {
	services, err := m.From.Services(ctx)
	if err != nil {
		return fmt.Errorf("compare the journals: %w", err)
	}
	behind, example := 0, ""
	for _, service := range services {
		for entity, err := range List(ctx, m.From, service, "", 0) {
			if NotFound(err) {
				break
			}
			if err != nil {
				return fmt.Errorf("compare the journals: %w", err)
			}
			span, err := m.To.Span(ctx, Ref{Service: service, ID: entity.ID})
			if err != nil {
				return fmt.Errorf("compare the journals: %w", err)
			}
			if span.Sequence < entity.Sequence {
				behind++
				example = service + "/" + entity.ID
			}
		}
	}
	if behind > 0 {
		return fmt.Errorf("the journal that is moved has gone on: %d of its entities, such as %s, have events that were not moved; stop the components that write to it, and run the same command again", behind, example)
	}
	return nil
}
