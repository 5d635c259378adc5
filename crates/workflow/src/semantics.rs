//! The workflow language's answers to the engine's six questions (DESIGN: who evaluates what).

use std::sync::Arc;

use trainyard_expression::{
    Environment, EvalError, Status, Template, TemplateError, evaluate, facts,
};
use trainyard_job::spec::Condition;
use trainyard_model::{JobResult, Object, Value};
use trainyard_plan::{
    Cell, FanOut, Group, NeedView, Reason, Resolved, Semantics, Tally, Verdict, View,
};

use crate::lower::{Lowered, NodeDefinition, WorkflowFile};
use crate::matrix;
use crate::model::{InputDef, InputType, Job, JobKind, StepsJob};
use crate::span_of;

/// Minutes that a job may run (`WorkflowConstants.cs`).
const DEFAULT_TIMEOUT_MINUTES: f64 = 360.0;
/// Minutes that a job has after a cancel.
const DEFAULT_CANCEL_MINUTES: f64 = 5.0;

/// The semantics of one run of a workflow.
#[derive(Debug)]
pub struct WorkflowSemantics {
    /// The files.
    pub files: Vec<Arc<WorkflowFile>>,
    /// What each plan node stands for.
    pub nodes: Vec<NodeDefinition>,
    /// The node definitions by plan node.
    pub definitions: Vec<u32>,
    /// The `github` context, without a token.
    pub github: Value,
    /// The `vars` context.
    pub vars: Value,
    /// Only legs with these values run: for each named key one of those given; keys that a
    /// matrix lacks are ignored. Empty for all.
    pub legs: Vec<(String, String)>,
}

/// Contexts of an evaluation on the engine's side.
struct Contexts<'a> {
    semantics: &'a WorkflowSemantics,
    view: &'a View<'a>,
    jobs: Option<Value>,
}

impl Environment for Contexts<'_> {
    fn context(&self, name: &str) -> Value {
        match name.to_ascii_lowercase().as_str() {
            "github" => self.semantics.github.clone(),
            "vars" => self.semantics.vars.clone(),
            "inputs" => self.view.inputs.clone(),
            "needs" => needs_context(self.view.needs),
            "jobs" => self.jobs.clone().unwrap_or_default(),
            "matrix" => self.view.cell.map(|c| c.values.clone()).unwrap_or_default(),
            "strategy" => match self.view.cell {
                Some(cell) => cell.strategy.clone(),
                None => strategy_context(true, 0, 1, 1),
            },
            _ => Value::Null,
        }
    }

    fn status(&self, status: Status, names: &[String]) -> Result<bool, EvalError> {
        let named: Vec<&NeedView<'_>> = self
            .view
            .needs
            .iter()
            .filter(|n| names.iter().any(|name| name.eq_ignore_ascii_case(n.key)))
            .collect();
        Ok(match status {
            Status::Always => true,
            Status::Cancelled => self.view.cancelled,
            Status::Success if self.view.cancelled => false,
            Status::Success if names.is_empty() => self.view.all_succeeded,
            Status::Success => named.iter().all(|n| n.result == JobResult::Success),
            Status::Failure if self.view.cancelled => false,
            Status::Failure if names.is_empty() => self.view.any_failed,
            Status::Failure => named.iter().any(|n| n.result == JobResult::Failure),
        })
    }
}

/// The `needs` or `jobs` context.
pub fn needs_context(needs: &[NeedView<'_>]) -> Value {
    Value::object(needs.iter().map(|need| {
        let outputs = match &need.outputs {
            Value::Null => Value::object(Vec::<(&str, Value)>::new()),
            outputs => outputs.clone(),
        };
        let entry =
            Value::object([("result", Value::from(need.result.as_str())), ("outputs", outputs)]);
        (need.key, entry)
    }))
}

#[allow(clippy::cast_precision_loss)]
fn strategy_context(fail_fast: bool, index: usize, total: usize, max_parallel: usize) -> Value {
    Value::object([
        ("fail-fast", Value::Bool(fail_fast)),
        ("job-index", Value::Number(index as f64)),
        ("job-total", Value::Number(total as f64)),
        ("max-parallel", Value::Number(max_parallel as f64)),
    ])
}

impl WorkflowSemantics {
    /// The semantics of a lowered workflow.
    pub fn new(lowered: &Lowered, github: Value, vars: Value) -> Self {
        WorkflowSemantics {
            files: lowered.files.clone(),
            nodes: lowered.nodes.clone(),
            definitions: lowered.plan.nodes.iter().map(|n| n.definition).collect(),
            github,
            vars,
            legs: Vec::new(),
        }
    }

    /// The text of a template that is evaluated when the run is created: `run-name`.
    pub fn evaluate_early(&self, template: &Template, inputs: &Value) -> Option<String> {
        let view = View {
            node: trainyard_plan::PlanNodeId::ROOT,
            needs: &[],
            all_succeeded: true,
            any_failed: false,
            cancelled: false,
            inputs,
            cell: None,
            children: &[],
        };
        template.evaluate_text(&self.contexts(&view)).ok()
    }

    fn leg_wanted(&self, values: &Value) -> bool {
        self.legs.iter().all(|(key, _)| {
            let Some(value) = values.get(key) else { return true };
            let text = value.to_text();
            self.legs.iter().any(|(k, v)| k.eq_ignore_ascii_case(key) && *v == text)
        })
    }

    fn definition(&self, view: &View<'_>) -> &NodeDefinition {
        &self.nodes[self.definitions[view.node.index()] as usize]
    }

    fn job(&self, view: &View<'_>) -> Result<(&NodeDefinition, &Job), Reason> {
        let definition = self.definition(view);
        let job = definition.job.map(|j| &self.files[definition.file].workflow.jobs[j]);
        job.map(|job| (definition, job)).ok_or_else(|| Reason::new("the root is no job"))
    }

    fn contexts<'a>(&'a self, view: &'a View<'a>) -> Contexts<'a> {
        Contexts { semantics: self, view, jobs: None }
    }

    /// The place of a failed evaluation, as people read it.
    fn reason(&self, what: &str, error: &TemplateError) -> Reason {
        match error {
            TemplateError::Failed { message, place } => {
                let Some(file) = self.files.get(usize::from(place.file)) else {
                    return Reason::new(format!("{what}: {message}"));
                };
                let at = file.source.position(span_of(*place).start);
                Reason::new(format!("{what}: {message} ({}:{}:{})", file.path, at.line, at.column))
            }
            TemplateError::Needs(_) => {
                Reason::new(format!("{what}: hashFiles is not available here"))
            }
        }
    }

    fn value(&self, what: &str, t: &Template, c: &Contexts<'_>) -> Result<Value, Reason> {
        t.evaluate(c).map_err(|e| self.reason(what, &e))
    }

    fn text(&self, what: &str, t: &Template, c: &Contexts<'_>) -> Result<String, Reason> {
        t.evaluate_text(c).map_err(|e| self.reason(what, &e))
    }

    fn minutes(
        &self,
        what: &str,
        template: Option<&Template>,
        default: f64,
        c: &Contexts<'_>,
    ) -> Result<i64, Reason> {
        let minutes = match template {
            None => default,
            Some(t) => match self.value(what, t, c)? {
                Value::Number(n) => n,
                other => {
                    let failed = TemplateError::Failed {
                        message: format!("Unexpected value '{}'", other.to_text()),
                        place: t.place,
                    };
                    return Err(self.reason(what, &failed));
                }
            },
        };
        // Whole minutes (`ConvertToJobTimeout`); none left is no limit of the job's own, as it is
        // for a step (`StepsRunner.cs`). What the service makes of it is in no public source.
        let whole = if minutes.trunc() > 0.0 { minutes.trunc() } else { default };
        #[allow(clippy::cast_possible_truncation)]
        Ok((whole as i64).saturating_mul(60_000))
    }

    fn boolean(
        &self,
        what: &str,
        template: Option<&Template>,
        c: &Contexts<'_>,
    ) -> Result<bool, Reason> {
        let Some(template) = template else { return Ok(false) };
        match self.value(what, template, c)? {
            Value::Bool(b) => Ok(b),
            other => Err(self.reason(
                what,
                &TemplateError::Failed {
                    message: format!("Unexpected value '{}'", other.to_text()),
                    place: template.place,
                },
            )),
        }
    }

    fn group(&self, template: &Template, c: &Contexts<'_>) -> Result<Group, Reason> {
        let value = self.value("concurrency", template, c)?;
        let property = |name: &str| value.get(name).cloned().unwrap_or_default();
        let name = match &value {
            Value::Object(_) => property("group").to_text().into_owned(),
            scalar => scalar.to_text().into_owned(),
        };
        if name.is_empty() {
            return Err(Reason::new("Concurrency group name cannot be empty"));
        }
        if name.encode_utf16().count() > 400 {
            return Err(Reason::new("Concurrency group name must be less than 400 characters"));
        }
        Ok(Group {
            name,
            cancel_in_progress: property("cancel-in-progress").is_truthy(),
            queue_all: property("queue").as_str() == Some("max"),
        })
    }

    /// The name that people see: the evaluated one, else the id; the matrix in brackets unless
    /// the name is an expression.
    fn name(&self, job: &Job, view: &View<'_>, c: &Contexts<'_>) -> Result<String, Reason> {
        let segments = view.cell.map(|cell| cell.segments.as_slice()).unwrap_or_default();
        let Some(template) = &job.name else {
            return Ok(matrix::display_name(&job.id, segments));
        };
        let text = self.text("name", template, c)?;
        Ok(match (text.is_empty(), template.has_expressions()) {
            (true, _) => matrix::display_name(&job.id, segments),
            (false, true) => matrix::display_name(&text, &[]),
            (false, false) => matrix::display_name(&text, segments),
        })
    }

    fn labels(
        &self,
        steps: &StepsJob,
        c: &Contexts<'_>,
    ) -> Result<(Vec<String>, Option<String>), Reason> {
        let value = self.value("runs-on", &steps.runs_on, c)?;
        let list = |value: &Value| -> Vec<String> {
            match value {
                Value::Array(items) => items.iter().map(|v| v.to_text().into_owned()).collect(),
                Value::Null => Vec::new(),
                scalar => vec![scalar.to_text().into_owned()],
            }
        };
        let (labels, group) = match &value {
            Value::Object(object) => (
                object.get("labels").map(list).unwrap_or_default(),
                object.get("group").map(|g| g.to_text().into_owned()),
            ),
            other => (list(other), None),
        };
        if group.is_none() && (labels.is_empty() || labels.iter().any(String::is_empty)) {
            return Err(Reason::new("`runs-on` evaluates to nothing"));
        }
        Ok((labels, group))
    }

    fn typed_input(
        &self,
        input: &InputDef,
        template: &Template,
        c: &Contexts<'_>,
    ) -> Result<Value, Reason> {
        let what = format!("input '{}'", input.name);
        let value = self.value(&what, template, c)?;
        let fits = match input.kind {
            InputType::Boolean => matches!(value, Value::Bool(_)),
            InputType::Number => matches!(value, Value::Number(_)),
            _ => value.is_primitive(),
        };
        if !fits {
            let message = format!("Unexpected value '{}'", value.to_text());
            let failed = TemplateError::Failed { message, place: template.place };
            return Err(self.reason(&what, &failed));
        }
        Ok(match input.kind {
            InputType::Boolean | InputType::Number => value,
            _ => Value::string(value.to_text().into_owned()),
        })
    }
}

/// What is said of a condition that is false.
fn why_false(condition: &Condition, contexts: &dyn Environment) -> String {
    let facts = facts(&condition.tree, contexts);
    let facts = if facts.is_empty() { facts } else { format!(" ({facts})") };
    format!("its condition is false: {}{facts}", condition.text)
}

/// The value of an input that was not given and has no default.
pub fn default_by_type(kind: InputType) -> Value {
    match kind {
        InputType::Boolean => Value::Bool(false),
        InputType::Number => Value::Number(0.0),
        _ => Value::from(""),
    }
}

impl Semantics for WorkflowSemantics {
    fn gate(&self, view: &View<'_>) -> Result<Verdict, Reason> {
        let (_, job) = self.job(view)?;
        let contexts = self.contexts(view);
        let value = evaluate(&job.condition.tree, &contexts).map_err(|error| match error {
            EvalError::Failed { message, .. } => {
                let place = job.condition.place;
                self.reason("if", &TemplateError::Failed { message, place })
            }
            EvalError::Needs(_) => Reason::new("if: hashFiles is not available here"),
        })?;
        if value.is_truthy() {
            return Ok(Verdict::Run);
        }
        // Where the author asks something else, what it needs is not what stood in the way.
        let by_needs = job.condition.text.starts_with("success()") && !view.all_succeeded;
        let unmet = view.needs.iter().find(|n| n.result != JobResult::Success);
        Ok(Verdict::Skip(Reason::new(match unmet.filter(|_| by_needs) {
            Some(need) => match need.result {
                JobResult::Skipped => format!("it needs '{}', which was skipped", need.key),
                JobResult::Cancelled => format!("it needs '{}', which was cancelled", need.key),
                _ => format!("it needs '{}', which failed", need.key),
            },
            None if by_needs => "a job before the ones it needs did not succeed".into(),
            None => why_false(&job.condition, &contexts),
        })))
    }

    fn fan_out(&self, view: &View<'_>) -> Result<FanOut, Reason> {
        let (_, job) = self.job(view)?;
        let Some(strategy) = &job.strategy else { return Ok(FanOut::One) };
        let contexts = self.contexts(view);
        let value = self.value("strategy", strategy, &contexts)?;
        let Some(matrix) = value.get("matrix").filter(|m| !matches!(m, Value::Null)) else {
            return Ok(FanOut::One);
        };
        let fail_fast = match value.get("fail-fast") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(b)) => *b,
            Some(other) => {
                return Err(Reason::new(format!(
                    "fail-fast: Unexpected value '{}'",
                    other.to_text()
                )));
            }
        };
        let max_parallel = match value.get("max-parallel") {
            None | Some(Value::Null) => None,
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Some(Value::Number(n)) => Some(*n as u32).filter(|n| *n > 0),
            Some(other) => {
                return Err(Reason::new(format!(
                    "max-parallel: Unexpected value '{}'",
                    other.to_text()
                )));
            }
        };
        let rows = matrix::expand(matrix).map_err(|e| Reason::new(e.message))?;
        // A leg keeps its number, whichever others are left out.
        let total = rows.len();
        let parallel = max_parallel.map_or(total, |n| n as usize);
        let cells = rows
            .into_iter()
            .enumerate()
            .filter(|(_, row)| self.leg_wanted(&row.values))
            .map(|(i, row)| Cell {
                values: row.values,
                strategy: strategy_context(fail_fast, i, total, parallel),
                segments: row.segments,
            })
            .collect();
        Ok(FanOut::Cells { cells, max_parallel, fail_fast })
    }

    fn bind(&self, view: &View<'_>) -> Result<Value, Reason> {
        let (definition, job) = self.job(view)?;
        let JobKind::Call(call) = &job.kind else { return Ok(Value::Null) };
        let callee = definition.callee.and_then(|c| self.files.get(c));
        let interface = callee
            .and_then(|f| f.workflow.trigger("workflow_call"))
            .ok_or_else(|| Reason::new("the called workflow cannot be called"))?;
        let contexts = self.contexts(view);
        let mut inputs = Object::new();
        for input in &interface.inputs {
            let given = call.with.as_ref().and_then(|with| {
                let named =
                    |k: &Template| k.as_str().is_some_and(|k| k.eq_ignore_ascii_case(&input.name));
                with.pairs().iter().find(|(k, _)| named(k)).map(|(_, v)| v)
            });
            let value = match given.or(input.default.as_ref()) {
                Some(template) => self.typed_input(input, template, &contexts)?,
                None => default_by_type(input.kind),
            };
            inputs.insert(input.name.as_str(), value);
        }
        Ok(Value::Object(Arc::new(inputs)))
    }

    fn resolve(&self, view: &View<'_>) -> Result<Resolved, Reason> {
        let definition = self.definition(view);
        let contexts = self.contexts(view);
        let Some(job) = definition.job else {
            let workflow = &self.files[definition.file].workflow;
            let groups = workflow.concurrency.as_ref().map(|c| self.group(c, &contexts));
            return Ok(Resolved {
                name: workflow.name.clone().unwrap_or_default(),
                groups: groups.transpose()?.into_iter().collect(),
                ..Resolved::default()
            });
        };
        let job = &self.files[definition.file].workflow.jobs[job];
        let mut resolved =
            Resolved { name: self.name(job, view, &contexts)?, ..Resolved::default() };
        if let Some(concurrency) = &job.concurrency {
            resolved.groups.push(self.group(concurrency, &contexts)?);
        }
        match &job.kind {
            JobKind::Call(_) => {
                let called = definition.callee.map(|c| &self.files[c].workflow);
                if let Some(concurrency) = called.and_then(|w| w.concurrency.as_ref()) {
                    // It is the called workflow's own, and sees its inputs.
                    let inputs = self.bind(view)?;
                    let inner = View { inputs: &inputs, needs: &[], cell: None, ..view.clone() };
                    resolved.groups.push(self.group(concurrency, &self.contexts(&inner))?);
                }
            }
            JobKind::Steps(steps) => {
                (resolved.labels, resolved.runner_group) = self.labels(steps, &contexts)?;
                let c = &contexts;
                resolved.timeout_ms = self.minutes(
                    "timeout-minutes",
                    steps.timeout_minutes.as_ref(),
                    DEFAULT_TIMEOUT_MINUTES,
                    c,
                )?;
                resolved.cancel_timeout_ms = self.minutes(
                    "cancel-timeout-minutes",
                    steps.cancel_timeout_minutes.as_ref(),
                    DEFAULT_CANCEL_MINUTES,
                    c,
                )?;
                resolved.continue_on_error =
                    self.boolean("continue-on-error", steps.continue_on_error.as_ref(), c)?;
                if let Some(environment) = &steps.environment {
                    // The url is the runner's to evaluate.
                    let name = environment.get("name").unwrap_or(environment);
                    let name = self.text("environment", name, c)?;
                    resolved.environment = Some(name).filter(|n| !n.is_empty());
                }
            }
        }
        Ok(resolved)
    }

    fn outputs(&self, view: &View<'_>) -> Result<Value, Reason> {
        let definition = self.definition(view);
        let Some(callee) = definition.callee.and_then(|c| self.files.get(c)) else {
            return Ok(Value::Null);
        };
        let Some(interface) = callee.workflow.trigger("workflow_call") else {
            return Ok(Value::Null);
        };
        let jobs = Some(needs_context(view.children));
        let contexts = Contexts { semantics: self, view, jobs };
        let mut outputs = Object::new();
        for output in &interface.outputs {
            let text = self.text(&format!("output '{}'", output.name), &output.value, &contexts)?;
            outputs.insert(output.name.as_str(), Value::from(text));
        }
        Ok(Value::Object(Arc::new(outputs)))
    }

    fn conclude(&self, tally: &Tally) -> JobResult {
        match tally {
            t if t.cut_short > 0 => JobResult::Cancelled,
            t if t.failure > 0 => JobResult::Failure,
            t if t.cancelled > 0 => JobResult::Cancelled,
            t if t.success == 0 && t.skipped > 0 => JobResult::Skipped,
            _ => JobResult::Success,
        }
    }
}
