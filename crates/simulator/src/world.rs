//! The world of a seed: time, a heap of happenings, the driver's part, what goes wrong.

mod groups;
mod meddle;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use fastrand::Rng;
use trainyard_diagnostics::Source;
use trainyard_engine::{
    AttemptState, Cause, Command, Effect, EffectKey, InstanceId, NodeState, Record, Refusal,
    RunState, Strength, apply, decide, start,
};
use trainyard_job::spec::JobSpec;
use trainyard_job::{Exit, Input, ProcessId, StepMark};
use trainyard_model::{JobResult, Outcome, Timestamp, Value};
use trainyard_plan::{
    Cell, FanOut, Plan, Reason, Resolved, Retry, Semantics, Tally, Verdict, View,
};
use trainyard_store::{Journal, RunRow};
use trainyard_workflow::lower::{Loaded, Loader, Lowered, WorkflowFile, lower};
use trainyard_workflow::model::JobKind;
use trainyard_workflow::permissions::{Level, Permissions};
use trainyard_workflow::read_workflow;
use trainyard_workflow::semantics::{WorkflowSemantics, needs_context};

use crate::broken::Broken;
use crate::check::{self, Memory, Violation};
use crate::coverage::Coverage;
use crate::generate::{self, ROOT};
use crate::job::{CANARY, COMPUTED, SimJob, Want, contexts};

type Done = Result<(), Violation>;

/// Happenings of a seed before faults end, and at all.
const WITH_FAULTS: usize = 120;
const MOST: usize = 6_000;
/// Attempts at a run.
const ATTEMPTS: u32 = 4;

/// Something that comes at its time.
#[derive(Debug, Clone)]
enum Happening {
    /// A command reaches the engine.
    Comes(Command),
    /// A runner takes an offer.
    Takes { node: InstanceId, attempt: u32 },
    /// A process of a job ends.
    Ends { node: InstanceId, epoch: u32, process: ProcessId, exit: Exit },
    /// A time limit within a job.
    Limit { node: InstanceId, epoch: u32, process: Option<ProcessId> },
    /// A job is told to stop.
    Stops { node: InstanceId, epoch: u32, force: bool },
    /// The runner of a job dies.
    Dies { node: InstanceId, epoch: u32, zombie: bool },
    /// The one that decides is killed and starts again.
    Restarts,
    /// Somebody looks whether the run is over and begins it again.
    Again,
}

struct Later {
    at: i64,
    number: u64,
    what: Happening,
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Later {}
impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The language, perhaps with a fault.
struct Language {
    own: WorkflowSemantics,
    broken: Option<Broken>,
}

impl Semantics for Language {
    fn gate(&self, view: &View<'_>) -> Result<Verdict, Reason> {
        let deaf = self.broken == Some(Broken::DeafGates);
        let cancelled = view.cancelled && !deaf;
        self.own.gate(&View { cancelled, ..view.clone() })
    }
    fn fan_out(&self, view: &View<'_>) -> Result<FanOut, Reason> {
        self.own.fan_out(view)
    }
    fn bind(&self, view: &View<'_>) -> Result<Value, Reason> {
        self.own.bind(view)
    }
    fn resolve(&self, view: &View<'_>) -> Result<Resolved, Reason> {
        let mut resolved = self.own.resolve(view)?;
        // No workflow has one; pipelines do, and the engine is the same.
        if view.node.0 % 3 == 1 {
            resolved.retry = Some(Retry {
                count: 1 + view.node.0 % 2,
                backoff_ms: 700,
                factor: 2.0,
                max_ms: 1_000,
            });
        }
        Ok(resolved)
    }
    fn outputs(&self, view: &View<'_>) -> Result<Value, Reason> {
        self.own.outputs(view)
    }
    fn conclude(&self, tally: &Tally) -> JobResult {
        self.own.conclude(tally)
    }
}

/// A language that must not be asked: what a refusal does.
struct Mute;

impl Semantics for Mute {
    fn gate(&self, _: &View<'_>) -> Result<Verdict, Reason> {
        Err(Reason::new("asked"))
    }
    fn fan_out(&self, _: &View<'_>) -> Result<FanOut, Reason> {
        Err(Reason::new("asked"))
    }
    fn bind(&self, _: &View<'_>) -> Result<Value, Reason> {
        Err(Reason::new("asked"))
    }
    fn resolve(&self, _: &View<'_>) -> Result<Resolved, Reason> {
        Err(Reason::new("asked"))
    }
    fn outputs(&self, _: &View<'_>) -> Result<Value, Reason> {
        Err(Reason::new("asked"))
    }
    fn conclude(&self, _: &Tally) -> JobResult {
        JobResult::Failure
    }
}

struct Files(BTreeMap<String, String>);

impl Loader for Files {
    fn load(&mut self, path: &str, file: u16) -> Loaded {
        let Some(text) = self.0.get(path) else { return Loaded::Missing };
        let source = Source::new(path.to_owned(), text.clone());
        match read_workflow(&source, file).0 {
            Some(workflow) => Loaded::Workflow(Arc::new(WorkflowFile {
                path: path.to_owned(),
                origin: None,
                source,
                workflow,
            })),
            None => Loaded::Broken,
        }
    }
}

pub(crate) struct World {
    rng: Rng,
    broken: Option<Broken>,
    files: BTreeMap<String, String>,
    trace: Vec<String>,
    now: i64,
    heap: BinaryHeap<Reverse<Later>>,
    number: u64,
    /// Whether things go wrong.
    faults: bool,
    journal: Option<(Journal, i64)>,
    run: RunState,
    /// What the records alone say, each as it was read back.
    shadow: RunState,
    sequence: usize,
    performed: BTreeMap<EffectKey, Effect>,
    language: Option<Language>,
    /// The language as it should be.
    truth: Option<WorkflowSemantics>,
    jobs: BTreeMap<(InstanceId, u32), SimJob>,
    /// Holders and those that wait, by name.
    groups: BTreeMap<String, VecDeque<(InstanceId, u32)>>,
    memory: Memory,
    /// What leaves left behind, for those that resume.
    marks: BTreeMap<InstanceId, Vec<StepMark>>,
}

impl World {
    pub fn new(seed: u64, broken: Option<Broken>) -> World {
        let mut rng = Rng::with_seed(seed);
        let files = generate::files(&mut rng);
        World {
            rng,
            broken,
            files,
            trace: Vec::new(),
            now: 1_000,
            heap: BinaryHeap::new(),
            number: 0,
            faults: true,
            journal: None,
            run: RunState::empty(),
            shadow: RunState::empty(),
            sequence: 0,
            performed: BTreeMap::new(),
            language: None,
            truth: None,
            jobs: BTreeMap::new(),
            groups: BTreeMap::new(),
            memory: Memory::default(),
            marks: BTreeMap::new(),
        }
    }

    pub fn files(&self) -> String {
        self.files.iter().map(|(path, text)| format!("# {path}\n{text}\n")).collect()
    }

    pub fn trace(&self) -> String {
        self.trace.iter().map(|line| format!("{line}\n")).collect()
    }

    fn later(&mut self, after: i64, what: Happening) {
        self.number += 1;
        let at = self.now + after.max(0);
        self.heap.push(Reverse(Later { at, number: self.number, what }));
    }

    fn chance(&mut self, of_thousand: u32) -> bool {
        self.faults && self.rng.u32(..1_000) < of_thousand
    }

    /// From the start to the end, through all attempts.
    pub fn run(&mut self, coverage: &mut Coverage) -> Done {
        self.begin()?;
        let mut count = 0;
        while let Some(Reverse(Later { at, what, .. })) = self.heap.pop() {
            count += 1;
            if count > MOST {
                return Err(Violation::new("liveness", format!("no end after {MOST} happenings")));
            }
            if count == WITH_FAULTS {
                self.faults = false;
            }
            self.now = self.now.max(at);
            self.trace.push(format!("{:>9} {what:?}", self.now));
            self.happen(what, coverage)?;
            if self.chance(8) {
                let user = Command::Cancel {
                    target: self.any_node(),
                    cause: Cause::User,
                    strength: if self.rng.bool() { Strength::Polite } else { Strength::Force },
                };
                self.trace.push(format!("{:>9} {user:?}", self.now));
                self.tell(user, coverage)?;
            }
            if self.chance(10) {
                self.later(0, Happening::Restarts);
            }
            if self.chance(10) {
                // A clock jumps; time as the engine sees it never goes back.
                self.now += self.rng.i64(-50_000..200_000);
            }
        }
        if self.run.conclusion().is_none() {
            return Err(Violation::new(
                "liveness",
                "nothing happens any more and the run is not over",
            ));
        }
        Ok(())
    }

    fn any_node(&mut self) -> InstanceId {
        let count = self.run.instances().count();
        InstanceId(u32::try_from(self.rng.usize(..count)).unwrap_or(0))
    }

    fn begin(&mut self) -> Done {
        let lowered = self.lower();
        let github = Value::object([
            ("ref", Value::from("refs/heads/main")),
            ("event_name", Value::from("push")),
        ]);
        let own = || WorkflowSemantics::new(&lowered, github.clone(), Value::Null);
        self.truth = Some(own());
        let language = Language { own: own(), broken: self.broken };
        self.memory.plan = Some(lowered.plan.clone());
        let mut plan = lowered.plan.clone();
        if self.broken == Some(Broken::ForgetsNeeds) {
            forget_a_need(&mut plan);
        }
        let wrong = |e: trainyard_store::Error| Violation::new("replay", e.to_string());
        let journal = Journal::in_memory().map_err(wrong)?;
        let mut row = RunRow { status: "running".into(), ..RunRow::default() };
        journal.add_run(&mut row).map_err(wrong)?;
        self.journal = Some((journal, row.id));
        let (run, records) =
            start(plan, Value::object(Vec::<(&str, Value)>::new()), Timestamp(self.now), &language);
        self.run = run;
        self.language = Some(language);
        self.append(&records)?;
        self.memory_of(&records)?;
        self.perform()
    }

    fn lower(&self) -> Lowered {
        let mut files = Files(self.files.clone());
        let Loaded::Workflow(root) = files.load(ROOT, 0) else {
            let text = files.0.get(ROOT).cloned().unwrap_or_default();
            let found = read_workflow(&Source::new(ROOT.to_owned(), text), 0).1;
            unreachable!("the generator makes valid workflows: {found:?}\n{}", self.files())
        };
        lower(root, &mut files, &Permissions::all(Level::Write))
    }

    /// Writes records into the journal, and reads them back into the shadow.
    fn append(&mut self, records: &[Record]) -> Done {
        let wrong = |e: &dyn std::fmt::Display| Violation::new("replay", e.to_string());
        let mut lines = Vec::new();
        for record in records {
            let line = serde_json::to_string(record).map_err(|e| wrong(&e))?;
            if line.contains(CANARY) || line.contains(COMPUTED) {
                return Err(Violation::new("secrets", format!("in a record: {line}")));
            }
            let back: Record = serde_json::from_str(&line).map_err(|e| wrong(&e))?;
            let lost =
                self.broken == Some(Broken::LosesRecords) && matches!(back, Record::Began { .. });
            if !lost {
                apply(&mut self.shadow, &back);
                lines.push(line);
            }
        }
        let Some((journal, run)) = &self.journal else { return Ok(()) };
        journal.append(*run, self.sequence, self.now, &lines).map_err(|e| wrong(&e))?;
        self.sequence += lines.len();
        if self.shadow != self.run {
            return Err(Violation::new("replay", "the state differs from what its records say"));
        }
        Ok(())
    }

    fn memory_of(&mut self, records: &[Record]) -> Done {
        for record in records {
            if let Record::FannedOut { node, max_parallel: Some(most), .. } = record {
                self.memory.parallel.insert(*node, *most);
            }
        }
        if let Some(truth) = &self.truth {
            self.memory.records(&self.run, records, truth)?;
        }
        self.memory.limits(&self.run)
    }

    /// Tells the engine something; with all that can go wrong.
    fn tell(&mut self, command: Command, coverage: &mut Coverage) -> Done {
        if self.chance(15) {
            // The append fails: what was decided is dropped with the state, which is read again; the
            // command comes once more.
            let before = self.run.clone();
            if let Some(language) = &self.language {
                let _ = decide(&mut self.run, &command, Timestamp(self.now), language);
            }
            if self.broken != Some(Broken::KeepsLostDecisions) {
                self.run = self.recorded()?;
            }
            if self.run != before {
                return Err(Violation::new("replay", "a decision that was not written is there"));
            }
            self.later(50, Happening::Comes(command));
            return self.perform();
        }
        self.decide(&command, coverage)?;
        if self.chance(20) {
            // Killed between append and effect.
            return self.restart();
        }
        self.perform()?;
        if self.chance(60) {
            // It comes twice; the second time it changes nothing.
            let before = self.run.clone();
            self.decide(&command, coverage)?;
            let same = before == self.run;
            // A cancel that is stronger than an earlier one is another one.
            if !same && !matches!(command, Command::Cancel { .. } | Command::Rerun { .. }) {
                return Err(Violation::new("refusal", format!("taken twice: {command:?}")));
            }
            self.perform()?;
        }
        Ok(())
    }

    fn decide(&mut self, command: &Command, coverage: &mut Coverage) -> Done {
        let before = self.run.clone();
        let known = |c: &Command| !matches!(c, Command::Rerun { .. });
        let Some(language) = &self.language else { return Ok(()) };
        let at = Timestamp(self.now);
        let mut decided = decide(&mut self.run, command, at, language);
        if let (Err(Refusal::Stale), Some(Broken::TakesStaleReports)) = (&decided, self.broken)
            && let Command::Finish { node, outcome, reason, outputs, .. } = command.clone()
        {
            let epoch = self.run.instance(node).epoch;
            let forged = Command::Finish { node, epoch, outcome, reason, outputs };
            decided = decide(&mut self.run, &forged, at, language);
        }
        if decided != Err(Refusal::Unknown) {
            coverage.add(&before, command, decided.is_ok());
        }
        match decided {
            Err(refusal) => {
                if self.broken == Some(Broken::ChangesOnRefusal) && known(command) {
                    let strength = Strength::Polite;
                    let (node, cause) = (InstanceId::ROOT, Cause::User);
                    apply(&mut self.run, &Record::CancelAccepted { node, cause, strength });
                }
                if self.run != before {
                    return Err(Violation::new(
                        "refusal",
                        format!("{command:?} changed something"),
                    ));
                }
                let mut copy = before;
                if decide(&mut copy, command, at, &Mute) != Err(refusal) {
                    return Err(Violation::new(
                        "refusal",
                        format!("{command:?} asked the language"),
                    ));
                }
                Ok(())
            }
            Ok(mut records) => {
                self.memory.fence(&before, command)?;
                self.meddle(command, &mut records);
                self.append(&records)?;
                self.memory_of(&records)?;
                if let Command::Rerun { nodes, .. } = command {
                    let plan = self.memory.plan.clone().unwrap_or_else(|| before.plan().clone());
                    check::rerun(&before, &self.run, nodes, &plan)?;
                }
                Ok(())
            }
        }
    }

    fn is_job(&self, node: InstanceId) -> bool {
        self.run.plan().node(self.run.instance(node).plan).kind == trainyard_plan::NodeKind::Work
    }

    /// The state as the journal has it.
    fn recorded(&self) -> Result<RunState, Violation> {
        let wrong = |e: &dyn std::fmt::Display| Violation::new("replay", e.to_string());
        let mut state = RunState::empty();
        let Some((journal, run)) = &self.journal else { return Ok(state) };
        for line in journal.records(*run).map_err(|e| wrong(&e))? {
            apply(&mut state, &serde_json::from_str(&line).map_err(|e| wrong(&e))?);
        }
        Ok(state)
    }

    /// Reads the state again, which changes nothing.
    fn reload(&mut self) -> Done {
        let state = self.recorded()?;
        if state != self.run {
            return Err(Violation::new("replay", "the journal gives another state"));
        }
        self.run = state;
        Ok(())
    }

    /// Killed and started again: what was performed is forgotten, groups are reconciled, runners
    /// live on or die with it.
    fn restart(&mut self) -> Done {
        self.reload()?;
        self.performed.clear();
        self.groups.clear();
        if self.rng.bool() {
            let keys: Vec<(InstanceId, u32)> = self.jobs.keys().copied().collect();
            for (node, epoch) in keys {
                self.later(1, Happening::Dies { node, epoch, zombie: false });
            }
        }
        // A command whose answer was awaited is sent again by whoever waits: those of running jobs
        // come from their own happenings, and grants from the reconciled groups.
        self.perform()
    }

    /// Performs what is outstanding and new, withdraws what is gone; then everything is checked.
    fn perform(&mut self) -> Done {
        let mut kept = check::kept(&self.run);
        match self.broken {
            Some(Broken::ForgetsStops) => kept.retain(|k, _| !matches!(k, EffectKey::Stop(..))),
            Some(Broken::ForgetsOffers) => kept.retain(|k, _| !matches!(k, EffectKey::Offer(..))),
            Some(Broken::KeepsTimers) => {
                let timers =
                    self.performed.iter().filter(|(k, _)| matches!(k, EffectKey::Timer(..)));
                let timers: Vec<_> = timers.map(|(k, e)| (*k, e.clone())).collect();
                timers.into_iter().for_each(|(k, e)| {
                    kept.entry(k).or_insert(e);
                });
            }
            _ => {}
        }
        check::effects(&self.run, &kept)?;
        check::waits(&self.run, &kept)?;
        let gone: Vec<EffectKey> =
            self.performed.keys().filter(|k| !kept.contains_key(k)).copied().collect();
        for key in gone {
            self.performed.remove(&key);
            if let EffectKey::Hold(node, place) = key {
                self.release(node, place);
            }
        }
        let new: Vec<(EffectKey, Effect)> =
            kept.into_iter().filter(|(k, e)| self.performed.get(k) != Some(e)).collect();
        for (key, effect) in new {
            self.performed.insert(key, effect.clone());
            self.effect(key, &effect)?;
        }
        self.check_groups()
    }

    fn effect(&mut self, key: EffectKey, effect: &Effect) -> Done {
        match effect {
            Effect::Offer { node, attempt } => {
                let after = self.rng.i64(1..2_000);
                let declined = self.faults && self.rng.u8(..30) == 0;
                let never = self.broken == Some(Broken::NeverLeases) && !self.faults;
                if declined {
                    let (node, outcome) = (*node, Outcome::Failure);
                    let reason = Reason::new("declined");
                    self.later(after, Happening::Comes(Command::Decline { node, outcome, reason }));
                } else if self.rng.u8(..40) == 0 {
                    let (node, reason, outputs) = (*node, Reason::new("hit"), Value::Null);
                    self.later(after, Happening::Comes(Command::Hit { node, reason, outputs }));
                } else if !never {
                    self.later(after, Happening::Takes { node: *node, attempt: *attempt });
                }
            }
            Effect::Hold { node, group } => {
                let EffectKey::Hold(_, place) = key else { return Ok(()) };
                self.hold(*node, place, &group.name.to_lowercase(), group.cancel_in_progress);
            }
            Effect::Stop { node, epoch, strength } => {
                let force = *strength == Strength::Force;
                self.later(1, Happening::Stops { node: *node, epoch: *epoch, force });
                if self.chance(200) {
                    self.later(2, Happening::Stops { node: *node, epoch: *epoch, force });
                }
            }
            Effect::Timer { node, due } => {
                let (node, epoch) = (*node, self.run.instance(*node).epoch);
                self.later(due.0 - self.now, Happening::Comes(Command::Timer { node, epoch }));
            }
            Effect::Watch { node, epoch } => {
                // After a restart: is the runner still there?
                let gone = self.jobs.get(&(*node, *epoch)).is_none_or(|j| j.lost);
                if gone && self.run.instance(*node).began.is_some() {
                    let (node, epoch) = (*node, *epoch);
                    self.later(15_000, Happening::Comes(Command::Lost { node, epoch }));
                }
            }
        }
        Ok(())
    }

    fn happen(&mut self, what: Happening, coverage: &mut Coverage) -> Done {
        match what {
            // Whoever grants looks who is first by then.
            Happening::Comes(Command::GroupGranted { node, index })
                if !self.is_first(node, index) =>
            {
                Ok(())
            }
            Happening::Comes(command) => self.tell(command, coverage),
            Happening::Takes { node, attempt } => self.takes(node, attempt, coverage),
            Happening::Ends { node, epoch, process, exit } => {
                let Some(job) = self.jobs.get_mut(&(node, epoch)) else { return Ok(()) };
                let wants = job.ends(process, exit, &mut self.rng)?;
                self.wants(node, epoch, wants);
                Ok(())
            }
            Happening::Limit { node, epoch, process } => {
                let Some(job) = self.jobs.get_mut(&(node, epoch)) else { return Ok(()) };
                let input = match process {
                    Some(process) if job.is_live(process) => Input::TimeLimit(process),
                    Some(_) => return Ok(()),
                    None => Input::JobTimeLimit,
                };
                let wants = job.feed(input, &mut self.rng)?;
                self.wants(node, epoch, wants);
                Ok(())
            }
            Happening::Stops { node, epoch, force } => {
                let Some(job) = self.jobs.get_mut(&(node, epoch)) else { return Ok(()) };
                let wants = job.feed(Input::Cancel { force }, &mut self.rng)?;
                self.wants(node, epoch, wants);
                Ok(())
            }
            Happening::Dies { node, epoch, zombie } => {
                let Some(job) = self.jobs.get_mut(&(node, epoch)) else { return Ok(()) };
                job.lost = true;
                if !zombie {
                    self.jobs.remove(&(node, epoch));
                }
                self.later(15_000, Happening::Comes(Command::Lost { node, epoch }));
                Ok(())
            }
            Happening::Restarts => self.restart(),
            Happening::Again => self.again(coverage),
        }
    }

    /// A runner takes an offer: a lease, a machine, its first step.
    fn takes(&mut self, node: InstanceId, attempt: u32, coverage: &mut Coverage) -> Done {
        let before = self.run.instance(node).epoch;
        self.tell(Command::Lease { node, attempt, runner: "r".into() }, coverage)?;
        let instance = self.run.instance(node);
        let leased = matches!(
            instance.state,
            NodeState::Active { state: AttemptState::Leased, attempt: now } if now == attempt
        );
        let epoch = instance.epoch;
        if !leased || epoch == before || self.jobs.contains_key(&(node, epoch)) {
            // Refused, or lost on the way: offered again if the state still wants it.
            let offered = matches!(
                self.run.instance(node).state,
                NodeState::Active { state: AttemptState::Offered, attempt: now } if now == attempt
            );
            if offered {
                self.later(10, Happening::Takes { node, attempt });
            }
            return Ok(());
        }
        let resume = instance.resume;
        let Some(mut job) = self.job_of(node) else { return Ok(()) };
        if let (Some(step), Some(marks)) = (resume, self.marks.get(&node)) {
            coverage.resumed += u64::from(job.resume(step as usize, marks));
        }
        if self.chance(20) {
            // The job cannot be started.
            let (outcome, reason, outputs) = (Outcome::Failure, Reason::default(), Value::Null);
            let finish = Command::Finish { node, epoch, outcome, reason, outputs };
            return self.tell(finish, coverage);
        }
        if self.chance(30) {
            // The runner dies before its first step.
            self.later(15_000, Happening::Comes(Command::Lost { node, epoch }));
            return Ok(());
        }
        let limit = self.run.instance(node).resolved.as_ref().map_or(0, |r| r.timeout_ms);
        let wants = job.start(&mut self.rng)?;
        self.jobs.insert((node, epoch), job);
        self.later(limit, Happening::Limit { node, epoch, process: None });
        self.later(0, Happening::Comes(Command::Begin { node, epoch }));
        if self.chance(60) {
            let after = self.rng.i64(1..30_000);
            let zombie = self.rng.bool();
            self.later(after, Happening::Dies { node, epoch, zombie });
        }
        if self.chance(60) {
            // A report of a lease that is not in force.
            let (outcome, reason) = (Outcome::Success, Reason::default());
            let outputs = Value::Null;
            let epoch = epoch.saturating_sub(1);
            let after = self.rng.i64(1..30_000);
            self.later(
                after,
                Happening::Comes(Command::Finish { node, epoch, outcome, reason, outputs }),
            );
        }
        self.wants(node, epoch, wants);
        Ok(())
    }

    /// The step machine of a leaf, as an assignment has it.
    fn job_of(&self, node: InstanceId) -> Option<SimJob> {
        let semantics = &self.language.as_ref()?.own;
        let instance = self.run.instance(node);
        let definition = &semantics.nodes[semantics.definitions[instance.plan.index()] as usize];
        let file = &semantics.files[definition.file].workflow;
        let JobKind::Steps(steps) = &file.jobs[definition.job?].kind else { return None };
        let spec = JobSpec {
            container: None,
            services: None,
            env: [file.env.clone(), steps.env.clone()].into_iter().flatten().collect(),
            defaults: vec![file.defaults.clone(), steps.defaults.clone()],
            steps: steps.steps.clone(),
            outputs: steps.outputs.clone(),
            environment_url: None,
        };
        let scope = self.run.scope_of(node).unwrap_or(InstanceId::ROOT);
        let contexts = contexts(
            Value::object([("ref", Value::from("refs/heads/main"))]),
            needs_context(&self.run.needs_of(node)),
            self.run.instance(scope).inputs.clone(),
            instance.cell.as_ref().map(|c: &Cell| c.values.clone()).unwrap_or_default(),
        );
        Some(SimJob::new(spec, contexts, self.broken))
    }

    fn wants(&mut self, node: InstanceId, epoch: u32, wants: Vec<Want>) {
        for want in wants {
            match want {
                Want::Ends { process, after, exit } => {
                    self.later(after, Happening::Ends { node, epoch, process, exit });
                }
                Want::Limit { process, after } => {
                    let process = Some(process);
                    self.later(after, Happening::Limit { node, epoch, process });
                }
                Want::Finished { outcome, outputs } => {
                    if let Some(job) = self.jobs.remove(&(node, epoch)) {
                        self.marks.insert(node, job.marks());
                    }
                    let reason = Reason::default();
                    let after = if self.faults { self.rng.i64(1..20_000) } else { 1 };
                    let finish = Command::Finish { node, epoch, outcome, reason, outputs };
                    self.later(after, Happening::Comes(finish));
                    self.later(after + 10, Happening::Again);
                }
            }
        }
    }

    /// Begins the run again if it is over: all of it, what failed, or one node.
    fn again(&mut self, coverage: &mut Coverage) -> Done {
        if self.run.conclusion().is_none() || self.run.attempt() >= ATTEMPTS || !self.rng.bool() {
            return Ok(());
        }
        let current: Vec<InstanceId> = self
            .run
            .instances()
            .filter(|(id, i)| !i.superseded && *id != InstanceId::ROOT)
            .map(|(id, _)| id)
            .collect();
        if current.is_empty() {
            return Ok(());
        }
        let nodes = match self.rng.u8(..3) {
            0 => Vec::new(),
            1 => {
                let bad = |id: &&InstanceId| {
                    self.run
                        .instance(**id)
                        .settled()
                        .is_some_and(|s| s.result == JobResult::Failure)
                };
                current.iter().filter(bad).copied().collect()
            }
            _ => vec![current[self.rng.usize(..current.len())]],
        };
        let leaf = nodes.first().copied().filter(|id| {
            self.is_job(*id) && self.run.instance(*id).fan.is_none() && self.marks.contains_key(id)
        });
        let resume = leaf.filter(|_| self.rng.bool()).map(|id| (id, self.rng.u32(..4)));
        let known: BTreeSet<InstanceId> = nodes.iter().copied().collect();
        debug_assert_eq!(known.len(), nodes.len(), "no node is asked for twice");
        self.tell(Command::Rerun { nodes, resume }, coverage)
    }
}

/// A plan whose last node that needs something needs nothing.
fn forget_a_need(plan: &mut Plan) {
    if let Some(node) = plan.nodes.iter_mut().rev().find(|n| !n.needs.is_empty()) {
        node.needs.clear();
    }
}
