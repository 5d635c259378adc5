//! The folders of a job: `WORK/REPO/REPO`, `WORK/_temp`, `WORK/_tool` as a runner has them.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::paths::create_dir;

/// A job's folders.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// All of them.
    pub root: PathBuf,
    /// `GITHUB_WORKSPACE`: empty until the checkout.
    pub workspace: PathBuf,
    /// `RUNNER_WORKSPACE`
    pub runner_workspace: PathBuf,
    /// `RUNNER_TEMP`
    pub temp: PathBuf,
    /// Where steps find the files of their commands, and their scripts: in memory where that is
    /// to be had, as every step makes half a dozen of them.
    pub command_files: PathBuf,
    /// `GITHUB_EVENT_PATH`
    pub event_path: PathBuf,
    /// `RUNNER_TOOL_CACHE`
    pub tools: PathBuf,
}

impl Workspace {
    /// Makes the folders of a job under `root`; `name` is the repository's.
    pub fn create(root: &Path, name: &str, tools: &Path, event: &str) -> Result<Workspace> {
        let runner_workspace = root.join(name);
        let temp = root.join("_temp");
        let event_folder = temp.join("_github_workflow");
        let workspace = Workspace {
            root: root.to_owned(),
            workspace: runner_workspace.join(name),
            runner_workspace,
            command_files: memory_folder(root)
                .unwrap_or_else(|| temp.join("_runner_file_commands")),
            event_path: event_folder.join("event.json"),
            temp,
            tools: tools.to_owned(),
        };
        for folder in [
            &workspace.root,
            &workspace.runner_workspace,
            &workspace.workspace,
            &workspace.temp,
            &event_folder,
        ] {
            std::fs::create_dir(folder).map_err(|e| Error::io("create the folder", folder, &e))?;
        }
        create_dir(&workspace.command_files)?;
        std::fs::create_dir_all(tools).map_err(|e| Error::io("create the folder", tools, &e))?;
        std::fs::write(&workspace.event_path, event)
            .map_err(|e| Error::io("write", &workspace.event_path, &e))?;
        Ok(workspace)
    }

    /// Removes them. Steps may have taken away rights on folders; those are given back first.
    pub fn remove(&self) {
        // In memory or within the root; either way it is this job's alone.
        let _ = std::fs::remove_dir_all(&self.command_files);
        remove(&self.root);
    }
}

/// Removes a folder, whatever rights steps took away in it.
pub fn remove(root: &Path) {
    if root.exists() && std::fs::remove_dir_all(root).is_err() {
        give_rights(root, 0);
        // What still cannot be removed is left, and tried again when the folder is used next.
        let _ = std::fs::remove_dir_all(root);
    }
}

/// The file system in memory that Linux has.
const MEMORY: &str = "/dev/shm";

/// A folder in memory for this user alone; none where there is no such place.
fn memory_folder(root: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let name = format!("trainyard-{}-{}", std::process::id(), root.file_name()?.to_str()?);
    let folder = Path::new(MEMORY).join(name);
    std::fs::DirBuilder::new().mode(0o700).create(&folder).ok()?;
    Some(folder)
}

/// Removes what processes left in memory that were killed.
pub fn clear_memory() {
    for entry in std::fs::read_dir(MEMORY).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix("trainyard-").and_then(|n| n.split('-').next());
        if let Some(pid) = pid.filter(|p| p.parse::<u32>().is_ok())
            && !Path::new("/proc").join(pid).exists()
        {
            // Another user's cannot be removed, and is theirs to remove.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn give_rights(folder: &Path, depth: usize) {
    use std::os::unix::fs::PermissionsExt;
    if depth > 64 {
        return;
    }
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            give_rights(&entry.path(), depth + 1);
        }
    }
}
