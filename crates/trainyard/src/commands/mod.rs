//! The commands, one a file.

pub mod actions;
pub mod artifacts;
pub mod cache;
pub mod check;
pub mod du;
pub mod eval;
pub mod logs;
pub mod run;
pub mod runs;
pub mod view;
