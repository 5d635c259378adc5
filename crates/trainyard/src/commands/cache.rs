//! `trainyard cache`: the cache entries of this machine's runs.

use clap::Subcommand;
use trainyard_blob::{CacheEntry, Store};

use super::actions::older;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::paths::data_dir;
use crate::run::services::open_store;
use crate::ui::text::{ago, bytes};

/// What to do with them.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// List them, the latest used first
    List {
        /// Only those whose keys begin so
        #[arg(long, default_value = "")]
        key: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one
    Show {
        /// Its number
        id: i64,
    },
    /// Delete some
    Delete {
        /// Their numbers
        #[arg(required = true)]
        ids: Vec<i64>,
    },
    /// Delete those that were not used for a while, and free what nothing names
    Prune {
        /// Not used for that long: 30m, 12h, 7d, 2w
        #[arg(long, default_value = "7d")]
        older: String,
    },
}

fn failed(error: &trainyard_blob::Error) -> Error {
    Error::new(error.to_string())
}

/// Frees what no name reaches any more, and says so.
pub fn collect(store: &Store) -> Result<()> {
    let collected = store.collect().map_err(|e| failed(&e))?;
    match collected.ran {
        true => outln!("{} are free", bytes(collected.bytes)),
        false => {
            outln!("a run uses the store: what is deleted is freed later (trainyard cache prune)")
        }
    }
    Ok(())
}

/// Runs the command.
pub fn run(command: &CacheCommand) -> Result<Exit> {
    let store = open_store(&data_dir()?)?;
    let all = || store.caches(None).map_err(|e| failed(&e));
    match command {
        CacheCommand::List { key, json } => {
            let rows: Vec<CacheEntry> =
                all()?.into_iter().filter(|e| e.key.starts_with(key)).collect();
            super::show_rows(&rows, *json, value, line, "no cache entries");
        }
        CacheCommand::Show { id } => {
            let found = store.cache(*id).map_err(|e| failed(&e))?;
            outln!("{:#}", value(&found.ok_or_else(|| missing(*id))?));
        }
        CacheCommand::Delete { ids } => {
            for id in ids {
                store.cache(*id).map_err(|e| failed(&e))?.ok_or_else(|| missing(*id))?;
            }
            for id in ids {
                if !store.delete_cache(*id).map_err(|e| failed(&e))? {
                    return Err(missing(*id));
                }
            }
            collect(&store)?;
        }
        CacheCommand::Prune { older: text } => {
            let span = i64::try_from(older(text)?.as_millis()).unwrap_or(i64::MAX);
            let now = jiff::Timestamp::now().as_millisecond();
            let mut count = 0;
            for entry in all()?.iter().filter(|e| now - e.used >= span) {
                count += usize::from(store.delete_cache(entry.id).map_err(|e| failed(&e))?);
            }
            let expired = store.expire_artifacts().map_err(|e| failed(&e))?;
            outln!("deleted {count} cache entries and {expired} artifacts whose time was over");
            collect(&store)?;
        }
    }
    Ok(Exit::Success)
}

fn missing(id: i64) -> Error {
    Error::new(format!("there is no cache entry {id}")).hint("trainyard cache list shows them")
}

fn line(entry: &CacheEntry) {
    let scope = entry.scope.trim_start_matches("refs/heads/");
    outln!(
        "{:>5}  {:>9}  {:<12}  {:<20}  {:<14}  {}",
        entry.id,
        bytes(u64::try_from(entry.size).unwrap_or(0)),
        ago(entry.used),
        entry.repository,
        scope,
        entry.key
    );
}

fn value(entry: &CacheEntry) -> serde_json::Value {
    serde_json::json!({
        "id": entry.id, "key": entry.key, "version": entry.version, "ref": entry.scope,
        "repository": entry.repository, "size": entry.size, "created": entry.created,
        "used": entry.used,
    })
}
