-- One row for each stream, locked and moved by every append. "added" and "slot" are how many events the last append
-- added and its place in the batch: they let one statement compare and set many streams, each by what it expects.
CREATE TABLE {schema}.streams (
  stream   bigint GENERATED ALWAYS AS IDENTITY,
  service  text COLLATE "C" NOT NULL,
  id       text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  epoch    bigint NOT NULL,
  updated  timestamptz NOT NULL DEFAULT now(),
  added    int NOT NULL DEFAULT 0,
  slot     int NOT NULL DEFAULT 0,
  PRIMARY KEY (service, id)
) WITH (fillfactor = 70);

-- (xid, pos) is the order over all streams; a reader may go as far as pg_snapshot_xmin.
CREATE TABLE {schema}.events (
  stream       bigint NOT NULL,
  sequence     bigint NOT NULL,
  pos          bigserial NOT NULL,
  xid          xid8 NOT NULL DEFAULT pg_current_xact_id(),
  time         timestamptz NOT NULL DEFAULT now(),
  checksum     bigint NOT NULL,
  name         text NOT NULL,
  type_url     text NOT NULL,
  content_type text NOT NULL,
  command      text COLLATE "C" NOT NULL,
  data         bytea NOT NULL,
  context      text,
  PRIMARY KEY (stream, sequence)
);
CREATE INDEX events_order ON {schema}.events (xid, pos);

CREATE TABLE {schema}.commands (
  stream   bigint NOT NULL,
  command  text COLLATE "C" NOT NULL,
  sequence bigint NOT NULL,
  hash     bytea NOT NULL,
  outcome  bytea NOT NULL,
  PRIMARY KEY (stream, command)
);

CREATE TABLE {schema}.snapshots (
  stream       bigint PRIMARY KEY,
  sequence     bigint NOT NULL,
  checksum     bigint NOT NULL,
  type_url     text NOT NULL,
  content_type text NOT NULL,
  data         bytea NOT NULL
);
