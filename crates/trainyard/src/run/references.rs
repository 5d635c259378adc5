//! What a workflow refers to, against what is there: needs, steps, and the inputs and outputs of
//! called workflows and local actions. GitHub runs all of these, with empty values: warnings.

use std::path::Path;

use trainyard_diagnostics::{Diagnostic, Source, Span};
use trainyard_expression::{Expr, ExprKind, Template, TemplateKind};
use trainyard_job::spec::{StepKind, StepSpec};
use trainyard_model::Value;
use trainyard_workflow::action::Action;
use trainyard_workflow::lower::{WorkflowFile, is_local};
use trainyard_workflow::model::{Job, JobKind, StepsJob};
use trainyard_workflow::{read_action, read_workflow, span_of};

/// Warnings about the references of a workflow in a repository.
pub fn check(file: &WorkflowFile, root: &Path) -> Vec<Diagnostic> {
    let mut checker = Checker { file, root, found: Vec::new() };
    for job in &file.workflow.jobs {
        checker.job(job);
    }
    checker.found
}

struct Checker<'a> {
    file: &'a WorkflowFile,
    root: &'a Path,
    found: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn warn(&mut self, rule: &'static str, span: Span, message: String, help: String) {
        self.found.push(Diagnostic::warning(rule, span, message).with_help(help));
    }

    fn job(&mut self, job: &Job) {
        let condition = (span_of(job.condition.place), &job.condition.tree);
        self.needs(job, condition.0, condition.1);
        for template in [&job.name, &job.strategy, &job.concurrency].into_iter().flatten() {
            self.template(job, None, 0, template);
        }
        match &job.kind {
            JobKind::Call(call) => {
                for template in call.with.iter() {
                    self.template(job, None, 0, template);
                }
            }
            JobKind::Steps(steps) => self.steps(job, steps),
        }
    }

    fn steps(&mut self, job: &Job, steps: &StepsJob) {
        for template in [&steps.env, &steps.environment].into_iter().flatten() {
            self.template(job, None, 0, template);
        }
        self.template(job, None, 0, &steps.runs_on);
        if let Some(outputs) = &steps.outputs {
            self.template(job, Some(&steps.steps), steps.steps.len(), outputs);
        }
        for (at, step) in steps.steps.iter().enumerate() {
            let span = span_of(step.condition.place);
            self.needs(job, span, &step.condition.tree);
            self.step_names(&steps.steps, at, span, &step.condition.tree);
            let mut templates: Vec<&Template> =
                [&step.name, &step.env, &step.continue_on_error, &step.timeout_minutes]
                    .into_iter()
                    .flatten()
                    .collect();
            match &step.kind {
                StepKind::Run { script, shell, working_directory } => {
                    templates.push(script);
                    templates.extend(shell);
                    templates.extend(working_directory);
                }
                StepKind::Uses { with, .. } => templates.extend(with),
                _ => {}
            }
            for template in templates {
                self.template(job, Some(&steps.steps), at, template);
            }
            self.local_action(step);
        }
    }

    /// The expressions of a template; `steps` are those before `at`.
    fn template(&mut self, job: &Job, steps: Option<&[StepSpec]>, at: usize, template: &Template) {
        let mut list = Vec::new();
        template.walk(&mut |t| {
            if let TemplateKind::Expression(expression) = &t.kind {
                list.push((span_of(t.place), &expression.tree));
            }
        });
        for (span, tree) in list {
            self.needs(job, span, tree);
            if let Some(steps) = steps {
                self.step_names(steps, at, span, tree);
            }
        }
    }

    fn needs(&mut self, job: &Job, span: Span, tree: &Expr) {
        let file = self.file;
        for path in paths(tree, "needs") {
            let Some(name) = path.first() else { continue };
            if !job.needs.iter().any(|(need, _)| need.eq_ignore_ascii_case(name)) {
                let there: Vec<&str> = job.needs.iter().map(|(n, _)| n.as_str()).collect();
                let (message, help) = (
                    format!("`needs.{name}` is always empty: the job does not need '{name}'"),
                    match there.is_empty() {
                        true => format!("add `needs: {name}`"),
                        false => format!("it needs {}", there.join(", ")),
                    },
                );
                self.warn("needs/unknown-context", span, message, help);
                continue;
            }
            let (Some(true), Some(output)) =
                (path.get(1).map(|p| p.eq_ignore_ascii_case("outputs")), path.get(2))
            else {
                continue;
            };
            let Some(declared) = file.workflow.job(name).and_then(|j| self.outputs_of(j)) else {
                continue;
            };
            if !declared.iter().any(|d| d.eq_ignore_ascii_case(output)) {
                let message = format!("The job '{name}' has no output '{output}'");
                self.warn("needs/unknown-output", span, message, listed(&declared));
            }
        }
    }

    /// The outputs that a job declares, where they can be known.
    fn outputs_of(&self, job: &Job) -> Option<Vec<String>> {
        match &job.kind {
            JobKind::Steps(steps) => match steps.outputs.as_ref().map(|o| &o.kind) {
                None => Some(Vec::new()),
                Some(TemplateKind::Mapping(pairs)) => {
                    pairs.iter().map(|(k, _)| k.as_str().map(str::to_owned)).collect()
                }
                Some(_) => None,
            },
            JobKind::Call(call) if is_local(&call.uses) => {
                let path = call.uses.trim_start_matches("./").trim_start_matches("$/");
                let text = std::fs::read_to_string(self.root.join(path)).ok()?;
                let (workflow, _) = read_workflow(&Source::new(path, text), 0);
                let workflow = workflow?;
                let outputs = &workflow.trigger("workflow_call")?.outputs;
                Some(outputs.iter().map(|o| o.name.clone()).collect())
            }
            JobKind::Call(_) => None,
        }
    }

    fn step_names(&mut self, steps: &[StepSpec], at: usize, span: Span, tree: &Expr) {
        for path in paths(tree, "steps") {
            let Some(name) = path.first() else { continue };
            let Some(index) = steps.iter().position(|s| s.id.eq_ignore_ascii_case(name)) else {
                let ids: Vec<String> =
                    steps.iter().map(|s| s.id.clone()).filter(|i| !i.starts_with("__")).collect();
                let message = format!("There is no step with the id '{name}' in this job");
                self.warn("steps/unknown-context", span, message, listed(&ids));
                continue;
            };
            if index >= at {
                let message = format!("The step '{name}' has not run yet here");
                let help = "steps see only the steps before them".to_owned();
                self.warn("steps/later", span, message, help);
                continue;
            }
            let (Some(true), Some(output)) =
                (path.get(1).map(|p| p.eq_ignore_ascii_case("outputs")), path.get(2))
            else {
                continue;
            };
            let StepKind::Uses { action, .. } = &steps[index].kind else { continue };
            if let Some(Ok(found)) = self.action(action)
                && !found.outputs.iter().any(|o| o.eq_ignore_ascii_case(output))
            {
                let message = format!("The action '{action}' has no output '{output}'");
                self.warn("action/output-unknown", span, message, listed(&found.outputs));
            }
        }
    }

    /// A local action; none if it is not there, as an earlier step may lay it down.
    fn action(&self, uses: &str) -> Option<Result<Action, ()>> {
        let relative = uses.strip_prefix("./").or(uses.strip_prefix("$/"))?;
        let folder = self.root.join(relative);
        let text = ["action.yml", "action.yaml"]
            .into_iter()
            .find_map(|n| std::fs::read_to_string(folder.join(n)).ok())?;
        Some(read_action(&Source::new(uses, text), 0).0.ok_or(()))
    }

    fn local_action(&mut self, step: &StepSpec) {
        let StepKind::Uses { action, place, with } = &step.kind else { return };
        let Some(found) = self.action(action) else { return };
        let Ok(declared) = found else {
            let message = format!("The action '{action}' has errors");
            self.warn(
                "action/broken",
                span_of(*place),
                message,
                format!("trainyard check {action}"),
            );
            return;
        };
        let given = with.as_ref().map(Template::pairs).unwrap_or_default();
        for (key, _) in given {
            let Some(name) = key.as_str() else { continue };
            if !declared.inputs.iter().any(|i| i.name.eq_ignore_ascii_case(name)) {
                let known: Vec<String> = declared.inputs.iter().map(|i| i.name.clone()).collect();
                let message = format!("The action '{action}' declares no input '{name}'");
                self.warn("action/input-unknown", span_of(key.place), message, listed(&known));
            }
        }
        for input in declared.inputs.iter().filter(|i| i.required && i.default.is_none()) {
            let named = |k: &str| k.eq_ignore_ascii_case(&input.name);
            if !given.iter().any(|(k, _)| k.as_str().is_some_and(named)) {
                let message = format!("The action '{action}' requires the input '{}'", input.name);
                let help = "GitHub runs it all the same, with an empty input".to_owned();
                self.warn("action/input-required", span_of(*place), message, help);
            }
        }
    }
}

fn listed(names: &[String]) -> String {
    match names.is_empty() {
        true => "there are none".into(),
        false => format!("there are: {}", names.join(", ")),
    }
}

/// The literal paths below a context: `needs.a.outputs.b` gives `[a, outputs, b]`.
fn paths(tree: &Expr, context: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    tree.walk(&mut |expr| {
        if let Some(path) = literal_path(expr, context) {
            found.push(path);
        }
    });
    // Every prefix of a path is walked too; the longest says it all.
    let longer = found.clone();
    found.retain(|p: &Vec<String>| {
        !p.is_empty() && !longer.iter().any(|l| l.len() > p.len() && l.starts_with(p))
    });
    found.dedup();
    found
}

fn literal_path(expr: &Expr, context: &str) -> Option<Vec<String>> {
    match &expr.kind {
        ExprKind::Context(name) if name.eq_ignore_ascii_case(context) => Some(Vec::new()),
        ExprKind::Index(base, index) => {
            let mut path = literal_path(base, context)?;
            match &index.kind {
                ExprKind::Literal(Value::String(s)) => path.push(s.to_string()),
                _ => return None,
            }
            Some(path)
        }
        _ => None,
    }
}
