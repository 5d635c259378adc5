//! After a failure: kept workspaces, shells in them, new attempts whole and in part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use common::Repo;
use serde_json::Value;

const STEPS: &str = "
on: push
jobs:
  prepare:
    runs-on: ubuntu-latest
    outputs: {v: '${{ steps.s.outputs.v }}'}
    steps:
      - {id: s, run: 'echo v=42 >> $GITHUB_OUTPUT'}
  test:
    needs: prepare
    runs-on: ubuntu-latest
    env: {TOKEN: '${{ secrets.TOKEN }}'}
    steps:
      - uses: actions/checkout@v4
      - id: one
        run: |
          echo x=1 >> $GITHUB_OUTPUT
          echo \"FROM_ENV=hello $TOKEN\" >> $GITHUB_ENV
          mkdir bin && printf '#!/bin/sh\\necho tool\\n' > bin/tool && chmod +x bin/tool
          echo $PWD/bin >> $GITHUB_PATH
      - name: Check
        working-directory: sub
        run: |
          test \"$FROM_ENV\" = \"hello $TOKEN\" && echo same
          echo attempt $GITHUB_RUN_ATTEMPT ${{ steps.one.outputs.x }} $(tool) ${{ needs.prepare.outputs.v }}
          grep -q good data
  after:
    needs: test
    runs-on: ubuntu-latest
    steps:
      - run: echo deployed
";

fn failing() -> Repo {
    let repo = Repo::with(STEPS);
    repo.file("sub/data", "bad").commit("data");
    repo.run(&["-s", "TOKEN=hunter2"]).exits(1);
    repo
}

fn json(repo: &Repo, args: &[&str]) -> Value {
    let all: Vec<&str> = ["view", "--json"].iter().chain(args).copied().collect();
    serde_json::from_str(&repo.call(&all).out).unwrap()
}

fn job<'a>(view: &'a Value, name: &str) -> &'a Value {
    view["jobs"].as_array().unwrap().iter().find(|j| j["name"] == name).unwrap()
}

#[test]
fn into_the_shell_fixed_and_on_from_the_step() {
    let repo = failing();
    // The secret is on no disk: neither in the history nor beside the workspace.
    for (name, bytes) in common::snapshot(&repo.data) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("hunter2"), "{name}");
    }
    let shell = ["shell", "-s", "TOKEN=hunter2", "--", "sh", "-c"];
    let script = "pwd; echo $FROM_ENV; tool; echo $GITHUB_RUN_ATTEMPT; echo good > data; echo y >> $GITHUB_OUTPUT";
    let shown = repo.call(&[&shell[..], &[script]].concat());
    shown.exits(0);
    let lines: Vec<&str> = shown.out.lines().collect();
    assert!(lines[0].ends_with("/project/project/sub"), "{lines:?}");
    assert_eq!(lines[1..], ["hello hunter2", "tool", "1"]);
    repo.call(&[&shell[..], &["exit 7"]].concat()).exits(1);
    // Without the secret what holds it is left out, and said to be.
    let without = repo.call(&["shell", "--job", "test", "--", "sh", "-c", "echo [$FROM_ENV]"]);
    without.shows("[]").shows("FROM_ENV");

    repo.call(&["rerun", "--from"]).exits(2).shows("TOKEN");
    let again = repo.call(&["rerun", "--from", "-s", "TOKEN=hunter2", "--output", "plain"]);
    again.exits(0).shows("same").shows("attempt 2 1 tool 42").shows("deployed").hides("hunter2");
    let view = json(&repo, &[]);
    assert_eq!((&view["attempt"], &view["status"]), (&2.into(), &"success".into()));
    let test = job(&view, "test");
    assert_eq!(test["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(test["steps"][0]["reason"], "reused from attempt 1");
    assert_eq!(job(&view, "prepare")["attempt"], 1, "it did not run again");
    assert_eq!(job(&view, "after")["attempts"][0]["reason"], "it needs 'test', which failed");
    repo.call(&["view"]).shows("#2");
    assert_eq!(json(&repo, &["1", "--attempt", "1"])["jobs"][1]["outcome"], "failure");
    // The workspace was used up, and nothing is left in the way.
    assert!(repo.call(&["prune", "--dry-run"]).out.starts_with("0 workspaces"));
    repo.call(&["rerun", "--from", "--job", "test", "-s", "TOKEN=hunter2"])
        .exits(2)
        .shows("not kept");
}

#[test]
fn steps_are_named_by_number_and_name() {
    let repo = failing();
    let secret = ["-s", "TOKEN=hunter2"];
    let from = |step: &str| {
        repo.call(&[&["rerun", "--from", step, "--output", "plain"][..], &secret[..]].concat())
    };
    from("Check").exits(1).shows("attempt 2 1 tool 42");
    // What that attempt left is kept in its turn, and goes on from an earlier step.
    from("2").exits(1).shows("attempt 3 1 tool 42");
    from("9").exits(2).shows("no step '9'").shows("3: Check");
    // The step before the fix: the checkout lays the work tree of now.
    repo.file("sub/data", "good");
    from("1").exits(0).shows("attempt 4 1 tool 42");
}

#[test]
fn only_what_failed() {
    let repo = Repo::with(
        "on: push\njobs:\n  m:\n    runs-on: ubuntu-latest\n    strategy: {fail-fast: false, matrix: {n: [1, 2, 3]}}\n    steps:\n      - run: 'echo leg ${{ matrix.n }} > out'\n      - uses: actions/upload-artifact@v4\n        with: {name: 'out-${{ matrix.n }}', path: out}\n      - run: 'test ${{ matrix.n }} != 2 || test -e $FLAG'\n  last:\n    needs: m\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/download-artifact@v4\n      - run: cat out-*/out\n",
    );
    let flag = repo.path("flag");
    let env = format!("FLAG={}", flag.display());
    repo.run(&["--env", &env]).exits(1);
    repo.call(&["rerun", "--failed", "--output", "plain"]).exits(1).hides("m (1)");
    std::fs::write(&flag, "").unwrap();
    let again = repo.call(&["rerun", "--failed", "--output", "plain"]);
    again.exits(0).shows("leg 1").shows("leg 2").shows("leg 3");
    let view = json(&repo, &[]);
    let attempts = |name: &str| job(&view, name)["attempts"].as_array().unwrap().len();
    assert_eq!((attempts("m (1)"), attempts("m (2)"), attempts("last")), (1, 3, 3));
    repo.call(&["rerun", "--failed"]).exits(2).shows("no job of run 1 failed");
    repo.call(&["rerun", "--job", "none"]).exits(2).shows("no job 'none'");
    // One job, by its name; and all.
    repo.call(&["rerun", "--job", "last", "--output", "plain"]).exits(0).hides("m (");
    repo.call(&["rerun", "--output", "plain"]).exits(0).shows("m (1)");
}

#[test]
fn a_run_whose_process_was_killed() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    outputs: {v: '${{ steps.s.outputs.v }}'}\n    steps: [{id: s, run: 'echo v=kept >> $GITHUB_OUTPUT'}]\n  b:\n    needs: a\n    runs-on: ubuntu-latest\n    steps: [{run: 'test -e $ROOT/go || { echo x > $ROOT/ready; exec sleep 100; }'}, {run: 'echo ${{ needs.a.outputs.v }}'}]\n",
    );
    let fifo = repo.path("ready");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let root = format!("ROOT={}", repo.root.display());
    let mut child = repo.command(&["run", "--env", &root]).stdout(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(std::fs::File::open(&fifo).unwrap()).read_line(&mut line).unwrap();
    // What was decided is on the disk within 50 ms.
    while json(&repo, &[])["jobs"].as_array().unwrap().is_empty() {}
    child.kill().unwrap();
    child.wait().unwrap();
    repo.file("go", "");
    let again = repo.call(&["rerun", "--failed", "--output", "plain"]);
    again.exits(0).shows("kept").hides("v=kept");
    let view = json(&repo, &[]);
    assert_eq!(job(&view, "a")["attempt"], 1);
    let b = job(&view, "b");
    assert_eq!(b["attempts"][0]["attempt"], 1);
    assert_ne!(b["attempts"][0]["outcome"], "success");
    assert_eq!(b["outcome"], "success");
}

#[test]
fn what_cannot_go_on_says_why() {
    let background = "      - {background: true, id: bg, run: sleep 0.1}\n      - {run: 'false'}\n";
    let masked = "      - {run: 'echo ::add-mask::computed; echo V=computed >> $GITHUB_ENV'}\n      - {run: 'false'}\n";
    for (steps, why) in [(background, "bg"), (masked, "'V' is masked")] {
        let repo = Repo::with(&format!(
            "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"
        ));
        repo.run(&[]).exits(1);
        repo.call(&["rerun", "--from", "2", "--output", "plain"]).shows(why);
        // From its start it runs all the same.
        repo.call(&["rerun", "--output", "plain"]).exits(1);
        let kept = repo.call(&["prune"]);
        kept.shows("1 workspace of").shows("removed");
        assert!(!repo.data.join("kept").read_dir().unwrap().any(|_| true));
    }
}

#[test]
fn posts_of_reused_steps_run() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/cache@v4\n        with: {path: out, key: k}\n      - run: 'mkdir -p out && echo x > out/f'\n      - run: test -e $FLAG\n",
    );
    let flag = repo.path("flag");
    let env = format!("FLAG={}", flag.display());
    repo.run(&["--env", &env]).exits(1);
    let view = json(&repo, &[]);
    let first = &view["jobs"][0]["steps"][0];
    assert!(first["cache"][0].as_str().unwrap().starts_with("cache miss for 'k'"), "{first}");
    std::fs::write(&flag, "").unwrap();
    repo.call(&["rerun", "--from"]).exits(0);
    repo.run(&["--env", &env]).exits(0);
    let view = json(&repo, &[]);
    assert_eq!(view["jobs"][0]["steps"][0]["cache"][0], "cache hit for 'k'");
}

#[test]
fn a_workspace_comes_back_after_a_killed_shell() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: 'echo mine > file; exit 1'}]\n",
    );
    repo.run(&[]).exits(1);
    let mut shell = repo
        .command(&["shell", "--", "sh", "-c", "echo $$; exec sleep 100"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(shell.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    repo.call(&["shell", "--", "true"]).exits(2);
    shell.kill().unwrap();
    shell.wait().unwrap();
    let pid = rustix::process::Pid::from_raw(line.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    repo.run(&[]).exits(1);
    repo.call(&["shell", "1", "--", "cat", "file"]).exits(0).shows("mine");
}

#[test]
fn a_changed_workflow_is_not_taken_and_is_said() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: echo old}]\n",
    );
    repo.run(&[]).exits(0);
    repo.file(
        ".github/workflows/ci.yml",
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: echo new}]\n",
    );
    let again = repo.call(&["rerun", "--output", "plain"]);
    again.exits(0).shows("old").shows("has changed since");
}

/// A value that a step masked itself could not be hidden in the next attempt: no way on from there.
#[test]
fn no_way_on_past_a_step_that_masked_something() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: 'echo computed-42 > f; echo ::add-mask::computed-42'\n      - run: 'cat f; exit 1'\n",
    );
    repo.run(&[]).exits(1).hides("computed-42");
    repo.call(&["rerun", "--from"]).exits(2).shows("masked a value of its own");
    // The workspace is still there, and a re-run from the start is as good as ever.
    repo.call(&["shell", "--", "cat", "f"]).exits(0).shows("computed-42");
    repo.call(&["rerun", "--output", "plain"]).exits(1).hides("computed-42");
}

/// A called workflow has its own names for secrets: a shell does not guess them.
#[test]
fn secrets_of_called_workflows_are_not_mixed_up() {
    let repo = Repo::with(
        "on: push\njobs:\n  c:\n    uses: ./.github/workflows/called.yml\n    secrets: {TOKEN: '${{ secrets.PROD }}'}\n",
    );
    repo.file(
        ".github/workflows/called.yml",
        "on: {workflow_call: {secrets: {TOKEN: {required: true}}}}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    env: {T: '${{ secrets.TOKEN }}'}\n    steps:\n      - {id: one, run: 'echo E=$T >> $GITHUB_ENV'}\n      - run: 'test \"$E\" = productive && test -e $FLAG'\n",
    )
    .commit("called");
    let flag = repo.path("flag");
    let env = format!("FLAG={}", flag.display());
    let secrets = ["-s", "PROD=productive", "-s", "TOKEN=staging"];
    let all = [&["-W", "ci.yml", "--env", &env][..], &secrets[..]].concat();
    repo.run(&all).exits(1);
    let shell = [&["shell"][..], &secrets[..], &["--", "sh", "-c", "echo [$T]"][..]].concat();
    repo.call(&shell).shows("[]").shows("left out");
    std::fs::write(&flag, "").unwrap();
    let again = [&["rerun", "--from"][..], &secrets[..]].concat();
    repo.call(&again).exits(0);
}

/// What a shell that is killed had taken is put aside by whoever looks next, and lost by nobody.
#[test]
fn two_runs_whose_workspaces_had_one_place() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps: [{run: 'echo $GITHUB_RUN_ID > file; exit 1'}]\n",
    );
    repo.run(&[]).exits(1);
    repo.run(&[]).exits(1);
    let mut shell = repo
        .command(&["shell", "1", "--", "sh", "-c", "echo $$; exec sleep 100"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
    repo.call(&["rerun", "1", "--from"]).exits(2).shows("in use");
    shell.kill().unwrap();
    shell.wait().unwrap();
    let pid = rustix::process::Pid::from_raw(line.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    repo.call(&["shell", "2", "--", "cat", "file"]).exits(0).shows("2");
    repo.call(&["shell", "1", "--", "cat", "file"]).exits(0).shows("1");
    repo.call(&["prune"]).shows("2 workspaces");
    assert!(!repo.data.join("kept").read_dir().unwrap().any(|_| true));
}

/// A failed background step that an earlier attempt joined fails the job all the same.
#[test]
fn reused_background_steps_count() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - {id: bg, background: true, run: exit 1}\n      - {wait: [bg], continue-on-error: true}\n      - run: test -e $FLAG\n",
    );
    let flag = repo.path("flag");
    let env = format!("FLAG={}", flag.display());
    repo.run(&["--env", &env]).exits(1);
    std::fs::write(&flag, "").unwrap();
    repo.call(&["rerun", "--from", "3", "--output", "plain"]).exits(1).shows("a: failure");
}

/// A job that was cut short goes on from where it was cut; one name for several jobs is asked about.
#[test]
fn after_an_interrupt_and_with_equal_names() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    name: same\n    needs: b\n    runs-on: ubuntu-latest\n    steps: [{run: echo one}, {run: 'test -e $ROOT/go || { echo x > $ROOT/ready; exec sleep 100; }'}]\n  b:\n    name: same\n    runs-on: ubuntu-latest\n    steps: [{run: echo two}]\n",
    );
    let fifo = repo.path("ready");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let root = format!("ROOT={}", repo.root.display());
    let mut child = repo.command(&["run", "--env", &root]).stdout(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(std::fs::File::open(&fifo).unwrap()).read_line(&mut line).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    child.wait().unwrap();
    repo.file("go", "");
    repo.call(&["rerun", "--job", "same"]).exits(2).shows("several jobs");
    repo.call(&["rerun", "--from", "--job", "a"]).exits(0);
    let logs = repo.call(&["logs"]);
    assert_eq!(logs.out.matches("── same").count(), 2, "{}", logs.out);
    assert!(logs.out.contains("(attempt 2)"), "{}", logs.out);
    repo.call(&["logs", "--attempt", "1"]).shows("one");
    repo.call(&["rerun", "--from", "--job", "b"]).exits(2).shows("not kept");
}
