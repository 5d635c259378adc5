//! Workflow files of the repository: from the work tree, or from a commit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainyard_diagnostics::{Diagnostic, Source, has_errors};
use trainyard_workflow::lower::{Loaded, Loader, WorkflowFile};
use trainyard_workflow::{MAX_FILE_SIZE, read_workflow};

use crate::error::{Error, Result};
use crate::git::Repository;

/// Where definitions are read from.
#[derive(Clone)]
pub enum Tree {
    /// The files as they are now.
    Work(PathBuf),
    /// A commit.
    Commit(Repository, String),
}

/// Bytes of a file that are read at all.
const MAX_BYTES: u64 = 4 * MAX_FILE_SIZE as u64;

impl Tree {
    /// The text of a file; none if there is no such file.
    pub fn read(&self, path: &str) -> Result<Option<String>> {
        let bytes = match self {
            Tree::Work(root) => {
                let full = root.join(path);
                match full.metadata() {
                    Ok(meta) if meta.is_file() => {
                        if meta.len() > MAX_BYTES {
                            return Err(Error::new(format!(
                                "{path} is larger than the {MAX_FILE_SIZE} characters that GitHub reads"
                            )));
                        }
                        std::fs::read(&full).map_err(|e| Error::io("read", &full, &e))?
                    }
                    _ => return Ok(None),
                }
            }
            Tree::Commit(repo, commit) => match repo.show(commit, path) {
                Some(bytes) => bytes,
                None => return Ok(None),
            },
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Error::new(format!("{path} is not text in UTF-8"))
                .hint("save it as UTF-8, or remove it")),
        }
    }

    /// The YAML files in `.github/workflows`, sorted.
    pub fn workflow_paths(&self) -> Vec<String> {
        let folder = ".github/workflows";
        let names: Vec<String> = match self {
            Tree::Work(root) => std::fs::read_dir(root.join(folder))
                .into_iter()
                .flatten()
                .flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect(),
            Tree::Commit(repo, commit) => repo.list(commit, folder),
        };
        let mut paths: Vec<String> = names
            .into_iter()
            .filter(|n| n.ends_with(".yml") || n.ends_with(".yaml"))
            .map(|n| format!("{folder}/{n}"))
            .collect();
        paths.sort();
        paths
    }
}

/// A file that was read, with what was found in it.
pub struct ReadFile {
    /// Path in the repository.
    pub path: String,
    /// Its text.
    pub source: Source,
    /// What it says, if it has no errors.
    pub workflow: Option<Arc<WorkflowFile>>,
    /// What was found.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a workflow file under an index of the file table.
pub fn read(tree: &Tree, path: &str, index: u16) -> Result<Option<ReadFile>> {
    let Some(text) = tree.read(path)? else { return Ok(None) };
    let source = Source::new(path.to_owned(), text);
    let (workflow, diagnostics) = read_workflow(&source, index);
    let workflow = workflow.map(|workflow| {
        Arc::new(WorkflowFile { path: path.to_owned(), source: source.clone(), workflow })
    });
    Ok(Some(ReadFile { path: path.to_owned(), source, workflow, diagnostics }))
}

/// Loads called workflows, keeping what was found in broken ones.
pub struct TreeLoader<'a> {
    tree: &'a Tree,
    /// Files that have errors, by path.
    pub broken: BTreeMap<String, (Source, Vec<Diagnostic>)>,
}

impl<'a> TreeLoader<'a> {
    /// A loader from that tree.
    pub fn new(tree: &'a Tree) -> Self {
        TreeLoader { tree, broken: BTreeMap::new() }
    }
}

impl Loader for TreeLoader<'_> {
    fn load(&mut self, path: &str, file: u16) -> Loaded {
        match read(self.tree, path, file) {
            Ok(Some(ReadFile { workflow: Some(workflow), .. })) => Loaded::Workflow(workflow),
            Ok(Some(found)) => {
                if has_errors(&found.diagnostics) {
                    self.broken.insert(found.path, (found.source, found.diagnostics));
                }
                Loaded::Broken
            }
            Ok(None) => Loaded::Missing,
            Err(_) => Loaded::Broken,
        }
    }
}

/// A path as it is in the repository.
pub fn relative(root: &Path, path: &Path) -> String {
    let full = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    full.strip_prefix(root).unwrap_or(&full).to_string_lossy().into_owned()
}
