//! The cache of actions: one tree a commit, found by the commit's id, and what a ref of the forge
//! was when it was last asked.
//!
//! `DATA/actions/trees/SHA/` holds the files, `SHA.complete` beside it says that they are whole and
//! when they were used; `DATA/actions/refs/OWNER/NAME/…` hold refs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::places::{self, Found, Patience, Places};
use super::reference::Reference;
use crate::builtin::short_hash;
use crate::error::{Error, Result};
use crate::paths::create_dir;

/// How long a ref of the forge is not asked again.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// The cache in a data folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// What a ref was.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    /// `owner/name`
    slug: String,
    /// The ref.
    reference: String,
    /// The commit.
    sha: String,
    /// From where.
    address: String,
}

/// A tree in the cache, for listing.
#[derive(Debug)]
pub struct Entry {
    /// The commit.
    pub sha: String,
    /// `owner/name@ref`, of each ref that was it.
    pub names: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// When it was used last.
    pub used: SystemTime,
}

impl Cache {
    /// The cache of a data folder.
    pub fn new(data: &Path) -> Cache {
        Cache { root: data.join("actions") }
    }

    fn tree(&self, sha: &str) -> PathBuf {
        self.root.join("trees").join(sha)
    }

    fn mark(&self, sha: &str) -> PathBuf {
        self.root.join("trees").join(format!("{sha}.complete"))
    }

    fn known(&self, wanted: &Reference) -> PathBuf {
        let folder = self.root.join("refs").join(&wanted.owner).join(&wanted.name);
        folder.join(short_hash(&wanted.reference))
    }

    /// The files of a repository at a ref: from the places in their order. The refs of the forge
    /// are asked once a day, and not at all while it cannot be reached.
    /// With the commit, unless a folder stands for it.
    pub fn find(
        &self,
        places: &Places,
        wanted: &Reference,
        patience: &Patience,
    ) -> Result<(PathBuf, Option<String>)> {
        match self.look(places, wanted, patience)? {
            Found::Folder(folder) => Ok((folder, None)),
            Found::Commit { address, sha } => {
                let tree = self.tree(&sha);
                if self.mark(&sha).exists() {
                    // When it was used decides what `prune` takes.
                    let _ = fs::write(self.mark(&sha), "");
                } else {
                    self.fetch(&address, &sha, patience).map_err(|e| {
                        let name = format!("{}@{}", wanted.slug(), wanted.reference);
                        Error::new(format!("Unable to resolve action `{name}`: {}", e.message))
                            .hint(format!("looked in {}", places.in_words(wanted)))
                    })?;
                }
                Ok((tree, Some(sha)))
            }
        }
    }

    fn look(&self, places: &Places, wanted: &Reference, patience: &Patience) -> Result<Found> {
        if let Some(folder) = places.local(wanted) {
            return Ok(Found::Folder(folder.to_owned()));
        }
        let mut lacking: Vec<String> = Vec::new();
        for address in places.mirrors(wanted) {
            match places::commit(&address, wanted, patience) {
                Ok(Some(sha)) => {
                    self.remember(wanted, &address, &sha)?;
                    return Ok(Found::Commit { address, sha });
                }
                Ok(None) => lacking.push(address),
                // A mirror over a network that does not answer is passed over.
                Err(_) if places::is_remote(&address) => {}
                Err(error) => return Err(error),
            }
        }
        let address = places.forge(wanted);
        if wanted.is_commit() {
            let sha = wanted.reference.to_ascii_lowercase();
            return Ok(Found::Commit { address, sha });
        }
        let path = self.known(wanted);
        let known: Option<Known> =
            fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let age = path.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if let Some(known) = &known
            && age.is_some_and(|age| age < FRESH)
            && self.mark(&known.sha).exists()
        {
            return Ok(Found::Commit { address, sha: known.sha.clone() });
        }
        match (places::commit(&address, wanted, patience), known) {
            (Ok(Some(sha)), _) => {
                self.remember(wanted, &address, &sha)?;
                Ok(Found::Commit { address, sha })
            }
            // Offline, what was there once will do.
            (Err(_), Some(known)) => Ok(Found::Commit { address, sha: known.sha }),
            (Ok(None), _) => Err(Error::new(format!(
                "Unable to resolve action `{}@{}`, unable to find version `{}`",
                wanted.slug(),
                wanted.reference,
                wanted.reference
            ))
            .hint(format!("looked in {}", places.in_words(wanted)))),
            (Err(_), None) if !lacking.is_empty() => Err(Error::new(format!(
                "Unable to resolve action `{}@{}`: {} has no such ref, and {} is not reached",
                wanted.slug(),
                wanted.reference,
                lacking.join(", "),
                places.forge(wanted)
            ))),
            (Err(error), None) => Err(Error::new(format!(
                "Unable to resolve action `{}@{}`: {}",
                wanted.slug(),
                wanted.reference,
                error.message
            ))
            .hint(format!("looked in {}", places.in_words(wanted)))),
        }
    }

    /// Keeps what a ref was.
    fn remember(&self, wanted: &Reference, address: &str, sha: &str) -> Result<()> {
        let path = self.known(wanted);
        let known = Known {
            slug: wanted.slug(),
            reference: wanted.reference.clone(),
            sha: sha.to_owned(),
            address: address.to_owned(),
        };
        if let (Some(folder), Ok(text)) = (path.parent(), serde_json::to_vec(&known)) {
            create_dir(folder)?;
            fs::write(&path, text).map_err(|e| Error::io("write", &path, &e))?;
        }
        Ok(())
    }

    /// Brings the tree of a commit here. It shows only when it is whole; of several that want it
    /// at once, one brings it.
    fn fetch(&self, address: &str, sha: &str, patience: &Patience) -> Result<()> {
        let trees = self.root.join("trees");
        create_dir(&trees)?;
        let path = trees.join(format!("{sha}.lock"));
        let lock = fs::File::create(&path).map_err(|e| Error::io("write", &path, &e))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|e| Error::io("lock", &path, &e.into()))?;
        if self.mark(sha).exists() {
            return Ok(());
        }
        let fresh = trees.join(format!("{sha}.{}", std::process::id()));
        create_dir(&fresh)?;
        let tree = self.tree(sha);
        let done = self.lay(address, sha, &fresh, patience).and_then(|()| {
            // One that was cut short.
            let _ = fs::remove_dir_all(&tree);
            fs::rename(&fresh, &tree).map_err(|e| Error::io("write", &tree, &e))
        });
        let _ = fs::remove_dir_all(&fresh);
        done?;
        let mark = self.mark(sha);
        fs::write(&mark, "").map_err(|e| Error::io("write", &mark, &e))
    }

    fn lay(&self, address: &str, sha: &str, target: &Path, patience: &Patience) -> Result<()> {
        let folder = if places::is_remote(address) {
            let folder = target.join(".git-fetch");
            places::git(None, &["init", "-q", "--bare", &folder.to_string_lossy()])?;
            let fetch = ["fetch", "-q", "--depth=1", "--no-tags", "--", address, sha];
            places::git_with(Some(&folder), &fetch, &[], patience)?;
            folder
        } else {
            places::git_folder(Path::new(address))
        };
        let archive = places::git(Some(&folder), &["archive", "--format=tar", sha])?;
        let mut archive = tar::Archive::new(archive.as_slice());
        archive.set_preserve_mtime(false);
        archive.unpack(target).map_err(|e| Error::io("unpack", target, &e))?;
        if places::is_remote(address) {
            let _ = fs::remove_dir_all(&folder);
        }
        Ok(())
    }

    /// What is here, the latest used first.
    pub fn list(&self) -> Vec<Entry> {
        let mut names: Vec<(String, String)> = Vec::new();
        for owner in children(&self.root.join("refs")) {
            for name in children(&owner) {
                for file in children(&name) {
                    let known = fs::read(&file).ok();
                    let known = known.and_then(|b| serde_json::from_slice::<Known>(&b).ok());
                    if let Some(known) = known {
                        names.push((known.sha, format!("{}@{}", known.slug, known.reference)));
                    }
                }
            }
        }
        let mut entries: Vec<Entry> = children(&self.root.join("trees"))
            .into_iter()
            .filter_map(|mark| {
                let sha = mark.file_name()?.to_str()?.strip_suffix(".complete")?.to_owned();
                let used = mark.metadata().ok()?.modified().ok()?;
                let size = size_of(&self.tree(&sha));
                let names =
                    names.iter().filter(|(s, _)| *s == sha).map(|(_, n)| n.clone()).collect();
                Some(Entry { sha, names, size, used })
            })
            .collect();
        entries.sort_by_key(|e| std::cmp::Reverse(e.used));
        entries
    }

    /// Removes what was not used for that long; how many trees and bytes.
    pub fn prune(&self, older: Duration) -> (usize, u64) {
        let mut gone = (0, 0);
        for entry in self.list() {
            if entry.used.elapsed().is_ok_and(|age| age >= older) {
                // The mark first: what is left without one is no tree.
                let _ = fs::remove_file(self.mark(&entry.sha));
                let _ = fs::remove_dir_all(self.tree(&entry.sha));
                gone = (gone.0 + 1, gone.1 + entry.size);
            }
        }
        for folder in children(&self.root.join("trees")) {
            let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            let stale = folder.metadata().and_then(|m| m.modified()).ok();
            let stale = stale.and_then(|t| t.elapsed().ok()).is_some_and(|age| age >= FRESH);
            if folder.is_dir() && stale && !self.mark(&name).exists() {
                let _ = fs::remove_dir_all(&folder);
            }
        }
        gone
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect()
}

fn size_of(folder: &Path) -> u64 {
    let mut size = 0;
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => todo.push(entry.path()),
                Ok(_) => size += entry.metadata().map_or(0, |m| m.len()),
                Err(_) => {}
            }
        }
    }
    size
}
