//! Narrowing a run to one job and what it needs.

use std::collections::BTreeSet;

use trainyard_plan::{Plan, PlanNodeId};
use trainyard_workflow::lower::{Lowered, WorkflowFile};

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
