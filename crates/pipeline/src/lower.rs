//! A pipeline into a plan: one node a task, graphs as scopes, loops as fan-outs.

use trainyard_plan::{NodeKind, Plan, PlanNodeId};

use crate::check::needs;
use crate::spec::{Body, Component, Executor, Pipeline, Retry, Task, find};

/// Nodes of a plan, graphs unfolded.
const MAX_NODES: usize = 20_000;

/// What a node of the plan stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Definition {
    /// Its component.
    pub component: usize,
    /// The graph that it is a task of, and its place among the tasks; none for the root.
    pub task: Option<(usize, usize)>,
    /// How often it is tried again: its own policy, or that of the nearest graph around it.
    pub retry: Option<Retry>,
}

/// A plan with what its nodes stand for.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowered {
    /// The plan; a node's `definition` is its place in `definitions`.
    pub plan: Plan,
    /// What the nodes stand for.
    pub definitions: Vec<Definition>,
}

/// Lowers a pipeline that was read without errors.
///
/// # Errors
///
/// When it is too large.
pub fn lower(pipeline: &Pipeline) -> Result<Lowered, String> {
    let root = Definition { component: pipeline.root, task: None, retry: None };
    let mut lowered = Lowered { plan: Plan::new(0), definitions: vec![root] };
    scope(pipeline, &mut lowered, PlanNodeId::ROOT, pipeline.root, None)?;
    lowered.plan.validate()?;
    Ok(lowered)
}

fn scope(
    pipeline: &Pipeline,
    lowered: &mut Lowered,
    node: PlanNodeId,
    component: usize,
    retry: Option<Retry>,
) -> Result<(), String> {
    let tasks = pipeline.components[component].tasks();
    let mut ids: Vec<(&str, PlanNodeId)> = Vec::with_capacity(tasks.len());
    for (place, task) in tasks.iter().enumerate() {
        if lowered.plan.nodes.len() >= MAX_NODES {
            return Err(format!("the pipeline has more than {MAX_NODES} tasks"));
        }
        let inner = pipeline.components.iter().position(|c| c.name == task.component);
        let inner = inner.ok_or_else(|| format!("there is no component '{}'", task.component))?;
        let retry = task.retry.or(retry);
        let definition = u32::try_from(lowered.definitions.len()).unwrap_or(u32::MAX);
        lowered.definitions.push(Definition {
            component: inner,
            task: Some((component, place)),
            retry,
        });
        let is_dag = matches!(pipeline.components[inner].body, Body::Dag(_));
        let kind = if is_dag { NodeKind::Scope } else { NodeKind::Work };
        let id =
            lowered.plan.add(node, task.key.as_str(), kind, task.iterator.is_some(), definition);
        ids.push((&task.key, id));
        if is_dag {
            scope(pipeline, lowered, id, inner, retry)?;
        }
    }
    for (task, (_, id)) in tasks.iter().zip(&ids) {
        let found = needs(task)
            .into_iter()
            .filter_map(|need| Some(ids.iter().find(|(k, _)| *k == need)?.1));
        lowered.plan.nodes[id.index()].needs = found.collect();
    }
    Ok(())
}

impl Pipeline {
    /// The component that a node stands for.
    pub fn component_of(&self, definition: &Definition) -> &Component {
        &self.components[definition.component]
    }

    /// The task that a node stands for; none for the root.
    pub fn task_of(&self, definition: &Definition) -> Option<&Task> {
        let (dag, place) = definition.task?;
        self.components[dag].tasks().get(place)
    }

    /// The executor behind a leaf.
    pub fn executor_of(&self, definition: &Definition) -> Option<(&str, &Executor)> {
        match &self.component_of(definition).body {
            Body::Executor(label) => Some((label, find(&self.executors, label)?)),
            Body::Dag(_) => None,
        }
    }
}
