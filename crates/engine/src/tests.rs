//! The run machine against a tiny language: every pair of the state table, all small graphs
//! against a naive evaluator, replay after every command.

use trainyard_model::{JobResult, Outcome, Timestamp, Value};
use trainyard_plan::{
    Cell, FanOut, Group, NodeKind, Plan, PlanNodeId, Reason, Resolved, Semantics, Tally, Verdict,
    View,
};

use super::*;

mod rerun;

/// What a gate of the tiny language asks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Gate {
    Success,
    Failure,
    Always,
    Cancelled,
    Never,
}

const GATES: [Gate; 5] = [Gate::Success, Gate::Failure, Gate::Always, Gate::Cancelled, Gate::Never];

#[derive(Default)]
struct Tiny {
    gates: Vec<(usize, Gate)>,
    legs: usize,
    max_parallel: Option<u32>,
    fail_fast: bool,
    forgiven: bool,
    groups: Vec<&'static str>,
    broken: Option<usize>,
    root_group: bool,
    retries: u32,
    nothing: bool,
    gathers: bool,
}

impl Semantics for Tiny {
    fn gate(&self, view: &View<'_>) -> Result<Verdict, Reason> {
        let gate = self.gates.iter().find(|(n, _)| *n == view.node.index());
        let run = match gate.map_or(Gate::Success, |(_, g)| *g) {
            Gate::Success => view.all_succeeded && !view.cancelled,
            Gate::Failure => view.any_failed && !view.cancelled,
            Gate::Always => true,
            Gate::Cancelled => view.cancelled,
            Gate::Never => false,
        };
        if self.broken == Some(view.node.index()) {
            return Err(Reason::new("broken"));
        }
        Ok(if run { Verdict::Run } else { Verdict::Skip(Reason::new("gate")) })
    }
    fn gather(&self, view: &View<'_>) -> Option<Value> {
        let texts = view.children.iter().map(|c| c.outputs.to_text().into_owned());
        self.gathers.then(|| Value::from(texts.collect::<Vec<_>>().join(" ")))
    }
    fn fan_out(&self, _: &View<'_>) -> Result<FanOut, Reason> {
        if self.nothing {
            let (reason, outputs) = (Reason::new("no items"), Value::from("[]"));
            return Ok(FanOut::Nothing { reason, outputs });
        }
        let cell = |i: usize| Cell {
            values: Value::Number(f64::from(u32::try_from(i).unwrap())),
            strategy: Value::Null,
            segments: Vec::new(),
        };
        Ok(FanOut::Cells {
            cells: (0..self.legs).map(cell).collect(),
            max_parallel: self.max_parallel,
            fail_fast: self.fail_fast,
        })
    }
    fn bind(&self, _: &View<'_>) -> Result<Value, Reason> {
        Ok(Value::from("bound"))
    }
    fn resolve(&self, view: &View<'_>) -> Result<Resolved, Reason> {
        let groups = match (view.node == PlanNodeId::ROOT, self.root_group) {
            (true, true) => &["top"][..],
            (true, false) => &[][..],
            (false, _) => &self.groups,
        };
        Ok(Resolved {
            timeout_ms: 1_000,
            cancel_timeout_ms: 300,
            continue_on_error: self.forgiven,
            retry: (self.retries > 0).then_some(trainyard_plan::Retry {
                count: self.retries,
                backoff_ms: 100,
                factor: 3.0,
                max_ms: 500,
            }),
            groups: groups
                .iter()
                .map(|name| Group {
                    name: (*name).to_owned(),
                    cancel_in_progress: false,
                    queue_all: false,
                })
                .collect(),
            ..Resolved::default()
        })
    }
    fn outputs(&self, view: &View<'_>) -> Result<Value, Reason> {
        Ok(Value::Number(f64::from(u32::try_from(view.children.len()).unwrap())))
    }
    fn conclude(&self, tally: &Tally) -> JobResult {
        match tally {
            t if t.failure > 0 => JobResult::Failure,
            t if t.cancelled > 0 => JobResult::Cancelled,
            t if t.success == 0 && t.skipped > 0 => JobResult::Skipped,
            _ => JobResult::Success,
        }
    }
}

/// A language that must not be asked.
struct Mute;

impl Semantics for Mute {
    fn gate(&self, _: &View<'_>) -> Result<Verdict, Reason> {
        unreachable!("a replay asks nothing")
    }
    fn fan_out(&self, _: &View<'_>) -> Result<FanOut, Reason> {
        unreachable!("a replay asks nothing")
    }
    fn bind(&self, _: &View<'_>) -> Result<Value, Reason> {
        unreachable!("a replay asks nothing")
    }
    fn resolve(&self, _: &View<'_>) -> Result<Resolved, Reason> {
        unreachable!("a replay asks nothing")
    }
    fn outputs(&self, _: &View<'_>) -> Result<Value, Reason> {
        unreachable!("a replay asks nothing")
    }
    fn conclude(&self, _: &Tally) -> JobResult {
        unreachable!("a replay asks nothing")
    }
}

/// A run with its journal; every command checks that a replay gives the same state.
struct Bench<'a> {
    run: RunState,
    journal: Vec<Record>,
    semantics: &'a Tiny,
    at: i64,
    /// Checks cost more than all else: where thousands of runs are made, they are for the end.
    quiet: bool,
}

impl<'a> Bench<'a> {
    fn new(plan: Plan, semantics: &'a Tiny) -> Self {
        plan.validate().unwrap();
        let (run, journal) = start(plan, Value::Null, Timestamp(1), semantics);
        let bench = Bench { run, journal, semantics, at: 1, quiet: false };
        bench.check();
        bench
    }

    fn check(&self) {
        let mut replayed = RunState::empty();
        for record in &self.journal {
            // Through JSON, as the journal keeps it.
            let text = serde_json::to_string(record).unwrap();
            apply(&mut replayed, &serde_json::from_str(&text).unwrap());
        }
        assert_eq!(replayed, self.run, "replay differs");
        if self.run.conclusion().is_some() {
            assert_eq!(outstanding(&self.run).count(), 0, "concluded, yet something is wanted");
        } else {
            assert!(outstanding(&self.run).count() > 0, "stuck: {:?}", self.states());
        }
    }

    fn tell(&mut self, command: Command) -> Result<(), Refusal> {
        self.at += 1;
        if self.quiet {
            let records = decide(&mut self.run, &command, Timestamp(self.at), self.semantics)?;
            self.journal.extend(records);
            return Ok(());
        }
        let before = self.run.clone();
        match decide(&mut self.run, &command, Timestamp(self.at), self.semantics) {
            Ok(records) => {
                self.journal.extend(records);
                self.check();
                Ok(())
            }
            Err(refusal) => {
                assert_eq!(before, self.run, "a refusal changed something");
                let mute = decide(&mut self.run, &command, Timestamp(self.at), &Mute);
                assert_eq!(mute, Err(refusal), "a refusal asked the language");
                Err(refusal)
            }
        }
    }

    fn states(&self) -> Vec<String> {
        let word = |i: &Instance| match &i.state {
            NodeState::Blocked { needs_left } => format!("blocked {needs_left}"),
            NodeState::Waiting { groups_held } => format!("waiting {groups_held}"),
            NodeState::Active { state, .. } => format!("{state:?}").to_lowercase(),
            NodeState::Backoff { due } => format!("backoff {}", due.0),
            NodeState::Open(_) => "open".into(),
            NodeState::Settled(s) => s.outcome.as_str().into(),
        };
        self.run.instances().map(|(id, i)| format!("{}:{}", self.run.path(id), word(i))).collect()
    }

    fn offers(&self) -> Vec<InstanceId> {
        outstanding(&self.run)
            .filter_map(|(_, e)| match e {
                Effect::Offer { node, .. } => Some(*node),
                _ => None,
            })
            .collect()
    }

    fn begin(&mut self, node: InstanceId) -> u32 {
        let NodeState::Active { attempt, .. } = self.run.instance(node).state else {
            panic!("not active: {:?}", self.states())
        };
        self.tell(Command::Lease { node, attempt, runner: "r".into() }).unwrap();
        let epoch = self.run.instance(node).epoch;
        self.tell(Command::Begin { node, epoch }).unwrap();
        epoch
    }

    fn end(&mut self, node: InstanceId, outcome: Outcome, outputs: Value) {
        let epoch = self.run.instance(node).epoch;
        let reason = Reason::default();
        self.tell(Command::Finish { node, epoch, outcome, reason, outputs }).unwrap();
    }

    fn finish(&mut self, node: InstanceId, outcome: Outcome) {
        self.begin(node);
        self.end(node, outcome, Value::Null);
    }

    fn cancel(&mut self, strength: Strength) -> Result<(), Refusal> {
        self.tell(Command::Cancel { target: InstanceId::ROOT, cause: Cause::User, strength })
    }

    fn result(&self) -> Option<JobResult> {
        self.run.conclusion().map(|s| s.result)
    }
}

fn leaves(n: usize, edges: &[(usize, usize)]) -> Plan {
    let mut plan = Plan::new(0);
    let ids: Vec<PlanNodeId> = (0..n)
        .map(|i| plan.add(PlanNodeId::ROOT, format!("n{i}"), NodeKind::Work, false, 0))
        .collect();
    for (from, to) in edges {
        plan.nodes[ids[*to].index()].needs.push(ids[*from]);
    }
    plan
}

/// Results of all nodes by the definition alone, in order of needs.
fn naive(n: usize, edges: &[(usize, usize)], gates: &[Gate], ends: &[Outcome]) -> Vec<JobResult> {
    let mut ancestors: Vec<Vec<usize>> = vec![Vec::new(); n];
    let mut results = Vec::new();
    for node in 0..n {
        for (from, _) in edges.iter().filter(|(_, to)| *to == node) {
            let mut list = ancestors[*from].clone();
            list.push(*from);
            ancestors[node].extend(list);
        }
        let of = |r: JobResult| ancestors[node].iter().any(|a| results[*a] == r);
        let all = ancestors[node].iter().all(|a| results[*a] == JobResult::Success);
        let run = match gates[node] {
            Gate::Success => all,
            Gate::Failure => of(JobResult::Failure),
            Gate::Always => true,
            Gate::Cancelled | Gate::Never => false,
        };
        results.push(match (run, ends[node]) {
            (false, _) => JobResult::Skipped,
            (true, Outcome::Failure) => JobResult::Failure,
            (true, _) => JobResult::Success,
        });
    }
    results
}

/// All graphs of up to four nodes × conclusions × gates.
#[test]
fn small_graphs_agree_with_a_naive_evaluator() {
    let gates = [Gate::Success, Gate::Failure, Gate::Always];
    let ends = [Outcome::Success, Outcome::Failure];
    let mut cases = 0u32;
    for n in 1..=4usize {
        let pairs: Vec<(usize, usize)> =
            (0..n).flat_map(|to| (0..to).map(move |from| (from, to))).collect();
        for mask in 0..1u32 << pairs.len() {
            let edges: Vec<_> = pairs
                .iter()
                .enumerate()
                .filter(|(i, _)| mask & (1 << i) != 0)
                .map(|(_, e)| *e)
                .collect();
            let choices = gates.len() * ends.len();
            for code in 0..choices.pow(u32::try_from(n).unwrap()) {
                let pick = |i: usize| code / choices.pow(u32::try_from(i).unwrap()) % choices;
                let gate: Vec<Gate> = (0..n).map(|i| gates[pick(i) / ends.len()]).collect();
                let end: Vec<Outcome> = (0..n).map(|i| ends[pick(i) % ends.len()]).collect();
                let semantics = Tiny {
                    gates: gate.iter().enumerate().map(|(i, g)| (i + 1, *g)).collect(),
                    ..Tiny::default()
                };
                let (mut run, mut journal) =
                    start(leaves(n, &edges), Value::Null, Timestamp(0), &semantics);
                let mut tell = |run: &mut RunState, command: Command| {
                    journal.extend(decide(run, &command, Timestamp(1), &semantics).unwrap());
                };
                while run.conclusion().is_none() {
                    let (node, attempt) = outstanding(&run)
                        .find_map(|(_, e)| match e {
                            Effect::Offer { node, attempt } => Some((*node, *attempt)),
                            _ => None,
                        })
                        .expect("a run that is not over offers something");
                    tell(&mut run, Command::Lease { node, attempt, runner: String::new() });
                    let index = run.instance(node).plan.index() - 1;
                    let (epoch, outcome) = (run.instance(node).epoch, end[index]);
                    let (reason, outputs) = (Reason::default(), Value::Null);
                    tell(&mut run, Command::Finish { node, epoch, outcome, reason, outputs });
                }
                let found: Vec<JobResult> =
                    run.instances().skip(1).map(|(_, i)| i.settled().unwrap().result).collect();
                assert_eq!(found, naive(n, &edges, &gate, &end), "{edges:?} {gate:?} {end:?}");
                let mut replayed = RunState::empty();
                journal.iter().for_each(|r| apply(&mut replayed, r));
                assert_eq!(replayed, run);
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 6 + 2 * 36 + 8 * 216 + 64 * 1296);
}

/// Every (node state, command) pair: taken or refused, as the table says.
#[test]
fn every_pair_of_the_table() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum At {
        Blocked,
        Waiting,
        Offered,
        Leased,
        Running,
        Backoff,
        Open,
        Settled,
    }
    let semantics = Tiny { groups: vec!["g"], retries: 1, ..Tiny::default() };
    // a is the node in question, b keeps the run going, c needs a.
    let reach = |at: At| -> (Bench<'_>, InstanceId) {
        let mut bench = Bench::new(leaves(3, &[(0, 2)]), &semantics);
        let a = InstanceId(1);
        let target = match at {
            At::Blocked => InstanceId(3),
            At::Open => InstanceId::ROOT,
            _ => a,
        };
        if matches!(at, At::Offered | At::Leased | At::Running | At::Backoff | At::Settled) {
            bench.tell(Command::GroupGranted { node: a, index: 0 }).unwrap();
        }
        if matches!(at, At::Leased | At::Running | At::Backoff | At::Settled) {
            bench.tell(Command::Lease { node: a, attempt: 1, runner: "r".into() }).unwrap();
        }
        if matches!(at, At::Running | At::Backoff | At::Settled) {
            bench.tell(Command::Begin { node: a, epoch: 1 }).unwrap();
        }
        if at == At::Backoff {
            bench.end(a, Outcome::Failure, Value::Null);
        }
        if at == At::Settled {
            bench.end(a, Outcome::Success, Value::Null);
        }
        (bench, target)
    };
    type Make = fn(InstanceId) -> Command;
    let finish: Make = |node| Command::Finish {
        node,
        epoch: 1,
        outcome: Outcome::Success,
        reason: Reason::default(),
        outputs: Value::Null,
    };
    let decline: Make =
        |node| Command::Decline { node, outcome: Outcome::Skipped, reason: Reason::default() };
    let cancel: Make =
        |target| Command::Cancel { target, cause: Cause::User, strength: Strength::Polite };
    let hit: Make = |node| Command::Hit { node, reason: Reason::default(), outputs: Value::Null };
    let commands: [(&str, Make, &[At]); 10] = [
        ("granted", |node| Command::GroupGranted { node, index: 0 }, &[At::Waiting]),
        (
            "refused",
            |node| Command::GroupRefused { node, reason: Reason::default() },
            &[At::Waiting],
        ),
        ("lease", |node| Command::Lease { node, attempt: 1, runner: "r".into() }, &[At::Offered]),
        ("decline", decline, &[At::Offered]),
        ("hit", hit, &[At::Offered]),
        ("begin", |node| Command::Begin { node, epoch: 1 }, &[At::Leased]),
        ("finish", finish, &[At::Leased, At::Running]),
        ("lost", |node| Command::Lost { node, epoch: 1 }, &[At::Leased, At::Running]),
        (
            "timer",
            |node| Command::Timer { node, epoch: 1 },
            &[At::Leased, At::Running, At::Backoff],
        ),
        (
            "cancel",
            cancel,
            &[
                At::Blocked,
                At::Waiting,
                At::Offered,
                At::Leased,
                At::Running,
                At::Backoff,
                At::Open,
            ],
        ),
    ];
    for at in [
        At::Blocked,
        At::Waiting,
        At::Offered,
        At::Leased,
        At::Running,
        At::Backoff,
        At::Open,
        At::Settled,
    ] {
        for (name, make, taken) in &commands {
            let (mut bench, node) = reach(at);
            let answer = bench.tell(make(node));
            assert_eq!(answer.is_ok(), taken.contains(&at), "{at:?} × {name}: {answer:?}");
            if at == At::Settled {
                assert_eq!(answer, Err(Refusal::Settled));
            }
        }
        // A lease that is not in force is refused wherever one could be.
        let (mut bench, node) = reach(at);
        let stale = Command::Finish {
            node,
            epoch: 99,
            outcome: Outcome::Success,
            reason: Reason::default(),
            outputs: Value::Null,
        };
        assert!(bench.tell(stale).is_err());
        assert_eq!(bench.tell(cancel(InstanceId(77))), Err(Refusal::Unknown));
    }
}

/// (node state × strength × gate true or false × late report).
#[test]
fn every_cancel() {
    for gate in GATES {
        for strength in [Strength::Polite, Strength::Force] {
            for running in [false, true] {
                let semantics = Tiny { gates: vec![(1, gate)], ..Tiny::default() };
                let mut bench = Bench::new(leaves(1, &[]), &semantics);
                if bench.result().is_some() {
                    assert!(matches!(gate, Gate::Failure | Gate::Cancelled | Gate::Never));
                    continue;
                }
                let node = InstanceId(1);
                if running {
                    bench.begin(node);
                }
                bench.cancel(strength).unwrap();
                let goes_on = strength == Strength::Polite && gate == Gate::Always;
                let stops = outstanding(&bench.run).any(|(_, e)| matches!(e, Effect::Stop { .. }));
                assert_eq!(stops, running && !goes_on, "{gate:?} {strength:?} {running}");
                if !running && !goes_on {
                    assert_eq!(bench.result(), Some(JobResult::Cancelled));
                    continue;
                }
                if strength == Strength::Polite {
                    assert_eq!(bench.cancel(Strength::Polite), Err(Refusal::Already));
                }
                if !running {
                    bench.begin(node);
                }
                // A final report stands even if a cancel was on its way.
                bench.end(node, Outcome::Success, Value::Null);
                assert_eq!(bench.result(), Some(JobResult::Success));
            }
        }
    }
}

/// A polite cancel of the run does not soften a forced one of a job.
#[test]
fn a_polite_cancel_after_a_forced_one() {
    let semantics = Tiny::default();
    let mut bench = Bench::new(leaves(2, &[]), &semantics);
    let node = InstanceId(1);
    bench.begin(node);
    let (cause, strength) = (Cause::User, Strength::Force);
    bench.tell(Command::Cancel { target: node, cause, strength }).unwrap();
    bench.cancel(Strength::Polite).unwrap();
    assert_eq!(bench.run.instance(node).stopping, Some(Strength::Force));
    assert_eq!(bench.run.instance(node).cancel.map(|c| c.strength), Some(Strength::Force));
}

#[test]
fn a_stop_has_a_deadline() {
    let semantics = Tiny::default();
    let mut bench = Bench::new(leaves(1, &[]), &semantics);
    let node = InstanceId(1);
    let epoch = bench.begin(node);
    bench.cancel(Strength::Polite).unwrap();
    let due = outstanding(&bench.run).find_map(|(_, e)| match e {
        Effect::Timer { due, .. } => Some(*due),
        _ => None,
    });
    assert_eq!(due, Some(Timestamp(bench.at + 300)));
    bench.tell(Command::Timer { node, epoch }).unwrap();
    assert_eq!(bench.result(), Some(JobResult::Cancelled));
    let late = Command::Finish {
        node,
        epoch,
        outcome: Outcome::Success,
        reason: Reason::default(),
        outputs: Value::Null,
    };
    assert_eq!(bench.tell(late), Err(Refusal::Settled));
}

#[test]
fn blocked_nodes_are_asked_again_under_a_cancel() {
    let semantics = Tiny { gates: vec![(2, Gate::Always), (3, Gate::Success)], ..Tiny::default() };
    let mut bench = Bench::new(leaves(3, &[(0, 1), (0, 2)]), &semantics);
    bench.begin(InstanceId(1));
    bench.cancel(Strength::Polite).unwrap();
    bench.end(InstanceId(1), Outcome::Cancelled, Value::Null);
    assert_eq!(bench.offers(), [InstanceId(2)], "always() still starts");
    bench.finish(InstanceId(2), Outcome::Success);
    let result = |i| bench.run.instance(InstanceId(i)).settled().unwrap().outcome;
    assert_eq!(
        (result(1), result(2), result(3)),
        (Outcome::Cancelled, Outcome::Success, Outcome::Cancelled)
    );
    assert_eq!(bench.result(), Some(JobResult::Cancelled));
}

fn fan(legs: usize) -> Plan {
    let mut plan = Plan::new(0);
    plan.add(PlanNodeId::ROOT, "m", NodeKind::Work, true, 0);
    let after = plan.add(PlanNodeId::ROOT, "after", NodeKind::Work, false, 0);
    plan.nodes[after.index()].needs.push(PlanNodeId(1));
    assert!(legs > 0);
    plan
}

#[test]
fn fail_fast_cancels_the_other_legs() {
    let semantics = Tiny { legs: 3, fail_fast: true, ..Tiny::default() };
    let mut bench = Bench::new(fan(3), &semantics);
    let legs = bench.offers();
    bench.begin(legs[0]);
    bench.begin(legs[1]);
    bench.end(legs[0], Outcome::Failure, Value::Null);
    assert_eq!(bench.run.instance(legs[2]).settled().unwrap().outcome, Outcome::Cancelled);
    assert!(outstanding(&bench.run).any(|(_, e)| matches!(e, Effect::Stop { .. })));
    bench.end(legs[1], Outcome::Cancelled, Value::Null);
    insta::assert_snapshot!(bench.states().join("\n"), @r"
    :failure
    m:failure
    after:skipped
    m[0]:failure
    m[1]:cancelled
    m[2]:cancelled
    ");
}

#[test]
fn forgiven_legs_fail_nothing() {
    let semantics = Tiny { legs: 2, fail_fast: true, forgiven: true, ..Tiny::default() };
    let mut bench = Bench::new(fan(2), &semantics);
    let legs = bench.offers();
    bench.finish(legs[0], Outcome::Failure);
    bench.finish(legs[1], Outcome::Success);
    let after = bench.offers();
    bench.finish(after[0], Outcome::Success);
    assert_eq!(bench.result(), Some(JobResult::Success));
    assert_eq!(bench.run.instance(legs[0]).settled().unwrap().outcome, Outcome::Failure);
}

#[test]
fn max_parallel_is_never_passed() {
    let semantics = Tiny { legs: 5, max_parallel: Some(2), ..Tiny::default() };
    let mut bench = Bench::new(fan(5), &semantics);
    let mut done = 0;
    while done < 5 {
        let offers = bench.offers();
        assert!(offers.len() <= 2 && !offers.is_empty());
        bench.finish(offers[0], Outcome::Success);
        done += 1;
    }
    assert_eq!(bench.run.path(bench.offers()[0]), "after");
}

#[test]
fn outputs_of_legs_merge_in_the_order_they_settle() {
    let semantics = Tiny { legs: 2, ..Tiny::default() };
    let mut bench = Bench::new(fan(2), &semantics);
    let legs = bench.offers();
    let outputs = |a: &str, b: &str| Value::object([("a", Value::from(a)), ("b", Value::from(b))]);
    bench.begin(legs[0]);
    bench.begin(legs[1]);
    bench.end(legs[1], Outcome::Success, outputs("1", ""));
    bench.end(legs[0], Outcome::Success, outputs("2", "x"));
    let after = bench.offers()[0];
    let needs = bench.run.needs_of(after);
    assert_eq!(needs[0].outputs, outputs("2", "x"));
}

#[test]
fn scopes_nest_and_have_outputs() {
    let mut plan = Plan::new(0);
    let call = plan.add(PlanNodeId::ROOT, "call", NodeKind::Scope, true, 0);
    let inner = plan.add(call, "x", NodeKind::Work, false, 0);
    let second = plan.add(call, "y", NodeKind::Work, false, 0);
    plan.nodes[second.index()].needs.push(inner);
    let semantics = Tiny { legs: 2, max_parallel: Some(1), ..Tiny::default() };
    let mut bench = Bench::new(plan, &semantics);
    let mut order = Vec::new();
    while let Some(node) = bench.offers().first().copied() {
        order.push(bench.run.path(node));
        assert_eq!(
            bench.run.instance(bench.run.scope_of(node).unwrap()).inputs,
            Value::from("bound")
        );
        bench.finish(node, Outcome::Success);
    }
    assert_eq!(order, ["call[0]/x", "call[0]/y", "call[1]/x", "call[1]/y"]);
    assert_eq!(bench.run.instance(InstanceId(2)).settled().unwrap().outputs, Value::Number(2.0));
}

#[test]
fn groups_are_held_from_grant_to_end() {
    let semantics = Tiny { groups: vec!["a", "b"], ..Tiny::default() };
    let mut bench = Bench::new(leaves(1, &[]), &semantics);
    let node = InstanceId(1);
    let held = |bench: &Bench<'_>| -> Vec<String> {
        outstanding(&bench.run)
            .filter_map(|(_, e)| match e {
                Effect::Hold { group, .. } => Some(group.name.clone()),
                _ => None,
            })
            .collect()
    };
    assert_eq!(held(&bench), ["a"]);
    assert_eq!(bench.tell(Command::GroupGranted { node, index: 1 }), Err(Refusal::State));
    bench.tell(Command::GroupGranted { node, index: 0 }).unwrap();
    assert_eq!(held(&bench), ["a", "b"]);
    assert!(bench.offers().is_empty());
    bench.tell(Command::GroupGranted { node, index: 1 }).unwrap();
    bench.begin(node);
    assert_eq!(held(&bench), ["a", "b"]);
    bench.end(node, Outcome::Success, Value::Null);
    assert!(held(&bench).is_empty());
}

#[test]
fn lost_runners() {
    let semantics = Tiny::default();
    let mut bench = Bench::new(leaves(1, &[]), &semantics);
    let node = InstanceId(1);
    bench.tell(Command::Lease { node, attempt: 1, runner: "r".into() }).unwrap();
    bench.tell(Command::Lost { node, epoch: 1 }).unwrap();
    assert_eq!(bench.offers(), [node], "offered again, as no step had begun");
    bench.tell(Command::Lease { node, attempt: 2, runner: "s".into() }).unwrap();
    assert_eq!(bench.tell(Command::Begin { node, epoch: 1 }), Err(Refusal::Stale));
    bench.tell(Command::Begin { node, epoch: 2 }).unwrap();
    bench.tell(Command::Lost { node, epoch: 2 }).unwrap();
    assert_eq!(bench.run.instance(node).settled().unwrap().outcome, Outcome::Lost);
    assert_eq!(bench.result(), Some(JobResult::Failure));
}

#[test]
fn a_broken_gate_fails_its_node_alone() {
    let semantics = Tiny { broken: Some(1), ..Tiny::default() };
    let mut bench = Bench::new(leaves(2, &[]), &semantics);
    let settled = bench.run.instance(InstanceId(1)).settled().unwrap();
    assert_eq!((settled.outcome, settled.by), (Outcome::Failure, By::Error));
    bench.finish(InstanceId(2), Outcome::Success);
    assert_eq!(bench.result(), Some(JobResult::Failure));
}

#[test]
fn too_much_output_fails_the_job() {
    let semantics = Tiny::default();
    let mut bench = Bench::new(leaves(1, &[]), &semantics);
    bench.begin(InstanceId(1));
    let big = "x".repeat(MAX_OUTPUT_BYTES + 1);
    bench.end(InstanceId(1), Outcome::Success, Value::object([("a", Value::from(big))]));
    assert_eq!(bench.result(), Some(JobResult::Failure));
}

proptest::proptest! {
    /// Random commands at random nodes: never a panic, a replay that differs, or a stuck run.
    #[test]
    fn random_commands(commands in proptest::collection::vec((0u8..10, 0u32..8, 0u32..3), 0..80)) {
        let semantics = Tiny {
            legs: 3, max_parallel: Some(2), fail_fast: true, groups: vec!["g"],
            gates: vec![(2, Gate::Always)], ..Tiny::default()
        };
        let mut bench = Bench::new(fan(3), &semantics);
        for (kind, node, number) in commands {
            let node = InstanceId(node);
            let (reason, outputs) = (Reason::default(), Value::Null);
            let outcome = [Outcome::Success, Outcome::Failure, Outcome::Cancelled][number as usize];
            let command = match kind {
                0 => Command::GroupGranted { node, index: 0 },
                1 => Command::GroupRefused { node, reason },
                2 => Command::Lease { node, attempt: number, runner: "r".into() },
                3 => Command::Decline { node, outcome, reason },
                4 => Command::Begin { node, epoch: number },
                5 => Command::Finish { node, epoch: number, outcome, reason, outputs },
                6 => Command::Lost { node, epoch: number },
                7 => Command::Timer { node, epoch: number },
                8 => Command::Rerun { nodes: vec![node], resume: None },
                _ => Command::Cancel {
                    target: node,
                    cause: Cause::User,
                    strength: if number == 0 { Strength::Force } else { Strength::Polite },
                },
            };
            let _ = bench.tell(command);
        }
    }
}

/// A leaf that fails is tried again after a growing pause, as often as its policy says.
#[test]
fn retries() {
    let semantics = Tiny { retries: 2, ..Tiny::default() };
    let mut bench = Bench::new(leaves(2, &[(0, 1)]), &semantics);
    let a = InstanceId(1);
    for pause in [100, 300] {
        bench.finish(a, Outcome::Failure);
        let due = bench.at + pause;
        assert_eq!(bench.states()[1], format!("n0:backoff {due}"));
        let timers: Vec<_> = outstanding(&bench.run).map(|(k, _)| *k).collect();
        assert!(matches!(timers[..], [EffectKey::Timer(node, _)] if node == a), "{timers:?}");
        let epoch = bench.run.instance(a).epoch;
        bench.tell(Command::Timer { node: a, epoch }).unwrap();
        assert_eq!(bench.offers(), [a]);
    }
    bench.finish(a, Outcome::Failure);
    assert_eq!(bench.states()[1..], ["n0:failure", "n1:skipped"]);
    // A new attempt at the run has all of its retries again.
    bench.tell(Command::Rerun { nodes: vec![a], resume: None }).unwrap();
    bench.finish(a, Outcome::Lost);
    assert!(bench.states()[1].starts_with("n0:backoff"), "{:?}", bench.states());
    bench.cancel(Strength::Polite).unwrap();
    assert_eq!(bench.states()[1], "n0:cancelled");
    assert_eq!(outstanding(&bench.run).count(), 0);
}

/// What was made before stands for a leaf; what is no instance at all is a success; the legs of a
/// fan-out give what the language gathers, in their order and not in that of their ends.
#[test]
fn hits_nothing_and_gathered_outputs() {
    let semantics = Tiny { nothing: true, ..Tiny::default() };
    let bench = Bench::new(fan(1), &semantics);
    let settled = bench.run.instance(InstanceId(1)).settled().unwrap();
    assert_eq!((settled.result, settled.outputs.to_text().as_ref()), (JobResult::Success, "[]"));
    let semantics = Tiny { legs: 3, gathers: true, ..Tiny::default() };
    let mut bench = Bench::new(fan(1), &semantics);
    let offers = bench.offers();
    for leg in offers.iter().rev().take(2) {
        bench.begin(*leg);
        bench.end(*leg, Outcome::Success, Value::from(format!("leg{}", leg.0)));
    }
    let (reason, outputs) = (Reason::new("made before"), Value::from("kept"));
    bench.tell(Command::Hit { node: offers[0], reason, outputs }).unwrap();
    let leg = bench.run.instance(offers[0]).settled().unwrap();
    assert_eq!((leg.by, leg.reason.0.as_str()), (By::Cache, "made before"));
    let outer = bench.run.instance(InstanceId(1)).settled().unwrap();
    assert_eq!(outer.outputs.to_text(), format!("kept leg{} leg{}", offers[1].0, offers[2].0));
}
