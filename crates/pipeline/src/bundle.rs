//! What goes from task to task: parameters and artifacts, as JSON that the engine carries unread.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use trainyard_model::Value;

use crate::spec::ArtifactType;

/// An artifact as it is recorded.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Artifact {
    /// Its name: that of the output that it was made as.
    pub name: String,
    /// Where it is.
    pub uri: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: ArtifactType,
    /// What it says of itself.
    #[serde(skip_serializing_if = "Json::is_null")]
    pub metadata: Json,
    /// Where its file is instead, as its task said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub custom_path: String,
    /// The hash of its contents, where they are kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Bytes of it, where they are known.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes: i64,
    /// The number under which it is recorded; 0 for one that is not.
    #[serde(skip_serializing_if = "is_zero")]
    pub id: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Inputs or outputs of a task or of a graph.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Bundle {
    /// Parameters. One that is absent is not null.
    #[serde(rename = "p", skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Json>,
    /// Artifacts, each a list.
    #[serde(rename = "a", skip_serializing_if = "BTreeMap::is_empty")]
    pub artifacts: BTreeMap<String, Vec<Artifact>>,
    /// What the platform says of a task, with its names bound.
    #[serde(rename = "k", skip_serializing_if = "Option::is_none")]
    pub platform: Option<crate::platform::Platform>,
    /// Whether it comes from a cache.
    #[serde(rename = "c", skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// Why the task failed.
    #[serde(rename = "e", skip_serializing_if = "String::is_empty")]
    pub error: String,
}

impl Bundle {
    /// As the engine carries it.
    pub fn to_value(&self) -> Value {
        Value::string(serde_json::to_string(self).unwrap_or_default())
    }

    /// Back from there; what is none is empty.
    pub fn of_value(value: &Value) -> Bundle {
        value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}
