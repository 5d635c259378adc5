//! One behaviour for every key of the schema: the real binary runs a workflow that uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::collections::BTreeSet;

use common::Repo;

/// The keys that a case shows at work, the workflow, the call, what is seen, the exit status.
struct Case {
    keys: &'static [&'static str],
    workflow: &'static str,
    args: &'static [&'static str],
    shows: &'static [&'static str],
    hides: &'static [&'static str],
    exit: i32,
}

const fn case(keys: &'static [&'static str], workflow: &'static str) -> Case {
    Case { keys, workflow, args: &[], shows: &[], hides: &[], exit: 0 }
}

macro_rules! cases {
    ($( [$($key:literal),*] $workflow:literal $(args [$($arg:literal),*])? $(shows [$($show:literal),*])? $(hides [$($hide:literal),*])? $(exit $exit:literal)? ; )*) => {
        &[$( #[allow(clippy::needless_update)] Case {
            $(args: &[$($arg),*],)?
            $(shows: &[$($show),*],)?
            $(hides: &[$($hide),*],)?
            $(exit: $exit,)?
            ..case(&[$($key),*], $workflow)
        } ),*]
    };
}

const CASES: &[Case] = cases! {
    ["on", "jobs", "runs-on", "steps", "run"] "
on: push
jobs: {a: {runs-on: ubuntu-latest, steps: [{run: echo one}]}}
" shows ["one", "a: success"];
    ["name", "run-name", "description"] "
name: My flow
description: nothing
run-name: by ${{ github.actor }} on ${{ github.ref_name }}
on: push
jobs: {a: {name: 'Job ${{ github.event_name }}', runs-on: linux, steps: [{name: 'Step ${{ 1 }}', run: echo}]}}
" args ["--actor", "octo"] shows ["▶ My flow · by octo on main", "Job push · Step 1"];
    ["env"] "
on: push
env: {A: w, B: w, C: w}
jobs:
  a:
    runs-on: ubuntu-latest
    env: {B: j, C: '${{ github.ref_name }}'}
    steps:
      - run: echo \"$A$B$C ${{ env.A }}\"
      - env: {C: s, A: '${{ env.B }}2'}
        run: echo \"$A $C\"
" shows ["wjmain w", "j2 s"];
    ["defaults", "shell", "working-directory"] "
on: push
defaults: {run: {shell: sh, working-directory: x}}
jobs:
  a:
    runs-on: ubuntu-latest
    defaults: {run: {working-directory: y}}
    steps:
      - {run: 'mkdir -p x y', working-directory: .}
      - run: echo \"${PWD##*/} ${BASH_VERSION:-sh}\"
      - {run: 'import sys; print(\"py\", sys.version_info[0])', shell: python}
      - {run: 'echo ${PWD##*/}; false | true; echo piped', shell: bash, working-directory: x}
      - {run: 'echo custom', shell: 'bash --norc -e {0}'}
" shows ["y sh", "py 3", "custom", "x"] hides ["piped"] exit 1;
    ["permissions"] "
on: push
permissions: read-all
jobs:
  a: {permissions: {contents: write}, uses: ./.github/workflows/called.yml}
" shows ["Error calling workflow", "requesting 'issues: write', but is only allowed 'issues: none'"] exit 2;
    ["concurrency", "group", "cancel-in-progress", "queue"] "
on: push
concurrency: {group: 'all-${{ github.ref }}', queue: max}
jobs:
  a:
    runs-on: ubuntu-latest
    strategy: {matrix: {n: [1, 2]}}
    concurrency: {group: one, cancel-in-progress: false, queue: max}
    steps:
      - run: mkdir \"$LOCK\" && sleep 0.2 && rmdir \"$LOCK\" && echo alone
" args ["--env", "LOCK=/tmp/trainyard-test-lock"] shows ["alone"];
    ["needs", "outputs", "id"] "
on: push
jobs:
  b:
    needs: [a]
    runs-on: ubuntu-latest
    steps: [{run: 'echo got ${{ needs.a.outputs.v }} ${{ needs.a.result }}'}]
  A:
    runs-on: ubuntu-latest
    outputs: {v: '${{ steps.s.outputs.v }}!'}
    steps: [{id: s, run: 'echo v=7 >> $GITHUB_OUTPUT'}]
" shows ["got 7! success"];
    ["if"] "
on: push
jobs:
  a: {runs-on: ubuntu-latest, if: github.ref == 'refs/heads/other', steps: [{run: echo NEVER}]}
  b:
    runs-on: ubuntu-latest
    steps:
      - {if: 'false', run: echo NEVER}
      - {run: exit 1}
      - {run: echo NEVER}
      - {if: failure(), run: echo yes-failure}
      - {if: \"${{ always() && env.X != 'x' }}\", run: echo yes-always, env: {X: y}}
  c: {needs: b, runs-on: ubuntu-latest, steps: [{run: echo NEVER}]}
  d: {needs: b, if: '!cancelled() && failure()', runs-on: ubuntu-latest, steps: [{run: echo yes-d}]}
" shows ["yes-failure", "yes-always", "yes-d", "a: skipped", "c: skipped: it needs 'b', which failed"] hides ["NEVER"] exit 1;
    ["strategy", "matrix", "include", "exclude", "fail-fast", "max-parallel"] "
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    strategy:
      fail-fast: false
      max-parallel: 1
      matrix:
        os: [x, y]
        n: [1, 2]
        exclude: [{os: y, n: 1}]
        include: [{os: x, color: red}, {os: z}]
    steps: [{run: 'echo leg ${{ matrix.os }}-${{ matrix.n }}-${{ matrix.color }} ${{ strategy.job-index }}/${{ strategy.job-total }}'}]
" shows ["leg x-1-red 0/4", "leg x-2-red 1/4", "leg y-2- 2/4", "leg z-- 3/4", "a (y, 2): success"] hides ["leg y-1"];
    ["timeout-minutes", "cancel-timeout-minutes"] "
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    timeout-minutes: 5
    cancel-timeout-minutes: '${{ fromJSON(1) }}'
    steps: [{run: echo in time, timeout-minutes: 1}]
  b: {runs-on: ubuntu-latest, timeout-minutes: \"${{ github.ref }}\", steps: [{run: echo}]}
" shows ["in time", "b: failure", "timeout-minutes: Unexpected value 'refs/heads/main'"] exit 1;
    ["continue-on-error"] "
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    continue-on-error: ${{ github.ref == 'refs/heads/main' }}
    steps:
      - {id: s, run: exit 1, continue-on-error: true}
      - run: echo ${{ steps.s.outcome }} ${{ steps.s.conclusion }}
      - run: exit 1
  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: 'echo b sees ${{ needs.a.result }}'}]}
" shows ["failure success", "b sees success"];
    ["container"] "
on: push
jobs: {a: {runs-on: ubuntu-latest, container: 'python:3', steps: [{run: echo NEVER}]}}
" shows ["a: failure", "there is no such socket", "Initialize containers"] hides ["NEVER"] exit 1;
    ["services"] "
on: push
jobs: {a: {runs-on: ubuntu-latest, services: {db: {image: x}}, steps: [{run: echo}]}}
" shows ["there is no such socket"] exit 1;
    ["snapshot"] "
on: push
jobs: {a: {runs-on: ubuntu-latest, snapshot: img, steps: [{run: echo}]}}
" shows ["it asks for `snapshot`"] exit 1;
    ["environment", "url", "deployment"] "
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    environment: {name: 'prod-${{ github.ref_name }}', url: 'https://x/${{ steps.s.outputs.v }}', deployment: true}
    steps: [{id: s, run: 'echo v=1 >> $GITHUB_OUTPUT'}]
" shows ["the environment 'prod-main' has no approvals", "a: deployed to https://x/1"];
    ["uses", "with", "secrets", "inputs", "value", "required", "default", "type"] "
on: push
jobs:
  a:
    uses: ./.github/workflows/called.yml
    with: {word: 'hi ${{ github.ref_name }}'}
    secrets: {TOKEN: '${{ secrets.OUTER }}'}
  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: 'echo out=${{ needs.a.outputs.echo }}'}]}
" args ["--secret", "OUTER=opensesame"] shows ["a / inner", "len=10 flag=true n=2.5", "out=hi main"] hides ["opensesame"];
    ["background", "wait", "wait-all", "cancel", "parallel"] "
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - {id: one, background: true, run: 'while [ ! -e go ]; do sleep 0.01; done; echo r=1 >> $GITHUB_OUTPUT'}
      - run: 'touch go; echo before=${{ steps.one.outputs.r }}'
      - wait: one
      - run: echo after=${{ steps.one.outputs.r }}
      - {id: two, background: true, run: exit 3}
      - {id: w, wait-all: , continue-on-error: true}
      - run: echo w=${{ steps.w.outcome }} two=${{ steps.two.outcome }}
      - parallel: [{id: p, run: 'echo v=p >> $GITHUB_OUTPUT'}, {id: q, run: 'echo v=q >> $GITHUB_OUTPUT'}]
      - run: echo ${{ steps.p.outputs.v }}${{ steps.q.outputs.v }}
      - {id: long, background: true, run: exec sleep 60}
      - cancel: long
      - run: echo long=${{ steps.long.outcome }}
" shows ["before=", "after=1", "w=failure two=failure", "pq", "long=cancelled"] hides ["before=1"] exit 1;
    ["background", "cancel", "continue-on-error"] "
on: push
jobs:
  failed:
    runs-on: ubuntu-latest
    steps:
      - {id: f, background: true, run: 'touch done; exit 3'}
      - run: while [ ! -e done ]; do sleep 0.01; done; sleep 0.1
      - cancel: f
      - run: echo goes on
  text:
    runs-on: ubuntu-latest
    steps: [{run: exit 1, continue-on-error: '${{ format(''false'') }}'}, {run: echo never}]
  broken:
    runs-on: ubuntu-latest
    steps: [{if: 'fromJSON(''{'')', continue-on-error: true, run: echo never}, {run: echo never}]
" shows ["goes on", "failed: failure", "text: failure", "broken: failure"] hides ["never\n"] exit 1;
    ["timeout-minutes", "group", "runs-on"] "
on: push
jobs:
  elsewhere: {runs-on: {group: gpu-fleet}, steps: [{run: echo never}]}
" shows ["elsewhere: not run"] hides ["never\n"];
    ["push", "branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore"] "
on: {push: {branches: ['m*', '!main'], paths-ignore: ['*.md']}}
jobs: {a: {runs-on: ubuntu-latest, steps: [{run: echo}]}}
" shows ["the branch 'main' matches none of [m*, !main]"] exit 2;
    ["types", "pull_request"] "
on: {pull_request: {types: [labeled], branches: [main]}}
jobs: {a: {runs-on: ubuntu-latest, steps: [{run: echo}]}}
" args ["pull_request"] shows ["`types` is labeled, the activity is synchronize"] exit 2;
    ["workflow_dispatch", "options"] "
on:
  workflow_dispatch:
    inputs:
      n: {type: number, default: 3}
      b: {type: boolean, default: true}
      c: {type: choice, options: [u, v]}
      s: {required: true}
jobs: {a: {runs-on: ubuntu-latest, steps: [{run: \"echo '${{ toJSON(inputs) }}' ${{ inputs.b == true }} ${{ github.event.inputs.s }}\"}]}}
" args ["workflow_dispatch", "--input", "s=x"] shows ["\"n\": 3", "\"b\": true", "\"c\": \"u\"", "true x"];
    ["schedule", "cron", "timezone"] "
on: {schedule: [{cron: '30 5 * * 1-5', timezone: Europe/Berlin}]}
jobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo ${{ github.event_name }}'}]}}
" args ["schedule"] shows ["schedule"];
    ["workflow_run", "workflows"] "
on: {workflow_run: {workflows: [Build]}}
jobs: {a: {runs-on: ubuntu-latest, steps: [{run: echo}]}}
" args ["workflow_run"] shows ["`workflows` does not list ''"] exit 2;
    ["labels"] "
on: push
jobs:
  a: {runs-on: {labels: [self-hosted, linux]}, steps: [{run: echo here}]}
  b: {runs-on: windows-latest, steps: [{run: echo NEVER}]}
  c: {needs: b, runs-on: ubuntu-latest, steps: [{run: echo NEVER}]}
" shows ["here", "b: not run: this machine is not 'windows-latest'", "c: skipped", "1 not run"] hides ["NEVER"];
};

const CALLED: &str = "
on:
  workflow_call:
    inputs:
      word: {type: string, required: true}
      flag: {type: boolean, default: true}
      n: {type: number, default: 2.5}
    secrets: {TOKEN: {required: false}}
    outputs: {echo: {value: '${{ jobs.inner.outputs.w }}'}}
jobs:
  inner:
    permissions: {issues: write}
    runs-on: ubuntu-latest
    outputs: {w: '${{ inputs.word }}'}
    env: {T: '${{ secrets.TOKEN }}'}
    steps: [{run: 'echo len=${#T} flag=${{ inputs.flag }} n=${{ inputs.n }} $T'}]
";

#[test]
fn every_key_behaves() {
    let mut shown: BTreeSet<&str> = BTreeSet::new();
    for case in CASES {
        let repo = Repo::empty();
        repo.file(".github/workflows/ci.yml", case.workflow);
        repo.file(".github/workflows/called.yml", CALLED);
        repo.commit("first");
        let args: Vec<&str> =
            case.args.iter().copied().chain(["-W", ".github/workflows/ci.yml"]).collect();
        let ran = repo.run(&args);
        assert_eq!(ran.code, case.exit, "{:?}\n{}\n{}", case.keys, ran.out, ran.err);
        for text in case.shows {
            ran.shows(text);
        }
        for text in case.hides {
            ran.hides(text);
        }
        shown.extend(case.keys);
    }
    let keys = schema_keys();
    let missing: Vec<&String> = keys.iter().filter(|k| !shown.contains(k.as_str())).collect();
    assert!(missing.is_empty(), "keys of the schema without a behavioural test: {missing:?}");
}

/// The keys of a workflow by GitHub's schema: of the root, of jobs, strategies, steps, calls.
fn schema_keys() -> BTreeSet<String> {
    let text = include_str!("../../workflow/schema/workflow-v1.0.json");
    let schema: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut keys = BTreeSet::new();
    for name in [
        "workflow-root",
        "job-factory",
        "workflow-job",
        "strategy",
        "matrix",
        "concurrency-mapping",
        "job-environment-mapping",
        "workflow-defaults-run",
        "run-step",
        "regular-step",
        "wait-step",
        "wait-all-step",
        "cancel-step",
        "parallel-step",
        "push-mapping",
        "workflow-dispatch-mapping",
        "cron-mapping",
        "workflow-call-mapping",
        "runs-on-mapping",
    ] {
        let properties = schema["definitions"][name]["mapping"]["properties"].as_object();
        keys.extend(properties.into_iter().flatten().map(|(k, _)| k.clone()));
    }
    assert!(keys.len() > 40, "the schema is not read");
    keys
}
