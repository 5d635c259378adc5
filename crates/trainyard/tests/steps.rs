//! Steps on the host: environment, file commands, commands in output, masking, composites,
//! cancellation. What the official runner does, seen through the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Repo;

fn job(steps: &str) -> Repo {
    Repo::with(&format!("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"))
}

#[test]
fn environment_is_clean_and_complete() {
    let repo = job(r##"
      - run: |
          echo "caller=[$CALLERS_SECRET] ci=$CI actions=$GITHUB_ACTIONS home=${HOME:+set}"
          echo "ref=$GITHUB_REF name=$GITHUB_REF_NAME type=$GITHUB_REF_TYPE job=$GITHUB_JOB action=$GITHUB_ACTION"
          echo "os=$RUNNER_OS repo=$GITHUB_REPOSITORY prot=$GITHUB_REF_PROTECTED attempt=$GITHUB_RUN_ATTEMPT"
          test "$PWD" = "$GITHUB_WORKSPACE" && test -z "$(ls -A)" && echo empty-workspace
          test "$(dirname "$GITHUB_WORKSPACE")" = "$RUNNER_WORKSPACE" && echo layout
          for f in "$GITHUB_ENV" "$GITHUB_OUTPUT" "$GITHUB_PATH" "$GITHUB_STATE" "$GITHUB_STEP_SUMMARY"; do test -f "$f" -a ! -s "$f" || echo bad; done
          python3 -c 'import json,os; e=json.load(open(os.environ["GITHUB_EVENT_PATH"])); print("event", e["ref"], e["head_commit"]["message"])'
          test -t 0 || echo no-terminal
          env | grep -c '^ACTIONS_\|^INPUT_' || true
        env: {GITHUB_REF: mine, CI: 'false'}
      - run: echo "inherited=[$MORE]"
"##);
    repo.git(&["remote", "add", "origin", "https://github.com/octo/proj.git"]);
    repo.run(&["--env", "MORE=1"])
        .exits(0)
        .shows("caller=[] ci=false actions=true home=set")
        .shows("ref=refs/heads/main name=main type=branch job=a action=__run")
        .shows("os=Linux repo=octo/proj prot=false attempt=1")
        .shows("empty-workspace")
        .shows("layout")
        .shows("event refs/heads/main first")
        .shows("no-terminal")
        .shows("inherited=[1]")
        .hides("bad");
    repo.run(&["--inherit-env"]).shows("caller=[leaked]");
}

#[test]
fn file_commands() {
    let repo = job(r##"
      - id: one
        run: |
          echo "A=b=c" >> $GITHUB_ENV
          { echo "M<<EOF"; echo "x=1"; echo "y"; echo "EOF"; } >> $GITHUB_ENV
          { echo "o<<D"; echo "l1"; echo "l2"; echo "D"; } > $GITHUB_OUTPUT
          mkdir -p bin1 bin2
          printf '#!/bin/sh\necho shim1\n' > bin1/ls; printf '#!/bin/sh\necho shim2\n' > bin2/ls; chmod +x bin1/ls bin2/ls
          echo "$PWD/bin1" >> $GITHUB_PATH; echo "$PWD/bin2" >> $GITHUB_PATH
          echo "NODE_OPTIONS=x" >> $GITHUB_ENV
          echo '# Title' >> $GITHUB_STEP_SUMMARY
          echo "now=[$A]"
      - run: echo "A=$A M=$(echo "$M" | tr '\n' '|') node=[$NODE_OPTIONS]"; ls
      - run: echo "step=$A ctx=${{ env.A }}"
        env: {A: mine}
      - run: echo "${{ steps.one.outputs.O }}" | tr '\n' '|'; echo
      - id: bad
        continue-on-error: true
        run: |
          echo "good=1" >> $GITHUB_OUTPUT
          echo "nonsense" >> $GITHUB_OUTPUT
      - run: echo "bad ${{ steps.bad.outcome }} ${{ steps.bad.outputs.good }}"
      - id: fail
        continue-on-error: true
        run: echo "late=1" >> $GITHUB_OUTPUT; exit 2
      - run: echo "fail kept ${{ steps.fail.outputs.late }}"
"##);
    repo.run(&[])
        .exits(0)
        .shows("now=[]")
        .shows("A=b=c M=x=1|y| node=[]")
        .shows("shim2")
        .shows("step=mine ctx=mine")
        .shows("l1|l2|")
        .shows("Invalid format 'nonsense'")
        .shows("bad failure 1")
        .shows("fail kept 1")
        .shows("Can't store NODE_OPTIONS");
    repo.call(&["view"]).shows("# Title");
}

#[test]
fn commands_in_output() {
    let repo = job(r##"
      - id: s
        run: |
          echo "  ::Warning file=a.py,line=3,endLine=2,col=1::careful%0Anow"
          echo "text ##[error]inline"
          echo "::notice title=T::seen" >&2
          echo "::set-output name=v::old"
          echo "::debug::hidden"
          echo "::group::G"; echo "::endgroup::"
          echo "::unknown::x"
          echo "::stop-commands::tok"
          echo "::error::not-one"
          echo "::tok::"
          echo "::error::counted"
      - run: echo "v=${{ steps.s.outputs.v }}"
      - id: env
        continue-on-error: true
        run: echo "::set-env name=X::1"
      - run: echo "env ${{ steps.env.outcome }} [$X]"
      - env: {ACTIONS_ALLOW_UNSECURE_COMMANDS: 'true'}
        run: echo "::set-env name=X::1"
      - run: echo "allowed [$X]"
"##);
    let ran = repo.run(&[]);
    ran.exits(0)
        .shows("##[warning]careful")
        .shows("##[error]inline")
        .shows("##[group]G")
        .shows("::unknown::x")
        .shows("::error::not-one")
        .shows("v=old")
        .shows("env failure []")
        .shows("allowed [1]")
        .hides("hidden");
    let view = repo.call(&["view"]);
    view.shows("warning: a.py:3: careful")
        .shows("error: inline")
        .shows("notice: T: seen")
        .shows("error: counted")
        .hides("not-one");
}

#[test]
fn secrets_are_masked_everywhere() {
    let repo = job(r##"
      - name: uses ${{ secrets.KEY }}
        run: |
          echo 'plain ${{ secrets.KEY }}' and "$KEY"
          echo "b64 $(printf %s "$KEY" | base64)"
          echo "json $(python3 -c 'import json,os; print(json.dumps(os.environ["KEY"]))')"
          printf 'split hunter'; sleep 0.1; printf '2"x\n'
          echo "line two: second-line"
          echo "::add-mask::dyn""amic-value"
          echo "now dyn""amic-value"
          echo '# ${{ secrets.KEY }}' >> $GITHUB_STEP_SUMMARY
          echo "::error::$KEY"
          echo "out=$KEY" >> $GITHUB_OUTPUT
        id: s
        env: {KEY: '${{ secrets.KEY }}'}
      - run: echo "still dynamic-value"
"##);
    let key = "hunter2\"x";
    let ran =
        repo.run(&["--secret", &format!("KEY={key}"), "--secret", "MULTI=first-line\nsecond-line"]);
    ran.exits(0)
        .shows("plain *** and ***")
        .shows("b64 ***")
        .shows("split ***")
        .shows("now ***")
        .shows("still ***")
        .shows("line two: ***")
        .shows("uses ***");
    for text in [&ran.out, &repo.call(&["view"]).out, &repo.call(&["logs"]).out] {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!text.contains("aHVudGVyMiJ4"), "{text}");
        assert!(!text.contains("second-line") && !text.contains("dynamic-value"), "{text}");
    }
    // Neither in any file that is kept.
    for (name, bytes) in common::snapshot(&repo.data) {
        let found = memchr::memmem::find(&bytes, b"hunter2").is_some();
        assert!(!found, "{name} holds the secret");
    }
}

#[test]
fn job_outputs_with_secrets_are_dropped() {
    let repo = Repo::with(
        r##"
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    outputs: {leak: '${{ steps.s.outputs.v }}', fine: ok}
    steps: [{id: s, run: 'echo v=pre-${{ secrets.KEY }} >> $GITHUB_OUTPUT'}]
  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: 'echo "leak=[${{ needs.a.outputs.leak }}] fine=${{ needs.a.outputs.fine }}"'}]}
"##,
    );
    repo.run(&["--secret", "KEY=sesame"]).exits(0).shows("leak=[] fine=ok");
    repo.call(&["view"]).shows("Skip output 'leak'");
}

#[test]
fn composites() {
    let repo = job(r##"
      - uses: ./act
        continue-on-error: true
        id: early
      - uses: actions/checkout@v6
      - id: c
        uses: ./act
        with: {who: me, extra: 1}
        env: {OUTER: o, SHARED: outer}
      - run: echo "out=${{ steps.c.outputs.who }} env=$FROM outer=[$OUTER] input=[$INPUT_WHO]"
      - id: f
        uses: ./act
        with: {fail: 'yes'}
        continue-on-error: true
      - run: echo "failed ${{ steps.f.outcome }} kept=${{ steps.f.outputs.who }}"
"##);
    repo.file(
        "act/action.yml",
        r##"
name: act
description: d
inputs:
  who: {description: w, default: 'you-${{ github.ref_name }}'}
  fail: {default: 'no'}
outputs: {who: {value: '${{ steps.s.outputs.who }}'}}
runs:
  using: composite
  steps:
    - id: s
      shell: bash
      env: {SHARED: inner}
      run: |
        echo "who=${{ inputs.who }}" >> $GITHUB_OUTPUT
        echo "FROM=composite" >> $GITHUB_ENV
        echo "in [$INPUT_WHO] $OUTER $SHARED ${{ env.OUTER }} $(basename "$GITHUB_ACTION_PATH")"
    - shell: bash
      if: inputs.fail == 'yes'
      run: exit 1
    - {shell: bash, run: echo NEVER, if: "${{ inputs.fail == 'yes' }}"}
    - {shell: bash, run: echo cleanup, if: always()}
    - uses: ./nested
"##,
    );
    repo.file("nested/action.yml", "name: n\ndescription: d\nruns:\n  using: composite\n  steps: [{shell: bash, run: 'echo nested in ${{ github.action_path }}'}]\n");
    repo.commit("actions");
    repo.run(&[])
        .exits(0)
        .shows("Did you forget to run actions/checkout")
        .shows("in [] o inner o act")
        .shows("out=me env=composite outer=[] input=[]")
        .shows("Unexpected input(s) 'extra', valid inputs are ['who', 'fail']")
        .shows("failed failure kept=you-main")
        .shows("cleanup")
        .shows("nested in")
        .hides("NEVER");
}

#[test]
fn an_unknown_action_fails_its_job_alone() {
    let repo = Repo::with(
        "
on: push
jobs:
  a: {runs-on: ubuntu-latest, steps: [{run: echo NEVER}, {uses: octo/thing@v1}]}
  b: {runs-on: ubuntu-latest, steps: [{run: echo fine}]}
",
    );
    repo.run(&[])
        .exits(1)
        .shows("a: failure")
        .shows("Unable to resolve action `octo/thing@v1`")
        .shows("fine")
        .shows("b: success")
        .hides("NEVER");
}

#[test]
fn checkout_lays_the_work_tree_or_a_commit() {
    let repo = job(r"
      - uses: actions/checkout@v4
        with: {path: sub/dir}
      - run: cat sub/dir/f.txt sub/dir/new.txt; ls sub/dir; git -C sub/dir rev-list --count HEAD; git -C sub/dir branch --show-current
      - uses: actions/checkout@v4
        with: {fetch-depth: 0}
      - run: git rev-list --count HEAD; git status --porcelain; git log -1 --format=%s origin/main; echo changed > f.txt; rm -rf .git/objects/info
");
    repo.file("f.txt", "committed\n").file(".gitignore", "ignored\n").commit("second");
    repo.file("f.txt", "edited\n").file("new.txt", "untracked\n").file("ignored", "x");
    let before = common::snapshot(&repo.root);
    repo.run(&[])
        .exits(0)
        .shows("edited")
        .shows("untracked")
        .shows("M f.txt")
        .shows("?? new.txt")
        .shows("second")
        .hides("ignored");
    assert_eq!(before, common::snapshot(&repo.root), "the user's files were touched");
    let head = repo.git(&["rev-parse", "HEAD"]);
    let ran = repo.run(&["--commit", head.trim()]);
    ran.exits(1).shows("committed").hides("untracked").hides("edited");
}

#[test]
fn two_legs_install_different_versions_and_leave_the_users_python_alone() {
    let repo = Repo::with("
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    strategy: {matrix: {v: ['1.16.0', '1.17.0']}}
    steps:
      - uses: actions/setup-python@v5
        id: py
        with: {python-version: '3.11'}
      - run: pip install -q six==${{ matrix.v }} && python -c 'import six; print(\"six\", six.__version__)'
      - run: test \"$pythonLocation/bin/python\" = \"$(command -v python)\" && echo located ${{ steps.py.outputs.python-version }}
");
    let freeze = || {
        let out = std::process::Command::new("python3").args(["-m", "pip", "freeze"]).output();
        out.unwrap().stdout
    };
    let before = freeze();
    repo.run(&[]).exits(0).shows("six 1.16.0").shows("six 1.17.0").shows("located 3.11");
    assert_eq!(before, freeze());
    let none = job("
      - uses: actions/setup-python@v5
        with: {python-version: '3.2'}
");
    none.run(&[])
        .exits(1)
        .shows("The version '3.2' with architecture")
        .shows("On this machine: ")
        .shows("uv python install 3.2");
}

#[test]
fn a_job_that_calls_pip_gets_an_environment_and_is_told_once() {
    let repo = job("
      - run: pip --version; python -m pip --version; python -c 'import sys; print(sys.prefix != sys.base_prefix)'
");
    let ran = repo.run(&[]);
    ran.exits(0).shows("True").shows("gets an environment of its own");
    assert_eq!(ran.out.matches("gets an environment of its own").count(), 1);
}

#[test]
fn hash_files() {
    let repo = job(r##"
      - run: mkdir -p d/e; printf a > d/x.lock; printf b > d/e/y.lock; printf c > z.txt
      - run: echo "h=${{ hashFiles('**/*.lock') }} none=[${{ hashFiles('*.nope') }}] not=${{ hashFiles('**/*.lock', '!d/e/**') != hashFiles('**/*.lock') }}"
      - run: |
          want=$( { printf b | sha256sum | cut -c1-64 | xxd -r -p; printf a | sha256sum | cut -c1-64 | xxd -r -p; } | sha256sum | cut -c1-64) || true
          echo "len ${#want}"
      - if: hashFiles('z.txt') != ''
        run: echo cond
"##);
    let first = {
        use sha2::{Digest, Sha256};
        let mut all = Sha256::new();
        // In order of their paths: d/e/y.lock, d/x.lock.
        all.update(Sha256::digest(b"b"));
        all.update(Sha256::digest(b"a"));
        all.finalize().iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    repo.run(&[]).exits(0).shows(&format!("h={first} none=[] not=true")).shows("cond");
}

#[test]
fn time_limits() {
    let repo = job("
      - {run: exec sleep 100, timeout-minutes: 0.001, continue-on-error: true}
      - run: echo a fraction of a minute is no limit, as on GitHub
");
    // GitHub reads whole minutes; a limit of zero is none. So the step is interrupted by hand.
    let mut child = repo.command(&["run"]).stdout(Stdio::piped()).spawn().unwrap();
    wait_for_process(&repo);
    interrupt(child.id());
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
}

fn interrupt(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
}

/// Waits until a `sleep` of this repository's run is there.
fn wait_for_process(repo: &Repo) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(pid) = sleepers(repo).first() {
            return *pid;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "the step did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn sleepers(repo: &Repo) -> Vec<i32> {
    let needle = repo.data.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if name.trim() == "sleep" && memchr::memmem::find(&environ, needle.as_bytes()).is_some() {
            found.push(pid);
        }
    }
    found
}

#[test]
fn ctrl_c_stops_politely_and_leaves_no_orphan() {
    let repo = job(r##"
      - run: |
          sleep 300 &
          setsid sleep 301 &
          trap 'echo got-int; exit 9' INT
          echo ready
          while true; do sleep 0.05; done
      - run: echo NEVER
      - if: always()
        run: echo always-ran ${{ job.status }}
      - if: cancelled()
        run: echo cancelled-ran
"##);
    let mut child = repo.command(&["run"]).stdout(Stdio::piped()).spawn().unwrap();
    wait_for_process(&repo);
    interrupt(child.id());
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        lines.push(line.unwrap());
    }
    let text = lines.join("\n");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    for wanted in ["got-int", "always-ran cancelled", "cancelled-ran", "a: cancelled"] {
        assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
    }
    assert!(!text.contains("✓ a · Run echo NEVER"));
    assert!(sleepers(&repo).is_empty(), "orphans stay");
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let repo = job("
      - run: trap '' INT TERM; while true; do sleep 0.1; done
      - {if: always(), run: sleep 200}
");
    let mut child = repo.command(&["run"]).stdout(Stdio::null()).spawn().unwrap();
    wait_for_process(&repo);
    interrupt(child.id());
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    interrupt(child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(sleepers(&repo).is_empty(), "orphans stay");
}

#[test]
fn leftovers_of_a_job_are_killed_at_its_end() {
    let repo = job("
      - run: setsid sleep 500 > /dev/null 2>&1 < /dev/null & sleep 0.1; echo left
");
    repo.run(&[]).exits(0).shows("left");
    assert!(sleepers(&repo).is_empty());
}

#[test]
fn shell_templates_run_their_file() {
    let repo = job("
      - run: |
          name: made
          description: by a step
          runs: {using: composite, steps: [{run: echo made-action, shell: bash}]}
        shell: cp {0} action.yml
      - uses: ./
      - {run: echo x, shell: nonsense, continue-on-error: true}
      - {run: echo x, shell: 'missing-shell {0}', continue-on-error: true}
      - {run: echo x, working-directory: nowhere, continue-on-error: true}
");
    repo.run(&[])
        .exits(0)
        .shows("made-action")
        .shows("Invalid shell option")
        .shows("The shell 'missing-shell' is not on the PATH")
        .shows("The working directory");
}
