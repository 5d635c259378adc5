//! Actions and images that another party can change under the same name.

use trainyard_diagnostics::Severity;
use trainyard_job::spec::StepKind;
use trainyard_workflow::model::JobKind;
use trainyard_workflow::span_of;

use super::Rule;
use crate::context::Context;

pub(crate) const RULE: Rule = Rule {
    id: "uses/unpinned",
    severity: Severity::Info,
    summary: "An action named by a tag or branch can change without notice",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "- uses: actions/checkout@v4",
            "- uses: octo/tool/sub@main",
            "- uses: octo/tool@0123456789abcdef",
            "- uses: docker://alpine:3.20",
            "jobs:\n  a:\n    uses: octo/flows/.github/workflows/x.yml@v1",
            "runs:\n  using: composite\n  steps: [{uses: octo/tool@v2}]",
        ],
        good: &[
            "- uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683",
            "- uses: actions/checkout@11BD71901BBE5B1630CEEA73D27597364C9AF683 # v4.2.2",
            "- uses: ./local/action",
            "- uses: docker://alpine@sha256:77af4d6b9913e693e8d0b4b294fa62ade6054e6b2f1ffb617ac955dd63fb0182",
            "jobs:\n  a:\n    uses: ./.github/workflows/x.yml",
            "- run: echo actions/checkout@v4",
        ],
    },
};

fn check(c: &mut Context<'_>) {
    let steps = c.steps();
    let steps = steps.iter().filter_map(|at| match &at.step.kind {
        StepKind::Uses { action, place, .. } => Some((action.as_str(), *place)),
        _ => None,
    });
    let jobs = c.workflow().map(|w| &w.jobs[..]).unwrap_or_default();
    let calls = jobs.iter().filter_map(|job| match &job.kind {
        JobKind::Call(call) => Some((call.uses.as_str(), call.place)),
        JobKind::Steps(_) => None,
    });
    for (uses, place) in steps.chain(calls).collect::<Vec<_>>() {
        if let Some(image) = uses.strip_prefix("docker://") {
            if !image.contains("@sha256:") {
                let message = format!("The image '{image}' can change under its tag");
                c.report(span_of(place), message, "name it by its digest: IMAGE@sha256:...");
            }
            continue;
        }
        let Some((name, reference)) = uses.split_once('@') else { continue };
        let is_commit = reference.len() == 40 && reference.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_commit && !name.starts_with('.') {
            let message = format!("'{name}' can change under '{reference}'");
            let help = format!(
                "name the commit, and the version in a comment: {name}@COMMIT # {reference}"
            );
            c.report(span_of(place), message, help);
        }
    }
}
