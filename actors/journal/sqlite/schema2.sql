-- Effects that are to be carried out. The effects of a source stand in the order of their numbers, the delayed ones
-- outside it. An effect with nothing to wait for but its time is in front: a delayed one, and the first pending one of
-- the order. So what is due can be found without a look at all that waits behind somebody.
CREATE TABLE effects (
  number  INTEGER PRIMARY KEY,
  id      TEXT    NOT NULL UNIQUE,
  service TEXT    NOT NULL, -- of the source
  source  TEXT    NOT NULL, -- its id
  lane    INTEGER NOT NULL,
  ordered INTEGER NOT NULL, -- 0: delayed
  front   INTEGER NOT NULL, -- 0: not in front, or parked
  key     TEXT,
  due     INTEGER,          -- microseconds since 1970; NULL: at once
  tries   INTEGER NOT NULL,
  parked  INTEGER NOT NULL, -- 0: pending
  problem TEXT    NOT NULL,
  since   INTEGER NOT NULL,
  body    BLOB    NOT NULL
);

CREATE UNIQUE INDEX effects_by_key ON effects (service, source, key) WHERE key IS NOT NULL;
CREATE INDEX effects_in_front ON effects (lane, due, number) WHERE front = 1;
CREATE INDEX effects_in_order ON effects (service, source, number) WHERE ordered = 1 AND parked = 0;
CREATE INDEX effects_parked ON effects (id) WHERE parked = 1;

CREATE TABLE cells (
  key     TEXT    PRIMARY KEY,
  value   BLOB    NOT NULL,
  version INTEGER NOT NULL
);

-- The version that a cell was given last, whichever it was.
CREATE TABLE cell_version (last INTEGER NOT NULL);
INSERT INTO cell_version VALUES (0);
