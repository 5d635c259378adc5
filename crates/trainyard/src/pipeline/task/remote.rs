//! Artifacts that are not files at their addresses: fetched before a task that uses them, stored after one that made them
//! (`launcher_v2.go`). Within a run nothing is fetched that one of its tasks made or fetched before.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use trainyard_model::Outcome;
use trainyard_pipeline::Bundle;
use trainyard_remote::{Access, Remote, RemoteError};

use super::cluster::value;
use super::python::say;
use super::{Shared, TaskEnd, Work};
use crate::pipeline::places::is_remote;
use crate::pipeline::settings::Store;
use crate::ui::text::bytes;

/// The object stores of a run, opened when a task first asks.
#[derive(Debug, Default)]
pub struct Stores {
    remote: OnceLock<Result<Remote, String>>,
    /// What is being fetched: tasks that want the same wait for each other.
    coming: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>>,
}

impl Stores {
    /// Opens them.
    pub(super) fn open(&self, shared: &Shared) -> Result<&Remote, String> {
        let opened =
            self.remote.get_or_init(|| open_remote(&shared.cluster.stores, &shared.directory));
        opened.as_ref().map_err(Clone::clone)
    }

    pub(super) fn turn(&self, path: &Path) -> Arc<Mutex<()>> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(coming.entry(path.to_owned()).or_default())
    }
}

/// Bytes of a file or of all files of a folder; none if nothing is there.
fn size_of(path: &Path) -> i64 {
    let bytes = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => crate::host::workspace::size(path),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Files by which it is judged whether a task changed an input.
const MAX_LOOKED_AT: usize = 10_000;

/// What changes when a file or a folder is written to: times and sizes.
fn stamp(path: &Path) -> Vec<(PathBuf, i64, i64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let (mut open, mut found) = (vec![path.to_owned()], Vec::new());
    while let Some(path) = open.pop() {
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_dir() {
            let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
            open.extend(entries.map(|e| e.path()));
        }
        found.push((path, meta.mtime(), meta.mtime_nsec(), meta.len()));
        if found.len() >= MAX_LOOKED_AT {
            break;
        }
    }
    found.sort();
    found
}

/// Inputs of a task as they were before it.
pub(super) type Stamps = Vec<(String, String, PathBuf, Vec<(PathBuf, i64, i64, u64)>)>;

/// Opens the stores that `trainyard.toml` describes; `directory` is where it is.
pub fn open_remote(
    described: &BTreeMap<String, Store>,
    directory: &Path,
) -> Result<Remote, String> {
    let mut settings = BTreeMap::new();
    for (bucket, store) in described {
        let of = |text: &str| {
            value(text, directory)
                .map(|v| v.trim().to_owned())
                .map_err(|e| format!("[pipeline.stores.\"{bucket}\"] in trainyard.toml: {e}"))
        };
        let access = Access {
            endpoint: store.endpoint.clone(),
            region: store.region.clone(),
            access_key: of(&store.access_key)?,
            secret_key: of(&store.secret_key)?,
            token: of(&store.token)?,
            anonymous: store.anonymous,
        };
        settings.insert(bucket.trim_end_matches('/').to_owned(), access);
    }
    Remote::new(settings).map_err(|e| e.to_string())
}

pub(super) fn stopped() -> TaskEnd {
    TaskEnd { outcome: Outcome::Cancelled, ..TaskEnd::failed("the run was cancelled") }
}

impl Work<'_> {
    /// Whether anything of the task is in an object store.
    pub(super) fn in_stores(&self, root: &str, inputs: &Bundle) -> bool {
        let input = inputs.artifacts.values().flatten().any(|a| is_remote(&a.uri));
        input || is_remote(root)
    }

    /// Brings the inputs that are kept in the store and not at their addresses.
    pub(super) fn bring(&mut self, inputs: &Bundle) -> Result<(), String> {
        let shared = Arc::clone(&self.assignment.shared);
        for artifact in inputs.artifacts.values().flatten() {
            let place = shared.mirror.of(artifact).filter(|_| shared.kept.is_own(&artifact.uri));
            let Some(place) = place else { continue };
            let turn = shared.stores.turn(&place);
            let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
            if !place.exists() && shared.kept.bring(&artifact.uri, &place)? {
                say(&mut self.log, &format!("brought {} from the store", artifact.uri));
            }
        }
        Ok(())
    }

    /// How the inputs stand that others have, too.
    pub(super) fn stamps(&self, inputs: &Bundle) -> Stamps {
        let shared = &self.assignment.shared;
        let mut stamps = Stamps::new();
        for (name, list) in &inputs.artifacts {
            for artifact in list {
                let Some(place) = shared.mirror.of(artifact) else { continue };
                let ours = shared.kept.is_own(&artifact.uri) || is_remote(&artifact.uri);
                if ours && artifact.custom_path.is_empty() {
                    let stamp = stamp(&place);
                    stamps.push((name.clone(), artifact.uri.clone(), place, stamp));
                }
            }
        }
        stamps
    }

    /// On a cluster a task has its inputs for itself. One that wrote into them here has them taken away
    /// again: the next task gets what was made.
    pub(super) fn restore(&mut self, stamps: Stamps) {
        for (name, uri, place, before) in stamps {
            if stamp(&place) == before {
                continue;
            }
            crate::host::workspace::remove(&place);
            self.notes.push(format!(
                "it wrote into its input '{name}': other tasks find {uri} as it was made"
            ));
        }
    }

    /// Brings the inputs. An end if it was told to stop meanwhile.
    pub(super) fn fetch(
        &mut self,
        inputs: &mut Bundle,
        bare: bool,
    ) -> Result<Option<TaskEnd>, String> {
        let shared = Arc::clone(&self.assignment.shared);
        for artifact in inputs.artifacts.values_mut().flatten().filter(|a| is_remote(&a.uri)) {
            let Some(target) = shared.mirror.of(artifact) else { continue };
            let turn = shared.stores.turn(&target);
            let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
            if !target.exists() {
                let began = Instant::now();
                let stop = Some(self.assignment.control.wake.as_fd());
                match shared.stores.open(&shared)?.fetch(&artifact.uri, &target, stop) {
                    Ok(Some(count)) => say(
                        &mut self.log,
                        &format!(
                            "fetched {} ({}, {:.1} s)",
                            artifact.uri,
                            bytes(count),
                            began.elapsed().as_secs_f64()
                        ),
                    ),
                    // As the launcher has it: what the task does without it is the task's.
                    Ok(None) => {
                        say(&mut self.log, &format!("there is nothing at {}", artifact.uri))
                    }
                    Err(RemoteError::Stopped) => return Ok(Some(stopped())),
                    Err(error) => {
                        return Err(format!("its input cannot be fetched: {error}"));
                    }
                }
            }
            if bare {
                artifact.uri = target.to_string_lossy().into_owned();
            }
        }
        Ok(None)
    }

    /// Stores the outputs at their addresses; a task whose outputs cannot be stored has failed.
    pub(super) fn keep(&mut self, end: &mut TaskEnd) {
        let shared = Arc::clone(&self.assignment.shared);
        for artifact in end.outputs.artifacts.values_mut().flatten() {
            if !is_remote(&artifact.uri) && !shared.kept.is_own(&artifact.uri) {
                let place = shared.mirror.of(artifact).filter(|p| p.starts_with("/"));
                artifact.bytes = place.map_or(0, |p| size_of(&p));
                continue;
            }
            let Some(path) = shared.mirror.of(artifact) else { continue };
            if !path.exists() {
                continue;
            }
            if !is_remote(&artifact.uri) {
                match shared.kept.keep(&artifact.uri, &path) {
                    Ok(kept) => {
                        artifact.digest = kept.sha256;
                        artifact.bytes = i64::try_from(kept.size).unwrap_or(i64::MAX);
                    }
                    Err(why) => {
                        *end = TaskEnd::failed(format!("its output cannot be kept: {why}"));
                        return;
                    }
                }
                continue;
            }
            let stop = Some(self.assignment.control.wake.as_fd());
            let kept =
                shared.stores.open(&shared).map(|remote| remote.keep(&path, &artifact.uri, stop));
            match kept {
                Ok(Ok(count)) => {
                    artifact.bytes = i64::try_from(count).unwrap_or(i64::MAX);
                    say(&mut self.log, &format!("stored {} ({})", artifact.uri, bytes(count)));
                }
                Ok(Err(RemoteError::Stopped)) => {
                    *end = stopped();
                    return;
                }
                Ok(Err(error)) => {
                    *end = TaskEnd::failed(format!("its output cannot be stored: {error}"));
                    return;
                }
                Err(why) => {
                    *end = TaskEnd::failed(why);
                    return;
                }
            }
        }
    }
}
