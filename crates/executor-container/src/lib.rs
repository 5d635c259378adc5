//! Containers of whatever engine a machine has, Docker or Podman, over the Docker API.
//!
//! An [`Engine`] is found once a call. What takes time is a [`Task`]: it gives its output through a
//! pipe and tells its end through another, so that the loop of a job treats a process in a container
//! like one of its own. Everything made carries the label of its run, by which [`Engine::sweep`]
//! finds what a killed Trainyard left behind.
//!
//! Deliberately absent: engines on other machines (folders are mounted), Windows containers,
//! BuildKit (builds go through the engine's classic builder), Swarm.

mod auth;
mod container;
mod context;
mod engine;
mod error;
mod health;
mod image;
mod options;
mod podman;
mod ports;
mod process;
mod progress;
mod pull;
mod raw;
mod set;
mod sweep;
mod task;
mod values;
mod volumes;

pub use auth::AuthFile;
pub use container::{Create, Running};
pub use engine::{Engine, EngineKind, Found, Search, search};
pub use error::ContainerError;
pub use image::{Build, Built, Credentials, Pull, Source, registry};
pub use options::{Options, parse as parse_options};
pub use podman::card_kind;
pub use ports::{Port, parse as parse_port};
pub use process::{Exec, Held, OnStart};
pub use set::{GiveBack, Member, SetPlan, SetState, SharedSet};
pub use sweep::{LABEL, RUN_LABEL, Swept};
pub use task::{Task, TaskOutput};
pub use values::size;
pub use volumes::{Volume, parse as parse_volume};
