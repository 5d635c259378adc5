//! The driver: performs what the engines want, and tells them what came of it.
//!
//! One thread decides; each job has a thread of its own; messages come over one channel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use trainyard_engine::{
    By, Cause, Command, Effect, EffectKey, InstanceId, Record, RunState, Strength, decide,
    outstanding, start,
};
use trainyard_job::AnnotationLevel;
use trainyard_model::{Object, Outcome, Timestamp, Value};
use trainyard_plan::{Group, Reason};
use trainyard_workflow::lower::{Lowered, WorkflowFile};
use trainyard_workflow::semantics::WorkflowSemantics;

use super::Settings;
use super::assignment::{RunFacts, Secrets, machine};
use super::event::Event;
use super::fitness;
use super::groups::{self, Groups, Ticket};
use super::local_actions::LocalActions;
use crate::builtin::{self, JobFacts};
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::git::Repository;
use crate::host::environment::{self, which};
use crate::host::job::{self, Happening, JobEnd, Order, Surroundings};
use crate::host::workspace::Workspace;
use crate::journal::{JobRow, Journal, NoteRow, RunRow, StepRow};
use crate::paths::{create_dir, job_dir};
use crate::ui::{Event as Show, FailedStep, RunSummary, Ui};

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
}

/// What the driver works with.
pub struct World<'a> {
    /// The call.
    pub settings: &'a Settings,
    /// The repository.
    pub repo: &'a Repository,
    /// The event.
    pub event: &'a Event,
    /// The data folder.
    pub data: PathBuf,
    /// The secrets of the call.
    pub secrets: Secrets,
    /// The `vars` context.
    pub vars: Value,
}

enum Message {
    Happened(usize, InstanceId, Happening),
    Ended(usize, InstanceId, u32, JobEnd),
    /// The lock of a group, by the ticket that asked for it.
    Locked(Ticket, Group, std::io::Result<File>),
    /// A group is held by another process, and waited for.
    Waiting(String),
    /// Another process wants the group of that lock file for itself.
    Wanted(String),
    Interrupted,
}

/// A job that runs.
struct LiveJob {
    epoch: u32,
    name: String,
    orders: Sender<Order>,
    wake: OwnedFd,
    log: PathBuf,
    started: i64,
    steps: BTreeMap<usize, (String, Instant)>,
    failed: Vec<(String, Vec<(u64, u64)>)>,
    thread: std::thread::JoinHandle<()>,
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
    not_run: BTreeSet<InstanceId>,
    summary: RunSummary,
    over: bool,
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
    watch_signals(&sender)?;
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
    worked?;
    let failed =
        driver.runs.iter().any(|r| !matches!(r.row.status.as_str(), "success" | "skipped"));
    Ok(match (driver.interrupts > 0, failed) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Failure,
        (false, false) => Exit::Success,
    })
}

fn payload_text(github: &Value) -> String {
    let payload = github.get("event").cloned().unwrap_or_default();
    serde_json::to_string_pretty(&payload).unwrap_or_else(|_| "{}".into())
}

fn tool_cache(data: &Path) -> PathBuf {
    ["RUNNER_TOOL_CACHE", "AGENT_TOOLSDIRECTORY"]
        .into_iter()
        .find_map(|n| std::env::var_os(n).filter(|v| !v.is_empty()))
        .map_or_else(|| data.join("tools"), PathBuf::from)
}

fn watch_signals(sender: &Sender<Message>) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|e| Error::new(format!("signals cannot be watched: {e}")))?;
    let sender = sender.clone();
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(Message::Interrupted).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn now() -> Timestamp {
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
    fn begin(&mut self, planned: Vec<Planned>) -> Result<()> {
        let at = now();
        for plan in planned {
            let index = self.runs.len();
            let workflow = &plan.file.workflow;
            let name = workflow.name.clone().unwrap_or_else(|| plan.file.path.clone());
            let event = self.world.event;
            let mut row = RunRow {
                repository: event.repository.clone(),
                root: self.world.repo.root.to_string_lossy().into_owned(),
                path: plan.file.path.clone(),
                workflow: name.clone(),
                event: event.name.clone(),
                reference: event.reference.clone(),
                sha: event.head.sha.clone(),
                status: "running".into(),
                process: i64::from(std::process::id()),
                started: at.0,
                ..RunRow::default()
            };
            self.journal.add_run(&mut row)?;
            let github = self.github(&row, &plan);
            let mut semantics =
                WorkflowSemantics::new(&plan.lowered, github.clone(), self.world.vars.clone());
            semantics.legs.clone_from(&self.world.settings.matrix);
            row.title = title(&plan, &semantics, event);
            self.journal.set_title(row.id, &row.title)?;
            self.ui.show(&Show::RunBegan {
                run: row.id,
                workflow: &name,
                path: &row.path,
                title: &row.title,
            });
            let (state, records) = start(plan.lowered.plan, plan.inputs, at, &semantics);
            self.runs.push(Run {
                summary: RunSummary { run: row.id, workflow: name, ..RunSummary::default() },
                row,
                semantics,
                state,
                event_text: payload_text(&github),
                github,
                performed: BTreeMap::new(),
                sequence: 0,
                jobs: BTreeMap::new(),
                names: BTreeMap::new(),
                not_run: BTreeSet::new(),
                over: false,
            });
            self.record(index, at, &records)?;
        }
        self.unsettled.extend(0..self.runs.len());
        self.settle_down()
    }

    fn github(&self, row: &RunRow, plan: &Planned) -> Value {
        let event = self.world.event;
        let mut github = Object::clone(&event.github);
        let reference = github.get("ref").map(|r| r.to_text().into_owned()).unwrap_or_default();
        let workflow = plan.file.workflow.name.clone().unwrap_or_else(|| plan.file.path.clone());
        for (name, value) in [
            ("run_id", row.id.to_string()),
            ("run_number", row.number.to_string()),
            ("run_attempt", "1".to_owned()),
            ("workflow", workflow),
            ("workflow_ref", format!("{}/{}@{reference}", event.repository, plan.file.path)),
            ("workflow_sha", event.head.sha.clone()),
        ] {
            github.insert(name, Value::from(value));
        }
        // A tick names the schedule that it is of.
        let schedule = plan.file.workflow.trigger("schedule").and_then(|t| t.schedule.first());
        if let (Some(schedule), "schedule", Some(Value::Object(payload))) =
            (schedule, event.name.as_str(), github.get("event"))
            && payload.get("schedule").is_none()
        {
            let mut payload = Object::clone(payload);
            payload.insert("schedule", Value::from(schedule.text.as_str()));
            github.insert("event", Value::Object(Arc::new(payload)));
        }
        // A dispatch carries the texts of all inputs, defaults included.
        if let ("workflow_dispatch", None, Value::Object(inputs), Some(Value::Object(payload))) = (
            event.name.as_str(),
            &self.world.settings.request.payload,
            &plan.inputs,
            github.get("event"),
        ) {
            let texts =
                inputs.iter().map(|(k, v)| (k.to_owned(), Value::from(v.to_text().as_ref())));
            let mut payload = Object::clone(payload);
            payload.insert("inputs", Value::object(texts));
            github.insert("event", Value::Object(Arc::new(payload)));
        }
        Value::Object(Arc::new(github))
    }

    /// Appends records and shows what they mean.
    fn record(&mut self, index: usize, at: Timestamp, records: &[Record]) -> Result<()> {
        let run = &mut self.runs[index];
        let lines: Vec<String> = records
            .iter()
            .map(serde_json::to_string)
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| Error::new(format!("a record cannot be written: {e}")))?;
        self.journal.append(run.row.id, run.sequence, at.0, &lines)?;
        run.sequence += lines.len();
        for record in records {
            match record {
                Record::Resolved { node, resolved } => {
                    let run = &mut self.runs[index];
                    let name = full_name(&run.names, &run.state, *node, &resolved.name);
                    run.names.insert(*node, name);
                    if let Some(environment) = &resolved.environment {
                        let note = format!(
                            "the environment '{environment}' has no approvals or wait timers here"
                        );
                        self.ui.show(&Show::Note(&note));
                    }
                }
                Record::Settled { node, .. } => self.settled(index, *node)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A node is over: shown and kept, if people know it as a job.
    fn settled(&mut self, index: usize, node: InstanceId) -> Result<()> {
        let run = &mut self.runs[index];
        let instance = run.state.instance(node);
        let Some(settled) = instance.settled() else { return Ok(()) };
        let definition = run.semantics.definitions[instance.plan.index()] as usize;
        let definition = &run.semantics.nodes[definition];
        let Some(job) = definition.job else { return Ok(()) };
        let is_group = settled.by == By::Nodes;
        if is_group {
            return Ok(());
        }
        let default = run.semantics.files[definition.file].workflow.jobs[job].id.clone();
        let name = run
            .names
            .get(&node)
            .cloned()
            .unwrap_or_else(|| full_name(&run.names, &run.state, node, &default));
        let not_run = run.not_run.contains(&node);
        let outcome = settled.outcome;
        let word = if not_run { "not run" } else { outcome.as_str() };
        let live = run.jobs.get(&node);
        let started = live.map(|j| j.started);
        let log = live.map(|j| j.log.to_string_lossy().into_owned()).unwrap_or_default();
        let row = JobRow {
            node: i64::from(node.0),
            path: run.state.path(node),
            name: name.clone(),
            outcome: word.to_owned(),
            reason: settled.reason.0.clone(),
            started,
            ended: settled.at.0,
            log,
        };
        self.journal.add_job(run.row.id, &row)?;
        match run.summary.counts.iter_mut().find(|(k, _)| k == word) {
            Some(count) => count.1 += 1,
            None => run.summary.counts.push((word.to_owned(), 1)),
        }
        let failed_steps = live.map(|j| j.failed.clone()).unwrap_or_default();
        let forgiven = settled.result == trainyard_model::JobResult::Success;
        if let Some(live) = live.filter(|_| outcome == Outcome::Failure && !forgiven) {
            for (step, pieces) in failed_steps {
                let (job, log) = (name.clone(), live.log.clone());
                run.summary.failures.push(FailedStep { job, step, log, pieces });
            }
        }
        let millis = started.map(|s| settled.at.0 - s);
        let id = run.row.id;
        let reason = settled.reason.0.clone();
        self.ui.show(&Show::JobEnded {
            run: id,
            job: &name,
            outcome,
            not_run,
            reason: &reason,
            millis,
        });
        Ok(())
    }

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

    fn perform_all(&mut self, index: usize) -> Result<()> {
        let run = &self.runs[index];
        let wanted: BTreeMap<EffectKey, Effect> =
            outstanding(&run.state).map(|(k, e)| (*k, e.clone())).collect();
        let gone: Vec<EffectKey> =
            run.performed.keys().filter(|k| !wanted.contains_key(k)).copied().collect();
        let new: Vec<(EffectKey, Effect)> =
            wanted.into_iter().filter(|(k, e)| run.performed.get(k) != Some(e)).collect();
        for key in gone {
            self.runs[index].performed.remove(&key);
            self.withdraw(index, key)?;
        }
        for (key, effect) in new {
            if self.runs[index].performed.insert(key, effect.clone()).is_some() {
                self.withdraw(index, key)?;
            }
            self.perform(index, key, effect)?;
        }
        Ok(())
    }

    fn withdraw(&mut self, index: usize, key: EffectKey) -> Result<()> {
        match key {
            EffectKey::Offer(node, _) => self.queue.retain(|(i, n, _)| (*i, *n) != (index, node)),
            EffectKey::Hold(node, place) => {
                for next in self.groups.release((index, node, place)) {
                    self.granted(next)?;
                }
            }
            EffectKey::Timer(node, epoch) => {
                self.timers.retain(|(_, i, n, e), ()| (*i, *n, *e) != (index, node, epoch));
            }
            EffectKey::Stop(..) | EffectKey::Watch(..) => {}
        }
        Ok(())
    }

    fn perform(&mut self, index: usize, key: EffectKey, effect: Effect) -> Result<()> {
        match effect {
            Effect::Offer { node, attempt } => self.offer(index, node, attempt)?,
            Effect::Hold { node, group } => {
                if let EffectKey::Hold(_, place) = key {
                    self.hold(index, node, place, &group)?;
                }
            }
            Effect::Stop { node, strength, .. } => {
                if let Some(live) = self.runs[index].jobs.get(&node) {
                    // A job that has just ended takes no orders any more.
                    let force = strength == Strength::Force;
                    let _ = live.orders.send(Order::Stop { force });
                    let _ = rustix::io::write(&live.wake, b"!");
                }
            }
            // A job's thread is this process: it reports its end or ends with it.
            Effect::Watch { .. } => {}
            Effect::Timer { node, due } => {
                let epoch = self.runs[index].state.instance(node).epoch;
                self.timers.insert((due, index, node, epoch), ());
            }
        }
        Ok(())
    }

    fn hold(&mut self, index: usize, node: InstanceId, place: u32, group: &Group) -> Result<()> {
        let repository = self.world.event.repository.clone();
        if let Some((holder_run, holder, _)) = self.groups.holder(&repository, group)
            && holder_run == index
            && self.is_ancestor(index, holder, node)
        {
            let reason = Reason::new(format!(
                "deadlock: the concurrency group '{}' is held by what this is part of",
                group.name
            ));
            self.tell(index, &Command::GroupRefused { node, reason })?;
            return Ok(());
        }
        let ticket = (index, node, place);
        let (evicted, answer) = self.groups.ask(&repository, group, ticket);
        for (run, node, _) in evicted {
            let reason = Reason::new(format!(
                "a newer run waits for the concurrency group '{}'",
                group.name
            ));
            self.tell(run, &Command::GroupRefused { node, reason })?;
        }
        match answer {
            groups::Answer::Wait => {}
            groups::Answer::CancelHolder((run, holder, _)) => {
                let cancel = Command::Cancel {
                    target: holder,
                    cause: Cause::Group,
                    strength: Strength::Polite,
                };
                self.tell(run, &cancel)?;
            }
            groups::Answer::Lock(path) => {
                // Another process may hold it: waiting for it is a thread's business.
                let cancel = group.cancel_in_progress;
                let (sender, group) = (self.sender.clone(), group.clone());
                if let Some(folder) = self.groups.unwatched() {
                    let sender = self.sender.clone();
                    let wanted =
                        move |name: &str| sender.send(Message::Wanted(name.into())).is_ok();
                    groups::watch(&folder, wanted).map_err(|e| Error::io("watch", &folder, &e))?;
                }
                std::thread::spawn(move || {
                    let waiting = || {
                        let _ = sender.send(Message::Waiting(group.name.clone()));
                    };
                    let lock = groups::lock(&path, cancel, waiting);
                    let _ = sender.send(Message::Locked(ticket, group, lock));
                });
            }
        }
        Ok(())
    }

    fn is_ancestor(&self, index: usize, ancestor: InstanceId, of: InstanceId) -> bool {
        let state = &self.runs[index].state;
        let mut at = state.instance(of).parent;
        while let Some(current) = at {
            if current == ancestor {
                return true;
            }
            at = state.instance(current).parent;
        }
        false
    }

    fn granted(&mut self, (index, node, place): Ticket) -> Result<()> {
        self.tell(index, &Command::GroupGranted { node, index: place })?;
        Ok(())
    }

    fn offer(&mut self, index: usize, node: InstanceId, attempt: u32) -> Result<()> {
        let run = &self.runs[index];
        let resolved = run.state.instance(node).resolved.clone().unwrap_or_default();
        // A runner group is a place of its own as much as a label is.
        let wanted = resolved.labels.iter().chain(&resolved.runner_group);
        let given = &self.world.settings.labels;
        if let Some(label) = wanted.into_iter().find(|l| !fitness::serves(given, l)) {
            let reason = Reason::new(fitness::elsewhere(label));
            self.runs[index].not_run.insert(node);
            self.tell(index, &Command::Decline { node, outcome: Outcome::Skipped, reason })?;
            return Ok(());
        }
        if let Some(why) = self.refusal(index, node) {
            let reason = Reason::new(why);
            self.tell(index, &Command::Decline { node, outcome: Outcome::Failure, reason })?;
            return Ok(());
        }
        self.queue.push_back((index, node, attempt));
        Ok(())
    }

    fn refusal(&self, index: usize, node: InstanceId) -> Option<String> {
        let run = &self.runs[index];
        let plan = run.state.instance(node).plan;
        let definition = &run.semantics.nodes[run.semantics.definitions[plan.index()] as usize];
        let job = &run.semantics.files[definition.file].workflow.jobs[definition.job?];
        fitness::refusal(definition, job)
    }

    /// Starts offered jobs as long as there is room.
    fn fill(&mut self) -> Result<()> {
        while self.active < self.world.settings.jobs {
            let Some((index, node, attempt)) = self.queue.pop_front() else { break };
            let lease = Command::Lease { node, attempt, runner: "local".into() };
            if !self.tell(index, &lease)? {
                continue;
            }
            self.launch(index, node)?;
        }
        Ok(())
    }

    fn launch(&mut self, index: usize, node: InstanceId) -> Result<()> {
        let epoch = self.runs[index].state.instance(node).epoch;
        match self.start_job(index, node, epoch) {
            Ok(live) => {
                let (run, name) = (self.runs[index].row.id, live.name.clone());
                self.runs[index].jobs.insert(node, live);
                self.active += 1;
                self.tell(index, &Command::Begin { node, epoch })?;
                self.ui.show(&Show::JobBegan { run, job: &name });
            }
            Err(why) => {
                let finish = Command::Finish {
                    node,
                    epoch,
                    outcome: Outcome::Failure,
                    reason: Reason::new(why),
                    outputs: Value::Null,
                };
                self.tell(index, &finish)?;
            }
        }
        Ok(())
    }

    fn start_job(
        &mut self,
        index: usize,
        node: InstanceId,
        epoch: u32,
    ) -> std::result::Result<LiveJob, String> {
        let run = &self.runs[index];
        let world = self.world;
        let name = world.event.repository.rsplit('/').next().unwrap_or("repository");
        let tracking = format!("trainyard_{}_{}", run.row.id, node.0);
        let folder = job_dir(&world.data, run.row.id, node.0);
        let workspace = Workspace::create(&folder, name, &self.tools, &self.runs[index].event_text)
            .map_err(|e| e.message)?;
        let debug = world.secrets.get("ACTIONS_STEP_DEBUG").map(|s| s.expose() == "true");
        let facts = RunFacts {
            github: &run.github,
            secrets: &world.secrets,
            vars: &world.vars,
            debug: debug.unwrap_or(false),
            has_bash: self.has_bash,
        };
        let machine = machine(&run.semantics, &run.state, node, &workspace, &facts)?;
        let step_names = machine.step_names();
        let limit = run.state.instance(node).resolved.as_ref().map_or(0, |r| r.timeout_ms);
        let log = folder.with_extension("log");
        let job_facts = JobFacts {
            root: world.repo.root.clone(),
            common_dir: world.repo.common_dir.clone(),
            work_tree: world.event.work_tree,
            remote: world.repo.remote(),
        };
        let job_facts = serde_json::to_string(&job_facts).unwrap_or_default();
        let base_env = self.base_env(&tracking, &workspace, &job_facts);
        let (orders, order_receiver) = channel();
        let (read, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|e| format!("no pipe: {e}"))?;
        let sender = self.sender.clone();
        let limit = Duration::from_millis(u64::try_from(limit).unwrap_or(0));
        let thread = {
            let (workspace, log) = (workspace.clone(), log.clone());
            std::thread::spawn(move || {
                let watch_sender = sender.clone();
                let mut watch = move |happening: Happening| {
                    let _ = watch_sender.send(Message::Happened(index, node, happening));
                };
                let end = job::run(
                    machine,
                    Surroundings {
                        workspace: &workspace,
                        base_env,
                        log_path: &log,
                        limit,
                        orders: order_receiver,
                        wake: read,
                        actions: Box::new(LocalActions),
                        watch: &mut watch,
                    },
                );
                // The end is told first: the history is written while the folders go.
                let _ = sender.send(Message::Ended(index, node, epoch, end));
                workspace.remove();
            })
        };
        let run = &self.runs[index];
        let name = run.names.get(&node).cloned().unwrap_or_default();
        let steps = step_names.into_iter().enumerate().map(|(i, n)| (i, (n, Instant::now())));
        Ok(LiveJob {
            epoch,
            name,
            orders,
            wake,
            log,
            started: now().0,
            steps: steps.collect(),
            failed: Vec::new(),
            thread,
        })
    }

    fn base_env(
        &mut self,
        tracking: &str,
        workspace: &Workspace,
        facts: &str,
    ) -> Vec<(String, String)> {
        let settings = self.world.settings;
        let mut env = environment::base(settings.inherit_env, &settings.env);
        environment::set(&mut env, "RUNNER_TRACKING_ID", tracking);
        environment::set(&mut env, builtin::FACTS, facts);
        let program = std::env::current_exe().unwrap_or_default();
        let data = &self.world.data;
        let shims = self.shims.get_or_insert_with(|| builtin::shims(&data.join("shims"), &program));
        if let Some(shims) = shims {
            let path = environment::get(&env, "PATH").unwrap_or_default();
            let own = builtin::default_environment(&workspace.temp).join("bin");
            let path = format!("{}:{}:{path}", own.display(), shims.display());
            environment::set(&mut env, "PATH", &path);
        }
        env
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
            let message = match due.into_iter().chain(commit).min() {
                Some(wait) => receiver.recv_timeout(wait),
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(message) => self.take(message)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.journal.commit()
    }

    /// Tells every job to stop at once.
    fn stop_all(&self) {
        for live in self.runs.iter().flat_map(|r| r.jobs.values()) {
            let _ = live.orders.send(Order::Stop { force: true });
            let _ = rustix::io::write(&live.wake, b"!");
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
                let _ = live.orders.send(Order::Stop { force: true });
                let _ = rustix::io::write(&live.wake, b"!");
            }
        }
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Happened(index, node, happening) => self.happened(index, node, happening),
            Message::Ended(index, node, epoch, end) => self.ended(index, node, epoch, end),
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

    fn happened(&mut self, index: usize, node: InstanceId, happening: Happening) -> Result<()> {
        let run = &mut self.runs[index];
        let id = run.row.id;
        let Some(live) = run.jobs.get_mut(&node) else { return Ok(()) };
        let note = |step: usize, kind: &str, text: String, place: String| NoteRow {
            node: i64::from(node.0),
            step: i64::try_from(step).unwrap_or(0),
            kind: kind.to_owned(),
            text,
            place,
        };
        match happening {
            Happening::StepBegan(step, name) => {
                live.steps.insert(step, (name, Instant::now()));
            }
            Happening::StepEnded(step, report, pieces) => {
                let (name, began) =
                    live.steps.get(&step).cloned().unwrap_or((String::new(), Instant::now()));
                let millis = match report.outcome {
                    Outcome::Skipped => 0,
                    _ => i64::try_from(began.elapsed().as_millis()).unwrap_or(0),
                };
                if report.conclusion == Outcome::Failure {
                    live.failed.push((name.clone(), pieces.clone()));
                }
                let row = StepRow {
                    node: i64::from(node.0),
                    index: i64::try_from(step).unwrap_or(0),
                    name: name.clone(),
                    outcome: report.outcome.as_str().into(),
                    conclusion: report.conclusion.as_str().into(),
                    reason: report.reason.clone().unwrap_or_default(),
                    millis,
                    pieces,
                };
                self.journal.add_step(id, &row)?;
                if self.ui.copies_logs() {
                    // A slow reader of our output must not hold up others who write history.
                    self.journal.commit()?;
                }
                self.ui.show(&Show::StepEnded {
                    run: id,
                    job: &live.name,
                    step: &name,
                    report: &report,
                    millis,
                    log: &live.log,
                    pieces: &row.pieces,
                });
            }
            Happening::Annotated(step, annotation) => {
                let place = match (&annotation.file, annotation.line) {
                    (Some(file), Some(line)) => format!("{file}:{line}"),
                    (Some(file), None) => file.clone(),
                    _ => String::new(),
                };
                let kind = match annotation.level {
                    AnnotationLevel::Error => "error",
                    AnnotationLevel::Warning => "warning",
                    AnnotationLevel::Notice => "notice",
                };
                let text = match &annotation.title {
                    Some(title) => format!("{title}: {}", annotation.message),
                    None => annotation.message.clone(),
                };
                let shown = !text.starts_with("Process completed with exit code");
                if annotation.level == AnnotationLevel::Error && shown {
                    let at = if place.is_empty() { String::new() } else { format!("{place}: ") };
                    run.summary.errors.push(format!("{}: {at}{text}", live.name));
                }
                self.journal.add_note(id, &note(step, kind, text, place))?;
                self.ui.show(&Show::Annotated {
                    run: id,
                    job: &live.name,
                    annotation: &annotation,
                });
            }
            Happening::Summary(step, text) => {
                self.journal.add_note(id, &note(step, "summary", text, String::new()))?;
            }
        }
        Ok(())
    }

    fn ended(&mut self, index: usize, node: InstanceId, epoch: u32, end: JobEnd) -> Result<()> {
        self.active = self.active.saturating_sub(1);
        if let (Some(url), Some(live)) = (&end.environment_url, self.runs[index].jobs.get(&node)) {
            self.ui.show(&Show::Note(&format!("{}: deployed to {url}", live.name)));
        }
        let outputs = match end.outputs.is_empty() {
            true => Value::Null,
            false => Value::object(end.outputs.into_iter().map(|(k, v)| (k, Value::from(v)))),
        };
        let finish = Command::Finish {
            node,
            epoch,
            outcome: end.outcome,
            reason: Reason::default(),
            outputs,
        };
        self.tell(index, &finish)?;
        if let Some(live) = self.runs[index].jobs.remove(&node) {
            debug_assert_eq!(live.epoch, epoch, "a job has one lease here");
            self.ending.push(live.thread);
        }
        self.unsettled.insert(index);
        Ok(())
    }

    fn conclude(&mut self, index: usize) -> Result<()> {
        let run = &mut self.runs[index];
        let Some(settled) = run.state.conclusion() else { return Ok(()) };
        if run.over || !run.jobs.is_empty() {
            return Ok(());
        }
        run.over = true;
        let at = settled.at.0;
        run.row.status = settled.result.as_str().to_owned();
        run.summary.status = run.row.status.clone();
        run.summary.millis = at - run.row.started;
        if !settled.reason.0.is_empty() {
            let note = format!("{}: {}", run.row.workflow, settled.reason.0);
            self.ui.show(&Show::Note(&note));
        }
        self.journal.end_run(run.row.id, &run.row.status, at)?;
        self.ui.show(&Show::RunEnded(&run.summary));
        Ok(())
    }
}

/// `caller / job`, as GitHub names the jobs of called workflows.
fn full_name(
    names: &BTreeMap<InstanceId, String>,
    state: &RunState,
    node: InstanceId,
    own: &str,
) -> String {
    match state.scope_of(node) {
        Some(scope) if scope != InstanceId::ROOT => match names.get(&scope) {
            Some(outer) => format!("{outer} / {own}"),
            None => own.to_owned(),
        },
        _ => own.to_owned(),
    }
}

/// `run-name`, else what GitHub shows: the commit's first line, or the workflow's name.
fn title(plan: &Planned, semantics: &WorkflowSemantics, event: &Event) -> String {
    if let Some(template) = &plan.file.workflow.run_name {
        let named = semantics.evaluate_early(template, &plan.inputs);
        if let Some(name) = named.filter(|n| !n.trim().is_empty()) {
            return name;
        }
    }
    match event.name.as_str() {
        "push" | "pull_request" | "pull_request_target" => {
            event.head.message.lines().next().unwrap_or_default().to_owned()
        }
        _ => plan.file.workflow.name.clone().unwrap_or_else(|| plan.file.path.clone()),
    }
}
