//! `actions/checkout` of the repository under test: the work tree as it is now, or a commit.
//!
//! Files are copied (reflinked where the file system can), never hard-linked. The git folder is
//! the job's own; it finds objects in the user's by `alternates`, so nothing is copied there and
//! nothing that a step does can reach the user's.
//!
//! Deliberately absent: `filter`, as nothing is fetched that could be left out, and ssh keys.

mod other;
mod parts;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use super::{JobFacts, append, input, variable};
use crate::error::{Error, Result};
use crate::git::{Repository, slug};
use crate::host::copy::copy_file;

/// The inputs of actions/checkout v4 to v7 with their defaults.
pub const INPUTS: &[(&str, Option<&str>)] = &[
    ("repository", None),
    ("ref", None),
    ("token", None),
    ("ssh-key", None),
    ("ssh-known-hosts", None),
    ("ssh-strict", Some("true")),
    ("ssh-user", Some("git")),
    ("persist-credentials", Some("true")),
    ("path", None),
    ("clean", Some("true")),
    ("filter", None),
    ("sparse-checkout", None),
    ("sparse-checkout-cone-mode", Some("true")),
    ("fetch-depth", Some("1")),
    ("fetch-tags", Some("false")),
    ("show-progress", Some("true")),
    ("lfs", Some("false")),
    ("submodules", Some("false")),
    ("set-safe-directory", Some("true")),
    ("github-server-url", None),
];

/// Lays the repository into the workspace.
pub fn run(facts: &JobFacts) -> Result<()> {
    let workspace = PathBuf::from(variable("GITHUB_WORKSPACE")?);
    let target = inside(&workspace, &input("path"))?;
    let repository = variable("GITHUB_REPOSITORY")?;
    let wanted = input("repository");
    if !wanted.is_empty() && !wanted.eq_ignore_ascii_case(&repository) {
        fs::create_dir_all(&target).map_err(|e| Error::io("create", &target, &e))?;
        if input("clean") != "false" {
            empty(&target)?;
        }
        let commit = other::lay(facts, &wanted, &target)?;
        parts::sparse(&target)?;
        parts::submodules(&target, &target.join(".git/modules"))?;
        println!("Checked out {wanted} at {commit}");
        let lines = [format!("ref={}", input("ref")), format!("commit={commit}")];
        return append("GITHUB_OUTPUT", &lines);
    }
    let user = Repository {
        root: facts.root.clone(),
        git_dir: facts.root.join(".git"),
        common_dir: facts.common_dir.clone(),
    };
    let head = variable("GITHUB_SHA")?;
    let reference = input("ref");
    let (commit, work_tree, branch) = match reference.as_str() {
        "" => {
            let full = variable("GITHUB_REF")?;
            let branch = full.strip_prefix("refs/heads/").map(str::to_owned);
            (head.clone(), facts.work_tree, branch)
        }
        name => {
            let (commit, branch) = resolve(&user, name)?;
            let same = commit == head;
            (commit, same && facts.work_tree, branch)
        }
    };
    fs::create_dir_all(&target).map_err(|e| Error::io("create", &target, &e))?;
    if input("clean") != "false" {
        empty(&target)?;
    }
    make_git_dir(facts, &target, &commit, branch.as_deref())?;
    git(&target, &["read-tree", "HEAD"])?;
    let left_out = parts::sparse(&target)?;
    if work_tree {
        let files = user.work_files()?;
        let tracked = match input("sparse-checkout").is_empty() {
            true => None,
            // What is not tracked belongs to none of the chosen folders.
            false => Some(user.tracked()?),
        };
        let mut copied = 0usize;
        for file in &files {
            if left_out.contains(file) || tracked.as_ref().is_some_and(|t| !t.contains(file)) {
                continue;
            }
            copied += usize::from(copy(&facts.root, &target, file)?);
        }
        println!("Copied {copied} files of the work tree as it is now, on {commit}");
    } else {
        git(&target, &["checkout-index", "--all", "--force", "--quiet"])?;
        println!("Checked out {commit}");
    }
    parts::submodules(&target, &facts.common_dir.join("modules"))?;
    parts::large_files(&target, &facts.common_dir)?;
    append(
        "GITHUB_OUTPUT",
        &[
            format!(
                "ref={}",
                if reference.is_empty() { variable("GITHUB_REF")? } else { reference }
            ),
            format!("commit={commit}"),
        ],
    )
}

/// A path that stays in the workspace.
fn inside(workspace: &Path, path: &str) -> Result<PathBuf> {
    let mut out = workspace.to_owned();
    let given = Path::new(path);
    for part in given.strip_prefix(workspace).unwrap_or(given).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(Error::new(format!(
                    "Repository path '{path}' is not under '{}'",
                    workspace.display()
                )));
            }
        }
    }
    Ok(out)
}

/// The commit of a `ref`, and the branch if it names one (checkout's `ref-helper.ts`: a branch
/// before a tag, a commit detached).
fn resolve(user: &Repository, name: &str) -> Result<(String, Option<String>)> {
    let branch = name.strip_prefix("refs/heads/").unwrap_or(name);
    // A local branch says more than what the remote had last.
    let candidates = [
        (format!("refs/heads/{branch}"), true),
        (format!("refs/remotes/origin/{branch}"), true),
        (format!("refs/tags/{name}"), false),
        (name.to_owned(), false),
    ];
    let order: Vec<&str> = candidates.iter().map(|(name, _)| name.as_str()).collect();
    let found = user.commits(&order)?;
    let hit = found.into_iter().zip(&candidates).find_map(|(c, (_, b))| c.map(|c| (c.sha, *b)));
    let (sha, is_branch) = hit.ok_or_else(|| {
        Error::new(format!("The ref '{name}' is not known in this repository"))
            .hint("fetch it first: git fetch origin")
    })?;
    Ok((sha, is_branch.then(|| branch.to_owned())))
}

fn empty(target: &Path) -> Result<()> {
    for entry in fs::read_dir(target).map_err(|e| Error::io("read", target, &e))?.flatten() {
        let path = entry.path();
        let done = match entry.file_type().is_ok_and(|t| t.is_dir()) {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        done.map_err(|e| Error::io("remove", &path, &e))?;
    }
    Ok(())
}

/// A git folder as checkout leaves one: a shallow history, the branch and its remote twin.
fn make_git_dir(facts: &JobFacts, target: &Path, commit: &str, branch: Option<&str>) -> Result<()> {
    let dir = target.join(".git");
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
        }
        fs::write(&path, text).map_err(|e| Error::io("write", &path, &e))
    };
    let objects = facts.common_dir.join("objects");
    let objects = fs::canonicalize(&objects).map_err(|e| Error::io("find", &objects, &e))?;
    write("objects/info/alternates", format!("{}\n", objects.display()))?;
    let head = match branch {
        Some(branch) => {
            write(&format!("refs/heads/{branch}"), format!("{commit}\n"))?;
            write(&format!("refs/remotes/origin/{branch}"), format!("{commit}\n"))?;
            format!("ref: refs/heads/{branch}\n")
        }
        None => format!("{commit}\n"),
    };
    write("HEAD", head)?;
    fs::create_dir_all(dir.join("refs/heads")).map_err(|e| Error::io("create", &dir, &e))?;
    let mut config = String::from(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n[gc]\n\tauto = 0\n",
    );
    let server = variable("GITHUB_SERVER_URL")?;
    let url = match facts.remote.as_deref().and_then(slug) {
        Some(slug) => Some(format!("{server}/{slug}")),
        None => facts.remote.clone(),
    };
    if let Some(url) = url {
        config.push_str(&format!(
            "[remote \"origin\"]\n\turl = {url}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
        ));
        if let Some(branch) = branch {
            config.push_str(&format!(
                "[branch \"{branch}\"]\n\tremote = origin\n\tmerge = refs/heads/{branch}\n"
            ));
        }
    }
    write("config", config)?;
    let user = Repository {
        root: facts.root.clone(),
        git_dir: facts.root.join(".git"),
        common_dir: facts.common_dir.clone(),
    };
    let full_history = input("fetch-depth") == "0";
    if full_history {
        // Branches and tags of the user's repository, as a full fetch brings them.
        let out = user.git(&["for-each-ref", "--format=%(objectname) %(refname)"])?;
        let mut packed = String::from("# pack-refs with: \n");
        for line in String::from_utf8_lossy(&out).lines() {
            let Some((sha, name)) = line.split_once(' ') else { continue };
            if name.starts_with("refs/tags/") || name.starts_with("refs/remotes/origin/") {
                packed.push_str(&format!("{sha} {name}\n"));
            } else if let Some(branch) = name.strip_prefix("refs/heads/")
                && facts.remote.is_none()
            {
                packed.push_str(&format!("{sha} refs/remotes/origin/{branch}\n"));
            }
        }
        write("packed-refs", packed)?;
        // The user's own history may be shallow.
        if let Ok(shallow) = fs::read_to_string(facts.common_dir.join("shallow")) {
            write("shallow", shallow)?;
        }
    } else {
        let depth: usize = input("fetch-depth").parse().unwrap_or(1).max(1);
        let edge =
            user.git(&["rev-list", "--first-parent", &format!("--max-count={depth}"), commit])?;
        if let Some(last) = String::from_utf8_lossy(&edge).lines().last() {
            write("shallow", format!("{last}\n"))?;
        }
        if input("fetch-tags") == "true" {
            let tags =
                user.git(&["for-each-ref", "--format=%(objectname) %(refname)", "refs/tags"])?;
            let tags = String::from_utf8_lossy(&tags).into_owned();
            write("packed-refs", format!("# pack-refs with: \n{tags}"))?;
        }
        let tag = variable("GITHUB_REF")?;
        if tag.starts_with("refs/tags/") {
            write(&tag, format!("{commit}\n"))?;
        }
    }
    Ok(())
}

fn git(target: &Path, args: &[&str]) -> Result<()> {
    let status = Command::new("git")
        .arg("-C")
        .arg(target)
        .args(["-c", "safe.directory=*"])
        .args(args)
        .stdin(Stdio::null())
        .status()
        .map_err(|e| Error::new(format!("git cannot be started: {e}")))?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::new(format!("git {} failed", args.join(" ")))),
    }
}

/// Copies one file of the work tree; false if it is gone meanwhile, or a submodule.
pub fn copy(root: &Path, target: &Path, file: &str) -> Result<bool> {
    let (from, to) = (root.join(file), target.join(file));
    let Ok(meta) = fs::symlink_metadata(&from) else { return Ok(false) };
    if meta.is_dir() {
        return Ok(false);
    }
    if meta.is_symlink() {
        let link = fs::read_link(&from).map_err(|e| Error::io("read", &from, &e))?;
        return with_parent(&to, || std::os::unix::fs::symlink(&link, &to)).map(|()| true);
    }
    match with_parent(&to, || copy_file(&from, &to, meta.permissions().mode())) {
        Ok(()) => Ok(true),
        Err(_) if !from.exists() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Runs `make`, and once more after making the folder it lacked.
fn with_parent(to: &Path, make: impl Fn() -> io::Result<()>) -> Result<()> {
    match make() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
            }
            make().map_err(|e| Error::io("write", to, &e))
        }
        other => other.map_err(|e| Error::io("write", to, &e)),
    }
}
