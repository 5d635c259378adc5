//! A local run: which workflows an event starts, their engines, their jobs on this machine.

pub mod assignment;
pub mod call;
pub mod child;
pub mod driver;
pub mod event;
pub mod files;
pub mod fitness;
pub mod groups;
pub mod kept;
pub mod narrow;
pub mod project;
pub mod references;
pub mod services;

use std::path::PathBuf;

use trainyard_executor_container::Pull;
use trainyard_job::container::ContainerSpec;

use crate::actions::places::Places;
use crate::ui::Output;

/// What `trainyard run` was asked for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The repository's folder, or one in it.
    pub directory: PathBuf,
    /// Workflow files or folders; empty for `.github/workflows`.
    pub workflows: Vec<PathBuf>,
    /// The event and what it is made of.
    pub request: event::EventRequest,
    /// Only this job and what it needs.
    pub job: Option<String>,
    /// Only legs with these values.
    pub matrix: Vec<(String, String)>,
    /// The `secrets` context.
    pub secrets: Vec<(String, String)>,
    /// Where each of them came from.
    pub secret_sources: Vec<(String, call::SecretSource)>,
    /// The `vars` context.
    pub vars: Vec<(String, String)>,
    /// Variables for every step.
    pub env: Vec<(String, String)>,
    /// Those of them whose values the caller's environment has.
    pub env_variables: Vec<String>,
    /// Whether steps get all of the caller's variables.
    pub inherit_env: bool,
    /// Labels that run here, or do not.
    pub labels: Vec<(String, bool)>,
    /// Labels that stand for images.
    pub images: Vec<(String, ContainerSpec)>,
    /// Whether every label must stand for one.
    pub images_only: bool,
    /// When images are pulled.
    pub pull: Pull,
    /// Where actions and workflows of other repositories are looked for.
    pub places: Places,
    /// Whether actions are built in at all.
    pub builtin_actions: bool,
    /// Bytes of the repository's cache entries.
    pub quota: Option<u64>,
    /// When the workspaces of jobs are kept.
    pub keep: kept::Keep,
    /// Jobs at once.
    pub jobs: usize,
    /// How it is shown.
    pub output: Output,
}
