//! The content-addressed store. Bytes are cut by their content (FastCDC), found by their hash
//! (BLAKE3), compressed where that pays (zstd), and kept once. Names (cache entries, artifacts)
//! point at blobs, blobs at chunks.
//!
//! A writer puts its new chunks into one pack, a file of its own that is synced before anything
//! points at it; small ones go into the database itself. What is not committed is not there: a
//! process that dies leaves a pack that nobody names, and the collector takes it.
//!
//! Everyone who uses the store holds a shared lock on it; the collector runs only when it can have
//! the lock for itself. So nothing vanishes under a run that reads it, whichever process that is.
//!
//! Deliberately absent: stores other than a local folder.

mod artifacts;
mod caches;
mod collect;
mod outputs;
mod read;
mod write;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

pub use artifacts::{Artifact, NewArtifact};
pub use caches::{CacheEntry, Lookup, Near, NewCache};
pub use collect::{Collected, Usage};
pub use outputs::Output;
pub use read::BlobReader;
pub use write::{BlobWriter, Draft};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the store.
    #[error("the store in {path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Its database.
    #[error("the store's database: {0}")]
    Database(#[from] rusqlite::Error),
    /// Bytes are not what they were.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// It was written by a newer version.
    #[error("the store was written by a newer version of Trainyard")]
    Newer,
    /// The name is taken.
    #[error("the name is taken")]
    Taken,
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// What each schema adds to the one before.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema_1.sql"), include_str!("schema_2.sql"), include_str!("schema_3.sql")];

/// The store in a folder.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    database: Mutex<Connection>,
    lock: File,
}

/// The id of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobId(pub i64);

/// Milliseconds since the epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Store {
    /// Opens the store in a folder, and makes it if there is none.
    pub fn open(root: &Path) -> Result<Store> {
        let io = |error: std::io::Error| Error::Io { path: root.to_owned(), error };
        std::fs::create_dir_all(root.join("packs")).map_err(io)?;
        let lock = File::create(root.join("lock")).map_err(io)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared)
            .map_err(|e| io(e.into()))?;
        let connection = Connection::open(root.join("store.db"))?;
        connection.busy_timeout(Duration::from_secs(30))?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
        let newest = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        if version > newest {
            return Err(Error::Newer);
        }
        if version < newest {
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // Another process may be making it at this moment: asked again under the lock.
            connection.execute_batch("BEGIN IMMEDIATE")?;
            let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
            for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or_default()) {
                connection.execute_batch(migration)?;
            }
            connection.pragma_update(None, "user_version", newest)?;
            connection.execute_batch("COMMIT")?;
        }
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(Store { root: root.to_owned(), database: Mutex::new(connection), lock })
    }

    fn database(&self) -> MutexGuard<'_, Connection> {
        // A panic of another thread leaves no transaction open: they roll back when dropped.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn io(&self, path: &Path, error: std::io::Error) -> Error {
        Error::Io { path: path.to_owned(), error }
    }

    fn pack_path(&self, pack: i64) -> PathBuf {
        self.root.join("packs").join(format!("{pack}.pack"))
    }
}
