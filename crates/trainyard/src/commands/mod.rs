//! The commands, one a file.

pub mod check;
pub mod eval;
pub mod logs;
pub mod run;
pub mod runs;
pub mod view;
