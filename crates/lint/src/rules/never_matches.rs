//! Patterns of `branches`, `tags` and `paths` that no name can match.

use trainyard_diagnostics::{Fix, Severity, Span};
use trainyard_workflow::glob::Pattern;
use trainyard_workflow::model::RefFilter;
use trainyard_workflow::span_of;

use super::Rule;
use crate::context::Context;

pub(crate) const RULE: Rule = Rule {
    id: "on/never-matches",
    severity: Severity::Warning,
    summary: "A pattern that no branch, tag or path can match filters everything out",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "on: {push: {paths: ['./src/**']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {paths: ['/src/**']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {paths: ['src/']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {branches: [refs/heads/main]}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {tags: ['refs/tags/v*']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {pull_request: {branches: ['release branch']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on:\n  push:\n    paths:\n      - '!./docs/**'\n      - '**'\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {paths: ['src/../lib/**']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
        ],
        good: &[
            "on: {push: {paths: ['src/**']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {paths: ['**/src/*', '**.js', '.github/**', 'a b/c', '...']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {branches: [main, 'releases/**', 'v[0-9].x', feature/x]}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {tags: ['v*', 'v[0-9]+.[0-9]+', refs-x]}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {push: {branches: ['**', '!refs']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
            "on: {pull_request: {paths-ignore: ['docs/**', '*.md']}}\njobs: {a: {runs-on: ubuntu-latest, steps: [{run: x}]}}",
        ],
    },
};

/// What names a pattern is for.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Branches,
    Tags,
    Paths,
}

fn check(c: &mut Context<'_>) {
    let Some(workflow) = c.workflow() else { return };
    for trigger in &workflow.triggers {
        let filters = [
            (&trigger.branches, Of::Branches),
            (&trigger.tags, Of::Tags),
            (&trigger.paths, Of::Paths),
        ];
        for (filter, of) in filters {
            for pattern in patterns(filter) {
                if let Some((why, better)) = fault(&pattern.text, of) {
                    report(c, pattern, &why, better);
                }
            }
        }
    }
}

fn patterns(filter: &RefFilter) -> impl Iterator<Item = &Pattern> {
    filter.include.iter().chain(&filter.ignore).flatten()
}

fn report(c: &mut Context<'_>, pattern: &Pattern, why: &str, better: Option<String>) {
    let whole = span_of(pattern.place);
    let text = &pattern.text;
    let message = format!("The pattern '{text}' matches nothing: {why}");
    // In quotes, as it is written; where it is written otherwise there is no fix.
    let inside = c.source.slice(whole).find(text.as_str()).map(|i| whole.start + i);
    match (better, inside) {
        (Some(better), Some(start)) => {
            let span = Span::new(start, start + text.len());
            let help = format!("write '{better}'");
            c.report_fix(span, message, help, Fix { span, text: better });
        }
        (Some(better), None) => c.report(whole, message, format!("write '{better}'")),
        (None, _) => c.report(whole, message, "compare it with the names it is meant for"),
    }
}

/// Why a pattern matches nothing, and the one that was meant where that is certain.
fn fault(text: &str, of: Of) -> Option<(String, Option<String>)> {
    let (sign, body) = match text.strip_prefix('!') {
        Some(body) => ("!", body),
        None => ("", text),
    };
    let better = |body: &str| (!body.is_empty()).then(|| format!("{sign}{body}"));
    match of {
        Of::Paths => {
            if let Some(rest) = body.strip_prefix("./") {
                return Some(("paths have no `./` in front".into(), better(rest)));
            }
            if let Some(rest) = body.strip_prefix('/') {
                return Some((
                    "paths are relative to the repository and have no `/` in front".into(),
                    better(rest),
                ));
            }
            if body.split('/').any(|part| part == "..") {
                return Some(("paths have no `..`".into(), None));
            }
            if let Some(folder) = body.strip_suffix('/') {
                return Some((
                    "it is of a folder, and only files are compared".into(),
                    better(&format!("{folder}/**")),
                ));
            }
        }
        Of::Branches | Of::Tags => {
            let (prefix, kind) = if of == Of::Branches {
                ("refs/heads/", "branches")
            } else {
                ("refs/tags/", "tags")
            };
            if let Some(rest) = body.strip_prefix(prefix) {
                return Some((format!("{kind} are compared without `{prefix}`"), better(rest)));
            }
            // What git allows in no name (git-check-ref-format).
            if let Some(bad) =
                body.chars().find(|c| matches!(c, ' ' | '~' | '^' | ':') || c.is_control())
            {
                return Some((format!("no name of git's has '{bad}'"), None));
            }
        }
    }
    None
}
