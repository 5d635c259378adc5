//! Workspaces that outlive their jobs, so that one can look into them and go on from a step.
//!
//! A job's folder is moved aside as a whole, which takes no time whatever is in it, and moved back
//! to where it was when somebody wants it: what a step wrote may name its own path. Beside it lies
//! what the job's steps left behind, with names for secrets.
//!
//! The newest few are kept, for some days; `trainyard prune` removes them earlier.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trainyard_job::StepMark;

use crate::error::{Error, Result};
use crate::host::workspace::remove;
use crate::paths::{WorkFolder, create_dir};

/// Workspaces that are kept at most.
pub const MAX_KEPT: usize = 10;
/// How long.
pub const MAX_AGE: Duration = Duration::from_secs(3 * 24 * 3600);

/// When a job's workspace is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Keep {
    /// When the job did not succeed
    Failed,
    /// Always
    Always,
    /// Never
    Never,
}

/// A process as it was started, without secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptProcess {
    /// The step's name.
    pub step: String,
    /// The text of its script and the ending of its file, if it was one.
    pub script: Option<(String, String)>,
    /// The program that ran it.
    pub program: PathBuf,
    /// Its variables beyond those that every step has.
    pub env: Vec<(String, String)>,
    /// Folders in front of PATH.
    pub path: Vec<String>,
    /// Names of variables that are left out as their values are masked.
    pub left_out: Vec<String>,
    /// Its working directory.
    pub directory: PathBuf,
}

/// What is known of a kept workspace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// The run.
    pub run: i64,
    /// The job's place in it.
    pub node: i64,
    /// The attempt at the run.
    pub attempt: i64,
    /// The job's name.
    pub job: String,
    /// Where the workspace was and goes back to.
    pub place: PathBuf,
    /// Milliseconds since the epoch.
    pub at: i64,
    /// How many pre stages come before its steps.
    pub pre_stages: usize,
    /// What its steps left behind.
    pub marks: Vec<StepMark>,
    /// The process of the step that failed; none if none did.
    pub failed: Option<KeptProcess>,
}

fn folder(data: &Path) -> PathBuf {
    data.join("kept")
}

impl Kept {
    /// Its folder while nobody uses it.
    fn folder(&self, data: &Path) -> PathBuf {
        folder(data).join(format!("{}-{}-{}", self.run, self.node, self.attempt))
    }

    /// Moves the job's folder aside. Earlier attempts of the job are not kept any longer.
    pub fn keep(&self, data: &Path) -> Result<()> {
        let to = self.folder(data);
        create_dir(&folder(data))?;
        forget(data, self.run, self.node);
        let text = serde_json::to_string(self).unwrap_or_default();
        let file = to.with_extension("json");
        std::fs::write(&file, text).map_err(|e| Error::io("write", &file, &e))?;
        std::fs::rename(&self.place, &to).map_err(|e| {
            // What it would describe is not there.
            let _ = std::fs::remove_file(&file);
            Error::io("keep the workspace", &self.place, &e)
        })
    }

    /// Moves it back to where the job had it; nobody else works there until the folder is dropped.
    pub fn take(&self, data: &Path) -> Result<WorkFolder> {
        let work = WorkFolder::take_at(&self.place)?;
        let from = self.folder(data);
        std::fs::rename(&from, &self.place)
            .map_err(|e| Error::io("use the kept workspace", &from, &e))?;
        Ok(work)
    }

    /// Moves it aside again.
    pub fn give_back(&self, data: &Path) -> Result<()> {
        let to = self.folder(data);
        std::fs::rename(&self.place, &to)
            .map_err(|e| Error::io("keep the workspace", &self.place, &e))
    }

    /// Bytes on the disk.
    pub fn size(&self, data: &Path) -> u64 {
        crate::host::workspace::size(&self.folder(data))
    }

    /// Removes it.
    pub fn remove(&self, data: &Path) {
        let folder = self.folder(data);
        let _ = std::fs::remove_file(folder.with_extension("json"));
        remove(&folder);
    }
}

/// What is kept, the newest first.
pub fn list(data: &Path) -> Vec<Kept> {
    let files = std::fs::read_dir(folder(data)).into_iter().flatten().flatten();
    let mut kept: Vec<Kept> = files
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "json") && p.with_extension("").is_dir())
        .filter_map(|p| serde_json::from_str(&std::fs::read_to_string(p).ok()?).ok())
        .collect();
    kept.sort_by_key(|k| std::cmp::Reverse((k.at, k.run, k.node)));
    kept
}

/// What is kept of a job of a run, the newest attempt.
pub fn find(data: &Path, run: i64, node: i64) -> Option<Kept> {
    list(data).into_iter().find(|k| (k.run, k.node) == (run, node))
}

/// Puts aside again what a killed process had taken and not given back; true if there was such.
pub fn rescue(data: &Path, place: &Path) -> bool {
    let files = std::fs::read_dir(folder(data)).into_iter().flatten().flatten();
    let orphans = files
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "json") && !p.with_extension("").exists());
    for file in orphans {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let Ok(kept) = serde_json::from_str::<Kept>(&text) else { continue };
        if kept.place == place && kept.give_back(data).is_ok() {
            return true;
        }
    }
    false
}

/// Removes what is kept of a job.
pub fn forget(data: &Path, run: i64, node: i64) {
    for old in list(data).iter().filter(|k| (k.run, k.node) == (run, node)) {
        old.remove(data);
    }
}

/// Removes what is beyond number and age.
pub fn tidy(data: &Path, now: i64) {
    let oldest = now - i64::try_from(MAX_AGE.as_millis()).unwrap_or(i64::MAX);
    for (number, kept) in list(data).iter().enumerate() {
        if number >= MAX_KEPT || kept.at < oldest {
            kept.remove(data);
        }
    }
}
