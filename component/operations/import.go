package operations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
)

// Importing is an import.
type Importing struct {
	// To is the journal; nil only checks the export.
	To Journal
	// Merge brings it into a journal that has something already, from another import or of its own.
	Merge bool
	// Progress is called now and then, with bytes. Defaults to nothing.
	Progress func(Progress)
	// Size of the export in bytes, for Progress; 0 if it is not known.
	Size int64
}

// Import brings an export into a journal, and reads what it wrote back. After an interruption it is called again with the
// same export from its beginning: what is there already is compared, not written again.
//
// Events keep their sequences, times, commands and contexts. They get new positions, in the order of the export but for
// some thousand, in which those of each stream stay in order.
func (x Importing) Import(ctx context.Context, from io.Reader) (Summary, error) {
	if x.Progress == nil {
		x.Progress = func(Progress) {}
	}
	i := &importing{Importing: x, r: newLineReader(from), cursors: map[string]any{}, leftOut: map[string]int64{}}
	s, err := i.run(ctx)
	damaged, ok := errors.AsType[*DamagedError](err)
	switch {
	case ok && damaged.Torn:
		return s, fmt.Errorf("import: %w; let the export finish, by the command that began it, and import it again", err)
	case ok:
		return s, fmt.Errorf("import: %w; nothing from there on has been taken over: import another copy of it", err)
	case err != nil:
		return s, fmt.Errorf("import: %w", err)
	}
	return s, nil
}

// A window is this many events, or bytes, that are written stream by stream.
const (
	windowEvents = 4096
	windowBytes  = 16 << 20
)

type importing struct {
	Importing
	r       *lineReader
	head    journalLine
	state   importState
	version int64 // of the state's cell
	kinds   int   // rank of the kind of the last line
	window  window
	// at is the position of the target up to which what was written has been read back.
	at journal.Position
	// cursors are the values of the cells of consumers, by their keys.
	cursors map[string]any
	// left is up to where events of streams were given up while the window was brought in.
	left map[actors.Ref]int64
	// stream and what there is to it, and records that are still to be written.
	stream   *streamLine
	snapshot *journal.Snapshot
	records  []journal.CommandRecord
	size     int
	effects  []journal.Kept
	// adrift are cells about events whose positions are still to be found.
	adrift  map[eventKey][]journal.Cell
	leftOut map[string]int64
}

// importState is kept in a cell of the target.
type importState struct {
	Journal string `json:"journal"`
	Done    bool   `json:"done"`
	SHA256  string `json:"sha256,omitempty"`
	// Effects that are kept: some of them may be carried out by the time that the rest is brought in.
	Effects int64 `json:"effects"`
	// Cursors that have been passed, by their names, and where they stand in the target.
	Cursors map[string]positionForm `json:"cursors,omitempty"`
}

// ranks is the order in which lines of the kinds come.
var ranks = map[string]int{
	kindJournal: 0, kindCursor: 1, kindEvent: 1, kindCut: 2, kindStream: 3, kindSnapshot: 3, kindRecord: 3,
	kindEffect: 4, kindGroup: 5, kindCell: 5, kindEnd: 6,
}

func (i *importing) run(ctx context.Context) (Summary, error) {
	for {
		digest := ""
		if i.kinds >= ranks[kindCut] { // it may be the end that comes
			digest = i.r.chain.digest()
		}
		lines := i.r.chain.lines
		kind, _, err := i.r.next()
		if errors.Is(err, io.EOF) {
			return Summary{}, i.r.damaged(true, "it ends before its end")
		}
		if err != nil {
			return Summary{}, err
		}
		if digest == "" && kind == kindEnd {
			return Summary{}, i.r.wrong("the end comes too early")
		}
		rank, known := ranks[kind]
		switch {
		case !known:
			return Summary{}, i.r.wrong("it is of the kind %q, which this release does not know; use a newer one", kind)
		case kind == kindEvent && i.kinds == ranks[kindStream]: // beyond the cut, of the stream that comes
			rank = i.kinds
		case lines == 0 && kind != kindJournal || lines > 0 && (kind == kindJournal || rank < i.kinds):
			return Summary{}, i.r.wrong("a line of the kind %q is not expected here", kind)
		}
		if i.kinds = rank; kind == kindEnd {
			return i.end(ctx, digest, lines)
		}
		if err := i.take(ctx, kind); err != nil {
			return Summary{}, err
		}
		if i.state.Done {
			return i.already(ctx)
		}
		if i.r.chain.lines%1000 == 0 {
			i.Progress(Progress{kind, i.r.chain.bytes, i.Size})
		}
	}
}

func (i *importing) take(ctx context.Context, kind string) error {
	switch kind {
	case kindJournal:
		return i.begin(ctx)
	case kindEvent:
		var l eventLine
		if err := i.r.decode(&l); err != nil {
			return err
		}
		if i.To == nil {
			return nil
		}
		i.window.add(l.event())
		if len(i.window.events) >= windowEvents || i.window.bytes >= windowBytes {
			return i.restore(ctx)
		}
		return nil
	case kindCursor:
		return i.cursor(ctx)
	case kindCut:
		return errors.Join(i.restore(ctx), i.putCursors(ctx))
	case kindStream, kindSnapshot, kindRecord:
		return i.ofStream(ctx, kind)
	case kindEffect:
		return i.effect(ctx)
	case kindGroup:
		return i.group(ctx)
	default:
		return i.cell(ctx)
	}
}

// begin looks whether the export may come into the journal.
func (i *importing) begin(ctx context.Context) (err error) {
	if i.head, err = header(i.r); err != nil || i.To == nil {
		return err
	}
	about, err := i.To.About(ctx)
	if err != nil {
		return err
	}
	cell, err := cellOf(ctx, i.To, importPrefix+i.head.Export)
	if err != nil {
		return err
	}
	if i.version = cell.Version; cell.Version > 0 {
		if err := json.Unmarshal(cell.Value, &i.state); err != nil {
			return fmt.Errorf("read the cell %s, which tells of the import: %w", cell.Key, err)
		}
		if strings.HasPrefix(i.head.Export, movePrefix) {
			i.state.Done, i.state.Effects = false, 0 // the effects may be others now
		}
		return nil
	}
	if !i.Merge {
		if about.ID == i.head.Journal {
			return fmt.Errorf("%w: it is the journal that was exported, and has what it had; --merge brings back what was erased since", ErrOther)
		}
		if err := i.empty(ctx); err != nil {
			return err
		}
	}
	i.state.Journal = i.head.Journal
	return i.save(ctx)
}

func (i *importing) empty(ctx context.Context) error {
	services, err := i.To.Services(ctx)
	if err != nil {
		return err
	}
	if len(services) > 0 {
		return fmt.Errorf("%w: it is not empty, but has entities of %s; import into an empty one, or say --merge if the two belong together", ErrOther, services[0])
	}
	groups, err := i.To.Cells(ctx, groupPrefix, "", 1)
	if err != nil {
		return err
	}
	if len(groups) > 0 {
		return fmt.Errorf("%w: it has replicated entities of the app id %s; import into an empty one", ErrOther, groups[0].Key[len(groupPrefix):])
	}
	return nil
}

// save the state in its cell.
func (i *importing) save(ctx context.Context) error {
	value, err := json.Marshal(i.state)
	if err != nil {
		return err
	}
	i.version, err = i.To.Put(ctx, journal.Cell{Key: importPrefix + i.head.Export, Value: value, Version: i.version})
	if errors.Is(err, journal.ErrConflict) {
		return errors.New("the same import goes on elsewhere; wait for it, or end it")
	}
	return err
}

// end checks that nothing is missing.
func (i *importing) end(ctx context.Context, digest string, lines int64) (Summary, error) {
	var l endLine
	if err := i.r.decode(&l); err != nil {
		return Summary{}, err
	}
	if l.Lines != lines || l.SHA256 != digest {
		return Summary{}, i.r.wrong("it tells of %d lines with the checksum %s, and there are %d with %s", l.Lines, l.SHA256, lines, digest)
	}
	if _, _, err := i.r.next(); !errors.Is(err, io.EOF) {
		return Summary{}, i.r.damaged(false, "there is something behind the end")
	}
	if err := i.search(ctx); err != nil {
		return Summary{}, err
	}
	s := Summary{Export: i.head.Export, Counts: l.Counts, LeftOut: l.LeftOut, SHA256: digest}
	for w, n := range i.leftOut {
		if s.LeftOut == nil {
			s.LeftOut = map[string]int64{}
		}
		s.LeftOut[w] += n
	}
	if i.To == nil {
		return s, nil
	}
	if err := i.settleStream(ctx); err != nil {
		return s, err
	}
	if err := i.keep(ctx); err != nil {
		return s, err
	}
	i.state.Done, i.state.SHA256 = true, digest
	return s, i.save(ctx)
}

// already reads the rest of an export that is in the journal, for its numbers.
func (i *importing) already(ctx context.Context) (Summary, error) {
	again := Importing{}
	check := &importing{Importing: again, r: i.r, head: i.head, leftOut: map[string]int64{}}
	check.Progress = i.Progress
	check.Size = i.Size
	s, err := check.run(ctx)
	if err == nil && s.SHA256 != i.state.SHA256 {
		err = fmt.Errorf("%w: an export of this name, with another checksum, has been imported", ErrOther)
	}
	s.Already = true
	return s, err
}

// cellOf returns one cell.
func cellOf(ctx context.Context, j Journal, key string) (journal.Cell, error) {
	// One that begins with the key comes before all others that do.
	list, err := j.Cells(ctx, key, "", 1)
	if err != nil || len(list) == 0 || list[0].Key != key {
		return journal.Cell{Key: key}, err
	}
	return list[0], nil
}
