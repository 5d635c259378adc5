//! What the engine asks of a pipeline.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;
use trainyard_model::{JobResult, Value};
use trainyard_plan::{
    Cell, FanOut, PlanNodeId, Reason, Resolved, Retry, Semantics, Tally, Verdict, View,
};

use crate::bind::{Around, Item, Need, items, with_item};
use crate::bundle::Bundle;
use crate::lower::{Definition, Lowered};
use crate::platform::platform;
use crate::spec::{Body, Dag, ParameterSource, Pipeline, Selector, Task, find};

/// Iterations of one loop that are open at once, whatever it allows.
const WINDOW: u32 = 256;
/// Milliseconds that a task has after a cancel: as the pods of the backend.
const GRACE_MS: i64 = 30_000;
/// Milliseconds that stand for no limit.
const NO_LIMIT_MS: i64 = 365 * 24 * 3_600_000;

/// What is known of a run from the start.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RunFacts {
    /// `pipeline_job_name`: what people call the run.
    pub display_name: String,
    /// `pipeline_job_resource_name`
    pub resource_name: String,
    /// `pipeline_job_uuid`
    pub uuid: String,
    /// `pipeline_job_create_time_utc`
    pub created: String,
    /// `pipeline_job_schedule_time_utc`
    pub scheduled: String,
    /// `workspace_path`, where the pipeline has one.
    pub workspace: String,
    /// `pipeline_root`
    pub root: String,
    /// The parameters of a manifest of kfp 1.8, which are known everywhere in it.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Whether caches are not asked (`--no-cache`).
    pub no_cache: bool,
}

impl RunFacts {
    /// The text of a placeholder that speaks of the run; none for others.
    pub fn placeholder(&self, name: &str, task: &str) -> Option<String> {
        let text = match name {
            "pipeline_job_name" => &self.display_name,
            "pipeline_job_resource_name" => &self.resource_name,
            "pipeline_job_uuid" => &self.uuid,
            "pipeline_job_create_time_utc" => &self.created,
            "pipeline_job_schedule_time_utc" => &self.scheduled,
            "pipeline_root" => &self.root,
            "pipeline_task_name" => task,
            name if name.starts_with("workflow.parameters.") => {
                return self.parameters.get(&name["workflow.parameters.".len()..]).cloned();
            }
            "workspace_path" if !self.workspace.is_empty() => &self.workspace,
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// The bound inputs of the last task asked about, with what they were bound from: the iterations of a
/// loop ask one after the other.
struct Last {
    node: PlanNodeId,
    inputs: Value,
    needs: Vec<Value>,
    bound: Result<Rc<Bundle>, String>,
}

/// The semantics of one pipeline in one run.
pub struct PipelineSemantics {
    /// The pipeline.
    pub pipeline: Arc<Pipeline>,
    /// What the plan's nodes stand for.
    pub definitions: Vec<Definition>,
    /// The run.
    pub facts: RunFacts,
    last: RefCell<Option<Last>>,
}

impl std::fmt::Debug for PipelineSemantics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PipelineSemantics({})", self.pipeline.name)
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Arc::ptr_eq(a, b),
        (Value::Null, Value::Null) => true,
        _ => false,
    }
}

impl PipelineSemantics {
    /// Those of a lowered pipeline.
    pub fn new(pipeline: Arc<Pipeline>, lowered: &Lowered, facts: RunFacts) -> PipelineSemantics {
        let definitions = lowered.definitions.clone();
        PipelineSemantics { pipeline, definitions, facts, last: RefCell::new(None) }
    }

    /// What a plan node stands for.
    pub fn definition(&self, node: PlanNodeId) -> &Definition {
        &self.definitions[node.index()]
    }

    fn task(&self, view: &View<'_>) -> Option<&Task> {
        self.pipeline.task_of(self.definition(view.node))
    }

    /// The inputs of the node, for all its iterations.
    fn bound(&self, view: &View<'_>) -> Result<Rc<Bundle>, Reason> {
        if let Some(last) = &*self.last.borrow()
            && last.node == view.node
            && same(&last.inputs, view.inputs)
            && last.needs.len() == view.needs.len()
            && last.needs.iter().zip(view.needs).all(|(a, b)| same(a, &b.outputs))
        {
            return last.bound.clone().map_err(Reason::new);
        }
        let inputs = Bundle::of_value(view.inputs);
        let needs: BTreeMap<String, Need> = view
            .needs
            .iter()
            .map(|need| {
                let outputs = Bundle::of_value(&need.outputs);
                let reason = need.reason.to_owned();
                (need.key.to_owned(), Need { result: need.result, outputs, reason })
            })
            .collect();
        let around =
            Around { pipeline: &self.pipeline, facts: &self.facts, inputs: &inputs, needs: &needs };
        let definition = self.definition(view.node);
        let config = self.pipeline.executor_of(definition);
        let config = config.and_then(|(label, _)| find(&self.pipeline.kubernetes, label));
        let bound = around.bind(definition).and_then(|mut bound| {
            if let Some(config) = config {
                bound.platform = Some(platform(config, &around, &bound)?);
            }
            Ok(Rc::new(bound))
        });
        *self.last.borrow_mut() = Some(Last {
            node: view.node,
            inputs: view.inputs.clone(),
            needs: view.needs.iter().map(|n| n.outputs.clone()).collect(),
            bound: bound.clone(),
        });
        bound.map_err(Reason::new)
    }

    /// The inputs of the node, or of the iteration that is asked about.
    fn inputs(&self, view: &View<'_>) -> Result<Bundle, Reason> {
        let bound = self.bound(view)?;
        let (Some(cell), Some(task)) = (view.cell, self.task(view)) else {
            return Ok((*bound).clone());
        };
        let text = cell.values.as_str().unwrap_or("null");
        let item = match &task.iterator {
            Some(i) if matches!(i.items, crate::spec::Items::Artifact(_)) => {
                serde_json::from_str(text).map(Item::Artifact)
            }
            _ => serde_json::from_str(text).map(Item::Parameter),
        };
        let item = item.map_err(|e| Reason::new(format!("the item of the loop: {e}")))?;
        let component = self.pipeline.component_of(self.definition(view.node));
        with_item(component, task, &bound, item).map_err(Reason::new)
    }
}

/// Why a task that waits for another does not run.
fn stands_in_the_way(key: &str, result: JobResult) -> String {
    match result {
        JobResult::Failure => format!("'{key}' failed"),
        JobResult::Skipped => format!("'{key}' was skipped"),
        JobResult::Cancelled => format!("'{key}' was cancelled"),
        JobResult::Success => String::new(),
    }
}

impl Semantics for PipelineSemantics {
    fn gate(&self, view: &View<'_>) -> Result<Verdict, Reason> {
        let Some(task) = self.task(view) else { return Ok(Verdict::Run) };
        if view.cancelled {
            return Ok(Verdict::Skip(Reason::new("the run was cancelled")));
        }
        if !task.always
            && let Some(need) = view.needs.iter().find(|n| n.result != JobResult::Success)
        {
            return Ok(Verdict::Skip(Reason::new(stands_in_the_way(need.key, need.result))));
        }
        let Some(condition) = &task.condition else { return Ok(Verdict::Run) };
        let bound = self.bound(view)?;
        let component = self.pipeline.component_of(self.definition(view.node));
        let mut values = bound.parameters.clone();
        for (name, parameter) in &component.parameters {
            if let Some(default) = &parameter.default {
                values.entry(name.clone()).or_insert_with(|| default.clone());
            }
        }
        let inputs = Json::Object(values.clone().into_iter().collect());
        let lookup = |name: &str| {
            let fields = serde_json::json!({"parameter_values": inputs, "parameters": inputs});
            (name == "inputs").then_some(fields)
        };
        match condition.holds(&lookup) {
            Ok(true) => Ok(Verdict::Run),
            Ok(false) => {
                let facts: Vec<String> = condition
                    .parameters()
                    .into_iter()
                    .filter_map(|name| Some(format!("{name} = {}", values.get(&name)?)))
                    .collect();
                Ok(Verdict::Skip(Reason::new(format!(
                    "its condition is false: {} ({})",
                    condition.text,
                    facts.join(", ")
                ))))
            }
            Err(why) => Err(Reason::new(format!("its condition {}: {why}", condition.text))),
        }
    }

    fn fan_out(&self, view: &View<'_>) -> Result<FanOut, Reason> {
        let Some(task) = self.task(view).filter(|t| t.iterator.is_some()) else {
            return Ok(FanOut::One);
        };
        let bound = self.bound(view)?;
        let items = items(task, &bound).map_err(Reason::new)?;
        if items.is_empty() {
            // A loop over nothing has succeeded, and each of its outputs is an empty list.
            let mut outputs = Bundle::default();
            let component = self.pipeline.component_of(self.definition(view.node));
            for (name, _) in &component.output_parameters {
                outputs.parameters.insert(name.clone(), Json::Array(Vec::new()));
            }
            for (name, _) in &component.output_artifacts {
                outputs.artifacts.insert(name.clone(), Vec::new());
            }
            return Ok(FanOut::Nothing {
                reason: Reason::new("the loop has no items"),
                outputs: outputs.to_value(),
            });
        }
        let cells = items.into_iter().enumerate().map(|(at, item)| Cell {
            values: Value::string(match item {
                Item::Parameter(value) => value.to_string(),
                Item::Artifact(artifact) => serde_json::to_string(&artifact).unwrap_or_default(),
            }),
            #[allow(clippy::cast_precision_loss)]
            strategy: Value::Number(at as f64),
            segments: Vec::new(),
        });
        let max_parallel = Some(task.parallelism.unwrap_or(WINDOW).min(WINDOW));
        Ok(FanOut::Cells { cells: cells.collect(), max_parallel, fail_fast: false })
    }

    fn bind(&self, view: &View<'_>) -> Result<Value, Reason> {
        Ok(self.inputs(view)?.to_value())
    }

    fn resolve(&self, view: &View<'_>) -> Result<Resolved, Reason> {
        let definition = self.definition(view.node);
        let Some(task) = self.task(view) else { return Ok(Resolved::default()) };
        let is_leaf = !matches!(self.pipeline.component_of(definition).body, Body::Dag(_));
        let name = match view.cell {
            Some(cell) => format!("{}[{}]", task.key, cell.strategy.to_text()),
            None => task.key.clone(),
        };
        Ok(Resolved {
            name,
            inputs: if is_leaf { self.inputs(view)?.to_value() } else { Value::Null },
            retry: definition.retry.filter(|_| is_leaf).map(|r| Retry {
                count: r.count,
                backoff_ms: r.backoff_ms,
                factor: r.factor,
                max_ms: r.max_ms,
            }),
            timeout_ms: NO_LIMIT_MS,
            cancel_timeout_ms: GRACE_MS,
            ..Resolved::default()
        })
    }

    fn outputs(&self, view: &View<'_>) -> Result<Value, Reason> {
        let component = self.pipeline.component_of(self.definition(view.node));
        let Body::Dag(dag) = &component.body else { return Ok(Value::Null) };
        let mut made = Bundle::default();
        let failed = view.children.iter().find(|c| c.result == JobResult::Failure);
        if let Some(child) = failed {
            let inner = Bundle::of_value(&child.outputs).error;
            let why = if inner.is_empty() { child.reason.to_owned() } else { inner };
            made.error = match why.is_empty() {
                true => format!("'{}' failed", child.key),
                false => format!("'{}' failed: {why}", child.key),
            };
        }
        let wanted = wanted_of(dag);
        let children: BTreeMap<&str, Bundle> = view
            .children
            .iter()
            .filter(|c| c.result == JobResult::Success && wanted.contains(&c.key))
            .map(|c| (c.key, Bundle::of_value(&c.outputs)))
            .collect();
        for (name, selectors) in &dag.parameters {
            let found = selectors
                .iter()
                .find_map(|s| children.get(s.task.as_str())?.parameters.get(&s.key));
            if let Some(value) = found {
                made.parameters.insert(name.clone(), value.clone());
            }
        }
        for (name, selectors) in &dag.artifacts {
            let found =
                selectors.iter().find_map(|s| children.get(s.task.as_str())?.artifacts.get(&s.key));
            if let Some(list) = found {
                made.artifacts.insert(name.clone(), list.clone());
            }
        }
        Ok(made.to_value())
    }

    fn gather(&self, view: &View<'_>) -> Option<Value> {
        let component = self.pipeline.component_of(self.definition(view.node));
        let mut made = Bundle::default();
        let failed = view.children.iter().position(|c| c.result == JobResult::Failure);
        if let Some(at) = failed {
            let child = &view.children[at];
            let inner = Bundle::of_value(&child.outputs).error;
            let why = if inner.is_empty() { child.reason.to_owned() } else { inner };
            made.error = format!("iteration {at} failed: {why}");
        }
        if component.output_parameters.is_empty() && component.output_artifacts.is_empty() {
            return Some(made.to_value());
        }
        // In the order of the items. One that gave nothing leaves no hole.
        let legs: Vec<Bundle> = view
            .children
            .iter()
            .filter(|c| c.result == JobResult::Success)
            .map(|c| Bundle::of_value(&c.outputs))
            .collect();
        for (name, _) in &component.output_parameters {
            let values = legs.iter().filter_map(|l| l.parameters.get(name).cloned()).collect();
            made.parameters.insert(name.clone(), Json::Array(values));
        }
        for (name, _) in &component.output_artifacts {
            let lists = legs.iter().filter_map(|l| l.artifacts.get(name).cloned());
            made.artifacts.insert(name.clone(), lists.flatten().collect());
        }
        Some(made.to_value())
    }

    fn conclude(&self, tally: &Tally) -> JobResult {
        match tally {
            t if t.cut_short > 0 || t.cancelled > 0 => JobResult::Cancelled,
            t if t.failure > 0 => JobResult::Failure,
            // Also where all of it was skipped.
            _ => JobResult::Success,
        }
    }
}

/// The tasks whose outputs a graph gives on.
fn wanted_of(dag: &Dag) -> Vec<&str> {
    let lists = dag.parameters.iter().chain(&dag.artifacts);
    lists.flat_map(|(_, selectors)| selectors).map(|Selector { task, .. }| task.as_str()).collect()
}

impl Task {
    /// Whether an input is written out, so that placeholders in it are filled in.
    pub fn is_constant(&self, name: &str) -> bool {
        let found = self.parameters.iter().find(|(n, _)| n == name);
        found.is_some_and(|(_, p)| matches!(p.source, ParameterSource::Constant(_)))
    }
}
