//! A run as JSON.

use serde_json::{Value, json};
use trainyard_store::JobRow;

use super::Whole;

/// All of it. `jobs` are those that count; each names its earlier attempts.
pub(super) fn value(whole: &Whole, attempt: Option<i64>) -> Value {
    let row = &whole.row;
    let by_name = whole.by_name();
    let jobs: Vec<Value> = whole
        .current(attempt)
        .into_iter()
        .map(|current| {
            let same = |j: &JobRow| (j.node, j.attempt) == (current.node, current.attempt);
            let all = by_name.iter().find(|jobs| jobs.iter().any(|j| same(j)));
            let mut value = job(whole, current);
            value["attempts"] = all
                .into_iter()
                .flatten()
                .filter(|j| attempt.is_none_or(|a| j.attempt <= a))
                .map(|j| {
                    json!({
                        "attempt": j.attempt, "outcome": j.outcome, "reason": j.reason,
                        "started": j.started, "ended": j.ended,
                    })
                })
                .collect();
            value
        })
        .collect();
    json!({
        "run": row.id, "number": row.number, "attempt": attempt.unwrap_or(row.attempt), "repository": row.repository,
        "path": row.path, "workflow": row.workflow, "title": row.title, "event": row.event,
        "ref": row.reference, "sha": row.sha, "status": whole.status(attempt),
        "started": row.started, "ended": row.ended, "jobs": jobs,
        "outputs": whole.outputs(attempt),
        "open": whole.open.iter().map(|j| json!({"name": j.name, "state": j.state})).collect::<Vec<_>>(),
    })
}

fn job(whole: &Whole, job: &JobRow) -> Value {
    let reasons = |step: i64| -> Vec<&str> {
        let notes = whole.notes_of(job).filter(|n| n.kind == "cache" && n.step == step);
        notes.map(|n| n.text.as_str()).collect()
    };
    let notes = || whole.notes_of(job);
    json!({
        "path": job.path, "name": job.name, "attempt": job.attempt, "outcome": job.outcome,
        "reason": job.reason, "waited": job.waited, "ready": job.ready,
        "started": job.started, "ended": job.ended,
        "steps": whole.steps_of(job).map(|s| json!({
            "index": s.index, "name": s.name, "outcome": s.outcome,
            "conclusion": s.conclusion, "reason": s.reason, "cache": reasons(s.index),
            "started": s.started, "milliseconds": s.millis,
        })).collect::<Vec<_>>(),
        "artifacts": whole.artifacts_of(job).map(|a| json!({
            "id": a.id, "name": a.name, "type": a.kind, "uri": a.uri, "bytes": a.bytes,
            "metadata": serde_json::from_str::<Value>(&a.metadata).unwrap_or_default(),
        })).collect::<Vec<_>>(),
        "children": whole.children_of(job).map(|c| json!({
            "run": c.row.id, "workflow": c.row.workflow, "status": super::status(&c.row),
            "jobs": c.jobs.iter().map(|j| json!({
                "path": j.path, "name": j.name, "outcome": j.outcome, "reason": j.reason,
                "started": j.started, "ended": j.ended,
            })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "annotations": notes().filter(|n| !["summary", "cache", "outputs"].contains(&n.kind.as_str())).map(|n| json!({
            "level": n.kind, "message": n.text, "place": n.place, "step": n.step,
        })).collect::<Vec<_>>(),
        "outputs": notes().filter(|n| n.kind == "outputs").map(super::outputs).last(),
        "summary": notes().filter(|n| n.kind == "summary").map(|n| n.text.clone()).collect::<String>(),
    })
}
