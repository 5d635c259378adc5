//! A pipeline run, driven: what its engine wants is performed, and what came of it is told.
//!
//! One thread decides; each task has a thread of its own; messages come over one channel. Deliberately
//! absent beside the driver of workflows: concurrency groups, services, workspaces that are kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use trainyard_engine::{
    Cause, Command, Effect, EffectKey, InstanceId, RunState, Strength, decide, outstanding, start,
};
use trainyard_model::{Outcome, Timestamp, Value};
use trainyard_pipeline::{
    Bundle, Executor as Runs, Lowered, Pipeline, PipelineSemantics, RunFacts, fingerprint, lower,
    root_inputs,
};
use trainyard_plan::Reason;
use trainyard_store::{Journal, RunRow, TaskResult};

use super::kept::Kept;
use super::places::{Mirror, clean_root, default_root, runs_folder};
use super::settings::{Executor, Request};
use super::task::{
    Assignment, Cards, Control, Forks, Pythons, Shared, Stores, TaskEnd, perform, version_of,
};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::host::environment;
use crate::paths::{create_dir, job_log};
use crate::run::driver::{names_of, now, watch_signals};
use crate::ui::{Event as Show, RunSummary, Ui};

/// How long a record may wait for others to be committed with it.
const COMMIT_AFTER: Duration = Duration::from_millis(50);

pub(super) enum Message {
    Ended(InstanceId, u32, Box<TaskEnd>),
    Interrupted,
}

/// A task that runs.
pub(super) struct LiveTask {
    pub(super) name: String,
    pub(super) log: PathBuf,
    pub(super) started: i64,
    /// Where its part of the log begins: attempts follow each other in one.
    pub(super) from: u64,
    orders: Sender<bool>,
    wake: OwnedFd,
    thread: std::thread::JoinHandle<()>,
}

impl LiveTask {
    /// Tells it to stop. One that has just ended takes no orders any more.
    fn stop(&self, force: bool) {
        let _ = self.orders.send(force);
        let _ = rustix::io::write(&self.wake, b"!");
    }
}

/// A run that is to begin again.
pub struct Again {
    /// Its row in the history, as it was.
    pub row: RunRow,
    /// What its records say.
    pub state: RunState,
    /// How many they are.
    pub sequence: usize,
    /// What first ends it, if it never ended, and what then begins it again.
    pub commands: Vec<Command>,
}

pub(super) struct Driver<'a> {
    pub(super) journal: Journal,
    pub(super) ui: &'a mut Ui,
    pub(super) data: PathBuf,
    pub(super) row: RunRow,
    pub(super) state: RunState,
    pub(super) semantics: PipelineSemantics,
    pub(super) shared: Arc<Shared>,
    pub(super) sequence: usize,
    pub(super) names: BTreeMap<InstanceId, String>,
    pub(super) summary: RunSummary,
    pub(super) live: BTreeMap<InstanceId, LiveTask>,
    /// Whether what is told belongs to the attempt before, which never ended.
    pub(super) ending: bool,
    performed: BTreeMap<EffectKey, Effect>,
    queue: VecDeque<(InstanceId, u32)>,
    /// Fingerprints of tasks that may stand for equal ones.
    fingerprints: BTreeMap<InstanceId, String>,
    timers: BTreeSet<(Timestamp, InstanceId, u32)>,
    sender: Sender<Message>,
    jobs: usize,
    interrupts: u32,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Reads the pipeline of a call, which was read without errors before.
pub fn pipeline_of(request: &Request) -> Result<(Pipeline, Lowered)> {
    let package = super::package::of_text(&request.call.path, &request.call.text);
    let pipeline = package.pipeline.ok_or_else(|| {
        Error::new(format!("{} is no pipeline that can be run", request.call.path))
    })?;
    let lowered = lower(&pipeline).map_err(Error::new)?;
    Ok((pipeline, lowered))
}

/// The inputs of the run, or all that is wrong with them.
pub fn inputs_of(request: &Request, pipeline: &Pipeline) -> Result<Bundle> {
    root_inputs(pipeline, &request.call.parameters).map_err(|bad| {
        let mut lines = bad.0.into_iter();
        let first = lines.next().unwrap_or_default();
        let rest: Vec<String> = lines.map(|l| format!("\n  {l}")).collect();
        Error::new(format!("{}: {first}{}", request.call.path, rest.concat())).hint(
            "trainyard pipeline describe FILE lists the parameters; --param NAME=VALUE gives one",
        )
    })
}

/// Runs a pipeline to its end.
pub fn drive(
    mut request: Request,
    journal: Journal,
    data: PathBuf,
    again: Option<Again>,
    ui: &mut Ui,
) -> Result<(Exit, i64)> {
    crate::host::process::adopt_orphans();
    crate::host::cgroup::sweep();
    let (pipeline, lowered) = pipeline_of(&request)?;
    let inputs = inputs_of(&request, &pipeline)?;
    create_dir(&data.join("runs"))?;
    create_dir(&runs_folder(&data))?;
    // As long as it lives nothing that a pipeline's run may need is removed by another one.
    let lock = super::kept::lock(&data)?;
    let gone = journal.abandoned(crate::run::driver::process_is_gone)?;
    // Before what takes its time: others wait for the history.
    journal.commit()?;
    gone.into_iter().for_each(|run| crate::host::process::kill_abandoned(run, &data));
    clear_old_work(&journal, &data)?;
    let (sender, receiver) = channel();
    watch_signals(&sender, || Message::Interrupted)?;
    let pipeline = Arc::new(pipeline);
    let at = now();
    let mut row = match &again {
        Some(again) => {
            let mut row = again.row.clone();
            row.attempt += 1;
            row.process = i64::from(std::process::id());
            if !journal.begin_again(&row)? {
                return Err(Error::new(format!("run {} goes on meanwhile", row.id))
                    .hint("trainyard view shows it"));
            }
            row.status = "running".into();
            row
        }
        None => {
            let mut row = RunRow {
                repository: request.call.directory.to_string_lossy().into_owned(),
                root: request.call.directory.to_string_lossy().into_owned(),
                path: request.call.path.clone(),
                workflow: pipeline.name.clone(),
                event: "pipeline".into(),
                status: "running".into(),
                process: i64::from(std::process::id()),
                started: at.0,
                ..RunRow::default()
            };
            journal.add_run(&mut row)?;
            if let Some(parent) = crate::run::child::parent() {
                journal.add_child(parent, row.id)?;
            }
            row
        }
    };
    let facts = match request.call.facts.clone() {
        Some(facts) => facts,
        None => facts_of(&request, &pipeline, &row, &data, at, &inputs),
    };
    if request.call.facts.is_none() {
        request.call.facts = Some(facts.clone());
        row.title = facts.display_name.clone();
        row.call = serde_json::to_string(&serde_json::json!({"pipeline": request.call}))
            .map_err(|e| Error::new(format!("what re-runs need cannot be kept: {e}")))?;
        journal.set_call(row.id, &row.title, &row.call)?;
    }
    if !facts.workspace.is_empty() {
        create_dir(Path::new(&facts.workspace))?;
    }
    let attempt =
        if row.attempt > 1 { format!(" · attempt {}", row.attempt) } else { String::new() };
    ui.show(&Show::RunBegan {
        run: row.id,
        workflow: &row.workflow,
        path: &row.path,
        title: &format!("{}{attempt}", row.title),
    });
    if request.call.executor == Executor::Auto
        && let Some(note) = where_tasks_run(&pipeline)
    {
        ui.show(&Show::Note(&note));
    }
    let semantics = PipelineSemantics::new(Arc::clone(&pipeline), &lowered, facts.clone());
    let mut env = environment::base(false, &[]);
    environment::set(&mut env, "RUNNER_TRACKING_ID", &format!("trainyard_{}_p", row.id));
    environment::set(&mut env, "RUNNER_TEMP", &format!("{}/", runs_folder(&data).display()));
    let shared = Shared {
        pipeline,
        data: data.clone(),
        facts,
        executor: request.call.executor,
        pull: match request.call.pull {
            Some(true) => trainyard_executor_container::Pull::Always,
            Some(false) => trainyard_executor_container::Pull::Never,
            None => trainyard_executor_container::Pull::Missing,
        },
        cluster: request.cluster,
        directory: request.call.directory.clone(),
        engines: Arc::default(),
        stores: Stores::default(),
        kept: Kept::new(&data),
        cards: Cards::default(),
        forks: Forks::default(),
        mirror: Mirror::new(&data, row.id),
        pythons: Pythons::default(),
        env,
    };
    let summary = RunSummary {
        run: row.id,
        workflow: row.workflow.clone(),
        began: at.0,
        pipeline: true,
        ..RunSummary::default()
    };
    let mut driver = Driver {
        journal,
        ui,
        data,
        row,
        state: RunState::empty(),
        semantics,
        shared: Arc::new(shared),
        sequence: 0,
        names: BTreeMap::new(),
        summary,
        live: BTreeMap::new(),
        ending: false,
        performed: BTreeMap::new(),
        queue: VecDeque::new(),
        fingerprints: BTreeMap::new(),
        timers: BTreeSet::new(),
        sender,
        jobs: request.call.jobs.max(1),
        interrupts: 0,
        threads: Vec::new(),
    };
    let worked = driver.begin(lowered, &inputs, again, at).and_then(|()| driver.work(&receiver));
    if worked.is_err() {
        driver.live.values().for_each(|t| t.stop(true));
    }
    let live = std::mem::take(&mut driver.live).into_values().map(|t| t.thread);
    for thread in live.chain(std::mem::take(&mut driver.threads)) {
        // A thread that panicked has said so; there is nothing to add.
        let _ = thread.join();
    }
    driver.shared.forks.close();
    crate::host::process::kill_leftovers(&format!("trainyard_{}_p", driver.row.id));
    clear_work(&driver.data, driver.row.id);
    if lock.alone() {
        let (pipeline, uuid) = (&driver.shared.pipeline.name, &driver.shared.facts.uuid);
        driver.shared.kept.drop_files_of_others(pipeline, uuid);
    }
    worked?;
    let failed = driver.row.status != "success";
    let exit = match (driver.interrupts > 0, failed) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Failure,
        (false, false) => Exit::Success,
    };
    Ok((exit, driver.row.id))
}

/// Removes the folders of a run's tasks.
fn clear_work(data: &Path, run: i64) {
    let work = runs_folder(data).join("work");
    let own = format!("{run}-");
    for entry in std::fs::read_dir(&work).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&own) {
            crate::host::workspace::remove(&entry.path());
        }
    }
}

/// Removes the folders of tasks of runs that go on no more, however they ended.
fn clear_old_work(journal: &Journal, data: &Path) -> Result<()> {
    let entries = std::fs::read_dir(runs_folder(data).join("work"));
    let names = entries.into_iter().flatten().flatten().map(|e| e.file_name());
    let runs: BTreeSet<i64> =
        names.filter_map(|n| n.to_str()?.split('-').next()?.parse().ok()).collect();
    for run in runs {
        if journal.run(run)?.is_none_or(|row| row.status != "running") {
            clear_work(data, run);
        }
    }
    Ok(())
}

/// What `auto` makes of the images; none where all of them are processes.
fn where_tasks_run(pipeline: &Pipeline) -> Option<String> {
    let images = pipeline.executors.iter().filter_map(|(_, executor)| match executor {
        Runs::Container(c) if !c.image.starts_with("argostub/") => Some(c.image.as_str()),
        _ => None,
    });
    let images: BTreeSet<&str> = images.collect();
    let (host, inside): (Vec<&str>, Vec<&str>) =
        images.into_iter().partition(|image| version_of(image).is_some());
    if inside.is_empty() {
        return None;
    }
    let host = match host.is_empty() {
        true => String::new(),
        false => format!("; as processes: {}", host.join(", ")),
    };
    Some(format!("in containers, as they are no Python images: {}{host}", inside.join(", ")))
}

fn facts_of(
    request: &Request,
    pipeline: &Pipeline,
    row: &RunRow,
    data: &Path,
    at: Timestamp,
    inputs: &Bundle,
) -> RunFacts {
    let time = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
    let created = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let seed = format!("{}/{}/{}", data.display(), row.id, at.0);
    let uuid = super::task::uuid(&seed, 0, 0);
    let root = request
        .call
        .root
        .clone()
        .or_else(|| Some(pipeline.default_root.clone()).filter(|r| !r.is_empty()))
        .map_or_else(|| default_root(data), |root| clean_root(&root));
    let workspace = pipeline.config.as_ref().and_then(|c| c.get("workspace"));
    let workspace = workspace
        .map(|_| runs_folder(data).join("workspaces").join(&uuid).to_string_lossy().into_owned());
    let display = match pipeline.display_name.is_empty() {
        true => &pipeline.name,
        false => &pipeline.display_name,
    };
    RunFacts {
        display_name: format!("{display} {}", row.number),
        resource_name: format!("{}-{}", pipeline.name, &uuid[..5]),
        uuid,
        scheduled: created.clone(),
        created,
        workspace: workspace.unwrap_or_default(),
        root,
        no_cache: request.call.no_cache,
        parameters: inputs
            .parameters
            .iter()
            .map(|(name, value)| (name.clone(), trainyard_pipeline::text_of(value)))
            .collect(),
    }
}

impl Driver<'_> {
    fn begin(
        &mut self,
        lowered: Lowered,
        inputs: &Bundle,
        again: Option<Again>,
        at: Timestamp,
    ) -> Result<()> {
        match again {
            None => {
                let (state, records) = start(lowered.plan, inputs.to_value(), at, &self.semantics);
                self.state = state;
                self.record(at, &records)?;
            }
            Some(again) => {
                self.state = again.state;
                self.sequence = again.sequence;
                self.names = names_of(&self.state);
                let attempt = self.row.attempt;
                for command in &again.commands {
                    // What ends an attempt that never ended belongs to that one.
                    let begins = matches!(command, Command::Rerun { .. });
                    self.row.attempt = if begins { attempt } else { attempt - 1 };
                    self.ending = !begins;
                    self.tell(command)?;
                }
            }
        }
        self.journal.commit()?;
        self.settle_down()
    }

    pub(super) fn tell(&mut self, command: &Command) -> Result<bool> {
        let at = now();
        // A refusal says that the run has moved on meanwhile.
        let Ok(records) = decide(&mut self.state, command, at, &self.semantics) else {
            return Ok(false);
        };
        self.record(at, &records)?;
        Ok(true)
    }

    fn work(&mut self, receiver: &Receiver<Message>) -> Result<()> {
        let mut dirty_since: Option<Instant> = None;
        loop {
            if dirty_since.is_some_and(|at| at.elapsed() >= COMMIT_AFTER) {
                self.journal.commit()?;
            }
            if !self.journal.is_dirty() {
                dirty_since = None;
            } else if dirty_since.is_none() {
                dirty_since = Some(Instant::now());
            }
            self.ring()?;
            self.settle_down()?;
            if self.state.conclusion().is_some() && self.live.is_empty() {
                break;
            }
            let due = self.timers.first().map(|(at, ..)| {
                let millis = at.0.saturating_sub(now().0);
                Duration::from_millis(u64::try_from(millis).unwrap_or(0))
            });
            let commit = dirty_since.map(|at| COMMIT_AFTER.saturating_sub(at.elapsed()));
            self.ui.tick();
            let message = match due.into_iter().chain(commit).chain(self.ui.due()).min() {
                Some(wait) => receiver.recv_timeout(wait),
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Ended(node, epoch, end)) => self.ended(node, epoch, *end)?,
                Ok(Message::Interrupted) => self.interrupted()?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.conclude()?;
        Ok(self.journal.commit()?)
    }

    fn interrupted(&mut self) -> Result<()> {
        self.interrupts += 1;
        let strength = if self.interrupts == 1 { Strength::Polite } else { Strength::Force };
        if self.interrupts == 1 {
            self.ui.show(&Show::Note("stopping; once more to stop at once"));
        }
        let target = InstanceId::ROOT;
        self.tell(&Command::Cancel { target, cause: Cause::User, strength })?;
        if self.interrupts > 1 {
            self.live.values().for_each(|t| t.stop(true));
        }
        Ok(())
    }

    fn ring(&mut self) -> Result<()> {
        let at = now();
        while let Some((due, node, epoch)) = self.timers.first().copied() {
            if due > at {
                break;
            }
            self.timers.remove(&(due, node, epoch));
            self.tell(&Command::Timer { node, epoch })?;
            if let (Some(_), Some(live)) =
                (self.state.instance(node).settled(), self.live.get(&node))
            {
                // The engine has given it up; its processes must not live on.
                live.stop(true);
            }
        }
        Ok(())
    }

    /// Performs what the run wants until it wants nothing new.
    fn settle_down(&mut self) -> Result<()> {
        loop {
            let wanted = outstanding(&self.state);
            let new: Vec<(EffectKey, Effect)> = wanted
                .filter(|(key, effect)| self.performed.get(key) != Some(effect))
                .map(|(key, effect)| (*key, effect.clone()))
                .collect();
            let kept: BTreeSet<EffectKey> = outstanding(&self.state).map(|(k, _)| *k).collect();
            self.performed.retain(|key, effect| {
                let keeps = kept.contains(key);
                if let (false, Effect::Timer { node, due }, EffectKey::Timer(_, epoch)) =
                    (keeps, &*effect, key)
                {
                    self.timers.remove(&(*due, *node, *epoch));
                }
                keeps
            });
            self.queue.retain(|(node, attempt)| kept.contains(&EffectKey::Offer(*node, *attempt)));
            if new.is_empty() && !self.fill()? {
                return Ok(());
            }
            for (key, effect) in new {
                if let Some(Effect::Timer { node, due }) =
                    self.performed.insert(key, effect.clone())
                    && let EffectKey::Timer(_, epoch) = key
                {
                    self.timers.remove(&(due, node, epoch));
                }
                self.perform(key, effect)?;
            }
        }
    }

    fn perform(&mut self, key: EffectKey, effect: Effect) -> Result<()> {
        match effect {
            Effect::Offer { node, attempt } => self.offer(node, attempt),
            Effect::Stop { node, strength, .. } => {
                if let Some(live) = self.live.get(&node) {
                    live.stop(strength == Strength::Force);
                }
                Ok(())
            }
            Effect::Timer { node, due } => {
                if let EffectKey::Timer(_, epoch) = key {
                    self.timers.insert((due, node, epoch));
                }
                Ok(())
            }
            // Tasks are threads of this process, and no task holds a group.
            Effect::Watch { .. } | Effect::Hold { .. } => Ok(()),
        }
    }

    /// A task that may run: what an equal one gave stands for it, or it waits for a place.
    fn offer(&mut self, node: InstanceId, attempt: u32) -> Result<()> {
        if let Some((reason, outputs)) = self.look_up(node)? {
            let reason = Reason::new(reason);
            self.tell(&Command::Hit { node, reason, outputs })?;
            return Ok(());
        }
        self.queue.push_back((node, attempt));
        Ok(())
    }

    /// The inputs that a task was bound.
    pub(super) fn bound(&self, node: InstanceId) -> Bundle {
        let resolved = self.state.instance(node).resolved.as_ref();
        resolved.map(|r| Bundle::of_value(&r.inputs)).unwrap_or_default()
    }

    fn look_up(&mut self, node: InstanceId) -> Result<Option<(String, Value)>> {
        let definition = *self.semantics.definition(self.state.instance(node).plan);
        let pipeline = Arc::clone(&self.shared.pipeline);
        let (Some(task), Some((_, Runs::Container(container)))) =
            (pipeline.task_of(&definition), pipeline.executor_of(&definition))
        else {
            return Ok(None);
        };
        if !task.cache || self.shared.executor == Executor::Scripted {
            return Ok(None);
        }
        let component = pipeline.component_of(&definition);
        let bound = self.bound(node);
        let claims = bound.platform.iter().flat_map(|p| &p.claims);
        let claims: Vec<String> = claims.map(|c| c.name.clone()).collect();
        let print = fingerprint(task, component, container, &bound, &claims);
        self.fingerprints.insert(node, print.clone());
        if self.shared.facts.no_cache {
            self.cache_note(node, "cache not looked for: --no-cache")?;
            return Ok(None);
        }
        let Some(found) = self.journal.find_result(&pipeline.name, &print)? else {
            self.cache_note(
                node,
                "cache miss: no equal task (image, command, inputs, outputs) has run well",
            )?;
            return Ok(None);
        };
        if found.run == self.row.id && self.row.attempt > 1 {
            self.cache_note(node, "cache miss: what is there is of this run, which begins again")?;
            return Ok(None);
        }
        let Ok(mut bundle) = serde_json::from_str::<Bundle>(&found.outputs) else {
            self.cache_note(node, "cache miss: what is there cannot be read")?;
            self.journal.forget_result(&pipeline.name, &print)?;
            return Ok(None);
        };
        let gone = bundle.artifacts.values().flatten().find(|artifact| {
            // What was never written is no file that is gone; that is known by its bytes.
            let known = self.journal.pipeline_artifact(artifact.id).ok().flatten();
            let written = known.is_some_and(|k| k.bytes > 0);
            written
                && artifact.uri.starts_with('/')
                && self.shared.mirror.of(artifact).is_some_and(|p| !p.exists())
                && !matches!(self.shared.kept.find(&artifact.uri), Ok(Some(_)))
        });
        if let Some(artifact) = gone {
            let why =
                format!("cache miss: run {} gave it, and {} is gone", found.run, artifact.uri);
            self.cache_note(node, &why)?;
            self.journal.forget_result(&pipeline.name, &print)?;
            return Ok(None);
        }
        bundle.cached = true;
        let reason = format!("cached: '{}' of run {} was equal", found.task, found.run);
        Ok(Some((reason, bundle.to_value())))
    }

    /// Starts tasks as long as there is room; whether one was started.
    fn fill(&mut self) -> Result<bool> {
        let mut any = false;
        while self.live.len() < self.jobs {
            let Some((node, attempt)) = self.queue.pop_front() else { break };
            any = true;
            if !self.tell(&Command::Lease { node, attempt, runner: "local".into() })? {
                continue;
            }
            let epoch = self.state.instance(node).epoch;
            self.tell(&Command::Begin { node, epoch })?;
            if self.shared.executor == Executor::Scripted {
                let end = self.scripted(node);
                self.finish(node, epoch, end)?;
                continue;
            }
            self.launch(node, epoch, attempt)?;
        }
        Ok(any)
    }

    /// What a task gives that does nothing: values of its outputs' types.
    fn scripted(&self, node: InstanceId) -> TaskEnd {
        use trainyard_pipeline::ParameterType as T;
        let definition = self.semantics.definition(self.state.instance(node).plan);
        let mut outputs = Bundle::default();
        for (name, kind) in &self.shared.pipeline.component_of(definition).output_parameters {
            let value = match kind {
                T::Double | T::Integer => Json::from(0),
                T::String => Json::from(""),
                T::Boolean => Json::from(false),
                T::List => serde_json::json!([]),
                T::Struct | T::FinalStatus | T::TaskConfig => serde_json::json!({}),
            };
            outputs.parameters.insert(name.clone(), value);
        }
        TaskEnd { outcome: Outcome::Success, reason: String::new(), outputs, notes: Vec::new() }
    }

    fn launch(&mut self, node: InstanceId, epoch: u32, attempt: u32) -> Result<()> {
        let name = self.names.get(&node).cloned().unwrap_or_default();
        let path = self.state.path(node);
        let inputs = self.bound(node);
        self.note_uses(node, &path, &inputs)?;
        let log = job_log(&self.data, self.row.id, node.0, self.row.attempt);
        let (orders, order_receiver) = channel();
        let (read, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|e| Error::new(format!("no pipe: {e}")))?;
        let assignment = Assignment {
            shared: Arc::clone(&self.shared),
            definition: *self.semantics.definition(self.state.instance(node).plan),
            run: self.row.id,
            node: node.0,
            attempt,
            inputs,
            log: log.clone(),
            control: Control { orders: order_receiver, wake: read },
        };
        let from = log.metadata().map_or(0, |m| m.len());
        let sender = self.sender.clone();
        let thread = std::thread::spawn(move || {
            let end = perform(&assignment);
            let _ = sender.send(Message::Ended(node, epoch, Box::new(end)));
        });
        let run = self.row.id;
        self.ui.show(&Show::JobBegan { run, node: i64::from(node.0), job: &name, log: &log });
        let started = now().0;
        self.live.insert(node, LiveTask { name, log, started, from, orders, wake, thread });
        Ok(())
    }

    fn ended(&mut self, node: InstanceId, epoch: u32, end: TaskEnd) -> Result<()> {
        self.finish(node, epoch, end)?;
        if let Some(live) = self.live.remove(&node) {
            self.threads.push(live.thread);
        }
        // Their threads are over: they are joined at the end, but not thousands of them.
        if self.threads.len() > 256 {
            for thread in std::mem::take(&mut self.threads) {
                let _ = thread.join();
            }
        }
        Ok(())
    }

    fn finish(&mut self, node: InstanceId, epoch: u32, mut end: TaskEnd) -> Result<()> {
        let path = self.state.path(node);
        for note in &end.notes {
            self.task_note(node, "notice", note)?;
        }
        if end.outcome == Outcome::Success {
            self.keep_artifacts(node, &path, &mut end.outputs)?;
        }
        self.step_ended(node, &end)?;
        let outputs = match end.outcome {
            Outcome::Success => end.outputs.to_value(),
            _ => Value::Null,
        };
        let reason = Reason::new(end.reason.clone());
        let outcome = end.outcome;
        let taken = self.tell(&Command::Finish { node, epoch, outcome, reason, outputs })?;
        let settled =
            self.state.instance(node).settled().is_some_and(|s| s.outcome == Outcome::Success);
        if let (true, true, Some(print)) = (taken, settled, self.fingerprints.remove(&node)) {
            let outputs = serde_json::to_string(&end.outputs).unwrap_or_default();
            let result = TaskResult {
                run: self.row.id,
                node: i64::from(node.0),
                task: path,
                at: now().0,
                outputs,
            };
            self.journal.keep_result(&self.shared.pipeline.name, &print, &result)?;
        }
        Ok(())
    }
}
