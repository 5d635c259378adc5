//! Re-runs: what is reset, what is kept, and that the result is that of a fresh run.

use super::*;

fn again(bench: &mut Bench<'_>, nodes: &[u32]) -> Result<(), Refusal> {
    let nodes = nodes.iter().map(|n| InstanceId(*n)).collect();
    bench.tell(Command::Rerun { nodes, resume: None })
}

fn finish_all(bench: &mut Bench<'_>, outcome: Outcome) {
    while let Some(node) = bench.offers().first().copied() {
        bench.finish(node, outcome);
    }
}

#[test]
fn only_a_run_that_is_over_begins_again() {
    let semantics = Tiny::default();
    let mut bench = Bench::new(leaves(2, &[(0, 1)]), &semantics);
    assert_eq!(again(&mut bench, &[]), Err(Refusal::Running));
    finish_all(&mut bench, Outcome::Success);
    assert_eq!(again(&mut bench, &[7]), Err(Refusal::Unknown));
    let resume = Some((InstanceId(2), 1));
    let refused = bench.tell(Command::Rerun { nodes: vec![InstanceId(1)], resume });
    assert_eq!(refused, Err(Refusal::State), "the leaf to resume is one of those named");
    assert_eq!(again(&mut bench, &[]), Ok(()));
    assert_eq!(bench.run.attempt(), 2);
}

/// A re-run of one node gives what a fresh run gives in which it and its dependents end anew.
#[test]
fn every_node_of_every_small_graph() {
    let ends = [Outcome::Success, Outcome::Failure];
    let gates = [Gate::Success, Gate::Failure, Gate::Always];
    for n in 1..=3usize {
        let pairs: Vec<(usize, usize)> =
            (0..n).flat_map(|to| (0..to).map(move |from| (from, to))).collect();
        for mask in 0..1u32 << pairs.len() {
            let edges: Vec<_> = pairs
                .iter()
                .enumerate()
                .filter(|(i, _)| mask & (1 << i) != 0)
                .map(|(_, e)| *e)
                .collect();
            for code in 0..6usize.pow(u32::try_from(n).unwrap()) * 2 * n {
                let (code, second) = (code / 2, ends[code % 2]);
                let (code, chosen) = (code / n, code % n);
                let pick = |i: usize| code / 6usize.pow(u32::try_from(i).unwrap()) % 6;
                let gate: Vec<Gate> = (0..n).map(|i| gates[pick(i) / 2]).collect();
                let first: Vec<Outcome> = (0..n).map(|i| ends[pick(i) % 2]).collect();
                let semantics = Tiny {
                    gates: gate.iter().enumerate().map(|(i, g)| (i + 1, *g)).collect(),
                    ..Tiny::default()
                };
                let mut bench = Bench::new(leaves(n, &edges), &semantics);
                bench.quiet = true;
                while let Some(node) = bench.offers().first().copied() {
                    bench.finish(node, first[node.index() - 1]);
                }
                let before = bench.run.clone();
                again(&mut bench, &[u32::try_from(chosen + 1).unwrap()]).unwrap();
                let mut reset = vec![chosen];
                for (from, to) in &edges {
                    if reset.contains(from) && !reset.contains(to) {
                        reset.push(*to);
                    }
                }
                finish_all(&mut bench, second);
                bench.check();
                let end: Vec<Outcome> =
                    (0..n).map(|i| if reset.contains(&i) { second } else { first[i] }).collect();
                let found: Vec<JobResult> =
                    (1..=n).map(|i| bench.run.instances[i].settled().unwrap().result).collect();
                assert_eq!(found, naive(n, &edges, &gate, &end), "{edges:?} {gate:?} {chosen}");
                for i in (0..n).filter(|i| !reset.contains(i)) {
                    assert_eq!(before.instances[i + 1], bench.run.instances[i + 1]);
                }
            }
        }
    }
}

#[test]
fn a_failed_leg_alone_keeps_the_others() {
    let semantics = Tiny { legs: 3, ..Tiny::default() };
    let mut bench = Bench::new(fan(3), &semantics);
    let legs = bench.offers();
    let output = |n: f64| Value::object([("n", Value::Number(n))]);
    for (i, leg) in legs.iter().enumerate() {
        bench.begin(*leg);
        let outcome = if i == 1 { Outcome::Failure } else { Outcome::Success };
        bench.end(*leg, outcome, output(f64::from(u32::try_from(i).unwrap())));
    }
    assert_eq!(bench.result(), Some(JobResult::Failure));
    again(&mut bench, &[legs[1].0]).unwrap();
    assert_eq!(bench.offers(), [legs[1]], "{:?}", bench.states());
    assert!(matches!(bench.run.instance(legs[1]).state, NodeState::Active { attempt: 2, .. }));
    bench.begin(legs[1]);
    assert_eq!(bench.run.instance(legs[1]).epoch, 2, "an epoch is never given twice");
    bench.end(legs[1], Outcome::Success, output(9.0));
    // What waited for the matrix goes on, and sees the output of the leg that settled last.
    let after = bench.offers();
    assert_eq!(bench.run.path(after[0]), "after");
    let needs = bench.run.needs_of(after[0]);
    assert_eq!(needs[0].outputs, output(9.0));
    bench.finish(after[0], Outcome::Success);
    assert_eq!(bench.result(), Some(JobResult::Success));
}

#[test]
fn a_matrix_that_is_reset_is_expanded_anew() {
    let semantics = Tiny { legs: 2, max_parallel: Some(1), ..Tiny::default() };
    let mut bench = Bench::new(fan(2), &semantics);
    finish_all(&mut bench, Outcome::Success);
    let count = bench.run.instances().count();
    again(&mut bench, &[1]).unwrap();
    finish_all(&mut bench, Outcome::Success);
    let old: Vec<_> = bench.run.instances().filter(|(_, i)| i.superseded).collect();
    assert_eq!(old.len(), 2);
    assert_eq!(bench.run.instances().count(), count + 2);
    let old = old[0].0.0;
    assert_eq!(again(&mut bench, &[old]), Err(Refusal::Unknown));
    assert_eq!(bench.result(), Some(JobResult::Success));
}

/// A job within a called workflow: its scope goes on, what needs the scope begins anew.
fn nested() -> Plan {
    let mut plan = Plan::new(0);
    let scope = plan.add(PlanNodeId::ROOT, "call", NodeKind::Scope, false, 0);
    let first = plan.add(scope, "first", NodeKind::Work, false, 0);
    let second = plan.add(scope, "second", NodeKind::Work, false, 0);
    let after = plan.add(PlanNodeId::ROOT, "after", NodeKind::Work, false, 0);
    plan.nodes[second.index()].needs.push(first);
    plan.nodes[after.index()].needs.push(scope);
    plan
}

#[test]
fn within_a_scope() {
    let semantics = Tiny::default();
    let mut bench = Bench::new(nested(), &semantics);
    finish_all(&mut bench, Outcome::Success);
    let second = bench.run.instances().find(|(id, _)| bench.run.path(*id) == "call/second");
    let second = second.unwrap().0;
    again(&mut bench, &[second.0]).unwrap();
    assert_eq!(bench.offers(), [second]);
    bench.finish(second, Outcome::Failure);
    assert_eq!(bench.result(), Some(JobResult::Failure));
    assert_eq!(
        bench.states(),
        [":failure", "call:failure", "after:skipped", "call/first:success", "call/second:failure"]
    );
}

/// A scope that waits for its group in a re-run and is cancelled takes its nodes with it.
#[test]
fn a_cancel_while_it_waits_for_its_turn() {
    for strength in [Strength::Polite, Strength::Force] {
        let semantics = Tiny { groups: vec!["g"], ..Tiny::default() };
        let mut bench = Bench::new(nested(), &semantics);
        let grant = |bench: &mut Bench<'_>| {
            let held = outstanding(&bench.run).filter_map(|(k, _)| match k {
                EffectKey::Hold(node, index) => Some((*node, *index)),
                _ => None,
            });
            for (node, index) in held.collect::<Vec<_>>() {
                let _ = bench.tell(Command::GroupGranted { node, index });
            }
        };
        while bench.result().is_none() {
            grant(&mut bench);
            finish_all(&mut bench, Outcome::Failure);
        }
        let first = bench.run.instances().find(|(id, _)| bench.run.path(*id) == "call/first");
        let first = first.unwrap().0.0;
        again(&mut bench, &[first]).unwrap();
        assert!(bench.states().contains(&"call:waiting 0".to_owned()), "{:?}", bench.states());
        bench.cancel(strength).unwrap();
        assert_eq!(bench.result(), Some(JobResult::Cancelled));
        assert!(bench.run.instances().all(|(_, i)| i.settled().is_some()), "{:?}", bench.states());
        again(&mut bench, &[]).unwrap();
        while bench.result().is_none() {
            grant(&mut bench);
            finish_all(&mut bench, Outcome::Success);
        }
        assert_eq!(bench.result(), Some(JobResult::Success));
        assert_eq!(bench.run.attempt(), 3);
    }
}

/// A node that is cancelled before the scope around it had its turn is counted all the same.
#[test]
fn a_node_cancelled_before_its_scope_goes_on() {
    let semantics = Tiny { groups: vec!["g"], ..Tiny::default() };
    let mut bench = Bench::new(nested(), &semantics);
    let grant = |bench: &mut Bench<'_>| {
        let held: Vec<EffectKey> = outstanding(&bench.run).map(|(k, _)| *k).collect();
        for key in held {
            if let EffectKey::Hold(node, index) = key {
                let _ = bench.tell(Command::GroupGranted { node, index });
            }
        }
        finish_all(bench, Outcome::Success);
    };
    while bench.result().is_none() {
        grant(&mut bench);
    }
    let second = bench.run.instances().find(|(id, _)| bench.run.path(*id) == "call/second");
    let second = second.unwrap().0;
    again(&mut bench, &[second.0]).unwrap();
    let (cause, strength) = (Cause::User, Strength::Force);
    bench.tell(Command::Cancel { target: second, cause, strength }).unwrap();
    for _ in 0..4 {
        grant(&mut bench);
    }
    assert!(bench.result().is_some(), "{:?}", bench.states());
}

#[test]
fn a_leaf_that_resumes_says_so_until_it_settles() {
    let semantics = Tiny::default();
    let mut bench = Bench::new(leaves(1, &[]), &semantics);
    finish_all(&mut bench, Outcome::Failure);
    let node = InstanceId(1);
    bench.tell(Command::Rerun { nodes: vec![node], resume: Some((node, 4)) }).unwrap();
    assert_eq!(bench.run.instance(node).resume, Some(4));
    finish_all(&mut bench, Outcome::Success);
    assert_eq!(bench.run.instance(node).resume, None);
}

/// A run whose own group was refused never opened, and begins again as a new one.
#[test]
fn a_run_that_never_opened() {
    let semantics = Tiny { root_group: true, ..Tiny::default() };
    let mut bench = Bench::new(leaves(1, &[]), &semantics);
    let node = InstanceId::ROOT;
    bench.tell(Command::GroupRefused { node, reason: Reason::new("evicted") }).unwrap();
    assert_eq!(bench.result(), Some(JobResult::Cancelled));
    again(&mut bench, &[]).unwrap();
    bench.tell(Command::GroupGranted { node, index: 0 }).unwrap();
    finish_all(&mut bench, Outcome::Success);
    assert_eq!(bench.result(), Some(JobResult::Success));
}
