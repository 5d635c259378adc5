//! Bytes on their way in and out: Azure block blobs, as the toolkit's clients speak them.
//!
//! A block is a file until the list of blocks comes; then the blocks go into the store in the order
//! of the list. What is not in the list is dropped, what came twice counts once, the last time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use trainyard_blob::{BlobId, Draft, Store};

use crate::access::Grant;
use crate::fault::Fault;
use crate::{Limits, Shared};

/// What an upload is to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A cache entry.
    Cache {
        /// Its key.
        key: String,
        /// Its version.
        version: String,
    },
    /// An artifact.
    Artifact {
        /// Its name.
        name: String,
        /// Its type, if it was told.
        mime: Option<String>,
        /// Milliseconds since the epoch.
        expires: Option<i64>,
    },
}

/// An upload that has begun.
pub(crate) struct Upload {
    pub(crate) run: i64,
    pub(crate) node: i64,
    pub(crate) purpose: Purpose,
    folder: PathBuf,
    /// Bytes of each block, by its id.
    blocks: BTreeMap<String, u64>,
    /// The whole, when it is there.
    pub(crate) draft: Option<Draft>,
    /// Its type, as it was told with the bytes.
    pub(crate) content_type: Option<String>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) struct Uploads {
    folder: PathBuf,
    limits: Limits,
    open: Mutex<(u64, BTreeMap<u64, Upload>)>,
}

impl Uploads {
    pub(crate) fn new(folder: PathBuf, limits: Limits) -> Uploads {
        Uploads { folder, limits, open: Mutex::default() }
    }

    pub(crate) fn open(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Upload>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an upload; its number. Refused if one for the same purpose has begun in the run.
    pub(crate) fn begin(&self, grant: &Grant, purpose: Purpose) -> Result<u64, Fault> {
        let mut open = self.open();
        if open.1.len() >= self.limits.open {
            return Err(Fault::bad("too many uploads have begun and not ended"));
        }
        let same = |u: &Upload| match (&u.purpose, &purpose) {
            (Purpose::Cache { key, version }, Purpose::Cache { key: k, version: v }) => {
                (key, version) == (k, v)
            }
            (Purpose::Artifact { name, .. }, Purpose::Artifact { name: n, .. }) => {
                name == n && u.run == grant.run
            }
            _ => false,
        };
        if open.1.values().any(same) {
            return Err(Fault::taken("another upload of that name is under way"));
        }
        open.0 += 1;
        let id = open.0;
        let folder = self.folder.join(format!("{}-{id}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let upload = Upload {
            run: grant.run,
            node: grant.node,
            purpose,
            folder,
            blocks: BTreeMap::new(),
            draft: None,
            content_type: None,
        };
        open.1.insert(id, upload);
        Ok(id)
    }

    /// Ends an upload; it is the caller's to save.
    pub(crate) fn end(&self, wanted: impl Fn(&Upload) -> bool) -> Option<Upload> {
        let mut open = self.open();
        let id = open.1.iter().find(|(_, u)| wanted(u)).map(|(id, _)| *id)?;
        open.1.remove(&id)
    }

    /// The file of a block. Its id may hold anything, so a digest of it is the name.
    fn block_path(&self, id: u64, block: &str) -> Option<PathBuf> {
        let digest = Sha256::digest(block.as_bytes());
        let name: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
        self.open().1.get(&id).map(|u| u.folder.join(name))
    }
}

/// The pieces of a body, for a thread that may block.
struct Pieces {
    receiver: tokio::sync::mpsc::Receiver<Option<Bytes>>,
    /// Whether the end was seen.
    whole: bool,
}

impl Pieces {
    fn write_to(&mut self, target: &mut impl Write) -> Result<(), Fault> {
        while let Some(piece) = self.receiver.blocking_recv() {
            match piece {
                Some(bytes) => target.write_all(&bytes)?,
                None => self.whole = true,
            }
        }
        if self.whole { Ok(()) } else { Err(Fault::bad("the body was cut short")) }
    }
}

/// Gives a body to a thread that may block. Cut short, it is an error, and that thread sees it.
async fn drain<T: Send + 'static>(
    mut body: Body,
    limit: u64,
    take: impl FnOnce(&mut Pieces) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Option<Bytes>>(64);
    let taking = tokio::task::spawn_blocking(move || take(&mut Pieces { receiver, whole: false }));
    let mut size = 0u64;
    let mut fault = None;
    loop {
        match body.frame().await {
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else { continue };
                size += bytes.len() as u64;
                if size > limit {
                    fault = Some(Fault::too_large(format!("an upload has at most {limit} bytes")));
                    break;
                }
                if sender.send(Some(bytes)).await.is_err() {
                    // Whoever takes them has failed, and says why.
                    break;
                }
            }
            Some(Err(error)) => {
                fault = Some(Fault::bad(format!("the body was cut short: {error}")));
                break;
            }
            None => {
                let _ = sender.send(None).await;
                break;
            }
        }
    }
    drop(sender);
    let taken = taking.await?;
    fault.map_or(taken, Err)
}

/// `PUT` of a block, of the list of blocks, or of the whole at once.
pub(crate) async fn put(
    State(inner): State<Shared>,
    Path(id): Path<u64>,
    Query(query): Query<BTreeMap<String, String>>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    inner.access.signed("upload", &format!("/upload/{id}"), &query)?;
    if method != Method::PUT {
        let message = "bytes are put, not got";
        return Err(Fault::new(StatusCode::METHOD_NOT_ALLOWED, "bad_route", message));
    }
    let content_type = ["x-ms-blob-content-type", "content-type"]
        .iter()
        .find_map(|n| headers.get(*n)?.to_str().ok().map(str::to_owned));
    match query.get("comp").map(String::as_str) {
        Some("block") => {
            let block = query.get("blockid").filter(|b| !b.is_empty() && b.len() <= 256);
            let block = block.ok_or_else(|| Fault::bad("a block has an id"))?.clone();
            put_block(&inner, id, block, None, body).await?;
        }
        Some("blocklist") => {
            let bytes = axum::body::to_bytes(body, inner.limits.json)
                .await
                .map_err(|_| Fault::too_large("the list of blocks is too long, or cut short"))?;
            let ids = block_list(&String::from_utf8_lossy(&bytes))?;
            commit_blocks(&inner, id, ids, content_type).await?;
        }
        Some(other) => return Err(Fault::bad(format!("comp={other} is not known"))),
        None => {
            let store = inner.store()?;
            let limit = inner.limits.upload;
            let digest = wants_digest(&inner, id)?;
            let draft = whole(store, body, limit, digest).await?;
            let mut open = inner.uploads.open();
            let upload = open.1.get_mut(&id).ok_or_else(|| Fault::missing("no such upload"))?;
            (upload.draft, upload.content_type) = (Some(draft), content_type);
        }
    }
    Ok((StatusCode::CREATED, [("x-ms-request-server-encrypted", "false")]).into_response())
}

/// A body into the store; the name comes later.
pub(crate) async fn whole(
    store: std::sync::Arc<Store>,
    body: Body,
    limit: u64,
    digest: bool,
) -> Result<Draft, Fault> {
    drain(body, limit, move |pieces| {
        let mut writer = store.writer(digest);
        pieces.write_to(&mut writer)?;
        Ok(writer.finish()?)
    })
    .await
}

/// A block; `wanted` is its size where that was told.
pub(crate) async fn put_block(
    inner: &Shared,
    id: u64,
    block: String,
    wanted: Option<u64>,
    body: Body,
) -> Result<(), Fault> {
    let missing = || Fault::missing("no such upload");
    let path = inner.uploads.block_path(id, &block).ok_or_else(missing)?;
    let used = {
        let open = inner.uploads.open();
        let upload = open.1.get(&id).ok_or_else(missing)?;
        if upload.blocks.len() >= inner.limits.blocks && !upload.blocks.contains_key(&block) {
            return Err(Fault::too_large("an upload has too many blocks"));
        }
        upload.blocks.values().sum::<u64>()
    };
    let limit = inner.limits.upload.saturating_sub(used);
    // Two tries of one block may overlap: each writes a file of its own, the last one stays.
    let fresh = path.with_extension(format!("{:x}", rand_id()));
    let made = fresh.clone();
    let written = drain(body, limit, move |pieces| {
        let mut file = File::create(&made)?;
        pieces.write_to(&mut file)?;
        let size = file.metadata()?.len();
        match wanted.is_none_or(|w| w == size) {
            true => Ok(size),
            false => Err(Fault::bad(format!("the piece has {size} bytes, not {wanted:?}"))),
        }
    })
    .await;
    let size = match written {
        Ok(size) => size,
        Err(fault) => {
            let _ = std::fs::remove_file(&fresh);
            return Err(fault);
        }
    };
    let mut open = inner.uploads.open();
    let upload = open.1.get_mut(&id).ok_or_else(missing)?;
    // Others may have come meanwhile.
    let others: u64 = upload.blocks.iter().filter(|(b, _)| **b != block).map(|(_, s)| s).sum();
    if others.saturating_add(size) > inner.limits.upload {
        let _ = std::fs::remove_file(&fresh);
        return Err(Fault::too_large("the upload is too large"));
    }
    std::fs::rename(&fresh, &path)?;
    upload.blocks.insert(block, size);
    Ok(())
}

/// Whether the digest of an upload is asked for: of artifacts, not of cache entries.
fn wants_digest(inner: &Shared, id: u64) -> Result<bool, Fault> {
    let open = inner.uploads.open();
    let upload = open.1.get(&id).ok_or_else(|| Fault::missing("no such upload"))?;
    Ok(matches!(upload.purpose, Purpose::Artifact { .. }))
}

/// The names of the blocks that have come, sorted.
pub(crate) fn block_names(inner: &Shared, id: u64) -> Vec<String> {
    let open = inner.uploads.open();
    open.1.get(&id).map(|u| u.blocks.keys().cloned().collect()).unwrap_or_default()
}

fn rand_id() -> u64 {
    let mut bytes = [0; 8];
    // Without random bytes two tries could meet, and the digest would tell.
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// The ids of `<BlockList><Latest>ID</Latest>…</BlockList>`, in order.
fn block_list(text: &str) -> Result<Vec<String>, Fault> {
    let mut ids = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let name = ["Latest", "Committed", "Uncommitted"]
            .into_iter()
            .find(|n| rest.starts_with(n) && rest[n.len()..].starts_with('>'));
        let Some(name) = name else { continue };
        let inner = &rest[name.len() + 1..];
        let end = inner.find("</").ok_or_else(|| Fault::bad("the list of blocks is cut short"))?;
        ids.push(inner[..end].trim().to_owned());
        rest = &inner[end..];
    }
    match text.contains("<BlockList") && text.contains("</BlockList>")
        || text.contains("<BlockList/>")
    {
        true => Ok(ids),
        false => Err(Fault::bad("the list of blocks is no BlockList")),
    }
}

pub(crate) async fn commit_blocks(
    inner: &Shared,
    id: u64,
    ids: Vec<String>,
    content_type: Option<String>,
) -> Result<(), Fault> {
    let digest = wants_digest(inner, id)?;
    let mut files = Vec::with_capacity(ids.len());
    for block in &ids {
        let missing = || Fault::bad(format!("the block '{block}' has not come"));
        let path = inner.uploads.block_path(id, block).ok_or_else(missing)?;
        let there = inner.uploads.open().1.get(&id).is_some_and(|u| u.blocks.contains_key(block));
        if !there {
            return Err(missing());
        }
        files.push(path);
    }
    let store = inner.store()?;
    let draft = tokio::task::spawn_blocking(move || -> Result<Draft, Fault> {
        let mut writer = store.writer(digest);
        let mut buffer = vec![0; 1024 * 1024];
        for path in &files {
            let mut file = File::open(path)?;
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    count => writer.write_all(&buffer[..count])?,
                }
            }
        }
        let draft = writer.finish()?;
        for path in files {
            let _ = std::fs::remove_file(path);
        }
        Ok(draft)
    })
    .await??;
    let mut open = inner.uploads.open();
    let upload = open.1.get_mut(&id).ok_or_else(|| Fault::missing("no such upload"))?;
    upload.blocks.clear();
    (upload.draft, upload.content_type) = (Some(draft), content_type);
    Ok(())
}

/// The address under which a blob is fetched.
pub(crate) fn download_url(
    inner: &Shared,
    grant: &Grant,
    kind: &str,
    id: i64,
    name: &str,
) -> String {
    // The name is for the eye, and for clients that look for `.zip` at the end of the path.
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(safe).take(100).collect();
    let path = format!("/download/{kind}/{id}/{name}");
    format!("{}{}", inner.base(), inner.access.sign(grant, "download", &path))
}

/// `GET` of a blob by a signed address.
pub(crate) async fn download(
    State(inner): State<Shared>,
    Path((kind, id, name)): Path<(String, i64, String)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Fault> {
    inner.access.signed("download", &format!("/download/{kind}/{id}/{name}"), &query)?;
    let gone = || Fault::missing("it is not there any more");
    let (blob, mime, shown) = match kind.as_str() {
        "cache" => {
            let entry = inner.store()?.cache(id)?.ok_or_else(gone)?;
            (entry.blob, "application/octet-stream".to_owned(), None)
        }
        "artifact" => {
            let artifact = inner.store()?.artifact(id)?.ok_or_else(gone)?;
            (artifact.blob, artifact.mime, Some(artifact.name))
        }
        _ => return Err(gone()),
    };
    stream(&inner.store()?, blob, &mime, shown.as_deref()).await
}

/// The bytes of a blob as an answer, read on a thread that may block.
pub(crate) async fn stream(
    store: &std::sync::Arc<Store>,
    blob: BlobId,
    mime: &str,
    name: Option<&str>,
) -> Result<Response, Fault> {
    let store = std::sync::Arc::clone(store);
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
    let (told, size) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let mut reader = match store.reader(blob) {
            Ok(reader) => reader,
            Err(error) => {
                let _ = told.send(Err(error));
                return;
            }
        };
        if told.send(Ok(reader.size())).is_err() {
            return;
        }
        loop {
            let piece = match reader.next_chunk() {
                Ok(None) => return,
                Ok(Some(bytes)) => Ok(Bytes::from(bytes)),
                Err(error) => {
                    // The next look-up is a miss then, and the next save makes it anew.
                    let _ = store.forget_caches(blob);
                    Err(std::io::Error::other(error))
                }
            };
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    let size = size.await.map_err(|_| Fault::bad("the store does not answer"))??;
    let mut response =
        Response::builder().header(header::CONTENT_TYPE, mime).header(header::CONTENT_LENGTH, size);
    if let Some(name) = name {
        let encoded: String = name
            .bytes()
            .map(|b| match b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
                true => char::from(b).to_string(),
                false => format!("%{b:02X}"),
            })
            .collect();
        let ending = if mime == "application/zip" { ".zip" } else { "" };
        let value = format!("attachment; filename*=UTF-8''{encoded}{ending}");
        response = response.header(header::CONTENT_DISPOSITION, value);
    }
    let body = Body::new(Stream { receiver });
    response.body(body).map_err(|e| Fault::bad(e.to_string()))
}

/// A body whose pieces come over a channel.
pub(crate) struct Stream {
    pub(crate) receiver: tokio::sync::mpsc::Receiver<Result<Bytes, std::io::Error>>,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        self.receiver.poll_recv(context).map(|next| next.map(|r| r.map(http_body::Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_blocks() {
        let ids = |text: &str| block_list(text).map_err(|f| f.message);
        let xml = "<?xml version=\"1.0\"?><BlockList><Latest>YQ==</Latest><Uncommitted>Yg==</Uncommitted></BlockList>";
        assert_eq!(ids(xml).unwrap(), ["YQ==", "Yg=="]);
        assert_eq!(ids("<BlockList></BlockList>").unwrap(), Vec::<String>::new());
        assert!(ids("<BlockList><Latest>YQ").is_err());
        assert!(ids("{}").is_err());
        assert!(ids("<BlockList><Latest>YQ==</Latest>").is_err());
    }
}
