//! Beginning a concluded run again in part (DESIGN §13.5 f).
//!
//! What is selected and all that depends on it go back to `Blocked`; the others keep how they
//! settled and their outputs. A matrix keeps its cells unless it is itself reset: then it is
//! expanded anew, and its old legs stay as superseded instances.

use std::collections::BTreeSet;

use trainyard_model::Value;
use trainyard_plan::PlanNodeId;

use crate::apply::{count, merge, output_size};
use crate::record::By;
use crate::state::{Counters, Instance, InstanceId, NodeState, RunState};

/// The nodes of each instance that count, in order.
fn children(run: &RunState) -> Vec<Vec<InstanceId>> {
    let mut out = vec![Vec::new(); run.instances.len()];
    for (id, instance) in run.instances() {
        if let Some(parent) = instance.parent.filter(|_| !instance.superseded) {
            out[parent.index()].push(id);
        }
    }
    out
}

/// What a re-run of these nodes resets, and what it reopens. All of the run if none is named.
pub(crate) fn closure(run: &RunState, nodes: &[InstanceId]) -> (Vec<InstanceId>, Vec<InstanceId>) {
    if run.instances.len() == 1 {
        return (vec![InstanceId::ROOT], Vec::new());
    }
    let mut closure = Closure {
        run,
        children: children(run),
        reset: BTreeSet::new(),
        reopened: BTreeSet::from([InstanceId::ROOT]),
    };
    let all = nodes.is_empty() || nodes.contains(&InstanceId::ROOT);
    let nodes = if all { closure.children[0].clone() } else { nodes.to_vec() };
    for node in nodes {
        closure.reset(node);
    }
    let Closure { reset, reopened, .. } = closure;
    let covered = |id: &InstanceId| {
        let mut at = run.instance(*id).parent;
        while let Some(current) = at {
            if reset.contains(&current) {
                return true;
            }
            at = run.instance(current).parent;
        }
        false
    };
    let reopened = reopened.iter().filter(|id| !reset.contains(id) && !covered(id)).copied();
    (reset.iter().filter(|id| !covered(id)).copied().collect(), reopened.collect())
}

struct Closure<'a> {
    run: &'a RunState,
    children: Vec<Vec<InstanceId>>,
    reset: BTreeSet<InstanceId>,
    reopened: BTreeSet<InstanceId>,
}

impl Closure<'_> {
    fn reset(&mut self, node: InstanceId) {
        let mut todo = vec![node];
        while let Some(node) = todo.pop() {
            if !self.reset.insert(node) {
                continue;
            }
            // Whatever depends on it, and on all that it is in.
            let mut at = node;
            while let Some(parent) = self.run.instance(at).parent {
                if self.run.instance(at).leg.is_none() {
                    todo.extend(self.dependents(parent, self.run.instance(at).plan));
                }
                self.reopened.insert(parent);
                at = parent;
            }
        }
    }

    fn dependents(&self, scope: InstanceId, plan: PlanNodeId) -> Vec<InstanceId> {
        let siblings = &self.children[scope.index()];
        let at = |dependent: &PlanNodeId| {
            siblings.get(self.run.position[dependent.index()] as usize).copied()
        };
        self.run.dependents[plan.index()].iter().filter_map(at).collect()
    }
}

/// Puts those nodes back; see [`crate::Record::Rerun`].
pub(crate) fn apply(
    run: &mut RunState,
    reset: &[InstanceId],
    reopened: &[InstanceId],
    resume: Option<(InstanceId, u32)>,
) {
    let below = children(run);
    let attempt = run.attempt;
    for id in reset {
        let mut gone = below[id.index()].clone();
        while let Some(id) = gone.pop() {
            run.instances[id.index()].superseded = true;
            gone.extend(&below[id.index()]);
        }
        let instance = &mut run.instances[id.index()];
        *instance = Instance {
            plan: instance.plan,
            parent: instance.parent,
            cell: instance.cell.take(),
            leg: instance.leg,
            state: NodeState::Blocked { needs_left: 0 },
            cancel: None,
            resolved: None,
            // Those of the root are given with the run.
            inputs: if instance.parent.is_none() {
                std::mem::take(&mut instance.inputs)
            } else {
                Value::Null
            },
            epoch: instance.epoch,
            stopping: None,
            began: None,
            attempt: instance.attempt,
            run_attempt: attempt,
            fan: None,
            again: None,
            resume: resume.filter(|(node, _)| node == id).map(|(_, step)| step),
            superseded: false,
            before: instance.attempt,
        };
    }
    for id in reopened {
        let instance = &mut run.instances[id.index()];
        instance.state = NodeState::Waiting { groups_held: 0 };
        instance.cancel = None;
        instance.run_attempt = attempt;
    }
    for id in reset {
        if run.instances[id.index()].leg.is_none() {
            let left = needs_left(run, &below, *id);
            run.instances[id.index()].state = NodeState::Blocked { needs_left: left };
        }
    }
    for id in reopened {
        let counters = counters(run, *id, &below[id.index()]);
        run.instances[id.index()].again = Some(counters);
    }
    run.output_bytes = run
        .instances
        .iter()
        .filter(|i| !i.superseded)
        .filter_map(|i| i.settled().filter(|s| s.by == By::Attempt))
        .map(|s| output_size(&s.outputs))
        .sum();
}

fn needs_left(run: &RunState, below: &[Vec<InstanceId>], id: InstanceId) -> u32 {
    let instance = run.instance(id);
    let Some(scope) = instance.parent else { return 0 };
    let needs = &run.plan.node(instance.plan).needs;
    let open = needs.iter().filter(|need| {
        let position = run.position[need.index()] as usize;
        let need = below[scope.index()].get(position);
        need.is_some_and(|n| run.instance(*n).settled().is_none())
    });
    u32::try_from(open.count()).unwrap_or(u32::MAX)
}

/// The numbers of a scope or fan-out some of whose nodes are settled already.
fn counters(run: &RunState, id: InstanceId, children: &[InstanceId]) -> Counters {
    let fan = run.instance(id).fan;
    let mut counters = Counters {
        children: children.to_vec(),
        max_parallel: fan.and_then(|f| f.max_parallel),
        fail_fast: fan.is_some_and(|f| f.fail_fast),
        fan_out: fan.is_some(),
        ..Counters::default()
    };
    let mut kept = Vec::new();
    for child in children {
        match run.instance(*child).settled() {
            Some(settled) => kept.push(settled),
            None => counters.unsettled += 1,
        }
    }
    for settled in &kept {
        count(&mut counters.tally, settled.result, settled.by);
    }
    if counters.fan_out {
        kept.sort_by_key(|s| s.at);
        for settled in kept {
            merge(&mut counters.merged, &settled.outputs);
        }
    }
    counters
}
