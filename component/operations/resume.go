package operations

import (
	"errors"
	"fmt"
	"io"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Rest of an export that was interrupted.
type Rest struct {
	// Bytes of what was written that are kept; what follows is to be cut off.
	Bytes int64
	// Complete says that nothing is left to be done; Summary is of what there is.
	Complete bool
	Summary  Summary

	chain chain
	head  journalLine
	// event is the last one.
	event journal.Event
	// cursors that are written.
	cursors map[string]bool
	// cut says that all events are there, up to at.
	cut bool
	at  journal.Position
	// written are the last events of all streams, if the journal does not tell where an event is.
	written map[actors.Ref]int64
	// stream is the last one that is there with all that belongs to it; streams says that all are.
	stream  actors.Ref
	streams bool
	// last is Bytes after the line before.
	last int64
	// current is the stream whose lines come.
	current actors.Ref
}

// Resume reads what there is of an export, checks it, and says what is left to be done. What is torn at its end does not
// count. One that is damaged elsewhere is a *DamagedError.
func Resume(from io.ReadSeeker) (*Rest, error) {
	rest := &Rest{cursors: map[string]bool{}}
	r := newLineReader(from)
	for {
		before := r.chain.bytes
		kind, _, err := r.next()
		if damaged, ok := errors.AsType[*DamagedError](err); errors.Is(err, io.EOF) || ok && damaged.Torn {
			break
		}
		if err == nil {
			err = rest.take(r, kind, before)
		}
		if err != nil {
			return nil, fmt.Errorf("go on with an export: %w; give another name, or remove it and begin anew", err)
		}
	}
	// The checksums of what is kept.
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("go on with an export: %w", err)
	}
	r = newLineReader(io.LimitReader(from, rest.Bytes))
	for r.chain.bytes < rest.Bytes {
		if _, _, err := r.next(); err != nil {
			return nil, fmt.Errorf("go on with an export: read it again: %w", err)
		}
	}
	rest.chain = r.chain
	return rest, nil
}

// take notes a line. Of streams those are kept behind which another one follows: whether all records of the last one are
// there cannot be known. Effects and cells are written anew.
func (rest *Rest) take(r *lineReader, kind string, before int64) error {
	rest.Bytes = r.chain.bytes
	switch kind {
	case kindJournal:
		var err error
		if rest.head, err = header(r); positionsInTailOnly(rest.head.Scheme) {
			rest.written = map[actors.Ref]int64{}
		}
		return err
	case kindCursor:
		var l cursorLine
		if err := r.decode(&l); err != nil {
			return err
		}
		rest.cursors[l.name()] = true
	case kindEvent:
		if rest.cut { // of the stream that comes
			rest.Bytes = rest.last
			break
		}
		var l eventLine
		if err := r.decode(&l); err != nil {
			return err
		}
		rest.event = l.event()
		rest.event.Payload = actors.Payload{}
		if l.At != nil {
			rest.event.Position = journal.Position(*l.At)
		}
		if rest.written != nil {
			rest.written[rest.event.Ref] = rest.event.Sequence
		}
	case kindCut:
		var l cutLine
		if err := r.decode(&l); err != nil {
			return err
		}
		rest.cut, rest.at = true, journal.Position{Transaction: l.Transaction, Ordinal: l.Ordinal}
	case kindStream:
		var l streamLine
		if err := r.decode(&l); err != nil {
			return err
		}
		rest.Bytes, rest.stream, rest.current = before, rest.current, l.ref()
	case kindSnapshot, kindRecord:
		rest.Bytes = rest.last
	case kindEnd:
		var l endLine
		if err := r.decode(&l); err != nil {
			return err
		}
		rest.Complete = true
		rest.Summary = Summary{Export: rest.head.Export, Counts: l.Counts, LeftOut: l.LeftOut, SHA256: l.SHA256, Already: true}
	default:
		if rest.Bytes = rest.last; !rest.streams {
			rest.streams, rest.stream, rest.Bytes = true, rest.current, before
		}
	}
	rest.last = rest.Bytes
	return nil
}

// header reads the first line.
func header(r *lineReader) (journalLine, error) {
	var l journalLine
	if err := r.decode(&l); err != nil {
		return l, err
	}
	switch {
	case r.chain.lines != 1 || l.Export == "":
		return l, r.wrong("a line of the kind %q is not expected here", kindJournal)
	case l.Version < 1 || l.Version > formatVersion:
		return l, r.wrong("it has version %d of the format, and this release knows up to %d; use a newer one", l.Version, formatVersion)
	}
	return l, nil
}
