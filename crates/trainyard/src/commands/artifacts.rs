//! `trainyard artifacts`: what runs kept.

use std::path::PathBuf;

use clap::Subcommand;
use trainyard_blob::{Artifact, Store};

use crate::builtin::unpack;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::host::view::Files;
use crate::paths::data_dir;
use crate::run::services::open_store;
use crate::ui::text::{ago, bytes};
use trainyard_store::Journal;

/// What to do with them.
#[derive(Debug, Subcommand)]
pub enum ArtifactsCommand {
    /// List them, the newest first
    List {
        /// Only of this run
        run: Option<i64>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Lay them into a folder
    Download {
        /// The run; the latest when not given
        #[arg(long)]
        run: Option<i64>,
        /// Only that one
        name: Option<String>,
        /// The folder
        #[arg(long, default_value = ".")]
        to: PathBuf,
    },
    /// Show one with the files in it
    Show {
        /// Its number
        id: i64,
    },
    /// Delete some
    Delete {
        /// Their numbers
        #[arg(required = true)]
        ids: Vec<i64>,
    },
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(error.to_string())
}

fn missing(id: i64) -> Error {
    Error::new(format!("there is no artifact {id}")).hint("trainyard artifacts list shows them")
}

/// Runs the command.
pub fn run(command: &ArtifactsCommand) -> Result<Exit> {
    let data = data_dir()?;
    let store = open_store(&data)?;
    match command {
        ArtifactsCommand::List { run, json } => {
            let rows = match run {
                Some(run) => of_run(&store, *run)?,
                None => store.artifacts(None).map_err(failed)?,
            };
            super::show_rows(&rows, *json, value, line, "no artifacts");
        }
        ArtifactsCommand::Download { run, name, to } => {
            let run = super::view::find(&Journal::open(&data)?, *run)?.id;
            let all = of_run(&store, run)?;
            let there: Vec<String> = all.iter().map(|a| a.name.clone()).collect();
            let chosen: Vec<Artifact> =
                all.into_iter().filter(|a| name.as_ref().is_none_or(|n| a.name == *n)).collect();
            if chosen.is_empty() {
                let error = Error::new(format!("run {run} has no such artifact"));
                return Err(error.hint(match there.is_empty() {
                    true => "it has none".to_owned(),
                    false => format!("it has: {}", there.join(", ")),
                }));
            }
            for artifact in &chosen {
                // One that was asked for by name goes right there, as in the action.
                let folder = artifact.name.replace(['/', '\\'], "-");
                let target = if name.is_some() { to.clone() } else { to.join(folder) };
                unpack(&Files::default(), &store, artifact, &target, false)?;
                outln!("{} in {}", artifact.name, target.display());
            }
        }
        ArtifactsCommand::Show { id } => {
            let found = store.artifact(*id).map_err(failed)?.ok_or_else(|| missing(*id))?;
            let mut shown = value(&found);
            if found.mime == "application/zip" {
                shown["files"] = files(&store, &found)?.into();
            }
            outln!("{shown:#}");
        }
        ArtifactsCommand::Delete { ids } => {
            for id in ids {
                if !store.delete_artifact(*id).map_err(failed)? {
                    return Err(missing(*id));
                }
            }
            super::cache::collect(&store)?;
        }
    }
    Ok(Exit::Success)
}

/// What a run kept: its artifacts, and the assets of releases that it made, which stand apart.
fn of_run(store: &Store, run: i64) -> Result<Vec<Artifact>> {
    let mut rows = store.artifacts(Some(run)).map_err(failed)?;
    rows.extend(store.artifacts(Some(-run)).map_err(failed)?);
    Ok(rows)
}

/// The names and sizes of the files in an artifact.
fn files(store: &Store, artifact: &Artifact) -> Result<Vec<serde_json::Value>> {
    let reader = store.reader(artifact.blob).map_err(failed)?;
    let mut zip = zip::ZipArchive::new(reader).map_err(failed)?;
    let mut rows = Vec::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(failed)?;
        let name = entry.name().map_err(failed)?.into_owned();
        rows.push(serde_json::json!({"name": name, "size": entry.size()}));
    }
    Ok(rows)
}

fn line(artifact: &Artifact) {
    outln!(
        "{:>5}  run {:<5}  {:>9}  {:<12}  {}",
        artifact.id,
        artifact.run.abs(),
        bytes(u64::try_from(artifact.size).unwrap_or(0)),
        ago(artifact.created),
        artifact.name
    );
}

fn value(artifact: &Artifact) -> serde_json::Value {
    serde_json::json!({
        "id": artifact.id, "name": artifact.name, "run": artifact.run.abs(),
        "repository": artifact.repository, "size": artifact.size, "type": artifact.mime,
        "digest": format!("sha256:{}", artifact.sha256), "created": artifact.created,
        "expires": artifact.expires,
    })
}
