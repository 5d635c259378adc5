//! `hashFiles`: the SHA-256 of the SHA-256 digests of all files that match, in the order in which
//! the toolkit's glob meets them (actions/runner `Misc/expressionFunc/hashFiles`).

use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use sha2::{Digest, Sha256};

/// The hash of the files under `workspace` that match; empty when none does. The first pattern may
/// be `--follow-symbolic-links`.
pub fn hash_files(workspace: &Path, patterns: &[String]) -> Result<String, String> {
    let mut follow = false;
    let mut list: Vec<(bool, GlobMatcher)> = Vec::new();
    let mut roots: Vec<PathBuf> = Vec::new();
    let lines = patterns.iter().flat_map(|p| p.lines());
    for text in lines.map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if text == "--follow-symbolic-links" {
            follow = true;
            continue;
        }
        let (negated, text) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let prefix = format!("{}/", workspace.display());
        let text = text.strip_prefix(&prefix).unwrap_or(text);
        let text = text.strip_prefix("./").unwrap_or(text);
        if text.starts_with('/') {
            // Only files of the workspace count.
            continue;
        }
        for form in [text.to_owned(), format!("{}/**", text.trim_end_matches('/'))] {
            // The toolkit's globs know no braces.
            let form = form.replace('{', "[{]").replace('}', "[}]");
            let glob = GlobBuilder::new(&form).literal_separator(true).build();
            let glob = glob.map_err(|e| format!("hashFiles('{text}'): {e}"))?;
            list.push((negated, glob.compile_matcher()));
        }
        if !negated {
            roots.push(search_root(text));
        }
    }
    let mut files = Vec::new();
    walk(workspace, workspace, follow, 0, &mut files)
        .map_err(|e| format!("hashFiles cannot read the workspace: {e}"))?;
    // A root within another one is walked as part of that one.
    let outer: Vec<&PathBuf> = roots
        .iter()
        .filter(|root| !roots.iter().any(|other| *root != other && root.starts_with(other)))
        .collect();
    let walked = |file: &String| outer.iter().position(|root| Path::new(file).starts_with(root));
    // Folder by folder: `a/z` comes before `a.b`, which is not the order of the texts.
    files.sort_by_cached_key(|file| (walked(file), PathBuf::from(file)));
    let mut whole = Sha256::new();
    let mut any = false;
    for file in files {
        let chosen = list.iter().rev().find(|(_, p)| p.is_match(&file)).is_some_and(|(n, _)| !n);
        if !chosen {
            continue;
        }
        any = true;
        let digest = digest(&workspace.join(&file))
            .map_err(|e| format!("hashFiles cannot read '{file}': {e}"))?;
        whole.update(digest);
    }
    if !any {
        return Ok(String::new());
    }
    Ok(whole.finalize().iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    }))
}

/// The folders of a pattern before its first wildcard (toolkit `internal-pattern-helper.ts`).
fn search_root(pattern: &str) -> PathBuf {
    let plain = |part: &&str| !part.contains(['*', '?', '[']);
    pattern.split('/').take_while(plain).filter(|part| !part.is_empty()).collect()
}

fn digest(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash.finalize().to_vec());
        }
        hash.update(&buffer[..read]);
    }
}

/// Folders within folders that are followed.
const MAX_DEPTH: usize = 64;

fn walk(
    root: &Path,
    folder: &Path,
    follow: bool,
    depth: usize,
    out: &mut Vec<String>,
) -> std::io::Result<()> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let kind = entry.file_type()?;
        let is_dir = kind.is_dir() || (follow && kind.is_symlink() && path.is_dir());
        if is_dir {
            walk(root, &path, follow, depth + 1, out)?;
        } else if (kind.is_file() || (kind.is_symlink() && path.is_file()))
            && let Ok(relative) = path.strip_prefix(root)
        {
            out.push(relative.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
