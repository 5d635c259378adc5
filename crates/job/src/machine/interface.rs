//! What the machine is told and what it answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use trainyard_expression::Place;
use trainyard_model::{Outcome, Value};

use crate::container::{ContainerSpec, ContainersReady, ContainersSpec};
use crate::files::FileCommands;
use crate::shell::Shell;
use crate::spec::{CompositeSpec, Condition, DockerSpec, InputSpec, NodeSpec};

/// A process of this job, numbered as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(pub u32);

/// What the machine is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// Begin.
    Start,
    /// The actions that [`Action::Prepare`] asked for and all that those use, or why one of them
    /// is not to be had.
    Prepared(Result<LoadedSet, String>),
    /// The answer to a need of that step.
    Answer(StepNeed, Answer),
    /// The text of the problem matchers that [`Action::ReadMatcher`] asked for.
    Matchers(ProcessId, Result<String, String>),
    /// A line of a process that may hold a command; all of them while
    /// [`JobMachine::matches_lines`].
    Line(ProcessId, String),
    /// The job's containers are there.
    Containers(ContainersReady),
    /// A process ended; what its files hold.
    Exited(ProcessId, Exit, FileCommands),
    /// The time limit of a step has come.
    TimeLimit(ProcessId),
    /// The time limit of the job has come.
    JobTimeLimit,
    /// Stop; forced, nothing is asked any more.
    Cancel {
        /// Whether `always()` counts no more.
        force: bool,
    },
}

/// What stands in the way of a step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepNeed {
    /// The hash of files that match.
    HashFiles(Vec<String>),
    /// The action behind a `uses`.
    LoadAction(String),
}

/// The answer to a [`StepNeed`].
#[derive(Debug, Clone)]
pub enum Answer {
    /// A hash, or why there is none.
    Hash(Result<String, String>),
    /// An action and those of other repositories that it uses, or why one of them is not to be
    /// had.
    Action(Result<LoadedSet, String>),
}

/// Actions by their references as written.
pub type LoadedSet = BTreeMap<String, Loaded>;

/// An action that can run.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// How it runs.
    pub runs: Runs,
    /// `owner/name` and the ref of an action of another repository.
    pub origin: Option<(String, String)>,
}

/// How an action runs.
#[derive(Debug, Clone)]
pub enum Runs {
    /// The shell has it built in.
    Builtin(Arc<BuiltinSpec>),
    /// A composite action and its folder.
    Composite(Arc<CompositeSpec>, String),
    /// A JavaScript action and its folder.
    Node(Arc<NodeSpec>, String),
    /// A Docker action and its folder; none of a bare image.
    Docker(Arc<DockerSpec>, String),
}

/// What an action that is built in declares.
#[derive(Debug, Clone, PartialEq)]
pub struct BuiltinSpec {
    /// Its inputs.
    pub inputs: Vec<InputSpec>,
    /// When its post stage runs, if it has one.
    pub post: Option<Condition>,
}

/// A stage of an action (`ActionRunStage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Before all steps of the job.
    Pre,
    /// The step itself.
    Main,
    /// After all steps of the job.
    Post,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// It never started; why, in words.
    NotStarted(String),
}

/// How a process is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopKind {
    /// SIGINT, 7.5 s, SIGTERM, 2.5 s, kill the tree.
    Graceful,
    /// Kill the tree.
    Kill,
}

/// A process to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// What it is.
    pub kind: ProcessKind,
    /// Variables beyond the machine's clean ones, in order; later ones win.
    pub env: Vec<(String, String)>,
    /// Folders in front of PATH, the first one first.
    pub path: Vec<String>,
    /// Working directory; relative ones are under the workspace.
    pub directory: Option<String>,
}

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessKind {
    /// A script in a shell.
    Script {
        /// The shell.
        shell: Shell,
        /// The text of the script file.
        script: String,
    },
    /// An action that the shell has built in.
    Builtin {
        /// The reference as written.
        action: String,
        /// Which of its stages.
        stage: Stage,
        /// Its inputs, defaults filled in.
        inputs: Vec<(String, String)>,
    },
    /// A script of a JavaScript action.
    Node {
        /// `node20` and its kin.
        using: String,
        /// The path of the script.
        script: String,
        /// Its inputs, defaults filled in.
        inputs: Vec<(String, String)>,
    },
    /// A container of a Docker action's own.
    Docker {
        /// `docker://IMAGE`, or the path of a Dockerfile.
        image: String,
        /// What runs instead of the image's entry point.
        entrypoint: Option<String>,
        /// Its arguments; none leaves the image's.
        args: Option<Vec<String>>,
        /// Its inputs, defaults filled in.
        inputs: Vec<(String, String)>,
    },
    /// The start of the job's containers; [`Input::Containers`] comes before its end.
    StartContainers(Box<ContainersSpec>),
    /// Their end.
    StopContainers,
}

/// How serious an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// `notice`
    Notice,
    /// `warning`
    Warning,
    /// `error`
    Error,
}

/// A remark, perhaps at a place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// How serious.
    pub level: AnnotationLevel,
    /// What it says, masked.
    pub message: String,
    /// `title`
    pub title: Option<String>,
    /// `file`
    pub file: Option<String>,
    /// `line`, from 1.
    pub line: Option<u32>,
    /// `endLine`
    pub end_line: Option<u32>,
    /// `col`
    pub column: Option<u32>,
    /// `endColumn`
    pub end_column: Option<u32>,
    /// Of a problem matcher: `file` is as the tool printed it, relative to this if it is relative
    /// and this is not empty. The shell finds out what it means in the workspace.
    pub from_path: Option<String>,
}

impl Annotation {
    /// A remark at no particular place.
    pub fn bare(level: AnnotationLevel, message: impl Into<String>) -> Self {
        Annotation {
            level,
            message: message.into(),
            title: None,
            file: None,
            line: None,
            end_line: None,
            column: None,
            end_column: None,
            from_path: None,
        }
    }
}

/// How a step of the job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// Before `continue-on-error`.
    pub outcome: Outcome,
    /// After it.
    pub conclusion: Outcome,
    /// Why, when there is more to say.
    pub reason: Option<String>,
}

/// What the machine wants.
#[derive(Debug, Clone)]
pub enum Action {
    /// Find these actions of other repositories and all that they use; answered by
    /// [`Input::Prepared`] before any step begins.
    Prepare(Vec<String>),
    /// Read a file of problem matchers, relative to the workspace; answered by
    /// [`Input::Matchers`].
    ReadMatcher(ProcessId, String),
    /// A step of the job began; its number, in the order in which they run, and its name.
    StepBegan(usize, String),
    /// A step of the job ended.
    StepEnded(usize, StepReport),
    /// A line for the log of a step, to be masked.
    Log(usize, String),
    /// Start a process for a step.
    Spawn(ProcessId, usize, Box<Process>),
    /// Stop a process.
    Stop(ProcessId, StopKind),
    /// Tell [`Input::TimeLimit`] for a process, unless a shorter limit holds.
    TimeLimit {
        /// The process.
        process: ProcessId,
        /// The process with whose start the time began: itself, or the first of its composite.
        since: ProcessId,
        /// Milliseconds.
        millis: i64,
    },
    /// Answer a need.
    Ask(StepNeed),
    /// Hide a value from here on.
    Mask(String),
    /// Keep a remark of a step.
    Annotate(usize, Annotation),
    /// Keep why something came out as it did in a step, masked: a cache hit or miss.
    Reason(usize, String),
    /// Keep the summary of a step, Markdown, masked.
    Summary(usize, String),
    /// The job is over.
    Finished {
        /// How.
        outcome: Outcome,
        /// Why it never began, if it did not.
        reason: Option<String>,
        /// Its outputs.
        outputs: Vec<(String, String)>,
        /// The evaluated `environment.url`.
        environment_url: Option<String>,
    },
}

/// The contexts that a job is given.
#[derive(Debug, Clone, Default)]
pub struct JobContexts {
    /// `github`, with the token.
    pub github: Value,
    /// `inputs`
    pub inputs: Value,
    /// `vars`
    pub vars: Value,
    /// `secrets`
    pub secrets: Value,
    /// `needs`
    pub needs: Value,
    /// `strategy`
    pub strategy: Value,
    /// `matrix`
    pub matrix: Value,
    /// `runner`
    pub runner: Value,
    /// `job` but for its status (`JobContext.cs`): which workflow file it is of.
    pub job: Value,
    /// Folder of the files that steps write.
    pub command_files: String,
    /// Whether bash is there.
    pub has_bash: bool,
    /// The container of a job that asks for none: its label stands for an image.
    pub image: Option<ContainerSpec>,
    /// Whether `::debug::` shows.
    pub debug: bool,
    /// Tells people where a piece of the definition stands.
    pub places: Places,
}

/// `file:line:column` of a place, by whoever has the files.
#[derive(Clone, Default)]
pub struct Places(pub Option<Arc<dyn Fn(Place) -> Option<String> + Send + Sync>>);

impl std::fmt::Debug for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Places")
    }
}
