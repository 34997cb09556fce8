-- A file as the first release made it: a dump of one, to be opened by every later release.
PRAGMA application_id = 1164866609;
PRAGMA user_version = 1;
CREATE TABLE commands (
  stream   INTEGER NOT NULL,
  command  TEXT    NOT NULL,
  hash     BLOB    NOT NULL,
  outcome  BLOB    NOT NULL,
  sequence INTEGER NOT NULL,
  PRIMARY KEY (stream, command)
) WITHOUT ROWID;
INSERT INTO "commands" VALUES(1,'c0',X'01000000000000000000000000000000',X'6F7574636F6D65',2);
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
INSERT INTO "events" VALUES(1,1,1,1795426270209875,'added','t','',X'6F6E65','c0',NULL,54017217);
INSERT INTO "events" VALUES(2,1,2,1795426270209875,'added','t','',X'6F6E65','c0',NULL,3932641230);
INSERT INTO "events" VALUES(3,2,1,1795426270209875,'added','t','',X'7468726565','c0',NULL,4138975551);
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "meta" VALUES('id','DDXNHFH2WJTBGY5RONJJSULOWV');
CREATE TABLE snapshots (
  stream       INTEGER PRIMARY KEY,
  sequence     INTEGER NOT NULL,
  type_url     TEXT    NOT NULL,
  content_type TEXT    NOT NULL,
  data         BLOB    NOT NULL,
  checksum     INTEGER NOT NULL
);
INSERT INTO "snapshots" VALUES(1,2,'s','',X'74776F',34348056);
CREATE TABLE streams (
  stream   INTEGER PRIMARY KEY,
  service  TEXT    NOT NULL,
  id       TEXT    NOT NULL,
  sequence INTEGER NOT NULL,
  epoch    INTEGER NOT NULL,
  updated  INTEGER NOT NULL, -- microseconds since 1970
  UNIQUE (service, id)
);
INSERT INTO "streams" VALUES(1,'cart','a',2,0,1795426270209875);
INSERT INTO "streams" VALUES(2,'cart','b',1,7,1795426270213302);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',3);
