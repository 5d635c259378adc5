//! What a task's result depends on, as one number (`backend/src/v2/cacheutils/cache.go`): image, command
//! before its placeholders are filled in, parameters, the numbers of artifacts, and what it gives.
//!
//! Deliberately absent, there as here: variables, contents of artifacts, the run.

use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use crate::bundle::Bundle;
use crate::spec::{Component, Container, Task};
use crate::values::canonical;

/// The fingerprint, in hexadecimal. `volumes` are the names of the claims that are mounted.
pub fn fingerprint(
    task: &Task,
    component: &Component,
    container: &Container,
    inputs: &Bundle,
    volumes: &[String],
) -> String {
    if !task.cache_key.is_empty() {
        return hex(format!("{}\0{}", component.name, task.cache_key).as_bytes());
    }
    let mut key = Map::new();
    // protojson leaves out what is empty.
    let mut put = |name: &str, value: Json| {
        let empty = match &value {
            Json::Object(map) => map.is_empty(),
            Json::Array(items) => items.is_empty(),
            _ => false,
        };
        if !empty {
            key.insert(name.to_owned(), value);
        }
    };
    let names = inputs.artifacts.iter().map(|(name, list)| {
        // By number, as upstream: an input's name is the identity of its artifact
        // (`metadata/converter.go`), and a hit hands on the artifacts that were made then.
        let names: Vec<String> = list.iter().map(|a| a.id.to_string()).collect();
        (name.clone(), json!({"artifactNames": names}))
    });
    put("inputArtifactNames", Json::Object(names.collect()));
    put("inputParameterValues", json!(inputs.parameters));
    let artifacts = component.output_artifacts.iter().map(|(name, output)| {
        let mut made = json!({"name": name, "type": output.kind});
        if output.metadata.is_object() {
            made["metadata"] = output.metadata.clone();
        }
        (name.clone(), made)
    });
    put("outputArtifactsSpec", Json::Object(artifacts.collect()));
    let parameters = component.output_parameters.iter();
    let parameters = parameters.map(|(name, kind)| (name.clone(), json!(kind.as_str())));
    put("outputParametersSpec", Json::Object(parameters.collect()));
    let mut spec = Map::new();
    spec.insert("image".into(), json!(container.image));
    let words: Vec<&String> = container.command.iter().chain(&container.args).collect();
    if !words.is_empty() {
        spec.insert("cmdArgs".into(), json!(words));
    }
    if !volumes.is_empty() {
        spec.insert("pvcNames".into(), json!(volumes));
    }
    put("containerSpec", Json::Object(spec));
    let mut text = String::new();
    canonical(&Json::Object(key), &mut text);
    hex(text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
