package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// script is what pgbench repeats: a row of 200 bytes beside its keys.
const script = `\set entity random(1, %d)
INSERT INTO event (entity, payload) VALUES (:entity, '%s');
`

const eventTable = `CREATE TABLE event (position bigserial PRIMARY KEY, entity bigint NOT NULL, payload bytea NOT NULL)`

// pgbench measures Postgres alone, with a generator of its own.
type pgbench struct {
	stage  *stage
	binary string
	folder string
	acked  int64
}

func (s *stage) newPgbench(ctx context.Context, entities int) (*pgbench, error) {
	binary := filepath.Join(s.postgres.Tools, "pgbench")
	if _, err := exec.LookPath(binary); err != nil {
		return nil, fmt.Errorf("the benchmark needs PostgreSQL's pgbench beside its server: %w", err)
	}

	if err := s.postgres.create(ctx, "pgbench", eventTable); err != nil {
		return nil, err
	}

	folder, err := s.cluster.SubFolder("pgbench")
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it did
	}

	text := fmt.Sprintf(script, entities, strings.Repeat("x", 200))
	if err := os.WriteFile(filepath.Join(folder, "script.sql"), []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write pgbench's script: %w", err)
	}

	return &pgbench{stage: s, binary: binary, folder: folder}, nil
}

// measure runs pgbench twice, to warm up and to measure. It counts in whole seconds.
func (p *pgbench) measure(ctx context.Context, o options) (measurement, error) {
	if _, _, err := p.run(ctx, o.callers, o.warmup); err != nil {
		return measurement{}, err
	}

	before, err := p.stage.read(ctx, nil)
	if err != nil {
		return measurement{}, err
	}

	m, taken, err := p.run(ctx, o.callers, o.duration)
	if err != nil {
		return measurement{}, err
	}

	after, err := p.stage.read(ctx, nil)
	if err != nil {
		return measurement{}, err
	}

	m.used = after.used.since(before.used)
	m.wrote = after.wrote.since(before.wrote)
	m.used[generator] = taken

	return m, nil
}

// run returns what pgbench measured and the processor time that it took itself.
func (p *pgbench) run(ctx context.Context, clients int, duration time.Duration) (measurement, time.Duration, error) {
	seconds := max(1, int(duration.Round(time.Second)/time.Second))

	cmd := exec.CommandContext(ctx, p.binary,
		"--no-vacuum", "--protocol=prepared", "--jobs=1", "--client="+strconv.Itoa(clients),
		"--time="+strconv.Itoa(seconds), "--log", "--file=script.sql", p.stage.postgres.URL("pgbench"),
	)
	cmd.Dir = p.folder

	if output, err := cmd.CombinedOutput(); err != nil {
		return measurement{}, 0, fmt.Errorf("run pgbench: %w\n%s", err, output)
	}

	path := filepath.Join(p.folder, fmt.Sprintf("pgbench_log.%d", cmd.Process.Pid))

	log, err := os.Open(path)
	if err != nil {
		return measurement{}, 0, fmt.Errorf("read pgbench's log: %w", err)
	}
	defer log.Close()

	r, err := parseLog(log)
	p.acked += r.acked

	m := measurement{result: r, window: time.Duration(seconds) * time.Second}

	return m, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), errors.Join(err, os.Remove(path))
}

// parseLog reads lines of: client, transaction, time in microseconds or a word that says why there is none, and more.
func parseLog(log io.Reader) (result, error) {
	r := result{latency: newHistogram()}
	lines := bufio.NewScanner(log)

	for lines.Scan() {
		fields := bytes.Fields(lines.Bytes())
		if len(fields) < 6 {
			return r, fmt.Errorf("read pgbench's log: line %.80q", lines.Text())
		}

		taken, err := strconv.ParseInt(string(fields[2]), 10, 64)
		if err != nil {
			r.failed++
			r.firstErr = fmt.Errorf("pgbench: transaction %s", fields[2])

			continue
		}

		r.done++
		r.acked++
		_ = r.latency.RecordValue(max(1, taken)) // far below its limit
	}

	if err := lines.Err(); err != nil {
		return r, fmt.Errorf("read pgbench's log: %w", err)
	}

	return r, nil
}

// check counts the rows.
func (p *pgbench) check(ctx context.Context) error {
	db, err := sql.Open("postgres", p.stage.postgres.URL("pgbench"))
	if err != nil {
		return fmt.Errorf("count pgbench's rows: %w", err)
	}
	defer db.Close()

	var rows int64
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM event").Scan(&rows); err != nil {
		return fmt.Errorf("count pgbench's rows: %w", err)
	}

	if rows < p.acked {
		return fmt.Errorf("pgbench: %d rows were acknowledged, %d are there", p.acked, rows)
	}

	return nil
}
