//! Steps that use an action (actions/runner `ActionRunner.cs`, `CompositeActionHandler.cs`).

use std::sync::Arc;

use trainyard_expression::Template;
use trainyard_model::{Object, Outcome, Value};

use super::stages::is_remote;
use super::steps::Hold;
use super::{
    Action, Answer, CompositeFrame, Frame, JobMachine, Loaded, ProcessKind, Runs, Stage, Status,
    StepNeed, put,
};
use crate::spec::{CompositeSpec, InputSpec, NodeSpec, StepSpec};

/// Composites within composites (`Constants.CompositeActionsMaxDepth`).
pub(super) const MAX_COMPOSITE_DEPTH: usize = 10;

impl JobMachine {
    /// The action that a step uses: one of another repository is there already, one of the
    /// workspace is looked for when the step runs, and kept for its post stage.
    fn loaded(&mut self, id: usize, action: &str, stage: Stage) -> Result<Loaded, Hold> {
        if stage == Stage::Post {
            let posted = self.use_of(id).posted.clone();
            return posted.ok_or_else(|| Hold::Failed(format!("'{action}' has no post stage")));
        }
        if is_remote(action)
            && let Some(loaded) = self.loaded.get(action)
        {
            return Ok(loaded.clone());
        }
        let need = StepNeed::LoadAction(action.to_owned());
        let frame = self.frame(id);
        match frame.and_then(|f| f.answers.get(&need)).cloned() {
            None | Some(Answer::Hash(Ok(_))) => Err(self.ask(id, need)),
            Some(Answer::Action(Err(message)) | Answer::Hash(Err(message))) => {
                Err(Hold::Failed(message))
            }
            Some(Answer::Action(Ok(mut found))) => {
                let own = found.remove(action);
                self.loaded.extend(found.into_iter().filter(|(name, _)| is_remote(name)));
                own.ok_or_else(|| Hold::Failed(format!("'{action}' is not there")))
            }
        }
    }

    pub(super) fn begin_uses(
        &mut self,
        id: usize,
        step: &StepSpec,
        action: &str,
        with: Option<&Template>,
    ) -> Result<bool, Hold> {
        let stage = self.current(id).map_or(Stage::Main, |c| c.stage);
        let loaded = match self.loaded(id, action, stage) {
            Ok(loaded) => loaded,
            Err(Hold::Asked) => return Err(Hold::Asked),
            Err(other) => {
                self.began(id, step, format!("Run {action}"));
                return Err(other);
            }
        };
        // From here on `github.action_ref` is the action's own (`ActionRunner.cs`).
        self.current_mut(id, |c| c.origin.clone_from(&loaded.origin));
        // Whatever comes of its inputs, its post is to run (`ActionRunner.cs`).
        if stage != Stage::Post {
            self.register_post(id, &loaded);
        }
        let given = match with {
            Some(template) => {
                let pairs = template.evaluate_pairs(&self.environment(id, true));
                pairs.map_err(|e| self.hold(id, e))?
            }
            None => Vec::new(),
        };
        let limit = self.time_limit_of(id, step)?;
        self.began(id, step, format!("Run {action}"));
        let declared = match &loaded.runs {
            Runs::Builtin(spec) => spec.inputs.clone(),
            Runs::Composite(spec, _) => spec.inputs.clone(),
            Runs::Node(spec, _) => spec.inputs.clone(),
            Runs::Docker(spec, _) => spec.inputs.clone(),
        };
        let docker = matches!(loaded.runs, Runs::Docker(..));
        let inputs = self.inputs(id, &declared, given, stage, docker)?;
        let is_composite = matches!(loaded.runs, Runs::Composite(..));
        let depth = self.strands.get(&id).map_or(0, |s| s.frames.len());
        if is_composite && depth > MAX_COMPOSITE_DEPTH {
            return Err(Hold::Failed(format!(
                "Composite action depth exceeded max depth {MAX_COMPOSITE_DEPTH}"
            )));
        }
        let top = self.top_step(id);
        self.uses_header(top, action, &inputs, stage);
        let mut own_env = Vec::new();
        let kind = match loaded.runs {
            Runs::Composite(spec, path) => {
                self.enter_composite(id, step, spec, path, loaded.origin, inputs, limit);
                return Ok(true);
            }
            Runs::Builtin(_) => ProcessKind::Builtin { action: action.to_owned(), stage, inputs },
            Runs::Node(spec, path) => ProcessKind::Node {
                using: spec.using.clone(),
                script: format!("{path}/{}", script_of(&spec, stage)),
                inputs,
            },
            Runs::Docker(spec, path) => {
                let (kind, env) = self.docker_process(id, &spec, &path, inputs, stage)?;
                own_env = env;
                kind
            }
        };
        let state = self.use_of(id).state.clone();
        let mut env = own_env;
        for (name, value) in self.process_env(id) {
            put(&mut env, name, value);
        }
        for (name, value) in state {
            put(&mut env, format!("STATE_{name}"), value);
        }
        self.spawn(id, kind, env, None, limit);
        Ok(false)
    }

    fn uses_header(&mut self, top: usize, action: &str, inputs: &[(String, String)], stage: Stage) {
        if stage == Stage::Post {
            self.actions.push(Action::Log(top, "Post job cleanup.".into()));
            return;
        }
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
        stage: Stage,
        docker: bool,
    ) -> Result<Vec<(String, String)>, Hold> {
        let mut inputs = Vec::new();
        for input in declared {
            let own = given.iter().find(|(k, _)| k.eq_ignore_ascii_case(&input.name));
            let value = match (own, &input.default) {
                (Some((_, value)), _) => value.clone(),
                (None, Some(default)) => self.text(id, default)?,
                (None, None) => String::new(),
            };
            let remarks = stage == Stage::Main;
            if let (Some(_), Some(message), true) = (own, &input.deprecation, remarks) {
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
            // Every Docker action takes these two (`ActionRunner.cs`).
            let known =
                docker && ["entrypoint", "args"].iter().any(|n| key.eq_ignore_ascii_case(n));
            if stage != Stage::Main || known || (docker && declared.is_empty()) {
                inputs.push((key, value));
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

    #[allow(clippy::too_many_arguments)]
    fn enter_composite(
        &mut self,
        id: usize,
        step: &StepSpec,
        spec: Arc<CompositeSpec>,
        path: String,
        origin: Option<(String, String)>,
        inputs: Vec<(String, String)>,
        limit: Option<i64>,
    ) {
        // The caller's own variables go down; what is global comes anyway.
        let frame = self.frame(id);
        let mut env =
            frame.and_then(|f| f.composite.as_ref()).map(|c| c.env.clone()).unwrap_or_default();
        for (key, value) in
            frame.and_then(|f| f.current.as_ref()).map(|c| c.env.clone()).unwrap_or_default()
        {
            put(&mut env, key, value);
        }
        let inputs = Value::object(inputs.into_iter().map(|(k, v)| (k, Value::from(v))));
        let stage = self.current(id).map_or(Stage::Main, |c| c.stage);
        let composite = CompositeFrame {
            spec: Arc::clone(&spec),
            inputs,
            path,
            origin,
            stage,
            env,
            action: step.id.clone(),
            limit,
            first: None,
        };
        let steps: Arc<[StepSpec]> = spec.steps.clone().into();
        let mut frame = Frame::new(Arc::clone(&steps), Some(composite));
        let place = self.use_path(id);
        match stage {
            Stage::Main => {}
            Stage::Pre => frame.plan = self.stage_plan(&steps, Stage::Pre),
            Stage::Post => {
                frame.plan = self.post_plan(&place, steps.len());
                frame.scope = self.use_of(id).scope.clone();
            }
        }
        self.strand(id).frames.push(frame);
    }

    pub(super) fn end_composite(&mut self, id: usize) {
        let Some(spec) =
            self.frame(id).and_then(|f| f.composite.as_ref()).map(|c| Arc::clone(&c.spec))
        else {
            return;
        };
        // Outputs count even if the action failed.
        let mut outputs = Object::new();
        let mut fault = None;
        let stage = self.frame(id).map_or(Stage::Main, Frame::stage);
        for (name, template) in spec.outputs.iter().filter(|_| stage == Stage::Main) {
            match template.evaluate_text(&self.environment(id, false)) {
                Ok(text) => outputs.insert(name.as_str(), Value::from(text)),
                Err(error) => fault = Some(format!("output '{name}': {}", self.message_of(&error))),
            }
        }
        let Some(frame) = self.strand(id).frames.pop() else { return };
        let status = frame.status;
        if stage == Stage::Main {
            let path = self.use_path(id);
            if let Some(posted) = self.uses.get_mut(&path) {
                posted.scope = frame.scope;
            }
        }
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
}

fn script_of(spec: &NodeSpec, stage: Stage) -> &str {
    let other = match stage {
        Stage::Pre => spec.pre.as_ref(),
        Stage::Main => None,
        Stage::Post => spec.post.as_ref(),
    };
    other.map_or(&spec.main, |s| &s.script)
}
