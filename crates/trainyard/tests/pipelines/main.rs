//! Real pipelines: compiled by the SDKs themselves (`make sdks`), run by the real binary, checked on what
//! their tasks print and give.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

#[path = "../common/mod.rs"]
mod common;

mod containers;
mod example;
mod failures;
mod features;
mod history;
mod old;
mod package;
mod stores;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use common::{Ran, Repo};

fn root() -> PathBuf {
    std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap()
}

/// The folder of what an SDK compiled, once.
fn compiled(version: &str, folder: &str) -> PathBuf {
    let python = root().join(format!("target/sdk/{version}/bin/python"));
    assert!(python.exists(), "the SDK kfp {version} is not there: make sdks");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pipelines");
    let output = root().join(format!("target/sdk/compiled-{version}-{}", std::process::id()));
    let ran = Command::new(python)
        .arg(own.join("compile.py"))
        .arg(own.join(folder))
        .arg(&output)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    output
}

/// A pipeline of `v2/`.
pub(crate) fn v2(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| compiled("2.17.0", "v2")).join(format!("{name}.yaml"))
}

/// A pipeline of `v1/`.
pub(crate) fn v1(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| compiled("1.8.22", "v1")).join(format!("{name}.yaml"))
}

/// A folder to run in, with a data folder whose environments of Python are those of all tests.
pub(crate) fn project() -> Repo {
    let repo = Repo::empty();
    let shared = root().join("target/sdk/environments");
    std::fs::create_dir_all(&shared).unwrap();
    std::fs::create_dir_all(&repo.data).unwrap();
    std::os::unix::fs::symlink(shared, repo.data.join("environments")).unwrap();
    repo
}

/// Runs a pipeline as processes.
pub(crate) fn run(repo: &Repo, file: &Path, args: &[&str]) -> Ran {
    let file = file.to_str().unwrap();
    let all: Vec<&str> =
        ["pipeline", "run", file, "--executor", "host"].iter().chain(args).copied().collect();
    repo.call(&all)
}

/// Runs a command where no process may have mounts of its own.
pub(crate) fn without_mounts(plain: &Command) -> Ran {
    let limit = "echo 0 > /proc/sys/user/max_mnt_namespaces && exec \"$0\" \"$@\"";
    let mut bare = Command::new("unshare");
    bare.args(["-Ur", "sh", "-c", limit]).arg(plain.get_program()).args(plain.get_args());
    bare.envs(plain.get_envs().filter_map(|(k, v)| Some((k, v?))));
    if let Some(folder) = plain.get_current_dir() {
        bare.current_dir(folder);
    }
    common::ran(bare.output().unwrap())
}

/// What tasks printed that begins with a word, sorted: tasks run side by side.
pub(crate) fn said(ran: &Ran, word: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        ran.out.lines().filter(|l| l.starts_with(word)).map(str::to_owned).collect();
    lines.sort();
    lines
}
