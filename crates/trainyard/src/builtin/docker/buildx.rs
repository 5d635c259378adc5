//! `docker/setup-buildx-action` (v1 to v4), where there is no buildx: the engine that is there
//! builds, and the outputs say so.

use super::super::{JobFacts, append, arch, input, warn};
use super::{engine, list};
use crate::error::Result;

/// The inputs of docker/setup-buildx-action with their defaults.
pub const INPUTS: &[(&str, Option<&str>)] = &[
    ("version", None),
    ("name", None),
    ("driver", Some("docker-container")),
    ("driver-opts", None),
    ("buildkitd-flags", None),
    ("buildkitd-config", None),
    ("buildkitd-config-inline", None),
    ("config", None),
    ("config-inline", None),
    ("install", Some("false")),
    ("use", Some("true")),
    ("endpoint", None),
    ("platforms", None),
    ("append", None),
    ("keep-state", Some("false")),
    ("cache-binary", Some("true")),
    ("cleanup", Some("true")),
];

/// Tells what builds.
pub fn run(_: &JobFacts) -> Result<()> {
    let engine = engine()?;
    println!("There is no buildx on this machine: {} builds", engine.title());
    for name in ["endpoint", "append", "driver-opts", "buildkitd-config", "config"] {
        if !input(name).is_empty() {
            warn(&format!("`{name}` has no effect without buildx"));
        }
    }
    let platform = format!("linux/{}", if arch() == "arm64" { "arm64" } else { "amd64" });
    let others: Vec<String> =
        list("platforms", true).into_iter().filter(|p| *p != platform).collect();
    if !others.is_empty() {
        warn(&format!("only {platform} is built here, not {}", others.join(", ")));
    }
    let node = serde_json::json!([{
        "name": "default", "endpoint": "default", "status": "running", "platforms": platform,
    }]);
    append(
        "GITHUB_OUTPUT",
        &[
            "name=default".to_owned(),
            "driver=docker".to_owned(),
            format!("platforms={platform}"),
            format!("nodes={node}"),
        ],
    )
}
