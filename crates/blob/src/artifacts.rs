//! Artifacts: files that a run keeps under a name.

use rusqlite::{OptionalExtension, Row, params};

use crate::write::Draft;
use crate::{BlobId, Error, Result, Store, now};

/// An artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its number.
    pub id: i64,
    /// `owner/name`
    pub repository: String,
    /// The run.
    pub run: i64,
    /// Its name, one in the run.
    pub name: String,
    /// The job that made it.
    pub node: i64,
    /// Its bytes.
    pub blob: BlobId,
    /// How many.
    pub size: i64,
    /// SHA-256 of them, in hexadecimal.
    pub sha256: String,
    /// Their type.
    pub mime: String,
    /// Milliseconds since the epoch.
    pub created: i64,
    /// Milliseconds since the epoch.
    pub expires: Option<i64>,
    /// Whether the job that made it began again: the next one of its name takes its place.
    pub superseded: bool,
}

/// A new artifact.
#[derive(Debug, Clone, Copy)]
pub struct NewArtifact<'a> {
    /// `owner/name`
    pub repository: &'a str,
    /// The run.
    pub run: i64,
    /// Its name.
    pub name: &'a str,
    /// The job that makes it.
    pub node: i64,
    /// The type of its bytes.
    pub mime: &'a str,
    /// Milliseconds since the epoch.
    pub expires: Option<i64>,
}

const COLUMNS: &str =
    "id, repository, run, name, node, blob, size, sha256, mime, created, expires, superseded";

fn artifact(r: &Row<'_>) -> rusqlite::Result<Artifact> {
    Ok(Artifact {
        id: r.get(0)?,
        repository: r.get(1)?,
        run: r.get(2)?,
        name: r.get(3)?,
        node: r.get(4)?,
        blob: BlobId(r.get(5)?),
        size: r.get(6)?,
        sha256: r.get(7)?,
        mime: r.get(8)?,
        created: r.get(9)?,
        expires: r.get(10)?,
        superseded: r.get(11)?,
    })
}

impl Store {
    /// Saves an artifact; [`Error::Taken`] if the run has one of that name that counts.
    pub fn save_artifact(&self, new: &NewArtifact<'_>, mut draft: Draft) -> Result<Artifact> {
        let mut database = self.database();
        let tx = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        tx.execute(
            "DELETE FROM artifacts WHERE run = ?1 AND name = ?2 AND superseded <> 0",
            params![new.run, new.name],
        )?;
        let taken: Option<i64> = tx
            .query_row(
                "SELECT id FROM artifacts WHERE run = ?1 AND name = ?2",
                params![new.run, new.name],
                |r| r.get(0),
            )
            .optional()?;
        if taken.is_some() {
            return Err(Error::Taken);
        }
        let blob = self.commit(&tx, &mut draft)?;
        let size = i64::try_from(draft.size).unwrap_or(i64::MAX);
        tx.execute(
            "INSERT INTO artifacts (repository, run, name, node, blob, size, sha256, mime, created, expires)
             VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
            params![
                new.repository, new.run, new.name, new.node, blob.0, size, draft.sha256, new.mime,
                now(), new.expires
            ],
        )?;
        let id = tx.last_insert_rowid();
        tx.commit()?;
        drop(database);
        self.artifact(id)?.ok_or_else(|| Error::Damaged("a saved artifact is gone".into()))
    }

    /// Says that jobs of a run begin again.
    pub fn supersede_artifacts(&self, run: i64, nodes: &[i64]) -> Result<()> {
        let database = self.database();
        let mut statement = database
            .prepare_cached("UPDATE artifacts SET superseded = 1 WHERE run = ?1 AND node = ?2")?;
        for node in nodes {
            statement.execute(params![run, node])?;
        }
        Ok(())
    }

    /// An artifact by its number.
    pub fn artifact(&self, id: i64) -> Result<Option<Artifact>> {
        let query = format!("SELECT {COLUMNS} FROM artifacts WHERE id = ?1");
        Ok(self.database().query_row(&query, params![id], artifact).optional()?)
    }

    /// The artifacts of a run, or of all, the newest first.
    pub fn artifacts(&self, run: Option<i64>) -> Result<Vec<Artifact>> {
        let query = format!(
            "SELECT {COLUMNS} FROM artifacts WHERE ?1 IS NULL OR run = ?1 ORDER BY id DESC"
        );
        let database = self.database();
        let mut statement = database.prepare_cached(&query)?;
        let rows = statement.query_map(params![run], artifact)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Takes an artifact's name away; true if there was one.
    pub fn delete_artifact(&self, id: i64) -> Result<bool> {
        Ok(self.database().execute("DELETE FROM artifacts WHERE id = ?1", params![id])? > 0)
    }

    /// Takes away the artifacts whose time is over; how many.
    pub fn expire_artifacts(&self) -> Result<usize> {
        Ok(self.database().execute("DELETE FROM artifacts WHERE expires < ?1", params![now()])?)
    }
}
