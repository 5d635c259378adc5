//! From workflows to a plan: called workflows are resolved until none is missing, so the plan is
//! closed before the run starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use trainyard_diagnostics::{Diagnostic, Severity, Source};
use trainyard_expression::{Place, Template, TemplateKind};
use trainyard_plan::{NodeKind, Plan, PlanNodeId};

use crate::model::{CallJob, CallSecrets, InputType, Job, JobKind, TriggerDef, Workflow};
use crate::permissions::{Level, Permissions};
use crate::span_of;

/// Files that one run may call besides the caller's (`ParseOptions.MaxReusableWorkflows`).
pub const MAX_CALLED_FILES: usize = 50;
/// How deep workflows may call each other (GitHub's documentation: ten levels).
pub const MAX_CALL_DEPTH: usize = 10;
/// Jobs of a workflow and of all that it calls: calls within calls multiply.
pub const MAX_NODES: usize = 20_000;

/// Another repository that a called workflow is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `owner/name`
    pub slug: String,
    /// The ref, as the call names it.
    pub reference: String,
    /// The commit that the ref was; empty where a folder stands for the repository.
    pub sha: String,
    /// Where its files are on this machine.
    pub folder: String,
}

/// A workflow with its source.
#[derive(Debug)]
pub struct WorkflowFile {
    /// Path in the repository; of another repository `owner/name/PATH@REF`.
    pub path: String,
    /// The repository, if it is not the run's own.
    pub origin: Option<Origin>,
    /// Its text.
    pub source: Source,
    /// What it says.
    pub workflow: Workflow,
}

/// What stands behind a called path.
pub enum Loaded {
    /// A workflow without errors.
    Workflow(Arc<WorkflowFile>),
    /// A file that has errors of its own.
    Broken,
    /// No such file.
    Missing,
    /// It is in another repository, which is not looked into here.
    Elsewhere,
    /// Its repository or ref is not to be had; why.
    Unreachable(String),
}

/// Where called workflows come from. The path is relative to the repository, without `./`, or
/// `owner/name/PATH@REF` for another one; the number is the index that the file's places must
/// carry.
pub trait Loader {
    /// The workflow of that path.
    fn load(&mut self, path: &str, file: u16) -> Loaded;
}

/// What a plan node stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeDefinition {
    /// Index of the file that holds the job.
    pub file: usize,
    /// Index of the job in it; none for the root.
    pub job: Option<usize>,
    /// Index of the called file, for a call.
    pub callee: Option<usize>,
    /// Why it may not run here, if it may not.
    pub refusal: Option<String>,
    /// What its token may do: as the job says, its workflow, or the one that calls it; none for
    /// the repository's default.
    pub permissions: Option<Permissions>,
}

/// A workflow with all that it calls, as a plan.
#[derive(Debug)]
pub struct Lowered {
    /// The graph.
    pub plan: Plan,
    /// The files, the run's own first.
    pub files: Vec<Arc<WorkflowFile>>,
    /// What each node stands for, by its `definition`.
    pub nodes: Vec<NodeDefinition>,
    /// What was found, with the index of the file it is about.
    pub diagnostics: Vec<(usize, Diagnostic)>,
}

/// Lowers a workflow. `granted` is what the repository's default token may do.
pub fn lower(root: Arc<WorkflowFile>, loader: &mut dyn Loader, granted: &Permissions) -> Lowered {
    let mut lowered = Lowered {
        plan: Plan::new(0),
        files: vec![root],
        nodes: vec![NodeDefinition {
            file: 0,
            job: None,
            callee: None,
            refusal: None,
            permissions: None,
        }],
        diagnostics: Vec::new(),
    };
    let mut lowerer =
        Lowerer { out: &mut lowered, loader, granted, known: BTreeMap::new(), chain: Vec::new() };
    lowerer.scope(PlanNodeId::ROOT, 0, None);
    lowered.diagnostics.dedup_by(|a, b| a == b);
    lowered
}

struct Lowerer<'a> {
    out: &'a mut Lowered,
    loader: &'a mut dyn Loader,
    granted: &'a Permissions,
    /// Files by path; none for those that cannot be used.
    known: BTreeMap<String, Option<usize>>,
    /// Paths from the root down.
    chain: Vec<String>,
}

impl Lowerer<'_> {
    fn scope(&mut self, parent: PlanNodeId, file: usize, max: Option<&Permissions>) {
        let current = Arc::clone(&self.out.files[file]);
        let mut ids: Vec<PlanNodeId> = Vec::new();
        for (index, job) in current.workflow.jobs.iter().enumerate() {
            if self.out.nodes.len() > MAX_NODES {
                let message =
                    format!("The workflow and all that it calls have over {MAX_NODES} jobs");
                self.error(file, "call/too-many-jobs", job.place, message);
                return;
            }
            let own = job.permissions.as_ref().or(current.workflow.permissions.as_ref());
            let definition = u32::try_from(self.out.nodes.len()).unwrap_or(u32::MAX);
            self.out.nodes.push(NodeDefinition {
                file,
                job: Some(index),
                callee: None,
                refusal: refusal(job),
                permissions: own.or(max).cloned(),
            });
            let fans_out = job.strategy.is_some();
            let kind = match &job.kind {
                JobKind::Call(_) => NodeKind::Scope,
                JobKind::Steps(_) => NodeKind::Work,
            };
            let id = self.out.plan.add(parent, job.id.clone(), kind, fans_out, definition);
            ids.push(id);
            if let (JobKind::Call(call), NodeKind::Scope) = (&job.kind, kind) {
                let max = own.or(max).cloned();
                self.call(id, definition, file, job, call, max.as_ref());
            }
        }
        for (job, id) in current.workflow.jobs.iter().zip(&ids) {
            for (need, _) in &job.needs {
                let at = current.workflow.jobs.iter().position(|j| j.id.eq_ignore_ascii_case(need));
                let node = &mut self.out.plan.nodes[id.index()];
                if let Some(at) = at
                    && !node.needs.contains(&ids[at])
                {
                    node.needs.push(ids[at]);
                }
            }
        }
    }

    fn error(&mut self, file: usize, rule: &'static str, place: Place, message: String) {
        self.out.diagnostics.push((file, Diagnostic::error(rule, span_of(place), message)));
    }

    fn help(&mut self, help: &str) {
        if let Some((_, last)) = self.out.diagnostics.last_mut() {
            last.help = Some(help.to_owned());
        }
    }

    fn call(
        &mut self,
        id: PlanNodeId,
        definition: u32,
        file: usize,
        job: &Job,
        call: &CallJob,
        max: Option<&Permissions>,
    ) {
        let path = call.uses.trim_start_matches("./").trim_start_matches("$/");
        // In a workflow of another repository `./` is that one, at the same ref.
        let path = match &self.out.files[file].origin {
            Some(origin) if is_local(&call.uses) => {
                format!("{}/{path}@{}", origin.slug, origin.reference)
            }
            _ => path.to_owned(),
        };
        if self.chain.len() >= MAX_CALL_DEPTH {
            self.error(
                file,
                "call/depth",
                call.place,
                format!("Nested reusable workflow depth exceeded {MAX_CALL_DEPTH}."),
            );
            return;
        }
        if self.chain.contains(&path) || (file == 0 && self.out.files[0].path == path) {
            self.error(file, "call/cycle", call.place, format!("'{path}' calls itself"));
            return;
        }
        let Some(callee) = self.load(file, call, &path) else { return };
        self.out.nodes[definition as usize].callee = Some(callee);
        let called = Arc::clone(&self.out.files[callee]);
        let Some(interface) = called.workflow.trigger("workflow_call") else {
            self.error(
                file,
                "call/not-callable",
                call.place,
                "workflow_call key is not defined in the referenced workflow.".into(),
            );
            self.help("add `workflow_call:` to its `on`");
            return;
        };
        self.check_inputs(file, call, interface);
        self.check_secrets(file, call, interface);
        let effective = max.unwrap_or(self.granted).clone();
        self.check_permissions(file, job, call, &called, &effective);
        self.chain.push(path);
        self.scope(id, callee, Some(&effective));
        self.chain.pop();
    }

    fn load(&mut self, file: usize, call: &CallJob, path: &str) -> Option<usize> {
        if let Some(known) = self.known.get(path) {
            return *known;
        }
        let index = self.out.files.len();
        let mut found = None;
        if index > MAX_CALLED_FILES {
            self.error(
                file,
                "call/too-many",
                call.place,
                format!("More than {MAX_CALLED_FILES} workflows are called"),
            );
        } else {
            match self.loader.load(path, u16::try_from(index).unwrap_or(u16::MAX)) {
                Loaded::Workflow(workflow) => {
                    self.out.files.push(workflow);
                    found = Some(index);
                }
                Loaded::Broken => self.error(
                    file,
                    "call/broken",
                    call.place,
                    format!("The called workflow '{path}' has errors"),
                ),
                Loaded::Elsewhere => {}
                Loaded::Unreachable(why) => {
                    let message = format!("The called workflow '{path}' is not to be had: {why}");
                    self.error(file, "call/unreachable", call.place, message);
                }
                Loaded::Missing => {
                    self.error(
                        file,
                        "call/missing",
                        call.place,
                        format!("The called workflow '{path}' does not exist"),
                    );
                    self.help("the path is relative to the root of the repository");
                }
            }
        }
        self.known.insert(path.to_owned(), found);
        found
    }

    fn check_inputs(&mut self, file: usize, call: &CallJob, interface: &TriggerDef) {
        let given = call.with.as_ref().map(Template::pairs).unwrap_or_default();
        let named = |name: &str| {
            given
                .iter()
                .find(|(k, _)| k.as_str().is_some_and(|k| k.eq_ignore_ascii_case(name)))
                .map(|(_, v)| v)
        };
        for input in &interface.inputs {
            match named(&input.name) {
                Some(value) if !fits(input.kind, value) => {
                    let text = match &value.kind {
                        TemplateKind::String(s) => s.to_string(),
                        other => format!("{other:?}"),
                    };
                    self.error(
                        file,
                        "call/input-type",
                        value.place,
                        format!("Unexpected value '{text}'"),
                    );
                    self.help(match input.kind {
                        InputType::Boolean => "this input is a boolean: write true or false",
                        _ => "this input is a number",
                    });
                }
                Some(_) => {}
                None if input.required && input.default.is_none() => {
                    self.error(
                        file,
                        "call/input-required",
                        call.place,
                        format!(
                            "Input {} is required, but not provided while calling.",
                            input.name
                        ),
                    );
                }
                None => {}
            }
        }
        for (key, value) in given {
            let Some(name) = key.as_str() else { continue };
            if !interface.inputs.iter().any(|i| i.name.eq_ignore_ascii_case(name)) {
                self.error(
                    file,
                    "call/input-unknown",
                    value.place,
                    format!("Invalid input, {name} is not defined in the referenced workflow."),
                );
            }
        }
    }

    fn check_secrets(&mut self, file: usize, call: &CallJob, interface: &TriggerDef) {
        let given = match &call.secrets {
            CallSecrets::Inherit => return,
            CallSecrets::None => &[],
            CallSecrets::Map(map) => map.pairs(),
        };
        let has = |name: &str| {
            given.iter().any(|(k, _)| k.as_str().is_some_and(|k| k.eq_ignore_ascii_case(name)))
        };
        for secret in interface.secrets.iter().filter(|s| s.required && !has(&s.name)) {
            self.error(
                file,
                "call/secret-required",
                call.place,
                format!("Secret {} is required, but not provided while calling.", secret.name),
            );
            self.help("pass it under `secrets:`, or `secrets: inherit`");
        }
        for (key, value) in given {
            let Some(name) = key.as_str() else { continue };
            if !interface.secrets.iter().any(|s| s.name.eq_ignore_ascii_case(name)) {
                self.error(
                    file,
                    "call/secret-unknown",
                    value.place,
                    format!("Invalid secret, {name} is not defined in the referenced workflow."),
                );
            }
        }
    }

    /// A called workflow may not ask for more than its caller has (`PermissionsHelper.cs`).
    fn check_permissions(
        &mut self,
        file: usize,
        job: &Job,
        call: &CallJob,
        called: &WorkflowFile,
        max: &Permissions,
    ) {
        let list = |excess: &[(&str, Level, Level)], asked: bool| {
            let part = |(name, requested, allowed): &(&str, Level, Level)| {
                format!("{name}: {}", if asked { requested.as_str() } else { allowed.as_str() })
            };
            excess.iter().map(part).collect::<Vec<_>>().join(", ")
        };
        let mut asks: Vec<(String, &Permissions)> = Vec::new();
        if let Some(own) = &called.workflow.permissions {
            asks.push((format!("The workflow '{}' is", called.path), own));
        }
        for nested in &called.workflow.jobs {
            if let Some(own) = &nested.permissions {
                asks.push((format!("The nested job '{}' is", nested.id), own));
            }
        }
        for (who, requested) in asks {
            let excess = requested.excess(max);
            if !excess.is_empty() {
                self.error(
                    file,
                    "call/permissions",
                    job.place,
                    format!(
                        "Error calling workflow '{}'. {who} requesting '{}', but is only allowed '{}'.",
                        call.uses,
                        list(&excess, true),
                        list(&excess, false)
                    ),
                );
                self.help("grant it under `permissions:` of the calling job");
                // Live workflows call by `$/` with less than the called one asks for; GitHub's
                // sources say nothing of that form, so it is no error here.
                if call.uses.starts_with("$/")
                    && let Some((_, last)) = self.out.diagnostics.last_mut()
                {
                    last.severity = Severity::Warning;
                }
            }
        }
    }
}

/// Whether a literal is of an input's type; an expression is seen when it is evaluated.
fn fits(kind: InputType, value: &Template) -> bool {
    match (&value.kind, kind) {
        (TemplateKind::Expression(_), _) => true,
        (TemplateKind::Bool(_), InputType::Boolean)
        | (TemplateKind::Number(_), InputType::Number) => true,
        (_, InputType::Boolean | InputType::Number) => false,
        _ => true,
    }
}

/// `./` and `$/` mean the repository itself.
pub fn is_local(uses: &str) -> bool {
    uses.starts_with("./") || uses.starts_with("$/")
}

/// What this version refuses to run, said per job before it starts.
fn refusal(job: &Job) -> Option<String> {
    let JobKind::Steps(steps) = &job.kind else { return None };
    let snapshot = steps.snapshot.as_ref().is_some_and(|t| t.as_str() != Some(""));
    snapshot.then(|| "it asks for `snapshot`, which Trainyard cannot run yet".to_owned())
}
