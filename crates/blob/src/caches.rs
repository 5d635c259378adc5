//! Cache entries: a key and a version in a scope, never changed once saved. Scopes are refs, and
//! what is looked for is found as GitHub finds it (documentation of dependency caching).

use rusqlite::{OptionalExtension, Row, params};

use crate::write::Draft;
use crate::{BlobId, Error, Result, Store, now};

/// A cache entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its number.
    pub id: i64,
    /// `owner/name`
    pub repository: String,
    /// The ref it belongs to.
    pub scope: String,
    /// Its key.
    pub key: String,
    /// The hash of its paths and its packing.
    pub version: String,
    /// Its bytes.
    pub blob: BlobId,
    /// How many.
    pub size: i64,
    /// Milliseconds since the epoch.
    pub created: i64,
    /// Milliseconds since the epoch.
    pub used: i64,
}

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct Lookup<'a> {
    /// `owner/name`
    pub repository: &'a str,
    /// Refs, the own one first.
    pub scopes: &'a [String],
    /// The key.
    pub key: &'a str,
    /// Beginnings of keys, in order.
    pub restore_keys: &'a [String],
    /// The version, which must be the same.
    pub version: &'a str,
}

/// A new entry.
#[derive(Debug, Clone, Copy)]
pub struct NewCache<'a> {
    /// `owner/name`
    pub repository: &'a str,
    /// The ref.
    pub scope: &'a str,
    /// The key.
    pub key: &'a str,
    /// The version.
    pub version: &'a str,
}

/// The entry that came nearest to one that was not found, and what differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Near {
    /// It.
    pub entry: CacheEntry,
    /// In words.
    pub differs: String,
}

const COLUMNS: &str = "id, repository, scope, key, version, blob, size, created, used";

fn entry(r: &Row<'_>) -> rusqlite::Result<CacheEntry> {
    Ok(CacheEntry {
        id: r.get(0)?,
        repository: r.get(1)?,
        scope: r.get(2)?,
        key: r.get(3)?,
        version: r.get(4)?,
        blob: BlobId(r.get(5)?),
        size: r.get(6)?,
        created: r.get(7)?,
        used: r.get(8)?,
    })
}

impl Store {
    /// Finds an entry: in each scope first the key itself, then the key and the restore keys as
    /// beginnings, the newest first. What is found counts as used.
    pub fn find_cache(&self, wanted: &Lookup<'_>) -> Result<Option<CacheEntry>> {
        let database = self.database();
        for scope in wanted.scopes {
            let exact = format!(
                "SELECT {COLUMNS} FROM caches WHERE repository = ?1 AND scope = ?2 AND version = ?3 AND key = ?4"
            );
            let prefix = format!(
                "SELECT {COLUMNS} FROM caches WHERE repository = ?1 AND scope = ?2 AND version = ?3
                 AND substr(key, 1, length(?4)) = ?4 ORDER BY created DESC, id DESC LIMIT 1"
            );
            let keys = std::iter::once((&exact, wanted.key))
                .chain([(&prefix, wanted.key)])
                .chain(wanted.restore_keys.iter().map(|k| (&prefix, k.as_str())));
            for (query, key) in keys {
                let found = database
                    .prepare_cached(query)?
                    .query_row(params![wanted.repository, scope, wanted.version, key], entry)
                    .optional()?;
                if let Some(found) = found {
                    database.execute(
                        "UPDATE caches SET used = ?2 WHERE id = ?1",
                        params![found.id, now()],
                    )?;
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// For a miss: the entry that shares the longest beginning with the key.
    pub fn nearest_cache(&self, wanted: &Lookup<'_>) -> Result<Option<Near>> {
        let all = self.caches(Some(wanted.repository))?;
        let shared = |e: &CacheEntry| {
            e.key.bytes().zip(wanted.key.bytes()).take_while(|(a, b)| a == b).count()
        };
        let best = all.into_iter().max_by_key(|e| (shared(e), e.created));
        Ok(best.filter(|e| shared(e) > 0).map(|entry| {
            let mut differs = Vec::new();
            if entry.key != wanted.key {
                let at = entry.key.floor_char_boundary(shared(&entry));
                differs.push(format!("its key ends in '{}'", &entry.key[at..]));
            }
            if entry.version != wanted.version {
                differs.push("its paths or its packing are others".to_owned());
            }
            if !wanted.scopes.contains(&entry.scope) {
                differs.push(format!("it belongs to {}", entry.scope));
            }
            Near { entry, differs: differs.join(", ") }
        }))
    }

    /// Whether a scope has an entry of exactly that key and version.
    pub fn has_cache(&self, new: &NewCache<'_>) -> Result<bool> {
        let database = self.database();
        let mut statement = database.prepare_cached(
            "SELECT 1 FROM caches WHERE repository = ?1 AND scope = ?2 AND key = ?3 AND version = ?4",
        )?;
        let row = params![new.repository, new.scope, new.key, new.version];
        Ok(statement.query_row(row, |_| Ok(())).optional()?.is_some())
    }

    /// Saves an entry; [`Error::Taken`] if there is one of that name. Of several at once one wins.
    pub fn save_cache(&self, new: &NewCache<'_>, mut draft: Draft) -> Result<CacheEntry> {
        let mut database = self.database();
        let tx = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let taken: Option<i64> = tx
            .query_row(
                "SELECT id FROM caches WHERE repository = ?1 AND scope = ?2 AND key = ?3 AND version = ?4",
                params![new.repository, new.scope, new.key, new.version],
                |r| r.get(0),
            )
            .optional()?;
        if taken.is_some() {
            return Err(Error::Taken);
        }
        let blob = self.commit(&tx, &mut draft)?;
        let (at, size) = (now(), i64::try_from(draft.size).unwrap_or(i64::MAX));
        tx.execute(
            "INSERT INTO caches (repository, scope, key, version, blob, size, created, used)
             VALUES (?1,?2,?3,?4,?5,?6,?7,?7)",
            params![new.repository, new.scope, new.key, new.version, blob.0, size, at],
        )?;
        let id = tx.last_insert_rowid();
        tx.commit()?;
        drop(database);
        self.cache(id)?.ok_or_else(|| Error::Damaged("a saved entry is gone".into()))
    }

    /// An entry by its number.
    pub fn cache(&self, id: i64) -> Result<Option<CacheEntry>> {
        let query = format!("SELECT {COLUMNS} FROM caches WHERE id = ?1");
        Ok(self.database().query_row(&query, params![id], entry).optional()?)
    }

    /// All entries, of a repository or of all, the latest used first.
    pub fn caches(&self, repository: Option<&str>) -> Result<Vec<CacheEntry>> {
        let query = format!(
            "SELECT {COLUMNS} FROM caches WHERE ?1 IS NULL OR repository = ?1 ORDER BY used DESC, id DESC"
        );
        let database = self.database();
        let mut statement = database.prepare_cached(&query)?;
        let rows = statement.query_map(params![repository], entry)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Takes an entry's name away; its bytes go when the collector comes.
    pub fn delete_cache(&self, id: i64) -> Result<bool> {
        Ok(self.database().execute("DELETE FROM caches WHERE id = ?1", params![id])? > 0)
    }

    /// Takes away the names of a blob whose bytes are not what they were: the next save makes it
    /// anew.
    pub fn forget_caches(&self, blob: BlobId) -> Result<usize> {
        Ok(self.database().execute("DELETE FROM caches WHERE blob = ?1", params![blob.0])?)
    }

    /// Takes names away, the longest unused first, until a repository's entries fit.
    pub fn evict_caches(&self, repository: &str, quota: u64) -> Result<Vec<CacheEntry>> {
        let mut total = 0u64;
        let mut gone = Vec::new();
        for entry in self.caches(Some(repository))? {
            let size = u64::try_from(entry.size).unwrap_or(0);
            // One that is too large by itself goes alone.
            if size <= quota {
                total = total.saturating_add(size);
            }
            if size > quota || total > quota {
                self.delete_cache(entry.id)?;
                gone.push(entry);
            }
        }
        Ok(gone)
    }
}
