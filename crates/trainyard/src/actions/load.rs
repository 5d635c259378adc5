//! The actions of a job: built in, in the workspace, or of other repositories, with all that they
//! use themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainyard_diagnostics::{Severity, Source};
use trainyard_job::spec::{DockerSpec, StepKind, StepSpec};
use trainyard_job::{Loaded, LoadedSet, Runs, Stage};
use trainyard_workflow::action::{Action, ActionRuns};
use trainyard_workflow::read_action;

use super::cache::Cache;
use super::node::Nodes;
use super::places::{Patience, Places};
use super::reference::Reference;
use crate::builtin;
use crate::git::Repository;
use crate::host::copy::copy_tree;
use crate::host::job::Actions;
use crate::host::workspace::Workspace;
use crate::run::files::Tree;

/// How deep actions may use each other (`Constants.CompositeActionsMaxDepth`).
const MAX_DEPTH: usize = 9;
/// Actions of one job.
const MAX_ACTIONS: usize = 500;

/// What all jobs of a call share.
#[derive(Debug)]
pub struct ActionSettings {
    /// Where other repositories are looked for.
    pub places: Places,
    /// What was fetched.
    pub cache: Cache,
    /// What runs JavaScript.
    pub nodes: Nodes,
    /// Whether actions are built in at all.
    pub builtin: bool,
}

/// Where the files of `$/` come from: the repository whose workflow runs, at its commit.
#[derive(Clone)]
pub enum SelfRepository {
    /// The repository under test.
    UnderTest(Tree),
    /// The repository of a called workflow, laid into this folder.
    Folder(PathBuf),
}

/// The actions of one job.
pub struct JobActions {
    settings: Arc<ActionSettings>,
    own: SelfRepository,
    patience: Patience,
    /// Folders laid into the workspace, by repository and ref.
    laid: BTreeMap<(String, String), PathBuf>,
}

impl JobActions {
    /// The actions of a job.
    pub fn new(
        settings: Arc<ActionSettings>,
        own: SelfRepository,
        patience: Patience,
    ) -> JobActions {
        JobActions { settings, own, patience, laid: BTreeMap::new() }
    }

    /// Finds actions and those that they use. The refused ones are left out.
    fn all(
        &mut self,
        names: &[String],
        workspace: &Workspace,
        chain: &mut Vec<String>,
        set: &mut LoadedSet,
    ) -> Result<(), String> {
        for name in names {
            if chain.len() > MAX_DEPTH || chain.contains(name) {
                return Err(format!("Composite action depth exceeded max depth {MAX_DEPTH}"));
            }
            if set.contains_key(name) {
                continue;
            }
            if set.len() >= MAX_ACTIONS {
                return Err(format!("a job uses more than {MAX_ACTIONS} actions"));
            }
            let loaded = self.one(name, workspace)?;
            let nested = match &loaded.runs {
                Runs::Composite(spec, _) => nested_uses(&spec.steps),
                _ => Vec::new(),
            };
            set.insert(name.clone(), loaded);
            chain.push(name.clone());
            self.all(&nested, workspace, chain, set)?;
            chain.pop();
        }
        Ok(())
    }

    fn one(&mut self, uses: &str, workspace: &Workspace) -> Result<Loaded, String> {
        if let Some(name) = builtin::find(uses).filter(|_| self.settings.builtin) {
            let origin = Reference::parse(uses).map(|r| (r.slug(), r.reference));
            let runs = Runs::Builtin(Arc::new(builtin::spec(name)));
            return Ok(Loaded { runs, origin });
        }
        if uses.get(..9).is_some_and(|p| p.eq_ignore_ascii_case("docker://")) {
            return Ok(Loaded {
                runs: Runs::Docker(Arc::new(bare(uses)), String::new()),
                origin: None,
            });
        }
        if uses.starts_with("./") {
            // The point stays in `github.action_path` (`ActionManager.cs`).
            return read(uses, &workspace.workspace.join(uses), None);
        }
        if let Some(path) = uses.strip_prefix("$/") {
            let folder = self.own_folder(workspace)?;
            return read(uses, &folder.join(path), None);
        }
        let reference = Reference::parse(uses).ok_or_else(|| {
            format!("'{uses}' is no reference to an action: OWNER/NAME[/PATH]@REF")
        })?;
        let folder = self.lay(&reference, workspace)?;
        let origin = (reference.slug(), reference.reference.clone());
        read(uses, &folder.join(&reference.path), Some(origin))
    }

    /// Lays a repository into `_actions/OWNER/NAME/REF` of the workspace: steps may write there,
    /// and what is in the cache stays as it is.
    fn lay(&mut self, wanted: &Reference, workspace: &Workspace) -> Result<PathBuf, String> {
        let key = (wanted.slug().to_lowercase(), wanted.reference.clone());
        if let Some(folder) = self.laid.get(&key) {
            return Ok(folder.clone());
        }
        let (found, _) = self
            .settings
            .cache
            .find(&self.settings.places, wanted, &self.patience)
            .map_err(said)?;
        let target = workspace
            .root
            .join("_actions")
            .join(&wanted.owner)
            .join(&wanted.name)
            .join(&wanted.reference);
        copy_tree(&found, &target).map_err(|e| format!("cannot lay {}: {e}", target.display()))?;
        // As the runner marks it.
        let mark = PathBuf::from(format!("{}.completed", target.display()));
        std::fs::write(&mark, "").map_err(|e| format!("cannot write {}: {e}", mark.display()))?;
        self.laid.insert(key, target.clone());
        Ok(target)
    }

    /// The files of the workflow's own repository at its commit, laid once.
    fn own_folder(&mut self, workspace: &Workspace) -> Result<PathBuf, String> {
        let key = ("$".to_owned(), String::new());
        if let Some(folder) = self.laid.get(&key) {
            return Ok(folder.clone());
        }
        let target = workspace.root.join("_actions").join("_self");
        match &self.own {
            SelfRepository::Folder(folder) => {
                copy_tree(folder, &target).map_err(|e| format!("cannot lay $/: {e}"))?;
            }
            SelfRepository::UnderTest(Tree::Work(root)) => {
                let repository = Repository::find(root).map_err(said)?;
                for file in repository.work_files().map_err(said)? {
                    builtin::copy(root, &target, &file).map_err(said)?;
                }
            }
            SelfRepository::UnderTest(Tree::Commit(repository, sha)) => {
                let bytes = repository.git(&["archive", "--format=tar", sha]).map_err(said)?;
                tar::Archive::new(bytes.as_slice())
                    .unpack(&target)
                    .map_err(|e| format!("cannot lay $/: {e}"))?;
            }
        }
        self.laid.insert(key, target.clone());
        Ok(target)
    }
}

/// An action without a file of its own: an image, or a folder with a Dockerfile alone.
fn bare(image: &str) -> DockerSpec {
    DockerSpec {
        name: None,
        inputs: Vec::new(),
        image: image.to_owned(),
        entrypoint: None,
        args: None,
        env: None,
        pre: None,
        post: None,
    }
}

fn said(error: crate::error::Error) -> String {
    match error.hint {
        Some(hint) => format!("{} ({hint})", error.message),
        None => error.message,
    }
}

/// The actions of other repositories, and of the workflow's own, that steps use.
fn nested_uses(steps: &[StepSpec]) -> Vec<String> {
    let uses = steps.iter().filter_map(|s| match &s.kind {
        StepKind::Uses { action, .. } => Some(action.clone()),
        _ => None,
    });
    uses.filter(|u| !u.starts_with("./")).collect()
}

/// Reads the action of a folder.
fn read(uses: &str, folder: &Path, origin: Option<(String, String)>) -> Result<Loaded, String> {
    for name in ["action.yml", "action.yaml"] {
        let path = folder.join(name);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let source = Source::new(path.to_string_lossy().into_owned(), text);
        let (action, diagnostics) = read_action(&source, u16::MAX);
        let Some(Action { runs, .. }) = action else {
            let faults: Vec<String> = diagnostics
                .iter()
                .filter(|d| d.severity == Severity::Error)
                .map(|d| {
                    let at = source.position(d.span.start);
                    format!("{} (Line: {}, Col: {})", d.message, at.line, at.column)
                })
                .collect();
            return Err(format!("{uses}/{name}: {}", faults.join("; ")));
        };
        let folder = folder.to_string_lossy().into_owned();
        let runs = match runs {
            ActionRuns::Composite(spec) => Runs::Composite(Arc::new(spec), folder),
            ActionRuns::Node(spec) => Runs::Node(Arc::from(spec), folder),
            ActionRuns::Docker(spec) => Runs::Docker(Arc::from(spec), folder),
        };
        return Ok(Loaded { runs, origin });
    }
    if folder.join("Dockerfile").exists() {
        let folder = folder.to_string_lossy().into_owned();
        let runs = Runs::Docker(Arc::new(bare("Dockerfile")), folder);
        return Ok(Loaded { runs, origin });
    }
    let forgot = match origin {
        None if uses.starts_with("./") => {
            " Did you forget to run actions/checkout before running your local action?"
        }
        _ => "",
    };
    Err(format!(
        "Can't find 'action.yml', 'action.yaml' or 'Dockerfile' under '{}'.{forgot}",
        folder.display()
    ))
}

impl Actions for JobActions {
    fn prepare(&mut self, uses: &[String], workspace: &Workspace) -> Result<LoadedSet, String> {
        let mut set = LoadedSet::new();
        self.all(uses, workspace, &mut Vec::new(), &mut set)?;
        Ok(set)
    }

    fn load(&mut self, uses: &str, workspace: &Workspace) -> Result<LoadedSet, String> {
        let loaded = self.one(uses, workspace)?;
        let nested = match &loaded.runs {
            Runs::Composite(spec, _) => nested_uses(&spec.steps),
            _ => Vec::new(),
        };
        let mut set = LoadedSet::from([(uses.to_owned(), loaded)]);
        self.all(&nested, workspace, &mut vec![uses.to_owned()], &mut set)?;
        Ok(set)
    }

    fn command(&self, action: &str, stage: Stage) -> (PathBuf, Vec<String>) {
        let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("trainyard"));
        let name = builtin::find(action).unwrap_or_default().to_owned();
        let mut args = vec!["internal-action".into(), name];
        if stage == Stage::Post {
            args.push("--post".into());
        }
        (program, args)
    }

    fn node(&self, using: &str) -> Result<PathBuf, String> {
        self.settings.nodes.find(using, &self.patience)
    }
}
