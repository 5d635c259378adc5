//! `trainyard lineage`: which task made an artifact, from what, and which tasks used it.

use serde_json::{Value as Json, json};
use trainyard_store::{Journal, PipelineArtifact};

use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::paths::data_dir;

/// Shows it. `wanted` is a number, an address, a name, or TASK/NAME.
pub fn lineage(wanted: &str, as_json: bool) -> Result<Exit> {
    let journal = Journal::open(&data_dir()?)?;
    let by_number = match wanted.parse() {
        Ok(id) => journal.pipeline_artifact(id)?,
        Err(_) => None,
    };
    let found = match by_number {
        Some(one) => vec![one],
        None => journal.find_pipeline_artifacts(wanted)?,
    };
    if found.is_empty() {
        return Err(Error::new(format!("there is no artifact '{wanted}'"))
            .hint("name it by its number, its address, its output's name, or TASK/NAME"));
    }
    let mut all = Vec::new();
    for artifact in &found {
        all.push(value(&journal, artifact)?);
    }
    if as_json {
        outln!("{:#}", Json::from(all));
        return Ok(Exit::Success);
    }
    for one in &all {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        outln!("{} {} ({}) at {}", one["id"], text("name"), text("type"), text("uri"));
        if one["metadata"].as_object().is_some_and(|m| !m.is_empty()) {
            for line in format!("{:#}", one["metadata"]).lines() {
                outln!("  {line}");
            }
        }
        outln!("  made by {} of run {}", text("task"), one["run"]);
        for from in one["from"].as_array().into_iter().flatten() {
            let name = from["name"].as_str().unwrap_or_default();
            let task = from["task"].as_str().unwrap_or_default();
            outln!("  from {} {name}, made by {task} of run {}", from["id"], from["run"]);
        }
        for used in one["uses"].as_array().into_iter().flatten() {
            let text = |key: &str| used[key].as_str().unwrap_or_default();
            outln!("  used by {} of run {} as {}", text("task"), used["run"], text("input"));
        }
    }
    Ok(Exit::Success)
}

fn value(journal: &Journal, artifact: &PipelineArtifact) -> Result<Json> {
    let mut from = Vec::new();
    for used in journal.used_by(artifact.run, artifact.node)? {
        if let Some(source) = journal.pipeline_artifact(used.artifact)? {
            from.push(json!({
                "id": source.id, "name": source.name, "task": source.task, "run": source.run,
                "uri": source.uri, "input": used.input,
            }));
        }
    }
    let uses: Vec<Json> = journal
        .uses_of(artifact.id)?
        .into_iter()
        .map(|u| json!({"run": u.run, "task": u.task, "input": u.input}))
        .collect();
    let metadata: Json = serde_json::from_str(&artifact.metadata).unwrap_or_default();
    Ok(json!({
        "id": artifact.id, "name": artifact.name, "type": artifact.kind, "uri": artifact.uri,
        "metadata": metadata, "bytes": artifact.bytes, "digest": artifact.digest,
        "task": artifact.task, "run": artifact.run, "attempt": artifact.attempt,
        "from": from, "uses": uses,
    }))
}
