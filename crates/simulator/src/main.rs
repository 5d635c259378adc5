//! `simulate [--seeds N] [--from SEED] [--seed SEED]`: many seeds, or one with all that happens.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use trainyard_simulator::{Coverage, describe, simulate};

fn number(name: &str, default: u64) -> u64 {
    let args: Vec<String> = std::env::args().collect();
    let at = args.iter().position(|a| a == name);
    let value = at.and_then(|i| args.get(i + 1)).map(|v| v.parse());
    match value {
        Some(Ok(value)) => value,
        Some(Err(_)) => {
            eprintln!("error: {name} wants a number");
            std::process::exit(2)
        }
        None => default,
    }
}

fn main() {
    if std::env::args().any(|a| a == "--seed") {
        print!("{}", describe(number("--seed", 0), None));
        return;
    }
    let (from, count) = (number("--from", 0), number("--seeds", 10_000));
    let next = AtomicU64::new(from);
    let failed = AtomicBool::new(false);
    let all = Mutex::new(Coverage::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut coverage = Coverage::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        break;
                    }
                    if let Err(violation) = simulate(seed, None, &mut coverage) {
                        failed.store(true, Ordering::Relaxed);
                        println!("seed {seed}: {violation}");
                        println!("  again: cargo run -p trainyard-simulator -- --seed {seed}");
                    }
                }
                if let Ok(mut all) = all.lock() {
                    all.merge(&coverage);
                }
            });
        }
    });
    let all = all.into_inner().unwrap_or_default();
    print!("{}", all.table());
    for (state, command) in all.missing() {
        println!("never taken: {state} × {command}");
    }
    for (state, command) in all.illegal() {
        println!("taken, and in no table: {state} × {command}");
    }
    println!("{count} seeds from {from}, {} jobs went on from a step", all.resumed);
    if failed.load(Ordering::Relaxed) || !all.missing().is_empty() || !all.illegal().is_empty() {
        std::process::exit(1);
    }
}
