//! A workflow file as it is understood.

use trainyard_diagnostics::Span;
use trainyard_expression::{Place, Template};
use trainyard_job::spec::{Condition, RunDefaults, StepSpec};

use crate::cron::Cron;
use crate::glob::Pattern;
use crate::permissions::Permissions;

/// A workflow.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// `name`
    pub name: Option<String>,
    /// `run-name`
    pub run_name: Option<Template>,
    /// `on`, in order.
    pub triggers: Vec<TriggerDef>,
    /// `env`
    pub env: Option<Template>,
    /// `defaults.run`
    pub defaults: RunDefaults,
    /// `permissions`
    pub permissions: Option<Permissions>,
    /// `concurrency`
    pub concurrency: Option<Template>,
    /// `jobs`, in order.
    pub jobs: Vec<Job>,
}

impl Workflow {
    /// The trigger of that event, if the workflow has one.
    pub fn trigger(&self, event: &str) -> Option<&TriggerDef> {
        self.triggers.iter().find(|t| t.event == event)
    }

    /// The job of that id; ids ignore case.
    pub fn job(&self, id: &str) -> Option<&Job> {
        self.jobs.iter().find(|j| j.id.eq_ignore_ascii_case(id))
    }
}

/// One event of `on` with its settings.
#[derive(Debug, Clone)]
pub struct TriggerDef {
    /// `push`, `pull_request`, ...
    pub event: String,
    /// Where it stands.
    pub span: Span,
    /// `types`
    pub types: Option<Vec<String>>,
    /// `branches` and `branches-ignore`
    pub branches: RefFilter,
    /// `tags` and `tags-ignore`
    pub tags: RefFilter,
    /// `paths` and `paths-ignore`
    pub paths: RefFilter,
    /// `workflows` of `workflow_run`
    pub workflows: Vec<Pattern>,
    /// The entries of `schedule`.
    pub schedule: Vec<Schedule>,
    /// `inputs` of `workflow_dispatch` and `workflow_call`
    pub inputs: Vec<InputDef>,
    /// `secrets` of `workflow_call`
    pub secrets: Vec<SecretDef>,
    /// `outputs` of `workflow_call`
    pub outputs: Vec<OutputDef>,
}

/// A list of patterns and its `-ignore` twin; at most one is given.
#[derive(Debug, Clone, Default)]
pub struct RefFilter {
    /// What must match.
    pub include: Option<Vec<Pattern>>,
    /// What must not.
    pub ignore: Option<Vec<Pattern>>,
}

impl RefFilter {
    /// Whether either list is given.
    pub fn is_given(&self) -> bool {
        self.include.is_some() || self.ignore.is_some()
    }
}

/// One entry of `schedule`.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// As written, trimmed.
    pub text: String,
    /// Read.
    pub cron: Cron,
    /// IANA name; UTC when not given.
    pub timezone: Option<String>,
}

/// The type of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputType {
    /// `string`
    String,
    /// `boolean`
    Boolean,
    /// `number`
    Number,
    /// `choice`
    Choice,
    /// `environment`
    Environment,
}

/// An input of a workflow.
#[derive(Debug, Clone)]
pub struct InputDef {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: InputType,
    /// Whether it must be given.
    pub required: bool,
    /// Its default.
    pub default: Option<Template>,
    /// The choices of a `choice`.
    pub options: Vec<String>,
}

/// A secret that a called workflow declares.
#[derive(Debug, Clone)]
pub struct SecretDef {
    /// Its name.
    pub name: String,
    /// Whether it must be given.
    pub required: bool,
}

/// An output of a called workflow.
#[derive(Debug, Clone)]
pub struct OutputDef {
    /// Its name.
    pub name: String,
    /// Its value, from the `jobs` context.
    pub value: Template,
}

/// A job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id as written.
    pub id: String,
    /// Where the id stands.
    pub place: Place,
    /// `name`
    pub name: Option<Template>,
    /// `needs` as written, with their places.
    pub needs: Vec<(String, Place)>,
    /// `if`
    pub condition: Condition,
    /// `strategy`
    pub strategy: Option<Template>,
    /// `permissions`
    pub permissions: Option<Permissions>,
    /// `concurrency`
    pub concurrency: Option<Template>,
    /// Steps or a call.
    pub kind: JobKind,
}

/// What a job is made of.
#[derive(Debug, Clone)]
pub enum JobKind {
    /// Steps on a runner.
    Steps(Box<StepsJob>),
    /// A called workflow.
    Call(CallJob),
}

/// A job with steps.
#[derive(Debug, Clone)]
pub struct StepsJob {
    /// `runs-on`
    pub runs_on: Template,
    /// `environment`
    pub environment: Option<Template>,
    /// `env`
    pub env: Option<Template>,
    /// `defaults.run`
    pub defaults: RunDefaults,
    /// `outputs`
    pub outputs: Option<Template>,
    /// `timeout-minutes`
    pub timeout_minutes: Option<Template>,
    /// `cancel-timeout-minutes`
    pub cancel_timeout_minutes: Option<Template>,
    /// `continue-on-error`
    pub continue_on_error: Option<Template>,
    /// `container`
    pub container: Option<Template>,
    /// `services`
    pub services: Option<Template>,
    /// `snapshot`
    pub snapshot: Option<Template>,
    /// `steps`, `parallel` already unfolded.
    pub steps: Vec<StepSpec>,
}

/// A job that calls a workflow.
#[derive(Debug, Clone)]
pub struct CallJob {
    /// The reference as written.
    pub uses: String,
    /// Where the reference stands.
    pub place: Place,
    /// `with`
    pub with: Option<Template>,
    /// `secrets`
    pub secrets: CallSecrets,
}

/// What secrets a call passes on.
#[derive(Debug, Clone)]
pub enum CallSecrets {
    /// None but the token.
    None,
    /// `secrets: inherit`
    Inherit,
    /// Named ones.
    Map(Template),
}
