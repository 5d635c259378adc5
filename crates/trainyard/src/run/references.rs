//! What a workflow says of local actions, against what those declare.

use std::path::Path;

use trainyard_diagnostics::{Diagnostic, Source};
use trainyard_job::spec::StepKind;
use trainyard_workflow::lower::WorkflowFile;
use trainyard_workflow::model::JobKind;
use trainyard_workflow::{read_action, span_of};

/// Warnings about steps that use a local action: inputs that it does not declare, or that it
/// calls required. An action that is not there may be laid down by an earlier step, so its
/// absence is no finding.
pub fn check(file: &WorkflowFile, root: &Path) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for job in &file.workflow.jobs {
        let JobKind::Steps(steps) = &job.kind else { continue };
        for step in &steps.steps {
            let StepKind::Uses { action, place, with } = &step.kind else { continue };
            let Some(relative) = action.strip_prefix("./").or(action.strip_prefix("$/")) else {
                continue;
            };
            let folder = root.join(relative);
            let text = ["action.yml", "action.yaml"]
                .into_iter()
                .find_map(|n| std::fs::read_to_string(folder.join(n)).ok());
            let Some(text) = text else { continue };
            let (Some(declared), _) = read_action(&Source::new(action.as_str(), text), 0) else {
                found.push(Diagnostic::warning(
                    "action/broken",
                    span_of(*place),
                    format!("The action '{action}' has errors"),
                ));
                continue;
            };
            let given = with.as_ref().map(|w| w.pairs()).unwrap_or_default();
            for (key, _) in given {
                let Some(name) = key.as_str() else { continue };
                if !declared.inputs.iter().any(|i| i.name.eq_ignore_ascii_case(name)) {
                    let known: Vec<&str> =
                        declared.inputs.iter().map(|i| i.name.as_str()).collect();
                    found.push(
                        Diagnostic::warning(
                            "action/input-unknown",
                            span_of(key.place),
                            format!("The action '{action}' declares no input '{name}'"),
                        )
                        .with_help(format!("it declares: {}", known.join(", "))),
                    );
                }
            }
            for input in declared.inputs.iter().filter(|i| i.required && i.default.is_none()) {
                let named = |k: &str| k.eq_ignore_ascii_case(&input.name);
                if !given.iter().any(|(k, _)| k.as_str().is_some_and(named)) {
                    found.push(
                        Diagnostic::warning(
                            "action/input-required",
                            span_of(*place),
                            format!("The action '{action}' requires the input '{}'", input.name),
                        )
                        .with_help("GitHub runs it all the same, with an empty input"),
                    );
                }
            }
        }
    }
    found
}
