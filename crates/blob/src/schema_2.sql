-- A job that begins again makes its artifacts anew: until then the old ones are there.
ALTER TABLE artifacts ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;
