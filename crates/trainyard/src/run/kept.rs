//! Workspaces that outlive their jobs, so that one can look into them and go on from a step.
//!
//! A job's folder is moved aside as a whole, which takes no time whatever is in it, and moved back
//! to where it was when somebody wants it: what a step wrote may name its own path. Beside it lies
//! what the job's steps left behind, with names for secrets.
//!
//! The newest few are kept, for some days; `trainyard prune` removes them earlier. Whoever uses one
//! holds a lock on its description, so nobody removes it meanwhile; one that a killed process had
//! taken is put aside again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trainyard_job::StepMark;

use crate::error::{Error, Result};
use crate::host::containers::KeptContainer;
use crate::host::workspace::remove;
use crate::paths::{WorkFolder, create_dir};

/// Workspaces that are kept at most.
pub const MAX_KEPT: usize = 10;
/// How long.
pub const MAX_AGE: Duration = Duration::from_secs(3 * 24 * 3600);

/// When a job's workspace is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// Its variables beyond those that every step has.
    pub env: Vec<(String, String)>,
    /// Folders in front of PATH.
    pub path: Vec<String>,
    /// Names of variables that are left out as their values are masked.
    pub left_out: Vec<String>,
    /// Its working directory; none if its name is masked.
    pub directory: Option<PathBuf>,
    /// The container that it ran in.
    #[serde(default)]
    pub container: Option<KeptContainer>,
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
    /// `deploy/build[0]`
    pub path: String,
    /// Whether the job's secrets are those of the call, by the same names.
    pub own_secrets: bool,
    /// Whether the job failed.
    pub bad: bool,
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

/// A workspace that is in use: where it was, for this process alone. Dropped, it is put aside again.
pub struct Held {
    /// What is known of it.
    pub kept: Kept,
    data: PathBuf,
    folder: Option<WorkFolder>,
    _lock: File,
}

impl Held {
    /// Whether its steps ran in a container.
    pub fn in_container(&self) -> bool {
        self.kept.failed.as_ref().is_some_and(|failed| failed.container.is_some())
    }

    /// Its folder, for a job that goes on in it: from here on it is that job's, and its description
    /// stays until the job is over.
    pub fn into_folder(mut self) -> Option<WorkFolder> {
        self.folder.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.folder.is_some() {
            // What cannot be put aside stays where it is, and is tried again by the next who looks.
            let _ = std::fs::rename(&self.kept.place, self.kept.folder(&self.data));
        }
    }
}

impl Kept {
    /// Its folder while nobody uses it.
    fn folder(&self, data: &Path) -> PathBuf {
        folder(data).join(format!("{}-{}-{}", self.run, self.node, self.attempt))
    }

    fn file(&self, data: &Path) -> PathBuf {
        self.folder(data).with_extension("json")
    }

    /// Moves the job's folder aside. Earlier attempts of the job are not kept any longer.
    pub fn keep(&self, data: &Path) -> Result<()> {
        let to = self.folder(data);
        create_dir(&folder(data))?;
        forget(data, self.run, self.node);
        let text = serde_json::to_string(self).unwrap_or_default();
        let file = self.file(data);
        std::fs::write(&file, text).map_err(|e| Error::io("write", &file, &e))?;
        std::fs::rename(&self.place, &to).map_err(|e| {
            // What it would describe is not there.
            let _ = std::fs::remove_file(&file);
            Error::io("keep the workspace", &self.place, &e)
        })
    }

    /// Moves it back to where the job had it; nobody else works there until it is dropped.
    pub fn take(&self, data: &Path) -> Result<Held> {
        let lock = lock(&self.file(data)).ok_or_else(|| {
            Error::new(format!("the workspace of '{}' is in use", self.job))
                .hint("leave the shell that is open in it, or wait for the run that goes on in it")
        })?;
        let work = WorkFolder::take_at(data, &self.place)?;
        let from = self.folder(data);
        std::fs::rename(&from, &self.place)
            .map_err(|e| Error::io("use the kept workspace", &from, &e))?;
        Ok(Held { kept: self.clone(), data: data.to_owned(), folder: Some(work), _lock: lock })
    }

    /// Bytes on the disk.
    pub fn size(&self, data: &Path) -> u64 {
        crate::host::workspace::size(&self.folder(data))
    }

    /// Removes it, unless somebody uses it: false then.
    pub fn remove(&self, data: &Path) -> bool {
        let Some(_lock) = lock(&self.file(data)) else { return false };
        // Under another name first: what a removal that is cut short leaves is seen to be rubbish.
        let (from, gone) = (
            self.folder(data),
            folder(data).join(format!("{GONE}{}-{}-{}", self.run, self.node, self.attempt)),
        );
        let named = std::fs::rename(&from, &gone).is_ok();
        let _ = std::fs::remove_file(self.file(data));
        remove(if named { &gone } else { &from });
        true
    }
}

/// What a folder that is being removed is called.
const GONE: &str = ".gone-";

/// The lock of a description; none if another has it, or if it is not there.
fn lock(file: &Path) -> Option<File> {
    let file = File::open(file).ok()?;
    let free = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&file, free).ok().map(|()| file)
}

/// All descriptions, the newest first; those whose folders are in use, too.
fn all(data: &Path) -> Vec<Kept> {
    let files = std::fs::read_dir(folder(data)).into_iter().flatten().flatten();
    let mut kept: Vec<Kept> = files
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .filter_map(|p| serde_json::from_str(&std::fs::read_to_string(p).ok()?).ok())
        .collect();
    kept.sort_by_key(|k| std::cmp::Reverse((k.at, k.run, k.node)));
    kept
}

/// What is kept, the newest first; what is in use, too. What killed processes had taken is put
/// aside again.
pub fn list(data: &Path) -> Vec<Kept> {
    let mut all = all(data);
    for kept in all.iter().filter(|k| !k.folder(data).is_dir()) {
        put_aside(data, kept);
    }
    all.retain(|k| k.file(data).is_file());
    all
}

/// Puts aside what nobody uses any more, though it lies where its job had it.
fn put_aside(data: &Path, kept: &Kept) {
    let Some(_lock) = lock(&kept.file(data)) else { return };
    if kept.folder(data).exists() {
        return;
    }
    if kept.place.is_dir() {
        // Another job may work there.
        let Some(_place) = WorkFolder::lock_at(&kept.place) else { return };
        let _ = std::fs::rename(&kept.place, kept.folder(data));
    } else {
        // Nothing is left of it.
        let _ = std::fs::remove_file(kept.file(data));
    }
}

/// As [`list`], for a place whose lock the caller has.
pub fn rescue(data: &Path, place: &Path) {
    for kept in all(data).iter().filter(|k| k.place == place && !k.folder(data).exists()) {
        if let Some(_lock) = lock(&kept.file(data)) {
            let _ = std::fs::rename(place, kept.folder(data));
            return;
        }
    }
}

/// What is kept of a job of a run, the newest attempt.
pub fn find(data: &Path, run: i64, node: i64) -> Option<Kept> {
    list(data).into_iter().find(|k| (k.run, k.node) == (run, node))
}

/// Removes what is kept of a job.
pub fn forget(data: &Path, run: i64, node: i64) {
    for old in all(data).iter().filter(|k| (k.run, k.node) == (run, node)) {
        old.remove(data);
    }
}

/// Removes what is beyond number and age, and what earlier removals left. Those of jobs that failed
/// are not counted with the others.
pub fn tidy(data: &Path, now: i64) {
    let oldest = now - i64::try_from(MAX_AGE.as_millis()).unwrap_or(i64::MAX);
    let kept = list(data);
    for bad in [true, false] {
        for (number, kept) in kept.iter().filter(|k| k.bad == bad).enumerate() {
            if number >= MAX_KEPT || kept.at < oldest {
                kept.remove(data);
            }
        }
    }
    for entry in std::fs::read_dir(folder(data)).into_iter().flatten().flatten() {
        let path = entry.path();
        let described = path.with_extension("json").is_file();
        if path.is_dir() && !described {
            remove(&path);
        }
    }
}
