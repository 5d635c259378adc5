//! Where the folders of a job are within containers (actions/runner `ContainerInfo.cs`,
//! `ContainerActionHandler.cs`).

use serde::{Deserialize, Serialize};

use crate::host::workspace::Workspace;

/// The runner's folders in a job's container.
pub const WORK: &str = "/__w";
/// The tool cache.
pub const TOOLS: &str = "/__t";
/// What the runner brings: its Node.
pub const EXTERNALS: &str = "/__e";
/// `HOME`
pub const HOME: &str = "/github/home";
/// The event.
pub const WORKFLOW: &str = "/github/workflow";

/// Folders of this machine by their places in a container, the most particular first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathMap(Vec<(String, String)>);

#[cfg(test)]
impl From<Vec<(String, String)>> for PathMap {
    fn from(pairs: Vec<(String, String)>) -> Self {
        PathMap(pairs)
    }
}

fn change(text: &str, from: &str, to: &str) -> Option<String> {
    let rest = text.strip_prefix(from)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
}

impl PathMap {
    /// Those of a job's container.
    pub fn of_job(workspace: &Workspace) -> PathMap {
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        PathMap(vec![
            (text(&workspace.home()), HOME.into()),
            (text(&workspace.event_folder()), WORKFLOW.into()),
            (text(&workspace.command_files), format!("{WORK}/_temp/_runner_file_commands")),
            (text(&workspace.root), WORK.into()),
            (text(&workspace.tools), TOOLS.into()),
        ])
    }

    /// Those of a Docker action's container.
    pub fn of_action(workspace: &Workspace) -> PathMap {
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        PathMap(vec![
            (text(&workspace.workspace), "/github/workspace".into()),
            (text(&workspace.command_files), "/github/file_commands".into()),
            (text(&workspace.event_folder()), WORKFLOW.into()),
            (text(&workspace.home()), HOME.into()),
            (text(&workspace.temp), "/github/runner_temp".into()),
        ])
    }

    /// The folders, as mounts.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// A value as it is in the container, if it begins with one of the folders.
    pub fn inside(&self, value: &str) -> String {
        let found = self.0.iter().find_map(|(host, inner)| change(value, host, inner));
        found.unwrap_or_else(|| value.to_owned())
    }

    /// A value as it is on this machine.
    pub fn outside(&self, value: &str) -> String {
        let found = self.0.iter().find_map(|(host, inner)| change(value, inner, host));
        found.unwrap_or_else(|| value.to_owned())
    }

    /// The lines of a value as they are on this machine; `!` in front of one stays.
    pub fn outside_lines(&self, value: &str) -> String {
        let line = |line: &str| match line.strip_prefix('!') {
            Some(rest) => format!("!{}", self.outside(rest)),
            None => self.outside(line),
        };
        value.split('\n').map(line).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let map = PathMap(vec![
            ("/data/w/_temp/_github_home".into(), HOME.into()),
            ("/data/w".into(), WORK.into()),
        ]);
        for (host, inner) in [
            ("/data/w", "/__w"),
            ("/data/w/r/r/x", "/__w/r/r/x"),
            ("/data/w/_temp/_github_home/.cache", "/github/home/.cache"),
            ("/data/woods", "/data/woods"),
            ("text /data/w", "text /data/w"),
        ] {
            assert_eq!(map.inside(host), inner);
            assert_eq!(map.outside(inner), host);
        }
        assert_eq!(map.outside_lines("/__w/a\n!/__w/b\nc"), "/data/w/a\n!/data/w/b\nc");
    }
}
