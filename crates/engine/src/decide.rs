//! Deciding: a command against the state gives records.

use std::collections::VecDeque;

use trainyard_model::{JobResult, Outcome, Timestamp, Value, result_of};
use trainyard_plan::{FanOut, NeedView, Plan, Reason, Semantics, Tally, Verdict, View};

use crate::apply::{apply, output_size};
use crate::limits::{MAX_INSTANCES, MAX_OUTPUT_BYTES, MAX_RUN_OUTPUT_BYTES};
use crate::record::{By, Cause, Record, Strength};
use crate::rerun;
use crate::state::{AttemptState, InstanceId, NodeState, RunState};

/// What someone asks of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A group that it waits for is its own now.
    GroupGranted {
        /// Who waits.
        node: InstanceId,
        /// Which of its groups.
        index: u32,
    },
    /// A group will not be its own.
    GroupRefused {
        /// Who waits.
        node: InstanceId,
        /// Why.
        reason: Reason,
    },
    /// A runner takes a leaf.
    Lease {
        /// Which.
        node: InstanceId,
        /// The attempt that was offered.
        attempt: u32,
        /// Who.
        runner: String,
    },
    /// Nobody will take a leaf.
    Decline {
        /// Which.
        node: InstanceId,
        /// Skipped or failed.
        outcome: Outcome,
        /// Why.
        reason: Reason,
    },
    /// What was made before stands for a leaf that is offered.
    Hit {
        /// Which.
        node: InstanceId,
        /// Which one.
        reason: Reason,
        /// Its outputs.
        outputs: Value,
    },
    /// Its first step begins.
    Begin {
        /// Which.
        node: InstanceId,
        /// Under which lease.
        epoch: u32,
    },
    /// It is over.
    Finish {
        /// Which.
        node: InstanceId,
        /// Under which lease.
        epoch: u32,
        /// How it ended.
        outcome: Outcome,
        /// Why, when there is more to say.
        reason: Reason,
        /// Its outputs, an object or null.
        outputs: Value,
    },
    /// Its runner is not heard of any more.
    Lost {
        /// Which.
        node: InstanceId,
        /// Under which lease.
        epoch: u32,
    },
    /// A time has come.
    Timer {
        /// Whose.
        node: InstanceId,
        /// Under which lease.
        epoch: u32,
    },
    /// Stop it.
    Cancel {
        /// What.
        target: InstanceId,
        /// Why.
        cause: Cause,
        /// How hard.
        strength: Strength,
    },
    /// Begin a concluded run again, in part: these nodes and all that depends on them. All of it
    /// if none is named.
    Rerun {
        /// Which.
        nodes: Vec<InstanceId>,
        /// One of them that is a leaf, and the step it begins with.
        resume: Option<(InstanceId, u32)>,
    },
}

/// Why a command changes nothing. A refusal is an answer, not a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such node.
    #[error("there is no such node")]
    Unknown,
    /// The node is over.
    #[error("the node is settled")]
    Settled,
    /// Another lease is in force, or none.
    #[error("the lease is not in force")]
    Stale,
    /// The node is not where this command finds it.
    #[error("the node is not in a state for this")]
    State,
    /// A re-run of a run that goes on.
    #[error("the run is not over")]
    Running,
    /// Nothing more is to be done.
    #[error("a cancel at least as strong was accepted")]
    Already,
}

/// Milliseconds that a process gets after a forced stop, and a little for its runner.
const FORCE_GRACE_MS: i64 = 12_000;

/// The records of a new run, and its state.
pub fn start(
    plan: Plan,
    inputs: Value,
    at: Timestamp,
    semantics: &dyn Semantics,
) -> (RunState, Vec<Record>) {
    let mut run = RunState::empty();
    let mut d =
        Decider { run: &mut run, semantics, at, records: Vec::new(), todo: VecDeque::new() };
    d.emit(Record::Started { plan, inputs, at });
    d.todo.push_back(Todo::Enter(InstanceId::ROOT));
    d.finish();
    let records = d.records;
    (run, records)
}

/// The records that a command leads to, already applied. A refusal leaves the state as it was.
/// Time never goes back: an `at` before the last record counts as that.
pub fn decide(
    run: &mut RunState,
    command: &Command,
    at: Timestamp,
    semantics: &dyn Semantics,
) -> Result<Vec<Record>, Refusal> {
    let at = at.max(run.last);
    check(run, command)?;
    let mut d = Decider { run, semantics, at, records: Vec::new(), todo: VecDeque::new() };
    d.perform(command);
    d.finish();
    Ok(d.records)
}

/// The table of (state, command) pairs; what is not allowed here is refused.
fn check(run: &RunState, command: &Command) -> Result<(), Refusal> {
    let node = match command {
        Command::Rerun { nodes, resume } => return check_rerun(run, nodes, *resume),
        Command::GroupGranted { node, .. }
        | Command::GroupRefused { node, .. }
        | Command::Lease { node, .. }
        | Command::Decline { node, .. }
        | Command::Hit { node, .. }
        | Command::Begin { node, .. }
        | Command::Finish { node, .. }
        | Command::Lost { node, .. }
        | Command::Timer { node, .. }
        | Command::Cancel { target: node, .. } => *node,
    };
    let instance = run.instances.get(node.index()).ok_or(Refusal::Unknown)?;
    let lease = |epoch: u32| if instance.epoch == epoch { Ok(()) } else { Err(Refusal::Stale) };
    match (&instance.state, command) {
        (NodeState::Settled(_), _) => Err(Refusal::Settled),
        (NodeState::Waiting { groups_held }, Command::GroupGranted { index, .. }) => {
            let groups = instance.resolved.as_ref().map_or(0, |r| r.groups.len());
            match groups_held == index && (*index as usize) < groups {
                true => Ok(()),
                false => Err(Refusal::State),
            }
        }
        (NodeState::Waiting { groups_held }, Command::GroupRefused { .. }) => {
            let groups = instance.resolved.as_ref().map_or(0, |r| r.groups.len());
            if (*groups_held as usize) < groups { Ok(()) } else { Err(Refusal::State) }
        }
        (
            NodeState::Active { attempt, state: AttemptState::Offered },
            Command::Lease { attempt: offered, .. },
        ) => {
            if attempt == offered {
                Ok(())
            } else {
                Err(Refusal::Stale)
            }
        }
        (
            NodeState::Active { state: AttemptState::Offered, .. },
            Command::Decline { .. } | Command::Hit { .. },
        ) => Ok(()),
        (NodeState::Backoff { .. }, Command::Timer { epoch, .. }) => lease(*epoch),
        (NodeState::Active { state: AttemptState::Leased, .. }, Command::Begin { epoch, .. })
        | (
            NodeState::Active { state: AttemptState::Leased | AttemptState::Running, .. },
            Command::Finish { epoch, .. }
            | Command::Lost { epoch, .. }
            | Command::Timer { epoch, .. },
        ) => lease(*epoch),
        (_, Command::Cancel { strength, .. }) => match instance.cancel {
            Some(cancel) if cancel.strength >= *strength => Err(Refusal::Already),
            _ => Ok(()),
        },
        _ => Err(Refusal::State),
    }
}

/// A re-run wants a run that is over, nodes that count, and a leaf of those to resume.
fn check_rerun(
    run: &RunState,
    nodes: &[InstanceId],
    resume: Option<(InstanceId, u32)>,
) -> Result<(), Refusal> {
    if run.conclusion().is_none() {
        return Err(Refusal::Running);
    }
    for node in nodes {
        match run.instances.get(node.index()) {
            Some(instance) if !instance.superseded => {}
            _ => return Err(Refusal::Unknown),
        }
    }
    match resume {
        Some((node, _)) => {
            let instance = run.instances.get(node.index()).ok_or(Refusal::Unknown)?;
            let leaf = run.is_work(node) && instance.fan.is_none();
            if nodes.contains(&node) && leaf { Ok(()) } else { Err(Refusal::State) }
        }
        None => Ok(()),
    }
}

enum Todo {
    /// A node whose needs are settled.
    Evaluate(InstanceId),
    /// A node or leg past its gate.
    Enter(InstanceId),
    /// A node that may have its groups and its slot.
    Proceed(InstanceId),
    /// A fan-out that may have a free slot.
    Slots(InstanceId),
    /// A scope or fan-out whose nodes may all be settled.
    Close(InstanceId),
}

struct Decider<'a> {
    run: &'a mut RunState,
    semantics: &'a dyn Semantics,
    at: Timestamp,
    records: Vec<Record>,
    todo: VecDeque<Todo>,
}

impl Decider<'_> {
    fn emit(&mut self, record: Record) {
        apply(self.run, &record);
        self.records.push(record);
    }

    fn finish(&mut self) {
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Evaluate(id) => self.evaluate(id),
                Todo::Enter(id) => self.enter(id),
                Todo::Proceed(id) => self.proceed(id),
                Todo::Slots(id) => self.slots(id),
                Todo::Close(id) => self.close(id),
            }
        }
    }

    fn perform(&mut self, command: &Command) {
        match command {
            Command::GroupGranted { node, .. } => {
                self.emit(Record::GroupHeld { node: *node });
                self.todo.push_back(Todo::Proceed(*node));
            }
            Command::GroupRefused { node, reason } => {
                self.settle(*node, Outcome::Cancelled, reason.clone(), By::Cancel, Value::Null);
            }
            Command::Lease { node, runner, .. } => {
                let epoch = self.run.instance(*node).epoch + 1;
                self.emit(Record::Leased { node: *node, epoch, runner: runner.clone() });
            }
            Command::Decline { node, outcome, reason } => {
                self.settle(*node, *outcome, reason.clone(), By::Declined, Value::Null);
            }
            Command::Hit { node, reason, outputs } => {
                let (outcome, by) = (Outcome::Success, By::Cache);
                match over_limit(self.run, outputs) {
                    Some(why) => self.fail(*node, why),
                    None => self.settle(*node, outcome, reason.clone(), by, outputs.clone()),
                }
            }
            Command::Begin { node, .. } => {
                self.emit(Record::Began { node: *node, at: self.at });
            }
            Command::Finish { node, outcome, reason, outputs, .. } => {
                let stopped = self.run.instance(*node).stopping.is_some();
                let by = match (stopped, outcome) {
                    (true, Outcome::Cancelled) => By::Cancel,
                    _ => By::Attempt,
                };
                match over_limit(self.run, outputs) {
                    Some(why) => {
                        self.settle(*node, Outcome::Failure, why, By::Error, Value::Null);
                    }
                    None if self.tries_again(*node, *outcome, reason) => {}
                    None => self.settle(*node, *outcome, reason.clone(), by, outputs.clone()),
                }
            }
            Command::Lost { node, .. } => self.lost(*node),
            Command::Timer { node, .. }
                if matches!(self.run.instance(*node).state, NodeState::Backoff { .. }) =>
            {
                let attempt = self.run.instance(*node).attempt + 1;
                self.emit(Record::Offered { node: *node, attempt });
            }
            Command::Timer { node, .. } => {
                let (outcome, reason, by) = match self.run.instance(*node).stopping {
                    Some(_) => {
                        (Outcome::Cancelled, "it did not stop in the time it had", By::Cancel)
                    }
                    None => (Outcome::TimedOut, "nothing was heard past its time limit", By::Error),
                };
                self.settle(*node, outcome, Reason::new(reason), by, Value::Null);
            }
            Command::Cancel { target, cause, strength } => {
                self.cancel(*target, *cause, *strength);
            }
            Command::Rerun { nodes, resume } => {
                let (reset, reopened) = rerun::closure(self.run, nodes);
                let (attempt, at, resume) = (self.run.attempt + 1, self.at, *resume);
                self.emit(Record::Rerun { attempt, reset, reopened, resume, at });
                // One that never opened, as its group was refused, begins as a new run does.
                self.todo.push_back(match self.run.instance(InstanceId::ROOT).state {
                    NodeState::Blocked { .. } => Todo::Enter(InstanceId::ROOT),
                    _ => Todo::Proceed(InstanceId::ROOT),
                });
            }
        }
    }

    /// Puts off a leaf that failed, where its policy gives it another attempt. One that is being
    /// cancelled has none.
    fn tries_again(&mut self, node: InstanceId, outcome: Outcome, reason: &Reason) -> bool {
        let instance = self.run.instance(node);
        let retry = instance.resolved.as_ref().and_then(|r| r.retry);
        let bad = matches!(outcome, Outcome::Failure | Outcome::TimedOut | Outcome::Lost);
        let tried = instance.attempt.saturating_sub(instance.before);
        let Some(retry) = retry.filter(|r| bad && tried <= r.count) else { return false };
        if instance.cancel.is_some() || instance.stopping.is_some() {
            return false;
        }
        let (at, due) = (self.at, self.at.plus_millis(retry.pause(tried)));
        self.emit(Record::Retrying { node, outcome, reason: reason.clone(), due, at });
        true
    }

    /// Offered again if no step had begun, else a failure.
    fn lost(&mut self, node: InstanceId) {
        let NodeState::Active { attempt, state } = &self.run.instance(node).state else { return };
        let (attempt, began) = (*attempt, *state == AttemptState::Running);
        if began || self.run.instance(node).stopping.is_some() {
            let reason = Reason::new("its runner was lost");
            if self.tries_again(node, Outcome::Lost, &reason) {
                return;
            }
            self.settle(node, Outcome::Lost, reason, By::Error, Value::Null);
        } else {
            self.emit(Record::Offered { node, attempt: attempt + 1 });
        }
    }

    /// Asks something about a node.
    fn ask<T>(
        &self,
        id: InstanceId,
        cancelled: bool,
        children: &[NeedView<'_>],
        question: impl FnOnce(&dyn Semantics, &View<'_>) -> T,
    ) -> T {
        let needs = self.run.needs_of(id);
        let (any_failed, all_succeeded) = self.run.ancestry(id);
        let instance = self.run.instance(id);
        let scope = self.run.scope_of(id).unwrap_or(InstanceId::ROOT);
        // A scope's outputs are computed from its own inputs.
        let owner = if children.is_empty() && !matches!(instance.state, NodeState::Open(_)) {
            scope
        } else {
            id
        };
        let view = View {
            node: instance.plan,
            needs: &needs,
            all_succeeded,
            any_failed,
            cancelled,
            inputs: &self.run.instance(owner).inputs,
            cell: instance.cell.as_ref(),
            children,
        };
        question(self.semantics, &view)
    }

    fn evaluate(&mut self, id: InstanceId) {
        let instance = self.run.instance(id);
        if instance.state != (NodeState::Blocked { needs_left: 0 }) {
            return;
        }
        let cancel = instance.cancel;
        if let Some(cancel) = cancel
            && (cancel.strength == Strength::Force || cancel.cause == Cause::FailFast)
        {
            self.cut_short(id);
            return;
        }
        match self.ask(id, cancel.is_some(), &[], |s, v| s.gate(v)) {
            Err(reason) => self.fail(id, reason),
            Ok(Verdict::Skip(_)) if cancel.is_some() => self.cut_short(id),
            Ok(Verdict::Skip(reason)) => {
                self.settle(id, Outcome::Skipped, reason, By::Gate, Value::Null);
            }
            Ok(Verdict::Run) if self.run.plan.node(self.run.instance(id).plan).fans_out => {
                match self.ask(id, cancel.is_some(), &[], |s, v| s.fan_out(v)) {
                    Err(reason) => self.fail(id, reason),
                    Ok(FanOut::One) => self.todo.push_back(Todo::Enter(id)),
                    Ok(FanOut::Nothing { reason, outputs }) => {
                        self.settle(id, Outcome::Success, reason, By::Nodes, outputs);
                    }
                    Ok(FanOut::Cells { cells, .. }) if cells.is_empty() => {
                        let reason = Reason::new("no leg of its matrix was asked for");
                        self.settle(id, Outcome::Skipped, reason, By::Gate, Value::Null);
                    }
                    Ok(FanOut::Cells { cells, .. })
                        if self.run.instances.len() + cells.len() > MAX_INSTANCES =>
                    {
                        self.fail(id, Reason::new(format!("more than {MAX_INSTANCES} nodes")));
                    }
                    Ok(FanOut::Cells { cells, max_parallel, fail_fast }) => {
                        self.emit(Record::FannedOut { node: id, cells, max_parallel, fail_fast });
                        for leg in self.children(id) {
                            self.todo.push_back(Todo::Enter(leg));
                        }
                    }
                }
            }
            Ok(Verdict::Run) => self.todo.push_back(Todo::Enter(id)),
        }
    }

    fn children(&self, id: InstanceId) -> Vec<InstanceId> {
        match &self.run.instance(id).state {
            NodeState::Open(counters) => counters.children.clone(),
            _ => Vec::new(),
        }
    }

    fn enter(&mut self, id: InstanceId) {
        if !matches!(self.run.instance(id).state, NodeState::Blocked { .. }) {
            return;
        }
        let cancelled = self.run.instance(id).cancel.is_some();
        match self.ask(id, cancelled, &[], |s, v| s.resolve(v)) {
            Err(reason) => self.fail(id, reason),
            Ok(resolved) => {
                self.emit(Record::Resolved { node: id, resolved });
                self.todo.push_back(Todo::Proceed(id));
            }
        }
    }

    fn proceed(&mut self, id: InstanceId) {
        let instance = self.run.instance(id);
        let NodeState::Waiting { groups_held } = instance.state else { return };
        let groups = instance.resolved.as_ref().map_or(0, |r| r.groups.len());
        if (groups_held as usize) < groups || !self.slot_free(id) {
            return;
        }
        if instance.again.is_some() {
            self.reopen(id);
            return;
        }
        if self.run.is_work(id) {
            let attempt = instance.attempt + 1;
            self.emit(Record::Offered { node: id, attempt });
            return;
        }
        let bound = match instance.parent {
            None => Ok(instance.inputs.clone()),
            Some(_) => self.ask(id, instance.cancel.is_some(), &[], |s, v| s.bind(v)),
        };
        match bound {
            Err(reason) => self.fail(id, reason),
            Ok(inputs) => {
                let size = self.run.plan.node(self.run.instance(id).plan).children.len();
                if self.run.instances.len() + size > MAX_INSTANCES {
                    self.fail(id, Reason::new(format!("more than {MAX_INSTANCES} nodes")));
                    return;
                }
                self.emit(Record::Opened { node: id, inputs });
                for child in self.children(id) {
                    self.todo.push_back(Todo::Evaluate(child));
                }
                self.todo.push_back(Todo::Close(id));
            }
        }
    }

    /// A scope or fan-out of a re-run goes on: its nodes that are not settled begin.
    fn reopen(&mut self, id: InstanceId) {
        self.emit(Record::Reopened { node: id });
        for child in self.children(id) {
            let instance = self.run.instance(child);
            match (&instance.state, instance.leg) {
                (NodeState::Waiting { .. }, _) => self.todo.push_back(Todo::Proceed(child)),
                (NodeState::Blocked { .. }, Some(_)) => self.todo.push_back(Todo::Enter(child)),
                (NodeState::Blocked { .. }, None) => self.todo.push_back(Todo::Evaluate(child)),
                _ => {}
            }
        }
        self.todo.push_back(Todo::Close(id));
    }

    fn slot_free(&self, id: InstanceId) -> bool {
        let instance = self.run.instance(id);
        let (Some(_), Some(parent)) = (instance.leg, instance.parent) else { return true };
        match &self.run.instance(parent).state {
            NodeState::Open(c) => c.max_parallel.is_none_or(|max| c.active < max),
            _ => true,
        }
    }

    /// Lets the waiting legs in, in order, as far as there is room.
    fn slots(&mut self, id: InstanceId) {
        let NodeState::Open(counters) = &self.run.instance(id).state else { return };
        if counters.max_parallel.is_none() {
            return;
        }
        let mut at = counters.next as usize;
        loop {
            let NodeState::Open(counters) = &self.run.instance(id).state else { return };
            let Some(leg) = counters.children.get(at).copied() else { return };
            if !self.slot_free(leg) {
                return;
            }
            self.proceed(leg);
            at += 1;
        }
    }

    fn close(&mut self, id: InstanceId) {
        let NodeState::Open(counters) = &self.run.instance(id).state else { return };
        if counters.unsettled > 0 {
            return;
        }
        let tally = counters.tally;
        if counters.fan_out {
            let result = match tally {
                t if t.failure > 0 => JobResult::Failure,
                t if t.cancelled > 0 => JobResult::Cancelled,
                t if t.success == 0 => JobResult::Skipped,
                _ => JobResult::Success,
            };
            let merged = counters.merged.clone();
            let views: Vec<NeedView<'_>> =
                counters.children.iter().filter_map(|c| self.run.view_of(*c)).collect();
            let outputs = self.ask(id, false, &views, |s, v| s.gather(v)).unwrap_or(merged);
            self.settle_as(id, outcome_of(result), result, Reason::default(), By::Nodes, outputs);
            return;
        }
        // What fail-fast or a group of one node cut short is that node's affair alone.
        let cancelled = self.run.instance(id).cancel.is_some_and(|c| c.cause != Cause::FailFast);
        let cut_short = if cancelled { tally.cut_short } else { 0 };
        let result = self.semantics.conclude(&Tally { cut_short, ..tally });
        let views: Vec<NeedView<'_>> =
            counters.children.iter().filter_map(|c| self.run.view_of(*c)).collect();
        let outputs = self.ask(id, false, &views, |s, v| s.outputs(v));
        match outputs {
            Ok(outputs) => {
                let outcome = outcome_of(result);
                self.settle_as(id, outcome, result, Reason::default(), By::Nodes, outputs);
            }
            Err(reason) => self.fail(id, reason),
        }
    }

    fn fail(&mut self, id: InstanceId, reason: Reason) {
        self.settle(id, Outcome::Failure, reason, By::Error, Value::Null);
    }

    fn cut_short(&mut self, id: InstanceId) {
        let reason = Reason::new(match self.run.instance(id).cancel.map(|c| c.cause) {
            Some(Cause::FailFast) => "another leg of the matrix failed (fail-fast)",
            Some(Cause::Group) => "a newer run of its concurrency group took its place",
            _ => "the run was cancelled",
        });
        self.settle(id, Outcome::Cancelled, reason, By::Cancel, Value::Null);
    }

    fn settle(&mut self, id: InstanceId, outcome: Outcome, reason: Reason, by: By, outputs: Value) {
        let forgiven = self.run.instance(id).resolved.as_ref().is_some_and(|r| r.continue_on_error);
        let result = result_of(outcome, forgiven && by == By::Attempt);
        self.settle_as(id, outcome, result, reason, by, outputs);
    }

    fn settle_as(
        &mut self,
        id: InstanceId,
        outcome: Outcome,
        result: JobResult,
        reason: Reason,
        by: By,
        outputs: Value,
    ) {
        let at = self.at;
        // One that waited for its turn in a re-run takes with it what it has not begun again.
        if self.run.instance(id).again.is_some() {
            for below in self.run.subtree(id).into_iter().skip(1).rev() {
                if self.run.instance(below).settled().is_none() {
                    let (outcome, by, outputs) = (Outcome::Cancelled, By::Cancel, Value::Null);
                    let (result, reason) = (JobResult::Cancelled, reason.clone());
                    let node = below;
                    self.emit(Record::Settled { node, outcome, result, reason, by, outputs, at });
                }
            }
        }
        self.emit(Record::Settled { node: id, outcome, result, reason, by, outputs, at });
        let instance = self.run.instance(id);
        let (plan, leg, Some(parent)) = (instance.plan, instance.leg, instance.parent) else {
            return;
        };
        if leg.is_none() {
            for dependent in self.run.dependents[plan.index()].clone() {
                if let Some(id) = self.run.find(parent, dependent) {
                    self.todo.push_back(Todo::Evaluate(id));
                }
            }
        } else if let NodeState::Open(counters) = &self.run.instance(parent).state {
            let fires = counters.fail_fast && result == JobResult::Failure;
            if fires && self.run.instance(parent).cancel.is_none() && counters.unsettled > 0 {
                self.cancel(parent, Cause::FailFast, Strength::Polite);
            }
            self.todo.push_back(Todo::Slots(parent));
        }
        self.todo.push_back(Todo::Close(parent));
    }

    fn cancel(&mut self, target: InstanceId, cause: Cause, strength: Strength) {
        self.emit(Record::CancelAccepted { node: target, cause, strength });
        let asks = strength == Strength::Polite && cause != Cause::FailFast;
        for id in self.run.subtree(target) {
            let instance = self.run.instance(id);
            match &instance.state {
                // Asked when its needs settle; nobody asks after a force.
                NodeState::Blocked { .. } if asks => {}
                NodeState::Settled(_) | NodeState::Open(_) => {}
                NodeState::Blocked { .. } => self.cut_short(id),
                NodeState::Waiting { .. }
                | NodeState::Backoff { .. }
                | NodeState::Active { state: AttemptState::Offered, .. } => {
                    if !(asks && self.goes_on(id)) {
                        self.cut_short(id);
                    }
                }
                // Told already, at least as hard.
                NodeState::Active { .. } if instance.stopping >= Some(strength) => {}
                NodeState::Active { .. } => {
                    if !(asks && self.goes_on(id)) {
                        let limit = instance.resolved.as_ref().map_or(0, |r| r.cancel_timeout_ms);
                        let grace = match strength {
                            Strength::Polite => limit,
                            Strength::Force => FORCE_GRACE_MS,
                        };
                        let deadline = self.at.plus_millis(grace);
                        self.emit(Record::Stopping { node: id, deadline, strength });
                    }
                }
            }
        }
    }

    /// Whether a node past its gate goes on in spite of a polite cancel: its gate, asked again.
    fn goes_on(&self, id: InstanceId) -> bool {
        self.run.instance(id).parent.is_some()
            && self.ask(id, true, &[], |s, v| s.gate(v)) == Ok(Verdict::Run)
    }
}

fn outcome_of(result: JobResult) -> Outcome {
    match result {
        JobResult::Success => Outcome::Success,
        JobResult::Failure => Outcome::Failure,
        JobResult::Cancelled => Outcome::Cancelled,
        JobResult::Skipped => Outcome::Skipped,
    }
}

fn over_limit(run: &RunState, outputs: &Value) -> Option<Reason> {
    let size = output_size(outputs);
    if size > MAX_OUTPUT_BYTES {
        return Some(Reason::new(format!(
            "its outputs have {size} bytes; {MAX_OUTPUT_BYTES} are allowed"
        )));
    }
    (run.output_bytes + size > MAX_RUN_OUTPUT_BYTES).then(|| {
        Reason::new(format!("the outputs of the run have more than {MAX_RUN_OUTPUT_BYTES} bytes"))
    })
}
