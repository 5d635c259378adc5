//! Releases: kept for the run; their assets are artifacts of it.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use trainyard_blob::NewArtifact;

use super::{allowed, bot, now, page, say};
use crate::fault::Fault;
use crate::uploads::{stream, whole};
use crate::{Inner, Shared};

/// A release with its assets.
fn value(inner: &Inner, release: &Value) -> Value {
    let mut value = release.clone();
    let written = inner.forge.written();
    let own = written.assets.iter().filter(|(r, _)| release["id"] == *r);
    value["assets"] = Value::from(own.map(|(_, a)| a.clone()).collect::<Vec<_>>());
    value
}

fn find(inner: &Inner, is: impl Fn(&Value) -> bool) -> Result<Value, Fault> {
    let found = inner.forge.written().releases.iter().rev().find(|r| is(r)).cloned();
    let release = found.ok_or_else(|| Fault::missing("Not Found"))?;
    Ok(value(inner, &release))
}

pub(crate) async fn list(
    State(inner): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    let all: Vec<Value> = inner.forge.written().releases.clone();
    let rows: Vec<Value> = all.iter().rev().map(|r| value(&inner, r)).collect();
    Ok(page(&inner, &format!("/api/repos/{owner}/{name}/releases"), &query, &rows))
}

pub(crate) async fn latest(
    State(inner): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    Ok(Json(find(&inner, |r| r["draft"] != true && r["prerelease"] != true)?))
}

pub(crate) async fn by_tag(
    State(inner): State<Shared>,
    Path((owner, name, tag)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    Ok(Json(find(&inner, |r| r["tag_name"] == tag.as_str() && r["draft"] != true)?))
}

pub(crate) async fn one(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    Ok(Json(find(&inner, |r| r["id"] == id)?))
}

pub(crate) async fn create(
    State(inner): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Response, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["contents"], true)?;
    let tag = body["tag_name"].as_str().unwrap_or_default().to_owned();
    let refused =
        |message: &str| Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_argument", message);
    let odd = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with('.');
    if tag.len() > 256 || tag.split('/').any(odd) || tag.contains(['\\', '\0', '\n', ' ', ':']) {
        return Err(refused("Validation Failed: tag_name is not well-formed"));
    }
    if inner.forge.written().releases.iter().any(|r| r["tag_name"] == tag.as_str()) {
        return Err(refused("Validation Failed: the tag has a release already (already_exists)"));
    }
    let facts = &inner.forge.repository;
    let release = {
        let mut written = inner.forge.written();
        let id = written.id()?;
        let base = format!("{}/api/repos/{}/releases/{id}", inner.base(), facts.slug);
        let release = json!({
            "id": id, "tag_name": tag, "name": body["name"], "body": body["body"],
            "draft": body["draft"] == true, "prerelease": body["prerelease"] == true,
            "target_commitish": body["target_commitish"].as_str().unwrap_or(&facts.sha),
            "url": base, "upload_url": format!("{base}/assets{{?name,label}}"),
            "assets_url": format!("{base}/assets"), "author": bot(),
            "html_url": format!("{}/{}/releases/tag/{tag}", facts.server, facts.slug),
            "created_at": now(), "published_at": now(), "assets": [],
        });
        written.releases.push(release.clone());
        release
    };
    say(&inner, &grant, "release", format!("{tag}: made for this run, not published"));
    Ok((StatusCode::CREATED, Json(release)).into_response())
}

pub(crate) async fn edit(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], true)?;
    {
        let mut written = inner.forge.written();
        let release = written.releases.iter_mut().find(|r| r["id"] == id);
        let release = release.ok_or_else(|| Fault::missing("Not Found"))?;
        for key in ["name", "body", "draft", "prerelease", "target_commitish"] {
            if !body[key].is_null() {
                release[key] = body[key].clone();
            }
        }
    }
    Ok(Json(find(&inner, |r| r["id"] == id)?))
}

pub(crate) async fn remove(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<StatusCode, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], true)?;
    inner.forge.written().releases.retain(|r| r["id"] != id);
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn assets(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    let release = find(&inner, |r| r["id"] == id)?;
    let rows = release["assets"].as_array().cloned().unwrap_or_default();
    let path = format!("/api/repos/{owner}/{name}/releases/{id}/assets");
    Ok(page(&inner, &path, &query, &rows))
}

pub(crate) async fn upload(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let grant = allowed(&inner, &headers, (&owner, &name), &["contents"], true)?;
    let release = find(&inner, |r| r["id"] == id)?;
    let file = query.get("name").cloned().unwrap_or_default();
    let taken =
        release["assets"].as_array().is_some_and(|a| a.iter().any(|a| a["name"] == file.as_str()));
    if file.is_empty() || file.len() > 256 || file.contains(['/', '\\', '\0']) || taken {
        let message =
            format!("Validation Failed: the name '{file}' is taken or not valid (already_exists)");
        return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_argument", message));
    }
    let mime = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let mime = mime.unwrap_or("application/octet-stream").to_owned();
    let draft = whole(inner.store()?, body, inner.limits.upload, true).await?;
    let tag = release["tag_name"].as_str().unwrap_or_default();
    // Apart from the run's artifacts, which a download of all of them takes.
    let new = NewArtifact {
        repository: &grant.repository,
        run: -grant.run,
        name: &format!("release {tag}: {file}"),
        node: grant.node,
        mime: &mime,
        expires: None,
    };
    let artifact = inner.store()?.save_artifact(&new, draft)?;
    let slug = &inner.forge.repository.slug;
    let url = format!("{}/api/repos/{slug}/releases/assets/{}", inner.base(), artifact.id);
    let asset = json!({
        "id": artifact.id, "name": file, "label": query.get("label"), "state": "uploaded",
        "content_type": mime, "size": artifact.size, "url": url, "browser_download_url": url,
        "digest": format!("sha256:{}", artifact.sha256), "uploader": bot(), "created_at": now(),
    });
    inner.forge.written().assets.push((id, asset.clone()));
    say(&inner, &grant, "release", format!("{tag}: the asset {file}, {} bytes", artifact.size));
    Ok((StatusCode::CREATED, Json(asset)).into_response())
}

fn find_asset(inner: &Inner, id: i64) -> Result<Value, Fault> {
    let written = inner.forge.written();
    let found = written.assets.iter().find(|(_, a)| a["id"] == id);
    found.map(|(_, a)| a.clone()).ok_or_else(|| Fault::missing("Not Found"))
}

/// An asset, or its bytes for those who accept those.
pub(crate) async fn asset(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], false)?;
    let asset = find_asset(&inner, id)?;
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !accept.contains("octet-stream") {
        return Ok(Json(asset).into_response());
    }
    let artifact = inner.store()?.artifact(id)?.ok_or_else(|| Fault::missing("Not Found"))?;
    // Whatever it was sent as: that is what GitHub serves, and clients read other types themselves.
    let mime = "application/octet-stream";
    stream(&inner.store()?, artifact.blob, mime, asset["name"].as_str()).await
}

pub(crate) async fn remove_asset(
    State(inner): State<Shared>,
    Path((owner, name, id)): Path<(String, String, i64)>,
    headers: HeaderMap,
) -> Result<StatusCode, Fault> {
    allowed(&inner, &headers, (&owner, &name), &["contents"], true)?;
    find_asset(&inner, id)?;
    inner.forge.written().assets.retain(|(_, a)| a["id"] != id);
    inner.store()?.delete_artifact(id)?;
    Ok(StatusCode::NO_CONTENT)
}
