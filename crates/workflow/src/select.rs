//! Which workflows an event starts, and why not the others.

use crate::glob::{Pattern, any_matches};
use crate::model::{RefFilter, TriggerDef, Workflow};

/// What an event brings to the filters.
#[derive(Debug, Clone, Default)]
pub struct EventFacts {
    /// `push`, `pull_request`, ...
    pub event: String,
    /// `refs/heads/main`, `refs/tags/v1`; for pull requests the base branch is what counts.
    pub git_ref: String,
    /// The base branch of a pull request, short.
    pub base_ref: Option<String>,
    /// `github.event.action`
    pub action: Option<String>,
    /// Changed files; none when they are not known, and then path filters pass.
    pub files: Option<Vec<String>>,
    /// The name of the workflow that ran, for `workflow_run`.
    pub workflow: Option<String>,
    /// The branch that it ran on.
    pub head_branch: Option<String>,
}

/// Whether a workflow runs; if not, which filter refused it.
pub fn select(workflow: &Workflow, facts: &EventFacts) -> Result<(), String> {
    let Some(trigger) = workflow.trigger(&facts.event) else {
        let events: Vec<&str> = workflow.triggers.iter().map(|t| t.event.as_str()).collect();
        return Err(format!("it runs on {}, not on {}", events.join(", "), facts.event));
    };
    types(trigger, facts)?;
    match facts.event.as_str() {
        "push" => push(trigger, facts),
        "pull_request" | "pull_request_target" | "merge_group" => {
            let base = facts.base_ref.as_deref().unwrap_or(short(&facts.git_ref));
            branch(&trigger.branches, base, "the base branch")?;
            paths(&trigger.paths, facts)
        }
        "workflow_run" => {
            let name = facts.workflow.as_deref().unwrap_or_default();
            if !trigger.workflows.is_empty() && !any_matches(&trigger.workflows, name) {
                return Err(format!("`workflows` does not list '{name}'"));
            }
            match &facts.head_branch {
                Some(head) => branch(&trigger.branches, head, "the branch"),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn short(git_ref: &str) -> &str {
    git_ref.strip_prefix("refs/heads/").or(git_ref.strip_prefix("refs/tags/")).unwrap_or(git_ref)
}

fn types(trigger: &TriggerDef, facts: &EventFacts) -> Result<(), String> {
    let Some(action) = facts.action.as_deref() else { return Ok(()) };
    // Only pull requests have activity types that do not start a workflow by default.
    let default = ["opened", "synchronize", "reopened"].map(str::to_owned);
    let wanted: &[String] = match (&trigger.types, facts.event.as_str()) {
        (Some(types), _) => types,
        (None, "pull_request" | "pull_request_target") => &default,
        (None, _) => return Ok(()),
    };
    match wanted.iter().any(|t| t == action) {
        true => Ok(()),
        false => Err(format!("`types` is {}, the activity is {action}", wanted.join(", "))),
    }
}

fn push(trigger: &TriggerDef, facts: &EventFacts) -> Result<(), String> {
    let (own, other, name, what) = match facts.git_ref.strip_prefix("refs/tags/") {
        Some(tag) => (&trigger.tags, &trigger.branches, tag, "the tag"),
        None => (&trigger.branches, &trigger.tags, short(&facts.git_ref), "the branch"),
    };
    if own.is_given() {
        branch(own, name, what)?;
    } else if other.is_given() {
        let (given, missing) =
            if what == "the tag" { ("branches", "tags") } else { ("tags", "branches") };
        return Err(format!("it filters `{given}` only, and so runs for no {missing}"));
    }
    // Paths are not looked at for tags.
    if what == "the tag" {
        return Ok(());
    }
    paths(&trigger.paths, facts)
}

fn branch(filter: &RefFilter, name: &str, what: &str) -> Result<(), String> {
    let list = |patterns: &[Pattern]| {
        patterns.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join(", ")
    };
    if let Some(include) = &filter.include
        && !any_matches(include, name)
    {
        return Err(format!("{what} '{name}' matches none of [{}]", list(include)));
    }
    if let Some(ignore) = &filter.ignore
        && any_matches(ignore, name)
    {
        return Err(format!("{what} '{name}' is ignored by [{}]", list(ignore)));
    }
    Ok(())
}

fn paths(filter: &RefFilter, facts: &EventFacts) -> Result<(), String> {
    let Some(files) = &facts.files else { return Ok(()) };
    let list = |patterns: &[Pattern]| {
        patterns.iter().map(|p| p.text.as_str()).collect::<Vec<_>>().join(", ")
    };
    if let Some(include) = &filter.include
        && !files.iter().any(|f| any_matches(include, f))
    {
        return Err(format!(
            "no changed file of {} matches `paths` [{}]",
            files.len(),
            list(include)
        ));
    }
    if let Some(ignore) = &filter.ignore
        && files.iter().all(|f| any_matches(ignore, f))
    {
        return Err(format!("all changed files are in `paths-ignore` [{}]", list(ignore)));
    }
    Ok(())
}
