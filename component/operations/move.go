package operations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

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
	unwritten, err := m.watch(ctx)
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
	if err := m.compare(ctx); err != nil {
		return s, err
	}
	if err := unwritten(ctx); err != nil {
		return s, fmt.Errorf("move the journal: %w; what was written meanwhile may not be moved: run the same command again", err)
	}
	return s, nil
}

// watch returns what reports, at the end, whether nobody has written meanwhile: by what its back end knows or else, as far
// as that goes, by the signs that components give that they are alive. One that is, is an error at once.
func (m Moving) watch(ctx context.Context) (func(context.Context) error, error) {
	if d, ok := m.From.(*Direct); ok && d.Held != nil {
		return d.Held, d.Held(ctx)
	}
	before, err := m.signs(ctx)
	if err != nil {
		return nil, err
	}
	still := func(ctx context.Context) error {
		now, err := m.signs(ctx)
		if err != nil {
			return err
		}
		for key, version := range now {
			if before[key] != version {
				return errors.New("a component is at work on it; stop all components that have it open")
			}
		}
		return nil
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(alive):
	}
	return still, still(ctx)
}

// alive is longer than it takes a component to give the next sign.
const alive = 3 * time.Second

// signs are the cells that components write again and again, with their versions.
func (m Moving) signs(ctx context.Context) (map[string]int64, error) {
	versions := map[string]int64{}
	for _, prefix := range []string{"member/", "lease/"} {
		for after := ""; ; {
			page, err := m.From.Cells(ctx, prefix, after, 0)
			if err != nil {
				return nil, fmt.Errorf("look for components that are at work: %w", err)
			}
			if len(page) == 0 {
				break
			}
			for _, c := range page {
				after, versions[c.Key] = c.Key, c.Version
			}
		}
	}
	return versions, nil
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
