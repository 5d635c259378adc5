//! Pull requests: the one of the event, and what it changes.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::{allowed, commit_of, git, page};
use crate::fault::Fault;
use crate::{Inner, Shared};

fn of_event(inner: &Inner) -> Option<&Value> {
    let pull = &inner.forge.repository.event["pull_request"];
    pull.is_object().then_some(pull)
}

fn find(inner: &Inner, number: i64) -> Result<&Value, Fault> {
    let pull = of_event(inner).filter(|p| p["number"].as_f64() == Some(number as f64));
    pull.ok_or_else(|| Fault::missing("Not Found"))
}

pub(crate) async fn list(
    State(inner): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["pull-requests"], false)?;
    let rows: Vec<Value> = of_event(&inner).cloned().into_iter().collect();
    Ok(page(&inner, &format!("/api/repos/{owner}/{name}/pulls"), &query, &rows))
}

pub(crate) async fn one(
    State(inner): State<Shared>,
    Path((owner, name, number)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["pull-requests"], false)?;
    Ok(Json(find(&inner, number)?.clone()))
}

/// The files that differ between two commits.
pub(crate) async fn changed(inner: &Inner, from: &str, to: &str) -> Result<Vec<Value>, Fault> {
    let names = git(inner, &["diff", "--name-status", "-z", "-M", from, to]).await?;
    let counts = git(inner, &["diff", "--numstat", "-z", "--no-renames", from, to]).await?;
    let counts = String::from_utf8_lossy(&counts).into_owned();
    let mut lines: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for row in counts.split('\0') {
        let parts: Vec<&str> = row.split('\t').collect();
        if let [added, removed, file] = parts[..] {
            lines.insert(file, (added.parse().unwrap_or(0), removed.parse().unwrap_or(0)));
        }
    }
    let names = String::from_utf8_lossy(&names).into_owned();
    let mut words = names.split('\0').filter(|w| !w.is_empty());
    let mut rows = Vec::new();
    while let Some(status) = words.next() {
        let first = words.next().unwrap_or_default();
        let (word, file, previous) = match status.as_bytes()[0] {
            b'A' => ("added", first, None),
            b'D' => ("removed", first, None),
            b'R' => ("renamed", words.next().unwrap_or_default(), Some(first)),
            b'C' => ("copied", words.next().unwrap_or_default(), Some(first)),
            _ => ("modified", first, None),
        };
        let (added, removed) = lines.get(file).copied().unwrap_or_default();
        let mut row = json!({
            "filename": file, "status": word, "additions": added, "deletions": removed,
            "changes": added + removed,
        });
        if let Some(previous) = previous {
            row["previous_filename"] = json!(previous);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// From where the branch left its base, as GitHub compares (three dots).
async fn since_fork(inner: &Inner, base: &str, head: &str) -> Result<Vec<Value>, Fault> {
    let fork = git(inner, &["merge-base", base, head]).await;
    let fork = fork.map(|out| String::from_utf8_lossy(&out).trim().to_owned());
    changed(inner, fork.as_deref().unwrap_or(base), head).await
}

pub(crate) async fn files(
    State(inner): State<Shared>,
    Path((owner, name, number)): Path<(String, String, i64)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["pull-requests"], false)?;
    let pull = find(&inner, number)?;
    let side = |side: &str| pull[side]["sha"].as_str().unwrap_or_default().to_owned();
    let (base, head) = (side("base"), side("head"));
    let (base, head) = (commit_of(&inner, &base).await?, commit_of(&inner, &head).await?);
    let rows = since_fork(&inner, &base, &head).await?;
    let path = format!("/api/repos/{owner}/{name}/pulls/{number}/files");
    Ok(page(&inner, &path, &query, &rows))
}

/// `compare/BASE...HEAD`
pub(crate) async fn compare(
    State(inner): State<Shared>,
    Path((owner, name, basehead)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    let (base, head) = basehead
        .split_once("...")
        .or_else(|| basehead.split_once(".."))
        .ok_or_else(|| Fault::missing("Not Found"))?;
    let (base, head) = (commit_of(&inner, base).await?, commit_of(&inner, head).await?);
    let files = since_fork(&inner, &base, &head).await?;
    let range = format!("{base}..{head}");
    let log =
        git(&inner, &["log", "--reverse", "--max-count=250", "--format=%H%x00%s", &range]).await?;
    let commits: Vec<Value> = String::from_utf8_lossy(&log)
        .lines()
        .filter_map(|l| l.split_once('\0'))
        .map(|(sha, subject)| json!({"sha": sha, "commit": {"message": subject}}))
        .collect();
    let behind = git(&inner, &["rev-list", "--count", &format!("{head}..{base}")]).await?;
    let behind: u64 = String::from_utf8_lossy(&behind).trim().parse().unwrap_or(0);
    let status = match (commits.len(), behind) {
        (0, 0) => "identical",
        (_, 0) => "ahead",
        (0, _) => "behind",
        _ => "diverged",
    };
    Ok(Json(json!({
        "status": status, "ahead_by": commits.len(), "behind_by": behind,
        "total_commits": commits.len(), "commits": commits, "files": files,
        "base_commit": {"sha": base}, "merge_base_commit": {"sha": base},
    })))
}
