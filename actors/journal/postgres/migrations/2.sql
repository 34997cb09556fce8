-- Positions over all streams are read by the stream's number.
CREATE UNIQUE INDEX streams_stream ON {schema}.streams (stream);

-- Effects that are still to be carried out. "pos" orders those of one source: the appends of a stream come one after the
-- other. One that is neither delayed nor parked is fresh before its first try, and put off after it.
CREATE TABLE {schema}.effects (
  id       text COLLATE "C" PRIMARY KEY,
  service  text COLLATE "C" NOT NULL,
  source   text COLLATE "C" NOT NULL,
  lane     int NOT NULL,
  pos      bigserial NOT NULL,
  key      text COLLATE "C" NOT NULL,
  due      timestamptz NOT NULL,
  delayed  bool NOT NULL,
  parked   bool NOT NULL DEFAULT false,
  tries    int NOT NULL DEFAULT 0,
  problem  text NOT NULL DEFAULT '',
  since    timestamptz NOT NULL DEFAULT now(),
  checksum bigint NOT NULL,
  body     bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE UNIQUE INDEX effects_key ON {schema}.effects (service, source, key) WHERE key <> '';
CREATE INDEX effects_fresh ON {schema}.effects (lane, pos) WHERE NOT parked AND NOT delayed AND tries = 0;
CREATE INDEX effects_put_off ON {schema}.effects (lane, due) WHERE NOT parked AND NOT delayed AND tries > 0;
CREATE INDEX effects_holding ON {schema}.effects (service, source, pos) WHERE NOT parked AND NOT delayed AND tries > 0;
CREATE INDEX effects_delayed ON {schema}.effects (lane, due) WHERE NOT parked AND delayed;
CREATE INDEX effects_parked ON {schema}.effects (id) WHERE parked;

-- All versions come from one sequence, so that a cell that is made again goes on from where it was.
CREATE TABLE {schema}.cells (
  key     text COLLATE "C" PRIMARY KEY,
  value   bytea NOT NULL,
  version bigserial NOT NULL
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
