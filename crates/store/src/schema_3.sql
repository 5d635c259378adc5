-- Pipelines: what tasks made and used, and what may stand for them again.
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
-- Runs that a step of a job began: they are shown with it.
CREATE TABLE child_runs (
  child INTEGER PRIMARY KEY, run INTEGER NOT NULL, node INTEGER NOT NULL, attempt INTEGER NOT NULL
);
CREATE INDEX child_runs_by_run ON child_runs (run);
