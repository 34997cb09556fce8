-- Deltas pass from one member to the others and are gone soon: nothing is lost with them that is not in cells, so they are
-- not logged. Those of one origin are written one statement after another, so that a reader never sees one before those
-- with lower numbers.
CREATE UNLOGGED TABLE {schema}.deltas (
  grp    text COLLATE "C" NOT NULL,
  origin bigint NOT NULL,
  number bigint NOT NULL,
  at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  body   bytea NOT NULL,
  PRIMARY KEY (grp, origin, number)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_threshold = 10000);
ALTER TABLE {schema}.deltas ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX deltas_at ON {schema}.deltas (at);
