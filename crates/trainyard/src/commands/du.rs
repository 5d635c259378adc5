//! `trainyard du`: what fills the data folder.

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::host::workspace::size;
use crate::paths::data_dir;
use crate::run::services::open_store;
use crate::ui::text::bytes;

/// Shows it.
pub fn du(json: bool) -> Result<Exit> {
    let data = data_dir()?;
    let store = open_store(&data)?;
    let usage = store.usage().map_err(|e| Error::new(e.to_string()))?;
    let folders = [
        ("store", "caches and artifacts"),
        ("runs", "logs"),
        ("kept", "workspaces of jobs that failed"),
        ("actions", "actions of other repositories"),
        ("pipelines", "files, volumes and workspaces of pipelines"),
        ("environments", "environments of their tasks"),
        ("tools", "tools"),
        ("node", "Node"),
    ];
    let sizes: Vec<(&str, &str, u64)> =
        folders.into_iter().map(|(name, what)| (name, what, size(&data.join(name)))).collect();
    if json {
        let folders: serde_json::Map<String, serde_json::Value> =
            sizes.iter().map(|(name, _, size)| ((*name).to_owned(), (*size).into())).collect();
        outln!(
            "{:#}",
            serde_json::json!({
                "data": data, "folders": folders,
                "caches": {"count": usage.caches, "bytes": usage.cache_bytes},
                "artifacts": {"count": usage.artifacts, "bytes": usage.artifact_bytes},
                "outputs": {"count": usage.outputs, "bytes": usage.output_bytes},
                "stored": usage.stored,
            })
        );
        return Ok(Exit::Success);
    }
    outln!("{}", data.display());
    for (name, what, size) in sizes {
        outln!("{:>9}  {name:<12}  {what}", bytes(size));
    }
    outln!(
        "{} cache entries of {}, {} artifacts of {} and {} of pipelines of {} are stored in {}",
        usage.caches,
        bytes(usage.cache_bytes),
        usage.artifacts,
        bytes(usage.artifact_bytes),
        usage.outputs,
        bytes(usage.output_bytes),
        bytes(usage.stored)
    );
    outln!(
        "to free some: trainyard prune [--pipelines], trainyard cache prune, trainyard actions prune"
    );
    Ok(Exit::Success)
}
