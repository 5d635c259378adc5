//! What the Kubernetes platform says of an executor (`kubernetes_executor_config.proto`), with its names
//! bound: what has a meaning on one machine, and notes of what has none.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::bind::Around;
use crate::bundle::Bundle;
use crate::values::text_of;

/// What a task has beyond its inputs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// Variables from secrets and config maps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvFrom>,
    /// Folders of secrets and config maps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FilesFrom>,
    /// Claims on volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// Folders that are empty and the task's alone: paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub empty: Vec<String>,
    /// Facts of its pod as variables: name and field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(String, String)>,
    /// Labels and annotations of its pod, which `fields` may ask for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
    /// Seconds that it may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Its user in a container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `/dev/shm`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub shared_memory: String,
    /// `Always`, `IfNotPresent`, `Never`
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pull: String,
    /// What is left out, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A secret.
    Secret,
    /// A config map.
    ConfigMap,
}

/// A variable from a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFrom {
    /// Of what.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
    /// The variable.
    pub variable: String,
    /// Whether it may be missing.
    pub optional: bool,
}

/// A folder with a file for each key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesFrom {
    /// Of what.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The folder.
    pub path: String,
    /// Whether it may be missing.
    pub optional: bool,
}

/// A claim that is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Where.
    pub path: String,
    /// Which folder of it.
    pub sub_path: String,
}

fn entries<'a>(config: &'a Json, key: &str) -> &'a [Json] {
    config.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Json, key: &str) -> String {
    value.get(key).map(text_of).unwrap_or_default()
}

/// Reads what is said of an executor. A name that an absent optional input gives skips its entry.
pub(crate) fn platform(
    config: &Json,
    around: &Around<'_>,
    own: &Bundle,
) -> Result<Platform, String> {
    let mut made = Platform::default();
    for (kind, key, name) in [
        (Kind::Secret, "secretAsEnv", "secretName"),
        (Kind::ConfigMap, "configMapAsEnv", "configMapName"),
    ] {
        for entry in entries(config, key) {
            let Some(name) = name_of(entry, name, around, own)? else { continue };
            let optional = entry["optional"] == true;
            for pair in entries(entry, "keyToEnv") {
                let from = match kind {
                    Kind::Secret => text(pair, "secretKey"),
                    Kind::ConfigMap => text(pair, "configMapKey"),
                };
                let variable = text(pair, "envVar");
                made.env.push(EnvFrom { kind, name: name.clone(), key: from, variable, optional });
            }
        }
    }
    for (kind, key, name) in [
        (Kind::Secret, "secretAsVolume", "secretName"),
        (Kind::ConfigMap, "configMapAsVolume", "configMapName"),
    ] {
        for entry in entries(config, key) {
            let Some(name) = name_of(entry, name, around, own)? else { continue };
            let (path, optional) = (text(entry, "mountPath"), entry["optional"] == true);
            made.files.push(FilesFrom { kind, name, path, optional });
        }
    }
    for entry in entries(config, "pvcMount") {
        let name = match entry.get("pvcNameParameter") {
            Some(parameter) => around.named(parameter, own)?,
            // As old SDKs wrote it.
            None if entry.get("constant").is_some() => Some(text(entry, "constant")),
            None => around.named(entry, own)?,
        };
        let Some(name) = name.filter(|n| !n.is_empty()) else { continue };
        let (path, sub_path) = (text(entry, "mountPath"), text(entry, "subPath"));
        made.claims.push(Claim { name, path, sub_path });
    }
    for key in ["genericEphemeralVolume", "emptyDirMounts"] {
        made.empty.extend(entries(config, key).iter().map(|entry| text(entry, "mountPath")));
    }
    for entry in entries(config, "fieldPathAsEnv") {
        made.fields.push((text(entry, "name"), text(entry, "fieldPath")));
    }
    for part in ["labels", "annotations"] {
        if let Some(Json::Object(map)) = config.get("podMetadata").and_then(|m| m.get(part)) {
            let named = map.iter().map(|(k, v)| (format!("{part}/{k}"), text_of(v)));
            made.labels.extend(named);
        }
    }
    let seconds = text(config, "activeDeadlineSeconds").parse().ok();
    made.seconds = seconds.filter(|s| *s > 0);
    made.pull = text(config, "imagePullPolicy");
    if let Some(memory) = config.get("enabledSharedMemory") {
        made.shared_memory = match text(memory, "size") {
            size if size.is_empty() => "50%".to_owned(),
            size => size,
        };
    }
    if let Some(context) = config.get("securityContext") {
        let (user, group) = (text(context, "runAsUser"), text(context, "runAsGroup"));
        made.user = match (user.is_empty(), group.is_empty()) {
            (true, _) => String::new(),
            (false, true) => user,
            (false, false) => format!("{user}:{group}"),
        };
    }
    for (key, what) in [
        ("nodeSelector", "a selector of nodes"),
        ("tolerations", "tolerations"),
        ("nodeAffinity", "affinity to nodes"),
        ("podAffinity", "affinity to pods"),
        ("imagePullSecret", "a secret for pulling (log in with the engine instead)"),
        ("initContainers", "init containers"),
    ] {
        let said = match config.get(key) {
            Some(Json::Array(items)) => !items.is_empty(),
            Some(Json::Object(map)) => !map.is_empty(),
            _ => false,
        };
        if said {
            made.notes.push(format!("left out, as one machine has no use for it: {what}"));
        }
    }
    Ok(made)
}

fn name_of(
    entry: &Json,
    key: &str,
    around: &Around<'_>,
    own: &Bundle,
) -> Result<Option<String>, String> {
    match entry.get(format!("{key}Parameter")) {
        Some(parameter) => around.named(parameter, own),
        None => Ok(Some(text(entry, key)).filter(|n| !n.is_empty())),
    }
}
