//! The driver: performs what the engines want, and tells them what came of it.
//!
//! One thread decides; each job has a thread of its own; messages come over one channel.

mod begin;
mod effects;
mod launch;
mod report;
mod stands;

pub use begin::process_is_gone;
pub use launch::base_env;
pub use report::{count_one, full_name, names_of};
pub use stands::Stands;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use trainyard_engine::{Cause, Command, Effect, EffectKey, InstanceId, RunState, Strength, decide};
use trainyard_model::{Outcome, Secret, Timestamp, Value};
use trainyard_plan::{Group, Reason};
use trainyard_services::{Remark, Services};
use trainyard_workflow::lower::{Lowered, WorkflowFile};
use trainyard_workflow::semantics::WorkflowSemantics;

use crate::actions::cache::Cache;
use crate::actions::load::ActionSettings;
use crate::actions::node::Nodes;
use crate::actions::places::Patience;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::git::Repository;
use crate::host::containers::Engines;
use crate::host::environment::which;
use crate::host::job::{Happening, JobEnd, Order};
use crate::paths::create_dir;
use crate::run::Settings;
use crate::run::assignment::Secrets;
use crate::run::event::Event;
use crate::run::files::Tree;
use crate::run::groups::{Groups, Ticket};
use crate::run::kept::Held;
use crate::ui::{Event as Show, RunSummary, Ui};
use trainyard_store::{Journal, RunRow};

/// How long a record may wait for others to be committed with it. A local run that dies loses at
/// most this much of its history, and nothing of its logs.
const COMMIT_AFTER: Duration = Duration::from_millis(50);

/// A workflow that is to run.
pub struct Planned {
    /// Its file.
    pub file: Arc<WorkflowFile>,
    /// Lowered.
    pub lowered: Lowered,
    /// The inputs of its root.
    pub inputs: Value,
    /// The run that it is a new attempt at, if it is one.
    pub again: Option<Again>,
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
    /// The workspace that the resumed job goes on in.
    pub resumed: Option<Held>,
}

/// What the driver works with.
pub struct World<'a> {
    /// The call.
    pub settings: &'a Settings,
    /// The repository.
    pub repo: &'a Repository,
    /// The event.
    pub event: &'a Event,
    /// Where definitions are read from.
    pub tree: &'a Tree,
    /// The data folder.
    pub data: PathBuf,
    /// The secrets of the call.
    pub secrets: Secrets,
    /// The `vars` context.
    pub vars: Value,
}

impl<'a> World<'a> {
    /// The world of a call.
    pub fn new(
        settings: &'a Settings,
        repo: &'a Repository,
        event: &'a Event,
        tree: &'a Tree,
        data: PathBuf,
    ) -> World<'a> {
        let secrets = settings.secrets.iter();
        let secrets = secrets.map(|(k, v)| (k.to_uppercase(), Secret::new(v.as_str())));
        let vars = settings.vars.iter().map(|(k, v)| (k.to_uppercase(), Value::from(v.as_str())));
        let (secrets, vars) = (secrets.collect(), Value::object(vars));
        World { settings, repo, event, tree, data, secrets, vars }
    }
}

enum Message {
    Happened(usize, InstanceId, Happening),
    Ended(usize, InstanceId, u32, Box<JobEnd>),
    /// The lock of a group, by the ticket that asked for it.
    Locked(Ticket, Group, std::io::Result<File>),
    /// A group is held by another process, and waited for.
    Waiting(String),
    /// Another process wants the group of that lock file for itself.
    Wanted(String),
    /// Something that the services want people to see.
    Remarked(Remark),
    Interrupted,
}

/// A job that runs.
struct LiveJob {
    epoch: u32,
    name: String,
    /// What it fetches is ended with it.
    patience: Patience,
    orders: Sender<Order>,
    wake: OwnedFd,
    log: PathBuf,
    started: i64,
    steps: BTreeMap<usize, (String, Instant)>,
    failed: Vec<(String, Vec<(u64, u64)>)>,
    thread: std::thread::JoinHandle<()>,
}

impl LiveJob {
    /// Tells it to stop. One that has just ended takes no orders any more.
    fn stop(&self, force: bool) {
        self.patience.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.order(Order::Stop { force });
    }

    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
        let _ = rustix::io::write(&self.wake, b"!");
    }
}

/// How long a job waited, and so for what.
#[derive(Debug, Clone, Copy, Default)]
struct Wait {
    ready: i64,
    offered: Option<i64>,
    leased: Option<i64>,
}

struct Run {
    row: RunRow,
    /// What `event.json` holds.
    event_text: String,
    semantics: WorkflowSemantics,
    state: RunState,
    github: Value,
    /// What was performed, as it was: a timer may get another time under the same key.
    performed: BTreeMap<EffectKey, Effect>,
    sequence: usize,
    jobs: BTreeMap<InstanceId, LiveJob>,
    names: BTreeMap<InstanceId, String>,
    /// When nodes became ready, were offered, and got a place: milliseconds since the epoch.
    waits: BTreeMap<InstanceId, Wait>,
    /// The workspace that a resumed job goes on in.
    resumed: Option<Held>,
    not_run: BTreeSet<InstanceId>,
    summary: RunSummary,
    over: bool,
    /// Whether what is told belongs to the attempt before, which never ended.
    ending: bool,
}

/// Runs workflows to their ends.
pub fn drive(
    world: &World<'_>,
    journal: Journal,
    planned: Vec<Planned>,
    ui: &mut Ui,
) -> Result<Exit> {
    crate::host::process::adopt_orphans();
    crate::host::workspace::clear_memory();
    create_dir(&world.data.join("runs"))?;
    let (sender, receiver) = channel();
    watch_signals(&sender, || Message::Interrupted)?;
    let mut driver = Driver {
        world,
        journal,
        ui,
        sender,
        runs: Vec::new(),
        queue: VecDeque::new(),
        groups: Groups::new(&world.data),
        timers: BTreeMap::new(),
        active: 0,
        interrupts: 0,
        actions: Arc::new(ActionSettings {
            places: world.settings.places.clone(),
            cache: Cache::new(&world.data),
            nodes: Nodes::new(&tool_cache(&world.data), &world.data),
            builtin: world.settings.builtin_actions,
        }),
        engines: Arc::default(),
        services: None,
        tools: tool_cache(&world.data),
        has_bash: which("bash", &std::env::var("PATH").unwrap_or_default()).is_some(),
        shims: None,
        unsettled: BTreeSet::new(),
        ending: Vec::new(),
    };
    let worked = driver.begin(planned).and_then(|()| driver.work(&receiver));
    if worked.is_err() {
        driver.stop_all();
    }
    driver.join_all();
    driver.services = None;
    crate::run::services::tidy(&world.data);
    crate::run::kept::tidy(&world.data, now().0);
    worked?;
    let failed =
        driver.runs.iter().any(|r| !matches!(r.row.status.as_str(), "success" | "skipped"));
    Ok(match (driver.interrupts > 0, failed) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Failure,
        (false, false) => Exit::Success,
    })
}

/// `RUNNER_TOOL_CACHE`: the caller's, else one of the data folder.
pub fn tool_cache(data: &Path) -> PathBuf {
    ["RUNNER_TOOL_CACHE", "AGENT_TOOLSDIRECTORY"]
        .into_iter()
        .find_map(|n| std::env::var_os(n).filter(|v| !v.is_empty()))
        .map_or_else(|| data.join("tools"), PathBuf::from)
}

/// Tells of signals that ask to stop.
pub fn watch_signals<M: Send + 'static>(sender: &Sender<M>, message: fn() -> M) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|e| Error::new(format!("signals cannot be watched: {e}")))?;
    let sender = sender.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(message()).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// The time.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

struct Driver<'a, 'w> {
    world: &'a World<'w>,
    journal: Journal,
    ui: &'a mut Ui,
    sender: Sender<Message>,
    runs: Vec<Run>,
    /// Offered leaves, in order.
    queue: VecDeque<(usize, InstanceId, u32)>,
    groups: Groups,
    timers: BTreeMap<(Timestamp, usize, InstanceId, u32), ()>,
    active: usize,
    interrupts: u32,
    /// Where actions come from and what runs them.
    actions: Arc<ActionSettings>,
    /// The container engine, once a job asks for one.
    engines: Arc<Engines>,
    /// What jobs talk to, once one may.
    services: Option<Services>,
    tools: PathBuf,
    has_bash: bool,
    /// The folder of shims for pip, once looked for.
    shims: Option<Option<PathBuf>>,
    /// Runs that were told something and not yet looked at.
    unsettled: BTreeSet<usize>,
    /// Threads of jobs that are over and clear their folders.
    ending: Vec<std::thread::JoinHandle<()>>,
}

impl Driver<'_, '_> {
    /// Tells a run's engine something.
    fn tell(&mut self, index: usize, command: &Command) -> Result<bool> {
        let at = now();
        let run = &mut self.runs[index];
        // A refusal says that the run has moved on meanwhile.
        let Ok(records) = decide(&mut run.state, command, at, &run.semantics) else {
            return Ok(false);
        };
        self.unsettled.insert(index);
        self.record(index, at, &records)?;
        Ok(true)
    }

    /// Performs what the runs want until none wants anything new, and closes those that are over.
    fn settle_down(&mut self) -> Result<()> {
        loop {
            while let Some(index) = self.unsettled.pop_first() {
                self.perform_all(index)?;
            }
            self.fill()?;
            if self.unsettled.is_empty() {
                break;
            }
        }
        for index in 0..self.runs.len() {
            self.conclude(index)?;
        }
        Ok(())
    }

    /// Works until all runs are over.
    fn work(&mut self, receiver: &Receiver<Message>) -> Result<()> {
        let mut dirty_since: Option<Instant> = None;
        while self.runs.iter().any(|r| !r.over) {
            // What is written shares a commit with what follows soon.
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
            if self.runs.iter().all(|r| r.over) {
                break;
            }
            let due = self.timers.keys().next().map(|(at, ..)| {
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
                Ok(message) => self.take(message)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(self.journal.commit()?)
    }

    /// Tells every job to stop at once.
    fn stop_all(&self) {
        for live in self.runs.iter().flat_map(|r| r.jobs.values()) {
            live.stop(true);
        }
    }

    /// Waits for the threads of all jobs: their processes and folders are gone then.
    fn join_all(&mut self) {
        let live = self.runs.iter_mut().flat_map(|r| std::mem::take(&mut r.jobs).into_values());
        let threads: Vec<_> = live.map(|l| l.thread).chain(self.ending.drain(..)).collect();
        for thread in threads {
            // A thread that panicked has said so; there is nothing to add.
            let _ = thread.join();
        }
    }

    fn ring(&mut self) -> Result<()> {
        let at = now();
        while let Some((due, index, node, epoch)) = self.timers.keys().next().copied() {
            if due > at {
                break;
            }
            self.timers.remove(&(due, index, node, epoch));
            self.tell(index, &Command::Timer { node, epoch })?;
            let run = &self.runs[index];
            if let (Some(_), Some(live)) = (run.state.instance(node).settled(), run.jobs.get(&node))
            {
                // The engine has given it up; its processes must not live on.
                live.stop(true);
            }
        }
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Happened(index, node, happening) => self.happened(index, node, happening),
            Message::Remarked(remark) => {
                // The job's own thread knows what is to be masked.
                let run = self.runs.iter().find(|r| r.row.id == remark.run);
                let node = InstanceId(u32::try_from(remark.node).unwrap_or_default());
                if let Some(live) = run.and_then(|r| r.jobs.get(&node)) {
                    live.order(Order::Remark(remark.kind, remark.text));
                }
                Ok(())
            }
            Message::Ended(index, node, epoch, end) => self.ended(index, node, epoch, *end),
            Message::Locked(_, group, Ok(lock)) => {
                // Whoever is first by now; nobody, if all have given up meanwhile.
                let repository = self.world.event.repository.clone();
                match self.groups.locked(&repository, &group, lock) {
                    Some(holder) => self.granted(holder),
                    None => Ok(()),
                }
            }
            Message::Locked((index, node, _), _, Err(error)) => {
                let reason = Reason::new(format!("its concurrency group cannot be had: {error}"));
                self.tell(index, &Command::GroupRefused { node, reason })?;
                Ok(())
            }
            Message::Waiting(group) => {
                let note = format!(
                    "waiting for the concurrency group '{group}', which another trainyard run holds"
                );
                self.ui.show(&Show::Note(&note));
                Ok(())
            }
            Message::Wanted(file) => {
                let Some((run, target, _)) = self.groups.holder_of_file(&file) else {
                    return Ok(());
                };
                let (cause, strength) = (Cause::Group, Strength::Polite);
                self.tell(run, &Command::Cancel { target, cause, strength })?;
                Ok(())
            }
            Message::Interrupted => {
                self.interrupts += 1;
                let strength =
                    if self.interrupts == 1 { Strength::Polite } else { Strength::Force };
                if self.interrupts == 1 {
                    self.ui.show(&Show::Note("stopping; once more to stop at once"));
                }
                for index in 0..self.runs.len() {
                    let cancel =
                        Command::Cancel { target: InstanceId::ROOT, cause: Cause::User, strength };
                    self.tell(index, &cancel)?;
                }
                if self.interrupts > 1 {
                    // Whatever the engine says: a job that was given up may still be stopping.
                    self.stop_all();
                }
                Ok(())
            }
        }
    }

    fn ended(&mut self, index: usize, node: InstanceId, epoch: u32, end: JobEnd) -> Result<()> {
        self.active = self.active.saturating_sub(1);
        if let Some(services) = &self.services {
            services.revoke(self.runs[index].row.id, i64::from(node.0));
        }
        if let (Some(url), Some(live)) = (&end.environment_url, self.runs[index].jobs.get(&node)) {
            self.ui.show(&Show::Note(&format!("{}: deployed to {url}", live.name)));
        }
        let outputs = match end.outputs.is_empty() {
            true => Value::Null,
            false => Value::object(end.outputs.into_iter().map(|(k, v)| (k, Value::from(v)))),
        };
        let resolved = self.runs[index].state.instance(node).resolved.as_ref();
        let minutes = resolved.map_or(0, |r| r.timeout_ms / 60_000);
        let reason = match end.outcome {
            Outcome::TimedOut => Reason::new(format!(
                "it has exceeded the maximum execution time of {minutes} minutes"
            )),
            _ => end.reason.map(Reason::new).unwrap_or_default(),
        };
        let finish = Command::Finish { node, epoch, outcome: end.outcome, reason, outputs };
        self.tell(index, &finish)?;
        if let Some(live) = self.runs[index].jobs.remove(&node) {
            debug_assert_eq!(live.epoch, epoch, "a job has one lease here");
            self.ending.push(live.thread);
        }
        self.unsettled.insert(index);
        Ok(())
    }
}
