//! What cancels, limits, events and groups mean at their edges: each case once went wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use common::Repo;

fn job(steps: &str) -> Repo {
    Repo::with(&format!("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"))
}

/// Starts a run and reads its marker file from a step that says when it is there.
fn started(repo: &Repo, args: &[&str]) -> Run {
    let all: Vec<&str> = ["run"].iter().chain(args).copied().collect();
    let fifo = repo.path("ready");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let child = Run(repo.command(&all).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(std::fs::File::open(&fifo).unwrap()).read_line(&mut line).unwrap();
    child
}

/// A run that a failed test leaves is ended with it.
struct Run(Child);

impl Drop for Run {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        for _ in 0..2 {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        let _ = self.0.wait();
    }
}

fn interrupt(run: &Run) {
    let pid = rustix::process::Pid::from_child(&run.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

fn finish(mut run: Run) -> (Option<i32>, String) {
    let mut out = String::new();
    run.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    (run.0.wait().unwrap().code(), out)
}

#[test]
fn background_steps_without_a_place_do_not_start_after_a_cancel() {
    let mut steps = String::new();
    for _ in 0..10 {
        steps.push_str("      - {background: true, run: exec sleep 100}\n");
    }
    steps.push_str("      - {background: true, run: touch $ROOT/never}\n");
    steps.push_str("      - {run: 'echo x > $ROOT/ready; exec sleep 100'}\n");
    let repo = job(&steps);
    let root = format!("ROOT={}", repo.root.display());
    let child = started(&repo, &["--env", &root]);
    interrupt(&child);
    let (code, out) = finish(child);
    assert_eq!(code, Some(130), "{out}");
    assert!(out.contains("! a · Run touch $ROOT/never"), "{out}");
    assert!(!repo.path("never").exists());
}

#[test]
fn a_composite_keeps_to_its_own_status_when_the_job_is_cancelled() {
    // The job `b` is told of the cancel after `a`, and lets the step of `a` end.
    let repo = Repo::with(
        r##"
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - {uses: ./act, if: always()}
      - {run: echo never}
  b:
    runs-on: ubuntu-latest
    steps:
      - run: trap 'echo x > $ROOT/go; exit 0' INT; echo x > $ROOT/b; while true; do sleep 0.05; done
"##,
    );
    repo.file(
        "act/action.yml",
        r##"
name: n
description: d
runs:
  using: composite
  steps:
    - {shell: bash, if: always(), run: 'read x < $ROOT/b; echo x > $ROOT/ready; read y < $ROOT/go; echo survived'}
    - {shell: bash, run: echo after}
"##,
    );
    repo.commit("act");
    let root = format!("ROOT={}", repo.root.display());
    for name in ["go", "b"] {
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mkfifoat(rustix::fs::CWD, repo.path(name), mode).unwrap();
    }
    let run = started(&repo, &["--commit", "HEAD", "--env", &root]);
    interrupt(&run);
    let (code, out) = finish(run);
    assert_eq!(code, Some(130), "{out}");
    for wanted in ["\nsurvived\n", "\nafter\n", "a: cancelled"] {
        assert!(out.contains(wanted), "{wanted:?} is missing:\n{out}");
    }
    assert!(!out.contains("\nnever\n"), "{out}");
}

#[test]
fn a_group_is_taken_from_another_process_and_nothing_else_is() {
    let repo = Repo::empty();
    repo.file(
        ".github/workflows/held.yml",
        "on: push\nenv: {W: '${{ vars.WAIT }}'}\nconcurrency: {group: G, cancel-in-progress: true}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'if [ -n \"$W\" ]; then echo x > $W; exec sleep 100; fi'}]}}\n",
    );
    repo.file(
        ".github/workflows/other.yml",
        "on: push\njobs: {b: {runs-on: ubuntu-latest, steps: [{run: 'while [ ! -e ${{ vars.GO }} ]; do sleep 0.02; done; echo b is done'}]}}\n",
    );
    repo.commit("first");
    let wait = format!("WAIT={}", repo.path("ready").display());
    let go = format!("GO={}", repo.path("go").display());
    let child = started(&repo, &["--var", &wait, "--var", &go]);
    let second = repo.run(&["-W", ".github/workflows/held.yml"]);
    second.exits(0).shows("waiting for the concurrency group 'G'");
    repo.file("go", "");
    let (code, out) = finish(child);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("a: cancelled") && out.contains("b: success"), "{out}");
}

#[test]
fn events_carry_what_github_puts_in_them() {
    let repo = Repo::with(
        "on: {workflow_dispatch: {inputs: {a: {default: dd}, n: {type: number, default: 2}}}, schedule: [{cron: '1 2 * * *'}]}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo \"a=${{ github.event.inputs.a }} n=${{ github.event.inputs.n == ''2'' }} s=${{ github.event.schedule }} w=${{ job.workflow_ref }}\"'}]}}\n",
    );
    repo.run(&["workflow_dispatch"])
        .exits(0)
        .shows("a=dd n=true s= w=local/project/.github/workflows/ci.yml@refs/heads/main");
    repo.run(&["schedule"]).exits(0).shows("s=1 2 * * *");
}

#[test]
fn a_pull_request_is_all_its_commits() {
    let repo = Repo::with(
        "on: {pull_request: {paths: ['src/**']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo base=${{ github.event.pull_request.base.sha }}'}]}}\n",
    );
    let base = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["checkout", "-q", "-b", "feature"]);
    repo.file("src/a", "").commit("source").file("doc", "").commit("doc");
    repo.run(&["pull_request"]).exits(0).shows(&format!("base={}", base.trim()));
}

#[test]
fn checkout_takes_a_branch_as_one_and_a_commit_detached() {
    let repo = job(
        "      - {uses: actions/checkout@v4, with: {ref: other}}\n      - run: 'echo branch=$(git branch --show-current) $(git rev-parse origin/other | head -c 4)'\n      - {uses: actions/checkout@v4, with: {ref: '${{ github.sha }}'}}\n      - run: 'echo detached=[$(git branch --show-current)]'\n",
    );
    repo.git(&["branch", "other"]);
    repo.run(&[]).exits(0).shows("branch=other ").shows("detached=[]");
}

#[test]
fn legs_keep_their_numbers() {
    let repo = Repo::with(
        "on: push\njobs:\n  a: {strategy: {matrix: {v: [1, 2, 3]}}, runs-on: ubuntu-latest, steps: [{run: 'echo leg=${{ strategy.job-index }}/${{ strategy.job-total }}'}]}\n  b: {strategy: {matrix: {v: [1]}}, runs-on: ubuntu-latest, steps: [{run: echo}]}\n",
    );
    repo.run(&["--matrix", "v:3"]).exits(0).shows("leg=2/3").shows("b: skipped");
}

#[test]
fn hashes_go_folder_by_folder_in_the_order_of_the_patterns() {
    let repo = job(
        "      - uses: actions/checkout@v4\n      - run: 'echo one=${{ hashFiles(''src/**'', ''src.txt'') }}'\n      - run: test ${{ hashFiles('src/**', 'src.txt') }} = $( (for f in src/a/z src/a.b src.txt; do python3 -c 'import sys,hashlib;sys.stdout.buffer.write(hashlib.sha256(open(sys.argv[1],\"rb\").read()).digest())' $f; done) | sha256sum | cut -c1-64 )\n",
    );
    repo.file("src/a/z", "1").file("src/a.b", "2").file("src.txt", "3").commit("files");
    repo.run(&[]).exits(0);
}

#[test]
fn a_wait_for_a_strange_id_is_an_error_and_no_panic() {
    let repo = job("      - {wait: \"\\0members:5\"}\n");
    repo.run(&[]).exits(2).shows("There is no step with the id");
}

#[test]
fn secrets_stay_out_of_remarks_and_environment_urls() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    environment: {name: e, url: 'https://x/${{ steps.s.outputs.k }}'}\n    outputs: {o: '${{ fromJSON(steps.s.outputs.k) }}'}\n    steps: [{id: s, run: 'echo k=$K >> $GITHUB_OUTPUT', env: {K: '${{ secrets.KEY }}'}}]\n",
    );
    let ran = repo.run(&["--secret", "KEY=geheim-4711", "--output", "json"]);
    assert!(!ran.out.contains("geheim-4711"), "{} {}", ran.out, ran.err);
    assert!(ran.out.contains("environment may contain secret"), "{} {}", ran.out, ran.err);
    assert!(!repo.call(&["view", "--json"]).out.contains("geheim-4711"));
}

#[test]
fn a_dry_run_says_what_will_not_run_and_why() {
    let repo = Repo::with(
        "on: push\njobs:\n  w: {runs-on: windows-latest, steps: [{run: echo}]}\n  g: {runs-on: {group: fleet}, steps: [{run: echo}]}\n  c: {runs-on: ubuntu-latest, container: debian, steps: [{run: echo}]}\n  u: {runs-on: [ubuntu-latest], steps: [{uses: 'docker://debian'}]}\n",
    );
    repo.run(&["--dry-run", "--runner", "fleet=host"])
        .exits(0)
        .shows("w is not run: this machine is not 'windows-latest'")
        .shows("c would fail: DOCKER_HOST is 'unix:///nowhere/docker.sock'")
        .shows("u would fail: DOCKER_HOST is")
        .hides("g is not run");
}

#[test]
fn an_empty_image_is_no_container() {
    let repo = Repo::with(
        "on: push\njobs:\n  a: {runs-on: ubuntu-latest, container: {image: ''}, steps: [{run: echo plain}]}\n  \
         b:\n    runs-on: ubuntu-latest\n    strategy: {fail-fast: false, matrix: {image: ['', 'debian']}}\n    \
         container: '${{ matrix.image }}'\n    steps: [{run: 'echo image=${{ matrix.image }}.'}]\n",
    );
    repo.run(&[])
        .shows("plain")
        .shows("image=.")
        .shows("b (debian): DOCKER_HOST is 'unix:///nowhere/docker.sock'")
        .hides("image=debian")
        .exits(1);
}

#[test]
fn a_matrix_key_that_no_job_has_is_refused() {
    let repo = Repo::with(
        "on: push\njobs:\n  a: {runs-on: ubuntu-latest, strategy: {matrix: {os: [x, y]}}, steps: [{run: 'echo leg-${{ matrix.os }}'}]}\n",
    );
    repo.run(&["--matrix", "oss:x"]).shows("no job has a matrix with 'oss'").shows("os").exits(2);
    repo.run(&["--matrix", "os:x"]).shows("leg-x").hides("leg-y").exits(0);
}

#[test]
fn less_than_a_minute_is_no_time_limit() {
    let repo = Repo::with(
        "on: push\njobs:\n  a: {runs-on: ubuntu-latest, timeout-minutes: 0.5, steps: [{run: echo ran}]}\n",
    );
    repo.run(&[]).shows("ran").exits(0);
}

#[test]
fn what_a_killed_run_left_is_ended_by_the_next() {
    let repo = job("      - {run: 'echo $$ > $ROOT/pid; echo x > $ROOT/ready; exec sleep 1000'}\n");
    let root = format!("ROOT={}", repo.root.display());
    let mut child = started(&repo, &["--env", &root]);
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    let pid: i32 = std::fs::read_to_string(repo.path("pid")).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::test_kill_process(pid).expect("the step goes on without its run");
    repo.file(
        ".github/workflows/ci.yml",
        "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: echo}]}}\n",
    );
    repo.run(&[]).exits(0);
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    assert!(state.is_err() || state.unwrap().contains(") Z"), "the step still runs");
    repo.call(&["runs"]).shows("interrupted");
}

#[test]
fn pip_installs_for_the_user_into_the_jobs_own_environment() {
    let repo = job(
        "      - uses: actions/setup-python@v5\n      - run: python -m pip install -q --no-index --user ./pkg && pip install --no-index --user ./pkg && python -c 'import mine'\n",
    );
    repo.file(
        ".github/workflows/ci.yml",
        &std::fs::read_to_string(repo.path(".github/workflows/ci.yml")).unwrap().replace(
            "      - uses: actions/setup",
            "      - uses: actions/checkout@v4\n      - uses: actions/setup",
        ),
    );
    repo.file("pkg/mine.py", "");
    repo.file(
        "pkg/pyproject.toml",
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n[project]\nname = 'mine'\nversion = '1'\n",
    );
    repo.file(
        "pkg/backend.py",
        r#"
import os, zipfile
def build_wheel(folder, *_):
    name = "mine-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as z:
        z.writestr("mine.py", "")
        z.writestr("mine-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
        z.writestr("mine-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("mine-1.dist-info/RECORD", "")
    return name
"#,
    );
    repo.run(&[]).exits(0);
    // The shell remembers where it found `python` before the environment was there.
    let text = std::fs::read_to_string(repo.path(".github/workflows/ci.yml")).unwrap();
    repo.file(
        ".github/workflows/ci.yml",
        &text.replace("      - uses: actions/setup-python@v5\n", "      - run: python -V\n"),
    );
    repo.run(&[]).exits(0).shows("it gets an environment of its own");
}

#[test]
fn a_broken_action_outside_the_github_folder_is_found_by_check() {
    let repo =
        Repo::with("on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: ./tools/act}]}}\n");
    repo.file("tools/act/action.yml", "name: x\nruns: {using: composite, steps: [{run: echo}]}\n");
    let ran = repo.call(&["check", "--format", "json"]);
    assert!(ran.out.contains("tools/act/action.yml") && ran.out.contains("shell"), "{}", ran.out);
    ran.exits(1);
}
