//! What a checkout has beside its files: submodules, large files, and the choice of a few folders.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::{input, is_true};
use super::other::file_url;
use super::{depth as fetch_depth, git};
use crate::actions::places;
use crate::error::{Error, Result};
use crate::host::copy::copy_file;

/// Submodules within submodules.
const MAX_DEPTH: usize = 16;

/// Lays the submodules, from the user's own copies of them where there are such.
pub fn submodules(target: &Path, modules: &Path) -> Result<()> {
    match input("submodules").to_ascii_lowercase().as_str() {
        "true" => submodules_of(target, modules, false, 0),
        "recursive" => submodules_of(target, modules, true, 0),
        _ => Ok(()),
    }
}

fn submodules_of(target: &Path, modules: &Path, recursive: bool, depth: usize) -> Result<()> {
    let list = target.join(".gitmodules");
    if depth > MAX_DEPTH || !list.exists() {
        return Ok(());
    }
    let file = list.to_string_lossy().into_owned();
    let out = places::git(None, &["config", "-z", "-f", &file, "--get-regexp", r"\.path$"])?;
    git(target, &["submodule", "--quiet", "init"])?;
    let depth_arg = fetch_depth().map(|n| format!("--depth={n}"));
    for row in String::from_utf8_lossy(&out).split('\0') {
        let Some((key, path)) = row.split_once('\n') else { continue };
        let name = key.strip_prefix("submodule.").and_then(|k| k.strip_suffix(".path"));
        let Some(name) = name else { continue };
        let own = modules.join(name);
        if name.contains("..") || path.contains("..") {
            return Err(Error::new(format!("the submodule '{name}' has a name that leads away")));
        }
        if own.join("HEAD").exists() {
            let setting = format!("submodule.{name}.url");
            git(target, &["config", &setting, &file_url(&own)])?;
        }
        let mut args =
            vec!["-c", "protocol.file.allow=always", "-c", "uploadpack.allowAnySHA1InWant=true"];
        args.extend(["submodule", "--quiet", "update", "--force"]);
        args.extend(depth_arg.as_deref());
        args.extend(["--", path]);
        git(target, &args).map_err(|e| e.hint(format!("the submodule '{name}' cannot be laid")))?;
        if recursive {
            submodules_of(&target.join(path), &own.join("modules"), true, depth + 1)?;
        }
    }
    Ok(())
}

/// Puts the large files in place of their pointers, from the user's own copies.
pub fn large_files(target: &Path, common_dir: &Path) -> Result<()> {
    if !is_true("lfs", false) {
        return Ok(());
    }
    if places::git(None, &["lfs", "version"]).is_err() {
        return Err(Error::new("`lfs: true` needs git-lfs, which is not on this machine")
            .hint("on Debian: apt-get install git-lfs"));
    }
    git(target, &["lfs", "install", "--local", "--skip-smudge"])?;
    // Copies: what a step does to them must not reach the user's.
    let folder = target.to_string_lossy().into_owned();
    let out = places::git(None, &["-C", &folder, "lfs", "ls-files", "--long"])?;
    for line in String::from_utf8_lossy(&out).lines() {
        let id = line.split(' ').next().unwrap_or_default();
        if id.len() < 4 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            continue;
        }
        let place = Path::new("lfs/objects").join(&id[..2]).join(&id[2..4]).join(id);
        let (from, to) = (common_dir.join(&place), target.join(".git").join(&place));
        if from.exists() {
            let parent = to.parent().unwrap_or(target);
            std::fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, &e))?;
            copy_file(&from, &to, 0o644).map_err(|e| Error::io("copy", &from, &e))?;
        }
    }
    git(target, &["lfs", "checkout"])
}

/// Chooses the files of `sparse-checkout`; those that are left out.
pub fn sparse(target: &Path) -> Result<BTreeSet<String>> {
    let given = input("sparse-checkout");
    let patterns: Vec<&str> = given.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    if patterns.is_empty() {
        return Ok(BTreeSet::new());
    }
    let cone = if is_true("sparse-checkout-cone-mode", true) { "--cone" } else { "--no-cone" };
    let mut args = vec!["sparse-checkout", "set", cone, "--"];
    if patterns.iter().any(|p| p.starts_with('-')) {
        return Err(Error::new("a pattern of sparse-checkout does not begin with '-'"));
    }
    args.pop();
    args.extend(&patterns);
    git(target, &args)?;
    let folder = target.to_string_lossy().into_owned();
    let out = places::git(None, &["-C", &folder, "ls-files", "-t", "-z"])?;
    let text = String::from_utf8_lossy(&out).into_owned();
    Ok(text.split('\0').filter_map(|l| l.strip_prefix("S ")).map(str::to_owned).collect())
}
