//! The log of a job, and the way of a step's output into it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use trainyard_job::mask::Masker;
use trainyard_job::{Action, Annotation, Input, JobMachine, ProcessId};

use crate::host::reader::Sink;

/// The log and the masker, apart from the machine so that both can be borrowed.
pub(super) struct Log {
    pub(super) file: BufWriter<File>,
    pub(super) at: u64,
    /// When something was written first that is not in the file yet.
    pub(super) dirty: Option<Instant>,
    pub(super) masker: Masker,
    /// Steps that run side by side take turns in the one file.
    pub(super) pieces: BTreeMap<usize, Vec<(u64, u64)>>,
    pub(super) failed: bool,
}

impl Log {
    pub(super) fn write(&mut self, step: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.file.write_all(bytes).is_err() {
            self.failed = true;
            return;
        }
        self.dirty.get_or_insert_with(Instant::now);
        let from = self.at;
        self.at += bytes.len() as u64;
        let pieces = self.pieces.entry(step).or_default();
        match pieces.last_mut() {
            Some(last) if last.1 == from => last.1 = self.at,
            _ => pieces.push((from, self.at)),
        }
    }
}

pub(super) struct StepSink<'a> {
    pub(super) log: &'a mut Log,
    pub(super) step: usize,
    pub(super) machine: &'a mut JobMachine,
    pub(super) process: ProcessId,
    pub(super) actions: &'a mut VecDeque<Action>,
    pub(super) workspace: &'a Path,
    /// A path that the step named, on this machine.
    pub(super) outside: &'a dyn Fn(&str) -> String,
}

impl Sink for StepSink<'_> {
    fn masker(&self) -> &Masker {
        &self.log.masker
    }

    fn write(&mut self, bytes: &[u8]) {
        self.log.write(self.step, bytes);
    }

    fn line(&mut self, line: &str) {
        for action in self.machine.step(Input::Line(self.process, line.to_owned())) {
            match action {
                // In order with the lines around them.
                Action::Log(step, text) => log_line(self.log, step, &text),
                Action::Mask(_) => self.log.masker = self.machine.masker().clone(),
                // The next line may be the first that it matches.
                Action::ReadMatcher(process, file) => {
                    let text = read_matcher(self.workspace, &(self.outside)(&file));
                    for action in self.machine.step(Input::Matchers(process, text)) {
                        match action {
                            Action::Log(step, text) => log_line(self.log, step, &text),
                            other => self.actions.push_back(other),
                        }
                    }
                }
                other => self.actions.push_back(other),
            }
        }
    }

    fn wants_all(&self) -> bool {
        self.machine.matches_lines()
    }
}

/// Bytes of a file of problem matchers.
const MAX_MATCHER_FILE: u64 = 4 * 1024 * 1024;

pub(super) fn read_matcher(workspace: &Path, file: &str) -> Result<String, String> {
    let path = workspace.join(file);
    let said = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let size = path.metadata().map_err(|e| said(&e))?.len();
    if size > MAX_MATCHER_FILE {
        return Err(said(&"the file is too large"));
    }
    std::fs::read_to_string(&path).map_err(|e| said(&e))
}

/// Finds the file that a problem matcher named. One that is not there, or not in the workspace,
/// is left out, with the position in it (`OutputManager.cs`).
pub(super) fn settle_file(annotation: &mut Annotation, workspace: &Path) {
    let from = annotation.from_path.take().unwrap_or_default();
    let Some(file) = annotation.file.take() else { return };
    let mut path = PathBuf::from(&file);
    if path.is_relative() && !from.is_empty() {
        path = Path::new(&from).parent().unwrap_or(Path::new("")).join(path);
    }
    let full = std::fs::canonicalize(workspace.join(path)).ok().filter(|p| p.is_file());
    let root = std::fs::canonicalize(workspace).ok();
    let inside = full.zip(root).and_then(|(f, r)| Some(f.strip_prefix(r).ok()?.to_owned()));
    match inside {
        Some(inside) => annotation.file = Some(inside.to_string_lossy().into_owned()),
        None => (annotation.line, annotation.column) = (None, None),
    }
}

pub(super) fn log_line(log: &mut Log, step: usize, text: &str) {
    let mut out = Vec::with_capacity(text.len() + 1);
    log.masker.mask_into(text.as_bytes(), &mut out);
    out.push(b'\n');
    log.write(step, &out);
}
