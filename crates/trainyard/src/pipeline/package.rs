//! A compiled pipeline from a file: YAML, JSON, or an archive that holds one.

use std::io::Read;
use std::path::Path;

use trainyard_diagnostics::{Diagnostic, Source};
use trainyard_pipeline::{Pipeline, read};

use crate::error::{Error, Result};

/// Bytes of a package, and of the pipeline in it (the limit of the KFP server).
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// A file that was read.
pub struct Package {
    /// The text, with the name that diagnostics give it.
    pub source: Source,
    /// What is in it, if it can be run.
    pub pipeline: Option<Pipeline>,
    /// What is wrong with it.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a package.
pub fn open(path: &Path) -> Result<Package> {
    let meta = path.metadata().map_err(|e| Error::io("read", path, &e))?;
    if meta.is_dir() {
        return Err(Error::new(format!("{} is a folder", path.display()))
            .hint("name the compiled pipeline: a .yaml, .json, .zip or .tar.gz file"));
    }
    if meta.len() > MAX_BYTES {
        return Err(too_large(path));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
    let (name, bytes) = match &bytes[..] {
        [b'P', b'K', ..] => of_zip(path, &bytes)?,
        [0x1f, 0x8b, ..] => of_tar(path, &bytes)?,
        _ => (path.display().to_string(), bytes),
    };
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::new(format!("{name} is no text")).hint(
            "a compiled pipeline is YAML or JSON: kfp dsl compile --py FILE --output pipeline.yaml",
        )
    })?;
    Ok(of_text(&name, &text))
}

/// Reads a text.
pub fn of_text(name: &str, text: &str) -> Package {
    let source = Source::new(name, text);
    let read = read(&source);
    Package { source, pipeline: read.pipeline, diagnostics: read.diagnostics }
}

fn too_large(path: &Path) -> Error {
    Error::new(format!("{} is larger than {MAX_BYTES} bytes", path.display()))
        .hint("so is what the Kubeflow server takes")
}

fn is_pipeline(name: &str) -> bool {
    let base = name.rsplit('/').next().unwrap_or(name);
    !base.starts_with('.') && [".yaml", ".yml", ".json"].iter().any(|end| base.ends_with(end))
}

fn none_in(path: &Path) -> Error {
    Error::new(format!("{} holds no pipeline", path.display()))
        .hint("the archive holds one .yaml or .json file")
}

/// `pipeline.yaml` first, as the server takes it; else the only one.
fn choose(path: &Path, names: &[String]) -> Result<String> {
    let own = names.iter().find(|n| *n == "pipeline.yaml");
    match (own, names) {
        (Some(name), _) | (None, [name]) => Ok(name.clone()),
        (None, []) => Err(none_in(path)),
        (None, many) => Err(Error::new(format!(
            "{} holds {} pipelines: {}",
            path.display(),
            many.len(),
            many.join(", ")
        ))
        .hint("one package, one pipeline")),
    }
}

fn of_zip(path: &Path, bytes: &[u8]) -> Result<(String, Vec<u8>)> {
    let bad = |e: &dyn std::fmt::Display| Error::new(format!("{}: {e}", path.display()));
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).map_err(|e| bad(&e))?;
    let names: Vec<String> =
        archive.file_names().flatten().filter(|n| is_pipeline(n)).map(|n| n.into_owned()).collect();
    let name = choose(path, &names)?;
    let file = archive.by_name(&name).map_err(|e| bad(&e))?;
    let mut out = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut out).map_err(|e| bad(&e))?;
    if out.len() as u64 > MAX_BYTES {
        return Err(too_large(path));
    }
    Ok((format!("{}/{name}", path.display()), out))
}

fn of_tar(path: &Path, bytes: &[u8]) -> Result<(String, Vec<u8>)> {
    let bad = |e: &dyn std::fmt::Display| Error::new(format!("{}: {e}", path.display()));
    let unpacked = flate2::read::GzDecoder::new(bytes).take(4 * MAX_BYTES);
    let mut archive = tar::Archive::new(unpacked);
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for entry in archive.entries().map_err(|e| bad(&e))? {
        let entry = entry.map_err(|e| bad(&e))?;
        let name = entry.path().map_err(|e| bad(&e))?.to_string_lossy().into_owned();
        let name = name.trim_start_matches("./").to_owned();
        if !entry.header().entry_type().is_file() || !is_pipeline(&name) {
            continue;
        }
        let mut out = Vec::new();
        entry.take(MAX_BYTES + 1).read_to_end(&mut out).map_err(|e| bad(&e))?;
        if out.len() as u64 > MAX_BYTES {
            return Err(too_large(path));
        }
        found.push((name, out));
    }
    let names: Vec<String> = found.iter().map(|(n, _)| n.clone()).collect();
    let name = choose(path, &names)?;
    let bytes = found.into_iter().find(|(n, _)| *n == name).map(|(_, b)| b).unwrap_or_default();
    Ok((format!("{}/{name}", path.display()), bytes))
}
