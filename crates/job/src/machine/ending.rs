//! How a step ends: what its process and its files say, and what the `steps` context keeps of it.

use std::sync::Arc;

use trainyard_model::{Object, Outcome, Value};

use super::{
    Action, Annotation, AnnotationLevel, Ended, Exit, JobMachine, MarkEnd, ProcessId, Stage,
    Status, StepReport, put,
};
use crate::files::{FileCommands, parse_pairs, parse_path};
use crate::spec::StepKind;

/// Reasons that one process may give.
const MAX_REASONS: usize = 20;

/// Bytes of a step's summary.
const MAX_SUMMARY: usize = 1024 * 1024;

impl JobMachine {
    pub(super) fn fail_annotation(&mut self, top: usize, message: &str) {
        let remark = Annotation::bare(AnnotationLevel::Error, self.masker.mask(message));
        self.actions.push(Action::Annotate(top, remark));
    }

    pub(super) fn exited(&mut self, process: ProcessId, exit: Exit, files: &FileCommands) {
        let Some(id) = self.processes.remove(&process) else { return };
        self.current_mut(id, |c| c.process = None);
        let top = self.top_step(id);
        self.take_files(id, top, files);
        let frame = self.frame(id);
        let current = frame.and_then(|f| f.current.as_ref());
        let (stopped, refused) = current.map_or((None, None), |c| (c.stopped, c.failed.clone()));
        let (mut outcome, mut reason) = match &exit {
            Exit::Code(0) => (Outcome::Success, None),
            Exit::Code(code) => {
                (Outcome::Failure, Some(format!("Process completed with exit code {code}.")))
            }
            // As shells and .NET count it.
            Exit::Signal(signal) => {
                let code = 128 + signal;
                (Outcome::Failure, Some(format!("Process completed with exit code {code}.")))
            }
            Exit::NotStarted(why) => (Outcome::Failure, Some(why.clone())),
        };
        match stopped {
            Some(Outcome::TimedOut) if !self.timed_out => {
                outcome = Outcome::Failure;
                reason = Some("The action has timed out.".into());
            }
            Some(_) => {
                outcome = Outcome::Cancelled;
                reason = Some("The operation was canceled.".into());
            }
            None => {}
        }
        if outcome == Outcome::Success && refused.is_some() {
            (outcome, reason) = (Outcome::Failure, refused);
        }
        // An action says itself what is wrong: the runner adds nothing to its code.
        let silent = matches!(exit, Exit::Code(_))
            && stopped.is_none()
            && matches!(self.step_spec(id).map(|s| s.kind), Some(StepKind::Uses { .. }));
        if let Some(reason) = reason.as_ref().filter(|_| !silent) {
            self.actions.push(Action::Log(top, format!("##[error]{reason}")));
            if outcome == Outcome::Failure {
                self.fail_annotation(top, reason);
            }
        }
        self.end_step(id, outcome, reason);
        self.advance(id);
    }

    fn take_files(&mut self, id: usize, top: usize, files: &FileCommands) {
        let fault = |machine: &mut Self, file: &str, why: String| {
            let message = format!("Unable to process file command '{file}' successfully.");
            machine.actions.push(Action::Log(top, format!("##[error]{message}")));
            machine.actions.push(Action::Log(top, format!("##[error]{why}")));
            machine.current_mut(id, |c| c.failed = Some(format!("{message} {why}")));
        };
        let env = parse_pairs(&files.env);
        for (name, value) in env.pairs {
            self.set_env(id, top, name, value);
        }
        if let Some(why) = env.fault {
            fault(self, "env", why);
        }
        let outputs = parse_pairs(&files.output);
        for (name, value) in outputs.pairs {
            self.current_mut(id, |c| c.outputs.insert(name, Value::from(value)));
        }
        if let Some(why) = outputs.fault {
            fault(self, "output", why);
        }
        let state = parse_pairs(&files.state);
        for (name, value) in state.pairs {
            put(&mut self.use_of(id).state, name, value);
        }
        if let Some(why) = state.fault {
            fault(self, "state", why);
        }
        self.add_path(id, parse_path(&files.path));
        for line in String::from_utf8_lossy(&files.reasons).lines().take(MAX_REASONS) {
            let line = self.masker.mask(line);
            self.actions.push(Action::Reason(top, line));
        }
        if files.summary.len() > MAX_SUMMARY {
            let line = format!(
                "$GITHUB_STEP_SUMMARY upload aborted, supports content up to a size of {}k, got {}k.",
                MAX_SUMMARY / 1024,
                files.summary.len() / 1024
            );
            self.actions.push(Action::Log(top, format!("##[error]{line}")));
            self.fail_annotation(top, &line);
        } else if !files.summary.is_empty() {
            let text = String::from_utf8_lossy(&files.summary);
            self.actions.push(Action::Summary(top, self.masker.mask(&text)));
        }
    }

    pub(super) fn set_env(&mut self, id: usize, top: usize, name: String, value: String) {
        if name.eq_ignore_ascii_case("NODE_OPTIONS") {
            let line = format!("Can't store {name} output parameter using '$GITHUB_ENV' command.");
            self.actions.push(Action::Log(top, format!("##[error]{line}")));
            self.fail_annotation(top, &line);
            return;
        }
        let strand = self.strand(id);
        if strand.background.is_some() {
            put(&mut strand.deferred.env, name.clone(), value.clone());
        }
        put(&mut strand.env, name, value);
    }

    pub(super) fn add_path(&mut self, id: usize, folders: Vec<String>) {
        let strand = self.strand(id);
        if strand.background.is_some() {
            strand.deferred.path.extend(folders.iter().cloned());
        }
        prepend(&mut strand.path, folders);
    }

    /// Ends the step that a strand is at.
    pub(super) fn end_step(&mut self, id: usize, outcome: Outcome, reason: Option<String>) {
        let Some(step) = self.step_spec(id) else { return };
        let broken = self.current(id).is_some_and(|c| c.unforgivable);
        let mut forgiven = false;
        if let Some(template) = step.continue_on_error.as_ref().filter(|_| !broken) {
            // A boolean or nothing: the text 'false' forgives no more than the text 'true'.
            match template.evaluate(&self.environment(id, true)) {
                Ok(Value::Bool(forgive)) => forgiven = forgive && outcome == Outcome::Failure,
                Ok(other) => {
                    let top = self.top_step(id);
                    let line = format!(
                        "##[error]continue-on-error: a boolean is expected, not '{}'",
                        other.to_text()
                    );
                    self.actions.push(Action::Log(top, line));
                }
                Err(error) => {
                    let (top, message) = (self.top_step(id), self.message_of(&error));
                    let line = format!("##[error]continue-on-error: {message}");
                    self.actions.push(Action::Log(top, line));
                }
            }
        }
        let conclusion = if forgiven { Outcome::Success } else { outcome };
        let top = self.top_step(id);
        let Some(strand) = self.strands.get_mut(&id) else { return };
        let in_job = strand.frames.len() == 1;
        let background = strand.background.is_some();
        let Some(frame) = strand.frames.last_mut() else { return };
        let Some(current) = frame.current.take() else { return };
        match conclusion {
            Outcome::Failure | Outcome::TimedOut => frame.status = Status::Failure,
            Outcome::Cancelled if frame.status == Status::Success => {
                frame.status = Status::Cancelled;
            }
            _ => {}
        }
        // Stages before and after the step are not seen as it.
        if current.stage == Stage::Main {
            record_step(&mut frame.scope, &step.id, current.outputs.clone(), outcome, conclusion);
        }
        let main = in_job && current.stage == Stage::Main;
        if in_job && background {
            let (name, outputs) = (current.shown, current.outputs);
            strand.deferred.ended = Some(Ended { name, outcome, conclusion, outputs });
        } else if main {
            let ended = (outcome, conclusion);
            let end = MarkEnd::new(current.index, current.shown, ended, &current.outputs);
            self.mark(current.index, end);
        }
        if in_job {
            let reason = reason.map(|r| self.masker.mask(&r));
            self.actions.push(Action::StepEnded(top, StepReport { outcome, conclusion, reason }));
        }
    }
}

/// The newest folder comes first; one that is there already moves to the front.
pub(super) fn prepend(path: &mut Vec<String>, folders: Vec<String>) {
    for folder in folders {
        path.retain(|p| *p != folder);
        path.insert(0, folder);
    }
}

/// Writes a step into the `steps` context; steps without an id of their own are not seen there.
pub(super) fn record_step(
    scope: &mut Object,
    id: &str,
    outputs: Object,
    outcome: Outcome,
    conclusion: Outcome,
) {
    if id.starts_with("__") {
        return;
    }
    let word = |o: Outcome| match o {
        Outcome::TimedOut | Outcome::Lost => "failure",
        other => other.as_str(),
    };
    scope.insert(
        id,
        Value::object([
            ("outputs", Value::Object(Arc::new(outputs))),
            ("outcome", Value::from(word(outcome))),
            ("conclusion", Value::from(word(conclusion))),
        ]),
    );
}
