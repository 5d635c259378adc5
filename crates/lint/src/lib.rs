//! What GitHub accepts in a workflow or action file and its author hardly meant: injections,
//! secrets in plain sight, filters and conditions that cannot match, needs that nobody reads.
//!
//! One rule a file in [`rules`], each with its cases beside it and a page in `docs/rules/`. Rules
//! look at definitions that were read without errors, and say nothing that is not so: where a
//! value is not known, there is no finding.
//!
//! Deliberately absent: running shellcheck (the binary does), reading files, a language server.

mod context;
mod fix;
mod ignore;
pub mod rules;

use trainyard_diagnostics::{Diagnostic, Source};
use trainyard_workflow::action::Action;
use trainyard_workflow::model::Workflow;

pub use fix::apply_fixes;
pub use ignore::without_ignored;
pub use rules::{RULES, Rule};

/// What was read from a file.
#[derive(Debug, Clone, Copy)]
pub enum Definition<'a> {
    /// A workflow.
    Workflow(&'a Workflow),
    /// An action.
    Action(&'a Action),
}

/// What a project says of the rules.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Rules that are not asked.
    pub off: Vec<String>,
    /// Labels that the project's own runners serve; if there are any, others are suspect.
    pub labels: Vec<String>,
}

/// Warnings of the readers that are no rules of their own, and can be left or turned off as well.
pub const READERS: &[&str] = &[
    "action/broken",
    "action/input-required",
    "action/input-unknown",
    "call/permissions",
    "action/output-unknown",
    "needs/unknown-context",
    "needs/unknown-output",
    "on/choice",
    "on/pattern",
    "schema/duplicate-key",
    "schema/missing-key",
    "schema/unexpected-key",
    "schema/unexpected-mapping",
    "schema/unexpected-sequence",
    "schema/unexpected-value",
    "steps/later",
    "steps/unknown-context",
];

/// Whether there is a rule or warning of that id.
pub fn is_known(id: &str) -> bool {
    RULES.iter().any(|r| r.id == id) || READERS.contains(&id)
}

/// What the rules find, in the order of the file.
pub fn lint(source: &Source, definition: Definition<'_>, settings: &Settings) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for rule in RULES {
        let Some(check) = rule.check.filter(|_| !settings.off.iter().any(|o| o == rule.id)) else {
            continue;
        };
        let mut context = context::Context::new(source, definition, settings, rule);
        check(&mut context);
        found.extend(context.found);
    }
    found.sort_by_key(|d| (d.span.start, d.severity));
    found.dedup();
    found
}
