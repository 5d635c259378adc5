//! The definition of a job's steps, as the step machine takes it. The workflow crate lowers to
//! this; later the assignment carries it.

use trainyard_expression::{Expr, Place, Template};

/// A condition with its implicit `success() &&` already in place.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The text as evaluated.
    pub text: String,
    /// The parsed text.
    pub tree: Expr,
    /// Where it stands; the step's own place when it is implicit.
    pub place: Place,
}

/// A step of a job or of a composite action.
#[derive(Debug, Clone, PartialEq)]
pub struct StepSpec {
    /// Its id, generated (`__run`) when the author gave none.
    pub id: String,
    /// Where it stands.
    pub place: Place,
    /// `name`
    pub name: Option<Template>,
    /// `if`
    pub condition: Condition,
    /// `env`
    pub env: Option<Template>,
    /// `continue-on-error`
    pub continue_on_error: Option<Template>,
    /// `timeout-minutes`
    pub timeout_minutes: Option<Template>,
    /// `background`
    pub background: bool,
    /// What it does.
    pub kind: StepKind,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum StepKind {
    /// `run`
    Run {
        /// The script.
        script: Template,
        /// `shell`
        shell: Option<Template>,
        /// `working-directory`
        working_directory: Option<Template>,
    },
    /// `uses`
    Uses {
        /// The reference as written.
        action: String,
        /// Where the reference stands.
        place: Place,
        /// `with`
        with: Option<Template>,
    },
    /// `wait`: ids of background steps.
    Wait(Vec<String>),
    /// `wait-all`; false waits for nothing.
    WaitAll(bool),
    /// `cancel`: the id of a background step.
    Cancel(String),
    /// Before the steps the start of the job's containers, after them their end; no step of a file.
    Containers,
}

/// `defaults.run`, of a workflow or a job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunDefaults {
    /// `shell`
    pub shell: Option<Template>,
    /// `working-directory`
    pub working_directory: Option<Template>,
}

/// Everything about a job that only its runner evaluates.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JobSpec {
    /// `env`, outermost level first: the workflow's, the job's.
    pub env: Vec<Template>,
    /// `defaults.run`, outermost level first.
    pub defaults: Vec<RunDefaults>,
    /// `steps`
    pub steps: Vec<StepSpec>,
    /// `container`
    pub container: Option<Template>,
    /// `services`
    pub services: Option<Template>,
    /// `outputs`
    pub outputs: Option<Template>,
    /// `environment.url`
    pub environment_url: Option<Template>,
}

/// A composite action.
#[derive(Debug, Clone, PartialEq)]
pub struct CompositeSpec {
    /// `name`
    pub name: Option<String>,
    /// Inputs in order, with their defaults.
    pub inputs: Vec<InputSpec>,
    /// Outputs in order.
    pub outputs: Vec<(String, Template)>,
    /// `runs.steps`
    pub steps: Vec<StepSpec>,
}

/// An input that an action declares.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSpec {
    /// Its name as declared.
    pub name: String,
    /// Its default; evaluated in the action's own scope.
    pub default: Option<Template>,
    /// Whether the author calls it required; nobody enforces it, GitHub neither.
    pub required: bool,
    /// What to say when it is used.
    pub deprecation: Option<String>,
}

/// A JavaScript action.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeSpec {
    /// `name`
    pub name: Option<String>,
    /// Inputs in order, with their defaults.
    pub inputs: Vec<InputSpec>,
    /// `using`: `node20` and its kin, in lower case.
    pub using: String,
    /// `main`: the script, relative to the action's folder.
    pub main: String,
    /// `pre`
    pub pre: Option<StageSpec>,
    /// `post`
    pub post: Option<StageSpec>,
}

/// A Docker action.
#[derive(Debug, Clone, PartialEq)]
pub struct DockerSpec {
    /// `name`
    pub name: Option<String>,
    /// Inputs in order, with their defaults.
    pub inputs: Vec<InputSpec>,
    /// `image`: a Dockerfile relative to the action's folder, or `docker://IMAGE`.
    pub image: String,
    /// `entrypoint`
    pub entrypoint: Option<String>,
    /// `args`, a list; none leaves it to the step's `with.args`.
    pub args: Option<Template>,
    /// `env`, which wins over nothing.
    pub env: Option<Template>,
    /// `pre-entrypoint`
    pub pre: Option<StageSpec>,
    /// `post-entrypoint`
    pub post: Option<StageSpec>,
}

/// The script of a JavaScript action that runs before or after the job's steps.
#[derive(Debug, Clone, PartialEq)]
pub struct StageSpec {
    /// The script, relative to the action's folder.
    pub script: String,
    /// `pre-if` or `post-if`; `always()` when there is none. Nothing is put in front of it.
    pub condition: Condition,
}
