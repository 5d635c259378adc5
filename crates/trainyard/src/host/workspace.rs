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
    /// Where steps find the files of their commands.
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
        let workspace = Workspace {
            root: root.to_owned(),
            workspace: runner_workspace.join(name),
            runner_workspace,
            command_files: temp.join("_runner_file_commands"),
            event_path: temp.join("_github_workflow").join("event.json"),
            temp,
            tools: tools.to_owned(),
        };
        create_dir(&workspace.workspace)?;
        create_dir(&workspace.command_files)?;
        create_dir(&workspace.temp.join("_github_workflow"))?;
        std::fs::write(&workspace.event_path, event)
            .map_err(|e| Error::io("write", &workspace.event_path, &e))?;
        Ok(workspace)
    }

    /// Removes them. Steps may have taken away rights on folders; those are given back first.
    pub fn remove(&self) {
        if std::fs::remove_dir_all(&self.root).is_err() {
            give_rights(&self.root, 0);
            // What still cannot be removed is left; the folder of the run names it.
            let _ = std::fs::remove_dir_all(&self.root);
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
