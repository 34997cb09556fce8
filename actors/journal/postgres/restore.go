package postgres

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// restoreSQL makes a stream, or moves it if its row still has the version $8, which is the first that is written, as in
// an append.
const restoreSQL = `
WITH h AS (
  INSERT INTO {schema}.streams AS h (service, id, sequence, epoch, origin, floor, updated)
  VALUES ($1, $2, $3::int8, $4::int8, $5::int8, $6::int8, 'epoch'::timestamptz + $7::int8 * interval '1 microsecond')
  ON CONFLICT (service, id) DO UPDATE SET sequence = excluded.sequence, epoch = excluded.epoch, origin = excluded.origin,
    floor = excluded.floor, updated = excluded.updated
    WHERE h.xmin::text = $8::text
  RETURNING h.stream
), g AS (
  DELETE FROM {schema}.events e USING h WHERE e.stream = h.stream AND e.sequence <= $6
), e AS (
  INSERT INTO {schema}.events (stream, sequence, time, name, type_url, content_type, data, command, context, checksum)
  SELECT h.stream, e.sequence, 'epoch'::timestamptz + e.time * interval '1 microsecond', e.name, e.type_url, e.content_type,
    e.data, e.command, e.context, e.checksum
  FROM unnest($9::int8[], $10::int8[], $11::text[], $12::text[], $13::text[], $14::bytea[], $15::text[], $16::text[], $17::int8[])
    WITH ORDINALITY AS e(sequence, time, name, type_url, content_type, data, command, context, checksum, n)
  CROSS JOIN h
  ORDER BY e.n
), k AS (
  INSERT INTO {schema}.commands (stream, command, sequence, hash, outcome)
  SELECT h.stream, k.command, k.sequence, k.hash, k.outcome
  FROM unnest($18::text[], $19::int8[], $20::bytea[], $21::bytea[]) AS k(command, sequence, hash, outcome) CROSS JOIN h
), p AS (
  INSERT INTO {schema}.snapshots (stream, sequence, type_url, content_type, data, checksum)
  SELECT h.stream, p.sequence, p.type_url, p.content_type, p.data, p.checksum
  FROM unnest($22::int8[], $23::text[], $24::text[], $25::bytea[], $26::int8[]) AS p(sequence, type_url, content_type, data, checksum)
  CROSS JOIN h
  ON CONFLICT (stream) DO UPDATE SET sequence = excluded.sequence, type_url = excluded.type_url,
    content_type = excluded.content_type, data = excluded.data, checksum = excluded.checksum
)
SELECT stream FROM h`

// Restore implements journal.Keeper. It decides by what it has read, and writes if that is still so.
func (j *Journal) Restore(ctx context.Context, r journal.Restored) error {
	err := r.Validate()
	for done := false; err == nil && !done; {
		done, err = j.restore(ctx, &r)
		if contended(sqlState(err)) {
			err = ctx.Err()
		}
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", r.Ref, err)
	}
	return nil
}

func (j *Journal) restore(ctx context.Context, r *journal.Restored) (bool, error) {
	k, v, err := j.standing(ctx, r.Ref)
	if err != nil {
		return false, err
	}
	events := map[int64]*journal.Event{}
	if n := len(r.Events); n > 0 && k.Span.Sequence > k.Span.Floor {
		after := max(k.Span.Floor, r.Events[0].Sequence-1)
		if n := min(k.Span.Sequence, r.Events[n-1].Sequence) - after; n > 0 {
			for e, err := range j.Read(ctx, r.Ref, after, int(n)) {
				if err != nil {
					return false, err
				}
				events[e.Sequence] = &e
			}
		}
	}
	records, err := j.recorded(ctx, r)
	if err != nil {
		return false, err
	}
	to, err := k.Restore(r, func(sequence int64) *journal.Event { return events[sequence] },
		func(command string) *journal.Record { return records[command] })
	if err != nil {
		return false, err
	}
	return j.remove(ctx, restoreSQL, restoreArguments(r, to, v)...)
}

// recorded returns what records there are of the commands that are to be restored.
func (j *Journal) recorded(ctx context.Context, r *journal.Restored) (map[string]*journal.Record, error) {
	records := make(map[string]*journal.Record, len(r.Records))
	if len(r.Records) == 0 {
		return records, nil
	}
	checks := make([]journal.Check, len(r.Records))
	for i, c := range r.Records {
		checks[i] = journal.Check{Ref: r.Ref, Command: c.Command, After: -1}
	}
	checked, err := j.Heads(ctx, checks)
	if err != nil {
		return nil, err
	}
	for i, c := range checked {
		records[r.Records[i].Command] = c.Record
	}
	return records, nil
}

func restoreArguments(r *journal.Restored, to *rules.Restoring, v version) []driver.Value {
	eSequence, eTime, eSum := newArray(oidInt8, 0), newArray(oidInt8, 0), newArray(oidInt8, 0)
	eName, eType, eContent := newArray(oidText, 0), newArray(oidText, 0), newArray(oidText, 0)
	eData, eCommand, eContext := newArray(oidBytea, 0), newArray(oidText, 0), newArray(oidText, 0)
	for i := range to.Events {
		e := &to.Events[i]
		eSequence.int8(e.Sequence)
		eTime.int8(e.Time.UnixMicro())
		eName.text(e.Name)
		eType.text(e.Payload.TypeURL)
		eContent.text(e.Payload.ContentType)
		eData.bytes(e.Payload.Data)
		eCommand.text(e.Command)
		if origin := rules.EncodeContext(e.Context); origin != nil {
			eContext.bytes(origin)
		} else {
			eContext.null()
		}
		eSum.int8(int64(e.Checksum()))
	}
	kCommand, kSequence := newArray(oidText, 0), newArray(oidInt8, 0)
	kHash, kOutcome := newArray(oidBytea, 0), newArray(oidBytea, 0)
	for i := range to.Records {
		c := &to.Records[i]
		kCommand.text(c.Command)
		kSequence.int8(c.Sequence)
		kHash.bytes(c.Hash[:])
		kOutcome.bytes(c.Outcome)
	}
	pSequence, pType, pContent := newArray(oidInt8, 0), newArray(oidText, 0), newArray(oidText, 0)
	pData, pSum := newArray(oidBytea, 0), newArray(oidInt8, 0)
	if p := to.Snapshot; p != nil {
		pSequence.int8(p.Sequence)
		pType.text(p.Payload.TypeURL)
		pContent.text(p.Payload.ContentType)
		pData.bytes(p.Payload.Data)
		pSum.int8(int64(p.Checksum(r.Ref)))
	}
	s := &to.Span
	return []driver.Value{
		r.Ref.Service, r.Ref.ID, s.Sequence, s.Epoch, s.Origin, s.Floor, s.Updated.UnixMicro(), string(v),
		eSequence.encode(), eTime.encode(), eName.encode(), eType.encode(), eContent.encode(), eData.encode(),
		eCommand.encode(), eContext.encode(), eSum.encode(),
		kCommand.encode(), kSequence.encode(), kHash.encode(), kOutcome.encode(),
		pSequence.encode(), pType.encode(), pContent.encode(), pData.encode(), pSum.encode(),
	}
}
