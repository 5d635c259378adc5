//! The cache service, version 2 (`actions/toolkit` `packages/cache/src/generated/results/api/v1`).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use trainyard_blob::{CacheEntry, Lookup, NewCache};

use crate::access::Grant;
use crate::fault::Fault;
use crate::uploads::{Purpose, download_url};
use crate::{Remark, Shared};

/// Characters of a key.
const MAX_KEY: usize = 512;
/// Keys of one look-up.
const MAX_KEYS: usize = 10;

/// A field; the clients write `snake_case`, and may write `camelCase`.
pub(crate) fn field<'a>(body: &'a Value, name: &str) -> &'a Value {
    let mut camel = String::new();
    let mut upper = false;
    for c in name.chars() {
        match (c, upper) {
            ('_', _) => upper = true,
            (c, true) => {
                camel.extend(c.to_uppercase());
                upper = false;
            }
            (c, false) => camel.push(c),
        }
    }
    match &body[name] {
        Value::Null => &body[camel.as_str()],
        found => found,
    }
}

pub(crate) fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    field(body, name).as_str().unwrap_or_default()
}

/// A 64-bit number, which is text in JSON.
pub(crate) fn number(body: &Value, name: &str) -> Option<u64> {
    let value = field(body, name);
    value.as_u64().or_else(|| value.as_str().and_then(|t| t.parse().ok()))
}

pub(crate) fn check_key(key: &str) -> Result<(), Fault> {
    let length = key.encode_utf16().count();
    if key.is_empty() || length > MAX_KEY {
        return Err(Fault::bad(format!(
            "Key Validation Error: a key has 1 to {MAX_KEY} characters, this one {length}"
        )));
    }
    match key.contains([',', '\0']) {
        true => Err(Fault::bad("Key Validation Error: a key holds no comma")),
        false => Ok(()),
    }
}

/// What a look-up found and why, said in the run.
pub(crate) fn say_found(
    inner: &Shared,
    grant: &Grant,
    lookup: &Lookup<'_>,
    found: Option<&CacheEntry>,
) -> Result<(), Fault> {
    let near = match found {
        Some(_) => None,
        None => inner.store()?.nearest_cache(lookup)?,
    };
    let text = match (found, near) {
        (Some(found), _) if found.key == lookup.key => format!("cache hit for '{}'", lookup.key),
        (Some(found), _) => {
            format!("cache hit for '{}' by its restore key: '{}'", lookup.key, found.key)
        }
        (None, Some(near)) => format!(
            "cache miss for '{}': the nearest is '{}': {}",
            lookup.key, near.entry.key, near.differs
        ),
        (None, None) => format!("cache miss for '{}': there is no entry like it", lookup.key),
    };
    (inner.sink)(Remark { run: grant.run, node: grant.node, kind: "cache", text });
    Ok(())
}

/// A call.
pub(crate) async fn call(
    State(inner): State<Shared>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, Fault> {
    let grant = inner.access.require(&headers)?;
    // The store may wait for its disk, or for another process.
    let answer = tokio::task::spawn_blocking(move || match method.as_str() {
        "CreateCacheEntry" => create(&inner, &grant, &body),
        "FinalizeCacheEntryUpload" => finalize(&inner, &grant, &body),
        "GetCacheEntryDownloadURL" => find(&inner, &grant, &body),
        _ => Err(Fault::missing(format!("the cache service has no method {method}"))),
    });
    answer.await?
}

/// Where a job's entries go.
pub(crate) fn own_scope(grant: &Grant) -> &str {
    grant.scopes.first().map(String::as_str).unwrap_or_default()
}

fn create(inner: &Shared, grant: &Grant, body: &Value) -> Result<Json<Value>, Fault> {
    let (key, version) = (text(body, "key"), text(body, "version"));
    check_key(key)?;
    check_version(version)?;
    let new = NewCache { repository: &grant.repository, scope: own_scope(grant), key, version };
    if inner.store()?.has_cache(&new)? {
        return Err(Fault::taken(format!("cache entry with key '{key}' already exists")));
    }
    let purpose = Purpose::Cache { key: key.to_owned(), version: version.to_owned() };
    let id = inner.uploads.begin(grant, purpose)?;
    let url = inner.access.sign(grant, "upload", &format!("/upload/{id}"));
    Ok(Json(
        json!({"ok": true, "signed_upload_url": format!("{}{url}", inner.base()), "message": ""}),
    ))
}

pub(crate) fn check_version(version: &str) -> Result<(), Fault> {
    let good = !version.is_empty()
        && version.len() <= 512
        && version.bytes().all(|b| b.is_ascii_graphic());
    if good { Ok(()) } else { Err(Fault::bad("a cache entry has a version: a digest")) }
}

/// Makes an upload a cache entry.
pub(crate) fn save(
    inner: &Shared,
    grant: &Grant,
    (key, version): (&str, &str),
    size: Option<u64>,
) -> Result<i64, Fault> {
    let wanted = Purpose::Cache { key: key.to_owned(), version: version.to_owned() };
    let own = |u: &crate::uploads::Upload| {
        u.purpose == wanted && (u.run, u.node) == (grant.run, grant.node)
    };
    let missing = || Fault::missing(format!("no upload of '{key}' has begun in this job"));
    let mut upload = inner.uploads.end(own).ok_or_else(missing)?;
    let draft = upload.draft.take().ok_or_else(|| Fault::bad("its bytes have not come"))?;
    if size.is_some_and(|size| size != draft.size) {
        return Err(Fault::bad(format!("{} bytes have come, not {size:?}", draft.size)));
    }
    let new = NewCache { repository: &grant.repository, scope: own_scope(grant), key, version };
    let entry = inner.store()?.save_cache(&new, draft)?;
    for gone in inner.store()?.evict_caches(&grant.repository, inner.limits.quota)? {
        let text = format!("the cache entry '{}' gave way to newer ones (quota)", gone.key);
        (inner.sink)(Remark { run: grant.run, node: grant.node, kind: "cache", text });
    }
    Ok(entry.id)
}

fn finalize(inner: &Shared, grant: &Grant, body: &Value) -> Result<Json<Value>, Fault> {
    let name = (text(body, "key"), text(body, "version"));
    let id = save(inner, grant, name, number(body, "size_bytes"))?;
    Ok(Json(json!({"ok": true, "entry_id": id.to_string(), "message": ""})))
}

fn find(inner: &Shared, grant: &Grant, body: &Value) -> Result<Json<Value>, Fault> {
    let (key, version) = (text(body, "key"), text(body, "version"));
    check_key(key)?;
    let restore = field(body, "restore_keys").as_array().cloned().unwrap_or_default();
    let restore: Vec<String> =
        restore.iter().filter_map(|k| k.as_str().map(str::to_owned)).collect();
    if restore.len() >= MAX_KEYS {
        return Err(Fault::bad(format!("at most {MAX_KEYS} keys can be looked for")));
    }
    restore.iter().try_for_each(|k| check_key(k))?;
    let lookup = Lookup {
        repository: &grant.repository,
        scopes: &grant.scopes,
        key,
        restore_keys: &restore,
        version,
    };
    let found = inner.store()?.find_cache(&lookup)?;
    say_found(inner, grant, &lookup, found.as_ref())?;
    match found {
        Some(entry) => {
            let url = download_url(inner, grant, "cache", entry.id, "cache.tzst");
            Ok(Json(json!({"ok": true, "signed_download_url": url, "matched_key": entry.key})))
        }
        // A miss is an answer, not an error: anything else is tried again for half a minute.
        None => Ok(Json(json!({"ok": false, "signed_download_url": "", "matched_key": ""}))),
    }
}
