//! git over HTTP for the repository under test, to fetch from (`gitprotocol-http`). A fetch by
//! commit works for any commit, advertised or not, as at GitHub.
//!
//! Another repository's name is answered with a redirect to the forge: git's `insteadOf` goes by
//! the beginning of an address, and `owner/name-two` begins like `owner/name`.

use std::collections::BTreeMap;
use std::io::Read;
use std::process::Stdio;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Shared;
use crate::fault::Fault;

/// Bytes of a request: the wants and haves of a fetch.
const MAX_REQUEST: usize = 64 * 1024 * 1024;

/// The answer to a request without a token; none if it has one.
fn refused(inner: &Shared, headers: &HeaderMap) -> Option<Response> {
    if inner.access.of_headers(headers).is_some() {
        return None;
    }
    // git sends a password only when it is asked.
    let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"Trainyard\"")];
    Some((StatusCode::UNAUTHORIZED, ask, "no token of a running job\n").into_response())
}

fn command(headers: &HeaderMap) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("git");
    command
        .args(["-c", "safe.directory=*", "-c", "uploadpack.allowAnySHA1InWant=true"])
        .args(["-c", "uploadpack.allowFilter=true", "upload-pack", "--stateless-rpc"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    if let Some(protocol) = headers.get("git-protocol").and_then(|v| v.to_str().ok()) {
        command.env("GIT_PROTOCOL", protocol);
    }
    command
}

fn is_own(inner: &Shared, owner: &str, name: &str) -> bool {
    let slug = format!("{owner}/{}", name.strip_suffix(".git").unwrap_or(name));
    slug.eq_ignore_ascii_case(&inner.forge.repository.slug)
}

/// `GET info/refs?service=git-upload-pack`
pub(crate) async fn refs(
    State(inner): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let service = query.get("service").map(String::as_str).unwrap_or_default();
    if !is_own(&inner, &owner, &name) {
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if !plain(&owner) || !plain(&name) || service != "git-upload-pack" {
            return Err(Fault::missing("no such repository"));
        }
        let server = &inner.forge.repository.server;
        let place = format!("{server}/{owner}/{name}/info/refs?service=git-upload-pack");
        return Ok((StatusCode::FOUND, [(header::LOCATION, place)]).into_response());
    }
    if let Some(answer) = refused(&inner, &headers) {
        return Ok(answer);
    }
    if service != "git-upload-pack" {
        return Err(Fault::forbidden(
            "a job cannot push into the repository of a local run: it would change yours",
        ));
    }
    let output = command(&headers)
        .arg("--http-backend-info-refs")
        .arg(&inner.forge.repository.git_dir)
        .stdin(Stdio::null())
        .output()
        .await?;
    if !output.status.success() {
        return Err(Fault::bad("git cannot tell the refs of the repository"));
    }
    let second = headers
        .get("git-protocol")
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(':').any(|p| p == "version=2"));
    let mut body = Vec::new();
    if !second {
        body.extend_from_slice(b"001e# service=git-upload-pack\n0000");
    }
    body.extend(output.stdout);
    let kind = "application/x-git-upload-pack-advertisement";
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], body).into_response())
}

/// `POST git-upload-pack`
pub(crate) async fn upload_pack(
    State(inner): State<Shared>,
    Path((owner, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    if let Some(answer) = refused(&inner, &headers) {
        return Ok(answer);
    }
    if !is_own(&inner, &owner, &name) {
        return Err(Fault::missing("no such repository"));
    }
    let mut request = axum::body::to_bytes(body, MAX_REQUEST)
        .await
        .map_err(|_| Fault::too_large("the request is too large, or cut short"))?;
    if headers.get(header::CONTENT_ENCODING).is_some_and(|v| v == "gzip") {
        let mut plain = Vec::new();
        let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
        let mut decoder = flate2::read::GzDecoder::new(request.as_ref()).take(limit);
        decoder.read_to_end(&mut plain)?;
        request = Bytes::from(plain);
    }
    let mut child =
        command(&headers).arg(&inner.forge.repository.git_dir).stdin(Stdio::piped()).spawn()?;
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Fault::bad("git cannot be spoken to"));
    };
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        // Written and read side by side: either pipe may fill up.
        let writing = async {
            let _ = stdin.write_all(&request).await;
            drop(stdin);
        };
        let reading = async {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match stdout.read(&mut buffer).await {
                    Ok(0) => break,
                    Ok(count) => {
                        if sender.send(Ok(Bytes::copy_from_slice(&buffer[..count]))).await.is_err()
                        {
                            break;
                        }
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error)).await;
                        break;
                    }
                }
            }
        };
        tokio::join!(writing, reading);
        let _ = child.wait().await;
    });
    let kind = "application/x-git-upload-pack-result";
    let body = Body::new(crate::uploads::Stream { receiver });
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], body).into_response())
}
