package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/dapr-entities/entities/actors"
	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// tailSQL looks at the next events in the order (xid, pos), as far as no transaction below is still running: its events
// would appear before those that were read. It reads a window of that order and takes what it wants from that, so
// that events of others cost a bounded look each time. The window's end comes with every row, or alone.
const tailSQL = `
WITH w AS MATERIALIZED (
  SELECT e.xid, e.pos, e.stream, e.sequence, octet_length(e.data) AS size FROM {schema}.events e
  WHERE (e.xid, e.pos) > ($1::text::xid8, $2::int8) AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
  ORDER BY e.xid, e.pos LIMIT $3
), m AS MATERIALIZED (
  SELECT w.*, h.service, h.id, sum(w.size) OVER (ORDER BY w.xid, w.pos ROWS UNBOUNDED PRECEDING) - w.size AS before
  FROM w JOIN {schema}.streams h USING (stream)
  WHERE h.service = ANY($4::text[]) ORDER BY w.xid, w.pos LIMIT $5
)
SELECT z.xid::text::int8, z.pos, m.service, m.id, ` + eventColumns + `
FROM (SELECT w.xid, w.pos FROM w ORDER BY w.xid DESC, w.pos DESC LIMIT 1) z
LEFT JOIN (m JOIN {schema}.events e ON e.stream = m.stream AND e.sequence = m.sequence) ON m.before < {page}
ORDER BY e.xid, e.pos`

// Tail implements journal.Tailer.
func (j *Journal) Tail(
	ctx context.Context, services []string, after journal.Position, limit int,
) (events []journal.Event, at journal.Position, err error) {
	list := newArray(oidText, 32*len(services))
	for _, s := range services {
		if storable(s) {
			list.text(s)
		}
	}
	at = after
	size, full := 0, false
	var end journal.Position
	var corrupt error
	err = j.view(ctx, j.tail, func(r *sql.Rows) (bool, error) {
		var service, id sql.NullString
		var e rules.Stored
		if err := scan(r, &e, &end.Transaction, &end.Ordinal, &service, &id); err != nil {
			return false, err
		}
		if !service.Valid {
			return false, nil // nothing but the end
		}
		at = e.Position
		e.Ref = actors.Ref{Service: service.String, ID: id.String}
		if corrupt = rules.Intact(&e.Event, e.Ref, e.Sequence, e.Sum); corrupt != nil {
			return false, nil
		}
		events = append(events, e.Event)
		size += len(e.Payload.Data)
		full = size >= rules.PageBytes || limit > 0 && len(events) == limit
		return !full, nil
	}, strconv.FormatUint(after.Transaction, 10), after.Ordinal, rules.Looks, list.encode(), atMost(limit))
	switch {
	case err != nil:
		return nil, after, fmt.Errorf("read the order of all events: %w", err)
	case corrupt != nil:
		return events, at, corrupt
	case !full && end != (journal.Position{}):
		at = end
	}
	return events, at, nil
}

// blockedSQL finds the transaction at the horizon, if events wait behind it. Those of others are shown to a user that
// may read all statistics only.
const blockedSQL = `
WITH x AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin)
SELECT a.pid::int8, coalesce(a.name, ''), coalesce(extract(epoch FROM clock_timestamp() - a.began), 0)::int8, coalesce(a.prepared, '')
FROM x LEFT JOIN (
  SELECT pid, datname AS name, xact_start AS began, NULL AS prepared, backend_xid AS xid FROM pg_stat_activity
  UNION ALL
  SELECT NULL, database, prepared, gid, transaction FROM pg_prepared_xacts
) a ON a.xid = x.xmin::xid
WHERE EXISTS (SELECT FROM {schema}.events e WHERE e.xid >= x.xmin)
LIMIT 1`

// Blocked implements journal.Blocked.
func (j *Journal) Blocked(ctx context.Context) (who string, err error) {
	err = j.view(ctx, j.blocked, func(r *sql.Rows) (bool, error) {
		var pid sql.NullInt64
		var database, prepared string
		var seconds int64
		if err := r.Scan(&pid, &database, &seconds, &prepared); err != nil {
			return false, err
		}
		age := time.Duration(seconds) * time.Second
		switch {
		case pid.Valid:
			who = fmt.Sprintf("a transaction of process %d in database %s, %v old", pid.Int64, database, age)
		case prepared != "":
			who = fmt.Sprintf("the prepared transaction %s in database %s, %v old", prepared, database, age)
		default:
			who = "a transaction that the journal's user may not see (pg_read_all_stats lets it)"
		}
		return false, nil
	})
	if err != nil {
		return "", fmt.Errorf("find what holds up the order of all events: %w", err)
	}
	return who, nil
}
