//! `actions/upload-artifact` (v4 to v7): into the store, as a zip of stored files.
//!
//! Deliberately absent: `compression-level`, as the store compresses what it keeps.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use trainyard_blob::{Draft, NewArtifact, Store};

use super::zip_writer::ZipWriter;
use super::{JobFacts, append, flag, input, variable, warn};
use crate::error::{Error, Result};
use crate::host::globs::{Globs, Options};
use crate::host::view::Files;
use crate::run::services::open_store;

/// The inputs of actions/upload-artifact with their defaults.
pub const INPUTS: &[(&str, Option<&str>)] = &[
    ("name", Some("artifact")),
    ("path", None),
    ("if-no-files-found", Some("warn")),
    ("retention-days", None),
    ("compression-level", Some("6")),
    ("overwrite", Some("false")),
    ("include-hidden-files", Some("false")),
    ("archive", Some("true")),
];

/// Days that an artifact is kept when nothing is said.
const DAYS: i64 = 90;

/// Uploads.
pub fn run(facts: &JobFacts) -> Result<()> {
    let patterns = input("path");
    if patterns.is_empty() {
        return Err(Error::new("Input required and not supplied: path"));
    }
    let seen = Files::here();
    let (files, root) = find(&seen, &patterns)?;
    if files.is_empty() {
        let message = format!(
            "No files were found with the provided path: {patterns}. No artifacts will be uploaded."
        );
        match input("if-no-files-found").as_str() {
            "warn" => warn(&message),
            "error" => return Err(Error::new(message)),
            "ignore" => println!("{message}"),
            other => {
                return Err(Error::new(format!(
                    "Unrecognized if-no-files-found input. Provided: {other}. Available options: warn,error,ignore"
                )));
            }
        }
        return Ok(());
    }
    let plural = if files.len() == 1 { "" } else { "s" };
    println!("With the provided path, there will be {} file{plural} uploaded", files.len());
    let days = match input("retention-days").as_str() {
        "" | "0" => DAYS,
        text => text.parse().map_err(|_| Error::new("Invalid retention-days"))?,
    };
    let whole = flag("archive")?;
    if !whole && files.len() > 1 {
        return Err(Error::new(format!(
            "When 'archive' is set to false, only a single file can be uploaded. Found {} files to upload.",
            files.len()
        )));
    }
    let store = open_store(&facts.data)?;
    let (name, draft, mime) = match whole {
        true => (input("name"), zip(&store, &seen, &files, &root)?, "application/zip"),
        false => {
            let name = files[0].file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, copy(&store, &seen, &files[0])?, "application/octet-stream")
        }
    };
    check_name(&name)?;
    let repository = variable("GITHUB_REPOSITORY")?;
    if flag("overwrite")? {
        let old = store.artifacts(Some(facts.run)).map_err(|e| said(&e))?;
        for old in old.iter().filter(|a| a.name == name) {
            store.delete_artifact(old.id).map_err(|e| said(&e))?;
        }
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let new = NewArtifact {
        repository: &repository,
        run: facts.run,
        name: &name,
        node: facts.node,
        mime,
        expires: Some(now + days.clamp(1, 400) * 24 * 60 * 60 * 1000),
    };
    let (size, stored) = (draft.size, draft.stored());
    let artifact = match store.save_artifact(&new, draft) {
        Ok(artifact) => artifact,
        Err(trainyard_blob::Error::Taken) => {
            return Err(Error::new(
                "Failed to CreateArtifact: Received non-retryable error: Failed request: (409) Conflict: an artifact with this name already exists on the workflow run",
            )
            .hint(format!("the run has an artifact '{name}' already: `overwrite: true` replaces it")));
        }
        Err(error) => return Err(said(&error)),
    };
    println!(
        "Artifact {name} has been successfully uploaded! Final size is {size} bytes, of which {stored} are new. Artifact ID is {}",
        artifact.id
    );
    let (server, run) = (variable("GITHUB_SERVER_URL")?, facts.run);
    append(
        "GITHUB_OUTPUT",
        &[
            format!("artifact-id={}", artifact.id),
            format!("artifact-digest={}", artifact.sha256),
            format!(
                "artifact-url={server}/{repository}/actions/runs/{run}/artifacts/{}",
                artifact.id
            ),
        ],
    )
}

fn said(error: &dyn std::fmt::Display) -> Error {
    Error::new(error.to_string())
}

/// What no name may hold (`path-and-artifact-name-validation.ts`).
fn check_name(name: &str) -> Result<()> {
    let bad = ['"', ':', '<', '>', '|', '*', '?', '\r', '\n', '\\', '/'];
    match name.chars().find(|c| bad.contains(c)) {
        _ if name.is_empty() => {
            Err(Error::new("Provided artifact name input during validation is empty"))
        }
        Some(c) => Err(Error::new(format!(
            "The artifact name is not valid: {name}. Contains the following character: {c:?}"
        ))),
        None => Ok(()),
    }
}

/// The files, and the folder that their names in the artifact are below (`search.ts`).
fn find(seen: &Files, patterns: &str) -> Result<(Vec<PathBuf>, PathBuf)> {
    let folder = |value: String| PathBuf::from(seen.named(&value));
    let workspace = folder(variable("GITHUB_WORKSPACE")?);
    let home = folder(std::env::var("HOME").unwrap_or_default());
    let patterns = patterns.lines().map(|line| seen.pattern(line.trim())).collect::<Vec<_>>();
    let hidden = flag("include-hidden-files")?;
    let options = Options { follow: true, descendants: true, no_hidden: !hidden };
    let globs = Globs::among(seen.clone(), &patterns.join("\n"), &workspace, &home, options)
        .map_err(|e| Error::new(format!("path: {e}")))?;
    let mut files = globs.find().map_err(|e| said(&e))?;
    // Neither folders nor pipes, which would wait for ever.
    files.retain(|f| seen.real(f).is_ok_and(|f| f.is_file()));
    let roots = globs.search_paths();
    let root = match &roots[..] {
        [] => workspace,
        [one] if files.len() == 1 && files[0] == *one => {
            one.parent().unwrap_or(Path::new("/")).to_owned()
        }
        [one] => one.clone(),
        many => {
            println!(
                "Multiple search paths detected. Calculating the least common ancestor of all paths"
            );
            let root = common(many);
            println!(
                "The least common ancestor is {}. This will be the root directory of the artifact",
                root.display()
            );
            root
        }
    };
    Ok((files, root))
}

fn common(paths: &[PathBuf]) -> PathBuf {
    let mut common = paths[0].clone();
    while !paths.iter().all(|p| p.starts_with(&common)) {
        if !common.pop() {
            break;
        }
    }
    common
}

fn zip(store: &Store, seen: &Files, files: &[PathBuf], root: &Path) -> Result<Draft> {
    let failed = |e: io::Error| Error::new(format!("the artifact cannot be written: {e}"));
    let mut zip = ZipWriter::new(store.writer(true));
    let mut names = BTreeSet::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(file).to_string_lossy().into_owned();
        if names.insert(name.clone()) {
            let real = seen.real(file).map_err(failed)?;
            zip.add(&name, &real).map_err(failed)?;
        }
    }
    zip.finish().map_err(failed)?.finish().map_err(|e| said(&e))
}

fn copy(store: &Store, seen: &Files, file: &Path) -> Result<Draft> {
    let failed = |e: io::Error| Error::io("read", file, &e);
    let mut source = seen.real(file).and_then(std::fs::File::open).map_err(failed)?;
    let mut writer = store.writer(true);
    let mut buffer = vec![0; 1024 * 1024];
    loop {
        match source.read(&mut buffer).map_err(failed)? {
            0 => break,
            count => writer.write_all(&buffer[..count]).map_err(failed)?,
        }
    }
    writer.finish().map_err(|e| said(&e))
}
