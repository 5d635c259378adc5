//! The step machine of the runner side: steps, commands, environment files, masking.
//!
//! [`JobMachine`] is fed [`Input`]s and answers with [`Action`]s; it starts no process, reads no
//! clock and no file. Ordinary log lines bypass it: the shell hands over only lines that may hold
//! a command ([`command::may_hold_command`]) and masks the rest with [`mask::Masker`].
//! The rules are those of actions/runner `src/Runner.Worker`.

pub mod command;
pub mod container;
pub mod files;
mod machine;
pub mod mask;
pub mod matcher;
pub mod seal;
pub mod shell;
pub mod spec;

pub use machine::{
    Action, Annotation, AnnotationLevel, Answer, BuiltinSpec, Exit, Input, JobContexts, JobMachine,
    Loaded, LoadedSet, MarkEnd, MarkUse, Places, Process, ProcessId, ProcessKind, Runs, Stage,
    StepMark, StepNeed, StepReport, StopKind, sealed,
};
