//! `trainyard prune`: removes the workspaces that are kept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Result;
use crate::exit::Exit;
use crate::paths::data_dir;
use crate::run::kept;
use crate::ui::text::{ago, bytes};

/// Removes those older than that, or all; or says what there is.
pub fn prune(older: Option<Duration>, dry_run: bool) -> Result<Exit> {
    let data = data_dir()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let oldest = older.map_or(Duration::MAX, |age| now.saturating_sub(age)).as_millis();
    let (mut count, mut total) = (0, 0);
    for workspace in kept::list(&data) {
        if u128::try_from(workspace.at).unwrap_or(0) > oldest {
            continue;
        }
        let size = workspace.size(&data);
        outln!(
            "run {} attempt {} · {}  {}  {}",
            workspace.run,
            workspace.attempt,
            workspace.job,
            bytes(size),
            ago(workspace.at)
        );
        if !dry_run && !workspace.remove(&data) {
            outln!("  it is in use, and stays");
            continue;
        }
        count += 1;
        total += size;
    }
    let verb = if dry_run { "would be removed" } else { "removed" };
    let what = if count == 1 { "workspace" } else { "workspaces" };
    outln!("{count} {what} of {} {verb}", bytes(total));
    Ok(Exit::Success)
}
