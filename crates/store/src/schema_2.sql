-- Runs begin again: what a re-run needs, and the attempt that each row is of.
ALTER TABLE runs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN call TEXT NOT NULL DEFAULT '';

ALTER TABLE jobs RENAME TO jobs_1;
CREATE TABLE jobs (
  run INTEGER NOT NULL, node INTEGER NOT NULL, attempt INTEGER NOT NULL, path TEXT NOT NULL,
  name TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL, waited TEXT NOT NULL,
  ready INTEGER, started INTEGER, ended INTEGER NOT NULL, log TEXT NOT NULL,
  superseded INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (run, node, attempt)
) WITHOUT ROWID;
INSERT INTO jobs SELECT run, node, 1, path, name, outcome, reason, '', started, started, ended, log, 0 FROM jobs_1;
DROP TABLE jobs_1;

ALTER TABLE steps RENAME TO steps_1;
CREATE TABLE steps (
  run INTEGER NOT NULL, node INTEGER NOT NULL, attempt INTEGER NOT NULL, idx INTEGER NOT NULL,
  name TEXT NOT NULL, outcome TEXT NOT NULL, conclusion TEXT NOT NULL, reason TEXT NOT NULL,
  started INTEGER, millis INTEGER NOT NULL, pieces TEXT NOT NULL,
  PRIMARY KEY (run, node, attempt, idx)
) WITHOUT ROWID;
INSERT INTO steps SELECT run, node, 1, idx, name, outcome, conclusion, reason, NULL, millis, pieces FROM steps_1;
DROP TABLE steps_1;

ALTER TABLE notes ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
