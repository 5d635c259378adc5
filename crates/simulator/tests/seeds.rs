//! The gate: ten thousand seeds without a violation, every legal pair met, every broken build found.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use trainyard_simulator::{Broken, CHECKERS, Coverage, describe, simulate};

const SEEDS: u64 = 10_000;

#[test]
fn ten_thousand_seeds() {
    let next = AtomicU64::new(0);
    let all = Mutex::new((Coverage::default(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (mut coverage, mut found) = (Coverage::default(), Vec::new());
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= SEEDS {
                        break;
                    }
                    if let Err(violation) = simulate(seed, None, &mut coverage) {
                        found.push(format!("seed {seed}: {violation}"));
                    }
                }
                let mut all = all.lock().unwrap();
                all.0.merge(&coverage);
                all.1.extend(found);
            });
        }
    });
    let (coverage, found) = all.into_inner().unwrap();
    println!("{}", coverage.table());
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert_eq!(coverage.missing(), [], "legal pairs that were never taken");
    assert!(coverage.resumed > 100, "{} jobs went on from a step", coverage.resumed);
    assert_eq!(coverage.illegal(), [], "pairs that were taken and are in no table");
}

/// A checker that finds nothing proves nothing: each has a build that it finds.
#[test]
fn every_broken_build_is_found() {
    let mut names: Vec<&str> = Broken::ALL.iter().map(|(_, checker)| *checker).collect();
    names.sort_unstable();
    names.dedup();
    let mut checkers = CHECKERS.to_vec();
    checkers.sort_unstable();
    assert_eq!(names, checkers, "a build for each checker");
    for (broken, checker) in Broken::ALL {
        let mut others = Vec::new();
        let mut coverage = Coverage::default();
        let found = (0..2_000).any(|seed| match simulate(seed, Some(broken), &mut coverage) {
            Err(violation) if violation.checker == checker => true,
            Err(violation) => {
                others.push(format!("seed {seed}: {violation}"));
                false
            }
            Ok(()) => false,
        });
        assert!(found, "{broken:?} is not found by '{checker}': {others:#?}");
    }
}

/// A seed gives the same again, so that a violation can be looked at.
#[test]
fn a_seed_gives_the_same_again() {
    for seed in [3, 77, 4_001] {
        assert_eq!(describe(seed, None), describe(seed, None));
    }
    let broken = Some(Broken::SettlesTwice);
    let found = (0..200).find(|seed| describe(*seed, broken).contains("violation of 'outcome'"));
    assert!(found.is_some());
}
