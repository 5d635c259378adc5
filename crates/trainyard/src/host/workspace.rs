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

const EVENT_FOLDER: &str = "_github_workflow";

impl Workspace {
    /// Makes the folders of a job under `root`; `name` is the repository's.
    pub fn create(root: &Path, name: &str, tools: &Path, event: &str) -> Result<Workspace> {
        let workspace = Workspace::at(root, name, tools);
        let event_folder = workspace.temp.join(EVENT_FOLDER);
        for folder in [
            &workspace.root,
            &workspace.runner_workspace,
            &workspace.workspace,
            &workspace.temp,
            &event_folder,
        ] {
            std::fs::create_dir(folder).map_err(|e| Error::io("create the folder", folder, &e))?;
        }
        workspace.open(event)?;
        Ok(workspace)
    }

    /// The folders of an earlier job, as it left them.
    pub fn reopen(root: &Path, name: &str, tools: &Path, event: &str) -> Result<Workspace> {
        let workspace = Workspace::at(root, name, tools);
        create_dir(&workspace.workspace)?;
        create_dir(&workspace.temp.join(EVENT_FOLDER))?;
        workspace.open(event)?;
        Ok(workspace)
    }

    /// What each job finds anew.
    fn open(&self, event: &str) -> Result<()> {
        create_dir(&self.command_files)?;
        create_dir(&self.tools)?;
        std::fs::write(&self.event_path, event)
            .map_err(|e| Error::io("write", &self.event_path, &e))
    }

    /// Whether the tool cache is another user's.
    pub fn shares_tools(&self) -> bool {
        use std::os::unix::fs::MetadataExt;
        self.tools.metadata().is_ok_and(|m| m.uid() != rustix::process::getuid().as_raw())
    }

    /// `HOME` of containers.
    pub fn home(&self) -> PathBuf {
        self.temp.join("_github_home")
    }

    /// The folder of the event.
    pub fn event_folder(&self) -> PathBuf {
        self.temp.join(EVENT_FOLDER)
    }

    fn at(root: &Path, name: &str, tools: &Path) -> Workspace {
        let runner_workspace = root.join(name);
        let temp = root.join("_temp");
        Workspace {
            root: root.to_owned(),
            workspace: runner_workspace.join(name),
            runner_workspace,
            // The outer one is this user's alone; the inner one may be open to a container's user.
            command_files: memory_folder(root)
                .unwrap_or_else(|| temp.join("_runner_file_commands"))
                .join("files"),
            event_path: temp.join(EVENT_FOLDER).join("event.json"),
            temp,
            tools: tools.to_owned(),
        }
    }

    /// Removes them. Steps may have taken away rights on folders; those are given back first.
    pub fn remove(&self) {
        self.close();
        remove(&self.root);
    }

    /// Removes what only the running job needs.
    pub fn close(&self) {
        // In memory or within the root; either way it is this job's alone.
        let _ = std::fs::remove_dir_all(self.command_files.parent().unwrap_or(&self.command_files));
    }
}

/// Removes a folder, whatever rights steps took away in it, or a file.
pub fn remove(root: &Path) {
    if root.symlink_metadata().is_ok_and(|m| !m.is_dir()) {
        let _ = std::fs::remove_file(root);
        return;
    }
    if root.exists() && std::fs::remove_dir_all(root).is_err() {
        give_rights(root, 0);
        // What still cannot be removed is left, and tried again when the folder is used next.
        let _ = std::fs::remove_dir_all(root);
    }
}

/// The file system in memory that Linux has.
const MEMORY: &str = "/dev/shm";

/// A folder in memory for this user alone; none where there is no such place.
pub fn memory_folder(root: &Path) -> Option<PathBuf> {
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

/// Bytes of the files in a folder.
pub fn size(folder: &Path) -> u64 {
    let mut folders = vec![(folder.to_owned(), 0)];
    let mut bytes = 0;
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < 64 => folders.push((entry.path(), depth + 1)),
                Ok(_) => bytes += entry.metadata().map_or(0, |m| m.len()),
                Err(_) => {}
            }
        }
    }
    bytes
}
