//! Needs that add nothing: another need waits for them already, and nobody reads them.

use trainyard_diagnostics::Severity;
use trainyard_workflow::model::Workflow;
use trainyard_workflow::span_of;

use super::Rule;
use crate::context::Context;

pub(crate) const RULE: Rule = Rule {
    id: "needs/unread",
    severity: Severity::Info,
    summary: "A need that another need waits for already and that nobody reads adds nothing",
    check: Some(check),
    #[cfg(test)]
    cases: super::Cases {
        bad: &[
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: x}]}\n  c: {needs: [a, b], runs-on: ubuntu-latest, steps: [{run: x}]}",
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: x}]}\n  c: {needs: b, runs-on: ubuntu-latest, steps: [{run: x}]}\n  d: {needs: [c, a], runs-on: ubuntu-latest, steps: [{run: x}]}",
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: x}]}\n  c: {needs: [A, b], runs-on: ubuntu-latest, steps: [{run: 'echo ${{ needs.b.result }}'}]}",
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: x}]}\n  c: {needs: [a, b], uses: ./.github/workflows/x.yml}",
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: x}]}\n  c: {needs: [a, b], if: always(), runs-on: ubuntu-latest, steps: [{run: x}]}\n  d: {needs: a, runs-on: ubuntu-latest, steps: [{run: 'echo ${{ needs.a.result }}'}]}",
        ],
        good: &[
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: x}]}",
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  c: {needs: [a, b], runs-on: ubuntu-latest, steps: [{run: x}]}",
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: x}]}\n  c: {needs: [a, b], runs-on: ubuntu-latest, steps: [{run: 'echo ${{ needs.a.outputs.v }}'}]}",
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: x}]}\n  c: {needs: [a, b], runs-on: ubuntu-latest, steps: [{run: 'echo ${{ toJSON(needs) }}'}]}",
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: x}]}\n  c: {needs: [a, b], if: \"contains(needs.*.result, 'failure')\", runs-on: ubuntu-latest, steps: [{run: x}]}",
            "jobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b: {needs: a, runs-on: ubuntu-latest, steps: [{run: x}]}\n  c: {needs: [a, b], if: \"needs['a'].result == 'success'\", runs-on: ubuntu-latest, steps: [{run: x}]}",
        ],
    },
};

/// Jobs of a file beyond which nobody reads what is said of each.
const MAX_JOBS: usize = 100;

fn check(c: &mut Context<'_>) {
    let Some(workflow) = c.workflow() else { return };
    if workflow.jobs.len() > MAX_JOBS {
        return;
    }
    for (number, job) in workflow.jobs.iter().enumerate() {
        let start = span_of(job.place).end;
        let end = workflow.jobs.iter().skip(number + 1).map(|j| span_of(j.place).start).min();
        let end = end.filter(|e| *e > start).unwrap_or(c.source.text().len());
        // The job as it stands, its own list of needs set aside.
        let mut text = c.source.text()[start..end].to_ascii_lowercase();
        for (_, place) in &job.needs {
            let span = span_of(*place);
            if span.start >= start && span.end <= end {
                text.replace_range(
                    span.start - start..span.end - start,
                    &" ".repeat(span.end - span.start),
                );
            }
        }
        for (need, place) in &job.needs {
            let others = job.needs.iter().filter(|(n, _)| !n.eq_ignore_ascii_case(need));
            let by = others.map(|(n, _)| n).find(|n| reaches(workflow, n, need));
            if let Some(by) = by.filter(|_| !reads(&text, need)) {
                let message = format!(
                    "'{}' waits for '{need}' already by '{by}', and reads nothing of it",
                    job.id
                );
                c.report(span_of(*place), message, format!("leave '{need}' out of `needs`"));
            }
        }
    }
}

/// Whether a job waits for another, directly or not.
fn reaches(workflow: &Workflow, from: &str, to: &str) -> bool {
    let mut seen: Vec<&str> = Vec::new();
    let mut todo = vec![from];
    while let Some(at) = todo.pop() {
        let Some(job) = workflow.job(at).filter(|j| !seen.contains(&j.id.as_str())) else {
            continue;
        };
        seen.push(&job.id);
        for (need, _) in &job.needs {
            if need.eq_ignore_ascii_case(to) {
                return true;
            }
            todo.push(need);
        }
    }
    false
}

/// Whether a text in lower case reads the need, or needs that nobody can tell.
fn reads(text: &str, need: &str) -> bool {
    let need = need.to_ascii_lowercase();
    text.match_indices("needs").any(|(at, word)| {
        let rest = text[at + word.len()..].trim_start();
        match rest.chars().next() {
            Some('.') => {
                let name: String = rest[1..]
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
                    .collect();
                name == need || rest.starts_with(".*")
            }
            Some('[' | ')' | '}' | ',' | '=') => true,
            _ => false,
        }
    })
}
