//! Steps that use an action (actions/runner `ActionRunner.cs`, `CompositeActionHandler.cs`).

use std::sync::Arc;

use trainyard_expression::Template;
use trainyard_model::{Object, Outcome, Value};

use super::steps::Hold;
use super::{
    Action, Answer, CompositeFrame, Frame, JobMachine, Loaded, ProcessKind, Status, StepNeed, put,
};
use crate::spec::{CompositeSpec, InputSpec, StepSpec};

/// Composites within composites (`Constants.CompositeActionsMaxDepth`).
const MAX_COMPOSITE_DEPTH: usize = 10;

impl JobMachine {
    pub(super) fn begin_uses(
        &mut self,
        id: usize,
        step: &StepSpec,
        action: &str,
        with: Option<&Template>,
    ) -> Result<bool, Hold> {
        let need = StepNeed::LoadAction(action.to_owned());
        let frame = self.frame(id);
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
        self.began(id, step, format!("Run {action}"));
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
        let frame = self.frame(id);
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

    pub(super) fn end_composite(&mut self, id: usize) {
        let Some(spec) =
            self.frame(id).and_then(|f| f.composite.as_ref()).map(|c| Arc::clone(&c.spec))
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
}
