//! `trainyard check` beyond validity: severities, comments, settings, fixes, shellcheck.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use common::Repo;
use serde_json::Value;

fn steps(steps: &str) -> Repo {
    Repo::with(&format!("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n{steps}"))
}

fn found(repo: &Repo, args: &[&str]) -> Vec<(String, String, i64)> {
    let all: Vec<&str> = ["check", "--format", "json"].iter().chain(args).copied().collect();
    let ran = repo.call(&all);
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}", ran.err));
    let files = report["files"].as_array().unwrap().iter();
    files
        .flat_map(|f| f["diagnostics"].as_array().unwrap())
        .map(|d| {
            let text = |k: &str| d[k].as_str().unwrap().to_owned();
            (text("rule"), text("severity"), d["line"].as_i64().unwrap())
        })
        .collect()
}

#[test]
fn severities_and_exit_codes() {
    let repo = steps(
        "      - uses: actions/checkout@v4\n      - run: echo ${{ github.event.head_commit.message }}\n",
    );
    repo.call(&["check", "--no-shellcheck"])
        .exits(0)
        .shows("script/injection")
        .shows("1 less serious");
    assert!(!repo.call(&["check", "--severity", "error"]).out.contains("injection"));
    let all = found(&repo, &["--severity", "info", "--no-shellcheck"]);
    let rules: Vec<&str> = all.iter().map(|(rule, ..)| rule.as_str()).collect();
    assert_eq!(rules, ["uses/unpinned", "script/injection"]);
    repo.call(&["check", "--rules"]).exits(0).shows("needs/unread");
}

#[test]
fn comments_and_settings_turn_rules_off() {
    let repo = steps(
        "      - run: echo ${{ github.event.head_commit.message }} # trainyard: ignore[script/injection]\n      # trainyard: ignore[script/injection]\n      - run: echo ${{ github.event.head_commit.message }}\n      - run: echo ${{ github.event.head_commit.message }}\n",
    );
    let at = |all: &[(String, String, i64)]| all.iter().map(|(.., line)| *line).collect::<Vec<_>>();
    assert_eq!(at(&found(&repo, &["--no-shellcheck"])), [9]);
    repo.file("trainyard.toml", "[check]\noff = [\"script/injection\"]\nlabels = [\"gpu\"]\n");
    assert!(found(&repo, &["--no-shellcheck"]).is_empty());
    repo.file("trainyard.toml", "[check]\noff = [\"script/injektion\"]\n");
    repo.call(&["check"]).exits(2).shows("there is no rule 'script/injektion'");
    repo.file("trainyard.toml", "[check]\nlabels = [\"gpu\"]\n");
    repo.file(
        ".github/workflows/ci.yml",
        "on: push\njobs: {a: {runs-on: [self-hosted, cuda], steps: [{run: x}]}}\n",
    );
    repo.call(&["check"]).shows("runs-on/unserved").shows("it lists: gpu");
}

#[test]
fn what_is_certain_is_fixed() {
    let repo = Repo::with(
        "on:\n  push:\n    branches: ['feature/refs/heads/main', refs/heads/main]\n    paths: ['lib/a', '/a', \"./src/\"]\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: |\n          echo \"::set-output name=v::$V\"\n          echo \"::set-output name=w::done\"\n          bash -c '\n          echo \"::set-output name=x::done\"\n          '\n",
    );
    repo.call(&["check", "--fix", "--no-shellcheck"]).shows("5 findings fixed");
    let text = std::fs::read_to_string(repo.path(".github/workflows/ci.yml")).unwrap();
    // Where the pattern stands, and not where its text stands first; what a change shows, too.
    assert!(text.contains("branches: ['feature/refs/heads/main', main]"), "{text}");
    assert!(text.contains("paths: ['lib/a', 'a', \"src/**\"]"), "{text}");
    assert!(text.contains("          echo \"w=done\" >> \"$GITHUB_OUTPUT\"\n"), "{text}");
    // What is computed may hold more than a line; what stands in a text is another program's.
    assert!(text.contains("echo \"::set-output name=v::$V\"\n"), "{text}");
    assert!(text.contains("echo \"::set-output name=x::done\"\n"), "{text}");
    repo.call(&["check", "--fix", "--no-shellcheck"]).shows("0 findings fixed");
}

/// What shellcheck says, in the lines of the file. `make tools` installs it.
#[test]
fn scripts_go_through_shellcheck() {
    let repo = steps(
        "      - run: |\n          cd build\n          rm -rf $DIR/x ${{ github.sha }}\n      - run: cd build; make\n      - {shell: python, run: 'print(\"$x\")'}\n      - {shell: sh, run: 'echo \"unclosed'}\n      - run: |\n          # shellcheck disable=SC2086\n          echo $X\n",
    );
    let all = found(&repo, &["--severity", "info"]);
    let own: Vec<_> = all.iter().filter(|(rule, ..)| rule == "script/shellcheck").collect();
    let lines: Vec<i64> = own.iter().map(|(.., line)| *line).collect();
    assert!(lines.contains(&8), "SC2086 in line 8: {own:?}");
    assert!(lines.contains(&11), "a text that is not closed: {own:?}");
    assert!(!lines.contains(&10) && !lines.contains(&14), "{own:?}");
    let shown = repo.call(&["check", "--severity", "info"]);
    shown.exits(0).shows("shellcheck SC2086").shows("rm -rf $DIR/x");
    assert!(found(&repo, &["--no-shellcheck"]).is_empty());
}

/// The cases of `container/refused`.
#[test]
fn what_an_engine_would_refuse() {
    for (job, finds) in [
        ("container: {image: i, options: --memory lots}", true),
        ("container: {image: i, options: --network host}", true),
        ("container: {image: i, options: --entrypoint sh}", true),
        ("services: {s: {image: i, options: --health-cmd redis-cli ping}}", true),
        ("services: {s: {image: i, ports: ['80:x']}}", true),
        ("services: {s: {image: i, volumes: ['a:b']}}", true),
        ("container: {image: i, options: '--gpus all --memory 8g'}", false),
        ("container: {image: i, options: '${{ vars.O }}'}", false),
        ("services: {s: {image: i, options: --entrypoint sh}}", false),
        ("services: {s: {image: i, ports: ['5432', '80:80/tcp', 81], volumes: ['v:/v']}}", false),
        ("container: i", false),
    ] {
        let repo = Repo::with(&format!(
            "on: push\njobs: {{a: {{runs-on: ubuntu-latest, {job}, steps: [{{run: x}}]}}}}\n"
        ));
        let all = found(&repo, &["--no-shellcheck"]);
        assert_eq!(all.iter().any(|(rule, ..)| rule == "container/refused"), finds, "{job}");
    }
}

/// The cases of the rule's page.
#[test]
fn shellcheck_is_asked_for_shells_alone() {
    for (step, finds) in [
        ("{run: 'rm -rf $DIR/x'}", true),
        ("{run: 'for f in $(ls *.txt); do cat $f; done'}", true),
        ("{run: 'if [ $A == b ]; then echo; fi', shell: sh}", true),
        ("{run: 'echo \"unclosed'}", true),
        ("{run: 'x=$(cat y | grep z); echo $x'}", true),
        ("{run: 'rm -rf \"$DIR/x\"'}", false),
        ("{run: cd build && make}", false),
        ("{run: 'Write-Host $x', shell: pwsh}", false),
        ("{run: \"echo '${{ github.sha }}'\"}", false),
        ("{run: 'if [ \"${{ github.sha }}\" = x ]; then echo y; fi'}", false),
    ] {
        let repo = steps(&format!("      - {step}\n"));
        let all = found(&repo, &["--severity", "info"]);
        let own = all.iter().any(|(rule, ..)| rule == "script/shellcheck");
        assert_eq!(own, finds, "{step}: {all:?}");
    }
}

/// A shellcheck that gives no answer is said, and not taken for one that finds nothing.
#[test]
fn a_broken_shellcheck_is_an_error() {
    let repo = steps("      - run: echo\n");
    let bin = repo.path("bin");
    repo.file("bin/shellcheck", "#!/bin/sh\necho broken >&2\nexit 3\n");
    let program = bin.join("shellcheck");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let ran = common::ran(repo.command(&["check"]).env("PATH", path).output().unwrap());
    ran.exits(2).shows("shellcheck gives no answer: broken");
    let none = repo.command(&["check"]).env("PATH", bin.join("none")).output().unwrap();
    common::ran(none).exits(0);
}
