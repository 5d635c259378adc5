//! Bad input: a clear message and exit status, never a panic, nothing touched outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use common::{Repo, scratch};

const FINE: &str = "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: echo fine}]}}\n";

#[test]
fn broken_files_are_explained_with_their_place() {
    let bomb = {
        let mut text = String::from("x0: &x0 [a, a, a, a, a, a, a, a, a]\n");
        for i in 1..12 {
            let row = vec![format!("*x{}", i - 1); 9].join(", ");
            text.push_str(&format!("x{i}: &x{i} [{row}]\n"));
        }
        text
    };
    let deep = format!("on: push\njobs: {}", "[".repeat(20_000));
    for (workflow, wanted) in [
        ("on: push\njobs:\n  a: [\n", "not valid YAML"),
        ("", "The file is empty"),
        ("a: b: c", "not valid YAML"),
        (bomb.as_str(), "Maximum YAML nodes exceeded"),
        (deep.as_str(), "error"),
        (
            "on: push\njobs: {a: {needs: b, runs-on: x}, b: {needs: a, runs-on: x}, c: {runs-on: x}}",
            "creates a cycle",
        ),
        (
            "on: push\njobs: {a: {needs: zz, runs-on: x}, c: {runs-on: x}}",
            "depends on unknown job 'zz'",
        ),
        (
            "on: push\njobs: {a: {runs-on: x, steps: [{run: x, uses: y/z@v1}]}}",
            "Unexpected value 'uses'",
        ),
        (
            "on: push\njobs: {a.b: {runs-on: x, steps: [{run: x}]}}",
            "The identifier 'a.b' is invalid",
        ),
        (
            "on: push\njobs: {a: {runs-on: x, steps: [{run: x, if: '${{ secrets.X }}'}]}}",
            "Unrecognized named-value: 'secrets'",
        ),
        (
            "on: push\njobs: {a: {runs-on: x, if: !cancelled(), steps: [{run: x}]}}",
            "YAML reads a leading `!` as a tag",
        ),
        ("on: push\njobs: {a: {uses: ./.github/workflows/none.yml}}", "does not exist"),
        ("on: push\njobs: {a: {uses: ./.github/workflows/ci.yml}}", "calls itself"),
    ] {
        let repo = Repo::with(workflow);
        let ran = repo.run(&[]);
        assert_eq!(ran.code, 2, "{workflow:.60}\n{}{}", ran.out, ran.err);
        assert!(ran.err.contains(wanted), "{workflow:.60}: {}", ran.err);
        let check = repo.call(&["check"]);
        assert_eq!(check.code, 1, "{workflow:.60}\n{}{}", check.out, check.err);
        assert!(check.out.contains("ci.yml:"), "{}", check.out);
    }
}

#[test]
fn binary_and_huge_files() {
    let repo = Repo::with(FINE);
    std::fs::write(repo.path(".github/workflows/bin.yml"), [0u8, 159, 146, 150]).unwrap();
    repo.run(&[]).exits(2).shows("not text in UTF-8");
    std::fs::write(repo.path(".github/workflows/bin.yml"), "#".repeat(10 << 20)).unwrap();
    repo.run(&[]).exits(2).shows("larger than");
    repo.call(&["check"]).exits(1).shows("larger than");
}

#[test]
fn repositories_of_every_kind() {
    let outside = scratch("outside");
    let none = Repo::empty();
    none.command(&["run"])
        .current_dir(&outside)
        .output()
        .map(common::ran)
        .unwrap()
        .exits(2)
        .shows("is not in a git repository");
    none.run(&[]).exits(2).shows("the repository has no commit yet");
    none.file("x", "").commit("first");
    none.run(&[]).exits(2).shows("has no workflows");

    let repo = Repo::with(FINE);
    repo.git(&["checkout", "-q", "--detach"]);
    repo.run(&[]).exits(0).shows("HEAD is detached").shows("fine");
    repo.git(&["tag", "v1"]);
    repo.file(".github/workflows/ci.yml", "on: {push: {tags: ['v*']}}\njobs: {a: {runs-on: linux, steps: [{run: 'echo ${{ github.ref }}'}]}}\n");
    repo.run(&[]).exits(0).shows("refs/tags/v1");
    repo.run(&["--ref", "no-such"]).exits(2).shows("is no commit, branch or tag");
    repo.run(&["-C", "no-such-folder"]).exits(2);
    repo.run(&["--job", "zz"]).exits(2).shows("it has no job 'zz'");
    repo.run(&["--secret", "NOT_SET_ANYWHERE"]).exits(2).shows("is not set");
    repo.call(&["bogus"]).exits(2);
    let _ = std::fs::remove_dir_all(outside);
}

#[test]
fn names_with_blanks_newlines_and_links() {
    let repo = Repo::with(FINE);
    repo.file(".github/workflows/a b.yml", "on: push\njobs: {b: {runs-on: linux, steps: [{uses: actions/checkout@v4}, {run: 'ls -1b; cat \"link\"; readlink link'}]}}\n");
    repo.file("sp ace/new\nline.txt", "x").file("target", "linked\n");
    std::os::unix::fs::symlink("target", repo.path("link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", repo.path("escape")).unwrap();
    std::os::unix::fs::symlink("../loop", repo.path("loop")).unwrap();
    repo.commit("odd");
    repo.run(&["-W", "a b.yml"]).exits(0).shows("sp\\ ace").shows("linked").shows("target");
}

#[test]
fn files_that_vanish_do_no_harm() {
    let repo = Repo::with(
        "on: push\njobs: {a: {runs-on: linux, steps: [{uses: actions/checkout@v4}, {run: 'ls'}]}}\n",
    );
    repo.file("gone.txt", "x").commit("x");
    std::fs::remove_file(repo.path("gone.txt")).unwrap();
    repo.run(&[]).exits(0).hides("gone.txt");
}

#[test]
fn read_only_and_missing_places() {
    let repo = Repo::with(FINE);
    // Root may write anywhere; a file in the way of a folder stops everyone.
    std::fs::write(&repo.data, "in the way").unwrap();
    repo.run(&[]).exits(2).shows("TRAINYARD_DATA_DIR");
    std::fs::remove_file(&repo.data).unwrap();
    let ran = repo.command(&["run"]).env("PATH", "/nonexistent").output().map(common::ran).unwrap();
    // A fresh commit is read without git; what steps need is said by name.
    ran.exits(1).shows("The shell 'sh' is not on the PATH");
    let ran = repo
        .command(&["run", "--ref", "main"])
        .env("PATH", "/nonexistent")
        .output()
        .map(common::ran)
        .unwrap();
    ran.exits(2).shows("install git");
}

#[test]
fn a_full_disk_is_a_failure_and_says_so() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tried: only root can mount a small tmpfs");
        return;
    }
    let repo = Repo::with(
        "on: push\njobs: {a: {runs-on: linux, steps: [{run: 'yes | head -c 20000000'}]}}\n",
    );
    std::fs::create_dir_all(&repo.data).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(&repo.data)
        .status()
        .is_ok_and(|s| s.success());
    if !mounted {
        eprintln!("not tried: this sandbox does not let root mount");
        return;
    }
    let ran = repo.run(&[]);
    let _ = Command::new("umount").arg("-l").arg(&repo.data).status();
    assert!(matches!(ran.code, 1 | 2), "{}\n{}", ran.out, ran.err);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
}

#[test]
fn folders_without_rights_are_removed_all_the_same() {
    let repo = Repo::with(
        "on: push\njobs: {a: {runs-on: linux, steps: [{run: 'mkdir -p d/e; touch d/e/f; chmod 000 d/e d'}]}}\n",
    );
    repo.run(&[]).exits(0);
    let left = std::fs::read_dir(repo.data.join("work")).unwrap().flatten();
    let left: Vec<_> = left.filter(|e| e.path().is_dir()).collect();
    assert!(left.is_empty(), "the workspace stays: {left:?}");
    let mode = std::fs::metadata(repo.path(".github")).unwrap().permissions().mode();
    assert_ne!(mode & 0o700, 0);
}

#[test]
fn check_speaks_json_and_github() {
    let repo = Repo::with(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - runn: x\n",
    );
    let json = repo.call(&["check", "--format", "json", ".github/workflows/ci.yml", "missing.yml"]);
    json.exits(1);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let files = value["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    assert_eq!(files[0]["path"], ".github/workflows/ci.yml");
    let first = &files[0]["diagnostics"][0];
    assert_eq!((&first["severity"], &first["line"]), (&"error".into(), &6.into()), "{first}");
    assert!(first["help"].as_str().unwrap().contains("did you mean `run`"));
    assert!(files[1]["diagnostics"][0]["message"].as_str().unwrap().contains("cannot be read"));
    repo.call(&["check", "--format", "github"])
        .exits(1)
        .shows("::error file=.github/workflows/ci.yml,line=6");
}

#[test]
fn eval_batch() {
    let repo = Repo::empty();
    let rows = "{\"expr\":\"github.ref == 'REFS/x'\",\"contexts\":{\"github\":{\"ref\":\"refs/x\"}}}\n{\"expr\":\"fromJSON('{\\\"b\\\":1,\\\"A\\\":NaN}')\"}\n{\"expr\":\"1 -\"}\n{\"expr\":\"foo.bar\"}\n{\"expr\":\"NaN\"}\nnot json\n";
    let mut child = repo
        .command(&["eval", "--batch"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), rows.as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0]["ok"], true);
    assert_eq!(lines[1]["error"]["kind"], "evaluation");
    assert_eq!(lines[2]["error"]["kind"], "lexing");
    assert_eq!(lines[3]["error"]["kind"], "parsing");
    assert_eq!(lines[4]["ok"]["$number"], "NaN");
    assert_eq!(lines.len(), 6);
}
