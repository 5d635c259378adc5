//! Paths that a manifest of kfp 1.8 fixes: `/tmp/outputs/Output/data`, or whatever its author wrote. Two
//! tasks at once have the same ones, so each task gets places of its own under those names.

use std::path::{Path, PathBuf};

use trainyard_pipeline::{Bundle, Container, PathOf};

use super::{Place, Work};
use crate::pipeline::mounts::{Mount, are_possible};

/// How a task's fixed paths are given to it, and where they are found afterwards.
#[derive(Debug, Default)]
pub(super) struct Fixed {
    /// What is laid at them.
    pub(super) mounts: Vec<Mount>,
    /// Paths that it writes to, and that are its own.
    pub(super) open: Vec<PathBuf>,
    /// Texts of its command that are changed, where nothing can be mounted.
    pub(super) rewrite: Vec<(String, String)>,
    /// Outputs, and where they are on this machine when it has ended.
    pub(super) found: Vec<(PathOf, String, PathBuf)>,
}

impl Fixed {
    /// A word of the command with its paths as they are here. What was put in is not looked at again: a
    /// path may lie below one of the same name, and a parameter and an artifact share theirs.
    pub(super) fn rewritten(&self, word: &str) -> String {
        let mut out = String::new();
        let mut rest = word;
        while !rest.is_empty() {
            let here = self.rewrite.iter().filter(|(from, _)| rest.starts_with(from.as_str()));
            if let Some((from, to)) = here.max_by_key(|(from, _)| from.len()) {
                out.push_str(to);
                rest = &rest[from.len()..];
            } else if let Some(first) = rest.chars().next() {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        out
    }
}

impl Work<'_> {
    /// Lays what its container fixes.
    pub(super) fn fixed(
        &self,
        container: &Container,
        inputs: &Bundle,
        place: Place,
        laid: &[Mount],
    ) -> Result<Fixed, String> {
        let mut fixed = Fixed::default();
        let mirror = &self.assignment.shared.mirror;
        let own = self.folder.root.join("fixed");
        let possible = place == Place::Container || container.fixed.is_empty() || are_possible();
        for path in &container.fixed {
            let inner = PathBuf::from(&path.path);
            if !inner.is_absolute()
                || inner.components().any(|c| c == std::path::Component::ParentDir)
            {
                return Err(format!("the path '{}' of '{}' is not absolute", path.path, path.name));
            }
            let below = inner.strip_prefix("/").unwrap_or(&inner);
            if path.of == PathOf::InputArtifact {
                let given = inputs.artifacts.get(&path.name).and_then(|l| l.first());
                let Some(source) = given.and_then(|a| mirror.of(a)).filter(|p| p.exists()) else {
                    return Err(format!("its input '{}' is not there", path.name));
                };
                match possible {
                    true => fixed.mounts.push(Mount { source, target: inner }),
                    false => fixed
                        .rewrite
                        .push((path.path.clone(), source.to_string_lossy().into_owned())),
                }
                continue;
            }
            // In a volume it is where the volume is.
            if let Some(there) = super::outside(&inner, laid) {
                fixed.found.push((path.of, path.name.clone(), there));
                continue;
            }
            let parent = inner.parent().unwrap_or(Path::new("/")).to_owned();
            let there = match (place, possible) {
                (Place::Host, true) => {
                    if !fixed.open.contains(&inner) {
                        fixed.open.push(inner.clone());
                    }
                    self.folder.root.join("root/root").join(below)
                }
                (Place::Host, false) => {
                    let there = own.join(below);
                    make(there.parent())?;
                    fixed.rewrite.push((path.path.clone(), there.to_string_lossy().into_owned()));
                    there
                }
                (Place::Container, _) => {
                    let there = own.join(below);
                    make(there.parent())?;
                    // What an image has in its temporary folder nobody needs; elsewhere the file alone
                    // is laid.
                    let mount = if parent.starts_with("/tmp") {
                        Mount { source: there.parent().unwrap_or(&own).to_owned(), target: parent }
                    } else {
                        std::fs::File::create(&there)
                            .map_err(|e| format!("{}: {e}", there.display()))?;
                        Mount { source: there.clone(), target: inner }
                    };
                    if !fixed.mounts.iter().any(|m| m.target == mount.target) {
                        fixed.mounts.push(mount);
                    }
                    there
                }
            };
            fixed.found.push((path.of, path.name.clone(), there));
        }
        // The outermost first: what is laid within another comes after it.
        fixed.mounts.sort_by_key(|m| m.target.components().count());
        Ok(fixed)
    }

    /// Moves the output artifacts to where their addresses say they are.
    pub(super) fn settle(&self, fixed: &Fixed) -> Result<(), String> {
        for (of, name, there) in &fixed.found {
            if *of != PathOf::OutputArtifact || !there.exists() {
                continue;
            }
            let Some((_, artifact)) = self.outputs.artifacts.iter().find(|(n, _)| n == name) else {
                continue;
            };
            let Some(target) = self.assignment.shared.mirror.of(artifact) else { continue };
            let failed = |e: std::io::Error| format!("its output '{name}': {e}");
            // What is in a volume stays there.
            let own = there.starts_with(&self.folder.root);
            if !own || std::fs::rename(there, &target).is_err() {
                let copied = match there.is_dir() {
                    true => crate::host::copy::copy_whole(there, &target),
                    false => crate::host::copy::copy_file(there, &target, 0o644),
                };
                copied.map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn make(folder: Option<&Path>) -> Result<(), String> {
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_anew_once() {
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let rewrite =
            vec![pair("/tmp/a", "/x/tmp/a"), pair("/tmp/a", "/x/tmp/a"), pair("/tmp/a/b", "/y/b")];
        let fixed = Fixed { rewrite, ..Fixed::default() };
        assert_eq!(fixed.rewritten("cp /tmp/a/b /tmp/a; é"), "cp /y/b /x/tmp/a; é");
        assert_eq!(fixed.rewritten(""), "");
    }
}
