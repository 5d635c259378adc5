//! An artifact that is there already: it is recorded, and nothing of it is read
//! (`importer_launcher.go`).

use serde_json::Value as Json;
use trainyard_model::Outcome;
use trainyard_pipeline::{Artifact, Bundle, Component, ImportUri, Importer, fill};

use super::{Assignment, TaskEnd};

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
    let artifact = Artifact { name: name.clone(), uri, kind, metadata, ..Artifact::default() };
    let mut outputs = Bundle::default();
    outputs.artifacts.insert(name.clone(), vec![artifact]);
    TaskEnd { outcome: Outcome::Success, reason: String::new(), outputs, notes: Vec::new() }
}
