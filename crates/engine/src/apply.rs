//! Building the state from records. Total on any journal that `decide` wrote: a record that fits
//! no state is ignored, so that a damaged journal gives a state one can look at.

use std::sync::Arc;

use trainyard_model::{JobResult, Value};
use trainyard_plan::{NodeKind, PlanNodeId, Tally};

use crate::record::{By, Effect, EffectKey, Record, Strength};
use crate::rerun;
use crate::state::{
    AttemptState, Cancel, Counters, Fan, Instance, InstanceId, NodeState, RunState, Settled,
};

/// Milliseconds that the engine waits beyond a job's own time limits before it gives it up.
const BACKSTOP_MS: i64 = 60_000;

/// Changes the state as the record says.
pub fn apply(run: &mut RunState, record: &Record) {
    match record {
        Record::Started { plan, inputs, at } => {
            run.dependents = vec![Vec::new(); plan.nodes.len()];
            run.position = vec![0; plan.nodes.len()];
            for (i, node) in (0u32..).zip(&plan.nodes) {
                for need in &node.needs {
                    run.dependents[need.index()].push(PlanNodeId(i));
                }
                for (position, child) in (0u32..).zip(&node.children) {
                    run.position[child.index()] = position;
                }
            }
            run.plan = plan.clone();
            run.instances = vec![blank(PlanNodeId::ROOT, None, None)];
            run.instances[0].inputs = inputs.clone();
            run.last = *at;
            run.attempt = 1;
        }
        Record::Resolved { node, resolved } => {
            let instance = &mut run.instances[node.index()];
            instance.resolved = Some(resolved.clone());
            instance.state = NodeState::Waiting { groups_held: 0 };
            want_group(run, *node, 0);
        }
        Record::GroupHeld { node } => {
            let held = match &mut run.instances[node.index()].state {
                NodeState::Waiting { groups_held } => {
                    *groups_held += 1;
                    *groups_held
                }
                _ => return,
            };
            want_group(run, *node, held);
        }
        Record::FannedOut { node, cells, max_parallel, fail_fast } => {
            let plan = run.instances[node.index()].plan;
            let mut counters = Counters {
                max_parallel: *max_parallel,
                fail_fast: *fail_fast,
                fan_out: true,
                ..Counters::default()
            };
            for (leg, cell) in (0u32..).zip(cells) {
                let mut instance = blank(plan, Some(*node), run.instances[node.index()].cancel);
                instance.cell = Some(cell.clone());
                instance.leg = Some(leg);
                counters.children.push(push(run, instance));
            }
            counters.unsettled = u32::try_from(counters.children.len()).unwrap_or(u32::MAX);
            let instance = &mut run.instances[node.index()];
            instance.fan = Some(Fan { max_parallel: *max_parallel, fail_fast: *fail_fast });
            instance.state = NodeState::Open(counters);
        }
        Record::Opened { node, inputs } => {
            take_slot(run, *node);
            let plan = run.instances[node.index()].plan;
            let cancel = run.instances[node.index()].cancel;
            let mut counters = Counters::default();
            for child in run.plan.node(plan).children.clone() {
                let mut instance = blank(child, Some(*node), cancel);
                let needs = run.plan.node(child).needs.len();
                instance.state =
                    NodeState::Blocked { needs_left: u32::try_from(needs).unwrap_or(u32::MAX) };
                counters.children.push(push(run, instance));
            }
            counters.unsettled = u32::try_from(counters.children.len()).unwrap_or(u32::MAX);
            let instance = &mut run.instances[node.index()];
            instance.inputs = inputs.clone();
            instance.state = NodeState::Open(counters);
        }
        Record::Offered { node, attempt } => {
            // One that is offered again has kept its slot.
            if matches!(run.instances[node.index()].state, NodeState::Waiting { .. }) {
                take_slot(run, *node);
            }
            clear_lease(run, *node);
            let instance = &mut run.instances[node.index()];
            instance.attempt = *attempt;
            instance.state = NodeState::Active { attempt: *attempt, state: AttemptState::Offered };
            run.effects.insert(
                EffectKey::Offer(*node, *attempt),
                Effect::Offer { node: *node, attempt: *attempt },
            );
        }
        Record::Leased { node, epoch, .. } => {
            run.effects.retain(|key, _| !matches!(key, EffectKey::Offer(n, _) if n == node));
            let instance = &mut run.instances[node.index()];
            instance.epoch = *epoch;
            if let NodeState::Active { state, .. } = &mut instance.state {
                *state = AttemptState::Leased;
            }
            let watch = Effect::Watch { node: *node, epoch: *epoch };
            run.effects.insert(EffectKey::Watch(*node, *epoch), watch);
        }
        Record::Began { node, at } => {
            run.last = *at;
            let instance = &mut run.instances[node.index()];
            instance.began = Some(*at);
            if let NodeState::Active { state, .. } = &mut instance.state {
                *state = AttemptState::Running;
            }
            let limits = instance.resolved.as_ref();
            let limit = limits.map_or(0, |r| r.timeout_ms.saturating_add(r.cancel_timeout_ms));
            let due = at.plus_millis(limit.saturating_add(BACKSTOP_MS));
            let key = EffectKey::Timer(*node, instance.epoch);
            run.effects.insert(key, Effect::Timer { node: *node, due });
        }
        Record::Retrying { node, due, at, .. } => {
            run.last = *at;
            clear_lease(run, *node);
            let instance = &mut run.instances[node.index()];
            instance.state = NodeState::Backoff { due: *due };
            instance.began = None;
            let key = EffectKey::Timer(*node, instance.epoch);
            run.effects.insert(key, Effect::Timer { node: *node, due: *due });
        }
        Record::CancelAccepted { node, cause, strength } => {
            let cancel = Cancel { cause: *cause, strength: *strength };
            for id in run.subtree(*node) {
                let instance = &mut run.instances[id.index()];
                // A polite one does not soften a forced one that was aimed at less.
                let stronger = instance.cancel.is_some_and(|c| c.strength > *strength);
                if instance.settled().is_none() && !stronger {
                    instance.cancel = Some(cancel);
                }
            }
        }
        Record::Stopping { node, deadline, strength } => {
            let instance = &mut run.instances[node.index()];
            instance.stopping = Some(*strength);
            let epoch = instance.epoch;
            let force = *strength == Strength::Force;
            run.effects.insert(
                EffectKey::Stop(*node, epoch, force),
                Effect::Stop { node: *node, epoch, strength: *strength },
            );
            run.effects.insert(
                EffectKey::Timer(*node, epoch),
                Effect::Timer { node: *node, due: *deadline },
            );
        }
        Record::Rerun { attempt, reset, reopened, resume, at } => {
            run.last = *at;
            run.attempt = *attempt;
            rerun::apply(run, reset, reopened, *resume);
            if run.instances[0].again.is_some() {
                want_group(run, InstanceId::ROOT, 0);
            }
        }
        Record::Reopened { node } => {
            take_slot(run, *node);
            let instance = &mut run.instances[node.index()];
            let Some(counters) = instance.again.take() else { return };
            let children = counters.children.clone();
            instance.state = NodeState::Open(counters);
            for child in children {
                if run.instances[child.index()].again.is_some() {
                    want_group(run, child, 0);
                }
            }
        }
        Record::Settled { .. } => settle(run, record),
    }
}

fn blank(plan: PlanNodeId, parent: Option<InstanceId>, cancel: Option<Cancel>) -> Instance {
    Instance {
        plan,
        parent,
        cell: None,
        leg: None,
        state: NodeState::Blocked { needs_left: 0 },
        cancel,
        resolved: None,
        inputs: Value::Null,
        epoch: 0,
        stopping: None,
        began: None,
        attempt: 0,
        run_attempt: 1,
        fan: None,
        again: None,
        resume: None,
        superseded: false,
        before: 0,
    }
}

fn push(run: &mut RunState, mut instance: Instance) -> InstanceId {
    instance.run_attempt = run.attempt;
    run.instances.push(instance);
    InstanceId(u32::try_from(run.instances.len() - 1).unwrap_or(u32::MAX))
}

/// Wants the group at that place in the list, if there is one.
fn want_group(run: &mut RunState, node: InstanceId, index: u32) {
    let groups = run.instances[node.index()].resolved.as_ref().map(|r| &r.groups);
    if let Some(group) = groups.and_then(|g| g.get(index as usize)) {
        let effect = Effect::Hold { node, group: group.clone() };
        run.effects.insert(EffectKey::Hold(node, index), effect);
    }
}

/// Legs count from slot to settled, called workflows included.
fn take_slot(run: &mut RunState, node: InstanceId) {
    let instance = &run.instances[node.index()];
    if let (Some(_), Some(parent)) = (instance.leg, instance.parent)
        && let NodeState::Open(counters) = &mut run.instances[parent.index()].state
    {
        counters.active += 1;
        // They get theirs in order; those that were cancelled have none to come.
        let mut next = counters.next as usize;
        let waits = |id: &InstanceId| {
            let state = &run.instances[id.index()].state;
            matches!(state, NodeState::Blocked { .. } | NodeState::Waiting { .. })
        };
        let NodeState::Open(counters) = &run.instances[parent.index()].state else { return };
        while counters.children.get(next).is_some_and(|leg| *leg == node || !waits(leg)) {
            next += 1;
        }
        let next = u32::try_from(next).unwrap_or(u32::MAX);
        if let NodeState::Open(counters) = &mut run.instances[parent.index()].state {
            counters.next = next;
        }
    }
}

fn clear_lease(run: &mut RunState, node: InstanceId) {
    run.effects.retain(|key, _| {
        !matches!(key, EffectKey::Stop(n, ..) | EffectKey::Timer(n, _) | EffectKey::Offer(n, _) | EffectKey::Watch(n, _) if *n == node)
    });
}

fn settle(run: &mut RunState, record: &Record) {
    let Record::Settled { node, outcome, result, reason, by, outputs, at } = record else { return };
    let (failed, succeeded) = run.ancestry(*node);
    let held_slot = !matches!(
        run.instances[node.index()].state,
        NodeState::Blocked { .. } | NodeState::Waiting { .. }
    );
    run.last = *at;
    if *by == By::Attempt {
        run.output_bytes += output_size(outputs);
    }
    clear_lease(run, *node);
    run.effects.retain(|key, _| !matches!(key, EffectKey::Hold(n, _) if n == node));
    let instance = &mut run.instances[node.index()];
    let (plan, parent, leg) = (instance.plan, instance.parent, instance.leg);
    instance.resume = None;
    instance.again = None;
    instance.state = NodeState::Settled(Settled {
        outcome: *outcome,
        result: *result,
        reason: reason.clone(),
        by: *by,
        outputs: outputs.clone(),
        any_failed: failed || *result == JobResult::Failure,
        all_succeeded: succeeded && *result == JobResult::Success,
        at: *at,
    });
    let Some(parent) = parent else { return };
    let above = &mut run.instances[parent.index()];
    let counters = match (&mut above.state, &mut above.again) {
        (NodeState::Open(counters), _) => counters,
        // Cancelled before what it is in had its turn in a re-run.
        (_, Some(counters)) => counters,
        _ => return,
    };
    counters.unsettled = counters.unsettled.saturating_sub(1);
    count(&mut counters.tally, *result, *by);
    if leg.is_some() {
        if held_slot {
            counters.active = counters.active.saturating_sub(1);
        }
        merge(&mut counters.merged, outputs);
        return;
    }
    let children = counters.children.clone();
    for dependent in run.dependents[plan.index()].clone() {
        let position = run.position[dependent.index()] as usize;
        if let Some(id) = children.get(position)
            && let NodeState::Blocked { needs_left } = &mut run.instances[id.index()].state
        {
            *needs_left = needs_left.saturating_sub(1);
        }
    }
}

/// Bytes of a leaf's outputs.
pub(crate) fn output_size(outputs: &Value) -> usize {
    match outputs {
        Value::String(text) => text.len(),
        Value::Object(object) => object.iter().map(|(k, v)| k.len() + v.to_text().len()).sum(),
        _ => 0,
    }
}

/// Counts a settled node.
pub(crate) fn count(tally: &mut Tally, result: JobResult, by: By) {
    match result {
        JobResult::Success => tally.success += 1,
        JobResult::Failure => tally.failure += 1,
        JobResult::Cancelled => tally.cancelled += 1,
        JobResult::Skipped => tally.skipped += 1,
    }
    if by == By::Cancel || result == JobResult::Cancelled {
        tally.cut_short += 1;
    }
}

/// Of the legs that set an output, the last one with a value wins.
pub(crate) fn merge(merged: &mut Value, outputs: &Value) {
    let Value::Object(new) = outputs else { return };
    let mut object = match std::mem::take(merged) {
        Value::Object(object) => Arc::unwrap_or_clone(object),
        _ => trainyard_model::Object::new(),
    };
    for (key, value) in new.iter() {
        let empty = value.as_str().is_some_and(str::is_empty);
        if !empty || object.get(key).is_none() {
            object.insert(key, value.clone());
        }
    }
    *merged = Value::Object(Arc::new(object));
}

impl RunState {
    /// An instance and all below it, parents first.
    pub(crate) fn subtree(&self, root: InstanceId) -> Vec<InstanceId> {
        let mut out = vec![root];
        let mut next = 0;
        while next < out.len() {
            let instance = &self.instances[out[next].index()];
            match (&instance.state, &instance.again) {
                (NodeState::Open(counters), _) | (_, Some(counters)) => {
                    out.extend(&counters.children);
                }
                _ => {}
            }
            next += 1;
        }
        out
    }

    /// Whether it is a leaf by its plan node.
    pub(crate) fn is_work(&self, id: InstanceId) -> bool {
        self.plan.node(self.instances[id.index()].plan).kind == NodeKind::Work
    }
}
