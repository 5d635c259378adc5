//! What broken builds do beyond what was decided.

use trainyard_engine::{Command, InstanceId, NodeState, Record, apply};
use trainyard_model::{Outcome, Timestamp};

use super::World;
use crate::broken::Broken;

impl World {
    /// What broken builds do beyond what was decided.
    pub(super) fn meddle(&mut self, command: &Command, records: &mut Vec<Record>) {
        let extra = match (self.broken, command) {
            (Some(Broken::LeasesTwice), Command::Lease { node, runner, .. }) => {
                let (node, epoch) = (*node, self.run.instance(*node).epoch + 1);
                Some(Record::Leased { node, epoch, runner: runner.clone() })
            }
            (Some(Broken::SettlesTwice), Command::Finish { node, .. }) => {
                let settled = self.run.instance(*node).settled().cloned();
                settled.map(|s| Record::Settled {
                    node: *node,
                    outcome: Outcome::Lost,
                    result: s.result,
                    reason: s.reason,
                    by: s.by,
                    outputs: s.outputs,
                    at: s.at,
                })
            }
            (Some(Broken::ResetsTooMuch), Command::Rerun { .. }) => {
                // One more that was not asked for, after the fact.
                let attempt = self.run.attempt();
                let kept = self.run.instances().find(|(id, i)| {
                    i.settled().is_some() && i.parent == Some(InstanceId::ROOT) && id.0 > 0
                });
                kept.map(|(node, _)| Record::Rerun {
                    attempt,
                    reset: vec![node],
                    reopened: Vec::new(),
                    resume: None,
                    at: Timestamp(self.now),
                })
            }
            (Some(Broken::IgnoresMaxParallel), _) => {
                let waits = self.run.instances().find(|(_, i)| {
                    let groups = i.resolved.as_ref().map_or(0, |r| r.groups.len());
                    i.leg.is_some() && matches!(i.state, NodeState::Waiting { groups_held } if groups_held as usize == groups)
                });
                let waits = waits.filter(|(id, _)| self.is_job(*id));
                waits.map(|(node, i)| Record::Offered { node, attempt: i.attempt + 1 })
            }
            _ => None,
        };
        if let Some(record) = extra {
            apply(&mut self.run, &record);
            records.push(record);
        }
    }
}
