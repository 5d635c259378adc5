//! Workflow files of the repository: from the work tree, or from a commit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainyard_diagnostics::{Diagnostic, Source, has_errors};
use trainyard_workflow::lower::{Loaded, Loader, Origin, WorkflowFile};
use trainyard_workflow::{MAX_FILE_SIZE, read_workflow};

use crate::actions::cache::Cache;
use crate::actions::places::{Patience, Places};
use crate::actions::reference::Reference;
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
        let (path, source) = (path.to_owned(), source.clone());
        Arc::new(WorkflowFile { path, origin: None, source, workflow })
    });
    Ok(Some(ReadFile { path: path.to_owned(), source, workflow, diagnostics }))
}

/// Loads called workflows, keeping what was found in broken ones.
pub struct TreeLoader<'a> {
    tree: &'a Tree,
    /// Where other repositories are looked for; none to leave them alone.
    others: Option<(&'a Places, Cache)>,
    /// Files that have errors, by path.
    pub broken: BTreeMap<String, (Source, Vec<Diagnostic>)>,
}

impl<'a> TreeLoader<'a> {
    /// A loader from that tree, and from other repositories if it is told where those are.
    pub fn new(tree: &'a Tree, others: Option<(&'a Places, Cache)>) -> Self {
        TreeLoader { tree, others, broken: BTreeMap::new() }
    }

    fn found(&mut self, found: ReadFile) -> Loaded {
        match found.workflow {
            Some(workflow) => Loaded::Workflow(workflow),
            None => {
                if has_errors(&found.diagnostics) {
                    self.broken.insert(found.path, (found.source, found.diagnostics));
                }
                Loaded::Broken
            }
        }
    }

    /// `owner/name/.github/workflows/FILE@REF`
    fn of_another(&mut self, uses: &str, file: u16) -> Loaded {
        let Some((places, cache)) = &self.others else { return Loaded::Elsewhere };
        let Some(wanted) = Reference::parse(uses) else {
            return Loaded::Unreachable("the reference cannot be read".into());
        };
        let (folder, sha) = match cache.find(places, &wanted, &Patience::default()) {
            Ok(found) => found,
            Err(error) => {
                let hint = error.hint.map(|h| format!(" ({h})")).unwrap_or_default();
                return Loaded::Unreachable(format!("{}{hint}", error.message));
            }
        };
        let tree = Tree::Work(folder.clone());
        let text = match tree.read(&wanted.path) {
            Ok(Some(text)) => text,
            Ok(None) => return Loaded::Missing,
            Err(error) => return Loaded::Unreachable(error.message),
        };
        let source = Source::new(uses.to_owned(), text);
        let (workflow, diagnostics) = read_workflow(&source, file);
        let origin = Origin {
            slug: wanted.slug(),
            reference: wanted.reference.clone(),
            sha: sha.unwrap_or_default(),
            folder: folder.to_string_lossy().into_owned(),
        };
        let workflow = workflow.map(|workflow| {
            let (path, source) = (uses.to_owned(), source.clone());
            Arc::new(WorkflowFile { path, origin: Some(origin), source, workflow })
        });
        self.found(ReadFile { path: uses.to_owned(), source, workflow, diagnostics })
    }
}

impl Loader for TreeLoader<'_> {
    fn load(&mut self, path: &str, file: u16) -> Loaded {
        if path.contains('@') {
            return self.of_another(path, file);
        }
        match read(self.tree, path, file) {
            Ok(Some(found)) => self.found(found),
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
