use serde::{Deserialize, Serialize};

/// How an attempt at a leaf ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All went well.
    Success,
    /// Something failed.
    Failure,
    /// It was cut short on request.
    Cancelled,
    /// It never ran.
    Skipped,
    /// It ran longer than it may.
    TimedOut,
    /// Its runner was not heard of again.
    Lost,
}

/// What the language sees of a settled node: `needs.X.result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobResult {
    /// `success`
    Success,
    /// `failure`
    Failure,
    /// `cancelled`
    Cancelled,
    /// `skipped`
    Skipped,
}

impl JobResult {
    /// The word that `needs.X.result` gives.
    pub fn as_str(self) -> &'static str {
        match self {
            JobResult::Success => "success",
            JobResult::Failure => "failure",
            JobResult::Cancelled => "cancelled",
            JobResult::Skipped => "skipped",
        }
    }
}

impl Outcome {
    /// The word that people see.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
            Outcome::Cancelled => "cancelled",
            Outcome::Skipped => "skipped",
            Outcome::TimedOut => "timed out",
            Outcome::Lost => "lost",
        }
    }
}

/// The one mapping from how it ended to what the language sees. A forgiven failure is a success;
/// a lost leaf has failed; a job over its time is cancelled.
pub fn result_of(outcome: Outcome, continue_on_error: bool) -> JobResult {
    match outcome {
        Outcome::Success => JobResult::Success,
        Outcome::Failure | Outcome::Lost if continue_on_error => JobResult::Success,
        Outcome::Failure | Outcome::Lost => JobResult::Failure,
        Outcome::Cancelled | Outcome::TimedOut => JobResult::Cancelled,
        Outcome::Skipped => JobResult::Skipped,
    }
}
