//! When each job and step of an attempt ran, as bars, and the critical path: the chain of jobs
//! that each began when the one before it ended.

use trainyard_store::JobRow;

use super::{Whole, duration_of, head, mark};
use crate::ui;

/// Characters of the bars.
const WIDTH: i64 = 40;
/// Milliseconds between the end of a job and the beginning of what it made wait.
const SLACK: i64 = 250;

/// Short times are what one looks for here.
fn duration(millis: i64) -> String {
    if millis < 10_000 { format!("{millis}ms") } else { ui::duration(millis) }
}

pub(super) fn show(whole: &Whole, attempt: Option<i64>) {
    head(whole, attempt);
    let attempt = attempt.unwrap_or(whole.row.attempt);
    let jobs: Vec<&JobRow> =
        whole.jobs.iter().filter(|j| j.attempt == attempt && j.started.is_some()).collect();
    let from = jobs.iter().filter_map(|j| j.ready.or(j.started)).min().unwrap_or_default();
    let to = jobs.iter().map(|j| j.ended).max().unwrap_or(from + 1).max(from + 1);
    let names = jobs.iter().map(|j| j.name.chars().count() + 2);
    let steps = jobs.iter().flat_map(|j| whole.steps_of(j)).map(|s| s.name.chars().count() + 4);
    let width = names.chain(steps).max().unwrap_or(0).clamp(10, 36);
    let path = critical(&jobs);
    for job in &jobs {
        let on_path = if path.contains(&job.node) { "*" } else { " " };
        let title = format!("{} {}", mark(&job.outcome), job.name);
        line(
            &title,
            width,
            (job.started.unwrap_or(from), job.ended),
            (from, to),
            (job.ready, on_path),
        );
        for step in whole.steps_of(job) {
            let Some(began) = step.started else { continue };
            let title = format!("  {} {}", mark(&step.conclusion), step.name);
            line(&title, width, (began, began + step.millis), (from, to), (None, " "));
        }
    }
    let on_path: Vec<String> = jobs
        .iter()
        .filter(|j| path.contains(&j.node))
        .map(|j| format!("{} {}", j.name, duration(duration_of(j).unwrap_or(0))))
        .collect();
    outln!("\n* critical path: {} of {}", on_path.join(" → "), duration(to - from));
    for job in jobs.iter().filter(|j| path.contains(&j.node) && !j.waited.is_empty()) {
        outln!("  {} waited {}", job.name, job.waited);
    }
    let longest = jobs.iter().filter(|j| path.contains(&j.node)).flat_map(|j| whole.steps_of(j));
    if let Some(step) = longest.max_by_key(|s| s.millis) {
        outln!("  its longest step: {} {}", step.name, duration(step.millis));
    }
}

/// The jobs that the end waited for: from the one that ended last back to one that waited for none.
fn critical(jobs: &[&JobRow]) -> Vec<i64> {
    let mut path = Vec::new();
    let mut at = jobs.iter().max_by_key(|j| j.ended);
    while let Some(job) = at {
        path.push(job.node);
        let began = job.ready.or(job.started).unwrap_or_default();
        at = jobs
            .iter()
            .filter(|j| j.ended <= began && began - j.ended <= SLACK && !path.contains(&j.node))
            .max_by_key(|j| j.ended);
    }
    path
}

fn line(
    title: &str,
    width: usize,
    (began, ended): (i64, i64),
    (from, to): (i64, i64),
    (ready, sign): (Option<i64>, &str),
) {
    let place = |at: i64| ((at - from) * WIDTH / (to - from)).clamp(0, WIDTH);
    let title: String = match title.chars().count() > width {
        true => title.chars().take(width - 1).chain(['…']).collect(),
        false => title.to_owned(),
    };
    let (first, last) = (place(began), place(ended).max(place(began) + 1).min(WIDTH));
    let waited = ready.map_or(first, &place).min(first);
    let bar: String = (0..WIDTH)
        .map(|at| match at {
            at if at >= first && at < last => '█',
            at if at >= waited && at < first => '░',
            _ => ' ',
        })
        .collect();
    outln!(
        "{sign} {title:<width$} {bar} {:>7}  at {}",
        duration(ended - began),
        duration(began - from)
    );
}
