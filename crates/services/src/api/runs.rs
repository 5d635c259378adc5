//! The run itself: its artifacts, and the checks and statuses that jobs write.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use trainyard_blob::Artifact;

use super::{allowed, now, paged, say};
use crate::artifacts::{artifact_url, time};
use crate::fault::Fault;
use crate::{Inner, Shared};

pub(crate) async fn check(
    State(inner): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Response, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["checks"], true)?;
    let Json(mut check) = body;
    if !check.is_object() || check["name"].as_str().unwrap_or_default().is_empty() {
        let message = "a check has a name";
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_argument", message));
    }
    {
        let mut written = inner.forge.written();
        let id = written.id()?;
        let facts = &inner.forge.repository;
        check["id"] = json!(id);
        check["html_url"] = json!(format!("{}/{}/runs/{id}", facts.server, facts.slug));
        if check["status"].is_null() {
            check["status"] = json!("queued");
        }
        if check["started_at"].is_null() {
            check["started_at"] = json!(now());
        }
        written.checks.push(check.clone());
    }
    say(&inner, &grant, "check", check_text(&check));
    Ok((StatusCode::CREATED, Json(check)).into_response())
}

fn check_text(check: &Value) -> String {
    let word = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
    let state = match word("conclusion") {
        empty if empty.is_empty() => word("status"),
        conclusion => conclusion,
    };
    let title = check["output"]["title"].as_str().unwrap_or_default();
    let summary = check["output"]["summary"].as_str().unwrap_or_default();
    format!("{}: {state} {title}\n{summary}", word("name")).trim_end().to_owned()
}

pub(crate) async fn one_check(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["checks"], false)?;
    let written = inner.forge.written();
    let found = written.checks.iter().find(|c| c["id"] == id).cloned();
    found.map(Json).ok_or_else(|| Fault::missing("Not Found"))
}

pub(crate) async fn edit_check(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["checks"], true)?;
    let check = {
        let mut written = inner.forge.written();
        let check = written.checks.iter_mut().find(|c| c["id"] == id);
        let check = check.ok_or_else(|| Fault::missing("Not Found"))?;
        for (key, value) in body.as_object().into_iter().flatten().filter(|(k, _)| *k != "id") {
            check[key] = value.clone();
        }
        check.clone()
    };
    say(&inner, &grant, "check", check_text(&check));
    Ok(Json(check))
}

pub(crate) async fn status(
    State(inner): State<Shared>,
    Path((owner, name, sha)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Response, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["statuses"], true)?;
    if !body.is_object() {
        let message = "a status is an object";
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_argument", message));
    }
    let id = inner.forge.written().id()?;
    let word = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let context = body["context"].as_str().unwrap_or("default").to_owned();
    let text = format!("{context}: {} {}", word("state"), word("description"));
    say(&inner, &grant, "check", text);
    let mut status = body.0.clone();
    status["id"] = json!(id);
    status["sha"] = json!(sha);
    Ok((StatusCode::CREATED, Json(status)).into_response())
}

pub(crate) async fn run(
    State(inner): State<Shared>,
    Path((owner, name, run)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["actions"], false)?;
    if run != grant.run {
        return Err(Fault::missing("Not Found"));
    }
    let facts = &inner.forge.repository;
    Ok(Json(json!({
        "id": run, "run_attempt": 1, "status": "in_progress", "conclusion": null,
        "head_sha": facts.sha, "name": grant.claims.get("workflow"),
        "event": grant.claims.get("event_name"),
        "html_url": format!("{}/{}/actions/runs/{run}", facts.server, facts.slug),
        "repository": super::repository::value(&inner),
    })))
}

fn value(inner: &Inner, artifact: &Artifact) -> Value {
    let slug = &inner.forge.repository.slug;
    let url = format!("{}/api/repos/{slug}/actions/artifacts/{}", inner.base(), artifact.id);
    let expired = artifact.expires.is_some_and(|e| e < jiff::Timestamp::now().as_millisecond());
    json!({
        "id": artifact.id, "name": artifact.name, "size_in_bytes": artifact.size,
        "url": url, "archive_download_url": format!("{url}/zip"), "expired": expired,
        "created_at": time(artifact.created), "updated_at": time(artifact.created),
        "expires_at": artifact.expires.map(time), "digest": format!("sha256:{}", artifact.sha256),
        "workflow_run": {"id": artifact.run, "head_sha": inner.forge.repository.sha},
    })
}

fn answer(
    inner: &Inner,
    path: &str,
    query: &BTreeMap<String, String>,
    run: Option<i64>,
) -> Result<Response, Fault> {
    let name = query.get("name");
    let rows: Vec<Value> = inner
        .store()?
        .artifacts(run)?
        .iter()
        .filter(|a| a.repository.eq_ignore_ascii_case(&inner.forge.repository.slug))
        .filter(|a| name.is_none_or(|n| a.name == *n))
        .map(|a| value(inner, a))
        .collect();
    let total = rows.len();
    let (rows, link) = paged(inner, path, query, &rows);
    let mut response = Json(json!({"total_count": total, "artifacts": rows})).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// The artifacts of a run of this repository, also of an earlier one.
pub(crate) async fn artifacts(
    State(inner): State<Shared>,
    Path((owner, name, run)): Path<(String, String, i64)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["actions"], false)?;
    let path = format!("/api/repos/{owner}/{name}/actions/runs/{run}/artifacts");
    answer(&inner, &path, &query, Some(run))
}

pub(crate) async fn all_artifacts(
    State(inner): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["actions"], false)?;
    answer(&inner, &format!("/api/repos/{owner}/{name}/actions/artifacts"), &query, None)
}

fn own(inner: &Inner, id: i64) -> Result<Artifact, Fault> {
    let found = inner.store()?.artifact(id)?;
    let own = |a: &Artifact| a.repository.eq_ignore_ascii_case(&inner.forge.repository.slug);
    found.filter(own).ok_or_else(|| Fault::missing("Not Found"))
}

pub(crate) async fn artifact(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["actions"], false)?;
    Ok(Json(value(&inner, &own(&inner, id)?)))
}

pub(crate) async fn zip(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["actions"], false)?;
    let artifact = own(&inner, id)?;
    let place = artifact_url(&inner, &grant, &artifact);
    Ok((StatusCode::FOUND, [(header::LOCATION, place)]).into_response())
}
