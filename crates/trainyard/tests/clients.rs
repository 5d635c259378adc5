//! The published clients of the toolkit, old and new, against the services.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{Ran, Repo};

/// The folder of scripts with the clients installed in it, once for each list of packages.
fn clients() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients");
        std::fs::create_dir_all(&folder).unwrap();
        let lock = std::fs::File::create(folder.join("lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let wanted = std::fs::read_to_string(source.join("package.json")).unwrap();
        let installed = std::fs::read_to_string(folder.join("installed.json")).unwrap_or_default();
        for entry in std::fs::read_dir(&source).unwrap().flatten() {
            let target = folder.join(entry.file_name());
            let text = std::fs::read(entry.path()).unwrap();
            if std::fs::read(&target).ok().as_deref() != Some(&text) {
                std::fs::write(&target, text).unwrap();
            }
        }
        if installed != wanted {
            let output = Command::new("npm")
                .args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
                .current_dir(&folder)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            std::fs::write(folder.join("installed.json"), wanted).unwrap();
        }
        folder
    })
}

/// Runs one script with one client as an action.
fn client(script: &str, package: &str, size: &str, event: &str) -> (Repo, Ran) {
    let repo = Repo::with(&format!(
        "on: [push, pull_request]\njobs:\n  a:\n    runs-on: ubuntu-latest\n    permissions: {{id-token: write, contents: write, actions: read, issues: write, checks: write, pull-requests: read}}\n    steps:\n      \
         - {{uses: t/client@v1, id: c, with: {{script: {script}, package: {package}, size: {size}}}, env: {{GITHUB_TOKEN: '${{{{ github.token }}}}'}}}}\n      \
         - run: echo \"said=[${{{{ steps.c.outputs.said }}}}] $EXPORTED $PATH\"\n"
    ));
    repo.git(&["remote", "add", "origin", "https://github.com/octo/demo.git"]);
    repo.file("a.txt", "hi\n").commit("a");
    repo.git(&["checkout", "-q", "-b", "topic"]);
    repo.file("b.txt", "b\n").commit("b");
    // The action alone, without the clients beside it.
    let action = repo.data.with_file_name("action");
    std::fs::create_dir_all(&action).unwrap();
    for name in ["action.yml", "main.mjs"] {
        std::fs::copy(clients().join(name), action.join(name)).unwrap();
    }
    let local = format!("t/client@v1={}", action.display());
    let env = format!("CLIENTS={}", clients().display());
    let ran = repo.run(&[event, "--local-repository", &local, "--env", &env]);
    (repo, ran)
}

fn green(script: &str, package: &str, size: &str) -> (Repo, Ran) {
    let (repo, ran) = client(script, package, size, "push");
    ran.exits(0);
    (repo, ran)
}

#[test]
fn cache_version_1() {
    green("cache", "cache3", "300000");
}

#[test]
fn cache_version_2() {
    green("cache", "cache4", "300000");
    green("cache", "cache6", "300000");
}

/// Over 128 MiB the client sends blocks, eight at a time.
#[test]
fn large_caches_come_in_blocks() {
    green("cache", "cache6", "150000000");
    green("cache", "cache3", "80000000");
}

#[test]
fn artifacts() {
    for package in ["artifact2", "artifact6"] {
        green("artifact", package, "1000");
        green("artifact", package, "30000000");
    }
}

#[test]
fn core_and_identity_tokens() {
    for package in ["core1", "core3"] {
        let (repo, ran) = green("core", package, "1");
        ran.shows("said=[line 1").shows("line 2] a=b").shows("/from/core:").shows("a secret: ***");
        repo.call(&["view"]).shows("Report").shows("a.py:3: look");
    }
}

#[test]
fn the_api_by_octokit() {
    for package in ["github5", "github9"] {
        let (repo, _) = green("github", package, "1");
        repo.call(&["view"]).shows("comment: on #1: comment 44").shows("check: lint: success");
        repo.call(&["view"]).shows("GET /api/repos/octo/demo/milestones is not served here");
        let (_, ran) = client("github", package, "1", "pull_request");
        ran.exits(0).shows("holds: files of the pull request");
    }
}

#[test]
fn the_tool_cache() {
    for package in ["tool-cache1", "tool-cache4"] {
        green("toolcache", package, "1");
    }
}
