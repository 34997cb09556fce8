package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// servicesSQL finds one service after the other in the index, however many streams one has.
const servicesSQL = `
WITH RECURSIVE s (service) AS (
  (SELECT h.service FROM {schema}.streams h ORDER BY h.service LIMIT 1)
  UNION ALL
  SELECT (SELECT h.service FROM {schema}.streams h WHERE h.service > s.service ORDER BY h.service LIMIT 1)
  FROM s WHERE s.service IS NOT NULL
)
SELECT service FROM s WHERE service IS NOT NULL`

const recordsSQL = `
SELECT command, sequence, hash, outcome FROM (
  SELECT k.*, sum(octet_length(k.outcome)) OVER (ORDER BY k.command ROWS UNBOUNDED PRECEDING) - octet_length(k.outcome) AS before
  FROM {schema}.commands k
  WHERE k.stream = (SELECT h.stream FROM {schema}.streams h WHERE h.service = $1 AND h.id = $2) AND k.command > $3
  ORDER BY k.command LIMIT $4) k
WHERE before < {page} ORDER BY command`

// keptSQL reads what Forget and Restore have to know. The version of the row tells whether somebody was faster.
const keptSQL = `
SELECT h.xmin::text, h.sequence, h.epoch, h.origin, h.floor, (extract(epoch FROM h.updated) * 1000000)::int8,
  s.sequence, s.checksum, s.type_url, s.content_type, s.data
FROM {schema}.streams h LEFT JOIN {schema}.snapshots s ON s.stream = h.stream
WHERE h.service = $1 AND h.id = $2`

// forgetSQL removes the events of streams up to a sequence. If those are all of a stream, it begins anew. Rows are locked
// in the order of the arguments, as by moveSQL.
const forgetSQL = `
WITH h AS (
  UPDATE {schema}.streams h SET floor = f.through,
    origin = CASE WHEN h.sequence = f.through THEN f.through ELSE h.origin END,
    updated = CASE WHEN h.sequence = f.through THEN now() ELSE h.updated END
  FROM unnest($1::text[], $2::text[], $3::int8[]) AS f(service, id, through)
  WHERE h.service = f.service AND h.id = f.id AND h.floor < f.through AND h.sequence >= f.through
  RETURNING h.stream, f.through, h.origin = f.through AS anew
), p AS (
  DELETE FROM {schema}.snapshots s USING h WHERE s.stream = h.stream AND h.anew
), e AS (
  DELETE FROM {schema}.events e USING h WHERE e.stream = h.stream AND e.sequence <= h.through
)
SELECT 1 WHERE false`

// The three sorts of effects of a source, each by its index. $3 is the lane.
var (
	effectsOf = []string{
		"e.service = $1 AND e.source = $2 AND NOT e.parked AND NOT e.delayed",
		"e.lane = $3::int4 AND NOT e.parked AND e.delayed AND e.service = $1 AND e.source = $2",
		"e.parked AND e.service = $1 AND e.source = $2",
	}

	leftSQL = `
SELECT EXISTS (SELECT FROM {schema}.streams h JOIN {schema}.commands k USING (stream) WHERE h.service = $1 AND h.id = $2)
  OR EXISTS (SELECT FROM {schema}.streams h JOIN {schema}.snapshots s USING (stream) WHERE h.service = $1 AND h.id = $2)
  OR EXISTS (SELECT FROM {schema}.effects e WHERE ` + effectsOf[0] + `)
  OR EXISTS (SELECT FROM {schema}.effects e WHERE ` + effectsOf[1] + `)
  OR EXISTS (SELECT FROM {schema}.effects e WHERE ` + effectsOf[2] + `)`

	// eraseSQL removes all, provided that nobody has touched the stream since the statement's view of it: else it would
	// leave behind what was appended meanwhile.
	eraseSQL = `
WITH s AS MATERIALIZED (
  SELECT h.xmin AS was FROM {schema}.streams h WHERE h.service = $1 AND h.id = $2
), h AS (
  UPDATE {schema}.streams h SET epoch = h.epoch + 1, origin = h.sequence, floor = h.sequence, updated = now()
  WHERE h.service = $1 AND h.id = $2 AND h.xmin = (SELECT s.was FROM s)
  RETURNING h.stream
), e AS (
  DELETE FROM {schema}.events e USING h WHERE e.stream = h.stream
), k AS (
  DELETE FROM {schema}.commands k USING h WHERE k.stream = h.stream
), p AS (
  DELETE FROM {schema}.snapshots s USING h WHERE s.stream = h.stream
)` + eraseEffects("EXISTS (SELECT FROM h)") + `
SELECT stream FROM h`

	// eraseEffectsSQL is for a source that has no stream.
	eraseEffectsSQL = `WITH nothing AS (SELECT)` + eraseEffects("true") + ` SELECT 1 WHERE false`
)

func eraseEffects(condition string) string {
	var text strings.Builder
	for n, of := range effectsOf {
		fmt.Fprintf(&text, ", effects%d AS (\n  DELETE FROM {schema}.effects e WHERE %s AND %s\n)", n, of, condition)
	}
	return text.String()
}

// eraseRecordsSQL removes $3 records if there are that many.
const eraseRecordsSQL = `
WITH d AS MATERIALIZED (
  SELECT k.stream, k.command FROM {schema}.commands k
  WHERE k.stream = (SELECT h.stream FROM {schema}.streams h WHERE h.service = $1 AND h.id = $2) ORDER BY k.command LIMIT $3
), k AS (
  DELETE FROM {schema}.commands k USING d
  WHERE k.stream = d.stream AND k.command = d.command AND (SELECT count(*) FROM d) = $3
)
SELECT 1 FROM d LIMIT ((SELECT count(*) FROM d) = $3)::int`

// forgetRecordsSQL removes up to $4 records, and returns a row if there were that many.
const forgetRecordsSQL = `
WITH d AS MATERIALIZED (
  SELECT k.stream, k.command FROM {schema}.commands k
  WHERE k.stream = (SELECT h.stream FROM {schema}.streams h WHERE h.service = $1 AND h.id = $2) AND k.sequence <= $3 LIMIT $4
), k AS (
  DELETE FROM {schema}.commands k USING d WHERE k.stream = d.stream AND k.command = d.command
)
SELECT 1 FROM d LIMIT ((SELECT count(*) FROM d) = $4)::int`

// Services implements journal.Keeper.
func (j *Journal) Services(ctx context.Context) (list []string, err error) {
	err = j.view(ctx, j.services, func(r *sql.Rows) (bool, error) {
		var s string
		err := r.Scan(&s)
		list = append(list, s)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the services: %w", err)
	}
	return list, nil
}

// Records implements journal.Keeper.
func (j *Journal) Records(ctx context.Context, ref actors.Ref, after string, limit int) (list []journal.CommandRecord, err error) {
	if limit <= 0 || limit > rules.RecordsInPage {
		limit = rules.RecordsInPage
	}
	if !storable(ref.Service) || !storable(ref.ID) || !storable(after) {
		return nil, nil
	}
	err = j.view(ctx, j.records, func(r *sql.Rows) (bool, error) {
		var c journal.CommandRecord
		var hash []byte
		if err := r.Scan(&c.Command, &c.Sequence, &hash, &c.Outcome); err != nil {
			return false, err
		}
		if len(hash) != len(c.Hash) {
			return false, fmt.Errorf("the record of the command %q is damaged", c.Command)
		}
		copy(c.Hash[:], hash)
		list = append(list, c)
		return true, nil
	}, ref.Service, ref.ID, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list the records of %s: %w", ref, err)
	}
	return list, nil
}

// Span implements journal.Keeper.
func (j *Journal) Span(ctx context.Context, ref actors.Ref) (journal.Span, error) {
	k, _, err := j.standing(ctx, ref)
	if err != nil {
		return journal.Span{}, fmt.Errorf("look at %s: %w", ref, err)
	}
	return k.Span, nil
}

// version of a stream's row; empty if there is none.
type version string

func (j *Journal) standing(ctx context.Context, ref actors.Ref) (k rules.Kept, v version, err error) {
	err = j.view(ctx, j.kept, func(r *sql.Rows) (bool, error) {
		var micros int64
		var sequence, sum sql.NullInt64
		var typeURL, contentType sql.NullString
		var s journal.Snapshot
		if err := r.Scan(&v, &k.Span.Sequence, &k.Span.Epoch, &k.Span.Origin, &k.Span.Floor, &micros,
			&sequence, &sum, &typeURL, &contentType, &s.Payload.Data); err != nil {
			return false, err
		}
		k.Exists, k.Span.Updated = true, time.UnixMicro(micros).UTC()
		s.Sequence, s.Payload.TypeURL, s.Payload.ContentType = sequence.Int64, typeURL.String, contentType.String
		if sequence.Valid && int64(s.Checksum(ref)) == sum.Int64 && s.Sequence <= k.Span.Sequence {
			k.Snapshot = s.Sequence
		}
		return false, nil
	}, ref.Service, ref.ID)
	return k, v, err
}

// remove runs a statement that removes something, and reports whether it returned a row.
func (j *Journal) remove(ctx context.Context, statement string, args ...driver.Value) (some bool, err error) {
	if err := j.enter(ctx); err != nil {
		return false, err
	}
	defer j.running.RUnlock()
	err = j.write(ctx, statement, values(args...), func([]driver.Value) { some = true })
	return some, err
}

// Forget implements journal.Keeper.
func (j *Journal) Forget(ctx context.Context, ref actors.Ref, through int64, wholeValues bool) error {
	err := func() error {
		k, _, err := j.standing(ctx, ref)
		if err == nil {
			err = k.Forgettable(through, wholeValues)
		}
		if err != nil {
			return err
		}
		// What may be forgotten now may be for ever.
		for floor := k.Span.Floor; floor < through; {
			floor = min(through, floor+rules.ForgetEvents)
			if err := j.ForgetEach(ctx, []journal.Forgetting{{Ref: ref, Through: floor}}); err != nil {
				return err
			}
		}
		return nil
	}()
	if err != nil {
		return fmt.Errorf("forget events of %s: %w", ref, err)
	}
	return nil
}

// ForgetRecords implements journal.Keeper.
func (j *Journal) ForgetRecords(ctx context.Context, ref actors.Ref, through int64) error {
	for more := true; more; {
		var err error
		more, err = j.remove(ctx, forgetRecordsSQL, ref.Service, ref.ID, through, int64(rules.EraseRecords))
		if contended(sqlState(err)) {
			more, err = true, ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("forget records of %s: %w", ref, err)
		}
	}
	return nil
}

// ForgetEach implements journal.ManyForgetter.
func (j *Journal) ForgetEach(ctx context.Context, parts []journal.Forgetting) error {
	parts = slices.SortedFunc(slices.Values(parts), func(a, b journal.Forgetting) int { return a.Ref.Compare(b.Ref) })
	services, ids := newArray(oidText, 32*len(parts)), newArray(oidText, 32*len(parts))
	through := newArray(oidInt8, 12*len(parts))
	for _, p := range parts {
		services.text(p.Ref.Service)
		ids.text(p.Ref.ID)
		through.int8(p.Through)
	}
	args := []driver.Value{services.encode(), ids.encode(), through.encode()}
	_, err := j.remove(ctx, forgetSQL, args...)
	for contended(sqlState(err)) && ctx.Err() == nil {
		_, err = j.remove(ctx, forgetSQL, args...)
	}
	if err != nil {
		return fmt.Errorf("forget events of %d streams: %w", len(parts), err)
	}
	return nil
}

// Erase implements journal.Keeper.
func (j *Journal) Erase(ctx context.Context, ref actors.Ref) error {
	began := false
	for more := true; more; {
		var err error
		more, err = j.erase(ctx, ref, &began)
		if contended(sqlState(err)) { // with whoever settles its effects
			more, err = true, ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("erase %s: %w", ref, err)
		}
	}
	return nil
}

// erase removes a part of what there is of a stream, and in the end the rest of it.
func (j *Journal) erase(ctx context.Context, ref actors.Ref, began *bool) (more bool, err error) {
	k, _, err := j.standing(ctx, ref)
	if err != nil {
		return false, err
	}
	lane := int64(journal.Lane(ref))
	if !k.Exists {
		_, err := j.remove(ctx, eraseEffectsSQL, ref.Service, ref.ID, lane)
		return false, err
	}
	if k.Span.Sequence-k.Span.Floor > rules.ForgetEvents {
		*began = true
		return true, j.ForgetEach(ctx, []journal.Forgetting{{Ref: ref, Through: k.Span.Floor + rules.ForgetEvents}})
	}
	if many, err := j.remove(ctx, eraseRecordsSQL, ref.Service, ref.ID, int64(rules.EraseRecords)); err != nil || many {
		*began = true
		return true, err
	}
	if !*began && k.Span.Origin == k.Span.Sequence {
		left := false
		err := j.view(ctx, j.left, func(r *sql.Rows) (bool, error) { return false, r.Scan(&left) }, ref.Service, ref.ID, lane)
		if err != nil || !left {
			return false, err
		}
	}
	done, err := j.remove(ctx, eraseSQL, ref.Service, ref.ID, lane)
	return !done, err // somebody was faster
}
