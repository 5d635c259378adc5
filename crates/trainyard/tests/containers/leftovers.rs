//! Nothing is left behind: after a run, after Ctrl-C, after a kill.

use std::io::Read;
use std::process::{Child, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::{BUSYBOX, Test, command, left, run};
use crate::common::Repo;

pub const ALL: &[Test] = &[
    ("a_step_is_interrupted_in_its_container", a_step_is_interrupted_in_its_container),
    ("after_a_kill_the_next_call_cleans_up", after_a_kill_the_next_call_cleans_up),
    ("a_container_that_dies", a_container_that_dies),
    ("a_wait_for_health_is_interrupted", a_wait_for_health_is_interrupted),
];

/// A run whose step has said that it is there: through a pipe in a folder that its container has,
/// as what a step prints is shown at its end.
fn started(repo: &Repo) -> Child {
    let pipe = repo.path("../signals/here");
    let pipe = std::fs::File::options().read(true).write(true).open(pipe).unwrap();
    let mut run = command(repo, &["run"]);
    let mut child = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
    let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
    if poll(&mut fds, Some(&limit)).unwrap() == 0 {
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        panic!("the step did not start: {}", rest(&mut child));
    }
    child
}

fn rest(child: &mut Child) -> String {
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    out
}

/// A repository, and a folder with a pipe beside it.
fn signalling() -> (Repo, std::path::PathBuf) {
    let repo = Repo::empty();
    let signals = repo.path("../signals");
    std::fs::create_dir(&signals).unwrap();
    let mode = rustix::fs::Mode::RWXU;
    rustix::fs::mkfifoat(rustix::fs::CWD, signals.join("here"), mode).unwrap();
    (repo, signals)
}

fn a_wait_for_health_is_interrupted() {
    let (repo, signals) = signalling();
    let text = format!(
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    services:
      s:
        image: {BUSYBOX}
        entrypoint: sleep
        command: '1000'
        volumes: ['{}:/signals']
        options: --health-cmd \"echo here > /signals/here; false\" --health-interval 20s --health-retries 100
    steps: [{{run: echo NEVER}}]
",
        signals.display()
    );
    repo.file(".github/workflows/ci.yml", &text).commit("first");
    let mut child = started(&repo);
    let id = child.id();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let out = rest(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(130), "{out}");
    assert!(out.contains("a: cancelled") && !out.contains("✓ a · Run"), "{out}");
    assert_eq!(left(id), "");
}

fn waiting() -> Repo {
    let (repo, signals) = signalling();
    let text = format!(
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {{image: {BUSYBOX}, volumes: ['{volume}:/v', '{signals}:/signals']}}
    services: {{s: {{image: {BUSYBOX}, entrypoint: sleep, command: '1000'}}}}
    steps:
      - run: |
          trap 'echo interrupted; exit 5' INT
          echo here > /signals/here
          while :; do sleep 0.1; done
      - {{run: 'echo cleanup in the container: $(ls -d /github/home)', if: always()}}
",
        // A name of this test's own, like those that other tests run beside it.
        volume = repo.path("..").canonicalize().unwrap().file_name().unwrap().to_string_lossy(),
        signals = signals.display()
    );
    repo.file(".github/workflows/ci.yml", &text).commit("first");
    repo
}

fn a_step_is_interrupted_in_its_container() {
    let repo = waiting();
    let mut child = started(&repo);
    let id = child.id();
    assert!(left(id).contains("container"), "nothing was found while it ran");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let out = rest(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(130), "{out}");
    for wanted in ["interrupted", "cleanup in the container: /github/home", "a: cancelled"] {
        assert!(out.contains(wanted), "{wanted:?} is missing:\n{out}");
    }
    assert_eq!(left(id), "");
}

fn after_a_kill_the_next_call_cleans_up() {
    let repo = waiting();
    let mut child = started(&repo);
    let id = child.id();
    let socket = std::env::temp_dir().join(format!("trainyard-podman-{id}"));
    assert!(left(id).contains("container") && socket.exists(), "nothing was found while it ran");
    kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
    child.wait().unwrap();
    // A call of another test may be the next one, too.
    let next = Repo::with(&format!(
        "on: push\njobs: {{a: {{runs-on: ubuntu-latest, container: {BUSYBOX}, steps: [{{run: echo next}}]}}}}\n"
    ));
    run(&next, &[]).shows("next").exits(0);
    // Where a neighbour was first, its removal may still be under way; each look asks the engine.
    let gone = (0..50).any(|_| left(id).is_empty());
    assert!(gone, "{}", left(id));
    assert!(!socket.exists());
}

fn a_container_that_dies() {
    let repo = waiting();
    let mut child = started(&repo);
    let name = format!("-0-{}-job-", child.id());
    let listed = std::process::Command::new("podman")
        .args(["ps", "--format", "{{.Names}}"])
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mark = format!("-{}-job-", child.id());
    let container = listed.lines().find(|l| l.contains(&mark));
    let container = container.unwrap_or_else(|| panic!("no {name} among {listed}"));
    std::process::Command::new("podman").args(["kill", container]).output().unwrap();
    let out = rest(&mut child);
    assert_eq!(child.wait().unwrap().code(), Some(1), "{out}");
    assert!(out.contains("The job's container is gone while the step ran"), "{out}");
    assert!(out.contains("the job's container is gone: it ended with exit code"), "{out}");
}
