package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/dapr-entities/entities/actors/journal"
	"github.com/dapr-entities/entities/actors/journal/internal/rules"
)

const (
	effectColumns = "e.number, e.id, e.key, e.service, e.source, e.ordered, e.due, e.tries, e.problem, e.since, e.body"

	ofServices   = "(?3 = 'null' OR service IN (SELECT value FROM json_each(?3)))"
	selectAtOnce = "SELECT number, number FROM effects WHERE front = 1 AND lane = ?1 AND due IS NULL AND " + ofServices + " ORDER BY number LIMIT ?2"
	selectTimed  = "SELECT number, due FROM effects WHERE front = 1 AND lane = ?1 AND due <= ?4 AND " + ofServices + " ORDER BY due, number LIMIT ?2"
	selectFront  = "SELECT " + effectColumns + " FROM json_each(?) f CROSS JOIN effects e ON e.number = f.value"
	selectBehind = "SELECT " + effectColumns + ` FROM effects e
		WHERE service = ? AND source = ? AND ordered = 1 AND parked = 0 AND number > ? ORDER BY number LIMIT ?`
	selectParked = "SELECT " + effectColumns + " FROM effects e WHERE parked = 1 AND id > ? ORDER BY id LIMIT ?"
)

// questions are asked so often that they are kept prepared.
var questions = []string{selectAtOnce, selectTimed, selectFront, selectBehind, selectParked, selectEnds, selectTail, selectCells,
	selectServices, selectRecords}

// stored is an effect as it is read.
type stored struct {
	journal.Pending
	number  int64
	ordered bool
	due     sql.NullInt64
}

// Due implements journal.Outbox. What is in front of its source comes first, of all sources, so that those with many
// effects leave room for the others; then what stands behind it.
func (j *Journal) Due(ctx context.Context, services []string, lanes []int, limit int) ([]journal.Pending, error) {
	if limit <= 0 {
		limit = math.MaxInt
	}
	var list []journal.Pending
	err := j.snapshot(ctx, func(tx *sql.Tx) error {
		now := time.Now().UnixMicro()
		numbers, err := j.inFront(ctx, tx, services, lanes, now, limit)
		if err != nil || len(numbers) == 0 {
			return err
		}
		list, err = j.due(ctx, tx, numbers, now, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for effects that are due: %w", err)
	}
	return list, nil
}

// inFront returns the numbers of up to limit effects that are in front and due: of those whose time has come the ones
// that have waited longest, and of the others the oldest ones. Neither sort can crowd out the other.
func (j *Journal) inFront(ctx context.Context, tx *sql.Tx, services []string, lanes []int, now int64, limit int) ([]int64, error) {
	names, err := json.Marshal(services) // null for all
	if err != nil {
		return nil, err
	}
	type candidate struct{ number, rank int64 }
	var timed, atOnce []candidate
	for _, lane := range lanes {
		for _, sort := range []struct {
			to    *[]candidate
			query string
			args  []any
		}{{&timed, selectTimed, []any{lane, limit, string(names), now}}, {&atOnce, selectAtOnce, []any{lane, limit, string(names)}}} {
			if err := j.each(ctx, tx, sort.query, sort.args, func(rows *sql.Rows) error {
				var c candidate
				err := rows.Scan(&c.number, &c.rank)
				*sort.to = append(*sort.to, c)
				return err
			}); err != nil {
				return nil, err
			}
		}
	}
	byRank := func(a, b candidate) int { return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.number, b.number)) }
	slices.SortFunc(timed, byRank)
	slices.SortFunc(atOnce, byRank)
	timed = timed[:min(len(timed), max(limit-limit/2, limit-len(atOnce)))]
	atOnce = atOnce[:min(len(atOnce), limit-len(timed))]
	numbers := make([]int64, 0, len(timed)+len(atOnce))
	for _, c := range append(timed, atOnce...) {
		numbers = append(numbers, c.number)
	}
	return numbers, nil
}

// due reads the effects in front, and those behind them until one has to wait.
func (j *Journal) due(ctx context.Context, tx *sql.Tx, numbers []int64, now int64, limit int) ([]journal.Pending, error) {
	argument, err := json.Marshal(numbers)
	if err != nil {
		return nil, err
	}
	size := 0
	front, err := j.effects(ctx, tx, &size, selectFront, string(argument))
	if err != nil {
		return nil, err
	}
	list := make([]journal.Pending, 0, len(front))
	room := limit - len(front)
	for _, f := range front {
		list = append(list, f.Pending)
		if !f.ordered || room <= 0 || size >= rules.PageBytes {
			continue
		}
		behind, err := j.effects(ctx, tx, &size, selectBehind, f.Source.Service, f.Source.ID, f.number, min(room, rules.PageEvents))
		if err != nil {
			return nil, err
		}
		for _, b := range behind {
			if b.due.Valid && b.due.Int64 > now {
				break
			}
			list = append(list, b.Pending)
			room--
		}
	}
	return list, nil
}

// Parked implements journal.Outbox.
func (j *Journal) Parked(ctx context.Context, after string, limit int) (list []journal.Pending, err error) {
	if limit <= 0 {
		limit = -1
	}
	err = j.snapshot(ctx, func(tx *sql.Tx) error {
		size := math.MinInt // they are for people, who ask for as many as they want to see
		all, err := j.effects(ctx, tx, &size, selectParked, after, limit)
		for _, e := range all {
			list = append(list, e.Pending)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list parked effects: %w", err)
	}
	return list, nil
}

// effects reads until size, which it adds to, is a page's.
func (j *Journal) effects(ctx context.Context, tx *sql.Tx, size *int, query string, args ...any) (list []stored, err error) {
	err = j.each(ctx, tx, query, args, func(rows *sql.Rows) error {
		var e stored
		var key sql.NullString
		var since int64
		var body []byte
		if err := rows.Scan(&e.number, &e.ID, &key, &e.Source.Service, &e.Source.ID, &e.ordered, &e.due, &e.Tries,
			&e.Problem, &since, &body); err != nil {
			return err
		}
		e.Key, e.Since = key.String, time.UnixMicro(since).UTC()
		if !e.ordered {
			e.Due = time.UnixMicro(e.due.Int64).UTC()
		}
		rules.Decode(&e.Pending, body)
		list = append(list, e)
		if *size += len(body); *size >= rules.PageBytes {
			return errEnough
		}
		return nil
	})
	return list, err
}

// errEnough ends each.
var errEnough = errors.New("enough")

// each asks one of the questions, and calls do for every row until it returns an error. That of errEnough is none.
func (j *Journal) each(ctx context.Context, tx *sql.Tx, query string, args []any, do func(rows *sql.Rows) error) (err error) {
	rows, err := tx.StmtContext(ctx, j.questions[query]).QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := do(rows); errors.Is(err, errEnough) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return rows.Err()
}
