//! Tokens that may do more than their jobs need.

use trainyard_diagnostics::{Severity, Span};
use trainyard_workflow::permissions::{Level, Permissions};
use trainyard_workflow::span_of;

use super::Rule;
use crate::context::Context;

pub(crate) const RULE: Rule = Rule {
    id: "permissions/excess",
    severity: Severity::Warning,
    summary: "A token that may write more than its job needs is a present to whoever gets hold of it",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "on: push\npermissions: write-all\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "jobs:\n  a:\n    permissions: write-all\n    runs-on: ubuntu-latest\n    steps: [{run: x}]",
            "on: push\npermissions: {contents: write}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}, b: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: push\npermissions:\n  contents: read\n  id-token: write\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}, b: {runs-on: ubuntu-latest, steps: [{run: x}]}, c: {permissions: {}, runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: push\npermissions: {packages: write, contents: read}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}, b: {uses: ./.github/workflows/b.yml}}",
        ],
        good: &[
            "on: push\npermissions: {contents: write}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: push\npermissions: read-all\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: push\njobs: {a: {permissions: {contents: write}, runs-on: ubuntu-latest, steps: [{run: x}]}, b: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: push\npermissions: {contents: write}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}, b: {permissions: {contents: read}, runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: push\npermissions: {}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'echo write-all'}]}}",
            "on: push\npermissions: {contents: read}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}, b: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
        ],
    },
};

fn check(c: &mut Context<'_>) {
    let Some(workflow) = c.workflow() else { return };
    let all = Permissions::all(Level::Write);
    let help = "name what it needs: `permissions: {contents: read}`";
    if let Some(own) = &workflow.permissions {
        let first = workflow.jobs.iter().map(|j| span_of(j.place).start).min().unwrap_or(0);
        // `permissions` may stand below the jobs as well; at the left edge it is the workflow's.
        let span = key(c.source.text(), 0, None).unwrap_or(Span::new(first, first + 1));
        let heirs: Vec<&str> = workflow
            .jobs
            .iter()
            .filter(|j| j.permissions.is_none())
            .map(|j| j.id.as_str())
            .collect();
        if *own == all {
            c.report(span, "Every job may write everything", help);
        } else if heirs.len() > 1 {
            let writes: Vec<&str> =
                own.iter().filter(|(_, l)| *l == Level::Write).map(|(n, _)| n).collect();
            if !writes.is_empty() {
                let message =
                    format!("{} jobs may write {}, needed or not", heirs.len(), writes.join(", "));
                c.report(
                    span,
                    message,
                    "give it to the job that needs it: `permissions` of the job",
                );
            }
        }
    }
    for job in workflow.jobs.iter().filter(|j| j.permissions.as_ref() == Some(&all)) {
        let from = span_of(job.place).end;
        if let Some(span) = key(c.source.text(), from, Some(from)) {
            c.report(span, format!("'{}' may write everything", job.id), help);
        }
    }
}

/// The next key `permissions`: of the workflow at the left edge, else the first from there on.
fn key(text: &str, from: usize, inner: Option<usize>) -> Option<Span> {
    let word = "permissions";
    let starts = text[from..].match_indices(word).map(|(i, _)| from + i);
    let is_key = |at: &usize| {
        let before = text[..*at].chars().next_back();
        let edge = inner.is_some() || before.is_none_or(|c| c == '\n' || c == '\u{feff}');
        edge && text[at + word.len()..].starts_with(':')
    };
    starts.into_iter().find(is_key).map(|at| Span::new(at, at + word.len()))
}
