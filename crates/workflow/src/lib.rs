//! GitHub workflow and action files: read, check, select by trigger, lower to a plan.
//!
//! Reading is driven by GitHub's own schemas (`schema/`), conversion follows the runner's parser
//! (`actions/runner`, `src/Sdk/WorkflowParser`). A parser returns what it understood and what it
//! found; there is no workflow where an error was found.
//!
//! Deliberately absent: files (called workflows and actions are asked for by path), git, and
//! what a runner alone evaluates.

pub mod action;
mod convert;
pub mod cron;
pub mod glob;
mod ids;
pub mod lower;
pub mod matrix;
pub mod model;
pub mod permissions;
mod read;
mod reader;
mod schema;
pub mod select;
pub mod semantics;
mod steps;
mod triggers;

pub use convert::span_of;
pub use read::{MAX_FILE_SIZE, read_action, read_workflow};
pub use triggers::EVENTS;
