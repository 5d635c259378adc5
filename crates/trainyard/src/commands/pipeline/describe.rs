//! `trainyard pipeline describe`: what a pipeline takes, gives and runs.

use std::path::Path;

use serde_json::{Value as Json, json};
use trainyard_pipeline::{Executor, Pipeline};

use crate::error::Result;
use crate::exit::Exit;

/// Describes it.
pub fn describe(file: &Path, as_json: bool) -> Result<Exit> {
    let (_, pipeline) = super::read(file)?;
    match as_json {
        true => outln!("{:#}", value(&pipeline)),
        false => text(&pipeline),
    }
    Ok(Exit::Success)
}

fn value(pipeline: &Pipeline) -> Json {
    let root = &pipeline.components[pipeline.root];
    let parameters: Vec<Json> = root
        .parameters
        .iter()
        .map(|(name, p)| {
            json!({
                "name": name, "type": p.kind.as_str(), "default": p.default, "optional": p.optional,
                "literals": p.literals, "description": p.description,
            })
        })
        .collect();
    let outputs: Vec<Json> = root
        .output_parameters
        .iter()
        .map(|(name, kind)| json!({"name": name, "type": kind.as_str()}))
        .chain(
            root.output_artifacts
                .iter()
                .map(|(name, a)| json!({"name": name, "type": a.kind.schema_title})),
        )
        .collect();
    json!({
        "name": pipeline.name, "display_name": pipeline.display_name,
        "description": pipeline.description, "sdk": pipeline.sdk_version,
        "parameters": parameters, "outputs": outputs, "images": images(pipeline),
        "root": pipeline.default_root,
    })
}

fn images(pipeline: &Pipeline) -> Vec<&str> {
    let mut images: Vec<&str> = Vec::new();
    for (_, executor) in &pipeline.executors {
        if let Executor::Container(container) = executor
            && !images.contains(&container.image.as_str())
        {
            images.push(&container.image);
        }
    }
    images
}

fn text(pipeline: &Pipeline) {
    outln!("{} ({})", pipeline.name, pipeline.sdk_version);
    if !pipeline.description.is_empty() {
        outln!("  {}", pipeline.description);
    }
    let root = &pipeline.components[pipeline.root];
    outln!("\nparameters:{}", if root.parameters.is_empty() { " none" } else { "" });
    for (name, parameter) in &root.parameters {
        let default = match (&parameter.default, parameter.optional) {
            (Some(default), _) => format!(" = {default}"),
            (None, true) => ", may be left out".to_owned(),
            (None, false) => ", required".to_owned(),
        };
        let about = match parameter.description.is_empty() {
            true => String::new(),
            false => format!("  {}", parameter.description),
        };
        outln!("  {name}: {}{default}{about}", parameter.kind.as_str());
    }
    for (name, kind) in &root.output_parameters {
        outln!("output {name}: {}", kind.as_str());
    }
    for (name, artifact) in &root.output_artifacts {
        outln!("output {name}: {}", artifact.kind.schema_title);
    }
    outln!("\nimages: {}", images(pipeline).join(", "));
}
