//! `trainyard prune --pipelines`: takes away what tasks of pipelines made, and their environments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::commands::cache;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::host::workspace::{remove, size};
use crate::paths::data_dir;
use crate::pipeline::kept::lock;
use crate::pipeline::places::{default_root, runs_folder};
use crate::run::services::open_store;
use crate::ui::text::bytes;

/// Takes away artifacts older than that, or all; the environments of Python, which are made again; where
/// no age is given the workspaces of runs, too. Volumes stay: what they hold is the user's.
pub fn prune(older: Option<Duration>, dry_run: bool) -> Result<Exit> {
    let data = data_dir()?;
    let lock = lock(&data)?;
    if !lock.alone() {
        return Err(Error::new("a pipeline runs").hint("wait for its end: trainyard runs"));
    }
    let mut folders = vec![default_root(&data).into(), data.join("environments")];
    if older.is_none() {
        folders.push(runs_folder(&data).join("workspaces"));
    }
    let mut total = 0;
    for folder in folders {
        total += size(&folder);
        if !dry_run {
            remove(&folder);
        }
    }
    let verb = if dry_run { "would be removed" } else { "removed" };
    outln!("files, environments and workspaces of {} {verb}", bytes(total));
    if dry_run {
        return Ok(Exit::Success);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let before = older.map_or(Duration::MAX, |age| now.saturating_sub(age)).as_millis();
    let store = open_store(&data)?;
    let count = store
        .delete_outputs(i64::try_from(before).unwrap_or(i64::MAX))
        .map_err(|e| Error::new(e.to_string()))?;
    outln!("{count} artifacts taken away");
    cache::collect(&store)?;
    Ok(Exit::Success)
}
