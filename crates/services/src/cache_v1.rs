//! The cache service, version 1, for clients before `@actions/cache` 4.
//!
//! Its answers to uploads close the connection: the old save step leaves them unread, and hangs as
//! long as the connection is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use trainyard_blob::{CacheEntry, Lookup, NewCache};

use crate::cache_v2::{check_key, check_version, number, own_scope, save, say_found, text};
use crate::fault::Fault;
use crate::uploads::{self, Purpose, download_url};
use crate::{Grant, Shared};

/// `GET cache?keys=a,b&version=V`
pub(crate) async fn find(
    State(inner): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let grant = inner.access.require(&headers)?;
    let part = |name: &str| query.get(name).cloned().unwrap_or_default();
    let (keys, version) = (part("keys"), part("version"));
    let found = {
        let (inner, grant) = (Arc::clone(&inner), Arc::clone(&grant));
        tokio::task::spawn_blocking(move || look(&inner, &grant, &keys, &version)).await??
    };
    let Some(entry) = found else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let url = download_url(&inner, &grant, "cache", entry.id, "cache.tgz");
    let body = json!({
        "cacheKey": entry.key, "archiveLocation": url, "scope": entry.scope,
        "creationTime": crate::artifacts::time(entry.created), "result": "hit",
    });
    Ok(Json(body).into_response())
}

fn look(
    inner: &Shared,
    grant: &Grant,
    keys: &str,
    version: &str,
) -> Result<Option<CacheEntry>, Fault> {
    let mut keys = keys.split(',').map(str::to_owned);
    let key = keys.next().unwrap_or_default();
    let restore: Vec<String> = keys.take(10).collect();
    check_key(&key)?;
    let lookup = Lookup {
        repository: &grant.repository,
        scopes: &grant.scopes,
        key: &key,
        restore_keys: &restore,
        version,
    };
    let found = inner.store()?.find_cache(&lookup)?;
    say_found(inner, grant, &lookup, found.as_ref())?;
    Ok(found)
}

/// `GET caches?key=`: only asked for in debug output.
pub(crate) async fn list(
    State(inner): State<Shared>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let grant = inner.access.require(&headers)?;
    let entries = inner.store()?.caches(Some(&grant.repository))?;
    let rows: Vec<Value> = entries
        .iter()
        .filter(|e| grant.scopes.contains(&e.scope))
        .map(|e| json!({"cacheKey": e.key, "scope": e.scope, "cacheVersion": e.version}))
        .collect();
    Ok(Json(json!({"totalCount": rows.len(), "artifactCaches": rows})))
}

/// `POST caches {key, version, cacheSize}`
pub(crate) async fn reserve(
    State(inner): State<Shared>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Response, Fault> {
    let grant = inner.access.require(&headers)?;
    let (key, version) = (text(&body, "key"), text(&body, "version"));
    check_key(key)?;
    check_version(version)?;
    let new = NewCache { repository: &grant.repository, scope: own_scope(&grant), key, version };
    if inner.store()?.has_cache(&new)? {
        return Err(Fault::taken(format!("Cache already exists. Key: {key}")));
    }
    let purpose = Purpose::Cache { key: key.to_owned(), version: version.to_owned() };
    let id = inner.uploads.begin(&grant, purpose)?;
    Ok((StatusCode::CREATED, Json(json!({"cacheId": id}))).into_response())
}

/// The first byte of `bytes A-B/*`.
fn range_start(headers: &HeaderMap) -> Option<(u64, u64)> {
    let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (from, to) = value.strip_prefix("bytes ")?.split('/').next()?.split_once('-')?;
    Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
}

fn closing(status: StatusCode) -> Response {
    (status, [(header::CONNECTION, "close")]).into_response()
}

/// `PATCH caches/ID`, parallel and in any order.
pub(crate) async fn patch(
    State(inner): State<Shared>,
    Path(id): Path<u64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let grant = inner.access.require(&headers)?;
    let (from, to) = range_start(&headers)
        .filter(|(from, to)| from <= to)
        .ok_or_else(|| Fault::bad("a piece has a Content-Range: bytes A-B/*"))?;
    own(&inner, &grant, id)?;
    // Pieces are blocks whose names sort as they lie.
    let size = Some(to - from + 1);
    uploads::put_block(&inner, id, format!("{from:020}-{to:020}"), size, body).await?;
    Ok(closing(StatusCode::NO_CONTENT))
}

fn own(inner: &Shared, grant: &Grant, id: u64) -> Result<(String, String), Fault> {
    let open = inner.uploads.open();
    let upload = open.1.get(&id).filter(|u| (u.run, u.node) == (grant.run, grant.node));
    match upload.map(|u| &u.purpose) {
        Some(Purpose::Cache { key, version }) => Ok((key.clone(), version.clone())),
        _ => Err(Fault::missing("no such upload in this job")),
    }
}

/// `POST caches/ID {size}`
pub(crate) async fn commit(
    State(inner): State<Shared>,
    Path(id): Path<u64>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Response, Fault> {
    let grant = inner.access.require(&headers)?;
    let (key, version) = own(&inner, &grant, id)?;
    let size = number(&body, "size").ok_or_else(|| Fault::bad("the size is wanted"))?;
    let pieces = uploads::block_names(&inner, id);
    let mut at = 0;
    for piece in &pieces {
        let bounds = piece
            .split_once('-')
            .and_then(|(a, b)| Some((a.parse::<u64>().ok()?, b.parse::<u64>().ok()?)));
        match bounds {
            Some((from, to)) if from == at => at = to + 1,
            _ => return Err(Fault::bad("pieces are missing, or overlap")),
        }
    }
    if at != size {
        return Err(Fault::bad(format!("{at} bytes have come, not {size}")));
    }
    uploads::commit_blocks(&inner, id, pieces, None).await?;
    let saved =
        tokio::task::spawn_blocking(move || save(&inner, &grant, (&key, &version), Some(size)));
    saved.await??;
    Ok(closing(StatusCode::NO_CONTENT))
}
