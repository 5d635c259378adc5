//! What tasks of pipelines made and used, and what may stand for them again.

use rusqlite::{OptionalExtension, Row, params};

use crate::Result;
use crate::journal::Journal;

/// An artifact of a pipeline as the history has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipelineArtifact {
    /// Its number; 0 before it is added.
    pub id: i64,
    /// The run that made it.
    pub run: i64,
    /// The task's place in the run.
    pub node: i64,
    /// The attempt at the run.
    pub attempt: i64,
    /// The task, `for-loop-1[2]/train`.
    pub task: String,
    /// The output that it is.
    pub name: String,
    /// Where it is.
    pub uri: String,
    /// `system.Model`
    pub kind: String,
    /// What it says of itself, JSON.
    pub metadata: String,
    /// The hash of its contents; empty where they were not looked at.
    pub digest: String,
    /// Bytes of it.
    pub bytes: i64,
    /// When, milliseconds since the epoch.
    pub at: i64,
}

/// That a task used an artifact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactUse {
    /// Which.
    pub artifact: i64,
    /// The run that used it.
    pub run: i64,
    /// The task's place in the run.
    pub node: i64,
    /// The attempt at the run.
    pub attempt: i64,
    /// The task.
    pub task: String,
    /// Its input.
    pub input: String,
    /// When, milliseconds since the epoch.
    pub at: i64,
}

/// What a task gave, kept to stand for an equal one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskResult {
    /// The run that it is of.
    pub run: i64,
    /// The task's place in it.
    pub node: i64,
    /// The task.
    pub task: String,
    /// When, milliseconds since the epoch.
    pub at: i64,
    /// Its outputs, as the engine has them.
    pub outputs: String,
}

const COLUMNS: &str = "id, run, node, attempt, task, name, uri, type, metadata, digest, bytes, at";

fn artifact(row: &Row<'_>) -> rusqlite::Result<PipelineArtifact> {
    Ok(PipelineArtifact {
        id: row.get(0)?,
        run: row.get(1)?,
        node: row.get(2)?,
        attempt: row.get(3)?,
        task: row.get(4)?,
        name: row.get(5)?,
        uri: row.get(6)?,
        kind: row.get(7)?,
        metadata: row.get(8)?,
        digest: row.get(9)?,
        bytes: row.get(10)?,
        at: row.get(11)?,
    })
}

fn usage(row: &Row<'_>) -> rusqlite::Result<ArtifactUse> {
    Ok(ArtifactUse {
        artifact: row.get(0)?,
        run: row.get(1)?,
        node: row.get(2)?,
        attempt: row.get(3)?,
        task: row.get(4)?,
        input: row.get(5)?,
        at: row.get(6)?,
    })
}

impl Journal {
    /// Adds an artifact; its number.
    ///
    /// # Errors
    ///
    /// Those of the database, here and in all of these.
    pub fn add_artifact(&self, new: &PipelineArtifact) -> Result<i64> {
        self.touch()?;
        self.connection
            .prepare_cached(
                "INSERT INTO pipeline_artifacts (run, node, attempt, task, name, uri, type, metadata, digest, bytes, at)
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
            )?
            .execute(params![
                new.run, new.node, new.attempt, new.task, new.name, new.uri, new.kind, new.metadata,
                new.digest, new.bytes, new.at
            ])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Notes that a task uses an artifact.
    pub fn add_artifact_use(&self, new: &ArtifactUse) -> Result<()> {
        self.touch()?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO artifact_uses (artifact, run, node, attempt, task, input, at) VALUES (?1,?2,?3,?4,?5,?6,?7)",
            )?
            .execute(params![new.artifact, new.run, new.node, new.attempt, new.task, new.input, new.at])?;
        Ok(())
    }

    /// An artifact by its number.
    pub fn pipeline_artifact(&self, id: i64) -> Result<Option<PipelineArtifact>> {
        let sql = format!("SELECT {COLUMNS} FROM pipeline_artifacts WHERE id = ?1");
        Ok(self.connection.query_row(&sql, params![id], artifact).optional()?)
    }

    /// The first artifact with an address, a type and metadata: what an importer that does not import anew
    /// stands for.
    pub fn imported(&self, uri: &str, kind: &str, metadata: &str) -> Result<Option<i64>> {
        Ok(self.connection.query_row(
            "SELECT MIN(id) FROM pipeline_artifacts WHERE uri = ?1 AND type = ?2 AND metadata = ?3",
            params![uri, kind, metadata],
            |r| r.get(0),
        )?)
    }

    /// Artifacts of an address, a name or a task's output (`train/model`, in whatever graph the task is),
    /// the newest first.
    pub fn find_pipeline_artifacts(&self, wanted: &str) -> Result<Vec<PipelineArtifact>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM pipeline_artifacts
             WHERE uri = ?1 OR name = ?1
                OR substr('/' || task || '/' || name, -length(?1) - 1) = '/' || ?1
             ORDER BY id DESC LIMIT 1000"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map(params![wanted], artifact)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The artifacts that a run made.
    pub fn artifacts_of(&self, run: i64) -> Result<Vec<PipelineArtifact>> {
        let sql = format!("SELECT {COLUMNS} FROM pipeline_artifacts WHERE run = ?1 ORDER BY id");
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map(params![run], artifact)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Who used an artifact.
    pub fn uses_of(&self, artifact: i64) -> Result<Vec<ArtifactUse>> {
        let mut statement = self.connection.prepare(
            "SELECT artifact, run, node, attempt, task, input, at FROM artifact_uses WHERE artifact = ?1 ORDER BY run, node, attempt",
        )?;
        let rows = statement.query_map(params![artifact], usage)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// What a task used, at an attempt at its run.
    pub fn used_by(&self, run: i64, node: i64, attempt: i64) -> Result<Vec<ArtifactUse>> {
        let mut statement = self.connection.prepare(
            "SELECT artifact, run, node, attempt, task, input, at FROM artifact_uses WHERE run = ?1 AND node = ?2 AND attempt = ?3 ORDER BY artifact",
        )?;
        let rows = statement.query_map(params![run, node, attempt], usage)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Keeps what a task gave; a newer one takes the place of an older.
    pub fn keep_result(&self, pipeline: &str, fingerprint: &str, new: &TaskResult) -> Result<()> {
        self.touch()?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO task_results (pipeline, fingerprint, run, node, task, at, outputs)
                 VALUES (?1,?2,?3,?4,?5,?6,?7)",
            )?
            .execute(params![
                pipeline, fingerprint, new.run, new.node, new.task, new.at, new.outputs
            ])?;
        Ok(())
    }

    /// What an equal task gave.
    pub fn find_result(&self, pipeline: &str, fingerprint: &str) -> Result<Option<TaskResult>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT run, node, task, at, outputs FROM task_results WHERE pipeline = ?1 AND fingerprint = ?2",
        )?;
        let found = statement.query_row(params![pipeline, fingerprint], |row| {
            Ok(TaskResult {
                run: row.get(0)?,
                node: row.get(1)?,
                task: row.get(2)?,
                at: row.get(3)?,
                outputs: row.get(4)?,
            })
        });
        Ok(found.optional()?)
    }

    /// Forgets what a task gave.
    pub fn forget_result(&self, pipeline: &str, fingerprint: &str) -> Result<()> {
        self.touch()?;
        self.connection.execute(
            "DELETE FROM task_results WHERE pipeline = ?1 AND fingerprint = ?2",
            params![pipeline, fingerprint],
        )?;
        Ok(())
    }
}
