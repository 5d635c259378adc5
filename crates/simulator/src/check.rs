//! What must hold after every step. Each checker has a name, and a broken build that it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use trainyard_engine::{
    AttemptState, Command, Effect, EffectKey, InstanceId, NodeState, Record, RunState, Strength,
    outstanding,
};
use trainyard_model::Outcome;
use trainyard_plan::{Plan, Semantics, Verdict, View};

/// The checkers by name.
pub const CHECKERS: [&str; 15] = [
    "replay", "fence", "lease", "needs", "outcome", "groups", "limits", "secrets", "effects",
    "refusal", "waits", "cancel", "rerun", "steps", "liveness",
];

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which checker found it.
    pub checker: &'static str,
    /// What it is.
    pub text: String,
}

impl Violation {
    pub(crate) fn new(checker: &'static str, text: impl Into<String>) -> Violation {
        Violation { checker, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "violation of '{}': {}", self.checker, self.text)
    }
}

type Checked = Result<(), Violation>;

fn ensure(holds: bool, checker: &'static str, text: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation::new(checker, text())) }
}

/// What checkers remember of a run.
#[derive(Default)]
pub(crate) struct Memory {
    /// The plan as it was made, not as the engine has it.
    pub plan: Option<Plan>,
    /// How the attempt of a node at an attempt of the run ended.
    outcomes: BTreeMap<(InstanceId, u32), Outcome>,
    /// The epoch of each lease that is in force.
    leases: BTreeMap<InstanceId, u32>,
    /// The highest epoch of each node.
    epochs: BTreeMap<InstanceId, u32>,
    /// How many legs of a fan-out may run at once, as its record says before it is meddled with.
    pub parallel: BTreeMap<InstanceId, u32>,
    /// A forced cancel of the whole run in this attempt.
    forced: bool,
    polite: bool,
}

impl Memory {
    /// Looks at what a command led to.
    pub fn records(
        &mut self,
        run: &RunState,
        records: &[Record],
        semantics: &dyn Semantics,
    ) -> Checked {
        for record in records {
            match record {
                Record::Leased { node, epoch, .. } => {
                    let last = self.epochs.insert(*node, *epoch).unwrap_or(0);
                    ensure(*epoch > last, "lease", || {
                        format!("{} got epoch {epoch} after {last}", run.path(*node))
                    })?;
                    let other = self.leases.insert(*node, *epoch);
                    ensure(other.is_none(), "lease", || {
                        format!("{} is leased twice: {other:?} and {epoch}", run.path(*node))
                    })?;
                }
                Record::Offered { node, .. } => {
                    self.leases.remove(node);
                    self.offer(run, *node, semantics)?;
                }
                Record::Retrying { node, .. } => {
                    self.leases.remove(node);
                    let instance = run.instance(*node);
                    let retry = instance.resolved.as_ref().and_then(|r| r.retry);
                    let tried = instance.attempt - instance.before;
                    ensure(retry.is_some_and(|r| tried <= r.count), "limits", || {
                        format!("{} is tried again after {tried} attempts", run.path(*node))
                    })?;
                }
                Record::Settled { node, outcome, .. } => {
                    self.leases.remove(node);
                    let attempt = run.attempt();
                    if let Some(before) = self.outcomes.insert((*node, attempt), *outcome) {
                        return Err(Violation::new(
                            "outcome",
                            format!("{} ended as {before:?} and as {outcome:?}", run.path(*node)),
                        ));
                    }
                }
                Record::CancelAccepted { node: InstanceId::ROOT, strength, .. } => {
                    self.polite = true;
                    self.forced |= *strength == Strength::Force;
                }
                Record::Rerun { .. } => (self.forced, self.polite) = (false, false),
                _ => {}
            }
        }
        Ok(())
    }

    /// What may be offered: its needs are settled, and no cancel stands in the way.
    fn offer(&self, run: &RunState, node: InstanceId, semantics: &dyn Semantics) -> Checked {
        let instance = run.instance(node);
        let plan = self.plan.as_ref().unwrap_or(run.plan());
        let scope = run.scope_of(node).unwrap_or(InstanceId::ROOT);
        for need in &plan.node(instance.plan).needs {
            let found = run.find(scope, *need).map(|id| run.instance(id));
            ensure(found.is_some_and(|n| n.settled().is_some()), "needs", || {
                format!(
                    "{} is offered before '{}' is settled",
                    run.path(node),
                    plan.node(*need).key
                )
            })?;
        }
        ensure(!self.forced, "cancel", || {
            format!("{} is offered after a forced cancel", run.path(node))
        })?;
        // One that was lost before it began is offered again, whatever came meanwhile.
        let goes_on = !self.polite || instance.attempt > 1 && instance.epoch > 0 || {
            let needs = run.needs_of(node);
            let of = |r| needs.iter().any(|n| n.result == r);
            let view = View {
                node: instance.plan,
                needs: &needs,
                all_succeeded: !of(trainyard_model::JobResult::Failure),
                any_failed: of(trainyard_model::JobResult::Failure),
                cancelled: true,
                inputs: &run.instance(scope).inputs,
                cell: instance.cell.as_ref(),
                children: &[],
            };
            semantics.gate(&view) == Ok(Verdict::Run)
        };
        ensure(goes_on, "cancel", || {
            format!("{} is offered though its gate is false when cancelled", run.path(node))
        })
    }

    /// A report that was taken came from who holds the lease.
    pub fn fence(&self, run: &RunState, command: &Command) -> Checked {
        let (node, epoch) = match command {
            Command::Finish { node, epoch, .. }
            | Command::Begin { node, epoch }
            | Command::Lost { node, epoch }
            | Command::Timer { node, epoch } => (*node, *epoch),
            _ => return Ok(()),
        };
        // The timer of one that is to be tried again is of the lease that is over.
        if matches!(run.instance(node).state, NodeState::Backoff { .. }) {
            return Ok(());
        }
        ensure(self.leases.get(&node) == Some(&epoch), "fence", || {
            format!(
                "{} took a report of lease {epoch}, {:?} is in force",
                run.path(node),
                self.leases.get(&node)
            )
        })
    }

    /// Limits hold.
    pub fn limits(&self, run: &RunState) -> Checked {
        for (id, most) in &self.parallel {
            let NodeState::Open(counters) = &run.instance(*id).state else { continue };
            let runs = |leg: &&InstanceId| {
                matches!(run.instance(**leg).state, NodeState::Active { .. } | NodeState::Open(_))
            };
            let active = counters.children.iter().filter(runs).count();
            ensure(active <= *most as usize, "limits", || {
                format!("{} legs of {} run, {most} may", active, run.path(*id))
            })?;
        }
        Ok(())
    }
}

/// The effects that a state wants, found without the engine's own bookkeeping.
fn wanted(run: &RunState) -> BTreeSet<EffectKey> {
    let mut keys = BTreeSet::new();
    for (id, instance) in run.instances() {
        let groups = instance.resolved.as_ref().map_or(0, |r| r.groups.len());
        let hold = |keys: &mut BTreeSet<EffectKey>, count: usize| {
            for index in 0..count.min(groups) {
                keys.insert(EffectKey::Hold(id, u32::try_from(index).unwrap_or(u32::MAX)));
            }
        };
        match &instance.state {
            NodeState::Blocked { .. } | NodeState::Settled(_) => {}
            NodeState::Waiting { groups_held } => {
                // One that waits for what it is in to be its turn wants nothing yet.
                let above = instance.parent.map(|p| &run.instance(p).state);
                if !matches!(above, Some(NodeState::Waiting { .. })) {
                    hold(&mut keys, *groups_held as usize + 1);
                }
            }
            NodeState::Open(_) => hold(&mut keys, groups),
            NodeState::Backoff { .. } => {
                hold(&mut keys, groups);
                keys.insert(EffectKey::Timer(id, instance.epoch));
            }
            NodeState::Active { attempt, state } => {
                hold(&mut keys, groups);
                match state {
                    AttemptState::Offered => {
                        keys.insert(EffectKey::Offer(id, *attempt));
                    }
                    AttemptState::Leased | AttemptState::Running => {
                        keys.insert(EffectKey::Watch(id, instance.epoch));
                    }
                }
                let leased = *state != AttemptState::Offered;
                if let Some(strength) = instance.stopping.filter(|_| leased) {
                    let force = strength == Strength::Force;
                    keys.insert(EffectKey::Stop(id, instance.epoch, force));
                }
                if *state == AttemptState::Running || leased && instance.stopping.is_some() {
                    keys.insert(EffectKey::Timer(id, instance.epoch));
                }
            }
        }
    }
    keys
}

/// The kept set of effects is what the state wants. A polite stop may stand beside a forced one.
pub(crate) fn effects(run: &RunState, kept: &BTreeMap<EffectKey, Effect>) -> Checked {
    let kept: BTreeSet<EffectKey> = kept.keys().copied().collect();
    let wanted = wanted(run);
    let polite = |k: &&EffectKey| match k {
        EffectKey::Stop(node, epoch, false) => {
            !wanted.contains(&EffectKey::Stop(*node, *epoch, true))
        }
        _ => true,
    };
    let surplus = kept.difference(&wanted).find(polite);
    ensure(surplus.is_none(), "effects", || format!("nobody wants {surplus:?}"))?;
    let missing = wanted.difference(&kept).next();
    ensure(missing.is_none(), "waits", || format!("{missing:?} is wanted and not kept"))?;
    let over = run.conclusion().is_some();
    ensure(!over || kept.is_empty(), "effects", || "the run is over and wants something".into())
}

/// Every node that is not settled waits for something that is there.
pub(crate) fn waits(run: &RunState, kept: &BTreeMap<EffectKey, Effect>) -> Checked {
    if run.conclusion().is_some() {
        return Ok(());
    }
    let has = |id: InstanceId| kept.keys().any(|k| node_of(k) == id);
    for (id, instance) in run.instances().filter(|(_, i)| !i.superseded) {
        let waits = match &instance.state {
            NodeState::Settled(_) => true,
            NodeState::Blocked { needs_left } => {
                let above = instance.parent.map(|p| &run.instance(p).state);
                *needs_left > 0 || matches!(above, Some(NodeState::Waiting { .. }))
            }
            NodeState::Waiting { groups_held } => {
                let groups = instance.resolved.as_ref().map_or(0, |r| r.groups.len());
                let parent = instance.parent.map(|p| &run.instance(p).state);
                let slot = match parent {
                    Some(NodeState::Open(c)) => c.max_parallel.is_some_and(|m| c.active >= m),
                    Some(_) => true,
                    None => false,
                };
                (*groups_held as usize) < groups && has(id) || slot
            }
            NodeState::Active { .. } | NodeState::Backoff { .. } => has(id),
            NodeState::Open(counters) => {
                counters.children.iter().any(|c| run.instance(*c).settled().is_none())
            }
        };
        ensure(waits, "waits", || {
            format!("{} waits for nothing: {:?}", run.path(id), instance.state)
        })?;
    }
    Ok(())
}

fn node_of(key: &EffectKey) -> InstanceId {
    match key {
        EffectKey::Offer(n, _)
        | EffectKey::Hold(n, _)
        | EffectKey::Stop(n, ..)
        | EffectKey::Timer(n, _)
        | EffectKey::Watch(n, _) => *n,
    }
}

/// A re-run leaves alone what it was not asked for and what does not depend on that.
pub(crate) fn rerun(
    before: &RunState,
    after: &RunState,
    asked: &[InstanceId],
    plan: &Plan,
) -> Checked {
    let depends = |id: InstanceId| {
        // It, what it is in, or something that is asked for, reaches it by needs.
        let mut chain = vec![id];
        while let Some(parent) = chain.last().and_then(|c| before.instance(*c).parent) {
            chain.push(parent);
        }
        chain.iter().any(|c| asked.contains(c) || reached(before, plan, *c, asked))
    };
    if asked.is_empty() || asked.contains(&InstanceId::ROOT) {
        return Ok(());
    }
    for (id, instance) in before.instances().filter(|(_, i)| !i.superseded) {
        let leaf = instance.fan.is_none() && !before.instances().any(|(_, i)| i.parent == Some(id));
        if leaf && !depends(id) {
            ensure(after.instance(id) == instance, "rerun", || {
                format!("{} was not asked for and is changed", before.path(id))
            })?;
        }
    }
    Ok(())
}

/// Whether a node needs, directly or not, something that holds or is asked for.
fn reached(run: &RunState, plan: &Plan, node: InstanceId, asked: &[InstanceId]) -> bool {
    let instance = run.instance(node);
    let Some(scope) = run.scope_of(node) else { return false };
    let siblings = |need| {
        run.instances().filter(move |(_, i)| i.plan == need && !i.superseded && i.leg.is_none())
    };
    plan.node(instance.plan).needs.iter().any(|need| {
        siblings(*need).filter(|(_, i)| i.parent == Some(scope)).any(|(id, _)| {
            let holds = asked.iter().any(|a| {
                let mut at = Some(*a);
                while let Some(current) = at {
                    if current == id {
                        return true;
                    }
                    at = run.instance(current).parent;
                }
                false
            });
            holds || reached(run, plan, id, asked)
        })
    })
}

/// What the engine wants, as a map.
pub(crate) fn kept(run: &RunState) -> BTreeMap<EffectKey, Effect> {
    outstanding(run).map(|(k, e)| (*k, e.clone())).collect()
}
