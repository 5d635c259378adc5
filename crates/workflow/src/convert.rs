//! From a read template to a [`Workflow`]: what the schema cannot say.
//! Follows actions/runner `Conversion/WorkflowTemplateConverter.cs`, its messages included.

use std::collections::BTreeSet;

use trainyard_diagnostics::{Diagnostic, Span};
use trainyard_expression::{
    Expr, ExprKind, Place, Scope, Template, TemplateKind, parse_in, uses_status_function,
};
use trainyard_job::spec::{Condition, RunDefaults};
use trainyard_model::Value;

use crate::ids::Ids;
use crate::matrix;
use crate::model::{CallJob, CallSecrets, Job, JobKind, StepsJob, Workflow};
use crate::permissions::Permissions;
use crate::reader::Reader;
use crate::schema::Schema;
use crate::{steps, triggers};

/// What conversion shares: where diagnostics go and which scopes conditions have.
pub(crate) struct Converter<'r, 's> {
    pub(crate) reader: &'r mut Reader<'s>,
    pub(crate) step_scope: Scope,
    /// Of `pre-if` and `post-if` of an action.
    pub(crate) stage_scope: Scope,
    job_scope: Scope,
}

impl<'r, 's> Converter<'r, 's> {
    pub(crate) fn new(reader: &'r mut Reader<'s>, schema: &'static Schema, step_if: &str) -> Self {
        let scope = |name: &str| schema.scope(schema.def(schema.named(name)).allowed);
        let step_scope = scope(step_if);
        let known = |name: &str| if schema.has(name) { scope(name) } else { Scope::default() };
        let (job_scope, stage_scope) = (known("job-if"), known("runs-if"));
        Converter { reader, step_scope, stage_scope, job_scope }
    }

    pub(crate) fn error(&mut self, rule: &'static str, place: Place, message: impl Into<String>) {
        let span = self.reader.span(place);
        self.reader.diagnostics.push(Diagnostic::error(rule, span, message));
    }

    pub(crate) fn warning(
        &mut self,
        rule: &'static str,
        place: Place,
        message: impl Into<String>,
        help: &str,
    ) {
        let span = self.reader.span(place);
        self.reader.diagnostics.push(Diagnostic::warning(rule, span, message).with_help(help));
    }

    pub(crate) fn help(&mut self, help: impl Into<String>) {
        if let Some(last) = self.reader.diagnostics.last_mut() {
            last.help = Some(help.into());
        }
    }

    /// The whole workflow.
    pub(crate) fn workflow(&mut self, root: &Template) -> Workflow {
        let mut workflow = Workflow {
            name: root.get("name").and_then(|t| t.as_str()).map(str::to_owned),
            run_name: root.get("run-name").cloned(),
            triggers: Vec::new(),
            env: root.get("env").cloned(),
            defaults: run_defaults(root.get("defaults")),
            permissions: root.get("permissions").and_then(Permissions::read),
            concurrency: root.get("concurrency").cloned(),
            jobs: Vec::new(),
        };
        match root.get("on") {
            Some(on) => workflow.triggers = triggers::read(self, on),
            None => {
                self.error("workflow/no-triggers", root.place, "No event triggers defined in `on`");
                self.help("add for example `on: push`");
            }
        }
        if let Some(concurrency) = &workflow.concurrency {
            self.concurrency(concurrency);
        }
        if let Some(jobs) = root.get("jobs") {
            workflow.jobs = self.jobs(jobs);
        }
        workflow
    }

    fn jobs(&mut self, jobs: &Template) -> Vec<Job> {
        let before = self.errors();
        let out: Vec<Job> = jobs
            .pairs()
            .iter()
            .filter_map(|(id, definition)| Some(self.job(id.as_str()?, id.place, definition)))
            .collect();
        if self.errors() == before {
            self.graph(jobs, &out);
        }
        out
    }

    fn errors(&self) -> usize {
        self.reader
            .diagnostics
            .iter()
            .filter(|d| d.severity == trainyard_diagnostics::Severity::Error)
            .count()
    }

    /// Needs that nobody has, needs in a circle, and a workflow that cannot begin.
    fn graph(&mut self, jobs: &Template, list: &[Job]) {
        let lower = |s: &str| s.to_ascii_lowercase();
        if !list.iter().any(|j| j.needs.is_empty()) {
            self.error(
                "needs/no-start",
                jobs.pairs().first().map_or(jobs.place, |(k, _)| k.place),
                "The workflow must contain at least one job with no dependencies.",
            );
            return;
        }
        let names: BTreeSet<String> = list.iter().map(|j| lower(&j.id)).collect();
        let mut done: BTreeSet<String> = BTreeSet::new();
        loop {
            let before = done.len();
            for job in list {
                if job.needs.iter().all(|(need, _)| done.contains(&lower(need))) {
                    done.insert(lower(&job.id));
                }
            }
            if done.len() == before {
                break;
            }
        }
        for job in list.iter().filter(|j| !done.contains(&lower(&j.id))) {
            for (need, place) in &job.needs {
                let key = lower(need);
                if done.contains(&key) {
                    continue;
                }
                if names.contains(&key) {
                    self.error(
                        "needs/cycle",
                        *place,
                        format!(
                            "Job '{}' depends on job '{need}' which creates a cycle in the dependency graph.",
                            job.id
                        ),
                    );
                } else {
                    self.error(
                        "needs/unknown",
                        *place,
                        format!("Job '{}' depends on unknown job '{need}'.", job.id),
                    );
                    let known: Vec<&str> = list.iter().map(|j| j.id.as_str()).collect();
                    self.help(format!("jobs here: {}", known.join(", ")));
                }
            }
        }
    }

    fn job(&mut self, id: &str, place: Place, definition: &Template) -> Job {
        if let Err(message) = Ids::default().add_known(id) {
            self.error("id/invalid", place, message);
        }
        let get = |key: &str| definition.get(key).cloned();
        let needs = match definition.get("needs") {
            Some(Template { kind: TemplateKind::Sequence(items), .. }) => {
                items.iter().filter_map(|i| Some((i.as_str()?.to_owned(), i.place))).collect()
            }
            Some(one) => one.as_str().map(|n| vec![(n.to_owned(), one.place)]).unwrap_or_default(),
            None => Vec::new(),
        };
        let scope = self.job_scope.clone();
        let condition = self.condition(definition.get("if"), &scope, place);
        if let Some(strategy) = definition.get("strategy") {
            self.strategy(strategy);
        }
        if let Some(concurrency) = definition.get("concurrency") {
            self.concurrency(concurrency);
        }
        let kind = match definition.get("uses") {
            Some(uses) => JobKind::Call(self.call(uses, definition)),
            None => JobKind::Steps(Box::new(self.steps_job(definition))),
        };
        Job {
            id: id.to_owned(),
            place,
            name: get("name"),
            needs,
            condition,
            strategy: get("strategy"),
            permissions: definition.get("permissions").and_then(Permissions::read),
            concurrency: get("concurrency"),
            kind,
        }
    }

    fn call(&mut self, uses: &Template, definition: &Template) -> CallJob {
        let text = uses.as_str().unwrap_or_default().to_owned();
        let path = text.split('@').next().unwrap_or_default();
        let local = path.starts_with("./") || path.starts_with("$/");
        let inside = path
            .split_once(".github/workflows/")
            .is_some_and(|(_, file)| !file.contains('/') && has_yaml_name(file));
        let remote = text.split('@').count() == 2 && path.split('/').count() >= 5;
        if !inside || !(remote || (local && !text.contains('@'))) {
            self.error(
                "uses/format",
                uses.place,
                format!(
                    "Invalid workflow reference '{text}': expected ./.github/workflows/FILE.yml or OWNER/REPO/.github/workflows/FILE.yml@REF"
                ),
            );
        }
        let secrets = match definition.get("secrets") {
            None => CallSecrets::None,
            Some(t) if t.as_str() == Some("inherit") => CallSecrets::Inherit,
            Some(t) => CallSecrets::Map(t.clone()),
        };
        CallJob { uses: text, place: uses.place, with: definition.get("with").cloned(), secrets }
    }

    fn steps_job(&mut self, definition: &Template) -> StepsJob {
        let get = |key: &str| definition.get(key).cloned();
        if let Some(runs_on) = definition.get("runs-on") {
            self.runs_on(runs_on);
        }
        for (name, is_service) in [("container", false), ("services", true)] {
            if let Some(template) = definition.get(name) {
                self.images(template, is_service);
            }
        }
        let steps = definition.get("steps").map(|s| steps::read(self, s)).unwrap_or_default();
        StepsJob {
            runs_on: get("runs-on").unwrap_or_else(|| Template::text("")),
            environment: get("environment"),
            env: get("env"),
            defaults: run_defaults(definition.get("defaults")),
            outputs: get("outputs"),
            timeout_minutes: get("timeout-minutes"),
            cancel_timeout_minutes: get("cancel-timeout-minutes"),
            continue_on_error: get("continue-on-error"),
            container: get("container"),
            services: get("services"),
            snapshot: get("snapshot"),
            steps,
        }
    }

    /// `group: enterprise/name`, `organization/name`, or a bare name.
    fn runs_on(&mut self, runs_on: &Template) {
        let Some(group) = runs_on.get("group") else { return };
        let Some(name) = group.as_str() else { return };
        let parts: Vec<&str> = name.split('/').collect();
        let prefixed =
            matches!(parts.first(), Some(&("org" | "organization" | "ent" | "enterprise")));
        let bad = match parts.len() {
            1 => None,
            2 if prefixed && parts[1].is_empty() => {
                Some(format!("Invalid runs-on group name '{name}'."))
            }
            2 if prefixed => None,
            _ => Some(format!(
                "Invalid runs-on group name '{name}'. Please use 'organization/' or 'enterprise/' prefix to target a single runner group."
            )),
        };
        if let Some(message) = bad {
            self.error("runs-on/group", group.place, message);
        }
    }

    /// Images that are empty where none may be (`ConvertToJobContainer`).
    fn images(&mut self, template: &Template, is_service: bool) {
        if template.has_expressions() {
            return;
        }
        let containers: Vec<&Template> = match is_service {
            true => template.pairs().iter().map(|(_, v)| v).collect(),
            false => vec![template],
        };
        for container in containers {
            let image = container.get("image").or(Some(container)).and_then(|t| t.as_str());
            let docker = image.is_some_and(|i| i.starts_with("docker://"));
            let trimmed = image.map(|i| i.strip_prefix("docker://").unwrap_or(i));
            let missing = container.as_str().is_none() && container.get("image").is_none();
            if (trimmed == Some("") && (docker || is_service)) || missing {
                self.error("container/image", container.place, "Container image cannot be empty");
            }
        }
    }

    fn concurrency(&mut self, concurrency: &Template) {
        let group = concurrency.get("group").or(Some(concurrency)).and_then(|t| t.as_str());
        if group.is_some_and(|g| g.encode_utf16().count() > 400) {
            self.error(
                "concurrency/group",
                concurrency.place,
                "Concurrency group name must be less than 400 characters",
            );
        }
        let cancels = concurrency
            .get("cancel-in-progress")
            .is_some_and(|t| t.kind == TemplateKind::Bool(true));
        if cancels && concurrency.get("queue").and_then(|t| t.as_str()) == Some("max") {
            self.error(
                "concurrency/queue",
                concurrency.place,
                "`queue: max` keeps what waits; it does not go with `cancel-in-progress: true`",
            );
        }
    }

    /// A literal matrix is expanded here, so that its faults are found before anything runs.
    fn strategy(&mut self, strategy: &Template) {
        let Some(matrix) = strategy.get("matrix") else { return };
        if matrix.has_expressions() || !matches!(matrix.kind, TemplateKind::Mapping(_)) {
            return;
        }
        let Ok(value) = matrix.evaluate(&NoContexts) else { return };
        if let Err(error) = matrix::expand(&value) {
            let place =
                error.key.as_deref().and_then(|key| find_key(matrix, key)).unwrap_or(matrix.place);
            self.error("matrix/invalid", place, error.message);
        }
    }

    /// A condition with its implicit `success() &&` (`ConvertToIfCondition`).
    pub(crate) fn condition(
        &mut self,
        template: Option<&Template>,
        scope: &Scope,
        default: Place,
    ) -> Condition {
        let success = |place| Condition { text: "success()".into(), tree: call("success"), place };
        let Some(template) = template else { return success(default) };
        let (text, tree) = match &template.kind {
            TemplateKind::Expression(expression) => {
                if let ExprKind::Call(name, _) = &expression.tree.kind
                    && &**name == "format"
                    && expression.text.starts_with("format('")
                    && self.is_mixed(template, &expression.text)
                {
                    self.warning(
                        "if/always-true",
                        template.place,
                        "This condition is a text around an expression, and a text that is not empty is always true",
                        "put the whole condition inside one `${{ }}`, or leave the `${{ }}` away",
                    );
                }
                (expression.text.clone(), Some(expression.tree.clone()))
            }
            TemplateKind::String(text) => match parse_in(text, scope) {
                Ok(tree) => (text.trim().to_owned(), tree),
                Err(error) => {
                    let span = self.reader.locate_plain(template.place, text, &error);
                    self.reader.syntax_error(&error, span, scope);
                    return success(template.place);
                }
            },
            _ => return success(template.place),
        };
        let Some(tree) = tree else { return success(template.place) };
        if uses_status_function(&tree) {
            return Condition { text, tree, place: template.place };
        }
        let start = tree.start;
        Condition {
            text: format!("success() && ({text})"),
            tree: Expr { kind: ExprKind::And(vec![call("success"), tree]), start },
            place: template.place,
        }
    }

    /// Whether text stands around the `${{ }}`.
    fn is_mixed(&self, template: &Template, expression: &str) -> bool {
        let text = self.reader.text(template.place);
        // A block ends with a line break, unless its header takes it away; text, like any other.
        let header = text.lines().next().unwrap_or_default();
        let block = header.starts_with(['|', '>']) && !header.contains('-');
        let inside = text.split_once("${{").map_or("", |(_, rest)| rest.trim_start());
        if block && expression.starts_with("format('{0}") && !inside.starts_with("format") {
            return true;
        }
        let trimmed = text.trim();
        let quoted = ['"', '\'']
            .iter()
            .find_map(|q| trimmed.strip_prefix(*q).and_then(|t| t.strip_suffix(*q)));
        // Within quotes blanks are text.
        let inner =
            quoted.unwrap_or_else(|| trimmed.trim_start_matches(['|', '>', '-', '+']).trim());
        !(inner.starts_with("${{") && inner.ends_with("}}") && inner.matches("${{").count() == 1)
    }
}

fn has_yaml_name(file: &str) -> bool {
    file.ends_with(".yml") || file.ends_with(".yaml")
}

fn call(name: &str) -> Expr {
    Expr { kind: ExprKind::Call(name.into(), Vec::new()), start: 0 }
}

fn find_key(template: &Template, key: &str) -> Option<Place> {
    let mut found = None;
    template.walk(&mut |t| {
        for (k, v) in t.pairs() {
            if found.is_none() && k.as_str() == Some(key) {
                found = Some(match &v.kind {
                    TemplateKind::Sequence(_) => v.place,
                    _ => k.place,
                });
            }
        }
    });
    found
}

/// `defaults.run` of a workflow or a job.
pub(crate) fn run_defaults(defaults: Option<&Template>) -> RunDefaults {
    let run = defaults.and_then(|d| d.get("run"));
    RunDefaults {
        shell: run.and_then(|r| r.get("shell")).cloned(),
        working_directory: run.and_then(|r| r.get("working-directory")).cloned(),
    }
}

/// An environment in which no context has a value: for templates without expressions.
pub(crate) struct NoContexts;

impl trainyard_expression::Environment for NoContexts {
    fn context(&self, _: &str) -> Value {
        Value::Null
    }
}

/// The span of a place, for those who have no reader.
pub fn span_of(place: Place) -> Span {
    Span::new(place.start as usize, place.end as usize)
}
