//! The history of runs: their records, and the tables that people ask for. SQLite.
//!
//! What the engine decided is kept as records, in order; jobs, steps and notes are what follows
//! from them and what runners report. Every schema that was released can be opened.
//!
//! Deliberately absent, until there is a server: an outbox, sealed secrets, snapshots, retention.

mod journal;
mod lineage;

pub use journal::{JobRow, Journal, NoteRow, Parent, RunRow, StepRow};
pub use lineage::{ArtifactUse, PipelineArtifact, TaskResult};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("the history cannot be used: {0}")]
    Database(#[from] rusqlite::Error),
    /// It was written by a newer version.
    #[error("the history was written by a newer version of Trainyard")]
    Newer,
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;
