//! Bytes there and back.

use std::future::Future;
use std::os::fd::BorrowedFd;
use std::path::Path as File;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::Receiver;

use crate::address::Address;
use crate::error::RemoteError;

/// Objects below one address.
const MAX_OBJECTS: usize = 1_000_000;
/// Objects that are on their way at once.
const AT_ONCE: usize = 8;
/// Bytes of a part of a large object.
const PART: usize = 10 * 1024 * 1024;

/// Does the work, unless it is told to stop meanwhile.
pub(crate) async fn until<T>(
    stop: Option<BorrowedFd<'_>>,
    work: impl Future<Output = Result<T, RemoteError>>,
) -> Result<T, RemoteError> {
    let pipe = stop.and_then(|s| Receiver::from_owned_fd(s.try_clone_to_owned().ok()?).ok());
    let Some(stop) = pipe else {
        return work.await;
    };
    let (work, told) = (std::pin::pin!(work), std::pin::pin!(stop.readable()));
    match futures_util::future::select(work, told).await {
        futures_util::future::Either::Left((done, _)) => done,
        futures_util::future::Either::Right(_) => Err(RemoteError::Stopped),
    }
}

fn key(address: &Address, text: &str) -> Result<Path, RemoteError> {
    Path::parse(text).map_err(|e| RemoteError::Settings {
        bucket: address.bucket_uri(),
        why: format!("'{text}' is no key: {e}"),
    })
}

fn asked(address: &Address) -> impl Fn(object_store::Error) -> RemoteError {
    let uri = address.uri();
    move |source| RemoteError::Store { uri: uri.clone(), source }
}

fn local(path: &File) -> impl Fn(std::io::Error) -> RemoteError {
    let path = path.display().to_string();
    move |source| RemoteError::Local { path: path.clone(), source }
}

/// Whether anything is there.
pub(crate) async fn has(store: &dyn ObjectStore, address: &Address) -> Result<bool, RemoteError> {
    let at = key(address, &address.key)?;
    match store.head(&at).await {
        Ok(_) => return Ok(true),
        Err(object_store::Error::NotFound { .. }) => {}
        Err(error) => return Err(asked(address)(error)),
    }
    let first = store.list(Some(&at)).next().await;
    Ok(first.transpose().map_err(asked(address))?.is_some())
}

/// Brings a file or a folder.
pub(crate) async fn fetch(
    store: &dyn ObjectStore,
    address: &Address,
    path: &File,
) -> Result<Option<u64>, RemoteError> {
    let at = key(address, &address.key)?;
    let part = with_part(path);
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await.map_err(local(parent))?;
    }
    if let Some(bytes) = fetch_one(store, address, &at, &part).await? {
        tokio::fs::rename(&part, path).await.map_err(local(path))?;
        return Ok(Some(bytes));
    }
    let mut found = Vec::new();
    let mut list = store.list(Some(&at));
    while let Some(meta) = list.try_next().await.map_err(asked(address))? {
        // Some stores have empty objects that stand for folders; a path cannot end with a slash here.
        found.push(meta.location);
        if found.len() > MAX_OBJECTS {
            return Err(RemoteError::TooMany { uri: address.uri(), limit: MAX_OBJECTS });
        }
    }
    if found.is_empty() {
        return Ok(None);
    }
    let one = async |location: Path| {
        let below: Vec<_> = match location.prefix_match(&at) {
            Some(parts) => parts.map(|p| p.as_ref().to_owned()).collect(),
            None => return Ok(0),
        };
        let mut target = part.clone();
        // A part is never `..`: a key that has one is refused.
        target.extend(below);
        if let Some(parent) = target.parent() {
            tokio::fs::create_dir_all(parent).await.map_err(local(parent))?;
        }
        Ok(fetch_one(store, address, &location, &target).await?.unwrap_or(0))
    };
    let mut all = futures_util::stream::iter(found.into_iter().map(one)).buffer_unordered(AT_ONCE);
    let mut bytes = 0;
    while let Some(count) = all.try_next().await? {
        bytes += count;
    }
    tokio::fs::rename(&part, path).await.map_err(local(path))?;
    Ok(Some(bytes))
}

fn with_part(path: &File) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    path.with_file_name(name)
}

async fn fetch_one(
    store: &dyn ObjectStore,
    address: &Address,
    at: &Path,
    target: &File,
) -> Result<Option<u64>, RemoteError> {
    let found = match store.get(at).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(asked(address)(error)),
    };
    let mut file = tokio::fs::File::create(target).await.map_err(local(target))?;
    let mut stream = found.into_stream();
    let mut bytes = 0;
    while let Some(piece) = stream.try_next().await.map_err(asked(address))? {
        bytes += piece.len() as u64;
        file.write_all(&piece).await.map_err(local(target))?;
    }
    file.flush().await.map_err(local(target))?;
    Ok(Some(bytes))
}

/// Stores a file or a folder.
pub(crate) async fn keep(
    store: &Arc<dyn ObjectStore>,
    address: &Address,
    path: &File,
) -> Result<u64, RemoteError> {
    let mut files = Vec::new();
    let mut open = vec![(path.to_owned(), address.key.clone())];
    while let Some((at, name)) = open.pop() {
        let meta = tokio::fs::metadata(&at).await.map_err(local(&at))?;
        let link = tokio::fs::symlink_metadata(&at).await.map_err(local(&at))?.is_symlink();
        if link && meta.is_dir() && at != path {
            // As the launcher walks: links to folders are not followed.
            continue;
        }
        if !meta.is_dir() {
            files.push((at, name));
            if files.len() > MAX_OBJECTS {
                return Err(RemoteError::TooMany { uri: address.uri(), limit: MAX_OBJECTS });
            }
            continue;
        }
        let mut entries = tokio::fs::read_dir(&at).await.map_err(local(&at))?;
        while let Some(entry) = entries.next_entry().await.map_err(local(&at))? {
            let part = entry.file_name().into_string().map_err(|_| RemoteError::Settings {
                bucket: address.bucket_uri(),
                why: format!("{} has no name that a store takes", entry.path().display()),
            })?;
            open.push((entry.path(), format!("{name}/{part}")));
        }
    }
    let one = async |(file, name): (std::path::PathBuf, String)| {
        let at = key(address, &name)?;
        let mut source = tokio::fs::File::open(&file).await.map_err(local(&file))?;
        let mut writer = BufWriter::with_capacity(Arc::clone(store), at, PART);
        let mut buffer = vec![0; 256 * 1024];
        let mut bytes = 0;
        let refused = |e: std::io::Error| match e.downcast::<object_store::Error>() {
            Ok(source) => RemoteError::Store { uri: address.uri(), source },
            Err(source) => RemoteError::Local { path: address.uri(), source },
        };
        loop {
            let count = source.read(&mut buffer).await.map_err(local(&file))?;
            if count == 0 {
                break;
            }
            bytes += count as u64;
            writer.write_all(&buffer[..count]).await.map_err(refused)?;
        }
        writer.shutdown().await.map_err(refused)?;
        Ok(bytes)
    };
    let mut all = futures_util::stream::iter(files.into_iter().map(one)).buffer_unordered(AT_ONCE);
    let mut bytes = 0;
    while let Some(count) = all.try_next().await? {
        bytes += count;
    }
    Ok(bytes)
}
