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

    fn turn(&self, path: &Path) -> Arc<Mutex<()>> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(coming.entry(path.to_owned()).or_default())
    }
}

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

fn stopped() -> TaskEnd {
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
            if let Some(place) = place.filter(|p| !p.exists())
                && shared.kept.bring(&artifact.uri, &place)?
            {
                say(&mut self.log, &format!("brought {} from the store", artifact.uri));
            }
        }
        Ok(())
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
                continue;
            }
            let Some(path) = shared.mirror.of(artifact) else { continue };
            if !path.exists() {
                continue;
            }
            if !is_remote(&artifact.uri) {
                match shared.kept.keep(&artifact.uri, &path) {
                    Ok(kept) => artifact.digest = kept.sha256,
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
