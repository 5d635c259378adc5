//! A job on a scripted executor: the real step machine, and processes that do as the seed says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fastrand::Rng;
use trainyard_job::files::FileCommands;
use trainyard_job::mask::Masker;
use trainyard_job::spec::JobSpec;
use trainyard_job::{
    Action, Answer, Exit, Input, JobContexts, JobMachine, ProcessId, StepMark, StepNeed, StopKind,
    sealed,
};
use trainyard_model::{Outcome, Value};

use crate::broken::Broken;
use crate::check::Violation;

/// A secret that must be seen nowhere.
pub(crate) const CANARY: &str = "canary-7f3a9c";
/// One that a step makes and masks itself.
pub(crate) const COMPUTED: &str = "computed-51d2e8";

/// What a job wants of the world.
pub(crate) enum Want {
    /// A process ends by itself after that long.
    Ends { process: ProcessId, after: i64, exit: Exit },
    /// A time limit of a process.
    Limit { process: ProcessId, after: i64 },
    /// The job is over.
    Finished { outcome: Outcome, outputs: Value },
}

/// A job that runs.
pub(crate) struct SimJob {
    machine: JobMachine,
    /// Processes that have not ended.
    live: BTreeSet<ProcessId>,
    began: BTreeSet<usize>,
    ended: BTreeSet<usize>,
    /// All that was written to its log.
    log: String,
    broken: Option<Broken>,
    finished: bool,
    /// The first step that a resumed job may run.
    first: usize,
    /// Whether its runner is gone: it may still run, and report too late.
    pub lost: bool,
}

/// The contexts and secrets of a job.
pub(crate) fn contexts(github: Value, needs: Value, inputs: Value, matrix: Value) -> JobContexts {
    JobContexts {
        github,
        needs,
        inputs,
        matrix,
        secrets: Value::object([("TOKEN", Value::from(CANARY))]),
        command_files: "/files".into(),
        has_bash: true,
        ..JobContexts::default()
    }
}

impl SimJob {
    pub fn new(spec: JobSpec, contexts: JobContexts, broken: Option<Broken>) -> SimJob {
        let mut masker = Masker::default();
        masker.add(CANARY);
        SimJob {
            machine: JobMachine::new(spec, contexts, masker),
            live: BTreeSet::new(),
            began: BTreeSet::new(),
            ended: BTreeSet::new(),
            log: String::new(),
            broken,
            finished: false,
            first: 0,
            lost: false,
        }
    }

    /// Begins with a later step; false if the marks do not allow it.
    pub fn resume(&mut self, step: usize, marks: &[StepMark]) -> bool {
        let resumed = self.machine.resume(step, marks, "before").is_ok();
        if resumed {
            self.first = step;
        }
        resumed
    }

    pub fn start(&mut self, rng: &mut Rng) -> Result<Vec<Want>, Violation> {
        self.feed(Input::Start, rng)
    }

    pub fn is_live(&self, process: ProcessId) -> bool {
        self.live.contains(&process)
    }

    /// What its steps left behind, as it would lie on a disk.
    pub fn marks(&self) -> Vec<StepMark> {
        sealed(&self.machine.marks(), self.machine.secrets(), self.machine.masker())
    }

    /// A process ends: its last lines, its files, its status.
    pub fn ends(
        &mut self,
        process: ProcessId,
        exit: Exit,
        rng: &mut Rng,
    ) -> Result<Vec<Want>, Violation> {
        if !self.live.remove(&process) {
            return Ok(Vec::new());
        }
        let mut wants = Vec::new();
        let lines = [
            format!("::add-mask::{COMPUTED}"),
            format!("it is {COMPUTED} and {CANARY}"),
            "::set-output name=v::1".to_owned(),
            format!("::error::{CANARY} leaked"),
        ];
        // Masked before it is said: a value that is printed first is nobody's to hide.
        for line in lines.iter().take(rng.usize(..=lines.len())) {
            if line.starts_with("::") {
                wants.extend(self.feed(Input::Line(process, line.clone()), rng)?);
            } else {
                let masked = self.machine.masker().mask(line);
                let raw = self.broken == Some(Broken::PrintsSecrets);
                self.log.push_str(if raw { line } else { &masked });
                self.log.push('\n');
            }
        }
        let mut files = FileCommands::default();
        if rng.bool() {
            let value = rng.u8(..2);
            files.output = format!("v={value}\nlist=[1,2]\nsecret={CANARY}\n").into_bytes();
        }
        if rng.u8(..4) == 0 {
            files.env = format!("K{}=from {CANARY}\n", rng.u8(..3)).into_bytes();
            files.path = b"/tool/bin\n".to_vec();
        }
        wants.extend(self.feed(Input::Exited(process, exit, files), rng)?);
        self.check_log()?;
        Ok(wants)
    }

    /// Any other input.
    pub fn feed(&mut self, input: Input, rng: &mut Rng) -> Result<Vec<Want>, Violation> {
        let mut wants = Vec::new();
        let mut todo: VecDeque<Action> = self.machine.step(input).into();
        if self.broken == Some(Broken::EndsStepsTwice) {
            let doubled = todo.iter().find(|a| matches!(a, Action::StepEnded(1, _))).cloned();
            todo.extend(doubled);
        }
        while let Some(action) = todo.pop_front() {
            if self.finished {
                return Err(Violation::new(
                    "steps",
                    format!("an action after the end: {action:?}"),
                ));
            }
            match action {
                Action::StepBegan(step, _) => {
                    self.began.insert(step);
                }
                Action::StepEnded(step, _) => {
                    if !self.ended.insert(step) {
                        return Err(Violation::new("steps", format!("step {step} ended twice")));
                    }
                    if !self.began.contains(&step) {
                        return Err(Violation::new(
                            "steps",
                            format!("step {step} ended and never began"),
                        ));
                    }
                }
                Action::Spawn(process, step, _) => {
                    if step < self.first {
                        return Err(Violation::new(
                            "steps",
                            format!("step {step} ran though it is reused"),
                        ));
                    }
                    if self.ended.contains(&step) {
                        return Err(Violation::new(
                            "steps",
                            format!("step {step} runs after its end"),
                        ));
                    }
                    self.live.insert(process);
                    let exit = match rng.u8(..10) {
                        0 | 1 => Exit::Code(1),
                        2 => Exit::Signal(9),
                        3 if rng.bool() => Exit::NotStarted("no such program".into()),
                        _ => Exit::Code(0),
                    };
                    let after = match rng.u8(..12) {
                        0 => rng.i64(60_000..400_000),
                        _ => rng.i64(1..20_000),
                    };
                    wants.push(Want::Ends { process, after, exit });
                }
                Action::Stop(process, kind) => {
                    let after = match kind {
                        StopKind::Kill => 1,
                        StopKind::Graceful => rng.i64(1..10_000),
                    };
                    let exit = if rng.bool() { Exit::Signal(15) } else { Exit::Code(0) };
                    wants.push(Want::Ends { process, after, exit });
                }
                Action::TimeLimit { process, millis, .. } => {
                    wants.push(Want::Limit { process, after: millis });
                }
                Action::Ask(need) => {
                    let answer = match &need {
                        StepNeed::HashFiles(_) => Answer::Hash(Ok("hash".into())),
                        StepNeed::LoadAction(_) => Answer::Action(Err("none here".into())),
                    };
                    todo.extend(self.machine.step(Input::Answer(need, answer)));
                }
                Action::Log(_, text) => {
                    self.log.push_str(&self.machine.masker().mask(&text));
                    self.log.push('\n');
                }
                Action::Annotate(_, annotation) => self.log.push_str(&annotation.message),
                Action::Summary(_, text) | Action::Reason(_, text) => self.log.push_str(&text),
                Action::Mask(_) | Action::ReadMatcher(..) | Action::Prepare(_) => {}
                Action::Finished { outcome, outputs, .. } => {
                    self.finished = true;
                    if let Some(step) = self.began.difference(&self.ended).next() {
                        return Err(Violation::new(
                            "steps",
                            format!("the job ended within step {step}"),
                        ));
                    }
                    if let Some(process) = self.live.first() {
                        return Err(Violation::new(
                            "steps",
                            format!("the job ended and {process:?} lives"),
                        ));
                    }
                    let outputs: BTreeMap<String, String> = outputs.into_iter().collect();
                    let outputs =
                        Value::object(outputs.into_iter().map(|(k, v)| (k, Value::from(v))));
                    wants.push(Want::Finished { outcome, outputs });
                }
            }
        }
        self.check_log()?;
        Ok(wants)
    }

    fn check_log(&self) -> Result<(), Violation> {
        match [CANARY, COMPUTED].iter().find(|s| self.log.contains(**s)) {
            Some(secret) => Err(Violation::new("secrets", format!("'{secret}' is in the log"))),
            None => Ok(()),
        }
    }
}
