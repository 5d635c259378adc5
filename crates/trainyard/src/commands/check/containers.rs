//! What the container engine would refuse of a job's containers, as far as it is written out.

use trainyard_diagnostics::Diagnostic;
use trainyard_executor_container::{ContainerError, parse_options, parse_port, parse_volume};
use trainyard_expression::{Template, TemplateKind};
use trainyard_workflow::model::{JobKind, Workflow};
use trainyard_workflow::span_of;

const RULE: &str = "container/refused";

/// What is found in a workflow.
pub(super) fn of_workflow(workflow: &Workflow) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for job in &workflow.jobs {
        let JobKind::Steps(steps) = &job.kind else { continue };
        if let Some(container) = &steps.container {
            look(container, true, &mut found);
        }
        if let Some(TemplateKind::Mapping(services)) = steps.services.as_ref().map(|s| &s.kind) {
            for (_, service) in services {
                look(service, false, &mut found);
            }
        }
    }
    found
}

fn look(container: &Template, is_job: bool, found: &mut Vec<Diagnostic>) {
    if let Some(options) = container.get("options")
        && let Some(text) = options.as_str()
    {
        let refused = match parse_options(text) {
            Ok(options) if is_job && options.entrypoint.is_some() => Some(
                ContainerError::new(
                    "options: --entrypoint is refused: the job's container waits for its steps",
                )
                .hint("leave it out; a step says what runs"),
            ),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        found.extend(refused.map(|error| diagnostic(options, error)));
    }
    for (key, wanted) in [("ports", "PORT, or HOST:PORT"), ("volumes", "SOURCE:/TARGET")] {
        let Some(TemplateKind::Sequence(items)) = container.get(key).map(|t| &t.kind) else {
            continue;
        };
        for item in items {
            let Some(text) = item.as_str() else { continue };
            let refused = match key {
                "ports" => parse_port(text).err(),
                _ => parse_volume(text).err(),
            };
            let refused = refused.map(|e| match e.hint {
                Some(_) => e,
                None => e.hint(format!("{wanted} is expected")),
            });
            found.extend(refused.map(|error| diagnostic(item, error)));
        }
    }
}

fn diagnostic(at: &Template, error: ContainerError) -> Diagnostic {
    let help = error.hint.unwrap_or_else(|| "docs/containers.md tells what is taken".to_owned());
    Diagnostic::warning(RULE, span_of(at.place), error.message).with_help(help)
}
