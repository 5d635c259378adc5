//! Where repositories of actions and workflows are looked for, and which commit a ref is there.
//!
//! The order: `--local-repository`, the mirrors (`--action-mirror`, then those of
//! `trainyard.toml`), the forge.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::reference::{Reference, is_commit};
use crate::error::{Error, Result};

/// Where to look, from the call and the settings.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Places {
    /// Folders that stand for a repository at a ref: `owner/name`, the ref, the folder.
    pub local: Vec<(String, String, PathBuf)>,
    /// Folders that hold `OWNER/NAME.git`, or addresses with `{owner}` and `{name}`.
    pub mirrors: Vec<String>,
    /// The address of the forge, without a slash at its end.
    pub forge: String,
}

/// A commit in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A folder as it is.
    Folder(PathBuf),
    /// A commit of a repository at an address or path.
    Commit {
        /// Path or address.
        address: String,
        /// The commit.
        sha: String,
    },
}

/// The forge when none is set.
pub const GITHUB: &str = "https://github.com";

impl Places {
    /// The folder that stands for a repository at a ref.
    pub fn local(&self, wanted: &Reference) -> Option<&Path> {
        let slug = wanted.slug();
        let same = |(s, r, _): &&(String, String, PathBuf)| {
            s.eq_ignore_ascii_case(&slug) && *r == wanted.reference
        };
        self.local.iter().find(same).map(|(_, _, folder)| folder.as_path())
    }

    /// The mirrors that may have a repository: paths and addresses, those on this machine only if
    /// they are there.
    pub fn mirrors(&self, wanted: &Reference) -> Vec<String> {
        let address = |mirror: &String| {
            if mirror.contains("{owner}") || mirror.contains("{name}") {
                return mirror.replace("{owner}", &wanted.owner).replace("{name}", &wanted.name);
            }
            let folder = mirror.trim_end_matches('/');
            if is_remote(folder) {
                return format!("{folder}/{}/{}.git", wanted.owner, wanted.name);
            }
            // Names ignore case at the forge.
            let owner = child(Path::new(folder), &wanted.owner);
            child(&owner, &format!("{}.git", wanted.name)).to_string_lossy().into_owned()
        };
        self.mirrors.iter().map(address).filter(|a| is_remote(a) || Path::new(a).exists()).collect()
    }

    /// The repository's address at the forge.
    pub fn forge(&self, wanted: &Reference) -> String {
        format!("{}/{}", self.forge, wanted.slug())
    }

    /// The places in words, for a message.
    pub fn in_words(&self, wanted: &Reference) -> String {
        let mut places: Vec<String> =
            self.local.iter().map(|(s, r, d)| format!("{s}@{r} in {}", d.display())).collect();
        places.extend(self.mirrors.iter().map(|m| format!("the mirror {m}")));
        places.push(self.forge(wanted));
        places.join(", ")
    }
}

/// The child of that name, in whichever case it is there.
fn child(folder: &Path, name: &str) -> PathBuf {
    let plain = folder.join(name);
    if plain.exists() {
        return plain;
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let same = |e: &std::fs::DirEntry| e.file_name().to_string_lossy().eq_ignore_ascii_case(name);
    entries.into_iter().find(same).map_or(plain, |e| e.path())
}

/// Whether git reaches an address over a network.
pub fn is_remote(address: &str) -> bool {
    address.contains("://") || (address.contains('@') && address.contains(':'))
}

/// How long a program may take that talks to others, and who may end it before.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    /// Set when what waits for it is to stop.
    pub stop: Arc<AtomicBool>,
}

/// The time that a fetch may take.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// How often it is looked whether to stop.
const GLANCE: Duration = Duration::from_millis(50);

impl Patience {
    /// Runs a program to its end, unless its time is over or it is to stop.
    pub fn output(&self, command: &mut Command) -> std::io::Result<Output> {
        use std::os::unix::process::CommandExt;
        // A group of its own, so that its helpers end with it.
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let pid = rustix::process::Pid::from_child(&child);
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let _ = sender.send(child.wait_with_output());
        });
        let end = Instant::now() + LONGEST;
        loop {
            match receiver.recv_timeout(GLANCE) {
                Ok(output) => return output,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(std::io::Error::other("its end was not seen"));
                }
            }
            let stopped = self.stop.load(Ordering::Relaxed);
            if stopped || Instant::now() >= end {
                let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
                let why = if stopped { "it was stopped" } else { "it took too long" };
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, why));
            }
        }
    }
}

/// A git that asks nobody anything.
pub fn git(folder: Option<&Path>, args: &[&str]) -> Result<Vec<u8>> {
    git_with(folder, args, &[], &Patience::default())
}

/// The same with more variables, ended when there is no patience left.
pub fn git_with(
    folder: Option<&Path>,
    args: &[&str],
    env: &[(String, String)],
    patience: &Patience,
) -> Result<Vec<u8>> {
    let mut command = Command::new("git");
    if let Some(folder) = folder {
        command.arg("--git-dir").arg(folder);
    }
    command
        .args(["-c", "safe.directory=*"])
        .args(["-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=30"])
        .args(args)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=30")
        .envs(env.iter().map(|(k, v)| (k, v)));
    let output = patience
        .output(&mut command)
        .map_err(|e| Error::new(format!("git {}: {e}", args.first().unwrap_or(&""))))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("it failed");
    Err(Error::new(last.trim().to_owned()))
}

/// The commit of a ref in a repository; none if it has no such ref. A tag before a branch, as git
/// itself looks.
pub fn commit(address: &str, wanted: &Reference, patience: &Patience) -> Result<Option<String>> {
    let name = &wanted.reference;
    if is_remote(address) {
        if wanted.is_commit() {
            return Ok(Some(name.to_ascii_lowercase()));
        }
        let (tag, branch) = (format!("refs/tags/{name}"), format!("refs/heads/{name}"));
        let peeled = format!("{tag}^{{}}");
        let asked = ["ls-remote", "--", address, &tag, &peeled, &branch];
        let out = git_with(None, &asked, &[], patience)?;
        let text = String::from_utf8_lossy(&out);
        let sha = |wanted: &str| {
            let mut lines = text.lines().filter_map(|l| l.split_once('\t'));
            lines.find(|(_, n)| *n == wanted).map(|(sha, _)| sha.to_owned())
        };
        return Ok(sha(&peeled).or_else(|| sha(&tag)).or_else(|| sha(&branch)));
    }
    let folder = git_folder(Path::new(address));
    let mut names = vec![format!("refs/tags/{name}"), format!("refs/heads/{name}")];
    if wanted.is_commit() {
        names.insert(0, name.clone());
    }
    for name in names {
        let name = format!("{name}^{{commit}}");
        if let Ok(out) = git(Some(&folder), &["rev-parse", "--verify", "-q", &name]) {
            return Ok(Some(String::from_utf8_lossy(&out).trim().to_owned()));
        }
    }
    if let Some(sha) = short_commit(&folder, name) {
        return Err(Error::new(format!(
            "Unable to resolve action `{}@{name}`, the provided ref `{name}` is the shortened version of a commit SHA, which is not supported. Please use the full commit SHA `{sha}` instead.",
            wanted.slug()
        )));
    }
    Ok(None)
}

/// The git folder of a repository, bare or not.
pub fn git_folder(path: &Path) -> PathBuf {
    match path.join(".git").exists() {
        true => path.join(".git"),
        false => path.to_owned(),
    }
}

fn short_commit(folder: &Path, name: &str) -> Option<String> {
    let short = (7..40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_hexdigit());
    if !short {
        return None;
    }
    let name = format!("{name}^{{commit}}");
    let out = git(Some(folder), &["rev-parse", "--verify", "-q", &name]).ok()?;
    let sha = String::from_utf8_lossy(&out).trim().to_owned();
    is_commit(&sha).then_some(sha)
}
