//! What expressions of a step see.

use std::sync::Arc;

use trainyard_expression::{Environment, EvalError, Need};
use trainyard_model::{Object, Value};

use super::{Answer, CompositeFrame, Frame, JobMachine, Stage, Status, StepNeed};

/// The contexts of one strand at its innermost frame.
pub(super) struct StepEnvironment<'a> {
    machine: &'a JobMachine,
    strand: usize,
    /// Whether the step's own `env` counts (not while it is being evaluated).
    with_step_env: bool,
    /// Whether a running step of a composite is asked again because the job was cancelled: only
    /// then does the job's status reach into the action (`CompositeActionHandler.cs`).
    cancelling: bool,
}

impl JobMachine {
    pub(super) fn environment(&self, strand: usize, with_step_env: bool) -> StepEnvironment<'_> {
        StepEnvironment { machine: self, strand, with_step_env, cancelling: false }
    }

    /// As [`Self::environment`], for the condition of a running step that a cancel asks again.
    pub(super) fn cancelling_environment(&self, strand: usize) -> StepEnvironment<'_> {
        StepEnvironment { machine: self, strand, with_step_env: true, cancelling: true }
    }

    /// The variables of the `env` context at the innermost frame.
    pub(super) fn env_pairs(&self, strand: usize, with_step_env: bool) -> Vec<(String, String)> {
        let Some(strand) = self.strands.get(&strand) else { return Vec::new() };
        let mut env = strand.env.clone();
        let mut add = |pairs: &[(String, String)]| {
            for (key, value) in pairs {
                super::put(&mut env, key.clone(), value.clone());
            }
        };
        let Some(frame) = strand.frames.last() else { return env };
        if let Some(composite) = &frame.composite {
            add(&composite.env);
        }
        if let Some(current) = frame.current.as_ref().filter(|_| with_step_env) {
            add(&current.env);
        }
        env
    }
}

impl StepEnvironment<'_> {
    fn frame(&self) -> Option<&Frame> {
        self.machine.frame(self.strand)
    }

    fn composite(&self) -> Option<&CompositeFrame> {
        self.frame().and_then(|f| f.composite.as_ref())
    }

    fn github(&self) -> Value {
        let Value::Object(base) = &self.machine.contexts.github else { return Value::Null };
        let mut github = Object::clone(base);
        let current = self.frame().and_then(|f| f.current.as_ref());
        let own = current.filter(|c| c.began).map(|c| c.origin.as_ref());
        let origin = own.unwrap_or_else(|| self.composite().and_then(|c| c.origin.as_ref()));
        for (name, value) in action_properties(self.composite(), self.action_name(), origin) {
            github.insert(name, Value::from(value));
        }
        if let Some(frame) = self.frame().filter(|f| f.composite.is_some()) {
            github.insert("action_status", Value::from(frame.status.as_str()));
        }
        Value::Object(Arc::new(github))
    }

    fn action_name(&self) -> String {
        if let Some(composite) = self.composite() {
            return composite.action.clone();
        }
        self.frame()
            .and_then(|f| f.current.as_ref().map(|c| f.steps[c.index].id.clone()))
            .unwrap_or_default()
    }

    fn status(&self) -> Status {
        match self.frame() {
            Some(frame)
                if frame.composite.is_some()
                    && frame.stage() == Stage::Main
                    && !self.cancelling =>
            {
                frame.status
            }
            _ => self.machine.job_status(),
        }
    }
}

/// The properties of `github` that depend on the action.
pub(super) fn action_properties(
    composite: Option<&CompositeFrame>,
    action: String,
    origin: Option<&(String, String)>,
) -> Vec<(&'static str, String)> {
    let (repository, reference) = origin.cloned().unwrap_or_default();
    let path = composite.map(|c| c.path.clone()).unwrap_or_default();
    vec![
        ("action", action),
        ("action_path", path),
        ("action_repository", repository),
        ("action_ref", reference),
    ]
}

impl Environment for StepEnvironment<'_> {
    fn context(&self, name: &str) -> Value {
        let contexts = &self.machine.contexts;
        match name.to_ascii_lowercase().as_str() {
            "github" => self.github(),
            "env" => {
                let mut object = Object::case_sensitive();
                for (key, value) in self.machine.env_pairs(self.strand, self.with_step_env) {
                    object.insert(key, Value::from(value));
                }
                Value::Object(Arc::new(object))
            }
            "inputs" => match self.composite() {
                Some(composite) => composite.inputs.clone(),
                None => contexts.inputs.clone(),
            },
            "steps" => {
                self.frame().map_or(Value::Null, |f| Value::Object(Arc::new(f.scope.clone())))
            }
            "job" => {
                let mut job = match &contexts.job {
                    Value::Object(job) => Object::clone(job),
                    _ => Object::new(),
                };
                job.insert("status", Value::from(self.machine.job_status().as_str()));
                Value::Object(Arc::new(job))
            }
            "vars" => contexts.vars.clone(),
            "secrets" => contexts.secrets.clone(),
            "needs" => contexts.needs.clone(),
            "strategy" => contexts.strategy.clone(),
            "matrix" => contexts.matrix.clone(),
            "runner" => contexts.runner.clone(),
            _ => Value::Null,
        }
    }

    fn status(
        &self,
        status: trainyard_expression::Status,
        _: &[String],
    ) -> Result<bool, EvalError> {
        use trainyard_expression::Status as Function;
        let now = self.status();
        Ok(match status {
            Function::Always => true,
            Function::Cancelled => self.machine.cancelled,
            Function::Success => now == Status::Success,
            Function::Failure => now == Status::Failure,
        })
    }

    fn hash_files(&self, patterns: &[String]) -> Result<String, EvalError> {
        let need = StepNeed::HashFiles(patterns.to_vec());
        match self.frame().and_then(|f| f.answers.get(&need)) {
            Some(Answer::Hash(Ok(hash))) => Ok(hash.clone()),
            Some(Answer::Hash(Err(message))) => {
                Err(EvalError::Failed { message: message.clone(), offset: 0 })
            }
            _ => Err(EvalError::Needs(Need::HashFiles(patterns.to_vec()))),
        }
    }
}
