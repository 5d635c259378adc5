-- What tasks of pipelines made, by its address.
CREATE TABLE outputs (
  uri TEXT PRIMARY KEY, blob INTEGER NOT NULL, folder INTEGER NOT NULL, size INTEGER NOT NULL,
  sha256 TEXT NOT NULL, created INTEGER NOT NULL
) WITHOUT ROWID;
