//! Where things are kept.

use std::path::{Path, PathBuf};

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
    create_dir(&dir).map_err(|e| e.hint("TRAINYARD_DATA_DIR names another folder"))?;
    Ok(dir)
}

/// Makes a folder and those above it.
pub fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io("create the folder", path, &e))
}

/// The folder of a job of a run; its log stands beside it.
pub fn job_dir(data: &Path, run: i64, node: u32) -> PathBuf {
    data.join("runs").join(format!("{run}-{node}"))
}
