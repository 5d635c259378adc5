//! Outputs: files and folders that tasks of pipelines made, by their addresses.

use rusqlite::{OptionalExtension, params};

use crate::write::Draft;
use crate::{BlobId, Result, Store, now};

/// An output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its bytes: those of the file, or an archive of the folder.
    pub blob: BlobId,
    /// Whether it is a folder.
    pub folder: bool,
    /// How many bytes.
    pub size: u64,
    /// SHA-256 of them, in hexadecimal.
    pub sha256: String,
}

impl Store {
    /// Saves an output; one of the same address is replaced.
    pub fn save_output(&self, uri: &str, folder: bool, mut draft: Draft) -> Result<Output> {
        let mut database = self.database();
        let tx = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let blob = self.commit(&tx, &mut draft)?;
        let size = i64::try_from(draft.size).unwrap_or(i64::MAX);
        tx.execute(
            "INSERT OR REPLACE INTO outputs (uri, blob, folder, size, sha256, created)
             VALUES (?1,?2,?3,?4,?5,?6)",
            params![uri, blob.0, folder, size, draft.sha256, now()],
        )?;
        tx.commit()?;
        Ok(Output { blob, folder, size: draft.size, sha256: std::mem::take(&mut draft.sha256) })
    }

    /// The output of an address.
    pub fn output(&self, uri: &str) -> Result<Option<Output>> {
        let database = self.database();
        let mut statement = database
            .prepare_cached("SELECT blob, folder, size, sha256 FROM outputs WHERE uri = ?1")?;
        Ok(statement
            .query_row(params![uri], |r| {
                Ok(Output {
                    blob: BlobId(r.get(0)?),
                    folder: r.get(1)?,
                    size: u64::try_from(r.get::<_, i64>(2)?).unwrap_or(0),
                    sha256: r.get(3)?,
                })
            })
            .optional()?)
    }

    /// Takes away the outputs that were made before a time, milliseconds since the epoch; how many.
    pub fn delete_outputs(&self, before: i64) -> Result<usize> {
        Ok(self.database().execute("DELETE FROM outputs WHERE created < ?1", params![before])?)
    }
}
