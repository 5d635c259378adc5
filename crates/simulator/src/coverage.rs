//! Which (state, command) pairs were met, taken and refused.

use std::collections::BTreeMap;

use trainyard_engine::{AttemptState, Command, NodeState, RunState};

/// Counts of pairs: taken, refused.
#[derive(Debug, Default)]
pub struct Coverage {
    /// Jobs that went on from a step.
    pub resumed: u64,
    pairs: BTreeMap<(&'static str, &'static str), (u64, u64)>,
}

/// The name of a node's state.
fn state_name(run: &RunState, command: &Command) -> &'static str {
    let node = match command {
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
        Command::Rerun { .. } => {
            return if run.conclusion().is_some() { "run over" } else { "run on" };
        }
    };
    match &run.instance(node).state {
        NodeState::Blocked { .. } => "blocked",
        NodeState::Waiting { .. } => "waiting",
        NodeState::Active { state: AttemptState::Offered, .. } => "offered",
        NodeState::Active { state: AttemptState::Leased, .. } => "leased",
        NodeState::Active { state: AttemptState::Running, .. } => "running",
        NodeState::Backoff { .. } => "backoff",
        NodeState::Open(_) => "open",
        NodeState::Settled(_) => "settled",
    }
}

fn command_name(command: &Command) -> &'static str {
    match command {
        Command::GroupGranted { .. } => "group granted",
        Command::GroupRefused { .. } => "group refused",
        Command::Lease { .. } => "lease",
        Command::Decline { .. } => "decline",
        Command::Hit { .. } => "hit",
        Command::Begin { .. } => "begin",
        Command::Finish { .. } => "finish",
        Command::Lost { .. } => "lost",
        Command::Timer { .. } => "timer",
        Command::Cancel { .. } => "cancel",
        Command::Rerun { .. } => "rerun",
    }
}

/// The pairs that the engine takes: what its table says (`decide.rs`).
pub fn legal_pairs() -> Vec<(&'static str, &'static str)> {
    let mut pairs = vec![
        ("waiting", "group granted"),
        ("waiting", "group refused"),
        ("offered", "lease"),
        ("offered", "decline"),
        ("offered", "hit"),
        ("backoff", "timer"),
        ("leased", "begin"),
        ("run over", "rerun"),
    ];
    for state in ["leased", "running"] {
        pairs.extend([(state, "finish"), (state, "lost"), (state, "timer")]);
    }
    for state in ["blocked", "waiting", "offered", "leased", "running", "backoff", "open"] {
        pairs.push((state, "cancel"));
    }
    pairs
}

impl Coverage {
    pub(crate) fn add(&mut self, run: &RunState, command: &Command, taken: bool) {
        let pair = self.pairs.entry((state_name(run, command), command_name(command))).or_default();
        if taken { pair.0 += 1 } else { pair.1 += 1 }
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Coverage) {
        self.resumed += other.resumed;
        for (pair, (taken, refused)) in &other.pairs {
            let own = self.pairs.entry(*pair).or_default();
            own.0 += taken;
            own.1 += refused;
        }
    }

    /// Legal pairs that were never taken.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        let taken =
            |pair: &(&'static str, &'static str)| self.pairs.get(pair).is_some_and(|c| c.0 > 0);
        legal_pairs().into_iter().filter(|pair| !taken(pair)).collect()
    }

    /// Pairs that were taken and are in no table.
    pub fn illegal(&self) -> Vec<(&'static str, &'static str)> {
        let legal = legal_pairs();
        let taken = self.pairs.iter().filter(|(pair, c)| c.0 > 0 && !legal.contains(pair));
        taken.map(|(pair, _)| *pair).collect()
    }

    /// As a table for people.
    pub fn table(&self) -> String {
        let mut text =
            format!("{:<10} {:<14} {:>9} {:>9}\n", "state", "command", "taken", "refused");
        for ((state, command), (taken, refused)) in &self.pairs {
            text.push_str(&format!("{state:<10} {command:<14} {taken:>9} {refused:>9}\n"));
        }
        text
    }
}
