//! `actions/download-artifact` (v4 to v8): out of the store, of this run or of an earlier one of
//! the repository.
//!
//! Deliberately absent: artifacts of other repositories.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use trainyard_blob::{Artifact, Store};
use zip::ZipArchive;

use super::{JobFacts, append, flag, input, major, variable, warn};
use crate::error::{Error, Result};
use crate::host::view::Files;
use crate::run::services::open_store;

/// The inputs of actions/download-artifact with their defaults.
pub const INPUTS: &[(&str, Option<&str>)] = &[
    ("name", None),
    ("artifact-ids", None),
    ("path", None),
    ("pattern", None),
    ("merge-multiple", Some("false")),
    ("github-token", None),
    ("repository", None),
    ("run-id", None),
    ("skip-decompress", Some("false")),
    ("digest-mismatch", Some("error")),
];

/// Files of one artifact.
const MAX_FILES: usize = 1_000_000;

fn failed(why: impl std::fmt::Display) -> Error {
    Error::new(format!("Unable to download artifact(s): {why}"))
}

/// Downloads.
pub fn run(facts: &JobFacts) -> Result<()> {
    let (name, ids) = (input("name"), input("artifact-ids"));
    if !name.is_empty() && !ids.is_empty() {
        return Err(failed(
            "Inputs 'name' and 'artifact-ids' cannot be used together. Please specify only one.",
        ));
    }
    let seen = Files::here();
    let workspace = PathBuf::from(seen.named(&variable("GITHUB_WORKSPACE")?));
    let path = seen.named(&input("path"));
    let path = match path.strip_prefix('~') {
        Some(rest) => {
            let home = seen.named(&std::env::var("HOME").unwrap_or_default());
            Path::new(&home).join(rest.trim_start_matches('/'))
        }
        None => workspace.join(&path),
    };
    let mut run = facts.run;
    // As in the action: another run counts only with a token.
    if !input("github-token").is_empty() {
        let repository = variable("GITHUB_REPOSITORY")?;
        let other = input("repository");
        if !other.is_empty() && !other.eq_ignore_ascii_case(&repository) {
            return Err(failed(format!("artifacts of another repository ({other}) are not here")));
        }
        let wanted = input("run-id");
        if !wanted.is_empty() {
            run = wanted.parse().map_err(|_| failed(format!("run-id '{wanted}' is no number")))?;
        }
    }
    let store = open_store(&facts.data)?;
    let mut all = store.artifacts(Some(run)).map_err(failed)?;
    // Other repositories on this machine have runs too.
    let repository = variable("GITHUB_REPOSITORY")?;
    all.retain(|a| a.repository.eq_ignore_ascii_case(&repository));
    let chosen = choose(all, &name, &ids)?;
    for artifact in &chosen {
        println!(
            "- {} (ID: {}, Size: {}, Expected Digest: sha256:{})",
            artifact.name, artifact.id, artifact.size, artifact.sha256
        );
    }
    // From v5 on an artifact that is the only one lies in `path` itself.
    let alone = chosen.len() == 1 && major().is_none_or(|v| v >= 5);
    let together = !name.is_empty() || flag("merge-multiple")? || alone;
    let plain = flag("skip-decompress")?;
    for artifact in &chosen {
        let target = if together {
            path.clone()
        } else {
            path.join(artifact.name.replace(['/', '\\'], "-"))
        };
        unpack(&seen, &store, artifact, &target, plain)?;
    }
    println!("Total of {} artifact(s) downloaded", chosen.len());
    append("GITHUB_OUTPUT", &[format!("download-path={}", path.display())])
}

fn choose(all: Vec<Artifact>, name: &str, ids: &str) -> Result<Vec<Artifact>> {
    if !name.is_empty() {
        println!("Downloading single artifact");
        let there: Vec<String> = all.iter().map(|a| a.name.clone()).collect();
        let found: Vec<Artifact> = all.into_iter().filter(|a| a.name == name).collect();
        return match found.is_empty() {
            true => Err(failed(format!("Artifact not found for name: {name}")).hint(
                match there.is_empty() {
                    true => "the run has no artifacts".to_owned(),
                    false => format!("the run has: {}", there.join(", ")),
                },
            )),
            false => Ok(found),
        };
    }
    if !ids.is_empty() {
        println!("Downloading artifacts by ID");
        let mut wanted = Vec::new();
        for id in ids.split(',').map(str::trim).filter(|i| !i.is_empty()) {
            let bad = || failed(format!("Invalid artifact ID: '{id}'. Must be a number."));
            wanted.push(id.parse::<i64>().map_err(|_| bad())?);
        }
        let found: Vec<Artifact> = all.into_iter().filter(|a| wanted.contains(&a.id)).collect();
        if found.is_empty() {
            return Err(failed("None of the provided artifact IDs were found"));
        }
        let missing: Vec<String> = wanted
            .iter()
            .filter(|id| !found.iter().any(|a| a.id == **id))
            .map(i64::to_string)
            .collect();
        if !missing.is_empty() {
            warn(&format!("Could not find the following artifact IDs: {}", missing.join(", ")));
        }
        return Ok(found);
    }
    let pattern = input("pattern");
    if pattern.is_empty() {
        println!(
            "No input name, artifact-ids or pattern filtered specified, downloading all artifacts"
        );
        return Ok(all);
    }
    println!("Filtering artifacts by pattern '{pattern}'");
    let (negated, text) = match pattern.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, pattern.as_str()),
    };
    let glob = GlobBuilder::new(text).literal_separator(true).build();
    let matcher = glob.map_err(|e| failed(format!("pattern: {e}")))?.compile_matcher();
    Ok(all.into_iter().filter(|a| matcher.is_match(&a.name) != negated).collect())
}

/// Lays an artifact into a folder: unpacked, or with `plain` as the one file it is.
pub fn unpack(
    seen: &Files,
    store: &Store,
    artifact: &Artifact,
    target: &Path,
    plain: bool,
) -> Result<()> {
    let real = seen.real(target).map_err(failed)?;
    fs::create_dir_all(&real).map_err(|e| Error::io("create", target, &e))?;
    let mut reader = store.reader(artifact.blob).map_err(failed)?;
    if plain || artifact.mime != "application/zip" {
        let ending = if artifact.mime == "application/zip" { ".zip" } else { "" };
        let file = real.join(format!("{}{ending}", artifact.name.replace(['/', '\\'], "-")));
        let mut out = fresh(&file)?;
        io::copy(&mut reader, &mut out).map_err(|e| Error::io("write", &file, &e))?;
        return Ok(());
    }
    let mut zip = ZipArchive::new(reader).map_err(failed)?;
    if zip.len() > MAX_FILES {
        return Err(failed(format!("'{}' holds more than {MAX_FILES} files", artifact.name)));
    }
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(failed)?;
        let name = entry.name().map_err(failed)?.into_owned();
        let refused = |why: &str| failed(format!("'{}': the entry '{name}' {why}", artifact.name));
        let inside = entry.enclosed_name().filter(|_| !name.starts_with(['/', '\\']));
        let inside = inside.ok_or_else(|| refused("has a name that leads away"))?;
        if entry.is_symlink() {
            return Err(refused("is a link"));
        }
        let path = target.join(inside);
        if entry.is_dir() {
            within(seen, &path, target).map_err(|e| refused(&e))?;
            continue;
        }
        let parent = path.parent().unwrap_or(target);
        let folder = within(seen, parent, target).map_err(|e| refused(&e))?;
        let path = folder.join(path.file_name().unwrap_or_default());
        let mut out = fresh(&path)?;
        io::copy(&mut entry, &mut out).map_err(|e| Error::io("write", &path, &e))?;
    }
    Ok(())
}

/// Makes the folder, and sees that no link leads out of the target on the way.
fn within(seen: &Files, folder: &Path, target: &Path) -> std::result::Result<PathBuf, String> {
    let failed = |e: io::Error| format!("has no folder: {e}");
    fs::create_dir_all(seen.real(folder).map_err(failed)?).map_err(failed)?;
    let real = seen.canonical(folder).map_err(failed)?;
    match real.starts_with(seen.canonical(target).map_err(failed)?) {
        true => Ok(real),
        false => Err("goes through a link that leads away".into()),
    }
}

/// A file that takes the place of whatever was there, and is not written through a link.
fn fresh(path: &Path) -> Result<fs::File> {
    if path.symlink_metadata().is_ok() {
        fs::remove_file(path).map_err(|e| Error::io("replace", path, &e))?;
    }
    fs::File::create_new(path).map_err(|e| Error::io("write", path, &e))
}
