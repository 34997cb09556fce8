package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

var (
	_ journal.Outbox  = (*Journal)(nil)
	_ journal.Tailer  = (*Journal)(nil)
	_ journal.Blocked = (*Journal)(nil)
	_ journal.Cells   = (*Journal)(nil)
)

const (
	fresh  = "NOT {e}.parked AND NOT {e}.delayed AND {e}.tries = 0"
	putOff = "NOT {e}.parked AND NOT {e}.delayed AND {e}.tries > 0"
	behind = "{p}.service = {e}.service AND {p}.source = {e}.source AND {p}.pos < {e}.pos"

	pendingColumns = `e.id, e.key, e.service, e.source, e.tries, e.problem, e.checksum, e.body,
  (extract(epoch FROM e.since) * 1000000)::int8, CASE WHEN e.delayed THEN (extract(epoch FROM e.due) * 1000000)::int8 END`
)

// dueSQL looks at three sorts of effects, by an index each: those put off (t), of which none may come while an earlier
// one has to wait; fresh ones (f), of which none may come without those put off before it; and delayed ones (d).
var dueSQL = strings.NewReplacer(
	"{fresh}", strings.ReplaceAll(fresh, "{e}", "e"),
	"{put off}", strings.ReplaceAll(putOff, "{e}", "e"),
	"{held by}", strings.ReplaceAll(putOff, "{e}", "p")+" AND "+strings.NewReplacer("{p}", "p", "{e}", "e").Replace(behind),
	"{columns}", pendingColumns,
).Replace(`
WITH t AS MATERIALIZED (
  SELECT e.id, e.pos FROM {schema}.effects e
  WHERE e.lane = ANY($1::int4[]) AND {put off} AND e.due <= now()
    AND NOT EXISTS (SELECT FROM {schema}.effects p WHERE {held by} AND p.due > now())
  ORDER BY e.pos LIMIT $2
), f AS (
  SELECT f.id, f.pos FROM unnest($1::int4[]) AS l(lane) CROSS JOIN LATERAL (
    SELECT e.id, e.pos FROM {schema}.effects e
    WHERE e.lane = l.lane AND {fresh}
      AND NOT EXISTS (SELECT FROM {schema}.effects p WHERE {held by} AND p.pos NOT IN (SELECT t.pos FROM t))
    ORDER BY e.pos LIMIT $2) f
), d AS (
  SELECT d.id, d.pos FROM unnest($1::int4[]) AS l(lane) CROSS JOIN LATERAL (
    SELECT e.id, e.pos FROM {schema}.effects e
    WHERE e.lane = l.lane AND NOT e.parked AND e.delayed AND e.due <= now()
    ORDER BY e.due LIMIT $2) d
), a AS MATERIALIZED (
  SELECT * FROM t UNION ALL SELECT * FROM f UNION ALL SELECT * FROM d ORDER BY pos LIMIT $2
)
SELECT {columns} FROM (
  SELECT e.*, sum(octet_length(e.body)) OVER (ORDER BY e.pos ROWS UNBOUNDED PRECEDING) - octet_length(e.body) AS before
  FROM a JOIN {schema}.effects e USING (id)) e
WHERE e.before < {page} ORDER BY e.pos`)

const parkedSQL = `
SELECT ` + pendingColumns + ` FROM (
  SELECT e.*, sum(octet_length(e.body)) OVER (ORDER BY e.id ROWS UNBOUNDED PRECEDING) - octet_length(e.body) AS before
  FROM {schema}.effects e WHERE e.parked AND e.id > $1 ORDER BY e.id LIMIT $2) e
WHERE e.before < {page} ORDER BY e.id`

// settleSQL locks what it changes in the order of the ids, so that two calls do not wait for each other.
const settleSQL = `
WITH v AS MATERIALIZED (
  SELECT v.* FROM unnest($1::text[], $2::int4[], $3::int4[], $4::int8[], $5::text[]) AS v(id, verdict, tries, again, problem)
), l AS MATERIALIZED (
  SELECT v.* FROM {schema}.effects e JOIN v USING (id) ORDER BY e.id FOR UPDATE OF e
), d AS (
  DELETE FROM {schema}.effects e USING l WHERE e.id = l.id AND l.verdict = 1
), u AS (
  UPDATE {schema}.effects e SET tries = e.tries + l.tries, problem = l.problem, parked = l.verdict = 3,
    due = CASE WHEN l.verdict = 2 THEN now() + l.again * interval '1 microsecond' ELSE e.due END
  FROM l WHERE e.id = l.id AND l.verdict > 1 AND NOT e.parked
)
SELECT 1 WHERE false`

const releaseSQL = `
UPDATE {schema}.effects SET parked = false, tries = 0, problem = '', due = now() WHERE id = ANY($1::text[]) AND parked`

const discardSQL = `DELETE FROM {schema}.effects WHERE id = ANY($1::text[]) AND parked`

// Enqueue implements journal.Outbox.
func (j *Journal) Enqueue(ctx context.Context, source actors.Ref, effects []actors.Effect) error {
	err := cmp.Or(journal.ValidateRef(source), journal.ValidateEffects(effects))
	if err == nil {
		kept := newKeeping()
		kept.add(1, rules.Keep(source, effects))
		err = j.change(ctx, enqueueSQL, values(append([]driver.Value{source.Service, source.ID}, kept.encode()...)...), nothing)
	}
	if err != nil {
		return fmt.Errorf("keep effects of %s: %w", source, err)
	}
	return nil
}

func nothing([]driver.Value) {}

// change runs a statement that writes, and again as long as it has certainly done nothing because somebody else wrote
// the same at the same time.
func (j *Journal) change(ctx context.Context, statement string, args []driver.NamedValue, row func([]driver.Value)) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.running.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, j.config.Timeout)
	defer cancel()
	for {
		err := j.write(ctx, statement, args, row)
		if err == nil || !definite(err) || !contended(sqlState(err)) || ctx.Err() != nil {
			return err
		}
	}
}

// Settle implements journal.Outbox.
func (j *Journal) Settle(ctx context.Context, settlements []journal.Settlement) error {
	err := journal.ValidateSettlements(settlements)
	if err == nil {
		err = j.change(ctx, settleSQL, settle(settlements), nothing)
	}
	if err != nil {
		return fmt.Errorf("settle effects: %w", err)
	}
	return nil
}

// settle makes one of the settlements of an effect, which come in order: after Done there is no more, and after Parked
// nothing but Done is heard.
func settle(settlements []journal.Settlement) []driver.NamedValue {
	type sum struct {
		journal.Settlement
		tries int
	}
	sums := make(map[string]*sum, len(settlements))
	for _, s := range settlements {
		if !storable(s.ID) {
			continue // no effect has it
		}
		k := sums[s.ID]
		if k == nil {
			k = &sum{}
			sums[s.ID] = k
		}
		if k.Verdict == journal.Done || k.Verdict == journal.Parked && s.Verdict != journal.Done {
			continue
		}
		k.Settlement = s
		k.tries++
	}
	ids, verdicts, tries := newArray(oidText, 48*len(sums)), newArray(oidInt4, 8*len(sums)), newArray(oidInt4, 8*len(sums))
	again, problems := newArray(oidInt8, 12*len(sums)), newArray(oidText, 0)
	for id, s := range sums {
		ids.text(id)
		verdicts.int4(int(s.Verdict))
		tries.int4(s.tries)
		again.int8(micros(s.Again))
		problems.text(rules.Problem(s.Problem))
	}
	return values(ids.encode(), verdicts.encode(), tries.encode(), again.encode(), problems.encode())
}

// storable reports whether PostgreSQL takes s as text. It holds nothing by another name.
func storable(s string) bool { return strings.ToValidUTF8(s, "") == s && strings.IndexByte(s, 0) < 0 }

func (j *Journal) byID(ctx context.Context, statement string, ids []string) error {
	list := newArray(oidText, 48*len(ids))
	for _, id := range slices.Sorted(slices.Values(ids)) {
		if storable(id) {
			list.text(id)
		}
	}
	return j.change(ctx, statement, values(list.encode()), nothing)
}

// Release implements journal.Outbox.
func (j *Journal) Release(ctx context.Context, ids []string) error {
	if err := j.byID(ctx, releaseSQL, ids); err != nil {
		return fmt.Errorf("release parked effects: %w", err)
	}
	return nil
}

// Discard implements journal.Outbox.
func (j *Journal) Discard(ctx context.Context, ids []string) error {
	if err := j.byID(ctx, discardSQL, ids); err != nil {
		return fmt.Errorf("discard parked effects: %w", err)
	}
	return nil
}

// Due implements journal.Outbox.
func (j *Journal) Due(ctx context.Context, lanes []int, limit int) ([]journal.Pending, error) {
	list := newArray(oidInt4, 8*journal.Lanes)
	for _, lane := range slices.Compact(slices.Sorted(slices.Values(lanes))) {
		if lane >= 0 && lane < journal.Lanes {
			list.int4(lane)
		}
	}
	pending, err := j.pending(ctx, j.due, list.encode(), atMost(limit))
	if err != nil {
		return nil, fmt.Errorf("read the effects that are due: %w", err)
	}
	return pending, nil
}

// Parked implements journal.Outbox.
func (j *Journal) Parked(ctx context.Context, after string, limit int) ([]journal.Pending, error) {
	pending, err := j.pending(ctx, j.parked, after, atMost(limit))
	if err != nil {
		return nil, fmt.Errorf("read the parked effects: %w", err)
	}
	return pending, nil
}

// atMost is a limit of which 0 is none.
func atMost(limit int) int {
	if limit <= 0 {
		return math.MaxInt
	}
	return limit
}

func (j *Journal) pending(ctx context.Context, statement *sql.Stmt, args ...any) (list []journal.Pending, err error) {
	if err := j.enter(ctx); err != nil {
		return nil, err
	}
	defer j.running.RUnlock()
	err = rows(ctx, statement, func(r *sql.Rows) (bool, error) {
		var p journal.Pending
		var body []byte
		var sum, since int64
		var due sql.NullInt64
		if err := r.Scan(&p.ID, &p.Key, &p.Source.Service, &p.Source.ID, &p.Tries, &p.Problem, &sum, &body, &since, &due); err != nil {
			return false, err
		}
		p.Since = time.UnixMicro(since).UTC()
		if due.Valid {
			p.Due = time.UnixMicro(due.Int64).UTC()
		}
		if int64(effectSum(p.ID, body)) != sum {
			body = nil // does not decode
		}
		rules.Decode(&p, body)
		list = append(list, p)
		return true, nil
	}, args...)
	return list, err
}
