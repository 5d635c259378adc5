//! The step machine (being built).
pub mod spec;
