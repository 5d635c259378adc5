//! Narrowing a run: to one job and what it needs, to some legs of a matrix.

use std::collections::BTreeSet;

use trainyard_expression::{Template, TemplateKind};
use trainyard_plan::{Plan, PlanNodeId};
use trainyard_workflow::lower::{Lowered, WorkflowFile};

use crate::error::{Error, Result};
use crate::run::driver::Planned;

/// Refuses a `--matrix` key that no job of any workflow has. A matrix that an expression makes may
/// have any key, and is left alone.
pub fn check_legs(planned: &[Planned], legs: &[(String, String)]) -> Result<()> {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for file in planned.iter().flat_map(|p| &p.lowered.files) {
        for job in &file.workflow.jobs {
            let Some(matrix) = job.strategy.as_ref().and_then(|s| s.get("matrix")) else {
                continue;
            };
            if !keys(matrix, &mut known) {
                return Ok(());
            }
        }
    }
    let strange = legs.iter().find(|(k, _)| !known.iter().any(|n| n.eq_ignore_ascii_case(k)));
    let Some((key, _)) = strange else { return Ok(()) };
    let there: Vec<&str> = known.iter().map(String::as_str).collect();
    Err(Error::new(format!("no job has a matrix with '{key}'")).hint(match there.is_empty() {
        true => "no job that runs has a matrix".to_owned(),
        false => format!("the matrices have: {}", there.join(", ")),
    }))
}

/// The keys of a matrix as written; false if an expression may bring others.
fn keys(matrix: &Template, known: &mut BTreeSet<String>) -> bool {
    let TemplateKind::Mapping(pairs) = &matrix.kind else { return false };
    pairs.iter().all(|(key, value)| match (key.as_str(), &value.kind) {
        (Some("exclude"), _) => true,
        (Some("include"), TemplateKind::Sequence(items)) => items.iter().all(|i| keys(i, known)),
        (None, _) | (Some("include"), _) => false,
        (Some(key), _) => {
            known.insert(key.to_owned());
            true
        }
    })
}

/// Keeps one job of the root and what it needs. False if there is no such job.
pub fn to_job(lowered: &mut Lowered, file: &WorkflowFile, job: &str) -> bool {
    let Some(index) = file.workflow.jobs.iter().position(|j| j.id.eq_ignore_ascii_case(job)) else {
        return false;
    };
    let root = lowered.plan.node(PlanNodeId::ROOT).children.clone();
    let mut keep = BTreeSet::new();
    let mut todo = vec![root[index]];
    while let Some(id) = todo.pop() {
        if keep.insert(id) {
            todo.extend(lowered.plan.node(id).needs.iter().copied());
        }
    }
    lowered.plan = rebuilt(&lowered.plan, &keep);
    true
}

/// The plan with only these nodes of the root, numbered anew.
fn rebuilt(plan: &Plan, keep: &BTreeSet<PlanNodeId>) -> Plan {
    let mut new = Plan::new(plan.node(PlanNodeId::ROOT).definition);
    let mut numbers = vec![None; plan.nodes.len()];
    numbers[0] = Some(PlanNodeId::ROOT);
    for (i, node) in (0u32..).zip(&plan.nodes).skip(1) {
        let Some(parent) = node.parent else { continue };
        let wanted = parent != PlanNodeId::ROOT || keep.contains(&PlanNodeId(i));
        let Some(parent) = numbers[parent.index()].filter(|_| wanted) else { continue };
        let id = new.add(parent, node.key.clone(), node.kind, node.fans_out, node.definition);
        numbers[i as usize] = Some(id);
    }
    for (i, node) in plan.nodes.iter().enumerate() {
        if let Some(id) = numbers[i] {
            new.nodes[id.index()].needs =
                node.needs.iter().filter_map(|n| numbers[n.index()]).collect();
        }
    }
    new
}
