//! One task: its inputs laid, its process run, its outputs read.
//!
//! A task is a thread while it runs. What it gives back is what the engine records.

mod cards;
mod claims;
mod cluster;
mod container;
mod fixed;
mod forks;
mod host;
mod importer;
mod limits;
mod process;
mod python;
mod remote;
mod shared_path;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use trainyard_executor_container::Pull;
use trainyard_job::Exit;
use trainyard_model::Outcome;
use trainyard_pipeline::{
    Bundle, Component, Container, Definition, Executor as Runs, ExecutorInput, OutputPlaces,
    Outputs, PathOf, Pipeline, Platform, RunFacts, Task, collect,
};

use super::kept::Kept;
use super::mounts::Mount;
use super::mounts::are_possible;
use super::places::{Mirror, TaskFolder, is_remote, path_of, path_of_uri};
use super::settings::{Cluster, Executor};
use crate::host::containers::Engines;

pub use cards::Cards;
pub use forks::Forks;
pub use process::Control;
pub use python::{Pythons, version_of};
pub use remote::{Stores, open_remote};

use process::{Ended, last_line, tail};
use python::say;

/// Bytes of an executor output, and of a file of an output parameter.
const MAX_OUTPUT: u64 = 16 * 1024 * 1024;

/// What all tasks of a run share.
pub struct Shared {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// The data folder.
    pub data: PathBuf,
    /// The run.
    pub facts: RunFacts,
    /// Where tasks run.
    pub executor: Executor,
    /// When images are pulled.
    pub pull: Pull,
    /// What stands for the cluster.
    pub cluster: Cluster,
    /// Where `trainyard.toml` is.
    pub directory: PathBuf,
    /// The container engine.
    pub engines: Arc<Engines>,
    /// The object stores.
    pub stores: Stores,
    /// What tasks made, in the store.
    pub kept: Kept,
    /// What is here of object stores.
    pub mirror: Mirror,
    /// The machine's graphics cards.
    pub cards: Cards,
    /// Pythons that have imported the SDK.
    pub forks: Forks,
    /// Pythons and their environments.
    pub pythons: Pythons,
    /// The variables that every process starts with.
    pub env: Vec<(String, String)>,
}

/// A task that is to run.
pub struct Assignment {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// What it is.
    pub definition: Definition,
    /// The run's number.
    pub run: i64,
    /// Its place in the run.
    pub node: u32,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// Its inputs.
    pub inputs: Bundle,
    /// Where its log goes.
    pub log: PathBuf,
    /// How it is told to stop.
    pub control: Control,
}

/// How a task ended.
#[derive(Debug)]
pub struct TaskEnd {
    /// How.
    pub outcome: Outcome,
    /// Why, if there is more to say.
    pub reason: String,
    /// What it gave.
    pub outputs: Bundle,
    /// What people should know of it.
    pub notes: Vec<String>,
}

impl TaskEnd {
    fn failed(reason: impl Into<String>) -> TaskEnd {
        TaskEnd {
            outcome: Outcome::Failure,
            reason: reason.into(),
            outputs: Bundle::default(),
            notes: Vec::new(),
        }
    }
}

/// What is run.
struct TaskProcess<'a> {
    container: &'a Container,
    command: Vec<String>,
    /// Its own variables.
    env: Vec<(String, String)>,
    limit: Option<Duration>,
    /// Folders at fixed places.
    mounts: Vec<Mount>,
    /// Folders that are the task's own, though they are there.
    open: Vec<PathBuf>,
    platform: &'a Platform,
}

/// A task that is being performed.
struct Work<'a> {
    assignment: &'a Assignment,
    task: &'a Task,
    component: &'a Component,
    folder: TaskFolder,
    log: File,
    outputs: Outputs,
    notes: Vec<String>,
}

/// A number of its own for each attempt at a task of a run, as a UUID is written.
pub fn uuid(run: &str, node: u32, attempt: u32) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{run}/{node}/{attempt}").as_bytes());
    let hex: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Runs a task to its end.
pub fn perform(assignment: &Assignment) -> TaskEnd {
    let shared = &assignment.shared;
    let definition = &assignment.definition;
    let Some(task) = shared.pipeline.task_of(definition) else {
        return TaskEnd::failed("it is no task");
    };
    let component = shared.pipeline.component_of(definition);
    let Some((_, executor)) = shared.pipeline.executor_of(definition) else {
        return TaskEnd::failed("it has no executor");
    };
    let log = match File::options().create(true).append(true).open(&assignment.log) {
        Ok(log) => log,
        Err(error) => return TaskEnd::failed(format!("its log cannot be written: {error}")),
    };
    let folder = TaskFolder::new(&shared.data, assignment.run, assignment.node, assignment.attempt);
    let container = match executor {
        Runs::Importer(import) => return importer::import(assignment, component, import),
        Runs::Container(container) => match container.image.as_str() {
            "argostub/createpvc" => return claims::create(assignment),
            "argostub/deletepvc" => return claims::delete(assignment),
            _ => container,
        },
    };
    if let Err(error) = folder.create() {
        return TaskEnd::failed(format!(
            "its folder {} cannot be made: {error}",
            folder.root.display()
        ));
    }
    let id = uuid(&shared.facts.uuid, assignment.node, assignment.attempt);
    let root = format!(
        "{}/{}/{}/{}/{id}",
        shared.facts.root, shared.pipeline.name, shared.facts.uuid, task.key
    );
    let outputs = Outputs::default();
    let mut work = Work { assignment, task, component, folder, log, outputs, notes: Vec::new() };
    let mut end = match work.run(container, &id, &root) {
        Ok(end) => end,
        Err(why) => TaskEnd::failed(why),
    };
    end.notes.append(&mut work.notes);
    work.folder.remove();
    end
}

impl Work<'_> {
    fn run(&mut self, container: &Container, id: &str, root: &str) -> Result<TaskEnd, String> {
        let shared = &self.assignment.shared;
        let mut inputs = self.assignment.inputs.clone();
        let (place, why) = self.choose(container);
        if let Some(why) = why {
            say(&mut self.log, &why);
        }
        let stores = self.in_stores(root, &inputs);
        // A process that may have no mounts is told the places themselves as addresses.
        let bare = stores && place == Place::Host && !are_possible();
        self.make_outputs(root, bare);
        self.bring(&inputs)?;
        if stores && let Some(end) = self.fetch(&mut inputs, bare)? {
            return Ok(end);
        }
        for (name, value) in &mut inputs.parameters {
            // The only placeholder that is not known before there is an attempt.
            if self.task.is_constant(name)
                && let serde_json::Value::String(text) = value
            {
                *text = text.replace("{{$.pipeline_task_uuid}}", id);
            }
        }
        let more = |name: &str| match name {
            "pipeline_task_uuid" => Some(id.to_owned()),
            name => shared.facts.placeholder(name, &self.task.key),
        };
        let input = ExecutorInput {
            component: self.component,
            inputs: &inputs,
            outputs: &self.outputs,
            path_of: &path_of,
            more: &more,
        };
        let command = input.command(container)?;
        let mut env: Vec<(String, String)> = input.env(container).into_iter().collect();
        let made = self.make_places()?;
        let platform = inputs.platform.clone().unwrap_or_default();
        let given = self.given(&platform, place)?;
        env.splice(0..0, given.env);
        let limit = platform.seconds.map(Duration::from_secs);
        let fixed = self.fixed(container, &inputs, place, &given.mounts)?;
        for (of, name, there) in &fixed.found {
            if *of == PathOf::OutputParameter
                && let Some(output) = self.outputs.parameters.iter_mut().find(|(n, ..)| n == name)
            {
                output.2 = there.to_string_lossy().into_owned();
            }
        }
        let mut command = command;
        command.iter_mut().for_each(|word| *word = fixed.rewritten(word));
        let mut mounts = given.mounts;
        mounts.extend(fixed.mounts.iter().cloned());
        if stores && !bare {
            mounts.extend(shared.mirror.mounts().map_err(|e| format!("its folders: {e}"))?);
        }
        let open = fixed.open.clone();
        let laid = mounts.clone();
        let stamps = self.stamps(&inputs);
        let process =
            TaskProcess { container, command, env, limit, mounts, open, platform: &platform };
        let ended = match place {
            Place::Host => self.on_host(process)?,
            Place::Container => self.in_container(process)?,
        };
        self.restore(stamps);
        let mut end = self.ended(ended, limit);
        if end.outcome == Outcome::Success
            && let Err(why) = self.settle(&fixed)
        {
            (end.outcome, end.reason) = (Outcome::Failure, why);
        }
        self.clear_places(&made);
        if end.outcome == Outcome::Success
            && let Err(why) = self.bring_home(&mut end.outputs, place, &laid)
        {
            (end.outcome, end.reason) = (Outcome::Failure, why);
        }
        if end.outcome == Outcome::Success {
            self.keep(&mut end);
        }
        Ok(end)
    }

    /// Chooses where outputs are written; `bare` if the task finds them where they are on this machine,
    /// though their addresses are in a store.
    fn make_outputs(&mut self, root: &str, bare: bool) {
        let mirror = &self.assignment.shared.mirror;
        let seen =
            path_of_uri(root).unwrap_or_else(|| self.folder.root.to_string_lossy().into_owned());
        let (root, local_root) = match bare && is_remote(root) {
            true => {
                let here = mirror.here(&seen).to_string_lossy().into_owned();
                (here.clone(), here)
            }
            false => (root.to_owned(), seen),
        };
        let parameters = self.folder.outputs().to_string_lossy().into_owned();
        let places = OutputPlaces { root: &root, parameters: &parameters, local_root: &local_root };
        self.outputs = Outputs::of(self.component, &places);
    }

    /// Where a file of the task's outputs is on this machine.
    fn here(&self, path: &str) -> PathBuf {
        let shared = &self.assignment.shared;
        let below = Path::new(path).starts_with(&shared.data);
        match is_remote(&shared.facts.root) && !below {
            true => shared.mirror.here(path),
            false => PathBuf::from(path),
        }
    }

    /// Puts each artifact where its address says it is: a process may have known another address of it,
    /// or have chosen a path of its own.
    fn bring_home(
        &mut self,
        outputs: &mut Bundle,
        place: Place,
        laid: &[Mount],
    ) -> Result<(), String> {
        let mirror = &self.assignment.shared.mirror;
        for artifact in outputs.artifacts.values_mut().flatten() {
            if let Some(uri) = mirror.uri_of(&artifact.uri) {
                artifact.uri = uri;
            }
            if artifact.custom_path.is_empty() {
                continue;
            }
            let said = PathBuf::from(std::mem::take(&mut artifact.custom_path));
            let from = match outside(&said, laid) {
                Some(from) => from,
                // What else a container writes goes with it, and what this machine has there is not its.
                None if place == Place::Container && !said.starts_with(&self.folder.root) => {
                    return Err(format!(
                        "its output '{}' is at {}, which goes with its container: write it to its own path, or to a volume",
                        artifact.name,
                        said.display()
                    ));
                }
                None => said,
            };
            let Some(to) = mirror.of(artifact).filter(|to| *to != from) else { continue };
            let failed = |why: &str| {
                format!("its output '{}' is at {}, {why}", artifact.name, from.display())
            };
            if !from.exists() {
                self.notes.push(failed("as it says, and nothing is there"));
                continue;
            }
            let parent = to.parent().unwrap_or(Path::new("/"));
            let copied = std::fs::create_dir_all(parent).and_then(|()| match from.is_dir() {
                true => crate::host::copy::copy_whole(&from, &to),
                false => crate::host::copy::copy_file(&from, &to, 0o644),
            });
            copied.map_err(|e| failed(&format!("and cannot be copied: {e}")))?;
        }
        Ok(())
    }

    /// The folder in which outputs are written. The places of artifacts themselves are the task's to make.
    fn make_places(&self) -> Result<PathBuf, String> {
        let file = self.here(&self.outputs.file);
        let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
        std::fs::create_dir_all(&folder)
            .map_err(|e| format!("the folder {} cannot be made: {e}", folder.display()))?;
        Ok(folder)
    }

    /// Nothing stays but what the task made.
    fn clear_places(&self, local_root: &Path) {
        let _ = std::fs::remove_file(self.here(&self.outputs.file));
        // Only if it is empty.
        let _ = std::fs::remove_dir(local_root);
        if let Some(parent) = local_root.parent() {
            let _ = std::fs::remove_dir(parent);
        }
    }

    fn choose(&self, container: &Container) -> (Place, Option<String>) {
        let shared = &self.assignment.shared;
        match shared.executor {
            Executor::Host | Executor::Scripted => (Place::Host, None),
            Executor::Container => (Place::Container, None),
            Executor::Auto => match python::version_of(&container.image) {
                Some(version) => match shared.pythons.find(version) {
                    Ok((_, None)) => (Place::Host, None),
                    Ok((_, Some(why))) if shared.engines.get().is_err() => (Place::Host, Some(why)),
                    _ => (
                        Place::Container,
                        Some(format!(
                            "in a container of {}: this machine has no such Python",
                            container.image
                        )),
                    ),
                },
                None => (
                    Place::Container,
                    Some(format!("in a container: {} is no Python image", container.image)),
                ),
            },
        }
    }

    fn ended(&mut self, ended: Ended, limit: Option<Duration>) -> TaskEnd {
        let mut end = TaskEnd {
            outcome: Outcome::Success,
            reason: String::new(),
            outputs: Bundle::default(),
            notes: Vec::new(),
        };
        match ended {
            Ended::Exit(Exit::Code(0)) => match self.collect() {
                Ok(outputs) => end.outputs = outputs,
                Err(why) => (end.outcome, end.reason) = (Outcome::Failure, why),
            },
            Ended::Exit(exit) => {
                let log = tail(&self.assignment.log);
                let shared = &self.assignment.shared;
                if let Some((label, _)) = shared.pipeline.executor_of(&self.assignment.definition) {
                    let hint = shared_path::hint(&shared.pipeline, label, &shared.data, &log);
                    self.notes.extend(hint);
                }
                let last = last_line(&log);
                let last = if last.is_empty() { last } else { format!(": {last}") };
                end.outcome = Outcome::Failure;
                end.reason = match exit {
                    Exit::Code(code) => format!("it ended with exit code {code}{last}"),
                    Exit::Signal(9) => {
                        format!("it was killed (SIGKILL; perhaps it ran out of memory){last}")
                    }
                    Exit::Signal(signal) => format!("signal {signal} ended it{last}"),
                    Exit::NotStarted(why) => why,
                };
            }
            Ended::Stopped => {
                (end.outcome, end.reason) = (Outcome::Cancelled, "the run was cancelled".into());
            }
            Ended::OutOfMemory(limit) => {
                end.outcome = Outcome::Failure;
                end.reason = format!(
                    "it used more memory than its limit of {}, and was killed",
                    crate::ui::text::bytes(limit)
                );
            }
            Ended::TimedOut => {
                // A pod whose time is over has failed.
                let after = limit.map_or_else(String::new, |l| format!(" after {} s", l.as_secs()));
                (end.outcome, end.reason) = (Outcome::Failure, format!("its time was over{after}"));
            }
        }
        end
    }

    fn collect(&self) -> Result<Bundle, String> {
        let read = |path: &str| read(&self.here(path));
        let output = match read(&self.outputs.file) {
            Some(text) => Some(text?),
            None => None,
        };
        let collected = collect(&self.outputs, output.as_deref(), &read)?;
        Ok(collected.outputs)
    }
}

/// The text of a file; none if there is none.
fn read(path: &Path) -> Option<Result<String, String>> {
    let meta = path.metadata().ok()?;
    let name = path.display();
    if meta.len() > MAX_OUTPUT {
        return Some(Err(format!(
            "{name} has {} bytes, and {MAX_OUTPUT} are read; an artifact holds what is large",
            meta.len()
        )));
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return Some(Err(format!("{name} cannot be read: {error}"))),
    };
    Some(String::from_utf8(bytes).map_err(|_| format!("{name} is no text")))
}

/// The place on this machine of a path within what is laid for a process; none for other paths.
fn outside(path: &Path, laid: &[Mount]) -> Option<PathBuf> {
    let within = laid.iter().filter(|m| path.starts_with(&m.target));
    let mount = within.max_by_key(|m| m.target.components().count())?;
    Some(mount.source.join(path.strip_prefix(&mount.target).ok()?))
}

/// Where a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Host,
    Container,
}
