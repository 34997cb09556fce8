package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

// putSQL takes a version only when nobody else is about to put the same cell, so that versions grow from one to the next.
const putSQL = `
WITH l AS MATERIALIZED (
  SELECT pg_advisory_xact_lock(hashtextextended('entities cell ' || $1::text, 0))
), u AS (
  UPDATE {schema}.cells c SET value = $2::bytea, version = DEFAULT FROM l
  WHERE $3::int8 > 0 AND c.key = $1 AND c.version = $3
  RETURNING c.version
), i AS (
  INSERT INTO {schema}.cells AS c (key, value)
  SELECT $1, $2 FROM l WHERE $3 = 0
  ON CONFLICT (key) DO NOTHING
  RETURNING c.version
)
SELECT version FROM u UNION ALL SELECT version FROM i`

// putEachSQL locks the cells that it is to change in the order of their keys, which is that of its arguments, so that two
// calls do not wait for each other. A version that is taken for a new cell is greater than that of one that is removed
// meanwhile, because a removal takes the same lock. Whose version is compared needs none.
const putEachSQL = `
WITH q AS MATERIALIZED (
  SELECT q.* FROM unnest($1::text[], $2::bytea[], $3::int8[]) WITH ORDINALITY AS q(key, value, version, n)
), l AS MATERIALIZED (
  SELECT q.n FROM q JOIN {schema}.cells c ON c.key = q.key AND c.version = q.version
  WHERE q.version > 0 ORDER BY q.n FOR UPDATE OF c
), u AS (
  UPDATE {schema}.cells c SET value = q.value, version = DEFAULT FROM q JOIN l USING (n)
  WHERE c.key = q.key AND c.version = q.version
  RETURNING q.n, c.version
), a AS MATERIALIZED (
  SELECT q.n, pg_advisory_xact_lock(hashtextextended('entities cell ' || q.key, 0)) FROM q
  WHERE q.version = 0 AND (SELECT count(*) FROM l) >= 0
), i AS (
  INSERT INTO {schema}.cells AS c (key, value)
  SELECT q.key, q.value FROM q JOIN a USING (n) ORDER BY q.n
  ON CONFLICT (key) DO NOTHING
  RETURNING c.key, c.version
)
SELECT n, version FROM u UNION ALL SELECT q.n, i.version FROM i JOIN q USING (key)`

const removeSQL = `
WITH l AS MATERIALIZED (
  SELECT pg_advisory_xact_lock(hashtextextended('entities cell ' || $1::text, 0))
)
DELETE FROM {schema}.cells c USING l WHERE c.key = $1 AND c.version = $2 RETURNING c.version`

const cellSQL = `SELECT version, value FROM {schema}.cells WHERE key = $1`

const cellsSQL = `
SELECT key, version, value FROM (
  SELECT c.*, sum(octet_length(c.value)) OVER (ORDER BY c.key ROWS UNBOUNDED PRECEDING) - octet_length(c.value) AS before
  FROM {schema}.cells c WHERE c.key > $2 AND c.key >= $1 AND ($3 = '' OR c.key < $3) ORDER BY c.key LIMIT $4) c
WHERE before < {page} ORDER BY key`

// Cell implements journal.Cells.
func (j *Journal) Cell(ctx context.Context, key string) (journal.Cell, error) {
	c := journal.Cell{Key: key}
	if !storable(key) {
		return c, nil // there is none
	}
	err := j.view(ctx, j.cell, func(r *sql.Rows) (bool, error) {
		return false, r.Scan(&c.Version, &c.Value)
	}, key)
	if err != nil {
		return journal.Cell{}, fmt.Errorf("read the cell %s: %w", key, err)
	}
	return c, nil
}

// Cells implements journal.Cells.
func (j *Journal) Cells(ctx context.Context, prefix, after string, limit int) (list []journal.Cell, err error) {
	if !storable(prefix) {
		return nil, nil
	}
	err = j.view(ctx, j.cells, func(r *sql.Rows) (bool, error) {
		var c journal.Cell
		err := r.Scan(&c.Key, &c.Version, &c.Value)
		list = append(list, c)
		return true, err
	}, prefix, after, rules.PrefixEnd(prefix), atMost(limit))
	if err != nil {
		return nil, fmt.Errorf("read the cells %s: %w", prefix, err)
	}
	return list, nil
}

// view runs a query as rows does, as a call of its own.
func (j *Journal) view(ctx context.Context, s *sql.Stmt, scan func(*sql.Rows) (bool, error), args ...any) error {
	if err := j.enter(ctx); err != nil {
		return err
	}
	defer j.running.RUnlock()
	return rows(ctx, s, scan, args...)
}

// Put implements journal.Cells.
func (j *Journal) Put(ctx context.Context, c journal.Cell) (version int64, err error) {
	if err = c.Validate(); err == nil {
		value := c.Value
		if value == nil {
			value = []byte{}
		}
		version, err = j.changeCell(ctx, putSQL, values(c.Key, value, c.Version))
	}
	if err != nil {
		return 0, fmt.Errorf("put %s: %w", c.Key, err)
	}
	return version, nil
}

// What goes into one statement of PutEach: the server's table of locks is small, and so should be what is sent again when
// others were faster.
const (
	eachNew   = 256
	eachBytes = 8 << 20
)

// PutEach implements journal.Cells.
func (j *Journal) PutEach(ctx context.Context, cells []journal.Cell) ([]journal.PutResult, error) {
	results, order := rules.Puts(cells)
	for len(order) > 0 {
		n, fresh, size := 0, 0, 0
		for ; n < len(order) && fresh < eachNew && size < eachBytes; n++ {
			c := &cells[order[n]]
			size += len(c.Key) + len(c.Value)
			if c.Version == 0 {
				fresh++
			}
		}
		if err := j.putEach(ctx, cells, order[:n], size, results); err != nil {
			return nil, fmt.Errorf("put %d cells: %w", len(cells), err)
		}
		order = order[n:]
	}
	return results, nil
}

func (j *Journal) putEach(ctx context.Context, cells []journal.Cell, order []int, size int, results []journal.PutResult) error {
	keys, versions := newArray(oidText, 64*len(order)), newArray(oidInt8, 12*len(order))
	data := newArray(oidBytea, size)
	for _, i := range order {
		keys.text(cells[i].Key)
		data.bytes(cells[i].Value)
		versions.int8(cells[i].Version)
		results[i] = rules.NotPut(cells[i].Key)
	}
	return j.change(ctx, putEachSQL, values(keys.encode(), data.encode(), versions.encode()), func(row []driver.Value) {
		results[order[row[0].(int64)-1]] = journal.PutResult{Version: row[1].(int64)}
	})
}

// Remove implements journal.Cells.
func (j *Journal) Remove(ctx context.Context, key string, version int64) (err error) {
	if storable(key) {
		_, err = j.changeCell(ctx, removeSQL, values(key, version))
	} else {
		err = journal.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	return nil
}

func (j *Journal) changeCell(ctx context.Context, statement string, args []driver.NamedValue) (version int64, err error) {
	err = j.change(ctx, statement, args, func(row []driver.Value) { version = row[0].(int64) })
	if err == nil && version == 0 {
		err = journal.ErrConflict
	}
	return version, err
}
