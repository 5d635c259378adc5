//! Steps one after another (actions/runner `StepsRunner.cs`, `CompositeActionHandler.cs`), and
//! those in the background (DESIGN: step machine).

use std::sync::Arc;

use trainyard_expression::{EvalError, Need, Template, TemplateError, evaluate};
use trainyard_model::{Object, Outcome, Value};

use super::contexts::action_properties;
use super::{
    Action, Annotation, AnnotationLevel, Answer, CompositeFrame, Current, Deferred, Ended, Exit,
    Frame, JobMachine, Loaded, MAIN, MAX_BACKGROUND, Process, ProcessId, ProcessKind, Status,
    StepNeed, StepReport, StopKind, Strand, put,
};
use crate::files::{FileCommands, parse_pairs, parse_path};
use crate::shell;
use crate::spec::{CompositeSpec, InputSpec, StepKind, StepSpec};

/// Bytes of a step's summary.
const MAX_SUMMARY: usize = 1024 * 1024;
/// Composites within composites (`Constants.CompositeActionsMaxDepth`).
const MAX_COMPOSITE_DEPTH: usize = 10;
/// The keys of `github` that become variables (`GitHubContext.cs`).
const GITHUB_VARIABLES: &[&str] = &[
    "action",
    "action_path",
    "action_ref",
    "action_repository",
    "actor",
    "actor_id",
    "api_url",
    "base_ref",
    "event_name",
    "event_path",
    "graphql_url",
    "head_ref",
    "job",
    "ref",
    "ref_name",
    "ref_protected",
    "ref_type",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "retention_days",
    "run_attempt",
    "run_id",
    "run_number",
    "server_url",
    "sha",
    "triggering_actor",
    "workflow",
    "workflow_ref",
    "workflow_sha",
    "workspace",
];

/// Why a step does not begin now.
enum Hold {
    /// An answer is asked for.
    Asked,
    /// It fails with this message.
    Failed(String),
    /// It fails, and `continue-on-error` does not count (`StepsRunner.cs`: the `if` or `env`).
    Broken(String),
}

impl Hold {
    fn broken(self) -> Self {
        match self {
            Hold::Failed(message) => Hold::Broken(message),
            other => other,
        }
    }
}

/// The name under which a step shows before its expressions are evaluated.
pub(super) fn static_name(step: &StepSpec) -> String {
    let text = |t: &Template| match &t.kind {
        trainyard_expression::TemplateKind::Expression(e) => format!("${{{{ {} }}}}", e.text),
        _ => t.as_str().unwrap_or_default().to_owned(),
    };
    if let Some(name) = step.name.as_ref().map(text).filter(|n| !n.trim().is_empty()) {
        return name;
    }
    match &step.kind {
        StepKind::Run { script, .. } => run_name(&text(script)),
        StepKind::Uses { action, .. } => format!("Run {action}"),
        StepKind::Wait(_) => "Wait".into(),
        StepKind::WaitAll(_) => "Wait for all".into(),
        StepKind::Cancel(_) => "Cancel".into(),
    }
}

fn run_name(script: &str) -> String {
    let first = script.trim_start().lines().next().unwrap_or_default().trim_end();
    format!("Run {first}")
}

impl JobMachine {
    /// Goes on with a strand until it waits for something.
    pub(super) fn advance(&mut self, id: usize) {
        loop {
            if self.finished {
                return;
            }
            let Some(frame) = self.strands.get_mut(&id).and_then(|s| s.frames.last_mut()) else {
                return;
            };
            if frame.current.is_none() {
                if frame.next >= frame.steps.len() {
                    if !self.frame_over(id) {
                        return;
                    }
                    continue;
                }
                let index = frame.next;
                frame.next += 1;
                frame.answers.clear();
                frame.current = Some(Current::new(index));
            }
            match self.begin_step(id) {
                Ok(true) => {}
                Ok(false) | Err(Hold::Asked) => return,
                Err(hold @ (Hold::Failed(_) | Hold::Broken(_))) => {
                    let top = self.top_step(id);
                    let (message, broken) = match hold {
                        Hold::Broken(message) => (message, true),
                        Hold::Failed(message) => (message, false),
                        Hold::Asked => return,
                    };
                    self.current_mut(id, |c| c.unforgivable = broken);
                    self.actions.push(Action::Log(top, format!("##[error]{message}")));
                    self.fail_annotation(top, &message);
                    self.end_step(id, Outcome::Failure, Some(message));
                }
            }
        }
    }

    /// The innermost list of a strand is done; false if the strand rests.
    fn frame_over(&mut self, id: usize) -> bool {
        let nested = self.strands.get(&id).is_some_and(|s| s.frames.len() > 1);
        if nested {
            self.end_composite(id);
            return true;
        }
        if id == MAIN {
            self.drain();
        } else {
            self.background_over(id);
        }
        false
    }

    /// The step that a strand is at.
    fn step_spec(&self, id: usize) -> Option<StepSpec> {
        let frame = self.strands.get(&id)?.frames.last()?;
        frame.steps.get(frame.current.as_ref()?.index).cloned()
    }

    fn text(&mut self, id: usize, template: &Template) -> Result<String, Hold> {
        let result = template.evaluate_text(&self.environment(id, true));
        result.map_err(|e| self.hold(id, e))
    }

    fn ask(&mut self, id: usize, need: StepNeed) -> Hold {
        self.current_mut(id, |c| c.asked = Some(need.clone()));
        self.actions.push(Action::Ask(need));
        Hold::Asked
    }

    fn hold(&mut self, id: usize, error: TemplateError) -> Hold {
        match error {
            TemplateError::Needs(Need::HashFiles(patterns)) => {
                self.ask(id, StepNeed::HashFiles(patterns))
            }
            error => Hold::Failed(self.message_of(&error)),
        }
    }

    /// Begins the step that a strand is at. True if it is already over.
    fn begin_step(&mut self, id: usize) -> Result<bool, Hold> {
        let Some(step) = self.step_spec(id) else { return Ok(true) };
        let in_job = self.strands.get(&id).is_some_and(|s| s.frames.len() == 1);
        let stopped = self.cancelled || self.strands.get(&id).is_some_and(|s| s.cancelled);
        if id != MAIN && in_job && stopped {
            // Cancelled before it had a process that could be told.
            let reason = "The operation was canceled.".to_owned();
            self.end_step(id, Outcome::Cancelled, Some(reason));
            return Ok(true);
        }
        let control =
            matches!(step.kind, StepKind::Wait(_) | StepKind::WaitAll(_) | StepKind::Cancel(_));
        if let Some(env) = &step.env {
            let pairs = env.evaluate_pairs(&self.environment(id, false));
            let pairs = pairs.map_err(|e| self.hold(id, e).broken())?;
            self.current_mut(id, |c| c.env = pairs);
        }
        if !control && !self.evaluate_condition(id, &step)? {
            self.skip_step(id, &step);
            return Ok(true);
        }
        if step.background && id == MAIN && in_job {
            self.start_background(&step);
            return Ok(true);
        }
        match &step.kind {
            StepKind::Run { .. } => self.begin_run(id, &step, in_job).map(|()| false),
            StepKind::Uses { action, with, .. } => {
                self.begin_uses(id, &step, action, with.as_ref(), in_job)
            }
            _ => {
                self.began(id, &step, in_job, static_name(&step));
                self.current_mut(id, |c| c.waiting = true);
                if let StepKind::Cancel(target) = &step.kind {
                    self.cancel_background(target);
                }
                Ok(self.check_wait())
            }
        }
    }

    fn current_mut(&mut self, id: usize, change: impl FnOnce(&mut Current)) {
        let frame = self.strands.get_mut(&id).and_then(|s| s.frames.last_mut());
        if let Some(current) = frame.and_then(|f| f.current.as_mut()) {
            change(current);
        }
    }

    fn evaluate_condition(&mut self, id: usize, step: &StepSpec) -> Result<bool, Hold> {
        if self.forced {
            return Ok(false);
        }
        let value = evaluate(&step.condition.tree, &self.environment(id, true));
        match value {
            Ok(value) => Ok(value.is_truthy()),
            Err(EvalError::Needs(need)) => Err(self.hold(id, TemplateError::Needs(need))),
            Err(EvalError::Failed { message, .. }) => {
                let place = step.condition.place;
                let message = self.message_of(&TemplateError::Failed { message, place });
                Err(Hold::Broken(format!("The condition cannot be evaluated: {message}")))
            }
        }
    }

    /// Whether the step that runs in a strand goes on in spite of a cancel: the condition of the
    /// innermost step, asked again.
    pub(super) fn condition_holds(&self, id: usize) -> bool {
        let Some(frame) = self.strands.get(&id).and_then(|s| s.frames.last()) else {
            return false;
        };
        let Some(step) = frame.current.as_ref().and_then(|c| frame.steps.get(c.index)) else {
            return false;
        };
        evaluate(&step.condition.tree, &self.cancelling_environment(id))
            .is_ok_and(|v| v.is_truthy())
    }

    fn skip_step(&mut self, id: usize, step: &StepSpec) {
        let in_job = self.strands.get(&id).is_some_and(|s| s.frames.len() == 1);
        let reason =
            (!self.forced).then(|| format!("its condition is false: {}", step.condition.text));
        let top = self.top_step(id);
        // Its name is asked for before its condition (`StepsRunner.cs`).
        let script = match &step.kind {
            StepKind::Run { script, .. } => {
                script.evaluate_text(&self.environment(id, true)).ok().map(|s| run_name(&s))
            }
            _ => None,
        };
        self.began(id, step, in_job, script.unwrap_or_else(|| static_name(step)));
        let Some(frame) = self.strands.get_mut(&id).and_then(|s| s.frames.last_mut()) else {
            return;
        };
        frame.current = None;
        record_step(&mut frame.scope, &step.id, Object::new(), Outcome::Skipped, Outcome::Skipped);
        if in_job {
            let report =
                StepReport { outcome: Outcome::Skipped, conclusion: Outcome::Skipped, reason };
            self.actions.push(Action::StepEnded(top, report));
        }
    }

    fn began(&mut self, id: usize, step: &StepSpec, in_job: bool, default: String) {
        if !in_job {
            return;
        }
        let named = step.name.as_ref().map(|t| t.evaluate_text(&self.environment(id, true)));
        let name = match named {
            Some(Ok(name)) if !name.trim().is_empty() => name,
            _ => default,
        };
        let top = self.top_step(id);
        let name = self.masker.mask(&name);
        self.actions.push(Action::StepBegan(top, name));
    }

    fn begin_run(&mut self, id: usize, step: &StepSpec, in_job: bool) -> Result<(), Hold> {
        let StepKind::Run { script, shell, working_directory } = &step.kind else { return Ok(()) };
        let composite = self
            .strands
            .get(&id)
            .and_then(|s| s.frames.last())
            .is_some_and(|f| f.composite.is_some());
        let script = self.text(id, script)?;
        let defaults = if composite { Vec::new() } else { self.spec.defaults.clone() };
        let mut named = match shell {
            Some(template) => Some(self.text(id, template)?),
            None => None,
        };
        let mut directory = match working_directory {
            Some(template) => Some(self.text(id, template)?),
            None => None,
        };
        for level in defaults.iter().rev() {
            if let (None, Some(template)) = (&named, &level.shell) {
                named = Some(self.text(id, template)?);
            }
            if let (None, Some(template)) = (&directory, &level.working_directory) {
                directory = Some(self.text(id, template)?);
            }
        }
        let limit = self.time_limit_of(id, step)?;
        self.began(id, step, in_job, run_name(&script));
        let shell =
            shell::resolve(named.as_deref(), self.contexts.has_bash).map_err(Hold::Failed)?;
        let env = self.process_env(id);
        let top = self.top_step(id);
        self.run_header(top, &script, &shell.shown, id);
        let text = shell::script_text(&shell, &script);
        let kind = ProcessKind::Script { shell, script: text };
        let directory = directory.filter(|d| !d.is_empty());
        self.spawn(id, kind, env, directory, limit);
        Ok(())
    }

    /// What the runner prints before the output of a script.
    fn run_header(&mut self, top: usize, script: &str, shell: &str, id: usize) {
        let mut lines = vec![format!("##[group]{}", run_name(script))];
        lines.extend(script.trim_end().lines().map(str::to_owned));
        lines.push(format!("shell: {shell}"));
        let env = self.env_pairs(id, true);
        if !env.is_empty() {
            lines.push("env:".into());
            lines.extend(env.iter().map(|(k, v)| format!("  {k}: {v}")));
        }
        lines.push("##[endgroup]".into());
        for line in lines {
            self.actions.push(Action::Log(top, line));
        }
    }

    fn time_limit_of(&mut self, id: usize, step: &StepSpec) -> Result<Option<i64>, Hold> {
        let Some(template) = &step.timeout_minutes else { return Ok(None) };
        let value = template.evaluate(&self.environment(id, true)).map_err(|e| self.hold(id, e))?;
        match value {
            // Fractions of a minute are cut, as the runner reads an integer.
            #[allow(clippy::cast_possible_truncation)]
            Value::Number(n) if n.trunc() > 0.0 => Ok(Some((n.trunc() * 60_000.0) as i64)),
            Value::Number(_) => Ok(None),
            other => Err(Hold::Failed(format!(
                "timeout-minutes: Unexpected value '{}'",
                other.to_text()
            ))),
        }
    }

    fn spawn(
        &mut self,
        id: usize,
        kind: ProcessKind,
        mut env: Vec<(String, String)>,
        directory: Option<String>,
        limit: Option<i64>,
    ) {
        let process = ProcessId(self.next_process);
        self.next_process += 1;
        for (variable, file) in [
            ("GITHUB_ENV", "set_env"),
            ("GITHUB_OUTPUT", "set_output"),
            ("GITHUB_PATH", "add_path"),
            ("GITHUB_STATE", "save_state"),
            ("GITHUB_STEP_SUMMARY", "step_summary"),
        ] {
            let path = format!("{}/{file}_{}", self.contexts.command_files, process.0);
            put(&mut env, variable.into(), path);
        }
        let path = self.strand(id).path.clone();
        self.current_mut(id, |c| c.process = Some(process));
        self.processes.insert(process, id);
        let top = self.top_step(id);
        let spec = Process { kind, env, path, directory };
        self.actions.push(Action::Spawn(process, top, Box::new(spec)));
        if let Some(millis) = limit {
            self.actions.push(Action::TimeLimit { process, since: process, millis });
        }
        let Some(strand) = self.strands.get_mut(&id) else { return };
        for composite in strand.frames.iter_mut().filter_map(|f| f.composite.as_mut()) {
            let since = *composite.first.get_or_insert(process);
            if let Some(millis) = composite.limit {
                self.actions.push(Action::TimeLimit { process, since, millis });
            }
        }
    }

    /// The variables of a process: the `env` context, then what the runner itself sets.
    fn process_env(&self, id: usize) -> Vec<(String, String)> {
        let mut env = self.env_pairs(id, true);
        let frame = self.strands.get(&id).and_then(|s| s.frames.last());
        let composite = frame.and_then(|f| f.composite.as_ref());
        let step_id = frame
            .and_then(|f| f.current.as_ref().and_then(|c| f.steps.get(c.index)))
            .map(|s| s.id.clone())
            .unwrap_or_default();
        let action = composite.map_or(step_id, |c| c.action.clone());
        let special = action_properties(composite, action);
        for name in GITHUB_VARIABLES {
            let value = match special.iter().find(|(n, _)| n == name) {
                // Run steps of a job have no action path at all.
                Some((_, path)) if *name == "action_path" && path.is_empty() => continue,
                Some((_, value)) => value.clone(),
                None => match self.contexts.github.get(name) {
                    Some(value) => value.to_text().into_owned(),
                    None => continue,
                },
            };
            put(&mut env, format!("GITHUB_{}", name.to_ascii_uppercase()), value);
        }
        if let Value::Object(runner) = &self.contexts.runner {
            for (name, value) in runner.iter() {
                let key = format!("RUNNER_{}", name.to_ascii_uppercase());
                put(&mut env, key, value.to_text().into_owned());
            }
        }
        put(&mut env, "GITHUB_ACTIONS".into(), "true".into());
        if !env.iter().any(|(k, _)| k == "CI") {
            env.push(("CI".into(), "true".into()));
        }
        env
    }

    fn begin_uses(
        &mut self,
        id: usize,
        step: &StepSpec,
        action: &str,
        with: Option<&Template>,
        in_job: bool,
    ) -> Result<bool, Hold> {
        let need = StepNeed::LoadAction(action.to_owned());
        let frame = self.strands.get(&id).and_then(|s| s.frames.last());
        let Some(answer) = frame.and_then(|f| f.answers.get(&need)).cloned() else {
            return Err(self.ask(id, need));
        };
        let given = match with {
            Some(template) => {
                let pairs = template.evaluate_pairs(&self.environment(id, true));
                pairs.map_err(|e| self.hold(id, e))?
            }
            None => Vec::new(),
        };
        let limit = self.time_limit_of(id, step)?;
        self.began(id, step, in_job, format!("Run {action}"));
        let loaded = match answer {
            Answer::Action(Ok(loaded)) => loaded,
            Answer::Action(Err(message)) | Answer::Hash(Err(message)) => {
                return Err(Hold::Failed(message));
            }
            Answer::Hash(Ok(_)) => return Err(Hold::Asked),
        };
        match loaded {
            Loaded::Builtin(declared) => {
                let inputs = self.inputs(id, &declared, given)?;
                let env = self.process_env(id);
                let top = self.top_step(id);
                self.uses_header(top, action, &inputs);
                let kind = ProcessKind::Builtin { action: action.to_owned(), inputs };
                self.spawn(id, kind, env, None, limit);
                Ok(false)
            }
            Loaded::Composite(spec, path) => {
                let depth = self.strands.get(&id).map_or(0, |s| s.frames.len());
                if depth > MAX_COMPOSITE_DEPTH {
                    return Err(Hold::Failed(format!(
                        "Composite action depth exceeded max depth {MAX_COMPOSITE_DEPTH}"
                    )));
                }
                let inputs = self.inputs(id, &spec.inputs, given)?;
                let top = self.top_step(id);
                self.uses_header(top, action, &inputs);
                self.enter_composite(id, step, spec, path, inputs, limit);
                Ok(true)
            }
        }
    }

    fn uses_header(&mut self, top: usize, action: &str, inputs: &[(String, String)]) {
        self.actions.push(Action::Log(top, format!("##[group]Run {action}")));
        if inputs.iter().any(|(_, v)| !v.is_empty()) {
            self.actions.push(Action::Log(top, "with:".into()));
        }
        for (key, value) in inputs.iter().filter(|(_, v)| !v.is_empty()) {
            self.actions.push(Action::Log(top, format!("  {key}: {value}")));
        }
        self.actions.push(Action::Log(top, "##[endgroup]".into()));
    }

    /// Every declared input, by the caller or by default, then what the action does not declare.
    fn inputs(
        &mut self,
        id: usize,
        declared: &[InputSpec],
        given: Vec<(String, String)>,
    ) -> Result<Vec<(String, String)>, Hold> {
        let mut inputs = Vec::new();
        for input in declared {
            let own = given.iter().find(|(k, _)| k.eq_ignore_ascii_case(&input.name));
            let value = match (own, &input.default) {
                (Some((_, value)), _) => value.clone(),
                (None, Some(default)) => self.text(id, default)?,
                (None, None) => String::new(),
            };
            if let (Some(_), Some(message)) = (own, &input.deprecation) {
                let top = self.top_step(id);
                let line = format!(
                    "##[warning]Input '{}' has been deprecated with message: {message}",
                    input.name
                );
                self.actions.push(Action::Log(top, line));
            }
            inputs.push((input.name.clone(), value));
        }
        for (key, value) in given {
            if declared.iter().any(|d| d.name.eq_ignore_ascii_case(&key)) {
                continue;
            }
            let known: Vec<String> = declared.iter().map(|d| format!("'{}'", d.name)).collect();
            let top = self.top_step(id);
            self.actions.push(Action::Log(
                top,
                format!(
                    "##[warning]Unexpected input(s) '{key}', valid inputs are [{}]",
                    known.join(", ")
                ),
            ));
            inputs.push((key, value));
        }
        Ok(inputs)
    }

    fn enter_composite(
        &mut self,
        id: usize,
        step: &StepSpec,
        spec: Arc<CompositeSpec>,
        path: String,
        inputs: Vec<(String, String)>,
        limit: Option<i64>,
    ) {
        // The caller's own variables go down; what is global comes anyway.
        let frame = self.strands.get(&id).and_then(|s| s.frames.last());
        let mut env =
            frame.and_then(|f| f.composite.as_ref()).map(|c| c.env.clone()).unwrap_or_default();
        for (key, value) in
            frame.and_then(|f| f.current.as_ref()).map(|c| c.env.clone()).unwrap_or_default()
        {
            put(&mut env, key, value);
        }
        let inputs = Value::object(inputs.into_iter().map(|(k, v)| (k, Value::from(v))));
        let composite = CompositeFrame {
            spec: Arc::clone(&spec),
            inputs,
            path,
            env,
            action: step.id.clone(),
            limit,
            first: None,
        };
        let steps: Arc<[StepSpec]> = spec.steps.clone().into();
        self.strand(id).frames.push(Frame::new(steps, Some(composite)));
    }

    fn end_composite(&mut self, id: usize) {
        let Some(spec) = self
            .strands
            .get(&id)
            .and_then(|s| s.frames.last())
            .and_then(|f| f.composite.as_ref())
            .map(|c| Arc::clone(&c.spec))
        else {
            return;
        };
        // Outputs count even if the action failed.
        let mut outputs = Object::new();
        let mut fault = None;
        for (name, template) in &spec.outputs {
            match template.evaluate_text(&self.environment(id, false)) {
                Ok(text) => outputs.insert(name.as_str(), Value::from(text)),
                Err(error) => fault = Some(format!("output '{name}': {}", self.message_of(&error))),
            }
        }
        let status = self.strand(id).frames.pop().map_or(Status::Success, |f| f.status);
        self.current_mut(id, |c| c.outputs = outputs);
        if let Some(message) = &fault {
            let top = self.top_step(id);
            self.actions.push(Action::Log(top, format!("##[error]{message}")));
        }
        let outcome = match (status, fault.is_some()) {
            (Status::Cancelled, _) => Outcome::Cancelled,
            (Status::Failure, _) | (_, true) => Outcome::Failure,
            (Status::Success, false) => Outcome::Success,
        };
        self.end_step(id, outcome, fault);
    }

    fn fail_annotation(&mut self, top: usize, message: &str) {
        let remark = Annotation::bare(AnnotationLevel::Error, self.masker.mask(message));
        self.actions.push(Action::Annotate(top, remark));
    }

    pub(super) fn exited(&mut self, process: ProcessId, exit: Exit, files: &FileCommands) {
        let Some(id) = self.processes.remove(&process) else { return };
        self.current_mut(id, |c| c.process = None);
        let top = self.top_step(id);
        self.take_files(id, top, files);
        let frame = self.strands.get(&id).and_then(|s| s.frames.last());
        let current = frame.and_then(|f| f.current.as_ref());
        let (stopped, refused) = current.map_or((None, None), |c| (c.stopped, c.failed.clone()));
        let (mut outcome, mut reason) = match &exit {
            Exit::Code(0) => (Outcome::Success, None),
            Exit::Code(code) => {
                (Outcome::Failure, Some(format!("Process completed with exit code {code}.")))
            }
            Exit::Signal(signal) => {
                (Outcome::Failure, Some(format!("Process was ended by signal {signal}.")))
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
        if let Some(reason) = &reason {
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
        // Only later stages of an action read states; a run step has none.
        if let Some(why) = parse_pairs(&files.state).fault {
            fault(self, "state", why);
        }
        self.add_path(id, parse_path(&files.path));
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
    fn end_step(&mut self, id: usize, outcome: Outcome, reason: Option<String>) {
        let Some(step) = self.step_spec(id) else { return };
        let broken = self.strands.get(&id).and_then(|s| s.frames.last());
        let broken = broken.and_then(|f| f.current.as_ref()).is_some_and(|c| c.unforgivable);
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
        record_step(&mut frame.scope, &step.id, current.outputs.clone(), outcome, conclusion);
        if in_job && background {
            strand.deferred.ended = Some(Ended { outcome, conclusion, outputs: current.outputs });
        }
        if in_job {
            let reason = reason.map(|r| self.masker.mask(&r));
            self.actions.push(Action::StepEnded(top, StepReport { outcome, conclusion, reason }));
        }
    }

    // Background steps.

    /// Starts the step that the job is at in a strand of its own, now or when there is room.
    fn start_background(&mut self, step: &StepSpec) {
        let main = self.strand(MAIN);
        let (env, path) = (main.env.clone(), main.path.clone());
        let Some(frame) = main.frames.last_mut() else { return };
        let Some(current) = frame.current.take() else { return };
        let mut own = step.clone();
        own.background = false;
        // Its condition was true when it was reached, and is not asked again.
        own.condition.tree = always();
        let mut list = Frame::new(Arc::from(vec![own]), None);
        list.scope = frame.scope.clone();
        let id = self.next_strand;
        self.next_strand += 1;
        self.strands.insert(
            id,
            Strand {
                frames: vec![list],
                env,
                path,
                background: Some(current.index),
                deferred: Deferred::default(),
                cancelled: false,
            },
        );
        if self.running_background() < MAX_BACKGROUND {
            self.advance(id);
        } else {
            self.queued.push_back(id);
        }
    }

    fn running_background(&self) -> usize {
        self.strands
            .iter()
            .filter(|(id, s)| {
                s.background.is_some() && s.deferred.ended.is_none() && !self.queued.contains(id)
            })
            .count()
            // The one that is being started is counted too.
            .saturating_sub(1)
    }

    fn background_over(&mut self, id: usize) {
        let strand = self.strand(id);
        if strand.deferred.ended.is_none() {
            strand.deferred.ended = Some(Ended {
                outcome: Outcome::Skipped,
                conclusion: Outcome::Skipped,
                outputs: Object::new(),
            });
        }
        if let Some(next) = self.queued.pop_front() {
            self.advance(next);
        }
        if self.draining {
            self.drain();
        } else if self.check_wait() {
            self.advance(MAIN);
        }
    }

    fn background_of(&self, target: &str) -> Option<usize> {
        let steps = &self.spec.steps;
        let index = steps.iter().position(|s| s.id.eq_ignore_ascii_case(target))?;
        self.strands.iter().find(|(_, s)| s.background == Some(index)).map(|(id, _)| *id)
    }

    fn cancel_background(&mut self, target: &str) {
        let Some(id) = self.background_of(target) else { return };
        if self.strand(id).deferred.ended.is_some() {
            return;
        }
        self.strand(id).cancelled = true;
        if let Some(at) = self.queued.iter().position(|q| *q == id) {
            self.queued.remove(at);
            self.end_queued(id);
            return;
        }
        self.stop_strand(id, StopKind::Graceful);
    }

    /// A background step that never got its turn ends as cancelled.
    pub(super) fn end_queued(&mut self, id: usize) {
        let top = self.top_step(id);
        let outcome = Outcome::Cancelled;
        self.strand(id).deferred.ended =
            Some(Ended { outcome, conclusion: outcome, outputs: Object::new() });
        let reason = Some("it was cancelled before it began".to_owned());
        let report = StepReport { outcome, conclusion: outcome, reason };
        self.actions.push(Action::StepEnded(top, report));
    }

    /// If the job is at a wait or cancel whose steps have all ended, ends it; true if so.
    fn check_wait(&mut self) -> bool {
        let waiting = self
            .strands
            .get(&MAIN)
            .and_then(|s| s.frames.last())
            .and_then(|f| f.current.as_ref())
            .is_some_and(|c| c.waiting);
        let Some(step) = self.step_spec(MAIN).filter(|_| waiting) else { return false };
        let targets: Vec<usize> = match &step.kind {
            StepKind::Wait(ids) => ids.iter().filter_map(|t| self.background_of(t)).collect(),
            StepKind::Cancel(target) => self.background_of(target).into_iter().collect(),
            StepKind::WaitAll(true) => self
                .strands
                .iter()
                .filter(|(_, s)| s.background.is_some() && !s.deferred.joined)
                .map(|(id, _)| *id)
                .collect(),
            _ => Vec::new(),
        };
        let open = |id: &usize| self.strands.get(id).is_some_and(|s| s.deferred.ended.is_none());
        if targets.iter().any(open) {
            return false;
        }
        let cancels = matches!(step.kind, StepKind::Cancel(_));
        // One that had failed before it was cancelled counts when the job ends, not here.
        let failed = self.join(targets).filter(|_| !cancels);
        let outcome = if failed.is_some() { Outcome::Failure } else { Outcome::Success };
        let reason = failed.map(|id| format!("the background step '{id}' failed"));
        if let Some(reason) = &reason {
            let top = self.top_step(MAIN);
            self.actions.push(Action::Log(top, format!("##[error]{reason}")));
        }
        self.end_step(MAIN, outcome, reason);
        true
    }

    /// Makes visible what background steps wrote, in file order; the first that failed.
    fn join(&mut self, mut targets: Vec<usize>) -> Option<String> {
        targets.sort_by_key(|id| self.strands.get(id).and_then(|s| s.background));
        let mut failed = None;
        for id in targets {
            let strand = self.strand(id);
            let cancelled = strand.cancelled;
            let Some(index) = strand.background else { continue };
            let Some(ended) = strand.deferred.ended.clone() else { continue };
            let first = !std::mem::replace(&mut strand.deferred.joined, true);
            let env = std::mem::take(&mut strand.deferred.env);
            let path = std::mem::take(&mut strand.deferred.path);
            let step_id = self.spec.steps[index].id.clone();
            if ended.conclusion == Outcome::Failure && !cancelled {
                failed.get_or_insert(step_id.clone());
            }
            if !first {
                continue;
            }
            let main = self.strand(MAIN);
            for (key, value) in env {
                put(&mut main.env, key, value);
            }
            prepend(&mut main.path, path);
            if let Some(frame) = main.frames.first_mut() {
                let Ended { outcome, conclusion, outputs } = ended;
                record_step(&mut frame.scope, &step_id, outputs, outcome, conclusion);
            }
        }
        failed
    }

    /// A cancelled job waits for nothing any more.
    pub(super) fn interrupt_wait(&mut self) {
        let waiting = self
            .strands
            .get(&MAIN)
            .and_then(|s| s.frames.last())
            .and_then(|f| f.current.as_ref())
            .is_some_and(|c| c.waiting);
        if waiting {
            // What has ended is seen by the steps that still run.
            let ended = self.strands.iter().filter(|(_, s)| s.deferred.ended.is_some());
            let ended = ended.filter(|(_, s)| !s.deferred.joined).map(|(id, _)| *id).collect();
            self.join(ended);
            self.end_step(MAIN, Outcome::Cancelled, Some("The operation was canceled.".into()));
            self.advance(MAIN);
        }
    }

    /// The job's steps are done: what runs in the background is waited for and merged.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        let background: Vec<usize> = self
            .strands
            .iter()
            .filter(|(_, s)| s.background.is_some())
            .map(|(id, _)| *id)
            .collect();
        if background.iter().any(|id| self.strands[id].deferred.ended.is_none()) {
            return;
        }
        let unjoined =
            background.iter().copied().filter(|id| !self.strands[id].deferred.joined).collect();
        self.join(unjoined);
        // Also one that was waited for: `continue-on-error` of the wait forgives the wait alone.
        let failed = background.iter().any(|id| {
            let ended = self.strands[id].deferred.ended.as_ref();
            ended.is_some_and(|e| e.conclusion == Outcome::Failure)
        });
        if failed && let Some(frame) = self.strand(MAIN).frames.first_mut() {
            frame.status = Status::Failure;
        }
        let outcome = match self.job_status() {
            Status::Cancelled if self.timed_out => Outcome::TimedOut,
            Status::Cancelled => Outcome::Cancelled,
            Status::Failure => Outcome::Failure,
            Status::Success => Outcome::Success,
        };
        self.finish(outcome);
    }
}

impl Current {
    fn new(index: usize) -> Self {
        Current {
            index,
            env: Vec::new(),
            outputs: Object::new(),
            process: None,
            failed: None,
            stopped: None,
            stop_token: None,
            asked: None,
            unforgivable: false,
            waiting: false,
            annotations: [0; 3],
            echo: false,
        }
    }
}

fn always() -> trainyard_expression::Expr {
    trainyard_expression::Expr {
        kind: trainyard_expression::ExprKind::Literal(Value::Bool(true)),
        start: 0,
    }
}

/// The newest folder comes first; one that is there already moves to the front.
fn prepend(path: &mut Vec<String>, folders: Vec<String>) {
    for folder in folders {
        path.retain(|p| *p != folder);
        path.insert(0, folder);
    }
}

/// Writes a step into the `steps` context; steps without an id of their own are not seen there.
fn record_step(
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
