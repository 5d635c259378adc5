//! Actions whose service is gone or whose Node is.

use trainyard_diagnostics::Severity;
use trainyard_job::spec::StepKind;
use trainyard_workflow::action::ActionRuns;
use trainyard_workflow::span_of;

use super::Rule;
use crate::Definition;
use crate::context::Context;

pub(crate) const RULE: Rule = Rule {
    id: "uses/deprecated",
    severity: Severity::Warning,
    summary: "An action whose service or Node is gone fails, or runs on another Node than it was made for",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "- uses: actions/upload-artifact@v3",
            "- uses: actions/cache@v2",
            "- uses: actions/checkout@v2",
            "- uses: actions/setup-python@v4.7.1",
            "- uses: Actions/Cache/restore@v2",
            "- uses: docker/login-action@v2",
            "runs:\n  using: node16\n  main: x.js",
        ],
        good: &[
            "- uses: actions/upload-artifact@v4",
            "- uses: actions/cache@v4",
            "- uses: actions/checkout@v4",
            "- uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683",
            "- uses: octo/checkout@v1",
            "- uses: actions/checkout@main",
            "runs:\n  using: node20\n  main: x.js",
        ],
    },
};

/// The first major version that works with a service that is there.
const SERVICES: &[(&str, u32)] = &[
    ("actions/upload-artifact", 4),
    ("actions/download-artifact", 4),
    ("actions/cache", 3),
    ("actions/cache/restore", 3),
    ("actions/cache/save", 3),
    ("actions/upload-pages-artifact", 3),
];

/// The first major version made for Node 20 or later (`runs.using` of the action at its tags).
const NODES: &[(&str, u32)] = &[
    ("actions/cache", 4),
    ("actions/cache/restore", 4),
    ("actions/cache/save", 4),
    ("actions/checkout", 4),
    ("actions/configure-pages", 4),
    ("actions/dependency-review-action", 4),
    ("actions/deploy-pages", 3),
    ("actions/github-script", 7),
    ("actions/labeler", 5),
    ("actions/setup-dotnet", 4),
    ("actions/setup-go", 5),
    ("actions/setup-java", 4),
    ("actions/setup-node", 4),
    ("actions/setup-python", 5),
    ("actions/stale", 9),
    ("azure/login", 2),
    ("aws-actions/configure-aws-credentials", 4),
    ("codecov/codecov-action", 4),
    ("dessant/lock-threads", 5),
    ("docker/build-push-action", 5),
    ("docker/login-action", 3),
    ("docker/metadata-action", 5),
    ("docker/setup-buildx-action", 3),
    ("docker/setup-qemu-action", 3),
    ("dorny/paths-filter", 3),
    ("github/codeql-action/analyze", 3),
    ("github/codeql-action/autobuild", 3),
    ("github/codeql-action/init", 3),
    ("github/codeql-action/upload-sarif", 3),
    ("golangci/golangci-lint-action", 4),
    ("google-github-actions/auth", 2),
    ("google-github-actions/setup-gcloud", 2),
    ("goreleaser/goreleaser-action", 5),
    ("hashicorp/setup-terraform", 3),
    ("peaceiris/actions-gh-pages", 4),
    ("peter-evans/create-or-update-comment", 4),
    ("peter-evans/create-pull-request", 6),
    ("pnpm/action-setup", 3),
    ("release-drafter/release-drafter", 6),
    ("softprops/action-gh-release", 2),
    ("stefanzweifel/git-auto-commit-action", 5),
];

/// `v4`, `v4.1.0`: the major version, if the ref is one.
fn major(reference: &str) -> Option<u32> {
    let number = reference.strip_prefix('v')?.split('.').next()?;
    number.parse().ok()
}

fn check(c: &mut Context<'_>) {
    if let Definition::Action(action) = c.definition
        && let ActionRuns::Node(node) = &action.runs
        && ["node12", "node16"].contains(&node.using.as_str())
    {
        let text = c.source.text();
        let key = text.find("using:").unwrap_or(0);
        if let Some(start) = text[key..].find(&node.using).map(|i| key + i) {
            let span = trainyard_diagnostics::Span::new(start, start + node.using.len());
            let message = format!("Runners have no {} any more and take a later one", node.using);
            c.report(span, message, "test it with node24 and say so: `using: node24`");
        }
    }
    for at in c.steps() {
        let StepKind::Uses { action, place, .. } = &at.step.kind else { continue };
        let Some((name, reference)) = action.split_once('@') else { continue };
        let Some(version) = major(reference) else { continue };
        let first = |table: &[(&str, u32)]| {
            table.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v)
        };
        if let Some(good) = first(SERVICES).filter(|good| version < *good) {
            let message = format!("{name} {reference} fails: the service that it calls is gone");
            c.report(span_of(*place), message, format!("use v{} or later", good.max(4)));
        } else if let Some(good) = first(NODES).filter(|good| version < *good) {
            let message =
                format!("{name} {reference} was made for a Node that runners have no more");
            c.report(span_of(*place), message, format!("use v{good} or later"));
        }
    }
}
