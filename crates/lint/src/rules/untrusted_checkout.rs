//! Code of a stranger, checked out where the repository's secrets are.

use trainyard_diagnostics::Severity;
use trainyard_expression::Template;
use trainyard_job::spec::StepKind;
use trainyard_workflow::span_of;

use super::Rule;
use crate::context::{Context, expressions, path_of};

pub(crate) const RULE: Rule = Rule {
    id: "on/untrusted-checkout",
    severity: Severity::Warning,
    summary: "Checking out a pull request's code under a trigger with secrets lets strangers run it",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "on: pull_request_target\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4, with: {ref: '${{ github.event.pull_request.head.sha }}'}}]}}",
            "on: pull_request_target\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4, with: {ref: '${{ github.head_ref }}'}}]}}",
            "on: pull_request_target\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4, with: {ref: 'refs/pull/${{ github.event.number }}/merge'}}]}}",
            "on: {workflow_run: {workflows: [x], types: [completed]}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4, with: {ref: '${{ github.event.workflow_run.head_sha }}'}}]}}",
            "on: [push, pull_request_target]\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4, with: {repository: '${{ github.event.pull_request.head.repo.full_name }}'}}]}}",
        ],
        good: &[
            "on: pull_request\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4, with: {ref: '${{ github.event.pull_request.head.sha }}'}}]}}",
            "on: pull_request_target\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4}]}}",
            "on: pull_request_target\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4, with: {ref: '${{ github.event.pull_request.base.sha }}'}}]}}",
            "on: pull_request_target\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/labeler@v5, with: {ref: '${{ github.head_ref }}'}}]}}",
            "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: actions/checkout@v4, with: {ref: '${{ github.head_ref }}'}}]}}",
        ],
    },
};

const TRIGGERS: &[&str] = &["pull_request_target", "workflow_run"];
/// What names a commit or repository that a stranger chose.
const CHOSEN: &[&str] = &[
    "github.head_ref",
    "github.event.pull_request.head.",
    "github.event.pull_request.merge_commit_sha",
    "github.event.workflow_run.head_",
    "github.event.workflow_run.pull_requests.",
];

fn check(c: &mut Context<'_>) {
    let Some(workflow) = c.workflow() else { return };
    let triggers = workflow.triggers.iter().map(|t| t.event.as_str());
    let Some(trigger) = triggers.into_iter().find(|t| TRIGGERS.contains(t)) else { return };
    for at in c.steps() {
        let StepKind::Uses { action, with: Some(with), .. } = &at.step.kind else { continue };
        let name = action.split('@').next().unwrap_or_default();
        if !name.eq_ignore_ascii_case("actions/checkout") {
            continue;
        }
        let given = ["ref", "repository"].iter().filter_map(|k| with.get(k));
        if let Some(input) = given.into_iter().find(|t| is_chosen(t)) {
            let message =
                format!("This is a stranger's code, and `{trigger}` has the repository's secrets");
            c.report(
                span_of(input.place),
                message,
                "build it under `pull_request`, and pass results on by artifacts",
            );
        }
    }
}

fn is_chosen(template: &Template) -> bool {
    let mut found = false;
    expressions(template, &mut |tree| {
        tree.walk(&mut |e| {
            if let Some(path) = path_of(e) {
                found |= CHOSEN.iter().any(|p| path.starts_with(p));
            }
            if let trainyard_expression::ExprKind::Literal(value) = &e.kind {
                // Text around expressions is an argument of `format`.
                found |= value.as_str().is_some_and(|t| t.contains("refs/pull/"));
            }
        });
    });
    found
}
