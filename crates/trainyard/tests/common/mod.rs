//! A repository in a scratch folder, and the real binary in it.
#![allow(dead_code, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// An engine that is not there.
pub const NO_ENGINE: &str = "unix:///nowhere/docker.sock";

pub struct Repo {
    pub root: PathBuf,
    pub data: PathBuf,
    base: PathBuf,
}

impl Drop for Repo {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// What steps printed, without what the runner prints before.
    pub fn lines(&self) -> Vec<&str> {
        let mut inside = false;
        self.out
            .lines()
            .filter(|line| {
                if line.starts_with("##[group]Run ") {
                    inside = true;
                }
                let keep = !inside;
                if *line == "##[endgroup]" {
                    inside = false;
                }
                keep
            })
            .collect()
    }

    #[track_caller]
    pub fn shows(&self, text: &str) -> &Self {
        assert!(
            self.lines().iter().any(|l| l.contains(text)) || self.err.contains(text),
            "'{text}' is not shown:\n{}\n{}",
            self.out,
            self.err
        );
        self
    }

    /// No step printed it; names of steps do not count.
    #[track_caller]
    pub fn hides(&self, text: &str) -> &Self {
        let named = ["── ", "✓ ", "✗ ", "- ", "! ", "    "];
        let printed = |l: &&&str| l.contains(text) && !named.iter().any(|n| l.starts_with(n));
        let lines = self.lines();
        assert!(lines.iter().find(printed).is_none(), "'{text}' is shown:\n{}", self.out);
        self
    }

    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        self
    }
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub fn scratch(name: &str) -> PathBuf {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let base =
        std::env::temp_dir().join(format!("trainyard-{name}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&base).unwrap();
    std::fs::canonicalize(base).unwrap()
}

impl Repo {
    /// An empty repository on the branch main.
    pub fn empty() -> Repo {
        let base = scratch("test");
        let root = base.join("project");
        std::fs::create_dir_all(&root).unwrap();
        let repo = Repo { root, data: base.join("data"), base };
        repo.git(&["init", "-q", "-b", "main"]);
        repo
    }

    /// A repository with one workflow, committed.
    pub fn with(workflow: &str) -> Repo {
        let repo = Repo::empty();
        repo.file(".github/workflows/ci.yml", workflow);
        repo.commit("first");
        repo
    }

    pub fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .arg("-C")
            .arg(&self.root)
            .args(["-c", "user.name=Tester", "-c", "user.email=t@example.org"])
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn commit(&self, message: &str) -> &Self {
        self.git(&["add", "-A", "-f"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trainyard"));
        command
            .args(args)
            .current_dir(&self.root)
            .env("TRAINYARD_DATA_DIR", &self.data)
            // What these tests show does not hang on an engine; those of containers name theirs.
            .env("DOCKER_HOST", NO_ENGINE)
            .env("CALLERS_SECRET", "leaked")
            .env_remove("CI")
            .stdin(Stdio::null());
        command
    }

    pub fn call(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().unwrap())
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        let all: Vec<&str> = ["run"].iter().chain(args).copied().collect();
        self.call(&all)
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// All files below a folder with their texts, `.git` left out.
pub fn snapshot(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(&at).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                out.push((name, std::fs::read(&path).unwrap_or_default()));
            }
        }
    }
    out.sort();
    out
}
