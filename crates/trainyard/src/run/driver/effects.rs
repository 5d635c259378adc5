//! What the engines want, performed: offers, concurrency groups, stops, timers.

use std::collections::BTreeMap;

use trainyard_engine::{Cause, Command, Effect, EffectKey, InstanceId, Strength, outstanding};
use trainyard_model::Outcome;
use trainyard_plan::{Group, Reason};
use trainyard_workflow::model::JobKind;

use super::{Driver, Message};
use crate::error::{Error, Result};
use crate::run::fitness;
use crate::run::groups::{self, Ticket};

impl Driver<'_, '_> {
    pub(super) fn perform_all(&mut self, index: usize) -> Result<()> {
        let run = &self.runs[index];
        let wanted: BTreeMap<EffectKey, Effect> =
            outstanding(&run.state).map(|(k, e)| (*k, e.clone())).collect();
        let gone: Vec<EffectKey> =
            run.performed.keys().filter(|k| !wanted.contains_key(k)).copied().collect();
        let new: Vec<(EffectKey, Effect)> =
            wanted.into_iter().filter(|(k, e)| run.performed.get(k) != Some(e)).collect();
        for key in gone {
            self.runs[index].performed.remove(&key);
            self.withdraw(index, key)?;
        }
        for (key, effect) in new {
            if self.runs[index].performed.insert(key, effect.clone()).is_some() {
                self.withdraw(index, key)?;
            }
            self.perform(index, key, effect)?;
        }
        Ok(())
    }

    fn withdraw(&mut self, index: usize, key: EffectKey) -> Result<()> {
        match key {
            EffectKey::Offer(node, _) => self.queue.retain(|(i, n, _)| (*i, *n) != (index, node)),
            EffectKey::Hold(node, place) => {
                for next in self.groups.release((index, node, place)) {
                    self.granted(next)?;
                }
            }
            EffectKey::Timer(node, epoch) => {
                self.timers.retain(|(_, i, n, e), ()| (*i, *n, *e) != (index, node, epoch));
            }
            EffectKey::Stop(..) | EffectKey::Watch(..) => {}
        }
        Ok(())
    }

    fn perform(&mut self, index: usize, key: EffectKey, effect: Effect) -> Result<()> {
        match effect {
            Effect::Offer { node, attempt } => self.offer(index, node, attempt)?,
            Effect::Hold { node, group } => {
                if let EffectKey::Hold(_, place) = key {
                    self.hold(index, node, place, &group)?;
                }
            }
            Effect::Stop { node, strength, .. } => {
                if let Some(live) = self.runs[index].jobs.get(&node) {
                    live.stop(strength == Strength::Force);
                }
            }
            // A job's thread is this process: it reports its end or ends with it.
            Effect::Watch { .. } => {}
            Effect::Timer { node, due } => {
                let epoch = self.runs[index].state.instance(node).epoch;
                self.timers.insert((due, index, node, epoch), ());
            }
        }
        Ok(())
    }

    fn hold(&mut self, index: usize, node: InstanceId, place: u32, group: &Group) -> Result<()> {
        let repository = self.world.event.repository.clone();
        if let Some((holder_run, holder, _)) = self.groups.holder(&repository, group)
            && holder_run == index
            && self.is_ancestor(index, holder, node)
        {
            let reason = Reason::new(format!(
                "deadlock: the concurrency group '{}' is held by what this is part of",
                group.name
            ));
            self.tell(index, &Command::GroupRefused { node, reason })?;
            return Ok(());
        }
        let ticket = (index, node, place);
        let (evicted, answer) = self.groups.ask(&repository, group, ticket);
        for (run, node, _) in evicted {
            let reason = Reason::new(format!(
                "a newer run waits for the concurrency group '{}'",
                group.name
            ));
            self.tell(run, &Command::GroupRefused { node, reason })?;
        }
        match answer {
            groups::Answer::Wait => {}
            groups::Answer::CancelHolder((run, holder, _)) => {
                let cancel = Command::Cancel {
                    target: holder,
                    cause: Cause::Group,
                    strength: Strength::Polite,
                };
                self.tell(run, &cancel)?;
            }
            groups::Answer::Lock(path) => {
                // Another process may hold it: waiting for it is a thread's business.
                let cancel = group.cancel_in_progress;
                let (sender, group) = (self.sender.clone(), group.clone());
                if let Some(folder) = self.groups.unwatched() {
                    let sender = self.sender.clone();
                    let wanted =
                        move |name: &str| sender.send(Message::Wanted(name.into())).is_ok();
                    groups::watch(&folder, wanted).map_err(|e| Error::io("watch", &folder, &e))?;
                }
                std::thread::spawn(move || {
                    let waiting = || {
                        let _ = sender.send(Message::Waiting(group.name.clone()));
                    };
                    let lock = groups::lock(&path, cancel, waiting);
                    let _ = sender.send(Message::Locked(ticket, group, lock));
                });
            }
        }
        Ok(())
    }

    fn is_ancestor(&self, index: usize, ancestor: InstanceId, of: InstanceId) -> bool {
        let state = &self.runs[index].state;
        let mut at = state.instance(of).parent;
        while let Some(current) = at {
            if current == ancestor {
                return true;
            }
            at = state.instance(current).parent;
        }
        false
    }

    pub(super) fn granted(&mut self, (index, node, place): Ticket) -> Result<()> {
        self.tell(index, &Command::GroupGranted { node, index: place })?;
        Ok(())
    }

    fn offer(&mut self, index: usize, node: InstanceId, attempt: u32) -> Result<()> {
        let run = &self.runs[index];
        let resolved = run.state.instance(node).resolved.clone().unwrap_or_default();
        // A runner group is a place of its own as much as a label is.
        let wanted = resolved.labels.iter().chain(&resolved.runner_group);
        let given = &self.world.settings.labels;
        if let Some(label) = wanted.into_iter().find(|l| !fitness::serves(given, l)) {
            let reason = Reason::new(fitness::elsewhere(label));
            self.runs[index].not_run.insert(node);
            self.tell(index, &Command::Decline { node, outcome: Outcome::Skipped, reason })?;
            return Ok(());
        }
        let unserved = self.world.settings.images_only
            && !self.names_container(index, node)
            && fitness::image_of(&self.world.settings.images, &resolved.labels).is_none();
        let unserved = unserved.then(|| fitness::without_image(&resolved.labels));
        if let Some(why) = unserved.or_else(|| self.refusal(index, node)) {
            let reason = Reason::new(why);
            self.tell(index, &Command::Decline { node, outcome: Outcome::Failure, reason })?;
            return Ok(());
        }
        self.queue.push_back((index, node, attempt));
        Ok(())
    }

    /// Whether a job has a container of its own, or may have one.
    fn names_container(&self, index: usize, node: InstanceId) -> bool {
        let run = &self.runs[index];
        let plan = run.state.instance(node).plan;
        let definition = &run.semantics.nodes[run.semantics.definitions[plan.index()] as usize];
        let jobs = &run.semantics.files[definition.file].workflow.jobs;
        let job = definition.job.map(|j| &jobs[j].kind);
        matches!(job, Some(JobKind::Steps(steps)) if steps.container.is_some())
    }

    fn refusal(&self, index: usize, node: InstanceId) -> Option<String> {
        let run = &self.runs[index];
        let plan = run.state.instance(node).plan;
        let definition = &run.semantics.nodes[run.semantics.definitions[plan.index()] as usize];
        fitness::refusal(definition)
    }
}
