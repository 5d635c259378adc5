//! The artifact service, version 4 and later (`actions/toolkit` `packages/artifact`).

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use trainyard_blob::{Artifact, NewArtifact};

use crate::Shared;
use crate::access::{Grant, backend_ids};
use crate::cache_v2::{field, number, text};
use crate::fault::Fault;
use crate::uploads::{Purpose, Upload, download_url};

/// Bytes of a name.
const MAX_NAME: usize = 256;
/// What no name may hold (`path-and-artifact-name-validation.ts`).
const FORBIDDEN: &[char] = &['"', ':', '<', '>', '|', '*', '?', '\r', '\n', '\\', '/', '\0'];

/// A call.
pub(crate) async fn call(
    State(inner): State<Shared>,
    Path(method): Path<String>,
    headers: HeaderMap,
    body: Json<Value>,
) -> Result<Json<Value>, Fault> {
    let grant = inner.access.require(&headers)?;
    let run = text(&body, "workflow_run_backend_id");
    if run != backend_ids(&grant).0 {
        return Err(Fault::forbidden("the token is of another run"));
    }
    // The store may wait for its disk, or for another process.
    let answer = tokio::task::spawn_blocking(move || match method.as_str() {
        "CreateArtifact" => create(&inner, &grant, &body),
        "FinalizeArtifact" => finalize(&inner, &grant, &body),
        "ListArtifacts" => list(&inner, &grant, &body),
        "GetSignedArtifactURL" => signed_url(&inner, &grant, &body),
        "DeleteArtifact" => delete(&inner, &grant, &body),
        _ => Err(Fault::missing(format!("the artifact service has no method {method}"))),
    });
    answer.await?
}

fn check_name(name: &str) -> Result<(), Fault> {
    let good = !name.is_empty()
        && name.len() <= MAX_NAME
        && !matches!(name, "." | "..")
        && !name.contains(FORBIDDEN);
    if good {
        return Ok(());
    }
    Err(Fault::bad(format!("The artifact name is not valid: {name:?}")))
}

/// A string that may be wrapped, as protobuf's `StringValue` is.
fn wrapped(body: &Value, name: &str) -> Option<String> {
    let value = field(body, name);
    let inner = value.as_str().or_else(|| value["value"].as_str());
    inner.filter(|t| !t.is_empty()).map(str::to_owned)
}

fn named(inner: &Shared, grant: &Grant, name: &str) -> Result<Option<Artifact>, Fault> {
    Ok(inner.store()?.artifacts(Some(grant.run))?.into_iter().find(|a| a.name == name))
}

fn create(inner: &Shared, grant: &Grant, body: &Value) -> Result<Json<Value>, Fault> {
    let name = text(body, "name");
    check_name(name)?;
    if named(inner, grant, name)?.is_some_and(|a| !a.superseded) {
        return Err(Fault::taken("an artifact with this name already exists on the workflow run"));
    }
    let expires = field(body, "expires_at")
        .as_str()
        .and_then(|t| t.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond));
    let mime = wrapped(body, "mime_type");
    let purpose = Purpose::Artifact { name: name.to_owned(), mime, expires };
    let id = inner.uploads.begin(grant, purpose)?;
    let url = inner.access.sign(grant, "upload", &format!("/upload/{id}"));
    Ok(Json(json!({"ok": true, "signed_upload_url": format!("{}{url}", inner.base())})))
}

/// What is served must be a type that the client unpacks: it commits zips as `zip`.
fn served(mime: &str) -> String {
    match mime {
        "zip" | "" | "application/x-zip-compressed" => "application/zip".to_owned(),
        other => other.to_owned(),
    }
}

fn finalize(inner: &Shared, grant: &Grant, body: &Value) -> Result<Json<Value>, Fault> {
    let name = text(body, "name");
    let own = |u: &Upload| {
        matches!(&u.purpose, Purpose::Artifact { name: n, .. } if n == name)
            && (u.run, u.node) == (grant.run, grant.node)
    };
    let missing = || Fault::missing(format!("no upload of '{name}' has begun in this job"));
    let mut upload = inner.uploads.end(own).ok_or_else(missing)?;
    let draft = upload.draft.take().ok_or_else(|| Fault::bad("its bytes have not come"))?;
    if number(body, "size").is_some_and(|size| size != draft.size) {
        return Err(Fault::bad(format!("{} bytes have come, not what was told", draft.size)));
    }
    if let Some(hash) = wrapped(body, "hash") {
        let told = hash.strip_prefix("sha256:").unwrap_or(&hash).to_ascii_lowercase();
        if told != draft.sha256 {
            return Err(Fault::bad(format!("the bytes have the digest {}", draft.sha256)));
        }
    }
    let Purpose::Artifact { mime, expires, .. } = &upload.purpose else { return Err(missing()) };
    let told = mime.clone().or_else(|| upload.content_type.clone()).unwrap_or_default();
    let new = NewArtifact {
        repository: &grant.repository,
        run: grant.run,
        name,
        node: grant.node,
        mime: &served(&told),
        expires: *expires,
    };
    let artifact = inner.store()?.save_artifact(&new, draft)?;
    Ok(Json(json!({"ok": true, "artifact_id": artifact.id.to_string()})))
}

/// RFC 3339, always with three digits of the second: the artifact client takes a fraction of three to
/// nine digits or none (protobuf-ts's `Timestamp`).
pub(crate) fn time(millis: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn list(inner: &Shared, grant: &Grant, body: &Value) -> Result<Json<Value>, Fault> {
    let (run, _) = backend_ids(grant);
    let name = wrapped(body, "name_filter");
    let id = match field(body, "id_filter") {
        Value::Object(map) => map.get("value").cloned().unwrap_or_default(),
        other => other.clone(),
    };
    let id = id.as_i64().or_else(|| id.as_str().and_then(|t| t.parse().ok()));
    // Of all jobs of the run, whichever job asks.
    let rows: Vec<Value> = inner
        .store()?
        .artifacts(Some(grant.run))?
        .iter()
        .filter(|a| name.as_ref().is_none_or(|n| a.name == *n) && id.is_none_or(|i| a.id == i))
        .map(|a| {
            json!({
                "workflow_run_backend_id": run,
                "workflow_job_run_backend_id": format!("job-{}", a.node),
                "database_id": a.id.to_string(),
                "name": a.name,
                "size": a.size.to_string(),
                "created_at": time(a.created),
                "digest": format!("sha256:{}", a.sha256),
            })
        })
        .collect();
    Ok(Json(json!({"artifacts": rows})))
}

fn signed_url(inner: &Shared, grant: &Grant, body: &Value) -> Result<Json<Value>, Fault> {
    let name = text(body, "name");
    let artifact = named(inner, grant, name)?
        .ok_or_else(|| Fault::missing(format!("the run has no artifact '{name}'")))?;
    Ok(Json(json!({"signed_url": artifact_url(inner, grant, &artifact)})))
}

/// The address of an artifact's bytes.
pub(crate) fn artifact_url(inner: &Shared, grant: &Grant, artifact: &Artifact) -> String {
    let ending = if artifact.mime == "application/zip" { ".zip" } else { "" };
    download_url(inner, grant, "artifact", artifact.id, &format!("{}{ending}", artifact.name))
}

fn delete(inner: &Shared, grant: &Grant, body: &Value) -> Result<Json<Value>, Fault> {
    let name = text(body, "name");
    let artifact = named(inner, grant, name)?
        .ok_or_else(|| Fault::missing(format!("the run has no artifact '{name}'")))?;
    inner.store()?.delete_artifact(artifact.id)?;
    Ok(Json(json!({"ok": true, "artifact_id": artifact.id.to_string()})))
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_three_digits() {
        for (millis, wanted) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_500, "1970-01-01T00:00:01.500Z"),
            (1_767_225_600_120, "2026-01-01T00:00:00.120Z"),
        ] {
            assert_eq!(super::time(millis), wanted);
        }
    }
}
