//! The nouns of Trainyard that every room shares.
//!
//! Values as both languages see them, ids, time stamps, outcomes and results, secrets that
//! cannot be printed.
//!
//! Deliberately absent: clocks, random ids, anything that knows a file or a network.

mod casing;
mod number;
mod outcome;
mod secret;
mod value;

pub use casing::{compare_ignore_case, contains_ignore_case, eq_ignore_case, upper};
pub use number::{number_to_string, parse_number};
pub use outcome::{JobResult, Outcome, result_of};
pub use secret::Secret;
pub use value::{JsonError, Object, Value, json_string};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC. Given by the shell, never read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This plus some milliseconds, without overflow.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Timestamp(self.0.saturating_add(millis))
    }
}
