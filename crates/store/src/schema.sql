-- What all migrations together make: a new history begins with it. A test compares the two.
CREATE TABLE runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, number INTEGER NOT NULL, repository TEXT NOT NULL,
  root TEXT NOT NULL, path TEXT NOT NULL, workflow TEXT NOT NULL, title TEXT NOT NULL,
  event TEXT NOT NULL, reference TEXT NOT NULL, sha TEXT NOT NULL, status TEXT NOT NULL,
  process INTEGER NOT NULL, started INTEGER NOT NULL, ended INTEGER
, attempt INTEGER NOT NULL DEFAULT 1, call TEXT NOT NULL DEFAULT '');
CREATE INDEX runs_by_workflow ON runs (repository, path, number);
CREATE INDEX runs_by_status ON runs (status) WHERE status = 'running';
CREATE TABLE records (
  run INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, record TEXT NOT NULL,
  PRIMARY KEY (run, seq)
) WITHOUT ROWID;
CREATE TABLE notes (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL, node INTEGER NOT NULL, step INTEGER NOT NULL,
  kind TEXT NOT NULL, text TEXT NOT NULL, place TEXT NOT NULL
, attempt INTEGER NOT NULL DEFAULT 1);
CREATE INDEX notes_by_run ON notes (run);
CREATE TABLE jobs (
  run INTEGER NOT NULL, node INTEGER NOT NULL, attempt INTEGER NOT NULL, path TEXT NOT NULL,
  name TEXT NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL, waited TEXT NOT NULL,
  ready INTEGER, started INTEGER, ended INTEGER NOT NULL, log TEXT NOT NULL,
  superseded INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (run, node, attempt)
) WITHOUT ROWID;
CREATE TABLE steps (
  run INTEGER NOT NULL, node INTEGER NOT NULL, attempt INTEGER NOT NULL, idx INTEGER NOT NULL,
  name TEXT NOT NULL, outcome TEXT NOT NULL, conclusion TEXT NOT NULL, reason TEXT NOT NULL,
  started INTEGER, millis INTEGER NOT NULL, pieces TEXT NOT NULL,
  PRIMARY KEY (run, node, attempt, idx)
) WITHOUT ROWID;
CREATE TABLE task_results (
  pipeline TEXT NOT NULL, fingerprint TEXT NOT NULL, run INTEGER NOT NULL, node INTEGER NOT NULL,
  task TEXT NOT NULL, at INTEGER NOT NULL, outputs TEXT NOT NULL,
  PRIMARY KEY (pipeline, fingerprint)
) WITHOUT ROWID;
CREATE TABLE pipeline_artifacts (
  id INTEGER PRIMARY KEY, run INTEGER NOT NULL, node INTEGER NOT NULL, attempt INTEGER NOT NULL,
  task TEXT NOT NULL, name TEXT NOT NULL, uri TEXT NOT NULL, type TEXT NOT NULL,
  metadata TEXT NOT NULL, digest TEXT NOT NULL, bytes INTEGER NOT NULL, at INTEGER NOT NULL
);
CREATE INDEX pipeline_artifacts_by_uri ON pipeline_artifacts (uri);
CREATE INDEX pipeline_artifacts_by_run ON pipeline_artifacts (run, node);
CREATE TABLE artifact_uses (
  artifact INTEGER NOT NULL, run INTEGER NOT NULL, node INTEGER NOT NULL, attempt INTEGER NOT NULL,
  task TEXT NOT NULL, input TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (artifact, run, node, attempt, input)
) WITHOUT ROWID;
CREATE INDEX artifact_uses_by_run ON artifact_uses (run, node);
CREATE TABLE child_runs (
  child INTEGER PRIMARY KEY, run INTEGER NOT NULL, node INTEGER NOT NULL, attempt INTEGER NOT NULL
);
CREATE INDEX child_runs_by_run ON child_runs (run);
