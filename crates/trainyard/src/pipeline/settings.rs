//! What a call asks of a pipeline run, and what of it is kept for re-runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::ui::Output;

/// Where tasks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Executor {
    /// As processes where the image is a Python image, in containers else
    #[default]
    Auto,
    /// As processes of this machine, whatever the image
    Host,
    /// In containers of their images
    Container,
    /// Nowhere: each ends at once, with values of its outputs' types. For measuring
    #[value(hide = true)]
    Scripted,
}

/// A run of a pipeline, as it was asked for. What a re-run needs is in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PipelineCall {
    /// The name of the file, for people.
    pub path: String,
    /// Its text.
    pub text: String,
    /// The parameters.
    pub parameters: Map<String, Json>,
    /// `--root`
    pub root: Option<String>,
    /// `--no-cache`
    pub no_cache: bool,
    /// `--executor`
    pub executor: Executor,
    /// `--jobs`
    pub jobs: usize,
    /// Whether images are pulled: always, never, or when they are missing.
    pub pull: Option<bool>,
    /// Where the call was made: `trainyard.toml` is looked for there.
    pub directory: PathBuf,
    /// Facts of the run that stay in later attempts.
    #[serde(default)]
    pub facts: Option<trainyard_pipeline::RunFacts>,
}

/// What `trainyard.toml` says of pipelines: what Kubernetes would have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// `[pipeline.secrets.NAME]`: keys and values; `env:NAME` takes the value from the caller's environment,
    /// `file:PATH` from a file.
    pub secrets: BTreeMap<String, BTreeMap<String, String>>,
    /// `[pipeline.config-maps.NAME]`
    #[serde(rename = "config-maps")]
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
    /// `[pipeline.stores."s3://BUCKET"]`: how object stores are reached, where the environment does not say it.
    pub stores: BTreeMap<String, Store>,
    /// `[pipeline.volumes]`: named volumes by the paths at which every task finds them.
    pub volumes: BTreeMap<String, String>,
}

/// How a bucket is reached. Keys may be `env:NAME` and `file:PATH`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Store {
    /// `http://HOST:PORT`
    pub endpoint: String,
    /// The region.
    pub region: String,
    /// The name of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// A session's token.
    pub token: String,
    /// For public buckets: nothing is signed.
    pub anonymous: bool,
}

/// A call with how it is shown.
pub struct Request {
    /// The call.
    pub call: PipelineCall,
    /// What stands for the cluster.
    pub cluster: Cluster,
    /// How it is shown.
    pub output: Output,
}
