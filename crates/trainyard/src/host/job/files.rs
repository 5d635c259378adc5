//! The files through which a process gives commands: made empty, read when it has ended.

use std::path::Path;

use trainyard_job::ProcessId;
use trainyard_job::files::FileCommands;

/// The files of commands that each process finds empty.
pub(super) const COMMAND_FILES: &[&str] = &[
    "set_env",
    "set_output",
    "add_path",
    "save_state",
    "step_summary",
    "artifacts",
    "artifacts_list",
];

/// Bytes of one file that are read; a larger one is cut, and so is refused by what reads it.
const MAX_COMMAND_FILE: u64 = 64 * 1024 * 1024;

pub(super) fn read_files(folder: &Path, id: ProcessId) -> FileCommands {
    let read = |name: &str| {
        let path = folder.join(format!("{name}_{}", id.0));
        // Not every process makes each of them.
        let Ok(size) = path.metadata().map(|m| m.len()) else { return Vec::new() };
        let bytes = match size {
            0 => Vec::new(),
            size if size > MAX_COMMAND_FILE => b"\n(this file is too large)".to_vec(),
            _ => std::fs::read(&path).unwrap_or_default(),
        };
        let _ = std::fs::remove_file(&path);
        bytes
    };
    // Declared build subjects mean something only to GitHub's own attestations.
    for name in ["artifacts", "artifacts_list"] {
        let _ = std::fs::remove_file(folder.join(format!("{name}_{}", id.0)));
    }
    FileCommands {
        env: read("set_env"),
        output: read("set_output"),
        path: read("add_path"),
        state: read("save_state"),
        reasons: read("reasons"),
        summary: read("step_summary"),
    }
}
