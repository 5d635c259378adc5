//! What Kubernetes would give a task: secrets and config maps, claims on volumes, facts of its pod.

use std::path::PathBuf;

use trainyard_pipeline::{Kind, Platform};

use super::{Place, Work};
use crate::pipeline::mounts::{Mount, are_possible};
use crate::pipeline::places::runs_folder;
use crate::pipeline::settings::Cluster;

/// What a task gets of it.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Variables.
    pub(super) env: Vec<(String, String)>,
    /// Folders at fixed places.
    pub(super) mounts: Vec<Mount>,
}

/// The folder of a named volume.
pub fn volume(data: &std::path::Path, name: &str) -> Result<PathBuf, String> {
    let fine = !name.is_empty()
        && name.len() <= 253
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !name.starts_with('.');
    match fine {
        true => Ok(runs_folder(data).join("volumes").join(name)),
        false => Err(format!("'{name}' is no name of a volume")),
    }
}

/// A value of `trainyard.toml`: as it is, or from a variable or a file.
pub(super) fn value(text: &str, directory: &std::path::Path) -> Result<String, String> {
    if let Some(name) = text.strip_prefix("env:") {
        return std::env::var(name).map_err(|_| format!("the variable {name} is not set"));
    }
    if let Some(path) = text.strip_prefix("file:") {
        let path = directory.join(path);
        return std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()));
    }
    Ok(text.to_owned())
}

impl Cluster {
    fn keys(
        &self,
        kind: Kind,
        name: &str,
    ) -> Result<&std::collections::BTreeMap<String, String>, String> {
        let (all, what, table) = match kind {
            Kind::Secret => (&self.secrets, "secret", "secrets"),
            Kind::ConfigMap => (&self.config_maps, "config map", "config-maps"),
        };
        all.get(name).ok_or_else(|| {
            format!(
                "there is no {what} '{name}': [pipeline.{table}.{name}] in trainyard.toml gives it"
            )
        })
    }
}

impl Work<'_> {
    /// What the platform's document and `trainyard.toml` give the task.
    pub(super) fn given(&mut self, platform: &Platform, on: Place) -> Result<Given, String> {
        let shared = &self.assignment.shared;
        let (cluster, directory) = (&shared.cluster, &shared.directory);
        let mut given = Given::default();
        for wanted in &platform.env {
            let found = cluster.keys(wanted.kind, &wanted.name).and_then(|keys| {
                let text = keys
                    .get(&wanted.key)
                    .ok_or_else(|| format!("'{}' has no key '{}'", wanted.name, wanted.key))?;
                value(text, directory)
            });
            match found {
                Ok(value) => given.env.push((wanted.variable.clone(), value)),
                Err(_) if wanted.optional => {}
                Err(why) => return Err(why),
            }
        }
        for (number, wanted) in platform.files.iter().enumerate() {
            let keys = match cluster.keys(wanted.kind, &wanted.name) {
                Ok(keys) => keys,
                Err(_) if wanted.optional => continue,
                Err(why) => return Err(why),
            };
            let folder = self.folder.root.join(format!("files-{number}"));
            let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
            std::fs::create_dir_all(&folder).map_err(failed)?;
            for (key, text) in keys {
                // A key is a file's name, as Kubernetes has it.
                if key.contains('/') || key.starts_with("..") {
                    return Err(format!("'{key}' is no key"));
                }
                std::fs::write(folder.join(key), value(text, directory)?).map_err(failed)?;
            }
            given.mounts.push(Mount { source: folder, target: wanted.path.clone().into() });
        }
        for claim in &platform.claims {
            let mut source = volume(&shared.data, &claim.name)?;
            for part in std::path::Path::new(&claim.sub_path).components() {
                match part {
                    std::path::Component::Normal(part) => source.push(part),
                    std::path::Component::CurDir => {}
                    _ => return Err(format!("the sub-path '{}' leads away", claim.sub_path)),
                }
            }
            std::fs::create_dir_all(&source).map_err(|e| format!("{}: {e}", source.display()))?;
            given.mounts.push(Mount { source, target: claim.path.clone().into() });
        }
        for (path, name) in &cluster.volumes {
            if !path.starts_with('/') {
                return Err(format!(
                    "[pipeline.volumes] in trainyard.toml: '{path}' is no absolute path"
                ));
            }
            let source = volume(&shared.data, name)?;
            std::fs::create_dir_all(&source).map_err(|e| format!("{}: {e}", source.display()))?;
            given.mounts.push(Mount { source, target: path.into() });
        }
        for (number, path) in platform.empty.iter().enumerate() {
            let source = self.folder.root.join(format!("empty-{number}"));
            std::fs::create_dir_all(&source).map_err(|e| format!("{}: {e}", source.display()))?;
            given.mounts.push(Mount { source, target: path.into() });
        }
        for (name, field) in &platform.fields {
            given.env.push((name.clone(), self.field(field, platform)?));
        }
        if !shared.facts.workspace.is_empty() {
            // It has its place on this machine, and that is its name.
            let place = PathBuf::from(&shared.facts.workspace);
            std::fs::create_dir_all(&place).map_err(|e| format!("{}: {e}", place.display()))?;
            // Where the SDK looks for what an importer brought (`dsl.constants`).
            if on != Place::Host || are_possible() {
                given.mounts.push(Mount { source: place, target: "/kfp-workspace".into() });
            }
        }
        self.notes.extend(platform.notes.iter().cloned());
        Ok(given)
    }

    /// A field of its pod, as the downward API has it.
    fn field(&self, field: &str, platform: &Platform) -> Result<String, String> {
        let facts = &self.assignment.shared.facts;
        let of = |part: &str| {
            let key = field.strip_prefix(&format!("metadata.{part}['"))?.strip_suffix("']")?;
            let wanted = format!("{part}/{key}");
            Some(
                platform
                    .labels
                    .iter()
                    .find(|(name, _)| *name == wanted)
                    .map(|(_, v)| v.clone())
                    .unwrap_or_default(),
            )
        };
        let pod = || format!("{}-{}", facts.resource_name, self.assignment.node);
        Ok(match field {
            "metadata.name" => pod(),
            "metadata.uid" => {
                super::uuid(&facts.uuid, self.assignment.node, self.assignment.attempt)
            }
            "metadata.namespace" => "default".to_owned(),
            "status.hostIP" | "status.podIP" => "127.0.0.1".to_owned(),
            "spec.nodeName" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            "spec.serviceAccountName" => "default".to_owned(),
            field => match of("labels").or_else(|| of("annotations")) {
                Some(value) => value,
                None => return Err(format!("the field '{field}' of a pod has no meaning here")),
            },
        })
    }
}
