package sqlite

import (
	"context"
	"database/sql"
	"fmt"
)

const (
	selectPlace = "SELECT number, id, service, source, ordered, front, parked FROM effects"
	nextInOrder = `SELECT number FROM effects
		WHERE service = ? AND source = ? AND ordered = 1 AND parked = 0 ORDER BY number LIMIT 1`
)

// prepare readies the statements of the connection that writes.
func (w *writer) prepare(ctx context.Context) error {
	for _, p := range []struct {
		stmt **sql.Stmt
		text string
	}{
		{&w.begin, "BEGIN IMMEDIATE"},
		{&w.commit, "COMMIT"},
		{&w.rollback, "ROLLBACK"},
		{&w.getHead, "SELECT stream, sequence, epoch FROM streams WHERE service = ? AND id = ?"},
		{&w.newHead, "INSERT INTO streams (service, id, sequence, epoch, updated) VALUES (?, ?, ?, ?, ?)"},
		{&w.setHead, "UPDATE streams SET sequence = ?, epoch = ?, updated = ? WHERE stream = ?"},
		{&w.getRecord, "SELECT hash, outcome, sequence FROM commands WHERE stream = ? AND command = ?"},
		{&w.putRecord, "INSERT INTO commands (stream, command, hash, outcome, sequence) VALUES (?, ?, ?, ?, ?)"},
		{&w.putEvent, `INSERT INTO events
			(stream, sequence, time, name, type_url, content_type, data, command, context, checksum)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&w.putSnapshot, `INSERT OR REPLACE INTO snapshots (stream, sequence, type_url, content_type, data, checksum)
			VALUES (?, ?, ?, ?, ?, ?)`},

		{&w.effectByID, selectPlace + " WHERE id = ?"},
		{&w.effectByKey, selectPlace + " WHERE service = ? AND source = ? AND key = ?"},
		{&w.putEffect, `INSERT INTO effects
			(id, service, source, lane, ordered, key, due, since, body, tries, parked, problem, front)
			VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, '', ?5 = 0 OR NOT EXISTS (
				SELECT 1 FROM effects WHERE service = ?2 AND source = ?3 AND ordered = 1 AND parked = 0))
			ON CONFLICT (id) DO NOTHING`},
		{&w.removeEffect, "DELETE FROM effects WHERE number = ?"},
		{&w.nextToFront, "UPDATE effects SET front = 1 WHERE number = (" + nextInOrder + ")"},
		{&w.backFromFront, "UPDATE effects SET front = 0 WHERE number = (" + nextInOrder + ")"},
		{&w.parkEffect, "UPDATE effects SET parked = 1, front = 0, tries = tries + 1, problem = ? WHERE number = ?"},
		{&w.postponeEffect, "UPDATE effects SET due = ?, tries = tries + 1, problem = ? WHERE number = ?"},
		{&w.releaseEffect, "UPDATE effects SET parked = 0, front = 1 - ordered, tries = 0, problem = '', due = ? WHERE number = ?"},

		{&w.nextVersion, "UPDATE cell_version SET last = last + 1 RETURNING last"},
		{&w.newCell, "INSERT INTO cells (key, value, version) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING"},
		{&w.setCell, "UPDATE cells SET value = ?, version = ? WHERE key = ? AND version = ?"},
		{&w.removeCell, "DELETE FROM cells WHERE key = ? AND version = ?"},
	} {
		var err error
		if *p.stmt, err = w.conn.PrepareContext(ctx, p.text); err != nil {
			return fmt.Errorf("prepare %q: %w", p.text, err)
		}
		w.prepared = append(w.prepared, *p.stmt)
	}
	return nil
}
