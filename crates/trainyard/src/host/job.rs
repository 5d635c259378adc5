//! One job on this machine: the step machine, its processes and its log, in one thread and one
//! `poll` loop.

mod files;
mod kept;
mod log;
mod spawn;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use trainyard_job::files::FileCommands;
use trainyard_job::seal::Seal;
use trainyard_job::{
    Action, Annotation, Answer, Exit, Input, JobMachine, LoadedSet, Process, ProcessId,
    ProcessKind, Stage, StepMark, StepNeed, StepReport, StopKind, sealed,
};
use trainyard_model::Outcome;

use super::containers::JobContainers;
use super::environment::get;
use super::process::{Running, bury_orphans, kill_leftovers};
use files::read_files;
use kept::{kept_process, seal_process};
use log::{Log, StepSink, log_line, read_matcher, settle_file};

use super::reader::OutputReader;
use super::workspace::Workspace;
use crate::run::kept::KeptProcess;

/// Time between SIGINT and SIGTERM (`ProcessInvoker.cs`).
const INTERRUPT_GRACE: Duration = Duration::from_millis(7_500);
/// Time between SIGTERM and the end of the tree.
const TERMINATE_GRACE: Duration = Duration::from_millis(2_500);
/// Remarks of the services about one job, and characters of one.
const MAX_REMARKS: usize = 1_000;
const MAX_REMARK: usize = 64 * 1024;
/// How late the file of a log that is looked at may be.
const SHOWN_AFTER: Duration = Duration::from_millis(100);
/// How much of a log a machine that dies may take with it.
const KEPT_AFTER: Duration = Duration::from_secs(1);
/// Time for the output to close after a process ended.
const DRAIN: Duration = Duration::from_secs(5);

/// What a job is told from outside.
#[derive(Debug, Clone)]
pub enum Order {
    /// Stop; forced, at once.
    Stop {
        /// Whether nothing is asked any more.
        force: bool,
    },
    /// Pass on what the services want people to see, masked: its kind, and what it says.
    Remark(&'static str, String),
}

/// What happens in a job, for those who watch.
#[derive(Debug, Clone)]
pub enum Happening {
    /// A step began.
    StepBegan(usize, String),
    /// A step ended; its pieces of the log.
    StepEnded(usize, StepReport, Vec<(u64, u64)>),
    /// A remark.
    Annotated(usize, Annotation),
    /// A summary.
    Summary(usize, String),
    /// Why something came out as it did, masked.
    Reason(usize, String),
    /// Something that the services want people to see, masked.
    Remarked(&'static str, String),
}

/// How a job ended.
#[derive(Debug)]
pub struct JobEnd {
    /// How.
    pub outcome: Outcome,
    /// Why it never began, if it did not.
    pub reason: Option<String>,
    /// Its outputs.
    pub outputs: Vec<(String, String)>,
    /// The evaluated `environment.url`.
    pub environment_url: Option<String>,
    /// The pieces of each step in the log.
    pub pieces: BTreeMap<usize, Vec<(u64, u64)>>,
    /// How many pre stages came before its steps.
    pub pre_stages: usize,
    /// What its steps left behind, without secrets.
    pub marks: Vec<StepMark>,
    /// The process of the first step that failed, without secrets.
    pub failed: Option<KeptProcess>,
}

impl JobEnd {
    fn failure() -> JobEnd {
        JobEnd {
            outcome: Outcome::Failure,
            reason: None,
            outputs: Vec::new(),
            environment_url: None,
            pieces: BTreeMap::new(),
            pre_stages: 0,
            marks: Vec::new(),
            failed: None,
        }
    }
}

/// Actions that this program has built in, and local ones.
pub trait Actions: Send {
    /// The actions behind these references with all that they use, before the first step.
    fn prepare(&mut self, uses: &[String], workspace: &Workspace) -> Result<LoadedSet, String>;
    /// The action behind one reference, with what it uses, when it is reached.
    fn load(&mut self, uses: &str, workspace: &Workspace) -> Result<LoadedSet, String>;
    /// The program and arguments that run a stage of a built-in action.
    fn command(&self, action: &str, stage: Stage) -> (PathBuf, Vec<String>);
    /// The Node for `node20` and its kin.
    fn node(&self, using: &str) -> Result<PathBuf, String>;
}

/// What a job needs of its surroundings.
pub struct Surroundings<'a> {
    /// Its folders.
    pub workspace: &'a Workspace,
    /// The variables every child starts with.
    pub base_env: Vec<(String, String)>,
    /// Those of them that speak of the services, for containers too.
    pub step_env: Vec<(String, String)>,
    /// Those that only actions get: where the services are.
    pub action_env: Vec<(String, String)>,
    /// Settings of git, put behind those that a step may have in its environment.
    pub git_config: Vec<(String, String)>,
    /// Where its log goes.
    pub log_path: &'a Path,
    /// Its time limit.
    pub limit: Duration,
    /// Orders, and a pipe that becomes readable when there is one.
    pub orders: Receiver<Order>,
    /// See `orders`.
    pub wake: OwnedFd,
    /// Whether somebody looks at the end of the log while it is written.
    pub live: bool,
    /// Actions.
    pub actions: Box<dyn Actions>,
    /// Its containers.
    pub containers: JobContainers,
    /// Whoever watches.
    pub watch: &'a mut dyn FnMut(Happening),
}

/// What follows a process that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    /// The job's containers run: the machine is told how they are reached.
    Containers,
    /// What it laid belongs to the user of the container.
    HandOver,
}

struct Live {
    running: Running,
    step: usize,
    /// What is done when it has ended well.
    after: After,
    reader: OutputReader,
    exit: Option<Exit>,
    /// When the output is given up after the end.
    drain_until: Option<Instant>,
    /// When the next, harder signal is due.
    next_signal: Option<(Instant, bool)>,
    time_limit: Option<Instant>,
}

/// Runs a job to its end.
pub fn run(mut machine: JobMachine, mut around: Surroundings<'_>) -> JobEnd {
    let file = match File::create(around.log_path) {
        Ok(file) => file,
        Err(error) => {
            return failed_end(&mut around, &format!("the log cannot be written: {error}"));
        }
    };
    let mut runner = Runner {
        log: Log {
            file: BufWriter::with_capacity(256 * 1024, file),
            at: 0,
            dirty: None,
            masker: machine.masker().clone(),
            pieces: BTreeMap::new(),
            failed: false,
        },
        live: BTreeMap::new(),
        started: BTreeMap::new(),
        todo: VecDeque::new(),
        end: None,
        job_limit: Instant::now() + around.limit,
        job_limit_told: false,
        tracking: get(&around.base_env, "RUNNER_TRACKING_ID").unwrap_or_default().to_owned(),
        orders_open: true,
        remarks: 0,
        names: BTreeMap::new(),
        last: BTreeMap::new(),
        failed: None,
        buffer: vec![0; 256 * 1024],
    };
    runner.todo.extend(machine.step(Input::Start));
    loop {
        runner.perform(&mut machine, &mut around);
        if runner.end.is_some() && runner.live.is_empty() {
            break;
        }
        runner.wait(&mut machine, &mut around);
    }
    kill_leftovers(&runner.tracking);
    around.containers.close();
    let _ = runner.log.file.flush();
    let mut end = runner.end.take().unwrap_or_else(JobEnd::failure);
    if runner.log.failed && end.outcome == Outcome::Success {
        // A log that is not whole is no success: the disk is full.
        end.outcome = Outcome::Failure;
    }
    end.pieces = runner.log.pieces;
    let (secrets, masker) = (machine.secrets(), machine.masker());
    end.pre_stages = machine.pre_stages();
    end.marks = sealed(&machine.marks(), secrets, masker);
    end.failed = runner.failed.map(|process| seal_process(process, &Seal::new(secrets, masker)));
    end
}

fn failed_end(around: &mut Surroundings<'_>, message: &str) -> JobEnd {
    let annotation = Annotation::bare(trainyard_job::AnnotationLevel::Error, message);
    (around.watch)(Happening::Annotated(0, annotation));
    JobEnd::failure()
}

struct Runner {
    log: Log,
    live: BTreeMap<ProcessId, Live>,
    /// When each process was asked for.
    started: BTreeMap<ProcessId, Instant>,
    todo: VecDeque<Action>,
    end: Option<JobEnd>,
    job_limit: Instant,
    job_limit_told: bool,
    tracking: String,
    orders_open: bool,
    remarks: usize,
    /// The names of steps that run.
    names: BTreeMap<usize, String>,
    /// The last process of each step that runs.
    last: BTreeMap<usize, Box<Process>>,
    /// That of the first step that failed.
    failed: Option<KeptProcess>,
    buffer: Vec<u8>,
}

impl Runner {
    fn perform(&mut self, machine: &mut JobMachine, around: &mut Surroundings<'_>) {
        while let Some(action) = self.todo.pop_front() {
            match action {
                Action::Log(step, text) => log_line(&mut self.log, step, &text),
                Action::Mask(_) => self.log.masker = machine.masker().clone(),
                Action::StepBegan(step, name) => {
                    self.names.insert(step, name.clone());
                    (around.watch)(Happening::StepBegan(step, name));
                }
                Action::StepEnded(step, report) => {
                    let _ = self.log.file.flush();
                    let pieces = self.log.pieces.get(&step).cloned().unwrap_or_default();
                    let (name, last) = (self.names.remove(&step), self.last.remove(&step));
                    let bad = !matches!(report.conclusion, Outcome::Success | Outcome::Skipped);
                    if bad && self.failed.is_none() {
                        let step = name.unwrap_or_default();
                        self.failed = last
                            .map(|p| kept_process(*p, step, around.workspace, &around.containers));
                    }
                    (around.watch)(Happening::StepEnded(step, report, pieces));
                }
                Action::Annotate(step, mut annotation) => {
                    let of_action = self.is_docker_action(step);
                    annotation.file =
                        annotation.file.map(|file| around.containers.outside_of(of_action, &file));
                    let workspace = &around.workspace.workspace;
                    if annotation.from_path.is_some() {
                        settle_file(&mut annotation, workspace);
                    } else if let Some(file) = &annotation.file
                        && let Ok(inside) = Path::new(file).strip_prefix(workspace)
                    {
                        // (`ActionCommandManager.cs`, `MakeRelative`)
                        annotation.file = Some(inside.to_string_lossy().into_owned());
                    }
                    (around.watch)(Happening::Annotated(step, annotation));
                }
                Action::Reason(step, text) => {
                    (around.watch)(Happening::Reason(step, text));
                }
                Action::Summary(step, text) => {
                    (around.watch)(Happening::Summary(step, text));
                }
                Action::Prepare(uses) => {
                    let found = around.actions.prepare(&uses, around.workspace);
                    self.todo.extend(machine.step(Input::Prepared(found)));
                }
                Action::ReadMatcher(process, file) => {
                    let step = self.live.get(&process).map(|l| l.step);
                    let of_action = step.is_some_and(|step| self.is_docker_action(step));
                    let file = around.containers.outside_of(of_action, &file);
                    let text = read_matcher(&around.workspace.workspace, &file);
                    self.todo.extend(machine.step(Input::Matchers(process, text)));
                }
                Action::Ask(need) => {
                    let answer = answer(&need, around);
                    self.todo.extend(machine.step(Input::Answer(need, answer)));
                }
                Action::Spawn(id, step, process) => {
                    self.started.insert(id, Instant::now());
                    if around.containers.has_nothing(&process.kind) {
                        let files = FileCommands::default();
                        self.todo.extend(machine.step(Input::Exited(id, Exit::Code(0), files)));
                        continue;
                    }
                    if let Err(why) = self.spawn(id, step, &process, around) {
                        let files = FileCommands::default();
                        self.todo.extend(machine.step(Input::Exited(
                            id,
                            Exit::NotStarted(why),
                            files,
                        )));
                    }
                    self.last.insert(step, process);
                }
                Action::Stop(id, kind) => self.stop(id, kind),
                Action::TimeLimit { process, since, millis } => {
                    let since = self.started.get(&since).copied().unwrap_or_else(Instant::now);
                    if let Some(live) = self.live.get_mut(&process) {
                        let at = since + Duration::from_millis(u64::try_from(millis).unwrap_or(0));
                        live.time_limit = Some(live.time_limit.map_or(at, |l| l.min(at)));
                    }
                }
                Action::Finished { outcome, reason, outputs, environment_url } => {
                    let end = JobEnd::failure();
                    self.end = Some(JobEnd { outcome, reason, outputs, environment_url, ..end });
                }
            }
        }
    }

    /// Whether a step's process is a Docker action, which has names of its own for the folders.
    fn is_docker_action(&self, step: usize) -> bool {
        self.last.get(&step).is_some_and(|p| matches!(p.kind, ProcessKind::Docker { .. }))
    }

    fn stop(&mut self, id: ProcessId, kind: StopKind) {
        let Some(live) = self.live.get_mut(&id) else { return };
        match kind {
            StopKind::Graceful if live.next_signal.is_none() => {
                live.running.interrupt();
                live.next_signal = Some((Instant::now() + INTERRUPT_GRACE, false));
            }
            StopKind::Graceful => {}
            StopKind::Kill => {
                live.running.kill_tree();
                live.next_signal = None;
                live.drain_until = Some(Instant::now());
            }
        }
    }

    /// Sleeps until something happens, and takes it in.
    fn wait(&mut self, machine: &mut JobMachine, around: &mut Surroundings<'_>) {
        let now = Instant::now();
        let mut due = if self.job_limit_told { None } else { Some(self.job_limit) };
        for live in self.live.values() {
            let times = [
                live.next_signal.map(|(at, _)| at),
                live.time_limit,
                live.drain_until.filter(|_| live.exit.is_some()),
            ];
            for at in times.into_iter().flatten() {
                due = Some(due.map_or(at, |d| d.min(at)));
            }
        }
        if let Some(since) = self.log.dirty {
            let at = since + if around.live { SHOWN_AFTER } else { KEPT_AFTER };
            if now >= at {
                let _ = self.log.file.flush();
                self.log.dirty = None;
            } else {
                due = Some(due.map_or(at, |d| d.min(at)));
            }
        }
        let mut fds = Vec::with_capacity(2 * self.live.len() + 1);
        let mut owners = Vec::with_capacity(fds.capacity());
        for (id, live) in &self.live {
            if let Some(output) = &live.running.output {
                fds.push(PollFd::new(output, PollFlags::IN));
                owners.push((*id, true));
            }
            if live.exit.is_none() {
                fds.push(PollFd::from_borrowed_fd(live.running.ended_fd(), PollFlags::IN));
                owners.push((*id, false));
            }
        }
        if self.orders_open {
            fds.push(PollFd::from_borrowed_fd(around.wake.as_fd(), PollFlags::IN));
        }
        let timeout = due.map(|d| d.saturating_duration_since(now));
        let timeout = timeout.and_then(|d| rustix::fs::Timespec::try_from(d).ok());
        let _ = poll(&mut fds, timeout.as_ref());
        let ready: Vec<(ProcessId, bool)> = owners
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| !fd.revents().is_empty())
            .map(|(owner, _)| *owner)
            .collect();
        let woken = self.orders_open && fds.last().is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        if woken {
            self.take_orders(machine, around);
        }
        for (id, is_output) in &ready {
            if *is_output {
                self.read(*id, machine, around);
            }
        }
        for (id, is_output) in ready {
            if !is_output {
                self.process_ended(id);
            }
        }
        self.timers(machine);
        self.reap(machine, around);
    }

    fn take_orders(&mut self, machine: &mut JobMachine, around: &mut Surroundings<'_>) {
        let mut byte = [0u8; 16];
        let read = rustix::io::read(&around.wake, &mut byte);
        loop {
            match around.orders.try_recv() {
                Ok(Order::Remark(kind, text)) => {
                    self.remarks += 1;
                    if self.remarks <= MAX_REMARKS {
                        let short: String = text.chars().take(MAX_REMARK).collect();
                        (around.watch)(Happening::Remarked(kind, machine.masker().mask(&short)));
                    }
                }
                Ok(Order::Stop { force }) => {
                    self.todo.extend(machine.step(Input::Cancel { force }));
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.orders_open = false;
                    break;
                }
            }
        }
        if matches!(read, Ok(0)) {
            self.orders_open = false;
        }
    }

    /// Reads what there is, but not without end: others have their turn.
    fn read(&mut self, id: ProcessId, machine: &mut JobMachine, around: &Surroundings<'_>) {
        for _ in 0..8 {
            let Some(live) = self.live.get_mut(&id) else { return };
            let Some(output) = &live.running.output else { return };
            let count = match rustix::io::read(output, &mut self.buffer) {
                Ok(0) => {
                    live.running.output = None;
                    return;
                }
                Ok(count) => count,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
                Err(_) => {
                    live.running.output = None;
                    return;
                }
            };
            let step = live.step;
            let of_action =
                self.last.get(&step).is_some_and(|p| matches!(p.kind, ProcessKind::Docker { .. }));
            let mut sink = StepSink {
                log: &mut self.log,
                step,
                machine,
                process: id,
                actions: &mut self.todo,
                workspace: &around.workspace.workspace,
                outside: &|file| around.containers.outside_of(of_action, file),
            };
            live.reader.push(&self.buffer[..count], &mut sink);
            if count < self.buffer.len() / 4 {
                return;
            }
        }
    }

    fn process_ended(&mut self, id: ProcessId) {
        if let Some(live) = self.live.get_mut(&id) {
            live.exit = Some(live.running.status());
            live.next_signal = None;
            live.time_limit = None;
            live.drain_until.get_or_insert(Instant::now() + DRAIN);
        }
    }

    fn timers(&mut self, machine: &mut JobMachine) {
        let now = Instant::now();
        if !self.job_limit_told && now >= self.job_limit {
            self.job_limit_told = true;
            self.todo.extend(machine.step(Input::JobTimeLimit));
        }
        let mut limits = Vec::new();
        for (id, live) in &mut self.live {
            if live.time_limit.is_some_and(|at| now >= at) {
                live.time_limit = None;
                limits.push(*id);
            }
            if let Some((at, terminated)) = live.next_signal
                && now >= at
            {
                if terminated {
                    live.running.kill_tree();
                    live.next_signal = None;
                    live.drain_until = Some(now);
                } else {
                    live.running.terminate();
                    live.next_signal = Some((now + TERMINATE_GRACE, true));
                }
            }
        }
        for id in limits {
            self.todo.extend(machine.step(Input::TimeLimit(id)));
        }
    }

    /// Reports the processes that have ended and whose output is drained.
    fn reap(&mut self, machine: &mut JobMachine, around: &mut Surroundings<'_>) {
        let now = Instant::now();
        let done: Vec<ProcessId> = self
            .live
            .iter()
            .filter(|(_, l)| {
                l.exit.is_some()
                    && (l.running.output.is_none() || l.drain_until.is_some_and(|at| now >= at))
            })
            .map(|(id, _)| *id)
            .collect();
        if !done.is_empty() {
            bury_orphans();
        }
        for id in done {
            self.read(id, machine, around);
            let Some(mut live) = self.live.remove(&id) else { continue };
            if live.running.output.is_some() {
                // Something still holds the output: it is not waited for any longer.
                live.running.kill_tree();
            }
            let of_action = self.is_docker_action(live.step);
            let mut sink = StepSink {
                log: &mut self.log,
                step: live.step,
                machine,
                process: id,
                actions: &mut self.todo,
                workspace: &around.workspace.workspace,
                outside: &|file| around.containers.outside_of(of_action, file),
            };
            live.reader.finish(&mut sink);
            let files = read_files(&around.workspace.command_files, id);
            let mut exit = live.exit.unwrap_or(Exit::Code(-1));
            match live.after {
                After::Containers if exit == Exit::Code(0) => match around.containers.ready() {
                    Ok(ready) => self.todo.extend(machine.step(Input::Containers(ready))),
                    Err(why) => exit = Exit::NotStarted(why),
                },
                After::HandOver => around.containers.hand_over(),
                _ => {}
            }
            self.todo.extend(machine.step(Input::Exited(id, exit, files)));
        }
    }
}

fn answer(need: &StepNeed, around: &mut Surroundings<'_>) -> Answer {
    match need {
        StepNeed::HashFiles(patterns) => {
            Answer::Hash(super::hash_files::hash_files(&around.workspace.workspace, patterns))
        }
        StepNeed::LoadAction(uses) => Answer::Action(around.actions.load(uses, around.workspace)),
    }
}
