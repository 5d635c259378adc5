//! Labels that no runner has: the job would wait for a day and fail.

use trainyard_diagnostics::Severity;
use trainyard_expression::{Template, TemplateKind};
use trainyard_workflow::model::{Job, JobKind};
use trainyard_workflow::span_of;

use super::Rule;
use super::values::{self, Known};
use crate::context::{Context, path_of};

pub(crate) const RULE: Rule = Rule {
    id: "runs-on/unserved",
    severity: Severity::Warning,
    summary: "A label that no runner has leaves the job waiting",
    check: Some(check),
    // The cases have runners with the labels `gpu` and `a100-*` of their own.
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "jobs:\n  a:\n    runs-on: ubuntu-20.04\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: macos-13\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: ubuntu-lastest\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: [self-hosted, cuda]\n    steps: [{run: x}]",
            "jobs:\n  a:\n    strategy: {matrix: {os: [ubuntu-latest, windows-2019]}}\n    runs-on: ${{ matrix.os }}\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: {labels: ubunut-24.04}\n    steps: [{run: x}]",
        ],
        good: &[
            "jobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: Ubuntu-Latest\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: [self-hosted, linux, x64, gpu]\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: [self-hosted, a100-80g]\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: ${{ vars.RUNNER || 'ubuntu-latest' }}\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: macos-15-xlarge\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: {group: big}\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: {group: big, labels: ubuntu-20.04}\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: ubuntu-latest-m\n    steps: [{run: x}]",
            "jobs:\n  a:\n    runs-on: ubuntu-28.04\n    steps: [{run: x}]",
        ],
    },
};

/// Images of GitHub's runners (actions/runner-images `README.md`).
const HOSTED: &[&str] = &[
    "ubuntu-latest",
    "ubuntu-26.04",
    "ubuntu-24.04",
    "ubuntu-22.04",
    "ubuntu-slim",
    "ubuntu-26.04-arm",
    "ubuntu-24.04-arm",
    "ubuntu-22.04-arm",
    "windows-latest",
    "windows-2025",
    "windows-2025-vs2026",
    "windows-2022",
    "windows-11-arm",
    "windows-11-vs2026-arm",
    "macos-latest",
    "macos-26",
    "macos-15",
    "macos-14",
    "macos-26-intel",
    "macos-15-intel",
    "macos-latest-large",
    "macos-26-large",
    "macos-15-large",
    "macos-14-large",
    "macos-latest-xlarge",
    "macos-26-xlarge",
    "macos-15-xlarge",
    "macos-14-xlarge",
    "xcode-27",
    "xcode-27-xlarge",
];
/// Those that are gone (actions/runner-images, the issues that announced it).
const REMOVED: &[(&str, &str)] = &[
    ("macos-13", "December 2025"),
    ("macos-13-large", "December 2025"),
    ("macos-13-xlarge", "December 2025"),
    ("windows-2019", "June 2025"),
    ("ubuntu-20.04", "April 2025"),
    ("macos-12", "December 2024"),
    ("macos-12-large", "December 2024"),
    ("macos-12-xlarge", "December 2024"),
    ("macos-11", "June 2024"),
    ("ubuntu-18.04", "April 2023"),
    ("macos-10.15", "March 2023"),
    ("windows-2016", "April 2022"),
    ("ubuntu-16.04", "September 2021"),
];
/// What every self-hosted runner may have.
const OWN: &[&str] = &["self-hosted", "linux", "windows", "macos", "x64", "arm", "arm64", "x86"];

fn check(c: &mut Context<'_>) {
    let Some(workflow) = c.workflow() else { return };
    for job in &workflow.jobs {
        let JobKind::Steps(steps) = &job.kind else { continue };
        let from = match steps.runs_on.kind {
            TemplateKind::Mapping(_) => steps.runs_on.get("labels"),
            _ => Some(&steps.runs_on),
        };
        let items: Vec<&Template> = match from.map(|t| &t.kind) {
            Some(TemplateKind::Sequence(items)) => items.iter().collect(),
            _ => from.into_iter().collect(),
        };
        // Of a group, or of one's own machines, labels are what their owners call them.
        let own = steps.runs_on.get("group").is_some()
            || items
                .iter()
                .any(|i| i.as_str().is_some_and(|l| l.eq_ignore_ascii_case("self-hosted")));
        for item in items {
            for label in labels(job, item) {
                if let Some((message, help)) = fault(c, &label, own) {
                    c.report(span_of(item.place), message, help);
                }
            }
        }
    }
}

/// What a label may be: as it is written, or each value of the matrix it is from.
fn labels(job: &Job, item: &Template) -> Vec<String> {
    match &item.kind {
        TemplateKind::String(text) => vec![text.to_string()],
        TemplateKind::Expression(e) => match path_of(&e.tree).and_then(|p| {
            let key = p.strip_prefix("matrix.")?;
            match values::matrix(job, key) {
                Known::OneOf(values) => Some(values),
                _ => None,
            }
        }) {
            Some(values) => values.into_iter().filter(|v| !v.is_empty()).collect(),
            None => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn fault(c: &Context<'_>, label: &str, of_own: bool) -> Option<(String, String)> {
    let lower = label.to_ascii_lowercase();
    let own = &c.settings.labels;
    if own.iter().any(|l| matches(&l.to_ascii_lowercase(), &lower)) {
        return None;
    }
    if let Some((_, when)) = REMOVED.iter().find(|(l, _)| *l == lower && !of_own) {
        let family = lower.split('-').next().unwrap_or_default();
        let message = format!("GitHub has no '{label}' since {when}");
        return Some((message, format!("use {family}-latest, or a version that is there")));
    }
    if HOSTED.contains(&lower.as_str()) || OWN.contains(&lower.as_str()) {
        return None;
    }
    // `ubuntu-latest-m` is a larger runner's own name.
    let larger = HOSTED.iter().any(|h| lower.strip_prefix(h).is_some_and(|r| r.starts_with('-')));
    if let Some(near) = HOSTED.iter().find(|h| !of_own && !larger && is_typo(&lower, h)) {
        return Some((
            format!("No runner has the label '{label}'"),
            format!("did you mean '{near}'?"),
        ));
    }
    // Runners of one's own may be called anything, unless it is known what they are called.
    (!own.is_empty() && !looks_hosted(&lower)).then(|| {
        let message = format!("No runner of trainyard.toml has the label '{label}'");
        (message, format!("it lists: {}", own.join(", ")))
    })
}

/// A version that is newer than this list, or a larger runner with a name of its own.
fn looks_hosted(label: &str) -> bool {
    ["ubuntu-", "windows-", "macos-"].iter().any(|p| label.starts_with(p))
}

/// `a100-*` matches what begins so.
fn matches(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        Some((front, back)) => {
            label.len() >= front.len() + back.len()
                && label.starts_with(front)
                && label.ends_with(back)
        }
        None => pattern == label,
    }
}

/// Whether letters are swapped, wrong, missing or too many, two at most. Other digits are another
/// version and no slip.
fn is_typo(label: &str, known: &str) -> bool {
    let letters = |t: &str| t.chars().filter(|c| !c.is_ascii_digit()).collect::<Vec<char>>();
    let digits = |t: &str| t.chars().filter(char::is_ascii_digit).collect::<String>();
    let (a, b) = (letters(label), letters(known));
    label != known
        && digits(label) == digits(known)
        && a.len().abs_diff(b.len()) <= 2
        && (1..=2).contains(&distance(&a, &b))
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}
