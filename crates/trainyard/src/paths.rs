//! Where things are kept.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::builtin::short_hash;
use crate::error::{Error, Result};

/// The user's data folder: `TRAINYARD_DATA_DIR`, else `trainyard` under `XDG_DATA_HOME` or
/// `~/.local/share`.
pub fn data_dir() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let dir = from("TRAINYARD_DATA_DIR")
        .or_else(|| from("XDG_DATA_HOME").map(|d| d.join("trainyard")))
        .or_else(|| from("HOME").map(|d| d.join(".local/share/trainyard")))
        .ok_or_else(|| {
            Error::new("there is no folder for Trainyard's data")
                .hint("set TRAINYARD_DATA_DIR or HOME")
        })?;
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    // Logs and workspaces are the user's own.
    if !dir.is_dir() {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&dir).map_err(|e| {
            Error::io("create the folder", &dir, &e).hint("TRAINYARD_DATA_DIR names another folder")
        })?;
    }
    Ok(dir)
}

/// Makes a folder and those above it.
pub fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io("create the folder", path, &e))
}

/// The log of a job of a run; later attempts have one of their own.
pub fn job_log(data: &Path, run: i64, node: u32, attempt: i64) -> PathBuf {
    let again = if attempt > 1 { format!("-{attempt}") } else { String::new() };
    data.join("runs").join(format!("{run}-{node}{again}.log"))
}

/// A folder for a job of a repository, for as long as it runs. The same one as long as nothing else
/// runs: what a job caches may hold its own path, and on a runner that path stays.
#[derive(Debug)]
pub struct WorkFolder {
    /// The folder; it is not there yet.
    pub path: PathBuf,
    /// Whoever holds the lock of the file beside it has the folder.
    _lock: File,
}

/// Folders of one repository at once.
const MAX_FOLDERS: usize = 4096;

impl WorkFolder {
    /// The first that nobody has. What a killed job left in it is removed.
    pub fn take(data: &Path, repository: &str) -> Result<WorkFolder> {
        let work = data.join("work");
        create_dir(&work)?;
        let name: String = short_hash(repository).chars().take(8).collect();
        for number in 0..MAX_FOLDERS {
            let path = work.join(format!("{name}-{number}"));
            let lock_path = path.with_extension("lock");
            let lock = File::create(&lock_path).map_err(|e| Error::io("write", &lock_path, &e))?;
            let free = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            if rustix::fs::flock(&lock, free).is_ok() {
                crate::run::kept::rescue(data, &path);
                crate::host::workspace::remove(&path);
                return Ok(WorkFolder { path, _lock: lock });
            }
        }
        Err(Error::new(format!("{MAX_FOLDERS} jobs of this repository run already")))
    }

    /// That one and no other, empty.
    pub fn take_at(data: &Path, path: &Path) -> Result<WorkFolder> {
        let folder = WorkFolder::lock_at(path).ok_or_else(|| {
            Error::new("another job of this repository runs in its folder")
                .hint("wait until it is over, and try again")
        })?;
        crate::run::kept::rescue(data, path);
        crate::host::workspace::remove(path);
        Ok(folder)
    }

    /// That one as it is, if nobody has it.
    pub fn lock_at(path: &Path) -> Option<WorkFolder> {
        let lock = File::create(path.with_extension("lock")).ok()?;
        let free = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&lock, free).ok()?;
        Some(WorkFolder { path: path.to_owned(), _lock: lock })
    }
}
