package building

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/component/catalog"
)

// TopicRetention removes messages of topics that are too old, whether or not they were delivered. The events of services
// are none. With a message goes the record by which its CloudEvent is known when it is published again; what stays of a
// stream that has nothing any more is its number.
type TopicRetention struct {
	// Journal in which the messages are.
	Journal TopicJournal
	// Age from which on they go.
	Age time.Duration
	// Interval is the rest between two sweeps. Defaults to 1 minute.
	Interval time.Duration
	// Log defaults to slog.Default().
	Log *slog.Logger
}

// TopicJournal is the part of journal.Journal that the retention of topics needs.
type TopicJournal interface {
	journal.Reader
	Services(ctx context.Context) ([]string, error)
	List(ctx context.Context, service, after string, limit int) ([]journal.Summary, error)
	Forget(ctx context.Context, ref actors.Ref, through int64, wholeValues bool) error
	ForgetRecords(ctx context.Context, ref actors.Ref, through int64) error
}

// topicPage is how many streams, or messages of a stream, are read at once.
const topicPage = 200

// topicRests is how many times as long as it works it rests.
const topicRests = 4

// Work sweeps until ctx ends, and then returns nil. A sweep that fails is begun again after the next rest.
func (r TopicRetention) Work(ctx context.Context) error {
	if r.Interval == 0 {
		r.Interval = time.Minute
	}
	if r.Log == nil {
		r.Log = slog.Default()
	}
	for failing := false; ; {
		removed, err := r.sweep(ctx, time.Now().Add(-r.Age))
		if ctx.Err() != nil {
			return nil //nolint:nilerr // its end ended the sweep
		}
		if removed > 0 {
			r.Log.Info("messages were removed that were too old", "messages", removed, "age", r.Age)
		}
		if err != nil && !failing {
			r.Log.Warn("messages that are too old are not removed now; it is tried again", "error", err)
		}
		failing = err != nil
		if !rest(ctx, r.Interval) {
			return nil
		}
	}
}

// rest reports false if ctx has ended before.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (r TopicRetention) sweep(ctx context.Context, before time.Time) (removed int64, err error) {
	services, err := r.Journal.Services(ctx)
	if err != nil {
		return 0, fmt.Errorf("look for topics: %w", err)
	}
	for _, service := range services {
		if !strings.HasPrefix(service, catalog.TopicPersistence) {
			continue
		}
		for after, more := "", true; more; {
			began := time.Now()
			streams, err := r.Journal.List(ctx, service, after, topicPage)
			if err != nil {
				return removed, fmt.Errorf("look for the streams of %s: %w", service, err)
			}
			for _, s := range streams {
				n, err := r.thin(ctx, actors.Ref{Service: service, ID: s.ID}, s, before)
				if removed += n; err != nil {
					return removed, err
				}
				after = s.ID
			}
			if more = len(streams) == topicPage; !rest(ctx, topicRests*time.Since(began)) {
				return removed, nil
			}
		}
	}
	return removed, nil
}

// thin removes what is too old of one stream.
func (r TopicRetention) thin(ctx context.Context, ref actors.Ref, s journal.Summary, before time.Time) (removed int64, err error) {
	for s.Floor < s.Sequence {
		through, last := s.Floor, false
		if s.Updated.Before(before) { // what came since was not seen, and stays
			through, last = s.Sequence, true
		} else {
			n := 0
			for e, err := range r.Journal.Read(ctx, ref, s.Floor, topicPage) {
				if err != nil {
					return removed, r.damaged(ref, err)
				}
				if last = !e.Time.Before(before); last {
					break
				}
				through = e.Sequence
				n++
			}
			last = last || n < topicPage
		}
		if through > s.Floor {
			// The records first: with the messages gone nobody would come to look for them.
			if err := r.Journal.ForgetRecords(ctx, ref, through); err != nil {
				return removed, fmt.Errorf("remove records of messages: %w", err)
			}
			if err := r.Journal.Forget(ctx, ref, through, true); err != nil {
				return removed, fmt.Errorf("remove messages of %s: %w", ref, err)
			}
			removed += through - s.Floor
			s.Floor = through
		}
		if last {
			break
		}
	}
	return removed, nil
}

// damaged lets a stream be that cannot be read, or was thinned by somebody else: it must not keep the others from it.
func (r TopicRetention) damaged(ref actors.Ref, err error) error {
	switch {
	case errors.Is(err, journal.ErrCorrupt):
		r.Log.Warn("messages of a damaged stream are not removed", "stream", ref.String(), "error", err)
		return nil
	case errors.Is(err, journal.ErrForgotten):
		return nil
	default:
		return fmt.Errorf("read messages of %s: %w", ref, err)
	}
}
