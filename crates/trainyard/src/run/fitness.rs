//! Whether this machine may run a job, and why not: by its labels, by what it asks for.

use trainyard_expression::{Template, TemplateKind};
use trainyard_job::spec::StepKind;
use trainyard_workflow::lower::{Lowered, NodeDefinition, WorkflowFile};
use trainyard_workflow::model::{Job, JobKind};

use crate::actions::load;

/// Whether this machine serves a label; `given` are those of `--runner`, the last one wins.
pub fn serves(given: &[(String, bool)], label: &str) -> bool {
    if let Some((_, host)) = given.iter().rev().find(|(l, _)| l.eq_ignore_ascii_case(label)) {
        return *host;
    }
    let lower = label.to_ascii_lowercase();
    let arch = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    };
    let arm_image = lower.ends_with("-arm");
    (lower.starts_with("ubuntu-") && arm_image == (arch == "arm64"))
        || lower == "linux"
        || lower == "self-hosted"
        || lower == arch
}

/// What is said of a job that asks for another machine.
pub fn elsewhere(label: &str) -> String {
    format!("this machine is not '{label}' (--runner '{label}=host' runs it here all the same)")
}

/// Why a job is refused before it starts.
pub fn refusal(definition: &NodeDefinition, job: &Job) -> Option<String> {
    if let Some(why) = &definition.refusal {
        return Some(why.clone());
    }
    let JobKind::Steps(steps) = &job.kind else { return None };
    // One that has a condition may never be reached, and is refused only then.
    steps.steps.iter().filter(|s| s.condition.text == "success()").find_map(|s| match &s.kind {
        StepKind::Uses { action, .. } => load::refusal(action),
        _ => None,
    })
}

/// The labels and the group of a job, as far as they are written out.
fn written_labels(runs_on: &Template) -> Vec<&str> {
    let mut labels = Vec::new();
    let parts = [runs_on.get("labels"), runs_on.get("group"), Some(runs_on)];
    for part in parts.into_iter().flatten() {
        match &part.kind {
            TemplateKind::Sequence(items) => labels.extend(items.iter().filter_map(|i| i.as_str())),
            _ => labels.extend(part.as_str()),
        }
    }
    labels
}

/// What a dry run can say of jobs that this machine would not run, as `JOB: why`.
pub fn remarks(lowered: &Lowered, given: &[(String, bool)]) -> Vec<String> {
    let mut remarks = Vec::new();
    for node in &lowered.plan.nodes {
        let definition = &lowered.nodes[node.definition as usize];
        let Some(job) = definition.job else { continue };
        let file: &WorkflowFile = &lowered.files[definition.file];
        let job = &file.workflow.jobs[job];
        if let JobKind::Steps(steps) = &job.kind {
            let labels = written_labels(&steps.runs_on);
            if let Some(label) = labels.into_iter().find(|l| !serves(given, l)) {
                remarks.push(format!("{} is not run: {}", job.id, elsewhere(label)));
                continue;
            }
        }
        if let Some(why) = refusal(definition, job) {
            remarks.push(format!("{} would fail: {why}", job.id));
        }
    }
    remarks
}
