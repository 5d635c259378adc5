use serde::{Deserialize, Serialize};
use trainyard_model::{JobResult, Outcome, Timestamp, Value};
use trainyard_plan::{Cell, Group, Plan, Reason, Resolved};

use crate::state::InstanceId;

/// Who settled a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The attempt at it ended.
    Attempt,
    /// Its gate was shut.
    Gate,
    /// A cancel.
    Cancel,
    /// Something could not be evaluated, or a limit was passed.
    Error,
    /// Nobody would take it.
    Declined,
    /// Its own nodes, all settled.
    Nodes,
    /// What was made before stands for it.
    Cache,
}

/// Why something is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody asked.
    User,
    /// Another leg of its matrix failed.
    FailFast,
    /// A newer run of its concurrency group.
    Group,
}

/// How hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strength {
    /// Gates are asked again; `always()` goes on.
    Polite,
    /// No gate is asked.
    Force,
}

/// One durable fact of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Record {
    /// The run exists.
    Started {
        /// Its plan.
        plan: Plan,
        /// The inputs of its root.
        inputs: Value,
        /// When.
        at: Timestamp,
    },
    /// Its labels, groups and limits are known; it waits for its groups and its slot.
    Resolved {
        /// Which.
        node: InstanceId,
        /// What.
        resolved: Resolved,
    },
    /// It became several.
    FannedOut {
        /// Which.
        node: InstanceId,
        /// Into what.
        cells: Vec<Cell>,
        /// At once at most.
        max_parallel: Option<u32>,
        /// Whether one failure cancels the rest.
        fail_fast: bool,
    },
    /// It holds one more of its groups.
    GroupHeld {
        /// Which.
        node: InstanceId,
    },
    /// A scope began: its nodes are there.
    Opened {
        /// Which.
        node: InstanceId,
        /// Its inputs.
        inputs: Value,
    },
    /// A leaf is offered to runners.
    Offered {
        /// Which.
        node: InstanceId,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// A runner has it.
    Leased {
        /// Which.
        node: InstanceId,
        /// The lease's number; writes under an older one are refused.
        epoch: u32,
        /// Who.
        runner: String,
    },
    /// Its first step began.
    Began {
        /// Which.
        node: InstanceId,
        /// When.
        at: Timestamp,
    },
    /// An attempt failed, and another follows.
    Retrying {
        /// Which.
        node: InstanceId,
        /// How the attempt ended.
        outcome: Outcome,
        /// Why.
        reason: Reason,
        /// When the next one is offered.
        due: Timestamp,
        /// When.
        at: Timestamp,
    },
    /// A cancel was accepted.
    CancelAccepted {
        /// What it is aimed at.
        node: InstanceId,
        /// Why.
        cause: Cause,
        /// How hard.
        strength: Strength,
    },
    /// A leased leaf is told to stop.
    Stopping {
        /// Which.
        node: InstanceId,
        /// When it is given up.
        deadline: Timestamp,
        /// How hard.
        strength: Strength,
    },
    /// The run begins again in part: what is reset and what that is in.
    Rerun {
        /// Which attempt at the run this is, from 2.
        attempt: u32,
        /// Nodes that are as if they had never begun. What was below them stays for its history.
        reset: Vec<InstanceId>,
        /// Scopes and fan-outs that keep some of their nodes.
        reopened: Vec<InstanceId>,
        /// A leaf among those that are reset, and the step it begins with.
        resume: Option<(InstanceId, u32)>,
        /// When.
        at: Timestamp,
    },
    /// A scope or fan-out of a re-run goes on with the nodes it has.
    Reopened {
        /// Which.
        node: InstanceId,
    },
    /// It is over.
    Settled {
        /// Which.
        node: InstanceId,
        /// How it ended.
        outcome: Outcome,
        /// What the language sees.
        result: JobResult,
        /// Why.
        reason: Reason,
        /// Who says so.
        by: By,
        /// Its outputs, an object or null.
        outputs: Value,
        /// When.
        at: Timestamp,
    },
}

/// The identity of an effect: performing one twice does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EffectKey {
    /// To offer a leaf, by attempt.
    Offer(InstanceId, u32),
    /// To hold a group, by its place in the list.
    Hold(InstanceId, u32),
    /// To stop a leaf, by epoch and strength.
    Stop(InstanceId, u32, bool),
    /// To call back at a time, by epoch.
    Timer(InstanceId, u32),
    /// To see that a lease is kept, by epoch.
    Watch(InstanceId, u32),
}

/// What the engine wants of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Let a runner take this leaf; answer `Lease` or `Decline`.
    Offer {
        /// Which.
        node: InstanceId,
        /// Which attempt.
        attempt: u32,
    },
    /// Get this group and keep it until the effect is gone; answer `GroupGranted` or
    /// `GroupRefused`.
    Hold {
        /// For whom.
        node: InstanceId,
        /// Which.
        group: Group,
    },
    /// Make the runner stop; answer `Finish`.
    Stop {
        /// Which.
        node: InstanceId,
        /// Under which lease.
        epoch: u32,
        /// How hard.
        strength: Strength,
    },
    /// See that the runner lives; answer `Lost` when it does not.
    Watch {
        /// Whose.
        node: InstanceId,
        /// Under which lease.
        epoch: u32,
    },
    /// Answer `Timer` at that time.
    Timer {
        /// For whom.
        node: InstanceId,
        /// When.
        due: Timestamp,
    },
}
