//! What a job is given: its contexts, its secrets, its environment, its step machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use trainyard_engine::{InstanceId, RunState};
use trainyard_expression::{Environment, Place};
use trainyard_job::container::ContainerSpec;
use trainyard_job::mask::Masker;
use trainyard_job::spec::JobSpec;
use trainyard_job::{JobContexts, JobMachine, Places};
use trainyard_model::{Object, Secret, Value};
use trainyard_services::JobAccess;
use trainyard_workflow::lower::WorkflowFile;
use trainyard_workflow::model::{CallSecrets, JobKind};
use trainyard_workflow::semantics::{WorkflowSemantics, needs_context};
use trainyard_workflow::span_of;

use crate::host::containers::PathMap;
use crate::host::workspace::Workspace;

/// Secrets by name, in upper case.
pub type Secrets = BTreeMap<String, Secret>;

/// What all jobs of a run share.
pub struct RunFacts<'a> {
    /// The run's `github` context.
    pub github: &'a Value,
    /// The secrets of the call.
    pub secrets: &'a Secrets,
    /// The `vars` context.
    pub vars: &'a Value,
    /// Whether debug output shows.
    pub debug: bool,
    /// Whether bash is there.
    pub has_bash: bool,
    /// Whether the steps run in a container.
    pub in_container: bool,
    /// The container that the job's label stands for.
    pub image: Option<&'a ContainerSpec>,
    /// What the job is told of the services, if they run.
    pub access: Option<&'a JobAccess>,
}

fn definition<'a>(
    semantics: &'a WorkflowSemantics,
    state: &RunState,
    id: InstanceId,
) -> &'a trainyard_workflow::lower::NodeDefinition {
    let plan = state.instance(id).plan;
    &semantics.nodes[semantics.definitions[plan.index()] as usize]
}

/// The chain of scopes around a node, the root first.
fn scopes(state: &RunState, id: InstanceId) -> Vec<InstanceId> {
    let mut chain = Vec::new();
    let mut at = state.instance(id).parent;
    while let Some(current) = at {
        chain.push(current);
        at = state.instance(current).parent;
    }
    chain.reverse();
    chain
}

/// Contexts in which the secrets of a call are evaluated.
struct CallContexts<'a> {
    github: &'a Value,
    inputs: &'a Value,
    vars: &'a Value,
    needs: Value,
    matrix: Value,
    strategy: Value,
    secrets: Value,
}

impl Environment for CallContexts<'_> {
    fn context(&self, name: &str) -> Value {
        match name.to_ascii_lowercase().as_str() {
            "github" => self.github.clone(),
            "inputs" => self.inputs.clone(),
            "vars" => self.vars.clone(),
            "needs" => self.needs.clone(),
            "matrix" => self.matrix.clone(),
            "strategy" => self.strategy.clone(),
            "secrets" => self.secrets.clone(),
            _ => Value::Null,
        }
    }
}

/// What a job or a call sees before it runs.
fn call_contexts<'a>(
    state: &'a RunState,
    id: InstanceId,
    facts: &RunFacts<'a>,
    secrets: Value,
) -> CallContexts<'a> {
    let scope = state.scope_of(id).unwrap_or(InstanceId::ROOT);
    let cell = state.instance(id).cell.as_ref();
    CallContexts {
        github: facts.github,
        inputs: &state.instance(scope).inputs,
        vars: facts.vars,
        needs: needs_context(&state.needs_of(id)),
        matrix: cell.map(|c| c.values.clone()).unwrap_or_default(),
        strategy: cell.map(|c| c.strategy.clone()).unwrap_or_default(),
        secrets,
    }
}

fn secrets_value(secrets: &Secrets) -> Value {
    Value::object(secrets.iter().map(|(k, v)| (k.as_str(), Value::from(v.expose()))))
}

/// The secrets that a node sees: the outermost call's, narrowed call by call.
fn secrets_of(
    semantics: &WorkflowSemantics,
    state: &RunState,
    id: InstanceId,
    facts: &RunFacts<'_>,
) -> Result<Secrets, String> {
    let mut secrets = facts.secrets.clone();
    for scope in scopes(state, id) {
        let instance = state.instance(scope);
        // A fan-out has the same plan node as its legs; only the leg is the call.
        let is_fan_out = matches!(
            &instance.state,
            trainyard_engine::NodeState::Open(counters) if counters.fan_out
        );
        let node = definition(semantics, state, scope);
        let Some(job) = node.job.filter(|_| !is_fan_out) else { continue };
        let JobKind::Call(call) = &semantics.files[node.file].workflow.jobs[job].kind else {
            continue;
        };
        let token = secrets.get("GITHUB_TOKEN").cloned();
        secrets = match &call.secrets {
            CallSecrets::Inherit => secrets,
            CallSecrets::None => Secrets::new(),
            CallSecrets::Map(map) => {
                let contexts = call_contexts(state, scope, facts, secrets_value(&secrets));
                let pairs = map.evaluate_pairs(&contexts).map_err(|e| format!("secrets: {e}"))?;
                pairs
                    .into_iter()
                    .filter(|(_, v)| !v.is_empty())
                    .map(|(k, v)| (k.to_uppercase(), Secret::new(v)))
                    .collect()
            }
        };
        if let Some(token) = token {
            secrets.insert("GITHUB_TOKEN".into(), token);
        }
    }
    Ok(secrets)
}

/// Whether a node sees the secrets of the call, by the same names: not those that a call of a
/// workflow passed on under others.
pub fn sees_own_secrets(
    semantics: &WorkflowSemantics,
    state: &RunState,
    id: InstanceId,
    facts: &RunFacts<'_>,
) -> bool {
    secrets_of(semantics, state, id, facts).is_ok_and(|secrets| {
        secrets.iter().all(|(name, value)| {
            name == "GITHUB_TOKEN"
                || facts.secrets.get(name).is_some_and(|own| own.expose() == value.expose())
        })
    })
}

/// The step machine of a leaf, ready to start.
pub fn machine(
    semantics: &WorkflowSemantics,
    state: &RunState,
    id: InstanceId,
    workspace: &Workspace,
    facts: &RunFacts<'_>,
) -> Result<JobMachine, String> {
    let node = definition(semantics, state, id);
    let file = &semantics.files[node.file].workflow;
    let job = node.job.map(|j| &file.jobs[j]).ok_or("the node is no job")?;
    let JobKind::Steps(steps) = &job.kind else { return Err("the job has no steps".into()) };
    let mut secrets = secrets_of(semantics, state, id, facts)?;
    if let Some(access) = facts.access {
        // `secrets.GITHUB_TOKEN` and `github.token` are the same.
        let token = Secret::new(access.token.as_str());
        secrets.entry("GITHUB_TOKEN".into()).or_insert(token);
    }
    let mut masker = Masker::default();
    masker.add_all(secrets.values().map(Secret::expose));
    masker.add_all(facts.access.iter().flat_map(|a| a.secrets.iter().map(String::as_str)));
    let instance = state.instance(id);
    let scope = state.scope_of(id).unwrap_or(InstanceId::ROOT);
    let seen = match facts.in_container {
        true => as_in_container(workspace),
        false => workspace.clone(),
    };
    let spec = JobSpec {
        env: [file.env.clone(), steps.env.clone()].into_iter().flatten().collect(),
        defaults: vec![file.defaults.clone(), steps.defaults.clone()],
        steps: steps.steps.clone(),
        container: steps.container.clone(),
        services: steps.services.clone(),
        outputs: steps.outputs.clone(),
        environment_url: steps.environment.as_ref().and_then(|e| e.get("url")).cloned(),
    };
    let contexts = JobContexts {
        github: job_github(facts, &job.id, &seen, &secrets, &semantics.files[node.file]),
        inputs: state.instance(scope).inputs.clone(),
        vars: facts.vars.clone(),
        secrets: secrets_value(&secrets),
        needs: needs_context(&state.needs_of(id)),
        strategy: match &instance.cell {
            Some(cell) => cell.strategy.clone(),
            None => Value::object([
                ("fail-fast", Value::Bool(true)),
                ("job-index", Value::Number(0.0)),
                ("job-total", Value::Number(1.0)),
                ("max-parallel", Value::Number(1.0)),
            ]),
        },
        matrix: instance.cell.as_ref().map(|c| c.values.clone()).unwrap_or_default(),
        runner: runner(&seen, facts.debug),
        job: job_facts(facts.github, &semantics.files[node.file]),
        command_files: path(&seen.command_files),
        has_bash: facts.has_bash,
        image: facts.image.cloned(),
        debug: facts.debug,
        places: Places(Some(Arc::new(places_of(semantics)))),
    };
    Ok(JobMachine::new(spec, contexts, masker))
}

/// Whether a job asks for a container: an image that an expression names may come out empty.
///
/// # Errors
///
/// When the expression cannot be evaluated.
pub fn wants_container(
    semantics: &WorkflowSemantics,
    state: &RunState,
    id: InstanceId,
    facts: &RunFacts<'_>,
) -> Result<bool, String> {
    let node = definition(semantics, state, id);
    let job = node.job.map(|j| &semantics.files[node.file].workflow.jobs[j]);
    let Some(JobKind::Steps(steps)) = job.map(|j| &j.kind) else { return Ok(false) };
    let Some(container) = &steps.container else { return Ok(false) };
    let contexts = call_contexts(state, id, facts, Value::Null);
    let image = container.get("image").unwrap_or(container);
    let image = image.evaluate(&contexts).map_err(|e| format!("container: {e}"))?;
    let image = image.get("image").cloned().unwrap_or(image);
    Ok(!image.to_text().trim().is_empty())
}

/// The folders as the steps of a container see them.
fn as_in_container(workspace: &Workspace) -> Workspace {
    let map = PathMap::of_job(workspace);
    let inside = |path: &Path| PathBuf::from(map.inside(&path.to_string_lossy()));
    Workspace {
        root: inside(&workspace.root),
        workspace: inside(&workspace.workspace),
        runner_workspace: inside(&workspace.runner_workspace),
        temp: inside(&workspace.temp),
        command_files: inside(&workspace.command_files),
        event_path: inside(&workspace.event_path),
        tools: inside(&workspace.tools),
    }
}

/// `file:line:column` of a place in the run's files.
fn places_of(
    semantics: &WorkflowSemantics,
) -> impl Fn(Place) -> Option<String> + Send + Sync + use<> {
    let files = semantics.files.clone();
    move |place| {
        let file = files.get(usize::from(place.file))?;
        let at = file.source.position(span_of(place).start);
        Some(format!("{}:{}:{}", file.path, at.line, at.column))
    }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn text(value: &Value) -> String {
    value.to_text().into_owned()
}

/// Where the job stands: the called workflow's file, for a job of one.
pub fn job_facts(github: &Value, file: &WorkflowFile) -> Value {
    let github = |name: &str| github.get(name).map(text).unwrap_or_default();
    let (repository, path, reference, sha) = match &file.origin {
        None => (github("repository"), file.path.clone(), github("ref"), github("workflow_sha")),
        Some(origin) => {
            let path = file.path.split('@').next().unwrap_or_default();
            let path = path.strip_prefix(&origin.slug).unwrap_or(path).trim_start_matches('/');
            let (slug, reference) = (origin.slug.clone(), origin.reference.clone());
            (slug, path.to_owned(), reference, origin.sha.clone())
        }
    };
    Value::object([
        ("workflow_ref", Value::from(format!("{repository}/{path}@{reference}"))),
        ("workflow_sha", Value::from(sha)),
        ("workflow_repository", Value::from(repository)),
        ("workflow_file_path", Value::from(path)),
    ])
}

fn job_github(
    facts: &RunFacts<'_>,
    job: &str,
    workspace: &Workspace,
    secrets: &Secrets,
    file: &WorkflowFile,
) -> Value {
    let mut github = match facts.github {
        Value::Object(object) => Object::clone(object),
        _ => Object::new(),
    };
    let token = secrets.get("GITHUB_TOKEN").map(|t| t.expose().to_owned()).unwrap_or_default();
    for (name, value) in [
        ("job", job.to_owned()),
        ("workspace", path(&workspace.workspace)),
        ("event_path", path(&workspace.event_path)),
        ("token", token),
        (
            "job_workflow_sha",
            job_facts(facts.github, file).get("workflow_sha").map(text).unwrap_or_default(),
        ),
    ] {
        github.insert(name, Value::from(value));
    }
    // A token of the user's own is the forge's, and so is the API then.
    if let Some(access) = facts.access.filter(|_| !facts.secrets.contains_key("GITHUB_TOKEN")) {
        github.insert("api_url", Value::from(format!("{}/api", access.base)));
        github.insert("graphql_url", Value::from(format!("{}/api/graphql", access.base)));
    }
    Value::Object(Arc::new(github))
}

/// The `runner` context, and so the `RUNNER_` variables.
fn runner(workspace: &Workspace, debug: bool) -> Value {
    let mut runner = Object::new();
    let arch = match std::env::consts::ARCH {
        "aarch64" => "ARM64",
        "x86" => "X86",
        _ => "X64",
    };
    for (name, value) in [
        ("os", "Linux".to_owned()),
        ("arch", arch.to_owned()),
        ("name", "trainyard".to_owned()),
        ("environment", "self-hosted".to_owned()),
        ("tool_cache", path(&workspace.tools)),
        ("temp", path(&workspace.temp)),
        ("workspace", path(&workspace.runner_workspace)),
    ] {
        runner.insert(name, Value::from(value));
    }
    if debug {
        runner.insert("debug", Value::from("1"));
    }
    Value::Object(Arc::new(runner))
}
