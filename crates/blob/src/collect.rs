//! The collector: takes what no name reaches. It runs only when nobody else uses the store.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;

use rusqlite::params;

use crate::{Error, Result, Store};

/// What was collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Whether it ran; not while others use the store.
    pub ran: bool,
    /// Bytes on the disk that are free now.
    pub bytes: u64,
}

/// What fills the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Cache entries.
    pub caches: u64,
    /// Bytes of them, as they would be without sharing.
    pub cache_bytes: u64,
    /// Artifacts.
    pub artifacts: u64,
    /// Bytes of them, as they would be without sharing.
    pub artifact_bytes: u64,
    /// Outputs of pipelines.
    pub outputs: u64,
    /// Their bytes.
    pub output_bytes: u64,
    /// Bytes of all chunks as they are stored.
    pub stored: u64,
    /// Bytes of files on the disk.
    pub disk: u64,
}

/// Live bytes of a pack, in parts of a hundred, below which it is written anew.
const WORTH: i64 = 50;

impl Store {
    /// Removes blobs without a name, chunks without a blob, packs without a chunk; writes anew the
    /// packs of which little is left. Does nothing while another process uses the store.
    pub fn collect(&self) -> Result<Collected> {
        use rustix::fs::{FlockOperation, flock};
        if flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            // Failing to have it alone may have cost the shared one.
            flock(&self.lock, FlockOperation::LockShared)
                .map_err(|e| self.io(&self.root, e.into()))?;
            return Ok(Collected::default());
        }
        let before = self.disk();
        let done = self.sweep();
        flock(&self.lock, FlockOperation::LockShared).map_err(|e| self.io(&self.root, e.into()))?;
        done?;
        Ok(Collected { ran: true, bytes: before.saturating_sub(self.disk()) })
    }

    fn sweep(&self) -> Result<()> {
        let mut database = self.database();
        // Files go after the commit: it must be on the disk by then.
        database.pragma_update(None, "synchronous", "FULL")?;
        let tx = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        tx.execute_batch(
            "DELETE FROM blobs WHERE id NOT IN (SELECT blob FROM caches) AND id NOT IN (SELECT blob FROM artifacts)
                AND id NOT IN (SELECT blob FROM outputs);
             DELETE FROM parts WHERE blob NOT IN (SELECT id FROM blobs);
             DELETE FROM chunks WHERE hash NOT IN (SELECT chunk FROM parts);",
        )?;
        let thin: Vec<i64> = {
            let mut statement = tx.prepare(
                "SELECT p.id FROM packs p JOIN chunks c ON c.pack = p.id
                 GROUP BY p.id HAVING SUM(c.stored) * 100 < p.size * ?1",
            )?;
            let rows = statement.query_map(params![WORTH], |r| r.get(0))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        for pack in thin {
            // One that cannot be read stays as it is: reading it will tell.
            match self.rewrite(&tx, pack) {
                Err(Error::Io { .. } | Error::Damaged(_)) | Ok(()) => {}
                Err(other) => return Err(other),
            }
        }
        let packs = self.root.join("packs");
        crate::write::sync_folder(&packs).map_err(|e| self.io(&packs, e))?;
        tx.execute_batch(
            "DELETE FROM packs WHERE id NOT IN (SELECT pack FROM chunks WHERE pack IS NOT NULL)",
        )?;
        let live: BTreeSet<String> = {
            let mut statement = tx.prepare("SELECT id FROM packs")?;
            let rows = statement.query_map([], |r| r.get::<_, i64>(0))?;
            let ids = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            ids.into_iter().map(|id| format!("{id}.pack")).collect()
        };
        tx.commit()?;
        // Files last: a crash before this leaves files that nobody names, and the next run takes
        // them; the other way round would lose bytes that are named.
        for folder in ["packs", "uploads"] {
            for file in fs::read_dir(self.root.join(folder)).into_iter().flatten().flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                if folder == "uploads" || !live.contains(&name) {
                    let path = file.path();
                    let gone = if path.is_dir() {
                        fs::remove_dir_all(&path)
                    } else {
                        fs::remove_file(&path)
                    };
                    gone.map_err(|e| self.io(&path, e))?;
                }
            }
        }
        database.execute_batch(
            "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA synchronous = NORMAL;",
        )?;
        Ok(())
    }

    /// Copies what is left of a pack into a new one.
    fn rewrite(&self, tx: &rusqlite::Transaction<'_>, pack: i64) -> Result<()> {
        let path = self.pack_path(pack);
        let old = fs::File::open(&path).map_err(|e| self.io(&path, e))?;
        let chunks: Vec<([u8; 32], i64, i64)> = {
            let mut statement = tx
                .prepare("SELECT hash, place, stored FROM chunks WHERE pack = ?1 ORDER BY place")?;
            let rows =
                statement.query_map(params![pack], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
            rows.collect::<rusqlite::Result<_>>()?
        };
        let fresh = self.root.join("packs").join(format!("new-{}-{pack}", std::process::id()));
        let copied = (|| {
            let file = fs::File::create(&fresh).map_err(|e| self.io(&fresh, e))?;
            let mut out = std::io::BufWriter::new(file);
            for (_, place, stored) in &chunks {
                let damaged = || Error::Damaged(format!("pack {pack}"));
                let mut bytes = vec![0; usize::try_from(*stored).map_err(|_| damaged())?];
                old.read_exact_at(&mut bytes, u64::try_from(*place).map_err(|_| damaged())?)
                    .map_err(|e| self.io(&path, e))?;
                out.write_all(&bytes).map_err(|e| self.io(&fresh, e))?;
            }
            let file = out.into_inner().map_err(|e| self.io(&fresh, e.into_error()))?;
            file.sync_all().map_err(|e| self.io(&fresh, e))
        })();
        if let Err(error) = copied {
            let _ = fs::remove_file(&fresh);
            return Err(error);
        }
        let size: i64 = chunks.iter().map(|(_, _, stored)| stored).sum();
        tx.execute("INSERT INTO packs (size) VALUES (?1)", params![size])?;
        let new = tx.last_insert_rowid();
        let target = self.pack_path(new);
        fs::rename(&fresh, &target).map_err(|e| self.io(&target, e))?;
        let mut at = 0i64;
        for (hash, _, stored) in chunks {
            tx.execute(
                "UPDATE chunks SET pack = ?2, place = ?3 WHERE hash = ?1",
                params![hash, new, at],
            )?;
            at += stored;
        }
        Ok(())
    }

    fn disk(&self) -> u64 {
        let size = |folder: &std::path::Path| -> u64 {
            let files = fs::read_dir(folder).into_iter().flatten().flatten();
            files.filter_map(|f| f.metadata().ok()).filter(|m| m.is_file()).map(|m| m.len()).sum()
        };
        size(&self.root) + size(&self.root.join("packs"))
    }

    /// What fills the store.
    pub fn usage(&self) -> Result<Usage> {
        let database = self.database();
        let two = |query: &str| {
            database.query_row(query, [], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?)))
        };
        let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
        let caches = two("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM caches")?;
        let artifacts = two("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM artifacts")?;
        let outputs = two("SELECT COUNT(*), COALESCE(SUM(size), 0) FROM outputs")?;
        let stored = two("SELECT COUNT(*), COALESCE(SUM(stored), 0) FROM chunks")?;
        Ok(Usage {
            caches: unsigned(caches.0),
            cache_bytes: unsigned(caches.1),
            artifacts: unsigned(artifacts.0),
            artifact_bytes: unsigned(artifacts.1),
            outputs: unsigned(outputs.0),
            output_bytes: unsigned(outputs.1),
            stored: unsigned(stored.1),
            disk: self.disk(),
        })
    }
}
