//! Whether this machine may run a job, and why not: by its labels, by what it asks for.

use trainyard_executor_container::{Search, search};
use trainyard_expression::{Template, TemplateKind};
use trainyard_job::container::ContainerSpec;
use trainyard_job::spec::StepKind;
use trainyard_workflow::lower::{Lowered, NodeDefinition, WorkflowFile};
use trainyard_workflow::model::{Job, JobKind};

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

/// Whether a job cannot do without a container engine, as far as that is written out.
fn wants_engine(job: &Job) -> bool {
    let JobKind::Steps(steps) = &job.kind else { return false };
    let image = steps.container.as_ref().map(|c| c.get("image").unwrap_or(c));
    image.is_some_and(|i| i.as_str() != Some("") && !i.has_expressions())
        || steps.services.is_some()
        || steps.steps.iter().any(|s| {
            // One that has a condition may never be reached.
            let always = s.condition.text == "success()";
            matches!(&s.kind, StepKind::Uses { action, .. } if always && action.starts_with("docker://"))
        })
}

/// The image that one of a job's labels stands for; of several, that of the last word.
pub fn image_of<'a>(
    images: &'a [(String, ContainerSpec)],
    labels: &[String],
) -> Option<&'a ContainerSpec> {
    let found =
        images.iter().rev().find(|(name, _)| labels.iter().any(|l| l.eq_ignore_ascii_case(name)));
    found.map(|(_, image)| image)
}

/// What is said of a job whose label stands for no image where one must.
pub fn without_image(labels: &[String]) -> String {
    let label = labels.first().map_or("LABEL", String::as_str);
    format!(
        "with --executor container every label stands for an image: --runner '{label}=image:IMAGE', or [runners.\"{label}\"] in trainyard.toml"
    )
}

/// What is said of a job that asks for another machine.
pub fn elsewhere(label: &str) -> String {
    format!("this machine is not '{label}' (--runner '{label}=host' runs it here all the same)")
}

/// Why a job is refused before it starts.
pub fn refusal(definition: &NodeDefinition) -> Option<String> {
    definition.refusal.clone()
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
        let engine = || search(&Search::here()).err().filter(|_| wants_engine(job));
        if let Some(why) = refusal(definition).or_else(|| engine().map(|e| e.said())) {
            remarks.push(format!("{} would fail: {why}", job.id));
        }
    }
    remarks
}
