package operations

import (
	"context"
	"errors"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// forgetTries is how often a stream is looked at anew because events were forgotten meanwhile.
const forgetTries = 100

// streams writes what there is to streams besides their events, beginning after one.
func (e *export) streams(ctx context.Context, after actors.Ref) error {
	done := e.w.chain.counts[kindStream]
	for _, s := range e.services {
		if s < after.Service {
			continue
		}
		from := ""
		if s == after.Service {
			from = after.ID
		}
		for entity, err := range List(ctx, e.From, s, from, 0) {
			if err != nil {
				if NotFound(err) {
					break
				}
				return err
			}
			err = e.stream(ctx, actors.Ref{Service: s, ID: entity.ID})
			for tries := 0; errors.Is(err, journal.ErrForgotten) && tries < forgetTries; tries++ { // while it was looked at
				err = e.stream(ctx, actors.Ref{Service: s, ID: entity.ID})
			}
			if err != nil {
				return err
			}
			if done++; done%100 == 0 {
				e.Progress(Progress{Doing: "streams", Done: done})
			}
		}
	}
	return nil
}

func (e *export) stream(ctx context.Context, ref actors.Ref) error {
	span, err := e.From.Span(ctx, ref)
	if err != nil {
		return err
	}
	at, err := e.atCut(ctx, ref, span)
	if err != nil {
		return err
	}
	if at == span.Floor && at < span.Sequence && at > 0 {
		// What it had at the cut has been forgotten meanwhile. As it is now is better than not at all.
		if err := e.beyond(ctx, ref, span); err != nil {
			return err
		}
	} else {
		span.Sequence = at
	}
	l := streamLine{line{kindStream}, streamOf(ref, span)}
	if err := e.w.write(kindStream, &l); err != nil {
		return err
	}
	snapshot, err := e.From.Snapshot(ctx, ref)
	if err != nil {
		return err
	}
	if snapshot != nil && snapshot.Sequence > span.Origin && snapshot.Sequence <= span.Sequence {
		l := snapshotLine{line{kindSnapshot}, snapshotForm{snapshot.Sequence, payloadOf(snapshot.Payload)}}
		if err := e.w.write(kindSnapshot, &l); err != nil {
			return err
		}
	}
	for after := ""; ; {
		page, err := e.From.Records(ctx, ref, after, 0)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return nil
		}
		for i := range page {
			after = page[i].Command
			if page[i].Sequence > span.Sequence {
				continue // of a command that came after the cut
			}
			l := recordLine{line{kindRecord}, recordOf(&page[i])}
			if err := e.w.write(kindRecord, &l); err != nil {
				return err
			}
		}
	}
}

// beyond writes the events that a stream has now.
func (e *export) beyond(ctx context.Context, ref actors.Ref, span journal.Span) error {
	for after := span.Floor; after < span.Sequence; {
		page, err := e.From.Events(ctx, ref, after, int(min(span.Sequence-after, pageEvents)))
		if err != nil {
			return err
		}
		if len(page) == 0 {
			return &journal.CorruptError{Ref: ref, Sequence: after + 1, Reason: "it is missing"}
		}
		for i := range page {
			after = page[i].Sequence
			l := eventLineOf(&page[i])
			if err := e.w.write(kindEvent, &l); err != nil {
				return err
			}
		}
	}
	return nil
}

// atCut is the sequence that a stream had at the cut.
func (e *export) atCut(ctx context.Context, ref actors.Ref, span journal.Span) (int64, error) {
	behind := func(sequence int64) (bool, error) {
		list, err := e.From.Events(ctx, ref, sequence-1, 1)
		if err != nil {
			return false, err
		}
		return len(list) == 1 && list[0].Position.Compare(e.at) <= 0, nil
	}
	if span.Sequence == span.Floor { // erased, or without events
		return span.Sequence, nil
	}
	if e.written != nil {
		return max(e.written[ref], span.Floor), nil
	}
	if ok, err := behind(span.Sequence); ok || err != nil {
		return span.Sequence, err
	}
	low, high := span.Floor, span.Sequence
	for high-low > 1 {
		middle := low + (high-low)/2
		ok, err := behind(middle)
		if err != nil {
			return 0, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}
