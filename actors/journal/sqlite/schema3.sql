-- What is kept of a stream: events up to "floor" were forgotten, and it began anew at "origin".
ALTER TABLE streams ADD COLUMN origin INTEGER NOT NULL DEFAULT 0;
ALTER TABLE streams ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;
