-- What is kept of a stream: events up to "floor" were forgotten, and it began anew at "origin".
ALTER TABLE {schema}.streams ADD COLUMN origin bigint NOT NULL DEFAULT 0, ADD COLUMN floor bigint NOT NULL DEFAULT 0;
