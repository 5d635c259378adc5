//! How jobs stand that do not run yet, for the live view: said as records come.

use std::collections::BTreeMap;

use trainyard_engine::{InstanceId, NodeState, Record, RunState};
use trainyard_plan::NodeKind;

use super::full_name;
use crate::ui::{Event as Show, Standing, Ui};

/// A run of which it is said.
pub struct Stands<'a> {
    /// Its number.
    pub run: i64,
    /// Its state, with the record applied.
    pub state: &'a RunState,
    /// The names of its jobs, as far as they are known.
    pub names: &'a BTreeMap<InstanceId, String>,
    /// Where it is said.
    pub ui: &'a mut Ui,
}

impl Stands<'_> {
    /// Shows what a record means for jobs that do not run yet.
    pub fn say(&mut self, record: &Record) {
        let state = self.state;
        let children = |node: InstanceId| match &state.instance(node).state {
            NodeState::Open(counters) => counters.children.clone(),
            _ => Vec::new(),
        };
        match record {
            Record::Opened { node, .. }
            | Record::FannedOut { node, .. }
            | Record::Reopened { node } => {
                let below = children(*node);
                self.stand(*node, Standing::Gone, "");
                for child in below {
                    self.job_waits(child);
                }
            }
            Record::Resolved { node, .. } | Record::Offered { node, .. } => {
                self.job_waits(*node);
            }
            _ => {}
        }
    }

    fn job_waits(&mut self, node: InstanceId) {
        let state = self.state;
        let instance = state.instance(node);
        let why = match &instance.state {
            NodeState::Blocked { .. } if instance.leg.is_none() => {
                let plan = state.plan();
                let needs = plan.node(instance.plan).needs.iter();
                let needs: Vec<&str> = needs.map(|n| plan.node(*n).key.as_str()).collect();
                if needs.is_empty() { String::new() } else { format!("after {}", needs.join(", ")) }
            }
            NodeState::Waiting { groups_held } => {
                let groups = instance.resolved.as_ref().map(|r| &r.groups);
                match groups.and_then(|g| g.get(*groups_held as usize)) {
                    Some(group) => format!("waits for the concurrency group '{}'", group.name),
                    None => "waits for its turn".into(),
                }
            }
            NodeState::Active { .. } => "waits for a place".into(),
            NodeState::Backoff { .. } => "waits to be tried again".into(),
            // It runs, or is over: that is said by others.
            NodeState::Blocked { .. } => String::new(),
            NodeState::Open(_) | NodeState::Settled(_) => return,
        };
        self.stand(node, Standing::Waits, &why);
    }

    fn stand(&mut self, node: InstanceId, standing: Standing, why: &str) {
        let instance = self.state.instance(node);
        let plan = self.state.plan();
        let is_scope = plan.node(instance.plan).kind == NodeKind::Scope;
        if node == InstanceId::ROOT || (is_scope && standing == Standing::Waits) {
            return;
        }
        let key = &plan.node(instance.plan).key;
        let group = instance.leg.and(instance.parent).map(|parent| self.state.path(parent));
        let known = self.names.get(&node);
        let name = match (known, instance.leg) {
            (Some(name), _) => name.clone(),
            (None, Some(leg)) => {
                full_name(self.names, self.state, node, &format!("{key} [{}]", leg + 1))
            }
            (None, None) => full_name(self.names, self.state, node, key),
        };
        self.ui.show(&Show::JobStands {
            run: self.run,
            node: i64::from(node.0),
            job: &name,
            group: group.as_deref(),
            standing,
            why,
        });
    }
}
