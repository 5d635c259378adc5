//! Kubeflow pipelines, as the `kfp` SDK compiles them: read, check, lower to a plan, and answer what
//! the engine asks.
//!
//! The rules are those of kubeflow/pipelines (`backend/src/v2/driver`, `component`, `expression`);
//! where the backend and `kfp local` differ, the backend counts, save for lists of loops within loops,
//! which nest as the SDK's types say.
//!
//! Deliberately absent: files, processes, storage. What a task's process finds is built here as text
//! (`executor_input.rs`); the shell lays it.

mod argo;
mod bind;
mod bundle;
mod check;
mod condition;
mod executor_input;
mod fingerprint;
mod install;
mod lower;
mod placeholder;
mod platform;
mod semantics;
mod spec;
mod values;
mod when;

pub use bind::{BadParameters, root_inputs};
pub use bundle::{Artifact, Bundle};
pub use condition::Condition;
pub use executor_input::{Collected, ExecutorInput, OutputPlaces, Outputs, collect};
pub use fingerprint::fingerprint;
pub use install::{Install, install};
pub use lower::{Definition, Lowered, lower};
pub use placeholder::{fill, fill_text};
pub use platform::{Claim, EnvFrom, FilesFrom, Kind, Platform};
pub use semantics::{PipelineSemantics, RunFacts};
pub use spec::*;
pub use values::{of_text, text_of, whole};

pub(crate) use spec::number;
