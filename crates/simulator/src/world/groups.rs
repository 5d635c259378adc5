//! Concurrency groups of the world: one holder a name, the others in the order they came.

use std::collections::BTreeMap;

use trainyard_engine::{Cause, Command, InstanceId, NodeState, Strength};
use trainyard_plan::Reason;

use super::{Done, Happening, World};
use crate::broken::Broken;
use crate::check::Violation;

impl World {
    pub(super) fn hold(&mut self, node: InstanceId, place: u32, name: &str, cancel: bool) {
        let queue = self.groups.entry(name.to_owned()).or_default();
        queue.push_back((node, place));
        // A restarted world learns from the state who holds a group already.
        let held = matches!(self.run.instance(node).state, NodeState::Waiting { groups_held } if groups_held > place)
            || !matches!(self.run.instance(node).state, NodeState::Waiting { .. });
        if held {
            let at = queue.len() - 1;
            queue.swap(0, at);
            return;
        }
        let holder = queue.front().copied();
        if holder == Some((node, place)) || self.broken == Some(Broken::SharesGroups) {
            self.later(3, Happening::Comes(Command::GroupGranted { node, index: place }));
        } else if self.faults && self.rng.u8(..20) == 0 {
            let reason = Reason::new("refused");
            self.later(3, Happening::Comes(Command::GroupRefused { node, reason }));
        } else if let (true, Some((target, _))) = (cancel, holder) {
            let (cause, strength) = (Cause::Group, Strength::Polite);
            // What is part of the holder cannot push it out.
            if !self.is_within(node, target) {
                self.later(3, Happening::Comes(Command::Cancel { target, cause, strength }));
            }
        }
        // A node that waits for a group that something around it holds would wait for ever.
        if let Some((holder, _)) = holder.filter(|(h, _)| *h != node && self.is_within(node, *h)) {
            let reason = Reason::new(format!("deadlock with {}", self.run.path(holder)));
            self.later(3, Happening::Comes(Command::GroupRefused { node, reason }));
        }
    }

    pub(super) fn is_first(&self, node: InstanceId, place: u32) -> bool {
        self.broken == Some(Broken::SharesGroups)
            || self.groups.values().any(|queue| queue.front() == Some(&(node, place)))
    }

    pub(super) fn is_within(&self, node: InstanceId, outer: InstanceId) -> bool {
        let mut at = Some(node);
        while let Some(current) = at {
            if current == outer {
                return true;
            }
            at = self.run.instance(current).parent;
        }
        false
    }

    pub(super) fn release(&mut self, node: InstanceId, place: u32) {
        let mut next = Vec::new();
        for queue in self.groups.values_mut() {
            let was_first = queue.front() == Some(&(node, place));
            queue.retain(|ticket| *ticket != (node, place));
            if was_first {
                next.extend(queue.front().copied());
            }
        }
        for (node, index) in next {
            self.later(3, Happening::Comes(Command::GroupGranted { node, index }));
        }
    }

    /// One node at a time holds a group, but for what is within the holder.
    pub(super) fn check_groups(&self) -> Done {
        let mut holders: BTreeMap<String, InstanceId> = BTreeMap::new();
        for (id, instance) in self.run.instances() {
            let held = match &instance.state {
                NodeState::Blocked { .. } | NodeState::Settled(_) => 0,
                NodeState::Waiting { groups_held } => *groups_held as usize,
                NodeState::Active { .. } | NodeState::Backoff { .. } | NodeState::Open(_) => {
                    usize::MAX
                }
            };
            let groups = instance.resolved.iter().flat_map(|r| &r.groups).take(held);
            for group in groups {
                if let Some(other) = holders.insert(group.name.to_lowercase(), id) {
                    return Err(Violation::new(
                        "groups",
                        format!(
                            "'{}' is held by {} and {}",
                            group.name,
                            self.run.path(other),
                            self.run.path(id)
                        ),
                    ));
                }
            }
        }
        Ok(())
    }
}
