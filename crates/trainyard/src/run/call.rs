//! What a re-run needs of the call that made the run: kept with the run, without secrets.
//!
//! The definitions are kept as they were, so a re-run is of the same plan whatever became of the
//! files. The work tree is not kept: a run of it checks it out as it is when a job runs again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use trainyard_diagnostics::Source;
use trainyard_executor_container::Pull;
use trainyard_job::container::ContainerSpec;
use trainyard_job::mask::Masker;
use trainyard_job::seal::{Seal, unseal, unseal_value};
use trainyard_model::{Object, Value};
use trainyard_workflow::lower::{Loaded, Loader, Lowered, Origin, WorkflowFile, lower};
use trainyard_workflow::permissions::{Level, Permissions};
use trainyard_workflow::read_workflow;

use super::event::{Event, EventRequest};
use super::{Settings, narrow};
use crate::actions::places::Places;
use crate::error::{Error, Result};
use crate::git::Commit;
use crate::ui::Output;

/// Where the value of a secret came from: that is kept, the value is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// It was written out.
    Given,
    /// The caller's environment.
    Variable,
    /// A file of `NAME=VALUE` lines.
    File(PathBuf),
}

/// A value that was given on the command line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    /// As written; secrets in it are names.
    Value(String),
    /// From the caller's environment.
    Variable,
    /// It holds something masked, and must be given again.
    Masked,
}

/// The call, as the history keeps it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    directory: PathBuf,
    job: Option<String>,
    matrix: Vec<(String, String)>,
    secrets: Vec<(String, SecretSource)>,
    vars: Vec<(String, String)>,
    /// Variables for every step: where those came from that the caller's environment had.
    env: Vec<(String, Kept)>,
    jobs: usize,
    keep: super::kept::Keep,
    /// Whether the payload was given, and so is not added to.
    payload_given: bool,
    inherit_env: bool,
    labels: Vec<(String, bool)>,
    /// Labels, images and options.
    #[serde(default)]
    images: Vec<(String, String, String)>,
    #[serde(default)]
    images_only: bool,
    /// Whether images are pulled: always, never, or when they are missing.
    #[serde(default)]
    pull: Option<bool>,
    places: Places,
    quota: Option<u64>,
    builtin_actions: bool,
    /// The event without its payload, which is in its context.
    event: StoredEvent,
    /// The inputs of the root.
    inputs: Value,
    files: Vec<StoredFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredEvent {
    name: String,
    reference: String,
    head: Commit,
    work_tree: bool,
    repository: String,
    github: Value,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredFile {
    path: String,
    /// Repository, ref, commit, folder.
    origin: Option<(String, String, String, String)>,
    text: String,
}

/// A call that was read back.
pub struct Recalled {
    /// Its settings.
    pub settings: Settings,
    /// The names of secrets that are nowhere to be had.
    pub missing: Vec<String>,
    /// The event.
    pub event: Event,
    /// The workflow.
    pub lowered: Lowered,
    /// The inputs of its root.
    pub inputs: Value,
}

impl Call {
    /// What is kept of a call.
    pub fn new(settings: &Settings, event: &Event, lowered: &Lowered, inputs: &Value) -> Call {
        let secrets = settings.secrets.iter();
        let secrets =
            Value::object(secrets.map(|(k, v)| (k.to_uppercase(), Value::from(v.as_str()))));
        let mut masker = Masker::default();
        masker.add_all(settings.secrets.iter().map(|(_, v)| v.as_str()));
        let seal = Seal::new(&secrets, &masker);
        let env = settings.env.iter().map(|(name, value)| {
            let kept = match (settings.env_variables.contains(name), seal.seal(value)) {
                (true, _) => Kept::Variable,
                (false, Some(value)) => Kept::Value(value),
                (false, None) => Kept::Masked,
            };
            (name.clone(), kept)
        });
        let none = settings.secrets.is_empty();
        let sealed = |value: &Value| match none {
            true => value.clone(),
            false => seal.seal_value(value).unwrap_or_default(),
        };
        let origin =
            |o: &Origin| (o.slug.clone(), o.reference.clone(), o.sha.clone(), o.folder.clone());
        Call {
            directory: std::path::absolute(&settings.directory)
                .unwrap_or_else(|_| settings.directory.clone()),
            job: settings.job.clone(),
            matrix: settings.matrix.clone(),
            secrets: settings.secret_sources.clone(),
            vars: settings.vars.clone(),
            env: env.collect(),
            jobs: settings.jobs,
            keep: settings.keep,
            payload_given: settings.request.payload.is_some(),
            inherit_env: settings.inherit_env,
            labels: settings.labels.clone(),
            images: settings
                .images
                .iter()
                .map(|(label, i)| (label.clone(), i.image.clone(), i.options.clone()))
                .collect(),
            images_only: settings.images_only,
            pull: match settings.pull {
                Pull::Always => Some(true),
                Pull::Never => Some(false),
                Pull::Missing => None,
            },
            places: settings.places.clone(),
            quota: settings.quota,
            builtin_actions: settings.builtin_actions,
            event: StoredEvent {
                name: event.name.clone(),
                reference: event.reference.clone(),
                head: event.head.clone(),
                work_tree: event.work_tree,
                repository: event.repository.clone(),
                github: sealed(&Value::Object(Arc::new(event.github.clone()))),
            },
            inputs: sealed(inputs),
            files: lowered
                .files
                .iter()
                .map(|f| StoredFile {
                    path: f.path.clone(),
                    origin: f.origin.as_ref().map(origin),
                    text: f.source.text().to_owned(),
                })
                .collect(),
        }
    }

    /// Reads it back.
    ///
    /// Secrets come by `again` from where the call had them; they are put back where they were.
    pub fn recall(
        text: &str,
        again: impl Fn(&[(String, SecretSource)]) -> (Vec<(String, String)>, Vec<String>),
    ) -> Result<Recalled> {
        if text.is_empty() {
            return Err(Error::new("the run was made by a version that kept nothing for re-runs")
                .hint("trainyard run makes a new one"));
        }
        let call: Call = serde_json::from_str(text).map_err(|e| {
            Error::new(format!("what the run kept for re-runs cannot be read: {e}"))
        })?;
        let (secrets, missing) = again(&call.secrets);
        let values =
            Value::object(secrets.iter().map(|(k, v)| (k.to_uppercase(), Value::from(v.as_str()))));
        let open = |value: &Value| unseal_value(value, &values).map_err(|name| needs_secret(&name));
        let github = match open(&call.event.github)? {
            Value::Object(object) => Object::clone(&object),
            _ => Object::new(),
        };
        let inputs = open(&call.inputs)?;
        let (mut env, mut env_variables) = (Vec::new(), Vec::new());
        for (name, kept) in call.env {
            let value = match kept {
                Kept::Value(text) => unseal(&text, &values).map_err(|name| needs_secret(&name))?,
                Kept::Variable => std::env::var(&name).map_err(|_| {
                    Error::new(format!(
                        "the run had {name} from the environment, which has none now"
                    ))
                    .hint(format!("set it: {name}=VALUE trainyard rerun"))
                })?,
                Kept::Masked => {
                    return Err(Error::new(format!(
                        "the value of --env {name} is secret, and not kept"
                    ))
                    .hint("trainyard run makes a new run"));
                }
            };
            if std::env::var(&name).is_ok_and(|own| own == value) {
                env_variables.push(name.clone());
            }
            env.push((name, value));
        }
        let payload = github.get("event").cloned().unwrap_or_default();
        let event = Event {
            name: call.event.name,
            reference: call.event.reference,
            head: call.event.head,
            work_tree: call.event.work_tree,
            repository: call.event.repository,
            github,
            payload,
            notes: Vec::new(),
        };
        let lowered = relower(&call.files, call.job.as_deref())?;
        let settings = Settings {
            directory: call.directory,
            workflows: Vec::new(),
            request: EventRequest {
                event: event.name.clone(),
                payload: call.payload_given.then(|| event.payload.clone()),
                ..EventRequest::default()
            },
            job: call.job,
            matrix: call.matrix,
            secrets,
            secret_sources: call.secrets,
            vars: call.vars,
            env,
            env_variables,
            inherit_env: call.inherit_env,
            labels: call.labels,
            images: call
                .images
                .into_iter()
                .map(|(label, image, options)| {
                    (label, ContainerSpec { image, options, ..ContainerSpec::default() })
                })
                .collect(),
            images_only: call.images_only,
            pull: match call.pull {
                Some(true) => Pull::Always,
                Some(false) => Pull::Never,
                None => Pull::Missing,
            },
            places: call.places,
            quota: call.quota,
            builtin_actions: call.builtin_actions,
            keep: call.keep,
            jobs: call.jobs,
            output: Output::Plain,
        };
        Ok(Recalled { settings, missing, event, lowered, inputs })
    }
}

fn needs_secret(name: &str) -> Error {
    Error::new(format!("the run had the secret {name}, whose value is not kept"))
        .hint(format!("give it again: --secret {name}=VALUE"))
}

/// The workflow from the texts that were kept.
fn relower(files: &[StoredFile], job: Option<&str>) -> Result<Lowered> {
    let mut loader = StoredLoader { files: files.iter().map(|f| (f.path.as_str(), f)).collect() };
    let root = files.first().map(|f| f.path.clone()).unwrap_or_default();
    let Loaded::Workflow(root) = loader.load(&root, 0) else {
        return Err(Error::new("this version does not read the workflow as the run's did")
            .hint("trainyard run makes a new run"));
    };
    let mut lowered = lower(Arc::clone(&root), &mut loader, &Permissions::all(Level::Write));
    if let Some(job) = job {
        narrow::to_job(&mut lowered, &root, job);
    }
    Ok(lowered)
}

struct StoredLoader<'a> {
    files: BTreeMap<&'a str, &'a StoredFile>,
}

impl Loader for StoredLoader<'_> {
    fn load(&mut self, path: &str, file: u16) -> Loaded {
        let Some(stored) = self.files.get(path) else { return Loaded::Missing };
        let source = Source::new(stored.path.clone(), stored.text.clone());
        let (workflow, _) = read_workflow(&source, file);
        let origin = stored.origin.clone().map(|(slug, reference, sha, folder)| Origin {
            slug,
            reference,
            sha,
            folder,
        });
        let path = stored.path.clone();
        match workflow {
            Some(workflow) => {
                Loaded::Workflow(Arc::new(WorkflowFile { path, origin, source, workflow }))
            }
            None => Loaded::Broken,
        }
    }
}

/// The secrets of a re-run: those of the call, got again where they came from, and those that are
/// given now. The names of those that are nowhere.
pub fn secrets_again(
    wanted: &[(String, SecretSource)],
    given: Vec<(String, String)>,
    read: impl Fn(&Path) -> Result<Vec<(String, String)>>,
) -> (Vec<(String, String)>, Vec<String>) {
    let (mut secrets, mut missing) = (Vec::new(), Vec::new());
    for (name, source) in wanted {
        if given.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)) {
            continue;
        }
        let value = match source {
            SecretSource::Given => None,
            SecretSource::Variable => std::env::var(name).ok(),
            SecretSource::File(path) => read(path)
                .ok()
                .and_then(|pairs| pairs.into_iter().rfind(|(n, _)| n == name))
                .map(|(_, value)| value),
        };
        match value {
            Some(value) => secrets.push((name.clone(), value)),
            None => missing.push(name.clone()),
        }
    }
    secrets.extend(given);
    (secrets, missing)
}
