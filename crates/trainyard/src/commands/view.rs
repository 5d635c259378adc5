//! `trainyard view`: one run with its jobs, steps, annotations and summary.

use super::runs::status;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::journal::Journal;
use crate::paths::data_dir;
use crate::ui::duration;

/// The latest run, or the one of that number.
pub fn find(journal: &Journal, run: Option<i64>) -> Result<crate::journal::RunRow> {
    let found = match run {
        Some(id) => journal.run(id)?,
        None => journal.runs(1)?.into_iter().next(),
    };
    found.ok_or_else(|| {
        Error::new(match run {
            Some(id) => format!("there is no run {id}"),
            None => "there are no runs yet".into(),
        })
        .hint("trainyard runs lists them")
    })
}

/// Shows it.
pub fn view(run: Option<i64>, json: bool) -> Result<Exit> {
    let journal = Journal::open(&data_dir()?)?;
    let row = find(&journal, run)?;
    let jobs = journal.jobs(row.id)?;
    let steps = journal.steps(row.id)?;
    let notes = journal.notes(row.id)?;
    if json {
        let value = serde_json::json!({
            "run": row.id, "number": row.number, "repository": row.repository, "path": row.path,
            "workflow": row.workflow, "title": row.title, "event": row.event,
            "ref": row.reference, "sha": row.sha, "status": status(&row),
            "started": row.started, "ended": row.ended,
            "jobs": jobs.iter().map(|j| serde_json::json!({
                "path": j.path, "name": j.name, "outcome": j.outcome, "reason": j.reason,
                "started": j.started, "ended": j.ended,
                "steps": steps.iter().filter(|s| s.node == j.node).map(|s| serde_json::json!({
                    "index": s.index, "name": s.name, "outcome": s.outcome,
                    "conclusion": s.conclusion, "reason": s.reason, "milliseconds": s.millis,
                })).collect::<Vec<_>>(),
                "annotations": notes.iter().filter(|n| n.node == j.node && n.kind != "summary").map(|n| serde_json::json!({
                    "level": n.kind, "message": n.text, "place": n.place, "step": n.step,
                })).collect::<Vec<_>>(),
                "summary": notes.iter().filter(|n| n.node == j.node && n.kind == "summary").map(|n| n.text.clone()).collect::<String>(),
            })).collect::<Vec<_>>(),
        });
        outln!("{value:#}");
        return Ok(Exit::Success);
    }
    outln!("{} · {}  (run {}, {})", row.workflow, row.title, row.id, row.path);
    let short = row.sha.get(..7).unwrap_or(&row.sha);
    let time = row.ended.map(|e| format!(" in {}", duration(e - row.started))).unwrap_or_default();
    outln!("{} on {} at {short}: {}{time}\n", row.event, row.reference, status(&row));
    for job in &jobs {
        let time =
            job.started.map(|s| format!("  {}", duration(job.ended - s))).unwrap_or_default();
        let why = if job.reason.is_empty() { String::new() } else { format!("  ({})", job.reason) };
        outln!("{} {}: {}{time}{why}", mark(&job.outcome), job.name, job.outcome);
        for step in steps.iter().filter(|s| s.node == job.node) {
            let why =
                if step.reason.is_empty() { String::new() } else { format!("  ({})", step.reason) };
            let forgiven = if step.outcome != step.conclusion { " (forgiven)" } else { "" };
            outln!(
                "    {} {}{forgiven}  {}{why}",
                mark(&step.conclusion),
                step.name,
                duration(step.millis)
            );
        }
        for note in notes.iter().filter(|n| n.node == job.node && n.kind != "summary") {
            let place =
                if note.place.is_empty() { String::new() } else { format!("{}: ", note.place) };
            outln!("    {}: {place}{}", note.kind, note.text.replace('\n', "\n        "));
        }
    }
    for note in notes.iter().filter(|n| n.kind == "summary") {
        outln!("\n{}", note.text.trim_end());
    }
    Ok(Exit::Success)
}

fn mark(outcome: &str) -> &'static str {
    match outcome {
        "success" => "✓",
        "skipped" | "not run" => "-",
        "cancelled" => "!",
        _ => "✗",
    }
}
