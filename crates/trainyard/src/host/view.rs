//! A container's files, seen from this machine by actions that are built in.
//!
//! What lies in the job's folders is there anyway; the rest is seen through the container's first
//! process, where this user may.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The variable that holds a [`View`].
pub const VARIABLE: &str = "TRAINYARD_CONTAINER";

/// How the container's paths are found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct View {
    /// Folders of this machine by their places in the container.
    pub folders: Vec<(String, String)>,
    /// The container's root, seen from this machine.
    pub root: Option<String>,
    /// The `PATH` in the container.
    pub path: String,
}

impl View {
    /// As a variable.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// That of this process, if the steps around it run in a container.
    pub fn here() -> Option<View> {
        serde_json::from_str(&std::env::var(VARIABLE).ok()?).ok()
    }

    /// Where an absolute path of the container is on this machine.
    ///
    /// # Errors
    ///
    /// When this user may not look into the container.
    pub fn outside(&self, path: &str) -> Result<PathBuf, String> {
        let under = |folder: &str| {
            path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if self.folders.iter().any(|(host, _)| under(host)) {
            return Ok(PathBuf::from(path));
        }
        let found = self.folders.iter().find_map(|(host, inner)| {
            under(inner).then(|| format!("{host}{}", &path[inner.len()..]))
        });
        if let Some(found) = found {
            return Ok(PathBuf::from(found));
        }
        let root = self.root.as_deref().filter(|r| Path::new(r).join("proc").exists());
        match root {
            Some(root) => Ok(PathBuf::from(format!("{root}{path}"))),
            None => Err(format!(
                "'{path}' is within the container, and this user may not look into it; use a path below the workspace"
            )),
        }
    }
}
