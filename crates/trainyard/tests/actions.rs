//! Actions of other repositories: JavaScript and composite, in all their stages.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::path::PathBuf;
use std::process::Command;

use common::{Ran, Repo, scratch};

/// Repositories of actions in a folder of mirrors.
struct Mirror(PathBuf);

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn git(folder: &std::path::Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=T", "-c", "user.email=t@example.org"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

impl Mirror {
    fn new() -> Mirror {
        Mirror(scratch("mirror"))
    }

    /// Commits files into `slug` and tags the commit; gives the commit.
    fn action(&self, slug: &str, tag: &str, files: &[(&str, &str)]) -> String {
        let folder = self.0.join(format!("{slug}.git"));
        if !folder.exists() {
            std::fs::create_dir_all(&folder).unwrap();
            git(&folder, &["init", "-q", "-b", "main"]);
        }
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        git(&folder, &["add", "-A"]);
        git(&folder, &["commit", "-q", "--allow-empty", "-m", tag]);
        git(&folder, &["tag", "-f", tag]);
        git(&folder, &["rev-parse", "HEAD"])
    }

    fn run(&self, repo: &Repo, args: &[&str]) -> Ran {
        let mirror = self.0.to_string_lossy().into_owned();
        let mut all = vec!["--action-mirror", &mirror];
        all.extend(args);
        repo.run(&all)
    }
}

/// An action that says which stage it is in, keeps a state, and shows what it sees.
const STAGES: &[(&str, &str)] = &[
    (
        "action.yml",
        "name: Stages\ninputs:\n  who: {default: nobody}\n  a-dash: {}\noutputs: {said: {}}\n\
         runs: {using: node20, pre: pre.js, main: main.js, post: post.js}\n",
    ),
    (
        "say.js",
        r#"const fs = require('fs');
module.exports = (stage) => {
  console.log(`${stage}:${process.env.INPUT_WHO}:${process.env['INPUT_A-DASH']}:${process.env.STATE_seen || '-'}`);
  fs.appendFileSync(process.env.GITHUB_STATE, `seen=${process.env.STATE_seen || ''}${stage}\n`);
};
"#,
    ),
    ("pre.js", "require('./say.js')('pre')\n"),
    (
        "main.js",
        "require('./say.js')('main');\nconst fs = require('fs');\n\
         fs.appendFileSync(process.env.GITHUB_OUTPUT, `said=${process.env.INPUT_WHO}\\n`);\n\
         console.log(`ref ${process.env.GITHUB_ACTION_REPOSITORY}@${process.env.GITHUB_ACTION_REF} ${process.cwd() === process.env.GITHUB_WORKSPACE}`);\n\
         if (process.env.INPUT_WHO === 'fail') process.exit(3);\n",
    ),
    ("post.js", "require('./say.js')('post')\n"),
];

/// The lines of stages, in order.
fn stages(ran: &Ran) -> Vec<&str> {
    let is = |l: &&str| ["pre:", "main:", "post:"].iter().any(|p| l.starts_with(p));
    ran.out.lines().filter(is).collect()
}

#[test]
fn stages_run_in_their_order_and_share_their_state() {
    let mirror = Mirror::new();
    mirror.action("o/stages", "v1", STAGES);
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      \
         - run: echo FIRST-STEP\n      \
         - {uses: o/stages@v1, id: x, with: {who: one}}\n      \
         - {uses: o/stages@v1, with: {who: two, a-dash: d}, if: false}\n      \
         - {uses: o/stages@v1, with: {who: three}}\n      \
         - run: 'echo said=${{ steps.x.outputs.said }} repo=[$GITHUB_ACTION_REPOSITORY]'\n",
    );
    let ran = mirror.run(&repo, &[]);
    ran.exits(0).shows("said=one repo=[]").shows("ref o/stages@v1 true");
    // All pres first, also of a step whose `if` is false; posts in reverse, of those that began.
    assert_eq!(
        stages(&ran),
        [
            "pre:one::-",
            "pre:two:d:-",
            "pre:three::-",
            "main:one::pre",
            "main:three::pre",
            "post:three::premain",
            "post:two:d:pre",
            "post:one::premain"
        ]
    );
    let first = ran.out.find("── a · Run echo FIRST-STEP").unwrap();
    assert!(ran.out.find("pre:three").unwrap() < first);
    repo.call(&["view"]).shows("Post Run o/stages@v1").shows("Pre Run o/stages@v1");
}

#[test]
fn posts_run_after_a_failure_and_their_conditions_see_the_job() {
    let mirror = Mirror::new();
    mirror.action("o/stages", "v1", STAGES);
    mirror.action(
        "o/saver",
        "v1",
        &[
            (
                "action.yml",
                "name: s\nruns: {using: node20, main: m.js, post: p.js, post-if: success()}\n",
            ),
            ("m.js", ""),
            ("p.js", "console.log('SAVED')\n"),
        ],
    );
    mirror.action(
        "o/badpost",
        "v1",
        &[
            ("action.yml", "name: b\nruns: {using: node20, main: m.js, post: p.js}\n"),
            ("m.js", ""),
            ("p.js", "process.exit(1)\n"),
        ],
    );
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      \
         - uses: o/saver@v1\n      - {uses: o/stages@v1, with: {who: fail}}\n      - run: echo never\n  \
         b:\n    runs-on: ubuntu-latest\n    steps: [{uses: o/saver@v1}, {uses: o/badpost@v1}]\n  \
         c:\n    runs-on: ubuntu-latest\n    steps: [{uses: o/saver@v1}]\n",
    );
    let ran = mirror.run(&repo, &["-j", "a"]);
    ran.exits(1).hides("never").hides("SAVED").shows("post:fail::premain");
    mirror.run(&repo, &["-j", "b"]).exits(1).hides("SAVED").shows("b: failure");
    mirror.run(&repo, &["-j", "c"]).exits(0).shows("SAVED");
}

#[test]
fn composites_nest_and_their_posts_come_from_within() {
    let mirror = Mirror::new();
    mirror.action("o/stages", "v1", STAGES);
    mirror.action(
        "o/outer",
        "v2",
        &[(
            "sub/action.yml",
            r##"name: outer
inputs: {who: {default: x}}
outputs: {said: {value: "${{ steps.s.outputs.said }}"}}
runs:
  using: composite
  steps:
    - {uses: o/stages@v1, id: s, with: {who: "in-${{ inputs.who }}"}}
    - run: echo "at $(basename $GITHUB_ACTION_PATH) env=$REF run=[${{ github.action_ref }}]"
      shell: bash
      env: {REF: "${{ github.action_ref }}"}
    - {uses: o/stages@v1, if: false, with: {who: skipped}}
"##,
        )],
    );
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      \
         - {uses: o/outer/sub@v2, id: c, with: {who: y}}\n      \
         - uses: actions/checkout@v4\n      - {uses: ./local, id: l}\n      \
         - run: echo out=${{ steps.c.outputs.said }} ${{ steps.l.outputs.said }}\n",
    );
    repo.file(
        "local/action.yml",
        "name: l\noutputs: {said: {value: '${{ steps.q.outputs.said }}'}}\nruns:\n  using: composite\n  steps: [{uses: o/stages@v1, id: q, with: {who: loc}}]\n",
    );
    repo.commit("local");
    let ran = mirror.run(&repo, &[]);
    ran.exits(0).shows("out=in-y loc").shows("at sub env=v2 run=[]");
    assert_eq!(
        stages(&ran),
        [
            "pre:in-y::-",
            "pre:skipped::-",
            "main:in-y::pre",
            "main:loc::-",
            "post:loc::main",
            "post:skipped::pre",
            "post:in-y::premain"
        ]
    );
}

#[test]
fn refs_are_tags_branches_and_whole_commits() {
    let mirror = Mirror::new();
    let say = |word: &str| {
        vec![
            ("action.yml", "name: a\nruns: {using: node20, main: m.js}\n".to_owned()),
            ("m.js", format!("console.log('IS {word}')\n")),
        ]
    };
    let add = |tag: &str, word: &str| {
        let files = say(word);
        let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (*n, t.as_str())).collect();
        mirror.action("o/a", tag, &files)
    };
    let first = add("v1", "one");
    add("v2", "two");
    git(&mirror.0.join("o/a.git"), &["branch", "release/v1", &first]);
    let repo = Repo::empty();
    let check = |reference: &str, wanted: &str, code: i32| {
        repo.file(
            ".github/workflows/ci.yml",
            &format!("on: push\njobs: {{a: {{runs-on: ubuntu-latest, steps: [{{run: echo BEFORE}}, {{uses: 'o/a@{reference}'}}]}}}}\n"),
        );
        repo.commit("x");
        let ran = mirror.run(&repo, &[]);
        ran.exits(code).shows(wanted);
        ran
    };
    check("v1", "IS one", 0);
    check("v2", "IS two", 0);
    check("release/v1", "IS one", 0);
    check(&first, "IS one", 0);
    // Nothing runs when an action is not to be had, and the places are named.
    check(&first[..8], "is the shortened version of a commit SHA", 1).hides("BEFORE");
    let places = mirror.0.to_string_lossy().into_owned();
    check("v9", &places, 1).hides("BEFORE").shows("Unable to resolve action `o/a@v9`");
    // A moved tag is seen at the next run.
    add("v1", "moved");
    check("v1", "IS moved", 0);
}

#[test]
fn a_folder_stands_for_a_repository() {
    let folder = Mirror::new();
    std::fs::write(
        folder.0.join("action.yml"),
        "name: a\nruns: {using: composite, steps: [{run: 'echo FROM FOLDER; touch $GITHUB_ACTION_PATH/new', shell: bash}]}\n",
    )
    .unwrap();
    let repo =
        Repo::with("on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: 'x/y@main'}]}}\n");
    let local = format!("x/y@main={}", folder.0.display());
    repo.run(&["--local-repository", &local]).exits(0).shows("FROM FOLDER");
    assert!(!folder.0.join("new").exists(), "a step wrote into the user's folder");
    repo.run(&["--local-repository", "x/y=nowhere"]).exits(2).shows("expected OWNER/NAME@REF=DIR");
}

#[test]
fn the_repository_itself_by_dollar_needs_no_checkout() {
    let repo =
        Repo::with("on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: $/act}]}}\n");
    repo.file("act/action.yml", "name: a\nruns: {using: composite, steps: [{run: 'echo OWN; ls $GITHUB_WORKSPACE | wc -l', shell: bash}]}\n");
    repo.commit("act");
    repo.run(&[]).exits(0).shows("OWN").shows("0");
}

#[test]
fn problem_matchers_make_annotations() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      \
         - uses: actions/checkout@v4\n      \
         - run: |\n          echo 'src/a.c:1:2: error: BEFORE'\n          echo '::add-matcher::m.json'\n          \
         echo 'src/a.c:3:7: error: IT BROKE'\n          echo 'gone.c:3:7: warning: ELSEWHERE'\n          \
         echo '::remove-matcher owner=gcc::'\n          echo 'src/a.c:9:9: error: AFTER'\n",
    );
    repo.file("src/a.c", "int x;\n");
    repo.file(
        "m.json",
        r#"{"problemMatcher":[{"owner":"gcc","pattern":[{"regexp":"^(.*):(\\d+):(\\d+):\\s+(warning|error):\\s+(.*)$","file":1,"line":2,"column":3,"severity":4,"message":5}]}]}"#,
    );
    repo.commit("matcher");
    repo.run(&["--output", "json"]).exits(0);
    let ran = repo.run(&["--output", "github"]);
    ran.exits(0);
    let notes: Vec<&str> = ran
        .out
        .lines()
        .filter(|l| l.starts_with("::error ") || l.starts_with("::warning "))
        .collect();
    assert_eq!(notes, ["::error file=src/a.c,line=3,col=7::IT BROKE", "::warning ::ELSEWHERE"]);
    assert!(ran.out.contains("##[error]src/a.c:3:7: error: IT BROKE"), "{}", ran.out);
}

#[test]
fn masks_and_failures_of_javascript() {
    let mirror = Mirror::new();
    mirror.action(
        "o/m",
        "v1",
        &[
            ("action.yml", "name: m\ninputs: {who: {required: true}}\nruns: {using: node16, main: m.js}\n"),
            (
                "m.js",
                "console.log('::add-mask::hush'); console.log('say hush'); console.error('::error file=x.py,line=4::it is hush'); process.exit(2)\n",
            ),
        ],
    );
    let repo = Repo::with(
        "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: 'o/m@v1', with: {other: 1}}]}}\n",
    );
    let ran = mirror.run(&repo, &[]);
    ran.exits(1).shows("say ***").hides("say hush").shows("it is ***");
    ran.shows("Unexpected input(s) 'other', valid inputs are ['who']");
    ran.shows("x.py:4");
}

#[test]
fn workflows_of_other_repositories_are_called() {
    let mirror = Mirror::new();
    let sha = mirror.action(
        "team/shared",
        "v1",
        &[
            (
                ".github/workflows/train.yml",
                r#"
on:
  workflow_call:
    inputs: {model: {type: string, required: true}}
    secrets: {KEY: {required: true}}
    outputs: {score: {value: "${{ jobs.inner.outputs.score }}"}}
jobs:
  inner:
    uses: ./.github/workflows/score.yml
    with: {model: "${{ inputs.model }}"}
    secrets: inherit
"#,
            ),
            (
                ".github/workflows/score.yml",
                r#"
on:
  workflow_call:
    inputs: {model: {type: string}}
    outputs: {score: {value: "${{ jobs.s.outputs.score }}"}}
jobs:
  s:
    runs-on: ubuntu-latest
    outputs: {score: "${{ steps.x.outputs.score }}"}
    steps:
      - {uses: $/act, id: x, with: {model: "${{ inputs.model }}"}}
      - run: echo "ref=${{ job.workflow_ref }} sha=${{ job.workflow_sha }} repo=$GITHUB_REPOSITORY key=${{ secrets.KEY == 'k1' }}"
"#,
            ),
            (
                "act/action.yml",
                "name: a\ninputs: {model: {}}\noutputs: {score: {value: '${{ steps.o.outputs.score }}'}}\nruns:\n  using: composite\n  steps: [{id: o, shell: bash, run: 'echo score=of-${{ inputs.model }} >> $GITHUB_OUTPUT'}]\n",
            ),
            (".github/workflows/broken.yml", "on: workflow_call\njobs: {a: {steps: []}}\n"),
        ],
    );
    let caller = |uses: &str| {
        Repo::with(&format!(
            "on: push\njobs:\n  call:\n    uses: {uses}\n    with: {{model: forest}}\n    secrets: {{KEY: '${{{{ secrets.KEY }}}}'}}\n  \
             after:\n    needs: call\n    runs-on: ubuntu-latest\n    steps: [{{run: 'echo score=${{{{ needs.call.outputs.score }}}}'}}]\n"
        ))
    };
    for reference in ["v1", "main", &sha] {
        let repo = caller(&format!("team/shared/.github/workflows/train.yml@{reference}"));
        let ran = mirror.run(&repo, &["-s", "KEY=k1"]);
        ran.exits(0)
            .shows("score=of-forest")
            .shows(&format!("sha={sha} repo=local/project key=true"));
        ran.shows(&format!("ref=team/shared/.github/workflows/score.yml@{reference}"));
    }
    let check = |uses: &str, wanted: &str| {
        let repo = caller(uses);
        mirror.run(&repo, &["-s", "KEY=k1"]).exits(2).shows(wanted);
        // The checker asks no network.
        repo.call(&["check"]).exits(0);
    };
    check("team/shared/.github/workflows/gone.yml@v1", "does not exist");
    check("team/shared/.github/workflows/train.yml@v9", "is not to be had");
    check("team/shared/.github/workflows/broken.yml@v1", "runs-on");
}

#[test]
fn the_projects_settings_name_mirrors_and_more() {
    let mirror = Mirror::new();
    mirror.action(
        "o/a",
        "v1",
        &[(
            "action.yml",
            "name: a\nruns: {using: composite, steps: [{run: echo FOUND, shell: bash}]}\n",
        )],
    );
    let repo =
        Repo::with("on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: o/a@v1}]}}\n");
    let settings = |text: &str| repo.file("trainyard.toml", text).run(&[]);
    let place = mirror.0.display();
    settings("[actions]\nforge = \"http://127.0.0.1:9\"\n")
        .exits(1)
        .shows("http://127.0.0.1:9/o/a");
    settings(&format!("[actions]\nmirrors = [\"{place}\"]\n")).exits(0).shows("FOUND");
    settings(&format!("[actions]\nmirrors = [\"{place}/{{owner}}/{{name}}.git\"]\n"))
        .exits(0)
        .shows("FOUND");
    settings("[actions]\nmirror = []\n").exits(2).shows("trainyard.toml:2").shows("mirror");
    settings("[cache]\nquota = \"lots\"\n").exits(2).shows("expected a size");
    settings("[[[").exits(2).shows("trainyard.toml:1");
}

#[test]
fn a_push_does_not_leave_the_machine() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      \
         - run: git fetch -q origin main && echo FETCHED; git -c user.name=a -c user.email=b commit -q --allow-empty -m x; git push\n",
    );
    // Where the user's own settings would send it.
    let real = repo.data.with_file_name("real.git");
    std::fs::create_dir_all(&real).unwrap();
    git(&real, &["init", "-q", "--bare", "-b", "main"]);
    repo.git(&["remote", "add", "origin", "https://github.com/octo/demo.git"]);
    let home = repo.data.with_file_name("home");
    std::fs::create_dir_all(&home).unwrap();
    let config = format!(
        "[url \"{}\"]\n\tinsteadOf = https://github.com/octo/demo\n\tinsteadOf = https://github.com/octo/demo.git\n",
        real.display()
    );
    std::fs::write(home.join(".gitconfig"), config).unwrap();
    let home = format!("HOME={}", home.display());
    repo.run(&["--env", &home]).exits(1).shows("403");
    assert_eq!(git(&real, &["for-each-ref"]), "", "the push went out");
}

#[test]
fn ten_composites_deep_and_none_that_uses_itself() {
    let mirror = Mirror::new();
    for at in 1..=11 {
        let inner = match at {
            11 => "{run: echo BOTTOM, shell: bash}".to_owned(),
            at => format!("{{uses: o/c{}@v1}}", at + 1),
        };
        let text = format!("name: c\nruns: {{using: composite, steps: [{inner}]}}\n");
        mirror.action(&format!("o/c{at}"), "v1", &[("action.yml", &text)]);
    }
    let own = "name: r\nruns: {using: composite, steps: [{uses: O/Self@v1}]}\n"
        .replace("O/Self", "o/self");
    mirror.action("o/self", "v1", &[("action.yml", &own)]);
    let repo = Repo::empty();
    let run = |uses: &str| {
        let text = format!(
            "on: push\njobs: {{a: {{runs-on: ubuntu-latest, steps: [{{run: echo BEFORE}}, {{uses: {uses}}}]}}}}\n"
        );
        repo.file(".github/workflows/ci.yml", &text).commit("x");
        mirror.run(&repo, &[])
    };
    run("O/C2@v1").exits(0).shows("BOTTOM");
    for uses in ["o/c1@v1", "o/self@v1"] {
        run(uses).exits(1).shows("Composite action depth exceeded").hides("BEFORE");
    }
}
