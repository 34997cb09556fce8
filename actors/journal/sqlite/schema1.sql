CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE streams (
  stream   INTEGER PRIMARY KEY,
  service  TEXT    NOT NULL,
  id       TEXT    NOT NULL,
  sequence INTEGER NOT NULL,
  epoch    INTEGER NOT NULL,
  updated  INTEGER NOT NULL, -- microseconds since 1970
  UNIQUE (service, id)
);

-- The position is the order over all streams: there is one writer. AUTOINCREMENT keeps a number from being given twice.
CREATE TABLE events (
  position     INTEGER PRIMARY KEY AUTOINCREMENT,
  stream       INTEGER NOT NULL,
  sequence     INTEGER NOT NULL,
  time         INTEGER NOT NULL,
  name         TEXT    NOT NULL,
  type_url     TEXT    NOT NULL,
  content_type TEXT    NOT NULL,
  data         BLOB    NOT NULL,
  command      TEXT    NOT NULL,
  context      TEXT,
  checksum     INTEGER NOT NULL,
  UNIQUE (stream, sequence)
);

CREATE TABLE commands (
  stream   INTEGER NOT NULL,
  command  TEXT    NOT NULL,
  hash     BLOB    NOT NULL,
  outcome  BLOB    NOT NULL,
  sequence INTEGER NOT NULL,
  PRIMARY KEY (stream, command)
) WITHOUT ROWID;

CREATE TABLE snapshots (
  stream       INTEGER PRIMARY KEY,
  sequence     INTEGER NOT NULL,
  type_url     TEXT    NOT NULL,
  content_type TEXT    NOT NULL,
  data         BLOB    NOT NULL,
  checksum     INTEGER NOT NULL
);
