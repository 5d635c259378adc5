use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trainyard_model::{JobResult, Outcome, Timestamp, Value};
use trainyard_plan::{Cell, NeedView, Plan, PlanNodeId, Reason, Resolved, Tally};

use crate::record::{By, Cause, Effect, EffectKey, Strength};

/// An instance of a plan node. Derived: the same records give the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId(pub u32);

impl InstanceId {
    /// The root scope.
    pub const ROOT: InstanceId = InstanceId(0);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptState {
    /// Runners may take it.
    Offered,
    /// A runner has it.
    Leased,
    /// Its first step has begun.
    Running,
}

/// Numbers of an open scope or fan-out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counters {
    /// Its nodes or legs.
    pub children: Vec<InstanceId>,
    /// How many are not settled.
    pub unsettled: u32,
    /// How many hold a slot.
    pub active: u32,
    /// How many may.
    pub max_parallel: Option<u32>,
    /// Whether one failed leg cancels the rest.
    pub fail_fast: bool,
    /// Whether this is a fan-out rather than a scope.
    pub fan_out: bool,
    /// The first leg that may wait for a slot: all before it have had one.
    pub next: u32,
    /// How those that settled ended.
    pub tally: Tally,
    /// Outputs of legs, merged in the order they settled.
    pub merged: Value,
}

/// A settled node.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// How it ended.
    pub outcome: Outcome,
    /// What the language sees.
    pub result: JobResult,
    /// Why.
    pub reason: Reason,
    /// Who says so.
    pub by: By,
    /// Its outputs.
    pub outputs: Value,
    /// Whether it or an ancestor failed.
    pub any_failed: bool,
    /// Whether it and all ancestors succeeded.
    pub all_succeeded: bool,
    /// When.
    pub at: Timestamp,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeState {
    /// Some needs are not settled.
    Blocked {
        /// How many.
        needs_left: u32,
    },
    /// Past its gate, waiting for groups and a slot.
    Waiting {
        /// How many groups it holds.
        groups_held: u32,
    },
    /// A leaf that is offered or running.
    Active {
        /// Which attempt, from 1.
        attempt: u32,
        /// Where the attempt is.
        state: AttemptState,
    },
    /// A leaf that failed and is tried again.
    Backoff {
        /// When.
        due: Timestamp,
    },
    /// A scope or fan-out with its own nodes.
    Open(Counters),
    /// Over.
    Settled(Settled),
}

/// A cancel that is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancel {
    /// Why.
    pub cause: Cause,
    /// How hard.
    pub strength: Strength,
}

/// A node of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// Its plan node.
    pub plan: PlanNodeId,
    /// The scope or fan-out it is in.
    pub parent: Option<InstanceId>,
    /// Its cell, for a leg.
    pub cell: Option<Cell>,
    /// Its number among the legs.
    pub leg: Option<u32>,
    /// Where it is.
    pub state: NodeState,
    /// A cancel aimed at it or at what it is in.
    pub cancel: Option<Cancel>,
    /// Labels, limits, groups, once known.
    pub resolved: Option<Resolved>,
    /// The inputs of a scope, once open.
    pub inputs: Value,
    /// The number of its last lease; never goes down.
    pub epoch: u32,
    /// Whether it was told to stop, and how hard.
    pub stopping: Option<Strength>,
    /// When its first step began.
    pub began: Option<Timestamp>,
    /// The number of its last attempt, from 1; never goes down.
    pub attempt: u32,
    /// The run attempt in which it was last begun, from 1.
    pub run_attempt: u32,
    /// Its limits, for a fan-out that was expanded.
    pub fan: Option<Fan>,
    /// What a scope or fan-out opens with once it is its turn again in a re-run.
    pub again: Option<Counters>,
    /// The step that the next attempt begins with; what that means is the runner's affair.
    pub resume: Option<u32>,
    /// Whether a re-run made what it is in anew: it stays for its history alone.
    pub superseded: bool,
    /// How many attempts it had before it was last begun: a re-run gives it all of its retries again.
    pub before: u32,
}

/// How a fan-out treats its legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fan {
    /// How many may hold a slot.
    pub max_parallel: Option<u32>,
    /// Whether one failed leg cancels the rest.
    pub fail_fast: bool,
}

impl Instance {
    /// Its settled facts, if it is over.
    pub fn settled(&self) -> Option<&Settled> {
        match &self.state {
            NodeState::Settled(settled) => Some(settled),
            _ => None,
        }
    }
}

/// The state of a run: what its records say.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    pub(crate) plan: Plan,
    pub(crate) instances: Vec<Instance>,
    /// Dependents of a plan node.
    pub(crate) dependents: Vec<Vec<PlanNodeId>>,
    pub(crate) effects: BTreeMap<EffectKey, Effect>,
    pub(crate) last: Timestamp,
    /// The place of a plan node among its scope's nodes.
    pub(crate) position: Vec<u32>,
    /// Bytes of all outputs of leaves.
    pub(crate) output_bytes: usize,
    pub(crate) attempt: u32,
}

impl RunState {
    /// Before the first record.
    pub fn empty() -> Self {
        RunState {
            plan: Plan::new(0),
            instances: Vec::new(),
            dependents: Vec::new(),
            effects: BTreeMap::new(),
            last: Timestamp::default(),
            position: Vec::new(),
            output_bytes: 0,
            attempt: 1,
        }
    }

    /// Which attempt at the run this is, from 1: `github.run_attempt`.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// An instance.
    pub fn instance(&self, id: InstanceId) -> &Instance {
        &self.instances[id.index()]
    }

    /// All instances with their numbers, parents before children.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceId, &Instance)> {
        (0u32..).map(InstanceId).zip(&self.instances)
    }

    /// How the run ended, if it has.
    pub fn conclusion(&self) -> Option<&Settled> {
        self.instances.first().and_then(Instance::settled)
    }

    /// Keys from the root down, legs as `key[2]`: `deploy/build[0]`.
    pub fn path(&self, id: InstanceId) -> String {
        let mut parts = Vec::new();
        let mut at = Some(id);
        while let Some(current) = at {
            let instance = self.instance(current);
            at = instance.parent;
            let key = &self.plan.node(instance.plan).key;
            match instance.leg {
                // The fan-out above it has the same key.
                Some(leg) => {
                    parts.push(format!("{key}[{leg}]"));
                    at = at.and_then(|p| self.instance(p).parent);
                }
                None if instance.parent.is_some() => parts.push(key.clone()),
                None => {}
            }
        }
        parts.reverse();
        parts.join("/")
    }

    /// The scope that a node's needs and inputs belong to: past the fan-out of a leg.
    pub fn scope_of(&self, id: InstanceId) -> Option<InstanceId> {
        let instance = self.instance(id);
        match instance.leg {
            Some(_) => instance.parent.and_then(|p| self.instance(p).parent),
            None => instance.parent,
        }
    }

    /// The instance of a plan node in a scope.
    pub fn find(&self, scope: InstanceId, node: PlanNodeId) -> Option<InstanceId> {
        match &self.instance(scope).state {
            NodeState::Open(counters) => {
                counters.children.get(self.position[node.index()] as usize).copied()
            }
            // A settled scope is asked for only while it settles, and then it is still open.
            _ => None,
        }
    }

    /// The settled direct needs of a node, in order.
    pub fn needs_of(&self, id: InstanceId) -> Vec<NeedView<'_>> {
        let Some(scope) = self.scope_of(id) else { return Vec::new() };
        self.plan
            .node(self.instance(id).plan)
            .needs
            .iter()
            .filter_map(|need| self.view_of(self.find(scope, *need)?))
            .collect()
    }

    pub(crate) fn view_of(&self, id: InstanceId) -> Option<NeedView<'_>> {
        let instance = self.instance(id);
        let settled = instance.settled()?;
        Some(NeedView {
            key: &self.plan.node(instance.plan).key,
            result: settled.result,
            outputs: settled.outputs.clone(),
            reason: &settled.reason.0,
        })
    }

    /// Two bits over all ancestors in the scope: whether any failed, whether all succeeded.
    pub(crate) fn ancestry(&self, id: InstanceId) -> (bool, bool) {
        let Some(scope) = self.scope_of(id) else { return (false, true) };
        let mut bits = (false, true);
        for need in &self.plan.node(self.instance(id).plan).needs {
            if let Some(settled) = self.find(scope, *need).and_then(|n| self.instance(n).settled())
            {
                bits.0 |= settled.any_failed;
                bits.1 &= settled.all_succeeded;
            }
        }
        bits
    }
}
