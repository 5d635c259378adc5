//! Comparisons in conditions that can never come out otherwise.

use trainyard_diagnostics::Severity;
use trainyard_expression::{CompareOp, Expr, ExprKind};
use trainyard_job::spec::Condition;
use trainyard_model::Value;
use trainyard_workflow::model::Job;
use trainyard_workflow::span_of;

use super::Rule;
use super::values::{self, Known};
use crate::context::{Context, path_of};

pub(crate) const RULE: Rule = Rule {
    id: "if/unreachable",
    severity: Severity::Warning,
    summary: "A comparison with a value that cannot occur is never true",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "- run: x\n  if: github.event_name == 'pull_request'",
            "- run: x\n  if: runner.os == 'Ubuntu'",
            "- {id: t, run: x}\n- run: x\n  if: always() && steps.t.outcome == 'failed'",
            "on: {workflow_dispatch: {inputs: {go: {type: boolean}}}}\njobs: {a: {if: inputs.go == 'true', runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "jobs:\n  a:\n    strategy: {matrix: {os: [ubuntu-latest, macos-latest]}}\n    runs-on: ${{ matrix.os }}\n    steps: [{run: x, if: matrix.os == 'ubuntu'}]",
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, if: always() && needs.a.result == 'succeeded', runs-on: ubuntu-latest, steps: [{run: x}]}",
            "on: {pull_request: {types: [opened]}}\njobs: {a: {if: github.event.action == 'closed', runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "- run: x\n  if: job.status != 'failed'",
            "- run: x\n  if: github.ref == 'main'",
            "- run: x\n  if: github.ref == 'refs/head/main'",
            "on: {workflow_dispatch: {inputs: {to: {type: choice, options: [dev, prod]}}}}\njobs: {a: {if: inputs.to == 'production', runs-on: ubuntu-latest, steps: [{run: x}]}}",
        ],
        good: &[
            "on: [push, pull_request]\njobs: {a: {if: github.event_name == 'pull_request', runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "- run: x\n  if: runner.os == 'linux'",
            "- {id: t, run: x}\n- run: x\n  if: always() && steps.t.outcome == 'failure'",
            "on: {workflow_dispatch: {inputs: {go: {type: boolean}}}}\njobs: {a: {if: inputs.go == true, runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {workflow_dispatch: {inputs: {go: {type: boolean}}}}\njobs: {a: {if: github.event.inputs.go == 'true', runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {workflow_dispatch: {inputs: {go: {type: string}}}}\njobs: {a: {if: inputs.go == 'true', runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "jobs:\n  a:\n    strategy: {matrix: {os: '${{ fromJSON(vars.OS) }}'}}\n    runs-on: ${{ matrix.os }}\n    steps: [{run: x, if: matrix.os == 'ubuntu'}]",
            "on: [workflow_call, push]\njobs: {a: {if: github.event_name == 'schedule', runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {workflow_call: {inputs: {to: {type: string}}}, push: {}}\njobs: {a: {if: inputs.to == 'x' || github.event_name == 'issues', runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "- run: x\n  if: false",
            "- run: x\n  if: github.ref == 'refs/heads/main' || github.ref_name == 'main'",
        ],
    },
};

/// Values that a message names.
const MAX_SHOWN: usize = 8;

fn check(c: &mut Context<'_>) {
    let mut conditions: Vec<(&Condition, Option<&Job>)> = Vec::new();
    if let Some(workflow) = c.workflow() {
        conditions.extend(workflow.jobs.iter().map(|job| (&job.condition, None)));
    }
    let steps = c.steps();
    conditions.extend(steps.iter().map(|at| (&at.step.condition, at.job.map(|(job, _)| job))));
    for (condition, job) in conditions {
        let mut said = Vec::new();
        condition.tree.walk(&mut |e| {
            if let ExprKind::Compare(op, a, b) = &e.kind
                && let Some(why) = impossible(c, job, a, b).or_else(|| impossible(c, job, b, a))
            {
                match op {
                    CompareOp::Eq => said.push(format!("This comparison is never true: {why}")),
                    CompareOp::Ne => said.push(format!("This comparison is always true: {why}")),
                    _ => {}
                }
            }
        });
        for message in said {
            c.report(span_of(condition.place), message, "compare with a value that it can have");
        }
    }
}

/// Why a context and a literal are never equal.
fn impossible(
    c: &Context<'_>,
    job: Option<&Job>,
    context: &Expr,
    literal: &Expr,
) -> Option<String> {
    let ExprKind::Literal(Value::String(wanted)) = &literal.kind else { return None };
    let path = path_of(context)?;
    match values::of(&path, c.workflow(), job) {
        Known::OneOf(values) => {
            let met = values.iter().any(|v| v.eq_ignore_ascii_case(wanted));
            let shown: Vec<&str> =
                values.iter().map(String::as_str).filter(|v| !v.is_empty()).collect();
            let more = if shown.len() > MAX_SHOWN { ", …" } else { "" };
            let list = shown[..shown.len().min(MAX_SHOWN)].join(", ");
            (!met && !shown.is_empty()).then(|| format!("{path} is one of {list}{more}"))
        }
        Known::Ref => {
            let wanted = wanted.to_ascii_lowercase();
            let full =
                ["refs/heads/", "refs/tags/", "refs/pull/"].iter().any(|p| wanted.starts_with(p));
            (!full && !wanted.is_empty() && !wanted.starts_with("refs/gh")).then(|| {
                format!(
                    "{path} is a full ref, as 'refs/heads/main' (github.ref_name is the name alone)"
                )
            })
        }
        // A text meets a boolean as a number: 'true' is none, '1' and '' are.
        Known::Boolean => {
            let number = trainyard_model::parse_number(wanted);
            number.is_nan().then(|| format!("{path} is a boolean, and no text but '1' equals true"))
        }
        Known::Anything => None,
    }
}
