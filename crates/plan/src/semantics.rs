//! Where the languages differ: six questions the engine asks.

use serde::{Deserialize, Serialize};
use trainyard_model::{JobResult, Value};

use crate::PlanNodeId;

/// Why something is as it is, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reason(pub String);

impl Reason {
    /// A reason.
    pub fn new(text: impl Into<String>) -> Self {
        Reason(text.into())
    }
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Run,
    /// Do not; and why.
    Skip(Reason),
}

/// One instance of a node that fans out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The `matrix` context.
    pub values: Value,
    /// The `strategy` context.
    pub strategy: Value,
    /// What its name is made of.
    pub segments: Vec<String>,
}

/// What a node becomes.
#[derive(Debug, Clone, PartialEq)]
pub enum FanOut {
    /// Itself.
    One,
    /// Instances, in order.
    Cells {
        /// At least one.
        cells: Vec<Cell>,
        /// How many may be between slot and settled; none for no limit.
        max_parallel: Option<u32>,
        /// Whether one failure cancels the rest.
        fail_fast: bool,
    },
    /// No instance at all, which is a success.
    Nothing {
        /// Why.
        reason: Reason,
        /// What it gives.
        outputs: Value,
    },
}

/// How often a leaf that failed is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// How often at most.
    pub count: u32,
    /// Milliseconds before the first time.
    pub backoff_ms: i64,
    /// By what they grow each time.
    pub factor: f64,
    /// Milliseconds at most.
    pub max_ms: i64,
}

impl Retry {
    /// Milliseconds before the attempt after `attempt`, which counts from 1.
    pub fn pause(&self, attempt: u32) -> i64 {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        #[allow(clippy::cast_precision_loss)]
        let grown = self.backoff_ms as f64 * self.factor.max(0.0).powi(exponent);
        #[allow(clippy::cast_possible_truncation)]
        let grown = if grown.is_finite() { grown as i64 } else { i64::MAX };
        grown.clamp(0, self.max_ms.max(0))
    }
}

/// A concurrency group that a node holds from its grant until it settles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name; case does not matter.
    pub name: String,
    /// Whether a newcomer cancels the holder.
    pub cancel_in_progress: bool,
    /// Whether many may wait (`queue: max`), or one.
    pub queue_all: bool,
}

/// What is known of an instance once its needs are met.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Resolved {
    /// Its name for people.
    pub name: String,
    /// Labels its runner must have.
    pub labels: Vec<String>,
    /// The runner group asked for.
    pub runner_group: Option<String>,
    /// Groups to hold, in order.
    pub groups: Vec<Group>,
    /// The environment it deploys to.
    pub environment: Option<String>,
    /// Milliseconds it may run.
    pub timeout_ms: i64,
    /// Milliseconds it has after a cancel.
    pub cancel_timeout_ms: i64,
    /// Whether its failure is forgiven.
    pub continue_on_error: bool,
    /// How often it is tried again when it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The inputs of a leaf, where the language binds them before it is offered.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub inputs: Value,
}

/// A settled node as others see it.
#[derive(Debug, Clone, PartialEq)]
pub struct NeedView<'a> {
    /// Its name in its scope.
    pub key: &'a str,
    /// Its result.
    pub result: JobResult,
    /// Its outputs, an object.
    pub outputs: Value,
    /// Why it ended as it did.
    pub reason: &'a str,
}

/// What the engine shows of the run when it asks about a node.
#[derive(Debug, Clone)]
pub struct View<'a> {
    /// The node asked about.
    pub node: PlanNodeId,
    /// Its direct needs, in order.
    pub needs: &'a [NeedView<'a>],
    /// Whether every ancestor in the scope succeeded.
    pub all_succeeded: bool,
    /// Whether some ancestor in the scope failed.
    pub any_failed: bool,
    /// Whether a cancel is on its way.
    pub cancelled: bool,
    /// The inputs of the scope it is in.
    pub inputs: &'a Value,
    /// The cell, for an instance of a fan-out.
    pub cell: Option<&'a Cell>,
    /// The nodes of a scope, when its outputs are asked for.
    pub children: &'a [NeedView<'a>],
}

/// How the nodes of a scope ended, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Successes.
    pub success: u32,
    /// Failures.
    pub failure: u32,
    /// Cancelled.
    pub cancelled: u32,
    /// Skipped.
    pub skipped: u32,
    /// Nodes that a cancel of this scope cut short.
    pub cut_short: u32,
}

/// The six meeting points of engine and language. Pure and total: the same view gives the same
/// answer, and a failed evaluation is a reason, never a panic.
pub trait Semantics {
    /// Whether a node runs.
    fn gate(&self, view: &View<'_>) -> Result<Verdict, Reason>;
    /// What it becomes.
    fn fan_out(&self, view: &View<'_>) -> Result<FanOut, Reason>;
    /// The inputs of a scope node.
    fn bind(&self, view: &View<'_>) -> Result<Value, Reason>;
    /// Name, labels, groups, limits of an instance.
    fn resolve(&self, view: &View<'_>) -> Result<Resolved, Reason>;
    /// The outputs of a settled scope, an object.
    fn outputs(&self, view: &View<'_>) -> Result<Value, Reason>;
    /// What the legs of a fan-out give together, from `view.children`; none where the last leg in the
    /// journal with a value counts.
    fn gather(&self, _view: &View<'_>) -> Option<Value> {
        None
    }
    /// The result of a scope.
    fn conclude(&self, tally: &Tally) -> JobResult;
}
