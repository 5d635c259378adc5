//! What git knows about the repository, with as few processes as can be.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};
use crate::git_objects;

/// The commit id that stands for none.
pub const NO_COMMIT: &str = "0000000000000000000000000000000000000000";

/// A repository on this machine.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its work tree.
    pub root: PathBuf,
    /// Its git folder.
    pub git_dir: PathBuf,
    /// The git folder that holds refs and configuration (another one for linked work trees).
    pub common_dir: PathBuf,
}

/// A commit.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Commit {
    /// Its id.
    pub sha: String,
    /// The id of its tree.
    pub tree: String,
    /// Its first parent.
    pub parent: Option<String>,
    /// Author's name and address.
    pub author: (String, String),
    /// Committer's name and address.
    pub committer: (String, String),
    /// Committer's time, seconds since the epoch.
    pub time: i64,
    /// Committer's time zone as written, `+0200`.
    pub zone: String,
    /// The whole message.
    pub message: String,
}

impl Repository {
    /// The repository that a folder is in.
    pub fn find(from: &Path) -> Result<Repository> {
        let from = std::fs::canonicalize(from).map_err(|e| Error::io("open", from, &e))?;
        for root in from.ancestors() {
            let dot = root.join(".git");
            let git_dir = if dot.is_dir() {
                dot
            } else if let Ok(text) = std::fs::read_to_string(&dot) {
                root.join(text.trim().strip_prefix("gitdir: ").unwrap_or_default())
            } else {
                continue;
            };
            let common_dir = match std::fs::read_to_string(git_dir.join("commondir")) {
                Ok(text) => git_dir.join(text.trim()),
                Err(_) => git_dir.clone(),
            };
            return Ok(Repository { root: root.to_owned(), git_dir, common_dir });
        }
        Err(Error::new(format!("{} is not in a git repository", from.display()))
            .hint("run `git init` and commit, or name a repository with -C DIR"))
    }

    /// Runs git here and gives what it prints.
    pub fn git(&self, args: &[&str]) -> Result<Vec<u8>> {
        let output = Command::new("git")
            .arg("-C")
            .arg(&self.root)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| no_git(&e))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(Error::new(format!(
                "git {} failed: {}",
                args.first().copied().unwrap_or_default(),
                text.trim()
            )));
        }
        Ok(output.stdout)
    }

    /// The branch that is checked out; none when HEAD is detached.
    pub fn branch(&self) -> Option<String> {
        let head = std::fs::read_to_string(self.git_dir.join("HEAD")).ok()?;
        head.trim().strip_prefix("ref: refs/heads/").map(str::to_owned)
    }

    /// The address of the remote `origin`, else of the first remote.
    pub fn remote(&self) -> Option<String> {
        let config = std::fs::read_to_string(self.common_dir.join("config")).ok()?;
        let mut section = String::new();
        let mut found: Vec<(String, String)> = Vec::new();
        for line in config.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
            } else if let Some((key, value)) = line.split_once('=')
                && key.trim() == "url"
                && section.starts_with("remote ")
            {
                found.push((section.clone(), value.trim().to_owned()));
            }
        }
        let origin = found.iter().find(|(s, _)| s == "remote \"origin\"");
        origin.or(found.first()).map(|(_, url)| url.clone())
    }

    /// The commit that is checked out, without a process where it lies plainly; none if there is
    /// no commit, or git must be asked.
    pub fn head_without_git(&self) -> Option<Commit> {
        let id = git_objects::head(&self.git_dir, &self.common_dir)?;
        let text = git_objects::commit(&self.common_dir, &id)?;
        Some(parse_commit(&id, &text))
    }

    /// Commits by revision, in one process. An unknown revision gives none.
    pub fn commits(&self, revisions: &[&str]) -> Result<Vec<Option<Commit>>> {
        let mut child = Command::new("git")
            .arg("-C")
            .arg(&self.root)
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| no_git(&e))?;
        let failed = || Error::new("git cat-file does not answer");
        if let Some(mut stdin) = child.stdin.take() {
            for revision in revisions {
                // The peeling makes a commit of an annotated tag.
                writeln!(stdin, "{revision}^{{commit}}").map_err(|_| failed())?;
            }
        }
        let stdout = child.stdout.take().ok_or_else(failed)?;
        let mut reader = BufReader::new(stdout);
        let mut out = Vec::new();
        for _ in revisions {
            let mut header = String::new();
            reader.read_line(&mut header).map_err(|_| failed())?;
            let parts: Vec<&str> = header.split_whitespace().collect();
            let (Some(sha), Some(size)) = (parts.first(), parts.get(2)) else {
                out.push(None);
                continue;
            };
            let Ok(size) = size.parse::<usize>() else {
                out.push(None);
                continue;
            };
            let mut body = vec![0; size + 1];
            reader.read_exact(&mut body).map_err(|_| failed())?;
            out.push(Some(parse_commit(sha, &String::from_utf8_lossy(&body[..size]))));
        }
        let _ = child.wait();
        Ok(out)
    }

    /// The tags that point at a commit.
    pub fn tags_at(&self, sha: &str) -> Result<Vec<String>> {
        let out = self.git(&["tag", "--points-at", sha])?;
        Ok(String::from_utf8_lossy(&out).lines().map(str::to_owned).collect())
    }

    /// Files that differ between two commits, and those changed since and not committed.
    pub fn changed_files(
        &self,
        before: Option<&str>,
        head: &str,
        dirty: bool,
    ) -> Result<Vec<String>> {
        // Without a parent everything is new.
        let range = match before {
            Some(before) => {
                self.git(&["diff", "--name-only", "-z", "--no-renames", before, head])?
            }
            None => self.git(&["ls-tree", "-r", "--name-only", "-z", head])?,
        };
        let mut files = split_nul(&range);
        if dirty {
            files.extend(self.uncommitted()?);
        }
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// Where two commits parted; none if one of them is not here or they have nothing in common.
    pub fn merge_base(&self, one: &str, other: &str) -> Option<String> {
        let out = self.git(&["merge-base", one, other]).ok()?;
        Some(String::from_utf8_lossy(&out).trim().to_owned()).filter(|sha| !sha.is_empty())
    }

    /// Files changed and not committed, untracked ones included.
    pub fn uncommitted(&self) -> Result<Vec<String>> {
        let out =
            self.git(&["status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"])?;
        Ok(split_nul(&out).iter().filter_map(|e| e.get(3..)).map(str::to_owned).collect())
    }

    /// The files that git tracks.
    pub fn tracked(&self) -> Result<std::collections::BTreeSet<String>> {
        let out = self.git(&["ls-files", "-z"])?;
        Ok(split_nul(&out).into_iter().collect())
    }

    /// The files of the work tree: tracked, and untracked that are not ignored.
    pub fn work_files(&self) -> Result<Vec<String>> {
        let out = self.git(&["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        let mut files = split_nul(&out);
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The text of a file at a commit; none if it is not there.
    pub fn show(&self, commit: &str, path: &str) -> Option<Vec<u8>> {
        self.git(&["cat-file", "blob", &format!("{commit}:{path}")]).ok()
    }

    /// The names in a folder at a commit.
    pub fn list(&self, commit: &str, folder: &str) -> Vec<String> {
        let out = self.git(&["ls-tree", "--name-only", "-z", &format!("{commit}:{folder}")]);
        out.map(|o| split_nul(&o)).unwrap_or_default()
    }
}

fn no_git(error: &std::io::Error) -> Error {
    Error::new(format!("git cannot be started: {error}"))
        .hint("install git; Trainyard reads the repository through it")
}

fn split_nul(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|b| *b == 0)
        .filter(|p| !p.is_empty())
        .map(|p| String::from_utf8_lossy(p).into_owned())
        .collect()
}

fn parse_commit(sha: &str, text: &str) -> Commit {
    let mut commit = Commit { sha: sha.to_owned(), ..Commit::default() };
    let (headers, message) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    for line in headers.lines() {
        if let Some((key, value)) = line.split_once(' ') {
            fields.entry(key).or_insert(value);
        }
    }
    let person = |text: &str| {
        let (name, rest) = text.split_once(" <").unwrap_or((text, ""));
        let (mail, when) = rest.split_once("> ").unwrap_or((rest, ""));
        (name.to_owned(), mail.to_owned(), when.to_owned())
    };
    commit.tree = fields.get("tree").copied().unwrap_or_default().to_owned();
    commit.parent = fields.get("parent").map(|p| (*p).to_owned());
    let (name, mail, _) = person(fields.get("author").copied().unwrap_or_default());
    commit.author = (name, mail);
    let (name, mail, when) = person(fields.get("committer").copied().unwrap_or_default());
    commit.committer = (name, mail);
    let (time, zone) = when.split_once(' ').unwrap_or((&when, "+0000"));
    commit.time = time.parse().unwrap_or_default();
    commit.zone = zone.to_owned();
    commit.message = message.trim_end_matches('\n').to_owned();
    commit
}

/// `owner/name` of a remote's address, if it has that form.
pub fn slug(url: &str) -> Option<String> {
    let rest = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => url.split_once(':').map_or(url, |(_, path)| path),
    };
    let rest = rest.trim_end_matches('/');
    let rest = rest.strip_suffix(".git").unwrap_or(rest);
    let mut parts = rest.rsplit('/');
    let (name, owner) = (parts.next()?, parts.next()?);
    (!name.is_empty() && !owner.is_empty()).then(|| format!("{owner}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loose, packed, with packed refs: each as git itself says.
    #[test]
    fn head_is_read_as_git_reads_it() {
        let root = std::env::temp_dir().join(format!("trainyard-git-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let git = |args: &[&str]| {
            let output = Command::new("git")
                .arg("-C")
                .arg(&root)
                .args(["-c", "user.name=A B", "-c", "user.email=a@b"])
                .args(args)
                .output()
                .unwrap();
            assert!(output.status.success());
        };
        git(&["init", "-q", "-b", "main"]);
        for i in 0..5 {
            git(&["commit", "-q", "--allow-empty", "-m", &format!("commit {i}\n\nwith a body")]);
            let repo = Repository::find(&root).unwrap();
            let asked = repo.commits(&["HEAD"]).unwrap().remove(0).unwrap();
            let loose = repo.head_without_git().unwrap();
            assert_eq!(format!("{loose:?}"), format!("{asked:?}"));
            git(&["gc", "-q"]);
            // A commit that git made a delta is left to it; the newest one is none.
            let packed = repo.head_without_git().unwrap();
            assert_eq!(format!("{packed:?}"), format!("{asked:?}"));
        }
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn slugs() {
        for (url, wanted) in [
            ("https://github.com/octo/repo.git", Some("octo/repo")),
            ("git@github.com:octo/repo.git", Some("octo/repo")),
            ("ssh://git@host:22/team/octo/repo/", Some("octo/repo")),
            ("https://user:token@example.org/a/b", Some("a/b")),
            ("/srv/git/team/x.git", Some("team/x")),
            ("x", None),
        ] {
            assert_eq!(slug(url).as_deref(), wanted, "{url}");
        }
    }
}
