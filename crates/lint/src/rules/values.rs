//! What values a context can have, as far as the file tells.

use trainyard_expression::{Template, TemplateKind};
use trainyard_workflow::EVENTS;
use trainyard_workflow::model::{InputType, Job, Workflow};

/// What is known of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Known {
    /// One of these texts.
    OneOf(Vec<String>),
    /// A boolean.
    Boolean,
    /// A full ref.
    Ref,
    /// Nothing.
    Anything,
}

fn texts(list: &[&str]) -> Known {
    Known::OneOf(list.iter().map(|t| (*t).to_owned()).collect())
}

/// The values of a context by its path, in a job if there is one.
pub(super) fn of(path: &str, workflow: Option<&Workflow>, job: Option<&Job>) -> Known {
    let parts: Vec<&str> = path.split('.').collect();
    match parts[..] {
        ["runner", "os"] => texts(&["Linux", "Windows", "macOS"]),
        ["runner", "arch"] => texts(&["X86", "X64", "ARM", "ARM64"]),
        ["github", "ref"] => Known::Ref,
        ["github", "ref_type"] => texts(&["branch", "tag"]),
        ["job", "status"] => texts(&["success", "failure", "cancelled"]),
        ["steps", _, "outcome" | "conclusion"] | ["needs", _, "result"] => {
            texts(&["success", "failure", "cancelled", "skipped"])
        }
        ["github", "event_name"] => workflow.map_or(Known::Anything, events),
        ["github", "event", "action"] => workflow.map_or(Known::Anything, actions),
        ["matrix", key] => job.map_or(Known::Anything, |job| matrix(job, key)),
        ["inputs", name] => workflow.map_or(Known::Anything, |w| input(w, name)),
        _ => Known::Anything,
    }
}

fn events(workflow: &Workflow) -> Known {
    if workflow.trigger("workflow_call").is_some() {
        return texts(EVENTS);
    }
    Known::OneOf(workflow.triggers.iter().map(|t| t.event.clone()).collect())
}

/// `github.event.action`, where every trigger says its `types`.
fn actions(workflow: &Workflow) -> Known {
    let mut all: Vec<String> = vec![String::new()];
    for trigger in &workflow.triggers {
        match (trigger.event.as_str(), &trigger.types) {
            (_, Some(types)) => all.extend(types.iter().cloned()),
            ("pull_request" | "pull_request_target", None) => {
                all.extend(["opened", "synchronize", "reopened"].map(str::to_owned));
            }
            ("push" | "schedule" | "workflow_dispatch", None) => {}
            _ => return Known::Anything,
        }
    }
    Known::OneOf(all)
}

fn input(workflow: &Workflow, name: &str) -> Known {
    let declared = workflow
        .triggers
        .iter()
        .filter(|t| ["workflow_dispatch", "workflow_call"].contains(&t.event.as_str()));
    let mut found = None;
    for trigger in declared {
        let input = trigger.inputs.iter().find(|i| i.name.eq_ignore_ascii_case(name));
        let known = match input {
            Some(input) => match input.kind {
                InputType::Boolean => Known::Boolean,
                InputType::Choice if trigger.event == "workflow_dispatch" => {
                    Known::OneOf(input.options.clone())
                }
                _ => Known::Anything,
            },
            None => Known::Anything,
        };
        if found.as_ref().is_some_and(|f| *f != known) {
            return Known::Anything;
        }
        found = Some(known);
    }
    match found.unwrap_or(Known::Anything) {
        // Under another trigger than a dispatch the input is empty.
        Known::OneOf(mut options) => {
            options.push(String::new());
            Known::OneOf(options)
        }
        other => other,
    }
}

/// The values of a matrix that is written out.
pub(super) fn matrix(job: &Job, key: &str) -> Known {
    let Some(matrix) = job.strategy.as_ref().and_then(|s| s.get("matrix")) else {
        return Known::Anything;
    };
    let TemplateKind::Mapping(pairs) = &matrix.kind else { return Known::Anything };
    let mut values = Vec::new();
    let mut everywhere = false;
    for (name, value) in pairs {
        let Some(name) = name.as_str() else { return Known::Anything };
        let TemplateKind::Sequence(items) = &value.kind else { return Known::Anything };
        match name {
            "exclude" => {}
            "include" => {
                for item in items {
                    let TemplateKind::Mapping(pairs) = &item.kind else { return Known::Anything };
                    for (name, value) in pairs {
                        match name.as_str() {
                            Some(name) if name.eq_ignore_ascii_case(key) => match text(value) {
                                Some(text) => values.push(text),
                                None => return Known::Anything,
                            },
                            Some(_) => {}
                            None => return Known::Anything,
                        }
                    }
                }
            }
            name if name.eq_ignore_ascii_case(key) => {
                everywhere = true;
                for item in items {
                    match text(item) {
                        Some(text) => values.push(text),
                        None => return Known::Anything,
                    }
                }
            }
            _ => {}
        }
    }
    if !everywhere {
        // Legs that no `include` reaches have none.
        values.push(String::new());
    }
    Known::OneOf(values)
}

/// A value that is written out, as a comparison with a text sees it.
fn text(value: &Template) -> Option<String> {
    match &value.kind {
        TemplateKind::String(text) => Some(text.to_string()),
        TemplateKind::Null => Some(String::new()),
        // Numbers and booleans meet texts as numbers.
        _ => None,
    }
}
