//! Limits of a run.

/// Instances of one run.
pub const MAX_INSTANCES: usize = 200_000;
/// Bytes of the outputs of one job (GitHub's documentation: 1 MB).
pub const MAX_OUTPUT_BYTES: usize = 1024 * 1024;
/// Bytes of all outputs of a run (GitHub's documentation: 50 MB).
pub const MAX_RUN_OUTPUT_BYTES: usize = 50 * 1024 * 1024;
