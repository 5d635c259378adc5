//! Kubeflow pipelines on this machine: packages read, runs driven, tasks run.
//!
//! The engine, the history and what people see are those of workflows; here is what they do not have:
//! inputs bound before a task is offered, results that stand for equal tasks, artifacts.

pub mod begin;
mod cached;
pub mod driver;
pub mod kept;
pub mod mounts;
pub mod package;
pub mod parameters;
pub mod places;
mod report;
pub mod settings;
pub mod task;
