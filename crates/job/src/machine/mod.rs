//! The machine and the order of things.

mod actions;
mod background;
mod containers;
mod contexts;
mod ending;
mod interface;
mod lines;
mod resume;
mod stages;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use trainyard_expression::TemplateError;
use trainyard_model::{Object, Outcome, Value};

pub use interface::{
    Action, Annotation, AnnotationLevel, Answer, BuiltinSpec, Exit, Input, JobContexts, Loaded,
    LoadedSet, Places, Process, ProcessId, ProcessKind, Runs, Stage, StepNeed, StepReport,
    StopKind,
};

pub use resume::{MarkEnd, MarkUse, StepMark, sealed};

use crate::mask::Masker;
use crate::matcher::Matchers;
use crate::spec::{CompositeSpec, JobSpec, StepKind, StepSpec};

/// The status of a job or of a composite action so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Success,
    Failure,
    Cancelled,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Failure => "failure",
            Status::Cancelled => "cancelled",
        }
    }
}

/// A line of execution: the job's own, or that of a background step.
#[derive(Debug)]
struct Strand {
    /// The lists of steps being worked through, the innermost last.
    frames: Vec<Frame>,
    /// Environment variables of the job so far.
    env: Vec<(String, String)>,
    /// Folders in front of PATH, the newest first.
    path: Vec<String>,
    /// The step of the job that a background strand runs.
    background: Option<usize>,
    /// What a background step wrote, until it is joined.
    deferred: Deferred,
    /// Whether `cancel` ended it.
    cancelled: bool,
}

#[derive(Debug, Default)]
struct Deferred {
    env: Vec<(String, String)>,
    path: Vec<String>,
    /// How it ended; none while it runs.
    ended: Option<Ended>,
    joined: bool,
}

#[derive(Debug, Clone)]
struct Ended {
    name: String,
    outcome: Outcome,
    conclusion: Outcome,
    outputs: Object,
}

/// A list of steps being worked through.
#[derive(Debug)]
struct Frame {
    steps: Arc<[StepSpec]>,
    /// What is worked through: a step and which stage of it.
    plan: Vec<(usize, Stage)>,
    /// The place in the plan that is next. Of the job's own list it is the number of the step.
    next: usize,
    /// The `steps` context.
    scope: Object,
    /// Set in a composite action.
    composite: Option<CompositeFrame>,
    /// Of the steps in this frame.
    status: Status,
    current: Option<Current>,
    answers: BTreeMap<StepNeed, Answer>,
}

#[derive(Debug)]
struct CompositeFrame {
    spec: Arc<CompositeSpec>,
    /// The `inputs` context.
    inputs: Value,
    /// The action's folder.
    path: String,
    /// Its repository and ref, if it is of another one.
    origin: Option<(String, String)>,
    /// The stage of the action that this is.
    stage: Stage,
    /// The environment of the step that calls it.
    env: Vec<(String, String)>,
    /// `github.action` while it runs.
    action: String,
    /// Milliseconds for all of its processes together, of the step that calls it.
    limit: Option<i64>,
    /// The process with which that time began.
    first: Option<ProcessId>,
}

/// The step that a frame is at.
#[derive(Debug)]
struct Current {
    index: usize,
    /// Which stage of the step.
    stage: Stage,
    /// The place in the plan.
    number: usize,
    /// The repository and ref of the action that it runs, once that is known.
    origin: Option<(String, String)>,
    /// Whether `if` and `env` are behind it: from then on `github.action_ref` is its own.
    began: bool,
    /// Environment of the step itself.
    env: Vec<(String, String)>,
    outputs: Object,
    process: Option<ProcessId>,
    /// A refused command, a bad file: the step fails whatever its process says.
    failed: Option<String>,
    stopped: Option<Outcome>,
    /// The token that ends `stop-commands`.
    stop_token: Option<String>,
    /// The need whose answer it waits for.
    asked: Option<StepNeed>,
    /// Whether `continue-on-error` does not count: its `if` or `env` could not be evaluated.
    unforgivable: bool,
    waiting: bool,
    /// Its name as shown.
    shown: String,
    annotations: [u32; 3],
    echo: bool,
}

/// A use of an action through its stages. Known by the places of the steps, from the job's down to
/// the one that uses it.
#[derive(Debug, Default)]
struct Use {
    /// What its earlier stages saved (`IntraActionState`).
    state: Vec<(String, String)>,
    /// The action, kept for its post stage from when pre or main began.
    posted: Option<Loaded>,
    /// The `steps` of a composite, for the posts within it.
    scope: Object,
}

/// The step machine of one job.
#[derive(Debug)]
pub struct JobMachine {
    spec: JobSpec,
    contexts: JobContexts,
    masker: Masker,
    strands: BTreeMap<usize, Strand>,
    next_strand: usize,
    next_process: u32,
    /// Which strand a process belongs to.
    processes: BTreeMap<ProcessId, usize>,
    /// Background strands that wait for a place.
    queued: VecDeque<usize>,
    cancelled: bool,
    forced: bool,
    timed_out: bool,
    /// Whether the last of the job's steps is done and only background steps are left.
    draining: bool,
    /// Whether those are done too, and the posts run.
    posting: bool,
    /// How many pre stages the job has: they come before its steps.
    pres: usize,
    /// Steps whose posts are to run, in the order in which they were registered.
    posts: Vec<usize>,
    uses: BTreeMap<Vec<usize>, Use>,
    /// Actions of other repositories.
    loaded: LoadedSet,
    matchers: Matchers,
    /// Why no step began.
    refused: Option<String>,
    /// The file whose matchers are to be taken away when its text comes.
    removing: Option<String>,
    finished: bool,
    /// What each step left behind.
    marks: Vec<StepMark>,
    /// Background steps that were joined since the last mark.
    joined: Vec<MarkEnd>,
    /// The variables and folders as of the last mark.
    marked_env: Vec<(String, String)>,
    marked_path: Vec<String>,
    /// Whether what the pre stages left is set apart, and the state they saved.
    pres_over: bool,
    pre_state: BTreeMap<Vec<usize>, Vec<(String, String)>>,
    /// Why no job can begin after any step from here on.
    no_resume: Option<String>,
    /// The step that the job begins with, if not with its first.
    resumed: Option<resume::Resume>,
    actions: Vec<Action>,
}

/// Background steps that run at once.
const MAX_BACKGROUND: usize = 10;
/// The strand of the job itself.
const MAIN: usize = 0;

impl JobMachine {
    /// A machine for a job; `masker` hides the secrets that it was given.
    pub fn new(spec: JobSpec, contexts: JobContexts, masker: Masker) -> Self {
        let mut steps = spec.steps.clone();
        if containers::wanted(&spec, &contexts) {
            steps.push(containers::step());
        }
        let main = Strand {
            frames: vec![Frame::new(steps.into(), None)],
            env: Vec::new(),
            path: Vec::new(),
            background: None,
            deferred: Deferred::default(),
            cancelled: false,
        };
        JobMachine {
            spec,
            contexts,
            masker,
            strands: BTreeMap::from([(MAIN, main)]),
            next_strand: 1,
            next_process: 1,
            processes: BTreeMap::new(),
            queued: VecDeque::new(),
            cancelled: false,
            forced: false,
            timed_out: false,
            draining: false,
            posting: false,
            pres: 0,
            posts: Vec::new(),
            uses: BTreeMap::new(),
            loaded: LoadedSet::new(),
            matchers: Matchers::default(),
            refused: None,
            removing: None,
            finished: false,
            marks: Vec::new(),
            joined: Vec::new(),
            marked_env: Vec::new(),
            marked_path: Vec::new(),
            pres_over: false,
            pre_state: BTreeMap::new(),
            no_resume: None,
            resumed: None,
            actions: Vec::new(),
        }
    }

    /// What hides secrets now.
    pub fn masker(&self) -> &Masker {
        &self.masker
    }

    /// Takes an input and answers with what is to be done, in order.
    pub fn step(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Start => self.begin(),
            Input::Prepared(loaded) => self.prepared(loaded),
            Input::Matchers(process, text) => self.add_matchers(process, text),
            Input::Answer(need, answer) => {
                let ids: Vec<usize> = self.strands.keys().copied().collect();
                for id in ids {
                    self.answer(id, &need, &answer);
                }
            }
            Input::Line(process, line) => self.line(process, &line),
            Input::Containers(ready) => self.containers_ready(ready),
            Input::Exited(process, exit, files) => self.exited(process, exit, &files),
            Input::TimeLimit(process) => self.time_limit(process),
            Input::JobTimeLimit => {
                self.timed_out = true;
                self.cancel(false);
            }
            Input::Cancel { force } => self.cancel(force),
        }
        std::mem::take(&mut self.actions)
    }

    /// Whether ordinary lines are wanted too: a problem matcher may match them.
    pub fn matches_lines(&self) -> bool {
        !self.matchers.is_empty()
    }

    fn begin(&mut self) {
        let levels = self.spec.env.clone();
        for level in &levels {
            match level.evaluate_pairs(&self.environment(MAIN, false)) {
                Ok(pairs) => {
                    let main = self.strand(MAIN);
                    for (key, value) in pairs {
                        put(&mut main.env, key, value);
                    }
                }
                Err(error) => {
                    let message = self.message_of(&error);
                    let message = self.masker.mask(&format!("env: {message}"));
                    let remark = Annotation::bare(AnnotationLevel::Error, message);
                    self.actions.push(Action::Annotate(0, remark));
                    self.finish(Outcome::Failure);
                    return;
                }
            }
        }
        let remote = stages::remote_uses(&self.spec.steps);
        match remote.is_empty() {
            true => self.prepared(Ok(LoadedSet::new())),
            false => self.actions.push(Action::Prepare(remote)),
        }
    }

    /// The innermost list of steps of a strand.
    fn frame(&self, id: usize) -> Option<&Frame> {
        self.strands.get(&id)?.frames.last()
    }

    fn frame_mut(&mut self, id: usize) -> Option<&mut Frame> {
        self.strands.get_mut(&id)?.frames.last_mut()
    }

    /// The step that a strand is at.
    fn current(&self, id: usize) -> Option<&Current> {
        self.frame(id)?.current.as_ref()
    }

    fn current_mut(&mut self, id: usize, change: impl FnOnce(&mut Current)) {
        if let Some(current) = self.frame_mut(id).and_then(|f| f.current.as_mut()) {
            change(current);
        }
    }

    /// Whether a strand is at a step of the job itself, not of an action.
    fn in_job(&self, id: usize) -> bool {
        self.strands.get(&id).is_some_and(|s| s.frames.len() == 1)
    }

    /// A strand that exists: ids come from the map alone.
    #[allow(clippy::expect_used)]
    fn strand(&mut self, id: usize) -> &mut Strand {
        self.strands.get_mut(&id).expect("the strand is in the map")
    }

    fn answer(&mut self, id: usize, need: &StepNeed, answer: &Answer) {
        let Some(frame) = self.frame_mut(id) else {
            return;
        };
        let Some(current) = frame.current.as_mut().filter(|c| c.asked.as_ref() == Some(need))
        else {
            return;
        };
        current.asked = None;
        frame.answers.insert(need.clone(), answer.clone());
        self.advance(id);
    }

    fn finish(&mut self, mut outcome: Outcome) {
        if self.finished {
            return;
        }
        self.finished = true;
        let mut outputs = Vec::new();
        if let Some(template) = self.spec.outputs.clone() {
            for (key, value) in template.pairs() {
                let Some(name) = key.as_str() else { continue };
                match value.evaluate_text(&self.environment(MAIN, false)) {
                    Ok(text) if self.masker.finds(&text) => {
                        let message = format!("Skip output '{name}' since it may contain secret.");
                        let remark = Annotation::bare(AnnotationLevel::Warning, message);
                        self.actions.push(Action::Annotate(self.last_step(), remark));
                    }
                    // An empty output is as good as none (`JobExtension.cs`).
                    Ok(text) if text.is_empty() => {}
                    Ok(text) => outputs.push((name.to_owned(), text)),
                    Err(error) => {
                        let message = format!("output '{name}': {}", self.message_of(&error));
                        let message = self.masker.mask(&message);
                        let (level, step) = (AnnotationLevel::Error, self.last_step());
                        self.actions.push(Action::Annotate(step, Annotation::bare(level, message)));
                        if outcome == Outcome::Success {
                            outcome = Outcome::Failure;
                        }
                    }
                }
            }
        }
        let url = self.spec.environment_url.clone();
        let mut environment_url =
            url.and_then(|t| t.evaluate_text(&self.environment(MAIN, false)).ok());
        if environment_url.as_ref().is_some_and(|url| self.masker.finds(url)) {
            environment_url = None;
            let message = "Skip setting environment url as environment may contain secret.";
            let remark = Annotation::bare(AnnotationLevel::Warning, message);
            self.actions.push(Action::Annotate(self.last_step(), remark));
        }
        let reason = self.refused.take().map(|r| self.masker.mask(&r));
        self.actions.push(Action::Finished { outcome, reason, outputs, environment_url });
    }

    fn last_step(&self) -> usize {
        let frame = self.strands.get(&MAIN).and_then(|s| s.frames.first());
        frame.map_or(0, |f| f.plan.len().saturating_sub(1))
    }

    fn job_status(&self) -> Status {
        let status = self
            .strands
            .get(&MAIN)
            .and_then(|s| s.frames.first())
            .map_or(Status::Success, |f| f.status);
        if self.cancelled { Status::Cancelled } else { status }
    }

    /// Stops what runs, unless its own condition says that it goes on.
    fn cancel(&mut self, force: bool) {
        let again = self.cancelled && force && !self.forced;
        if self.cancelled && !again {
            return;
        }
        self.cancelled = true;
        self.forced |= force;
        for id in std::mem::take(&mut self.queued) {
            self.end_queued(id);
        }
        let ids: Vec<usize> = self.strands.keys().copied().collect();
        for id in ids {
            let goes_on = !force && id == MAIN && self.condition_holds(id);
            if goes_on {
                continue;
            }
            self.stop_strand(id, if force { StopKind::Kill } else { StopKind::Graceful });
        }
        // A strand that waits for others is not held by a process: its wait ends here.
        self.interrupt_wait();
        if self.draining {
            self.drain();
        }
    }

    /// Tells the process that a strand runs to stop, for a cancel or the job's time limit.
    fn stop_strand(&mut self, id: usize, kind: StopKind) {
        let outcome = if self.timed_out { Outcome::TimedOut } else { Outcome::Cancelled };
        self.stop_process(id, outcome, kind);
    }

    fn time_limit(&mut self, process: ProcessId) {
        if let Some(id) = self.processes.get(&process).copied() {
            self.stop_process(id, Outcome::TimedOut, StopKind::Graceful);
        }
    }

    fn stop_process(&mut self, id: usize, outcome: Outcome, kind: StopKind) {
        let current = self.frame_mut(id).and_then(|f| f.current.as_mut());
        let Some((current, process)) = current.and_then(|c| c.process.map(|p| (c, p))) else {
            return;
        };
        current.stopped.get_or_insert(outcome);
        self.actions.push(Action::Stop(process, kind));
    }

    /// The number of the job's step that a strand is at.
    fn top_step(&self, id: usize) -> usize {
        let Some(strand) = self.strands.get(&id) else { return 0 };
        match strand.background {
            Some(index) => self.pres + index,
            None => {
                let frame = strand.frames.first();
                frame.and_then(|f| f.current.as_ref()).map_or(0, |c| c.number)
            }
        }
    }
}

impl Frame {
    fn new(steps: Arc<[StepSpec]>, composite: Option<CompositeFrame>) -> Self {
        Frame {
            plan: (0..steps.len())
                .filter(|i| steps[*i].kind != StepKind::Containers)
                .map(|i| (i, Stage::Main))
                .collect(),
            steps,
            next: 0,
            scope: Object::new(),
            composite,
            status: Status::Success,
            current: None,
            answers: BTreeMap::new(),
        }
    }
}

/// Sets a variable; names keep their case off Windows.
fn put(env: &mut Vec<(String, String)>, key: String, value: String) {
    match env.iter_mut().find(|(k, _)| *k == key) {
        Some(pair) => pair.1 = value,
        None => env.push((key, value)),
    }
}

impl JobMachine {
    /// What a failed evaluation says, with its place.
    fn message_of(&self, error: &TemplateError) -> String {
        match error {
            TemplateError::Failed { message, place } => {
                let at = self.contexts.places.0.as_ref().and_then(|f| f(*place));
                match at {
                    Some(at) => format!("{message} ({at})"),
                    None => message.clone(),
                }
            }
            TemplateError::Needs(_) => "hashFiles is not available here".into(),
        }
    }
}
