//! GitHub workflow and action files: read, check, select by trigger, lower to a plan.

pub mod cron;
pub mod glob;
pub mod matrix;
mod reader;
mod schema;
