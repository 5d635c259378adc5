//! A pipeline run, driven: what its engine wants is performed, and what came of it is told.
//!
//! One thread decides; each task has a thread of its own; messages come over one channel. Deliberately
//! absent beside the driver of workflows: concurrency groups, services, workspaces that are kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use trainyard_engine::{
    Cause, Command, Effect, EffectKey, InstanceId, RunState, Strength, decide, outstanding, start,
};
use trainyard_model::{Outcome, Timestamp, Value};
use trainyard_pipeline::{Bundle, Lowered, PipelineSemantics};
use trainyard_plan::Reason;
use trainyard_store::{Journal, RunRow, TaskResult};

use super::settings::Executor;
use super::task::{Assignment, Control, Shared, TaskEnd, perform};
use crate::error::{Error, Result};
use crate::paths::job_log;
use crate::run::driver::{names_of, now};
use crate::ui::{Event as Show, RunSummary, Ui};

/// How long a record may wait for others to be committed with it.
const COMMIT_AFTER: Duration = Duration::from_millis(50);

pub(super) enum Message {
    Ended(InstanceId, u32, Box<TaskEnd>),
    Interrupted,
}

/// A task that runs.
pub(super) struct LiveTask {
    pub(super) name: String,
    pub(super) log: PathBuf,
    pub(super) started: i64,
    /// Where its part of the log begins: attempts follow each other in one.
    pub(super) from: u64,
    orders: Sender<bool>,
    wake: OwnedFd,
    pub(super) thread: std::thread::JoinHandle<()>,
}

impl LiveTask {
    /// Tells it to stop. One that has just ended takes no orders any more.
    pub(super) fn stop(&self, force: bool) {
        let _ = self.orders.send(force);
        let _ = rustix::io::write(&self.wake, b"!");
    }
}

/// A run that is to begin again.
pub struct Again {
    /// Its row in the history, as it was.
    pub row: RunRow,
    /// What its records say.
    pub state: RunState,
    /// How many they are.
    pub sequence: usize,
    /// What first ends it, if it never ended, and what then begins it again.
    pub commands: Vec<Command>,
}

pub(super) struct Driver<'a> {
    pub(super) journal: Journal,
    pub(super) ui: &'a mut Ui,
    pub(super) data: PathBuf,
    pub(super) row: RunRow,
    pub(super) state: RunState,
    pub(super) semantics: PipelineSemantics,
    pub(super) shared: Arc<Shared>,
    pub(super) sequence: usize,
    pub(super) names: BTreeMap<InstanceId, String>,
    pub(super) summary: RunSummary,
    pub(super) live: BTreeMap<InstanceId, LiveTask>,
    /// Whether what is told belongs to the attempt before, which never ended.
    pub(super) ending: bool,
    pub(super) performed: BTreeMap<EffectKey, Effect>,
    pub(super) queue: VecDeque<(InstanceId, u32)>,
    /// Fingerprints of tasks that may stand for equal ones.
    pub(super) fingerprints: BTreeMap<InstanceId, String>,
    pub(super) timers: BTreeSet<(Timestamp, InstanceId, u32)>,
    pub(super) sender: Sender<Message>,
    pub(super) jobs: usize,
    pub(super) interrupts: u32,
    pub(super) threads: Vec<std::thread::JoinHandle<()>>,
}

impl Driver<'_> {
    pub(super) fn begin(
        &mut self,
        lowered: Lowered,
        inputs: &Bundle,
        again: Option<Again>,
        at: Timestamp,
    ) -> Result<()> {
        match again {
            None => {
                let (state, records) = start(lowered.plan, inputs.to_value(), at, &self.semantics);
                self.state = state;
                self.record(at, &records)?;
            }
            Some(again) => {
                self.state = again.state;
                self.sequence = again.sequence;
                self.names = names_of(&self.state);
                let attempt = self.row.attempt;
                for command in &again.commands {
                    // What ends an attempt that never ended belongs to that one.
                    let begins = matches!(command, Command::Rerun { .. });
                    self.row.attempt = if begins { attempt } else { attempt - 1 };
                    self.ending = !begins;
                    self.tell(command)?;
                }
            }
        }
        self.journal.commit()?;
        self.settle_down()
    }

    pub(super) fn tell(&mut self, command: &Command) -> Result<bool> {
        let at = now();
        // A refusal says that the run has moved on meanwhile.
        let Ok(records) = decide(&mut self.state, command, at, &self.semantics) else {
            return Ok(false);
        };
        self.record(at, &records)?;
        Ok(true)
    }

    pub(super) fn work(&mut self, receiver: &Receiver<Message>) -> Result<()> {
        let mut dirty_since: Option<Instant> = None;
        loop {
            if dirty_since.is_some_and(|at| at.elapsed() >= COMMIT_AFTER) {
                self.journal.commit()?;
            }
            if !self.journal.is_dirty() {
                dirty_since = None;
            } else if dirty_since.is_none() {
                dirty_since = Some(Instant::now());
            }
            self.ring()?;
            self.settle_down()?;
            if self.state.conclusion().is_some() && self.live.is_empty() {
                break;
            }
            let due = self.timers.first().map(|(at, ..)| {
                let millis = at.0.saturating_sub(now().0);
                Duration::from_millis(u64::try_from(millis).unwrap_or(0))
            });
            let commit = dirty_since.map(|at| COMMIT_AFTER.saturating_sub(at.elapsed()));
            self.ui.tick();
            let message = match due.into_iter().chain(commit).chain(self.ui.due()).min() {
                Some(wait) => receiver.recv_timeout(wait),
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Ended(node, epoch, end)) => self.ended(node, epoch, *end)?,
                Ok(Message::Interrupted) => self.interrupted()?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.conclude()?;
        Ok(self.journal.commit()?)
    }

    fn interrupted(&mut self) -> Result<()> {
        self.interrupts += 1;
        let strength = if self.interrupts == 1 { Strength::Polite } else { Strength::Force };
        if self.interrupts == 1 {
            self.ui.show(&Show::Note("stopping; once more to stop at once"));
        }
        let target = InstanceId::ROOT;
        self.tell(&Command::Cancel { target, cause: Cause::User, strength })?;
        if self.interrupts > 1 {
            self.live.values().for_each(|t| t.stop(true));
        }
        Ok(())
    }

    fn ring(&mut self) -> Result<()> {
        let at = now();
        while let Some((due, node, epoch)) = self.timers.first().copied() {
            if due > at {
                break;
            }
            self.timers.remove(&(due, node, epoch));
            self.tell(&Command::Timer { node, epoch })?;
            if let (Some(_), Some(live)) =
                (self.state.instance(node).settled(), self.live.get(&node))
            {
                // The engine has given it up; its processes must not live on.
                live.stop(true);
            }
        }
        Ok(())
    }

    /// Performs what the run wants until it wants nothing new.
    fn settle_down(&mut self) -> Result<()> {
        loop {
            let wanted = outstanding(&self.state);
            let new: Vec<(EffectKey, Effect)> = wanted
                .filter(|(key, effect)| self.performed.get(key) != Some(effect))
                .map(|(key, effect)| (*key, effect.clone()))
                .collect();
            let kept: BTreeSet<EffectKey> = outstanding(&self.state).map(|(k, _)| *k).collect();
            self.performed.retain(|key, effect| {
                let keeps = kept.contains(key);
                if let (false, Effect::Timer { node, due }, EffectKey::Timer(_, epoch)) =
                    (keeps, &*effect, key)
                {
                    self.timers.remove(&(*due, *node, *epoch));
                }
                keeps
            });
            self.queue.retain(|(node, attempt)| kept.contains(&EffectKey::Offer(*node, *attempt)));
            if new.is_empty() && !self.fill()? {
                return Ok(());
            }
            for (key, effect) in new {
                if let Some(Effect::Timer { node, due }) =
                    self.performed.insert(key, effect.clone())
                    && let EffectKey::Timer(_, epoch) = key
                {
                    self.timers.remove(&(due, node, epoch));
                }
                self.perform(key, effect)?;
            }
        }
    }

    fn perform(&mut self, key: EffectKey, effect: Effect) -> Result<()> {
        match effect {
            Effect::Offer { node, attempt } => self.offer(node, attempt),
            Effect::Stop { node, strength, .. } => {
                if let Some(live) = self.live.get(&node) {
                    live.stop(strength == Strength::Force);
                }
                Ok(())
            }
            Effect::Timer { node, due } => {
                if let EffectKey::Timer(_, epoch) = key {
                    self.timers.insert((due, node, epoch));
                }
                Ok(())
            }
            // Tasks are threads of this process, and no task holds a group.
            Effect::Watch { .. } | Effect::Hold { .. } => Ok(()),
        }
    }

    /// A task that may run: what an equal one gave stands for it, or it waits for a place.
    fn offer(&mut self, node: InstanceId, attempt: u32) -> Result<()> {
        if let Some((reason, outputs)) = self.look_up(node)? {
            let reason = Reason::new(reason);
            self.tell(&Command::Hit { node, reason, outputs })?;
            return Ok(());
        }
        self.queue.push_back((node, attempt));
        Ok(())
    }

    /// The inputs that a task was bound.
    pub(super) fn bound(&self, node: InstanceId) -> Bundle {
        let resolved = self.state.instance(node).resolved.as_ref();
        resolved.map(|r| Bundle::of_value(&r.inputs)).unwrap_or_default()
    }

    /// Starts tasks as long as there is room; whether one was started.
    fn fill(&mut self) -> Result<bool> {
        let mut any = false;
        while self.live.len() < self.jobs {
            let Some((node, attempt)) = self.queue.pop_front() else { break };
            any = true;
            if !self.tell(&Command::Lease { node, attempt, runner: "local".into() })? {
                continue;
            }
            let epoch = self.state.instance(node).epoch;
            self.tell(&Command::Begin { node, epoch })?;
            if self.shared.executor == Executor::Scripted {
                let end = self.scripted(node);
                self.finish(node, epoch, end)?;
                continue;
            }
            self.launch(node, epoch, attempt)?;
        }
        Ok(any)
    }

    /// What a task gives that does nothing: values of its outputs' types.
    fn scripted(&self, node: InstanceId) -> TaskEnd {
        use trainyard_pipeline::ParameterType as T;
        let definition = self.semantics.definition(self.state.instance(node).plan);
        let mut outputs = Bundle::default();
        for (name, kind) in &self.shared.pipeline.component_of(definition).output_parameters {
            let value = match kind {
                T::Double | T::Integer => Json::from(0),
                T::String => Json::from(""),
                T::Boolean => Json::from(false),
                T::List => serde_json::json!([]),
                T::Struct | T::FinalStatus | T::TaskConfig => serde_json::json!({}),
            };
            outputs.parameters.insert(name.clone(), value);
        }
        TaskEnd { outcome: Outcome::Success, reason: String::new(), outputs, notes: Vec::new() }
    }

    fn launch(&mut self, node: InstanceId, epoch: u32, attempt: u32) -> Result<()> {
        let name = self.names.get(&node).cloned().unwrap_or_default();
        let path = self.state.path(node);
        let inputs = self.bound(node);
        self.note_uses(node, &path, &inputs)?;
        let log = job_log(&self.data, self.row.id, node.0, self.row.attempt);
        let (orders, order_receiver) = channel();
        let (read, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|e| Error::new(format!("no pipe: {e}")))?;
        let assignment = Assignment {
            shared: Arc::clone(&self.shared),
            definition: *self.semantics.definition(self.state.instance(node).plan),
            run: self.row.id,
            node: node.0,
            attempt,
            inputs,
            log: log.clone(),
            control: Control { orders: order_receiver, wake: read },
        };
        let from = log.metadata().map_or(0, |m| m.len());
        let sender = self.sender.clone();
        let thread = std::thread::spawn(move || {
            let end = perform(&assignment);
            let _ = sender.send(Message::Ended(node, epoch, Box::new(end)));
        });
        let run = self.row.id;
        self.ui.show(&Show::JobBegan { run, node: i64::from(node.0), job: &name, log: &log });
        let started = now().0;
        self.live.insert(node, LiveTask { name, log, started, from, orders, wake, thread });
        Ok(())
    }

    fn ended(&mut self, node: InstanceId, epoch: u32, end: TaskEnd) -> Result<()> {
        self.finish(node, epoch, end)?;
        if let Some(live) = self.live.remove(&node) {
            self.threads.push(live.thread);
        }
        // Their threads are over: they are joined at the end, but not thousands of them.
        if self.threads.len() > 256 {
            for thread in std::mem::take(&mut self.threads) {
                let _ = thread.join();
            }
        }
        Ok(())
    }

    fn finish(&mut self, node: InstanceId, epoch: u32, mut end: TaskEnd) -> Result<()> {
        let path = self.state.path(node);
        for note in &end.notes {
            self.task_note(node, "notice", note)?;
        }
        if end.outcome == Outcome::Success {
            self.keep_artifacts(node, &path, &mut end.outputs)?;
        }
        self.step_ended(node, &end)?;
        let outputs = match end.outcome {
            Outcome::Success => end.outputs.to_value(),
            _ => Value::Null,
        };
        let reason = Reason::new(end.reason.clone());
        let outcome = end.outcome;
        let taken = self.tell(&Command::Finish { node, epoch, outcome, reason, outputs })?;
        let settled =
            self.state.instance(node).settled().is_some_and(|s| s.outcome == Outcome::Success);
        if let (true, true, Some(print)) = (taken, settled, self.fingerprints.remove(&node)) {
            let outputs = serde_json::to_string(&end.outputs).unwrap_or_default();
            let result = TaskResult {
                run: self.row.id,
                node: i64::from(node.0),
                task: path,
                at: now().0,
                outputs,
            };
            self.journal.keep_result(&self.shared.pipeline.name, &print, &result)?;
        }
        Ok(())
    }
}
