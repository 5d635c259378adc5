//! Steps one after another (actions/runner `StepsRunner.cs`): conditions, scripts, processes.

use trainyard_expression::{EvalError, Need, Template, TemplateError, evaluate, facts};
use trainyard_model::{Object, Outcome, Value};

use super::containers;
use super::contexts::action_properties;
use super::ending::record_step;
use super::stages::prefixed;
use super::{
    Action, Current, JobMachine, MAIN, MarkEnd, Process, ProcessId, ProcessKind, Stage, StepNeed,
    StepReport, put,
};
use crate::shell;
use crate::spec::{StepKind, StepSpec};

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
pub(super) enum Hold {
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
        StepKind::Containers => containers::STARTING.into(),
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
            let Some(frame) = self.frame_mut(id) else {
                return;
            };
            if frame.current.is_none() {
                let Some((index, stage)) = frame.plan.get(frame.next).copied() else {
                    if !self.frame_over(id) {
                        return;
                    }
                    continue;
                };
                let number = frame.next;
                frame.next += 1;
                if id == MAIN && self.in_job(id) && stage == Stage::Main {
                    self.pres_are_over();
                }
                if id == MAIN && self.in_job(id) && self.reuse(index, stage) {
                    continue;
                }
                let Some(frame) = self.frame_mut(id) else { return };
                frame.answers.clear();
                frame.current = Some(Current::new(index, stage, number));
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
            if self.posting { self.conclude() } else { self.drain() }
        } else {
            self.background_over(id);
        }
        false
    }

    /// The step that a strand is at.
    pub(super) fn step_spec(&self, id: usize) -> Option<StepSpec> {
        let frame = self.strands.get(&id)?.frames.last()?;
        frame.steps.get(frame.current.as_ref()?.index).cloned()
    }

    pub(super) fn text(&mut self, id: usize, template: &Template) -> Result<String, Hold> {
        let result = template.evaluate_text(&self.environment(id, true));
        result.map_err(|e| self.hold(id, e))
    }

    pub(super) fn ask(&mut self, id: usize, need: StepNeed) -> Hold {
        self.current_mut(id, |c| c.asked = Some(need.clone()));
        self.actions.push(Action::Ask(need));
        Hold::Asked
    }

    pub(super) fn hold(&mut self, id: usize, error: TemplateError) -> Hold {
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
        let in_job = self.in_job(id);
        let stopped = self.cancelled || self.strands.get(&id).is_some_and(|s| s.cancelled);
        if id != MAIN && in_job && stopped {
            // Cancelled before it had a process that could be told.
            let reason = "The operation was canceled.".to_owned();
            self.began(id, &step, static_name(&step));
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
        let is_main = self.current(id).is_some_and(|c| c.stage == Stage::Main);
        if step.background && id == MAIN && in_job && is_main {
            self.start_background(&step);
            return Ok(true);
        }
        self.current_mut(id, |c| c.began = true);
        match &step.kind {
            StepKind::Run { .. } => self.begin_run(id, &step).map(|()| false),
            StepKind::Uses { action, with, .. } => {
                self.begin_uses(id, &step, action, with.as_ref())
            }
            StepKind::Containers => self.begin_containers(id, &step).map(|()| false),
            _ => {
                self.began(id, &step, static_name(&step));
                self.current_mut(id, |c| c.waiting = true);
                if let StepKind::Cancel(target) = &step.kind {
                    self.cancel_background(target);
                }
                Ok(self.check_wait())
            }
        }
    }

    fn evaluate_condition(&mut self, id: usize, step: &StepSpec) -> Result<bool, Hold> {
        if self.forced {
            return Ok(false);
        }
        let Some(condition) = self.stage_condition(id, step) else { return Ok(true) };
        let value = evaluate(&condition.tree, &self.environment(id, true));
        match value {
            Ok(value) => Ok(value.is_truthy()),
            Err(EvalError::Needs(need)) => Err(self.hold(id, TemplateError::Needs(need))),
            Err(EvalError::Failed { message, .. }) => {
                let place = condition.place;
                let message = self.message_of(&TemplateError::Failed { message, place });
                Err(Hold::Broken(format!("The condition cannot be evaluated: {message}")))
            }
        }
    }

    /// Whether the step that runs in a strand goes on in spite of a cancel: the condition of the
    /// innermost step, asked again.
    pub(super) fn condition_holds(&self, id: usize) -> bool {
        let Some(frame) = self.frame(id) else {
            return false;
        };
        let Some(step) = frame.current.as_ref().and_then(|c| frame.steps.get(c.index)) else {
            return false;
        };
        let Some(condition) = self.stage_condition(id, step) else {
            // Containers start on success() and stop always (`ContainerOperationProvider.cs`).
            let starting = matches!(step.kind, StepKind::Containers)
                && frame.current.as_ref().is_some_and(|c| c.stage == Stage::Pre);
            return !starting;
        };
        evaluate(&condition.tree, &self.cancelling_environment(id)).is_ok_and(|v| v.is_truthy())
    }

    fn skip_step(&mut self, id: usize, step: &StepSpec) {
        let in_job = self.in_job(id);
        let condition = self.stage_condition(id, step);
        let reason = condition.filter(|_| !self.forced).map(|condition| {
            let facts = facts(&condition.tree, &self.environment(id, true));
            let facts = if facts.is_empty() { facts } else { format!(" ({facts})") };
            self.masker.mask(&format!("its condition is false: {}{facts}", condition.text))
        });
        let top = self.top_step(id);
        // Its name is asked for before its condition (`StepsRunner.cs`).
        let script = match &step.kind {
            StepKind::Run { script, .. } => {
                script.evaluate_text(&self.environment(id, true)).ok().map(|s| run_name(&s))
            }
            _ => None,
        };
        self.began(id, step, script.unwrap_or_else(|| static_name(step)));
        let Some(frame) = self.frame_mut(id) else {
            return;
        };
        let Some(skipped) = frame.current.take() else { return };
        if skipped.stage == Stage::Main {
            let (scope, outcome) = (&mut frame.scope, Outcome::Skipped);
            record_step(scope, &step.id, Object::new(), outcome, outcome);
            if in_job && id == MAIN {
                let (index, ended) = (skipped.index, (outcome, outcome));
                self.mark(index, MarkEnd::new(index, skipped.shown, ended, &Object::new()));
            }
        }
        if in_job {
            let report =
                StepReport { outcome: Outcome::Skipped, conclusion: Outcome::Skipped, reason };
            self.actions.push(Action::StepEnded(top, report));
        }
    }

    pub(super) fn began(&mut self, id: usize, step: &StepSpec, default: String) {
        if !self.in_job(id) {
            return;
        }
        let named = step.name.as_ref().map(|t| t.evaluate_text(&self.environment(id, true)));
        let name = match named {
            Some(Ok(name)) if !name.trim().is_empty() => name,
            _ => default,
        };
        let top = self.top_step(id);
        let stage = self.current(id).map_or(Stage::Main, |c| c.stage);
        let name = match step.kind {
            StepKind::Containers if stage == Stage::Post => containers::STOPPING.to_owned(),
            StepKind::Containers => name,
            _ => self.masker.mask(&prefixed(stage, &name)),
        };
        self.current_mut(id, |c| c.shown.clone_from(&name));
        self.actions.push(Action::StepBegan(top, name));
    }

    fn begin_run(&mut self, id: usize, step: &StepSpec) -> Result<(), Hold> {
        let StepKind::Run { script, shell, working_directory } = &step.kind else { return Ok(()) };
        let composite = self.frame(id).is_some_and(|f| f.composite.is_some());
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
        self.began(id, step, run_name(&script));
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

    pub(super) fn time_limit_of(
        &mut self,
        id: usize,
        step: &StepSpec,
    ) -> Result<Option<i64>, Hold> {
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

    pub(super) fn spawn(
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
            // Declared build subjects, behind a flag of the server's: the variables are there.
            ("GITHUB_ARTIFACTS", "artifacts"),
            ("GITHUB_ARTIFACTS_LIST", "artifacts_list"),
        ] {
            let path = format!("{}/{file}_{}", self.contexts.command_files, process.0);
            put(&mut env, variable.into(), path);
        }
        if matches!(kind, ProcessKind::Builtin { .. }) {
            // Ours: why a cache was or was not found, for people who ask.
            let path = format!("{}/reasons_{}", self.contexts.command_files, process.0);
            put(&mut env, "TRAINYARD_REASONS".into(), path);
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
    pub(super) fn process_env(&self, id: usize) -> Vec<(String, String)> {
        let mut env = self.env_pairs(id, true);
        let frame = self.frame(id);
        let composite = frame.and_then(|f| f.composite.as_ref());
        let step_id = frame
            .and_then(|f| f.current.as_ref().and_then(|c| f.steps.get(c.index)))
            .map(|s| s.id.clone())
            .unwrap_or_default();
        let action = composite.map_or(step_id, |c| c.action.clone());
        // Of the action that runs now, not of the one around it: a run step has none.
        let origin = frame.and_then(|f| f.current.as_ref()).and_then(|c| c.origin.clone());
        let special = action_properties(composite, action, origin.as_ref());
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
        env
    }
}

impl Current {
    fn new(index: usize, stage: Stage, number: usize) -> Self {
        Current {
            index,
            stage,
            number,
            origin: None,
            began: false,
            env: Vec::new(),
            outputs: Object::new(),
            process: None,
            failed: None,
            stopped: None,
            stop_token: None,
            asked: None,
            unforgivable: false,
            waiting: false,
            shown: String::new(),
            annotations: [0; 3],
            echo: false,
        }
    }
}
