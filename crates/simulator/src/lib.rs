//! Seeded simulation: the real engine, the real step machine and the real journal in one thread,
//! with a heap of happenings and a scripted executor in place of the world.
//!
//! A seed makes a workflow, what its processes do, and what goes wrong: restarts between append
//! and effect, appends that fail, runners that die and come back as zombies, commands that come
//! twice or late, jumps of the clock that the engine is told, cancels at any moment, re-runs of what
//! is over, whole, in part and from a step. Checkers look after every step
//! ([`check`]). First faults are on (safety), then they are off and the run must end (liveness).
//! A violation names its seed, and the seed gives it again.
//!
//! [`Broken`] builds have one fault each that a checker must find: a checker that finds nothing
//! proves nothing.
//!
//! The world's own concurrency groups stand in for the binary's: what is proved of them is the
//! engine's side. Deliberately absent, until there is a server: several runs at once, the queue, leases that
//! expire by time, a network that reorders.

mod broken;
mod check;
mod coverage;
mod generate;
mod job;
mod world;

pub use broken::Broken;
pub use check::{CHECKERS, Violation};
pub use coverage::{Coverage, legal_pairs};

/// Simulates a seed to its end.
pub fn simulate(
    seed: u64,
    broken: Option<Broken>,
    coverage: &mut Coverage,
) -> Result<(), Violation> {
    world::World::new(seed, broken).run(coverage)
}

/// The workflow files that a seed makes, and what happened, for people who look for a fault.
pub fn describe(seed: u64, broken: Option<Broken>) -> String {
    let mut world = world::World::new(seed, broken);
    let outcome = world.run(&mut Coverage::default());
    let mut text = world.files();
    text.push_str(&world.trace());
    text.push_str(&match outcome {
        Ok(()) => "no violation\n".to_owned(),
        Err(violation) => format!("{violation}\n"),
    });
    text
}
