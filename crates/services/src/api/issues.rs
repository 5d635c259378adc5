//! Comments, reactions and labels: kept for the run and shown in it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{allowed, bot, now, page, say};
use crate::fault::Fault;
use crate::{Inner, Shared};

/// Characters of a comment, as at GitHub.
const MAX_BODY: usize = 65_536;

pub(crate) async fn issue(
    State(inner): State<Shared>,
    Path((owner, name, number)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], false)?;
    let event = &inner.forge.repository.event;
    for kind in ["issue", "pull_request"] {
        if event[kind]["number"].as_f64() == Some(number as f64) {
            let mut value = event[kind].clone();
            value["labels"] = Value::from(label_values(&inner, number));
            return Ok(Json(value));
        }
    }
    Err(Fault::missing("Not Found"))
}

fn body_of(body: &Value) -> Result<String, Fault> {
    let text = body["body"].as_str().unwrap_or_default();
    let length = text.chars().count();
    if text.is_empty() || length > MAX_BODY {
        let message = format!("a body has 1 to {MAX_BODY} characters");
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_argument", message));
    }
    Ok(text.to_owned())
}

pub(crate) async fn comments(
    State(inner): State<Shared>,
    Path((owner, name, number)): Path<(String, String, i64)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], false)?;
    let rows: Vec<Value> = {
        let written = inner.forge.written();
        written.comments.iter().filter(|(n, _)| *n == number).map(|(_, c)| c.clone()).collect()
    };
    let path = format!("/api/repos/{owner}/{name}/issues/{number}/comments");
    Ok(page(&inner, &path, &query, &rows))
}

pub(crate) async fn comment(
    State(inner): State<Shared>,
    Path((owner, name, number)): Path<(String, String, i64)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Response, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], true)?;
    let text = body_of(&body)?;
    let facts = &inner.forge.repository;
    let comment = {
        let mut written = inner.forge.written();
        let id = written.id()?;
        let comment = json!({
            "id": id, "body": text, "user": bot(), "created_at": now(), "updated_at": now(),
            "url": format!("{}/api/repos/{}/issues/comments/{id}", inner.base(), facts.slug),
            "html_url": format!("{}/{}/issues/{number}#issuecomment-{id}", facts.server, facts.slug),
        });
        written.comments.push((number, comment.clone()));
        comment
    };
    say(&inner, &grant, "comment", format!("on #{number}: {text}"));
    Ok((StatusCode::CREATED, Json(comment)).into_response())
}

pub(crate) async fn one_comment(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], false)?;
    let written = inner.forge.written();
    let found = written.comments.iter().find(|(_, c)| c["id"] == id);
    found.map(|(_, c)| Json(c.clone())).ok_or_else(|| Fault::missing("Not Found"))
}

pub(crate) async fn edit(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], true)?;
    let text = body_of(&body)?;
    let (number, comment) = {
        let mut written = inner.forge.written();
        let found = written.comments.iter_mut().find(|(_, c)| c["id"] == id);
        let (number, comment) = found.ok_or_else(|| Fault::missing("Not Found"))?;
        comment["body"] = json!(text);
        comment["updated_at"] = json!(now());
        (*number, comment.clone())
    };
    say(&inner, &grant, "comment", format!("on #{number}, changed: {text}"));
    Ok(Json(comment))
}

pub(crate) async fn remove(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<StatusCode, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], true)?;
    inner.forge.written().comments.retain(|(_, c)| c["id"] != id);
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn reaction(
    State(inner): State<Shared>,
    Path((owner, name, _)): Path<(String, String, i64)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], true)?;
    let id = inner.forge.written().id()?;
    let value = json!({"id": id, "content": body["content"], "user": bot()});
    Ok((StatusCode::CREATED, Json(value)).into_response())
}

/// The labels of the event with what the run made of them.
fn label_names(inner: &Inner, number: i64) -> Vec<String> {
    if let Some(labels) = inner.forge.written().labels.get(&number) {
        return labels.clone();
    }
    let event = &inner.forge.repository.event;
    let given = ["pull_request", "issue"].into_iter().find_map(|k| {
        let of_it = event[k]["number"].as_f64() == Some(number as f64);
        event[k]["labels"].as_array().filter(|_| of_it)
    });
    let names = given.into_iter().flatten().filter_map(|l| l["name"].as_str());
    names.map(str::to_owned).collect()
}

fn label_values(inner: &Inner, number: i64) -> Vec<Value> {
    label_names(inner, number).iter().map(|n| json!({"name": n, "color": "ededed"})).collect()
}

/// `{"labels": [...]}`, or the list itself.
fn given(body: &Value) -> Vec<String> {
    let list = body["labels"].as_array().or(body.as_array()).cloned().unwrap_or_default();
    list.iter()
        .filter_map(|l| l.as_str().or(l["name"].as_str()))
        .take(100)
        .map(str::to_owned)
        .collect()
}

fn keep(inner: &Inner, number: i64, labels: Vec<String>) -> Result<Vec<Value>, Fault> {
    {
        let mut written = inner.forge.written();
        written.id()?;
        written.labels.insert(number, labels);
    }
    Ok(label_values(inner, number))
}

pub(crate) async fn labels(
    State(inner): State<Shared>,
    Path((owner, name, number)): Path<(String, String, i64)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], false)?;
    let path = format!("/api/repos/{owner}/{name}/issues/{number}/labels");
    Ok(page(&inner, &path, &query, &label_values(&inner, number)))
}

pub(crate) async fn add_labels(
    State(inner): State<Shared>,
    Path((owner, name, number)): Path<(String, String, i64)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], true)?;
    let new = given(&body);
    say(&inner, &grant, "comment", format!("labels of #{number}: added {}", new.join(", ")));
    let mut all = label_names(&inner, number);
    all.extend(new);
    all.dedup();
    Ok(Json(Value::from(keep(&inner, number, all)?)))
}

pub(crate) async fn set_labels(
    State(inner): State<Shared>,
    Path((owner, name, number)): Path<(String, String, i64)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], true)?;
    let new = given(&body);
    say(&inner, &grant, "comment", format!("labels of #{number}: {}", new.join(", ")));
    Ok(Json(Value::from(keep(&inner, number, new)?)))
}

pub(crate) async fn remove_label(
    State(inner): State<Shared>,
    Path((owner, name, number, label)): Path<(String, String, i64, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["issues", "pull-requests"], true)?;
    let mut all = label_names(&inner, number);
    all.retain(|l| !l.eq_ignore_ascii_case(&label));
    say(&inner, &grant, "comment", format!("labels of #{number}: removed {label}"));
    Ok(Json(Value::from(keep(&inner, number, all)?)))
}
