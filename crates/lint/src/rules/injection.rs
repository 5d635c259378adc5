//! Texts that a stranger writes, put into a script before the shell reads it.
//!
//! Followed through `env`, outputs of steps and jobs, and the functions that pass texts on. What
//! only compares or searches a text gives no text of it away.

use std::cell::Cell;

use trainyard_diagnostics::Severity;
use trainyard_expression::{Expr, ExprKind, Template, TemplateKind};
use trainyard_job::spec::{StepKind, StepSpec};
use trainyard_workflow::model::{Job, JobKind};
use trainyard_workflow::span_of;

use super::Rule;
use crate::context::{Context, StepAt, path_of};

pub(crate) const RULE: Rule = Rule {
    id: "script/injection",
    severity: Severity::Warning,
    summary: "A text that a stranger writes becomes part of a script, and runs",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "on: issues\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo ${{ github.event.issue.title }}'}]}}",
            "on: pull_request\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'git switch \"${{ github.head_ref }}\"'}]}}",
            "on: issue_comment\njobs: {a: {runs-on: ubuntu-latest, env: {T: '${{ github.event.comment.body }}'}, steps: [{run: 'echo ${{ env.T }}'}]}}",
            "on: pull_request_target\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: \"echo ${{ format('PR {0}', github.event.pull_request.title) }}\"}]}}",
            "on: issues\njobs: {a: {runs-on: ubuntu-latest, steps: [{id: t, run: 'echo \"title=$T\" >> \"$GITHUB_OUTPUT\"', env: {T: '${{ github.event.issue.title }}'}}, {run: 'echo ${{ steps.t.outputs.title }}'}]}}",
            "on: issues\njobs: {a: {runs-on: ubuntu-latest, outputs: {t: '${{ github.event.issue.body }}'}, steps: [{run: x}]}, b: {needs: a, runs-on: ubuntu-latest, steps: [{run: 'echo ${{ needs.a.outputs.t }}'}]}}",
            "on: issues\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/github-script@v7, with: {script: 'f(\"${{ github.event.issue.title }}\")'}}]}}",
            "- run: echo ${{ github.event.head_commit.message }}",
            "- run: 'echo ${{ format(''{0}'', github.event.head_commit.message) }}'",
            "on: issues\njobs: {a: {runs-on: ubuntu-latest, env: {T: '${{ github.event.issue.title }}'}, steps: [{run: 'echo ${{ env.T }}', env: {T: '${{ env.T }}'}}]}}",
            "- run: echo '${{ toJSON(github.event.commits) }}'",
            "on: pull_request\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: \"echo ${{ github.event.action == 'x' && github.head_ref || 'y' }}\"}]}}",
            "runs:\n  using: composite\n  steps: [{run: 'echo ${{ github.event.issue.title }}', shell: bash}]",
            "on: pull_request\njobs: {a: {runs-on: ubuntu-latest, steps: [{id: f, uses: tj-actions/changed-files@v40}, {run: 'ls ${{ steps.f.outputs.all_changed_files }}'}]}}",
        ],
        good: &[
            "on: issues\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo \"$T\"', env: {T: '${{ github.event.issue.title }}'}}]}}",
            "on: pull_request\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: \"echo ${{ github.head_ref == 'x' }}\"}]}}",
            "on: pull_request\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: \"echo ${{ startsWith(github.head_ref, 'v') && '--tag' || '' }}\"}]}}",
            "on: pull_request\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo ${{ github.event.pull_request.head.sha }} ${{ github.event.number }}'}]}}",
            "- run: echo ${{ github.sha }} ${{ github.ref }} ${{ github.actor }}",
            "- run: echo ${{ github.head_ref }}",
            "on: issues\njobs: {a: {runs-on: ubuntu-latest, steps: [{id: t, run: 'echo \"version=$T\" >> \"$GITHUB_OUTPUT\"', env: {T: '${{ github.event.issue.title }}'}}, {run: 'echo ${{ steps.t.outputs.n }}'}]}}",
            "on: issues\njobs: {a: {runs-on: ubuntu-latest, env: {N: '${{ github.event.issue.number }}'}, steps: [{run: 'echo ${{ env.N }}'}]}}",
            "on: issues\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: octo/tool@v1, with: {body: '${{ github.event.issue.title }}'}}]}}",
            "on: issues\njobs: {a: {runs-on: ubuntu-latest, steps: [{id: t, run: 'echo \"n=${#T}\" >> \"$GITHUB_OUTPUT\"', env: {T: '${{ github.event.issue.title }}'}}, {run: 'echo ${{ steps.t.outputs.m }}'}]}}",
            "on: {workflow_dispatch: {inputs: {v: {type: string}}}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo ${{ inputs.v }}'}]}}",
            "on: pull_request\njobs: {a: {runs-on: ubuntu-latest, steps: [{id: f, uses: tj-actions/changed-files@v40}, {run: 'echo ${{ steps.f.outputs.all_changed_files_count }}'}]}}",
        ],
    },
};

/// What strangers write (GitHub's documentation, "Secure use"; CodeQL's and actionlint's lists).
/// With the triggers under which it is there.
const WRITTEN: &[(&str, &[&str])] = &[
    ("github.head_ref", PULL),
    ("github.event.pull_request.title", PULL),
    ("github.event.pull_request.body", PULL),
    ("github.event.pull_request.head.ref", PULL),
    ("github.event.pull_request.head.label", PULL),
    ("github.event.pull_request.head.repo.default_branch", PULL),
    ("github.event.pull_request.head.repo.description", PULL),
    ("github.event.pull_request.head.repo.homepage", PULL),
    ("github.event.issue.title", &["issues", "issue_comment"]),
    ("github.event.issue.body", &["issues", "issue_comment"]),
    ("github.event.comment.body", COMMENT),
    ("github.event.review.body", &["pull_request_review"]),
    ("github.event.review_comment.body", &["pull_request_review_comment"]),
    ("github.event.discussion.title", &["discussion", "discussion_comment"]),
    ("github.event.discussion.body", &["discussion", "discussion_comment"]),
    ("github.event.pages.*.page_name", &["gollum"]),
    ("github.event.pages.*.title", &["gollum"]),
    ("github.event.commits.*.message", &["push"]),
    ("github.event.commits.*.author.email", &["push"]),
    ("github.event.commits.*.author.name", &["push"]),
    ("github.event.commits.*.committer.email", &["push"]),
    ("github.event.commits.*.committer.name", &["push"]),
    ("github.event.head_commit.message", &["push"]),
    ("github.event.head_commit.author.email", &["push"]),
    ("github.event.head_commit.author.name", &["push"]),
    ("github.event.head_commit.committer.email", &["push"]),
    ("github.event.head_commit.committer.name", &["push"]),
    ("github.event.workflow_run.display_title", &["workflow_run"]),
    ("github.event.workflow_run.head_branch", &["workflow_run"]),
    ("github.event.workflow_run.head_commit.message", &["workflow_run"]),
    ("github.event.workflow_run.head_commit.author.email", &["workflow_run"]),
    ("github.event.workflow_run.head_commit.author.name", &["workflow_run"]),
    ("github.event.workflow_run.head_repository.description", &["workflow_run"]),
    ("github.event.workflow_run.pull_requests.*.head.ref", &["workflow_run"]),
    ("github.event.changes.title.from", &["issues", "pull_request", "pull_request_target"]),
    ("github.event.changes.body.from", &["issues", "pull_request", "pull_request_target"]),
];
const PULL: &[&str] =
    &["pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment"];
const COMMENT: &[&str] =
    &["issue_comment", "pull_request_review_comment", "discussion_comment", "commit_comment"];

/// Inputs that run as code.
const SCRIPTS: &[(&str, &[&str])] = &[
    ("actions/github-script", &["script"]),
    ("appleboy/ssh-action", &["script"]),
    ("azure/cli", &["inlinescript"]),
    ("azure/powershell", &["inlinescript"]),
    ("mikefarah/yq", &["cmd"]),
    ("cardinalby/js-eval-action", &["expression"]),
    ("addnab/docker-run-action", &["run", "options"]),
    ("jannekem/run-python-script-action", &["script"]),
];

/// Outputs of actions that hold names of files or branches as strangers chose them.
const OUTPUTS: &[(&str, &[&str])] = &[
    (
        "tj-actions/changed-files",
        &[
            "added_files",
            "copied_files",
            "deleted_files",
            "modified_files",
            "renamed_files",
            "all_changed_files",
            "other_changed_files",
            "all_modified_files",
            "all_changed_and_modified_files",
        ],
    ),
    ("trilom/file-changes-action", &["files", "files_added", "files_modified", "files_removed"]),
    ("xt0rted/pull-request-comment-branch", &["head_ref"]),
    ("khan/pull-request-comment-trigger", &["comment_body"]),
];
/// From this major version on names come escaped.
const ESCAPED: &[(&str, u32)] = &[("tj-actions/changed-files", 41)];

/// Following a value through so many definitions is enough.
const MAX_DEPTH: usize = 8;
/// Expressions that are looked at for one: definitions that name each other multiply.
const MAX_VISITS: u32 = 2_000;

fn check(c: &mut Context<'_>) {
    for at in c.steps() {
        let mut sinks: Vec<&Template> = Vec::new();
        match &at.step.kind {
            StepKind::Run { script, .. } => sinks.push(script),
            StepKind::Uses { action, with: Some(with), .. } => {
                let name = action.split('@').next().unwrap_or_default();
                let inputs = SCRIPTS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
                for (key, value) in with.pairs() {
                    let key = key.as_str().unwrap_or_default().to_ascii_lowercase();
                    if inputs.is_some_and(|(_, inputs)| inputs.contains(&key.as_str())) {
                        sinks.push(value);
                    }
                }
            }
            _ => {}
        }
        for sink in sinks {
            let before = c.found.len();
            for fence in c.fences(sink.place) {
                let budget = Cell::new(MAX_VISITS);
                let flow = Flow { c, at, outer: false, budget: &budget };
                let Some(source) = flow.taint(&fence.tree, 0) else { continue };
                let message =
                    format!("This becomes part of the script, and a stranger writes it: {source}");
                c.report(
                    fence.span,
                    message,
                    "pass it by `env`, and use the variable in quotes: \"$NAME\"",
                );
            }
            // Quotes within quotes are written otherwise than they are meant: then the whole is named.
            if c.found.len() == before
                && let TemplateKind::Expression(whole) = &sink.kind
            {
                let budget = Cell::new(MAX_VISITS);
                let flow = Flow { c, at, outer: false, budget: &budget };
                if let Some(source) = flow.taint(&whole.tree, 0) {
                    let message = format!(
                        "This becomes part of the script, and a stranger writes it: {source}"
                    );
                    let help = "pass it by `env`, and use the variable in quotes: \"$NAME\"";
                    c.report(span_of(sink.place), message, help);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Flow<'a, 'c> {
    c: &'c Context<'a>,
    at: StepAt<'a>,
    /// Within a step's own `env`, where its own variables are not there yet.
    outer: bool,
    /// How many more expressions are looked at.
    budget: &'c Cell<u32>,
}

impl<'a> Flow<'a, '_> {
    /// What a stranger writes of an expression's value.
    fn taint(&self, expr: &Expr, depth: usize) -> Option<String> {
        if depth > MAX_DEPTH || self.budget.get() == 0 {
            return None;
        }
        self.budget.set(self.budget.get() - 1);
        match &expr.kind {
            ExprKind::Context(_) | ExprKind::Index(..) | ExprKind::Wildcard(_) => {
                match path_of(expr) {
                    Some(path) => self.path(&path, depth),
                    // A part of what a function gave.
                    None => match &expr.kind {
                        ExprKind::Index(of, _) | ExprKind::Wildcard(of) => {
                            self.taint(of, depth + 1)
                        }
                        _ => None,
                    },
                }
            }
            ExprKind::Call(name, args) => {
                let whole = name.eq_ignore_ascii_case("toJSON");
                if whole
                    && let Some(found) = args.first().and_then(path_of).and_then(|p| self.whole(&p))
                {
                    return Some(found);
                }
                let passes = ["tojson", "fromjson", "format", "join"];
                if !passes.contains(&name.to_ascii_lowercase().as_str()) {
                    return None;
                }
                args.iter().find_map(|a| self.taint(a, depth + 1))
            }
            // Of `a && b` the value is b, unless a is empty.
            ExprKind::And(items) => items.last().and_then(|last| self.taint(last, depth + 1)),
            ExprKind::Or(items) => items.iter().find_map(|i| self.taint(i, depth + 1)),
            ExprKind::Literal(_) | ExprKind::Not(_) | ExprKind::Compare(..) => None,
        }
    }

    /// Whether one of the triggers may be that under which it is there.
    fn occurs(&self, triggers: &[&str]) -> bool {
        let Some(workflow) = self.c.workflow() else { return true };
        let has = |event: &str| event == "workflow_call" || triggers.contains(&event);
        workflow.triggers.iter().any(|t| has(&t.event))
    }

    fn path(&self, path: &str, depth: usize) -> Option<String> {
        if let Some((name, _)) = WRITTEN.iter().find(|(p, t)| fits(p, path) && self.occurs(t)) {
            return Some((*name).to_owned());
        }
        let parts: Vec<&str> = path.split('.').collect();
        match parts[..] {
            ["env", name] => {
                let (template, own) = self.variable(name)?;
                let found = Flow { outer: own, ..*self }.template(template, depth + 1);
                found.map(|f| format!("{f} (by env.{name})"))
            }
            ["steps", id, "outputs", name] => self.output(id, name, depth + 1),
            ["needs", id, "outputs", name] => {
                let job = self.c.workflow()?.job(id)?;
                let found = self.job_output(job, name, depth + 1);
                found.map(|f| format!("{f} (by needs.{id}.outputs.{name})"))
            }
            _ => None,
        }
    }

    /// A whole object that holds what strangers write, as JSON.
    fn whole(&self, path: &str) -> Option<String> {
        let holds = |(p, t): &&(&str, &[&str])| {
            p.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')) && self.occurs(t)
        };
        let (name, _) = WRITTEN.iter().find(holds)?;
        Some((*name).to_owned())
    }

    fn template(&self, template: &Template, depth: usize) -> Option<String> {
        match &template.kind {
            TemplateKind::Expression(e) => self.taint(&e.tree, depth),
            _ => None,
        }
    }

    /// A variable as the step sees it: its own, its job's, its workflow's.
    fn variable(&self, name: &str) -> Option<(&'a Template, bool)> {
        let of = |env: Option<&'a Template>| {
            let pairs = env?.pairs().iter();
            let is = |key: &Template| key.as_str().is_some_and(|k| k.eq_ignore_ascii_case(name));
            pairs.rev().find(|(key, _)| is(key)).map(|(_, value)| value)
        };
        let job = self.at.job.and_then(|(_, steps)| steps.env.as_ref());
        let workflow = self.c.workflow().and_then(|w| w.env.as_ref());
        let own = self.at.step.env.as_ref().filter(|_| !self.outer);
        of(own).map(|t| (t, true)).or_else(|| of(job).or_else(|| of(workflow)).map(|t| (t, false)))
    }

    fn job_output(&self, job: &'a Job, name: &str, depth: usize) -> Option<String> {
        let JobKind::Steps(steps) = &job.kind else { return None };
        let outputs = steps.outputs.as_ref()?.pairs().iter();
        let is = |key: &Template| key.as_str().is_some_and(|k| k.eq_ignore_ascii_case(name));
        let (_, value) = outputs.into_iter().find(|(key, _)| is(key))?;
        let step = steps.steps.last()?;
        let at = StepAt { job: Some((job, steps)), siblings: &steps.steps, step };
        Flow { at, outer: false, ..*self }.template(value, depth)
    }

    /// What a step writes as an output: a known action's, or a variable that a script passes on.
    fn output(&self, id: &str, name: &str, depth: usize) -> Option<String> {
        let step = self.at.siblings.iter().find(|s| s.id.eq_ignore_ascii_case(id))?;
        let found = match &step.kind {
            StepKind::Uses { action, .. } => of_action(action, name),
            StepKind::Run { script, .. } => self.passed_on(step, script, name, depth),
            _ => None,
        };
        found.map(|f| format!("{f} (by steps.{id}.outputs.{name})"))
    }

    /// `echo "NAME=$VAR" >> $GITHUB_OUTPUT`, where the variable is a stranger's.
    fn passed_on(
        &self,
        step: &'a StepSpec,
        script: &Template,
        name: &str,
        depth: usize,
    ) -> Option<String> {
        let text = self.c.text(script.place);
        let at = StepAt { step, ..self.at };
        for line in
            text.lines().filter(|l| l.contains("GITHUB_OUTPUT") || l.contains("::set-output"))
        {
            let lower = line.to_ascii_lowercase();
            let begins = |at: usize| {
                !lower[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            };
            let plain = format!("{name}=");
            let command = format!("name={name}::");
            let found = lower.match_indices(&plain).map(|(i, t)| (i, t.len()));
            let found = found.chain(lower.match_indices(&command).map(|(i, t)| (i, t.len())));
            let Some(value) = found
                .into_iter()
                .find(|(i, _)| begins(*i))
                .and_then(|(i, len)| line.get(i + len..))
            else {
                continue;
            };
            for variable in variables(value) {
                let flow = Flow { at, outer: false, ..*self };
                let Some((template, _)) = flow.variable(variable) else { continue };
                if let Some(found) = flow.template(template, depth + 1) {
                    return Some(found);
                }
            }
        }
        None
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let (a, b): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), path.split('.').collect());
    a.len() == b.len() && a.iter().zip(&b).all(|(x, y)| x == y || *x == "*")
}

fn of_action(action: &str, output: &str) -> Option<String> {
    let (name, reference) = action.split_once('@')?;
    let (_, outputs) = OUTPUTS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
    let version: Option<u32> =
        reference.strip_prefix('v').and_then(|v| v.split('.').next()?.parse().ok());
    let escaped = ESCAPED.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
    // A commit may be of any version.
    if escaped.is_some_and(|(_, from)| version.is_none_or(|v| v >= *from)) {
        return None;
    }
    outputs.contains(&output).then(|| format!("the output '{output}' of {name}"))
}

/// `$NAME` and `${NAME}` in a text; `${#NAME}` is a number and none.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).filter_map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        (end > 0).then(|| &rest[..end])
    })
}
