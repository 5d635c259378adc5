//! The repository: what it is, its commits, refs and files.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{allowed, bot, commit_of, enter, git};
use crate::fault::{Fault, unserved};
use crate::{Inner, Shared};

/// Bytes of a file in `contents`.
const MAX_CONTENT: usize = 100 * 1024 * 1024;

pub(crate) async fn user(
    State(inner): State<Shared>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    inner.access.require(&headers)?;
    Ok(Json(bot()))
}

pub(crate) async fn rate_limit(
    State(inner): State<Shared>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    inner.access.require(&headers)?;
    let core = json!({"limit": 5000, "used": 0, "remaining": 5000, "reset": 4_102_444_800u64});
    Ok(Json(json!({"resources": {"core": core}, "rate": core})))
}

/// What the event says of the repository, with what every answer has.
pub(crate) fn value(inner: &Inner) -> Value {
    let facts = &inner.forge.repository;
    let mut value = match &facts.event["repository"] {
        Value::Object(map) => Value::Object(map.clone()),
        _ => json!({}),
    };
    let (owner, name) = facts.slug.split_once('/').unwrap_or(("", &facts.slug));
    let html = format!("{}/{}", facts.server, facts.slug);
    let defaults = json!({
        "id": 1, "name": name, "full_name": facts.slug, "private": true, "fork": false,
        "owner": {"login": owner, "id": 1, "type": "User"}, "html_url": html,
        "clone_url": format!("{html}.git"), "description": null,
        "default_branch": facts.default_branch, "license": null, "visibility": "private",
        "archived": false, "disabled": false, "topics": [],
    });
    if let (Value::Object(map), Value::Object(defaults)) = (&mut value, defaults) {
        for (key, default) in defaults {
            map.entry(key).or_insert(default);
        }
        map.insert("url".into(), json!(format!("{}/api/repos/{}", inner.base(), facts.slug)));
    }
    value
}

pub(crate) async fn repository(
    State(inner): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    enter(&inner, &headers, &owner, &name)?;
    Ok(Json(value(&inner)))
}

/// A gzipped tar with one folder at its top, as checkout without git takes it.
pub(crate) async fn tarball(
    State(inner): State<Shared>,
    Path((owner, name, reference)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    let sha = commit_of(&inner, &reference).await?;
    let prefix = format!("--prefix={owner}-{name}-{}/", &sha[..7]);
    let bytes = git(&inner, &["archive", "--format=tar.gz", &prefix, &sha]).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-gzip")], bytes).into_response())
}

/// A commit with its files.
pub(crate) async fn commit_value(inner: &Inner, sha: &str) -> Result<Value, Fault> {
    let format = "--format=%H%x00%T%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%P%x00%B";
    let out = git(inner, &["show", "-s", format, sha]).await?;
    let text = String::from_utf8_lossy(&out).into_owned();
    let parts: Vec<&str> = text.splitn(10, '\0').collect();
    let part = |i: usize| parts.get(i).copied().unwrap_or_default();
    let facts = &inner.forge.repository;
    let url = format!("{}/api/repos/{}/commits/{}", inner.base(), facts.slug, part(0));
    let parents: Vec<Value> = part(8).split_whitespace().map(|p| json!({"sha": p})).collect();
    Ok(json!({
        "sha": part(0), "url": url,
        "html_url": format!("{}/{}/commit/{}", facts.server, facts.slug, part(0)),
        "commit": {
            "message": part(9).trim_end(), "tree": {"sha": part(1)},
            "author": {"name": part(2), "email": part(3), "date": part(4)},
            "committer": {"name": part(5), "email": part(6), "date": part(7)},
        },
        "author": {"login": part(2)}, "committer": {"login": part(5)}, "parents": parents,
    }))
}

pub(crate) async fn commit(
    State(inner): State<Shared>,
    Path((owner, name, reference)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    let parts: Vec<&str> = reference.rsplitn(2, '/').collect();
    if let [part, _] = parts[..]
        && ["pulls", "status", "statuses", "check-runs", "comments", "branches-where-head"]
            .contains(&part)
    {
        return Err(unserved(
            &inner,
            &grant,
            &format!("GET /repos/{owner}/{name}/commits/{reference}"),
        ));
    }
    let sha = commit_of(&inner, &reference).await?;
    let mut value = commit_value(&inner, &sha).await?;
    let range = format!("{sha}^");
    let files = match git(&inner, &["rev-parse", "-q", "--verify", &range]).await {
        Ok(_) => super::pulls::changed(&inner, &range, &sha).await?,
        Err(_) => Vec::new(),
    };
    value["files"] = Value::from(files);
    Ok(Json(value))
}

pub(crate) async fn branch(
    State(inner): State<Shared>,
    Path((owner, name, branch)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    let sha = commit_of(&inner, &branch).await?;
    let commit = commit_value(&inner, &sha).await?;
    Ok(Json(json!({"name": branch, "commit": commit, "protected": false})))
}

/// `git/ref/heads/main`
pub(crate) async fn git_ref(
    State(inner): State<Shared>,
    Path((owner, name, reference)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    let full = format!("refs/{reference}");
    let sha = commit_of(&inner, &full).await?;
    Ok(Json(json!({"ref": full, "object": {"type": "commit", "sha": sha}})))
}

pub(crate) async fn contents(
    State(inner): State<Shared>,
    Path((owner, name, path)): Path<(String, String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    let reference = query.get("ref").cloned().unwrap_or(inner.forge.repository.sha.clone());
    let sha = commit_of(&inner, &reference).await?;
    let object = format!("{sha}:{path}");
    let kind = git(&inner, &["cat-file", "-t", &object]).await?;
    if kind.starts_with(b"tree") {
        let out = git(&inner, &["ls-tree", "-l", "-z", &object]).await?;
        let rows: Vec<Value> = String::from_utf8_lossy(&out)
            .split('\0')
            .filter_map(|line| {
                let (facts, file) = line.split_once('\t')?;
                let facts: Vec<&str> = facts.split_whitespace().collect();
                let kind = if facts.get(1) == Some(&"tree") { "dir" } else { "file" };
                let size = facts.get(3).and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
                Some(json!({
                    "type": kind, "name": file, "path": format!("{path}/{file}"),
                    "sha": facts.get(2), "size": size,
                }))
            })
            .collect();
        return Ok(Json(Value::from(rows)).into_response());
    }
    let bytes = git(&inner, &["cat-file", "blob", &object]).await?;
    if bytes.len() > MAX_CONTENT {
        return Err(Fault::too_large("the file is too large for this route"));
    }
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accept.contains(".raw") {
        return Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response());
    }
    let id = git(&inner, &["rev-parse", &object]).await?;
    let file = path.rsplit('/').next().unwrap_or(&path);
    Ok(Json(json!({
        "type": "file", "encoding": "base64", "name": file, "path": path,
        "size": bytes.len(), "content": STANDARD.encode(&bytes),
        "sha": String::from_utf8_lossy(&id).trim(),
    }))
    .into_response())
}
