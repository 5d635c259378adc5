//! `hashFiles`: the SHA-256 of the SHA-256 digests of all files that match, in the order in which
//! the toolkit's glob meets them (actions/runner `Misc/expressionFunc/hashFiles`).

use std::fmt::Write as _;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::globs::{Globs, Options};

/// The hash of the files under `workspace` that match; empty when none does. The first pattern may
/// be `--follow-symbolic-links`.
pub fn hash_files(workspace: &Path, patterns: &[String]) -> Result<String, String> {
    const FOLLOW: &str = "--follow-symbolic-links";
    let follow = patterns.iter().any(|p| p == FOLLOW);
    let lines: Vec<&str> = patterns.iter().filter(|p| *p != FOLLOW).map(String::as_str).collect();
    let options = Options { follow, descendants: true, no_hidden: false };
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from).unwrap_or_default();
    let globs = Globs::new(&lines.join("\n"), workspace, &home, options)
        .map_err(|e| format!("hashFiles({e})"))?;
    let found = globs.find().map_err(|e| format!("hashFiles cannot read the workspace: {e}"))?;
    let mut whole = Sha256::new();
    let mut any = false;
    // Only files of the workspace count.
    for file in found.iter().filter(|f| f.starts_with(workspace) && f.is_file()) {
        any = true;
        let digest =
            digest(file).map_err(|e| format!("hashFiles cannot read '{}': {e}", file.display()))?;
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
