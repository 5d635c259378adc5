//! Unmodified workflows of public ML projects run green, and with one seeded fault each they fail
//! at the right line. The projects come as source distributions from PyPI, which hold the tree of
//! the named commit, its workflow files included.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Ran, Repo};

struct Project {
    /// Name and version on PyPI.
    package: &'static str,
    sha256: &'static str,
    /// `owner/name` and the commit whose tree it is.
    upstream: &'static str,
    branch: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    /// Actions that conditions leave out, and that no network is asked for here.
    stubs: &'static [&'static str],
    /// What a green run shows.
    green: &'static str,
    /// File, text, replacement; and what the red run shows of the place.
    fault: (&'static str, &'static str, &'static str),
    red: &'static str,
}

/// <https://github.com/relf/pyDOE3>: design of experiments.
const PYDOE3: Project = Project {
    package: "pyDOE3==1.0.5",
    sha256: "6f4256131b0f5f9fc3355b7e1fcd21cc4f8c32f39ef4def9ce7736c56723c812",
    upstream: "relf/pyDOE3@850fb20f11b91bc3dea1160076899be2e7ea6e70",
    branch: "master",
    args: &["-W", "tests.yml", "--matrix", "python-version:3.11"],
    env: &[],
    stubs: &[],
    green: "test (ubuntu-latest, 3.11): success",
    fault: ("pyDOE3/doe_factorial.py", "level_repeat *= levels[i]", "level_repeat += levels[i]"),
    red: "pyDOE3/doe_factorial.py:54: UnexpectedException",
};

/// <https://github.com/MantisAI/nervaluate>: metrics of named-entity recognition.
const NERVALUATE: Project = Project {
    package: "nervaluate==1.1.0",
    sha256: "6b8933f99e97e5fcd47aabc86c8a9da24e1f16a43042e411b5c68816b437975e",
    upstream: "MantisAI/nervaluate@fce01394b77a879903d2e2ff479d0c8b510a5cac",
    branch: "main",
    args: &["-W", "CI-checks.yml"],
    env: &[],
    stubs: &[],
    green: "test (ubuntu-latest, 3.11): success",
    fault: (
        "src/nervaluate/entities.py",
        "recall = self.correct / self.possible if",
        "recall = self.correct / self.actual if",
    ),
    red: "src/nervaluate/entities.py:47: ZeroDivisionError",
};

/// <https://github.com/wilson-labs/cola>: structured linear algebra, by a local called workflow.
/// Its test suite predates the newest beartype, so that one is held back from outside.
const COLA: Project = Project {
    package: "cola-ml==0.0.7",
    sha256: "fc54e2914c3cd50fdef5b22cb9e067e12cafb517e409d186188f38a3002f78c8",
    upstream: "wilson-labs/cola@4810da7a4ff4141c4082efa7cdb4eb29a6bd465b",
    branch: "main",
    args: &[
        "-W",
        "push_to_main.yml",
        "--matrix",
        "jax:none",
        "--matrix",
        "torch:none",
        "--env",
        "PIP_CONSTRAINT=/tmp/trainyard-cola-constraint.txt",
    ],
    env: &[("/tmp/trainyard-cola-constraint.txt", "beartype==0.19.0\n")],
    stubs: &["codecov/codecov-action@v3"],
    green: "run_test_suite / run_unit_tests (none, none): success",
    fault: ("cola/ops/operators.py", "out = X - self.beta * angle", "out = X + self.beta * angle"),
    red: "FAILED tests/test_operators.py::test_householder",
};

/// Downloads a source distribution once and keeps it in the target folder.
fn sdist(project: &Project) -> PathBuf {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdists");
    std::fs::create_dir_all(&cache).unwrap();
    let name = project.package.split("==").next().unwrap().to_lowercase().replace('-', "_");
    let find = || {
        std::fs::read_dir(&cache).unwrap().flatten().map(|e| e.path()).find(|p| {
            let file = p.file_name().unwrap().to_string_lossy().to_lowercase();
            file.replace('-', "_").starts_with(&name) && file.ends_with(".tar.gz")
        })
    };
    if find().is_none() {
        // pip asks the build backend for the metadata, and brings the backend for that.
        let done = Command::new("python3")
            .args(["-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d"])
            .arg(&cache)
            .arg(project.package)
            .status();
        assert!(done.is_ok_and(|s| s.success()), "{} cannot be downloaded", project.package);
    }
    let file = find().expect("pip has put it there");
    let sum = Command::new("sha256sum").arg(&file).output().unwrap();
    assert!(
        String::from_utf8_lossy(&sum.stdout).starts_with(project.sha256),
        "{} is not the file that is known",
        file.display()
    );
    file
}

fn repository(project: &Project) -> Repo {
    let repo = Repo::empty();
    let done = Command::new("tar")
        .arg("-xzf")
        .arg(sdist(project))
        .args(["--strip-components=1", "-C"])
        .arg(&repo.root)
        .status();
    assert!(done.is_ok_and(|s| s.success()));
    repo.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{}", project.branch)]);
    let slug = project.upstream.split('@').next().unwrap();
    repo.git(&["remote", "add", "origin", &format!("https://github.com/{slug}.git")]);
    repo.commit(project.upstream);
    repo
}

fn run(project: &Project, repo: &Repo) -> Ran {
    for (path, text) in project.env {
        std::fs::write(path, text).unwrap();
    }
    let mut args: Vec<String> = project.args.iter().map(|a| (*a).to_owned()).collect();
    let stub = repo.data.with_file_name("stub");
    std::fs::create_dir_all(&stub).unwrap();
    let text = "name: stub\nruns: {using: composite, steps: [{run: exit 1, shell: bash}]}\n";
    std::fs::write(stub.join("action.yml"), text).unwrap();
    for name in project.stubs {
        args.push("--local-repository".into());
        args.push(format!("{name}={}", stub.display()));
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    repo.run(&args)
}

fn green_then_red(project: &Project) {
    let repo = repository(project);
    let before = common::snapshot(&repo.root);
    run(project, &repo).exits(0).shows(project.green);
    assert!(before == common::snapshot(&repo.root), "the user's files were touched");
    let (file, from, to) = project.fault;
    let text = std::fs::read_to_string(repo.path(file)).unwrap();
    assert!(text.contains(from), "the fault has no place in {file}");
    repo.file(file, &text.replace(from, to));
    run(project, &repo).exits(1).shows(project.red);
    repo.call(&["logs", "--failed"]).shows(project.red);
    // Mended where it broke, and on from the step that failed.
    let mend =
        format!("p={file:?}; t=open(p).read(); open(p,'w').write(t.replace({to:?}, {from:?}))");
    let shell = repo.call(&["shell", "--", "python3", "-c", &mend]);
    shell.exits(0);
    repo.call(&["rerun", "--from", "--output", "plain"]).exits(0).shows(project.green);
    repo.call(&["view"]).shows("reused from attempt 1");
}

#[test]
fn pydoe3() {
    green_then_red(&PYDOE3);
}

#[test]
fn nervaluate() {
    green_then_red(&NERVALUATE);
}

#[test]
fn cola() {
    green_then_red(&COLA);
}

/// The example of this repository, likewise.
#[test]
fn iris() {
    let repo = Repo::empty();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/iris");
    let done = Command::new("cp").arg("-r").arg(example.join(".")).arg(&repo.root).status();
    assert!(done.is_ok_and(|s| s.success()));
    repo.commit("iris");
    repo.run(&[]).exits(0).shows("compare: success");
    repo.call(&["view"]).shows("held-out accuracy");
    let path = "iris/comparison.py";
    let text = std::fs::read_to_string(repo.path(path)).unwrap();
    repo.file(path, &format!("raise RuntimeError('seeded')\n{text}"));
    repo.run(&[]).exits(1).shows("iris/comparison.py").shows("RuntimeError: seeded");
}
