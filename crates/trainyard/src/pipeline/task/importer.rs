//! An artifact that is there already: it is recorded, and nothing of it is read
//! (`importer_launcher.go`); unless it is to be in the workspace, where it is brought.

use std::os::fd::AsFd;
use std::path::{Component as PathPart, Path, PathBuf};
use std::sync::PoisonError;

use serde_json::Value as Json;
use trainyard_model::Outcome;
use trainyard_pipeline::{Artifact, Bundle, Component, ImportUri, Importer, fill};
use trainyard_remote::RemoteError;

use super::{Assignment, TaskEnd};
use crate::pipeline::places::{is_remote, path_of_uri};

/// Imports it.
pub(super) fn import(
    assignment: &Assignment,
    component: &Component,
    importer: &Importer,
) -> TaskEnd {
    let inputs = &assignment.inputs;
    let uri = match &importer.uri {
        ImportUri::Constant(uri) => uri.clone(),
        ImportUri::Parameter(name) => {
            let given = inputs.parameters.get(name);
            let default = || component.parameter(name)?.default.as_ref();
            match given.or_else(default).and_then(Json::as_str) {
                Some(uri) => uri.to_owned(),
                None => return TaskEnd::failed(format!("the input '{name}' names no address")),
            }
        }
    };
    if uri.is_empty() {
        return TaskEnd::failed("the address of what it imports is empty");
    }
    let Some((name, output)) = component.output_artifacts.first() else {
        return TaskEnd::failed("it imports, and has no output");
    };
    let task = assignment.shared.pipeline.task_of(&assignment.definition);
    let key = task.map_or("", |t| t.key.as_str());
    let metadata = fill(&importer.metadata, &inputs.parameters, &assignment.shared.facts, key);
    let kind = match importer.kind == trainyard_pipeline::ArtifactType::default() {
        true => output.kind.clone(),
        false => importer.kind.clone(),
    };
    let mut artifact = Artifact { name: name.clone(), uri, kind, metadata, ..Artifact::default() };
    if importer.download {
        match bring(assignment, &artifact) {
            Ok(path) => {
                artifact.custom_path = path.to_string_lossy().into_owned();
                // By this the SDK knows where it is.
                if !artifact.metadata.is_object() {
                    artifact.metadata = Json::Object(serde_json::Map::new());
                }
                artifact.metadata["_kfp_workspace"] = Json::Bool(true);
            }
            Err(Unbrought::Stopped) => return super::remote::stopped(),
            Err(Unbrought::Failed(why)) => return TaskEnd::failed(why),
        }
    }
    let mut outputs = Bundle::default();
    outputs.artifacts.insert(name.clone(), vec![artifact]);
    TaskEnd { outcome: Outcome::Success, reason: String::new(), outputs, notes: Vec::new() }
}

/// Why an artifact is not in the workspace.
enum Unbrought {
    Stopped,
    Failed(String),
}

impl From<String> for Unbrought {
    fn from(why: String) -> Unbrought {
        Unbrought::Failed(why)
    }
}

/// Brings an artifact into the workspace of the run (`LocalWorkspacePathForURI`). What is not whole is
/// not there.
fn bring(assignment: &Assignment, artifact: &Artifact) -> Result<PathBuf, Unbrought> {
    let shared = &assignment.shared;
    let uri = &artifact.uri;
    if shared.facts.workspace.is_empty() {
        let why = "it is to be brought into the workspace, and the pipeline has none";
        return Err(why.to_owned().into());
    }
    let path = path_of_uri(uri).ok_or_else(|| format!("{uri} cannot be brought here"))?;
    let below = Path::new(path.trim_start_matches('/'));
    if below.components().any(|c| !matches!(c, PathPart::Normal(_))) {
        return Err(format!("{uri} leads out of the workspace").into());
    }
    let target = Path::new(&shared.facts.workspace).join(".artifacts").join(below);
    let turn = shared.stores.turn(&target);
    let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
    if target.exists() {
        return Ok(target);
    }
    if is_remote(uri) {
        let stop = Some(assignment.control.wake.as_fd());
        return match shared.stores.open(shared)?.fetch(uri, &target, stop) {
            Ok(Some(_)) => Ok(target),
            Ok(None) => Err(format!("there is nothing at {uri}").into()),
            Err(RemoteError::Stopped) => Err(Unbrought::Stopped),
            Err(error) => Err(format!("it cannot be brought here: {error}").into()),
        };
    }
    if shared.kept.bring(uri, &target)? {
        return Ok(target);
    }
    let source = Path::new(&path);
    let failed = |e: std::io::Error| format!("{uri} cannot be brought here: {e}");
    let part = target.with_extension("part");
    crate::host::workspace::remove(&part);
    std::fs::create_dir_all(target.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
    let copied = match source.is_dir() {
        true => crate::host::copy::copy_whole(source, &part),
        false => crate::host::copy::copy_file(source, &part, 0o644),
    };
    copied.and_then(|()| std::fs::rename(&part, &target)).map_err(failed)?;
    Ok(target)
}
