//! The run machine: `decide`, `apply`, `outstanding`.
//!
//! A pure and deterministic state machine over a [`Plan`](trainyard_plan::Plan). Only [`decide`]
//! asks the language, and every answer is in a [`Record`]; [`apply`] builds the state from
//! records alone, so a replay needs no language, no clock and no world. What the run wants of the
//! world is the set of its outstanding [`Effect`]s.
//!
//! Node states: `Blocked -> Waiting -> Active -> Settled`, a fan-out or scope
//! `Blocked -> Waiting -> Open -> Settled`; anything unsettled may settle at once. Attempt states:
//! `Offered -> Leased -> Running`, each may end. Cancellation is a field, not a state. Out of
//! `Settled` leads only a re-run, and only when the whole run is over.
//!
//! Deliberately absent, until something needs them: back-off, approvals and wait
//! timers of environments, the task cache, loops over items.

mod apply;
mod decide;
mod limits;
mod record;
mod rerun;
mod state;

#[cfg(test)]
mod tests;

pub use apply::apply;
pub use decide::{Command, Refusal, decide, start};
pub use limits::{MAX_INSTANCES, MAX_OUTPUT_BYTES, MAX_RUN_OUTPUT_BYTES};
pub use record::{By, Cause, Effect, EffectKey, Record, Strength};
pub use state::{
    AttemptState, Cancel, Counters, Fan, Instance, InstanceId, NodeState, RunState, Settled,
};

/// What the run wants of the world, in a stable order. A function of the state alone: after a
/// restart, replay and perform what is outstanding.
pub fn outstanding(run: &RunState) -> impl Iterator<Item = (&EffectKey, &Effect)> {
    run.effects.iter()
}
