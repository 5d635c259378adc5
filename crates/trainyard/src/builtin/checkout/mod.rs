//! `actions/checkout` of the repository under test: the work tree as it is now, or a commit.
//!
//! Files are copied (reflinked where the file system can), never hard-linked. The git folder is
//! the job's own; it finds objects in the user's by `alternates`, so nothing is copied there and
//! nothing that a step does can reach the user's.
//!
//! Deliberately absent: `filter`, as nothing is fetched that could be left out, ssh keys, other
//! servers, and the refusal of a pull request's head under `pull_request_target` (v7).

mod other;
mod parts;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};

use super::{JobFacts, append, input, is_true, major, variable, warn};
use crate::actions::reference::is_commit;
use crate::error::{Error, Result};
use crate::git::{Repository, slug};
use crate::host::copy::copy_file;

/// The inputs of actions/checkout v2 to v7 with their defaults.
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
    ("allow-unsafe-pr-checkout", Some("false")),
];

/// Lays the repository into the workspace.
pub fn run(facts: &JobFacts) -> Result<()> {
    let workspace = PathBuf::from(variable("GITHUB_WORKSPACE")?);
    let target = inside(&workspace, &input("path"))?;
    let repository = variable("GITHUB_REPOSITORY")?;
    let wanted = input("repository");
    for name in ["ssh-key", "github-server-url"] {
        if !input(name).is_empty() {
            warn(&format!(
                "`{name}` has no effect here: checkout takes what is on this machine, or uses https"
            ));
        }
    }
    if !wanted.is_empty() && !wanted.eq_ignore_ascii_case(&repository) {
        fs::create_dir_all(&target).map_err(|e| Error::io("create", &target, &e))?;
        if is_true("clean", true) {
            empty(&target)?;
        }
        let (commit, reference) = other::lay(facts, &wanted, &target)?;
        parts::sparse(&target)?;
        parts::submodules(&target, &target.join(".git/modules"))?;
        if is_true("lfs", false) {
            warn(&format!(
                "`lfs` is heeded for {repository} alone: large files of {wanted} stay pointers"
            ));
        }
        println!("Checked out {wanted} at {commit}");
        let lines = [format!("ref={reference}"), format!("commit={commit}")];
        return append("GITHUB_OUTPUT", &lines);
    }
    let user = Repository {
        root: facts.root.clone(),
        git_dir: facts.root.join(".git"),
        common_dir: facts.common_dir.clone(),
    };
    let head = variable("GITHUB_SHA")?;
    let reference = input("ref");
    let (commit, work_tree, refs) = match reference.as_str() {
        "" => {
            let full = variable("GITHUB_REF")?;
            let refs = Refs::of_event(&user, &full, &head)?;
            (head.clone(), facts.work_tree, refs)
        }
        name => {
            let (commit, refs) = resolve(&user, name)?;
            let same = commit == head;
            (commit, same && facts.work_tree, refs)
        }
    };
    fs::create_dir_all(&target).map_err(|e| Error::io("create", &target, &e))?;
    let clean = is_true("clean", true);
    match clean {
        true => empty(&target)?,
        false => leave_untracked(facts, &target)?,
    }
    make_git_dir(facts, &target, &commit, &refs)?;
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
            if !clean {
                clear_way(&target, file)?;
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
    // A commit is no ref: the action moves it to its other setting.
    let reference = match reference.as_str() {
        "" => variable("GITHUB_REF")?,
        name if is_commit(name) => String::new(),
        _ => reference,
    };
    append("GITHUB_OUTPUT", &[format!("ref={reference}"), format!("commit={commit}")])
}

/// How many commits of the history: `fetch-depth`; none for all (`input-helper.ts`: what is
/// negative or no number is 0).
fn depth() -> Option<u32> {
    match input("fetch-depth").as_str() {
        "" => Some(1),
        text => {
            let number: f64 = text.parse().unwrap_or(0.0);
            // The cast keeps within the type's bounds.
            Some(number as u32).filter(|n| *n > 0)
        }
    }
}

/// What a checkout leaves of refs.
#[derive(Debug, Default)]
struct Refs {
    /// The branch that is checked out.
    branch: Option<String>,
    /// The tags that came with it, each with its object.
    tags: Vec<(String, String)>,
    /// The remote's ref of a pull request.
    other: Option<(String, String)>,
}

impl Refs {
    /// Those of the ref that the run is of.
    fn of_event(user: &Repository, full: &str, head: &str) -> Result<Refs> {
        let mut refs =
            Refs { branch: full.strip_prefix("refs/heads/").map(str::to_owned), ..Refs::default() };
        if full.starts_with("refs/tags/") {
            // Up to v5 the commit is fetched into the tag, and an annotated one loses its object.
            let object = match major().is_none_or(|v| v >= 6) {
                true => tags(user, full)?.into_iter().find(|(name, _)| name == full).map(|t| t.1),
                false => None,
            };
            refs.tags.push((full.to_owned(), object.unwrap_or_else(|| head.to_owned())));
        } else if let Some(rest) = full.strip_prefix("refs/pull/") {
            refs.other = Some((format!("refs/remotes/pull/{rest}"), head.to_owned()));
        }
        Ok(refs)
    }
}

/// The tags that match a pattern, with their objects.
fn tags(user: &Repository, pattern: &str) -> Result<Vec<(String, String)>> {
    let out = user.git(&["for-each-ref", "--format=%(refname) %(objectname)", pattern])?;
    let text = String::from_utf8_lossy(&out).into_owned();
    let pairs = text.lines().filter_map(|l| l.split_once(' '));
    Ok(pairs.map(|(name, sha)| (name.to_owned(), sha.to_owned())).collect())
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
fn resolve(user: &Repository, name: &str) -> Result<(String, Refs)> {
    let branch = name.strip_prefix("refs/heads/").unwrap_or(name);
    // A local branch says more than what the remote had last.
    let tag = format!("refs/tags/{}", name.strip_prefix("refs/tags/").unwrap_or(name));
    let candidates = [
        (format!("refs/heads/{branch}"), true),
        (format!("refs/remotes/origin/{branch}"), true),
        (tag.clone(), false),
        (name.to_owned(), false),
    ];
    let order: Vec<&str> = candidates.iter().map(|(name, _)| name.as_str()).collect();
    let found = user.commits(&order)?;
    let hit = found.into_iter().zip(&candidates).find_map(|(c, (n, b))| c.map(|c| (c.sha, n, *b)));
    let (sha, hit, is_branch) = hit.ok_or_else(|| {
        Error::new(format!("The ref '{name}' is not known in this repository"))
            .hint("fetch it first: git fetch origin")
    })?;
    let mut refs = Refs { branch: is_branch.then(|| branch.to_owned()), ..Refs::default() };
    if *hit == tag {
        refs.tags = tags(user, &tag)?;
    }
    Ok((sha, refs))
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

/// Removes what an earlier checkout of the same repository laid, and leaves what came beside it; what
/// is of no checkout, or of another's, goes whatever `clean` says (`git-directory-helper.ts`).
fn leave_untracked(facts: &JobFacts, target: &Path) -> Result<()> {
    let git = target.join(".git");
    let config = match git.symlink_metadata().is_ok_and(|m| m.is_dir()) {
        true => fs::read_to_string(git.join("config")).unwrap_or_default(),
        false => return empty(target),
    };
    let same = match origin(facts)? {
        Some(url) => config.contains(&format!("\turl = {url}\n")),
        None => !config.contains("[remote "),
    };
    if !same {
        return empty(target);
    }
    let folder = target.to_string_lossy().into_owned();
    let args = ["-C", &folder, "-c", "safe.directory=*", "ls-files", "-z"];
    let out = crate::actions::places::git(None, &args)?;
    for name in String::from_utf8_lossy(&out).split('\0').filter(|n| !n.is_empty()) {
        let path = target.join(name);
        // Behind a link is another's.
        let mut above = path.ancestors().skip(1).take_while(|p| *p != target);
        let own = above.all(|p| p.symlink_metadata().is_ok_and(|m| m.is_dir()));
        if own && path.symlink_metadata().is_ok_and(|m| !m.is_dir()) {
            fs::remove_file(&path).map_err(|e| Error::io("remove", &path, &e))?;
        }
    }
    for name in ["refs", "packed-refs", "shallow", "index.lock"] {
        let path = git.join(name);
        let done = match path.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes what stands where a file is to lie: links and files in place of its folders too.
fn clear_way(target: &Path, file: &str) -> Result<()> {
    let mut path = target.to_owned();
    let mut parts = Path::new(file).components().peekable();
    while let Some(part) = parts.next() {
        path.push(part);
        let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
        let done = match (meta.is_dir(), parts.peek().is_none()) {
            (true, false) => continue,
            (true, true) => fs::remove_dir_all(&path),
            (false, _) => fs::remove_file(&path),
        };
        return done.map_err(|e| Error::io("remove", &path, &e));
    }
    Ok(())
}

/// The address that a checkout's `origin` has: the real one, whatever git is told besides.
fn origin(facts: &JobFacts) -> Result<Option<String>> {
    let server = variable("GITHUB_SERVER_URL")?;
    Ok(match facts.remote.as_deref().and_then(slug) {
        Some(slug) => Some(format!("{server}/{slug}")),
        None => facts.remote.clone(),
    })
}

/// A git folder as checkout leaves one: a shallow history, the branch and its remote twin.
fn make_git_dir(facts: &JobFacts, target: &Path, commit: &str, refs: &Refs) -> Result<()> {
    let branch = refs.branch.as_deref();
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
    if let Some(url) = origin(facts)? {
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
    if let Some((name, object)) = &refs.other {
        write(name, format!("{object}\n"))?;
    }
    let Some(depth) = depth() else {
        // Branches and tags of the user's repository, as a full fetch brings them.
        let out = user.git(&["for-each-ref", "--format=%(objectname) %(refname)"])?;
        let mut packed = String::from("# pack-refs with: \n");
        let text = String::from_utf8_lossy(&out).into_owned();
        for line in text.lines() {
            let Some((sha, name)) = line.split_once(' ') else { continue };
            if name.starts_with("refs/tags/") || name.starts_with("refs/remotes/origin/") {
                packed.push_str(&format!("{sha} {name}\n"));
            } else if let Some(branch) = name.strip_prefix("refs/heads/") {
                let twin = format!(" refs/remotes/origin/{branch}\n");
                if text.contains(&twin) || packed.contains(&twin) {
                    continue;
                }
                packed.push_str(&format!("{sha} refs/remotes/origin/{branch}\n"));
            }
        }
        write("packed-refs", packed)?;
        // The user's own history may be shallow.
        if let Ok(shallow) = fs::read_to_string(facts.common_dir.join("shallow")) {
            write("shallow", shallow)?;
        }
        return Ok(());
    };
    let edge =
        user.git(&["rev-list", "--first-parent", &format!("--max-count={depth}"), commit])?;
    if let Some(last) = String::from_utf8_lossy(&edge).lines().last() {
        write("shallow", format!("{last}\n"))?;
    }
    if is_true("fetch-tags", false) {
        let mut packed = String::from("# pack-refs with: \n");
        for (name, object) in tags(&user, "refs/tags")? {
            packed.push_str(&format!("{object} {name}\n"));
        }
        write("packed-refs", packed)?;
    }
    for (name, object) in &refs.tags {
        write(name, format!("{object}\n"))?;
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
