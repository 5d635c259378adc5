//! The host executor: processes on this machine, in a workspace of their own.

pub mod cgroup;
pub mod containers;
pub mod copy;
pub mod environment;
pub mod globs;
pub mod hash_files;
pub mod job;
pub mod process;
pub mod reader;
pub mod view;
pub mod workspace;
