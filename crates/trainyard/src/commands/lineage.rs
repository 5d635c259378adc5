//! `trainyard lineage`: which task made an artifact, from what, and which tasks used it.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use trainyard_store::{Journal, PipelineArtifact};

use super::pipeline::project_root;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::paths::data_dir;
use crate::pipeline::kept::Kept;
use crate::pipeline::places::{is_remote, path_of_uri};
use crate::pipeline::task::open_remote;
use crate::run::project::Project;

/// Those that are meant, the newest first: by number, address, name, or TASK/NAME.
fn find(journal: &Journal, wanted: &str) -> Result<Vec<PipelineArtifact>> {
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
    Ok(found)
}

/// Puts it at a path where nothing is.
pub fn save(wanted: &str, path: &Path) -> Result<Exit> {
    let data = data_dir()?;
    let journal = Journal::open(&data)?;
    let found = find(&journal, wanted)?;
    let Some(artifact) = found.first() else { return Ok(Exit::Success) };
    let uri = &artifact.uri;
    if path.symlink_metadata().is_ok() {
        return Err(Error::new(format!("{} is there already", path.display()))
            .hint("name a path where nothing is"));
    }
    let failed = |why: String| Error::new(format!("{uri} cannot be put there: {why}"));
    let kept = Kept::new(&data);
    let place = path_of_uri(uri).map(PathBuf::from);
    let put = if is_remote(uri) {
        let here = std::env::current_dir().unwrap_or_default();
        let stores = Project::read(&project_root(&here))?.pipeline.stores;
        let remote = open_remote(&stores, &here).map_err(failed)?;
        remote.fetch(uri, path, None).map_err(|e| failed(e.to_string()))?.is_some()
    } else if kept.bring(uri, path).map_err(failed)? {
        true
    } else if let Some(place) = place.filter(|p| p.exists()) {
        let copied = match place.is_dir() {
            true => crate::host::copy::copy_whole(&place, path),
            false => crate::host::copy::copy_file(&place, path, 0o644),
        };
        copied.map_err(|e| failed(e.to_string()))?;
        true
    } else {
        false
    };
    match put {
        true => {
            outln!(
                "{} {} of run {} is at {}",
                artifact.id,
                artifact.name,
                artifact.run,
                path.display()
            );
            Ok(Exit::Success)
        }
        false => Err(Error::new(format!("nothing is left of {uri}"))
            .hint("a task that only describes an artifact writes no file")),
    }
}

/// Shows it.
pub fn lineage(wanted: &str, as_json: bool) -> Result<Exit> {
    let journal = Journal::open(&data_dir()?)?;
    let found = find(&journal, wanted)?;
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
    for used in journal.used_by(artifact.run, artifact.node, artifact.attempt)? {
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
