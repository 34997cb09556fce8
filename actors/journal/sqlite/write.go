package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

var errInUse = errors.New("another process, or another journal of this one, has the file open; stop that first, or give this one a file of its own")

// ErrBroken is matched by the errors of a journal whose disk failed during a commit. What the disk holds is not known
// to the process any more; only opening the journal anew can tell.
var ErrBroken = errors.New("the disk failed during a commit; repair it and start again")

// Append implements journal.Appender.
func (j *Journal) Append(ctx context.Context, batch []journal.Append) []journal.Result {
	return j.write(ctx, batch, false)
}

// Transact implements journal.Appender.
func (j *Journal) Transact(ctx context.Context, batch []journal.Append) []journal.Result {
	return j.write(ctx, batch, true)
}

func (j *Journal) write(ctx context.Context, batch []journal.Append, whole bool) []journal.Result {
	if len(batch) == 0 {
		return nil
	}
	if err := j.enter(ctx); err != nil {
		return rules.All(len(batch), journal.Refused, err)
	}
	defer j.running.RUnlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.usable(); err != nil { // it may have broken while this call waited for its turn
		return rules.All(len(batch), journal.Refused, err)
	}
	if early := rules.Early(ctx, len(batch)); early != nil {
		return early
	}
	groups := rules.Groups(batch)
	results, err := j.commit(groups, len(batch), whole)
	if err == nil {
		return results
	}
	// One append may be at fault for all. A full disk is not one's fault.
	if whole || len(groups) == 1 || j.usable() != nil || code(err)&0xff == sqlite3.SQLITE_FULL {
		return rules.All(len(batch), j.status(), err)
	}
	results = rules.All(len(batch), journal.Refused, err)
	for _, g := range groups {
		one, err := j.commit([]*rules.Group{g}, len(batch), false)
		for _, i := range g.Index {
			if err != nil {
				results[i] = journal.Result{Status: j.status(), Err: err}
			} else {
				results[i] = one[i]
			}
		}
	}
	return results
}

// status of what could not be committed: rolled back, or not known.
func (j *Journal) status() journal.Status {
	if j.usable() != nil {
		return journal.Unknown
	}
	return journal.Refused
}

// commit writes groups of a batch of n in one transaction. It runs to its end whatever becomes of the caller's context:
// it waits for nobody, and an answer is worth more than a moment.
func (j *Journal) commit(groups []*rules.Group, n int, whole bool) ([]journal.Result, error) {
	w := j.writer
	results := make([]journal.Result, n)
	err := j.transaction(func() (bool, error) {
		now := time.Now()
		count, total := 0, 0
		for _, g := range groups {
			if journal.ValidateRef(g.Ref) != nil {
				for k, i := range g.Index {
					results[i] = journal.Result{Status: journal.Refused, Err: g.Appends[k].Validate()}
				}
				total += len(g.Index)
				continue
			}
			committed, err := w.group(g, results, now)
			if err != nil {
				return false, fmt.Errorf("append to %s: %w", g.Ref, err)
			}
			count += committed
			total += len(g.Index)
		}
		return count > 0 && !(whole && count < total), nil
	})
	if err != nil {
		return nil, err
	}
	if whole {
		for _, r := range results {
			if r.Status != journal.Committed {
				rules.Cancel(groups, results)
				break
			}
		}
	}
	return results, nil
}

// transaction runs one and commits it if body says so.
func (j *Journal) transaction(body func() (commit bool, err error)) error {
	w := j.writer
	if _, err := w.begin.Exec(); err != nil {
		return j.failed("begin", err)
	}
	commit, err := body()
	if err == nil && commit {
		_, err = w.commit.Exec()
		if err == nil {
			return nil
		}
		err = j.failed("commit", err)
	} else if err != nil {
		err = j.failed("write", err)
	}
	// Some errors have rolled back already, and then there is nothing to roll back.
	if _, rollback := w.rollback.Exec(); rollback != nil && err == nil {
		return j.failed("roll back", rollback)
	}
	return err
}

// failed decides over an error: after one of the disk nothing that the file seems to hold can be believed.
func (j *Journal) failed(doing string, err error) error {
	err = fmt.Errorf("%s: %w", doing, err)
	switch code(err) & 0xff {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		err = fmt.Errorf("%w: %w: %w", journal.ErrUnavailable, ErrBroken, err)
		j.broken.CompareAndSwap(nil, &err)
	case sqlite3.SQLITE_FULL:
		err = fmt.Errorf("%w: %w", journal.ErrFull, err)
	}
	return err
}

func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()
	}
	return 0
}

// Fence implements journal.Appender.
func (j *Journal) Fence(ctx context.Context, ref actors.Ref, epoch int64) (journal.Head, error) {
	if err := journal.ValidateRef(ref); err != nil {
		return journal.Head{}, err
	}
	if err := j.enter(ctx); err != nil {
		return journal.Head{}, err
	}
	defer j.running.RUnlock()
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.usable(); err != nil {
		return journal.Head{}, err
	}
	var head journal.Head
	err := j.transaction(func() (bool, error) {
		s, err := j.writer.look(ref)
		if err != nil {
			return false, err
		}
		head = rules.Raise(s.head, epoch)
		_, err = j.writer.move(s, ref, head, time.Now().UnixMicro())
		return true, err
	})
	if err != nil {
		return journal.Head{}, fmt.Errorf("fence %s: %w", ref, err)
	}
	return head, nil
}

// group judges and writes the appends of one stream.
func (w *writer) group(g *rules.Group, results []journal.Result, now time.Time) (int, error) {
	s, err := w.look(g.Ref)
	if err != nil {
		return 0, err
	}
	var failed error
	judged, n := rules.Judge(s.head, func(command string) *journal.Record {
		if s.number == 0 {
			return nil
		}
		r, err := w.record(s.number, command)
		failed = cmp.Or(failed, err)
		return r
	}, g.Appends)
	if failed != nil {
		return 0, failed
	}
	for k, i := range g.Index {
		results[i] = judged[k]
	}
	if n == 0 {
		return 0, nil
	}
	number, err := w.move(s, g.Ref, judged[n-1].Head, now.UnixMicro())
	if err != nil {
		return 0, err
	}
	at := s.head.Sequence
	for _, a := range g.Appends[:n] {
		if err := w.put(number, at, a, now.UnixMicro()); err != nil {
			return 0, err
		}
		at += int64(len(a.Events))
	}
	return n, w.keep(rules.KeepAll(g.Ref, g.Appends[:n]), now)
}

// put writes what an append adds to its stream.
func (w *writer) put(number, at int64, a *journal.Append, now int64) error {
	for _, e := range a.Events {
		at++
		e.Ref, e.Sequence, e.Command = a.Ref, at, a.Command
		p := &e.Payload
		if _, err := w.putEvent.Exec(number, at, now, e.Name, p.TypeURL, p.ContentType, bytes(p.Data), a.Command,
			text(rules.EncodeContext(e.Context)), int64(e.Checksum())); err != nil {
			return err
		}
	}
	if r := a.Record; r != nil {
		if _, err := w.putRecord.Exec(number, a.Command, r.Hash[:], bytes(r.Outcome), at); err != nil {
			return err
		}
	}
	if a.Snapshot != nil {
		s := journal.Snapshot{Sequence: at, Payload: *a.Snapshot}
		if _, err := w.putSnapshot.Exec(number, at, s.Payload.TypeURL, s.Payload.ContentType, bytes(s.Payload.Data),
			int64(s.Checksum(a.Ref))); err != nil {
			return err
		}
	}
	return nil
}

// bytes keeps an empty value from becoming NULL.
func bytes(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func text(b []byte) any {
	if b == nil {
		return nil
	}
	return string(b)
}

// position is where a stream is, and its number in the file; 0 if it has none yet.
type position struct {
	number int64
	head   journal.Head
}

func (w *writer) look(ref actors.Ref) (position, error) {
	var p position
	err := w.getHead.QueryRow(ref.Service, ref.ID).Scan(&p.number, &p.head.Sequence, &p.head.Epoch)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return p, err
}

func (w *writer) move(p position, ref actors.Ref, to journal.Head, now int64) (int64, error) {
	if p.number != 0 {
		_, err := w.setHead.Exec(to.Sequence, to.Epoch, now, p.number)
		return p.number, err
	}
	made, err := w.newHead.Exec(ref.Service, ref.ID, to.Sequence, to.Epoch, now)
	if err != nil {
		return 0, err
	}
	return made.LastInsertId()
}

func (w *writer) record(number int64, command string) (*journal.Record, error) {
	var r journal.Record
	var hash []byte
	err := w.getRecord.QueryRow(number, command).Scan(&hash, &r.Outcome, &r.Sequence)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if copy(r.Hash[:], hash); err == nil && len(hash) != len(r.Hash) {
		err = errors.New("the record of a command is damaged")
	}
	return &r, err
}
