//! Real containers: the real binary, Podman, and images made of this machine's own programs
//! (`tests/images/`). Where they cannot run they are ignored by name, with the reason; as root on
//! Debian 12 they must run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod actions;
mod failures;
mod jobs;
mod leftovers;
mod machine;
mod registry;
mod rootless;

use std::process::Command;

use common::{Ran, Repo, ran};
use libtest_mimic::{Arguments, Trial};

/// The images of `tests/images/build.py`.
pub(crate) const BUSYBOX: &str = "localhost/trainyard-test/busybox";
pub(crate) const DEBIAN: &str = "localhost/trainyard-test/debian";

/// A test with its name.
pub(crate) type Test = (&'static str, fn());

/// Why they cannot run here.
fn unfit() -> Option<String> {
    let image = |name: &str| {
        let asked = Command::new("podman").args(["image", "exists", name]).status();
        asked.is_ok_and(|s| s.success())
    };
    let missing = [BUSYBOX, DEBIAN].into_iter().find(|i| !image(i))?;
    Some(format!("podman has no image {missing}: tests/images/setup.sh makes it"))
}

fn must_run() -> bool {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let debian = release.contains("ID=debian") && release.contains("VERSION_ID=\"12\"");
    debian && rustix::process::getuid().is_root()
}

fn trial(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn main() {
    let arguments = Arguments::from_args();
    let unfit = unfit();
    if let Some(why) = &unfit {
        assert!(!must_run(), "as root on Debian 12 the container tests run: {why}");
        eprintln!("the container tests are ignored: {why}");
    }
    let tests =
        [jobs::ALL, actions::ALL, failures::ALL, leftovers::ALL, machine::ALL, registry::ALL]
            .concat();
    let mut trials: Vec<Trial> = tests
        .into_iter()
        .map(|(name, test)| trial(name, test).with_ignored_flag(unfit.is_some()))
        .collect();
    // As user namespaces allow it.
    let without_root = rootless::unfit();
    if let Some(why) = &without_root {
        eprintln!("the tests without root are ignored: {why}");
    }
    for (name, test) in rootless::ALL {
        trials.push(trial(name, *test).with_ignored_flag(without_root.is_some()));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// The command with this machine's own engine.
pub(crate) fn command(repo: &Repo, args: &[&str]) -> Command {
    let mut command = repo.command(args);
    command.env_remove("DOCKER_HOST");
    command
}

/// `trainyard run` with this machine's own engine.
pub(crate) fn run(repo: &Repo, args: &[&str]) -> Ran {
    let all: Vec<&str> = ["run"].iter().chain(args).copied().collect();
    ran(command(repo, &all).output().unwrap())
}

/// Runs one workflow.
pub(crate) fn workflow(text: &str, args: &[&str]) -> Ran {
    run(&Repo::with(text), args)
}

/// What the engine still has of a run's process.
pub(crate) fn left(process: u32) -> String {
    let mark = format!("label=trainyard.process={process}-");
    let mut all = String::new();
    for what in [&["ps", "-aq"][..], &["network", "ls", "-q"], &["volume", "ls", "-q"]] {
        let out = Command::new("podman").args(what).output().unwrap();
        for id in String::from_utf8_lossy(&out.stdout).lines() {
            let kind = if what[0] == "ps" { "container" } else { what[0] };
            let shown = Command::new("podman").args([kind, "inspect", id]).output().unwrap();
            let text = String::from_utf8_lossy(&shown.stdout).into_owned();
            if text.contains(&mark[6..])
                || text.contains(&format!("\"trainyard.process\": \"{process}-"))
            {
                all.push_str(&format!("{kind} {id}\n"));
            }
        }
    }
    all
}
