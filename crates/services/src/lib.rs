//! What job code talks to over HTTP: caches (v2 and v1), artifacts, OIDC, the forge's API as far as
//! the repository and the run can answer it, and git for the repository under test.
//!
//! It listens on loopback alone. Every route wants a token of a job, or an address that was signed
//! for one purpose; the open ones are OIDC's discovery and keys, as at GitHub. What nobody serves
//! is a JSON 404 and a remark in the run that names it.
//!
//! The contract is that of the clients: `actions/toolkit` (`packages/cache`, `packages/artifact`),
//! `actions/runner` and octokit.
//!
//! Deliberately absent: artifacts v1 to v3, which GitHub has retired; GraphQL; pushes over git.

mod access;
mod api;
mod artifacts;
mod cache_v1;
mod cache_v2;
mod fault;
mod git;
mod oidc;
mod uploads;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, post};
use trainyard_blob::Store;

pub use access::{Grant, JobAccess};

use access::Access;
use api::Forge;
use fault::unknown;
use oidc::Issuer;
use uploads::Uploads;

/// What can go wrong at the start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no port, or no random.
    #[error("the services cannot start: {0}")]
    Start(String),
}

/// Limits on what comes in.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of a JSON body.
    pub json: usize,
    /// Bytes of one upload, all of its blocks together.
    pub upload: u64,
    /// Blocks of one upload.
    pub blocks: usize,
    /// Uploads that are begun and not ended.
    pub open: usize,
    /// Bytes of a repository's cache entries; the longest unused give way.
    pub quota: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            json: 4 * 1024 * 1024,
            upload: 64 * 1024 * 1024 * 1024,
            blocks: 50_000,
            open: 1_000,
            quota: 50 * 1024 * 1024 * 1024,
        }
    }
}

/// Something that people should see in the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The run.
    pub run: i64,
    /// The job.
    pub node: i64,
    /// `warning`, `notice`, `comment`, `check`, `release`
    pub kind: &'static str,
    /// What it says.
    pub text: String,
}

/// Takes remarks.
pub type Sink = Box<dyn Fn(Remark) + Send + Sync>;

/// The repository under test.
#[derive(Debug, Clone, Default)]
pub struct RepositoryFacts {
    /// `owner/name`
    pub slug: String,
    /// Its git folder.
    pub git_dir: PathBuf,
    /// Its default branch.
    pub default_branch: String,
    /// The forge it is from, `https://github.com`.
    pub server: String,
    /// The commit under test.
    pub sha: String,
    /// `github.event`
    pub event: serde_json::Value,
}

/// What the services are made of.
pub struct Config {
    /// The folder of caches and artifacts; opened when it is first asked for.
    pub store: PathBuf,
    /// A folder for uploads on their way; theirs alone.
    pub uploads: PathBuf,
    /// Where the key that signs identity tokens is kept.
    pub key: PathBuf,
    /// The repository under test.
    pub repository: RepositoryFacts,
    /// Limits.
    pub limits: Limits,
    /// Who hears of what people should see.
    pub sink: Sink,
}

pub(crate) struct Inner {
    store_path: PathBuf,
    store: std::sync::Mutex<Option<Arc<Store>>>,
    pub(crate) access: Access,
    pub(crate) uploads: Uploads,
    pub(crate) issuer: Issuer,
    pub(crate) forge: Forge,
    pub(crate) limits: Limits,
    pub(crate) sink: Sink,
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
}

type Shared = Arc<Inner>;

tokio::task_local! {
    /// The address by which the caller of this moment reaches the services, where it is another one.
    static CALLED_AS: String;
}

impl Inner {
    /// The address that goes into answers.
    pub(crate) fn base(&self) -> String {
        CALLED_AS.try_with(Clone::clone).unwrap_or_else(|_| self.base.clone())
    }

    /// Caches and artifacts: most jobs never ask, and opening them costs as much as a step.
    pub(crate) fn store(&self) -> Result<Arc<Store>, trainyard_blob::Error> {
        let mut store = self.store.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*store {
            Some(store) => Ok(Arc::clone(store)),
            None => {
                let opened = Arc::new(Store::open(&self.store_path)?);
                *store = Some(Arc::clone(&opened));
                Ok(opened)
            }
        }
    }
}

/// The services, for as long as this lives.
pub struct Services {
    inner: Shared,
    /// Closed to stop them.
    stop: Option<std::io::PipeWriter>,
    thread: Option<std::thread::JoinHandle<()>>,
    others: Arc<std::sync::Mutex<BTreeMap<IpAddr, Weak<Door>>>>,
}

impl Services {
    /// Starts them on a free port of the loopback interface.
    ///
    /// # Errors
    /// When there is no port or no source of random bytes.
    pub fn start(config: Config) -> Result<Services, Error> {
        let failed = |e: &dyn std::fmt::Display| Error::Start(e.to_string());
        let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .map_err(|e| failed(&e))?;
        listener.set_nonblocking(true).map_err(|e| failed(&e))?;
        let address = listener.local_addr().map_err(|e| failed(&e))?;
        let base = format!("http://{address}");
        let inner = Arc::new(Inner {
            store_path: config.store,
            store: std::sync::Mutex::default(),
            access: Access::new().map_err(|e| failed(&e))?,
            uploads: Uploads::new(config.uploads, config.limits),
            issuer: Issuer::new(config.key, format!("{base}/oidc")),
            forge: Forge::new(config.repository),
            limits: config.limits,
            sink: config.sink,
            base,
        });
        let (wake, stop) = std::io::pipe().map_err(|e| failed(&e))?;
        let shared = Arc::clone(&inner);
        let thread = std::thread::Builder::new()
            .name("services".into())
            .spawn(move || wait_and_serve(listener, wake, shared, None))
            .map_err(|e| failed(&e))?;
        Ok(Services { inner, stop: Some(stop), thread: Some(thread), others: Arc::default() })
    }

    /// Lets a job in; what its steps and actions are to be told.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn grant(&self, grant: Grant) -> Result<JobAccess, Error> {
        let failed = |e: std::io::Error| Error::Start(e.to_string());
        self.inner.access.grant(grant, &self.inner.base).map_err(failed)
    }

    /// What lets others listen for the services.
    pub fn doors(&self) -> Doors {
        Doors { inner: Arc::clone(&self.inner), others: Arc::clone(&self.others) }
    }

    /// Shuts a job out: its tokens and its addresses open nothing any more.
    pub fn revoke(&self, run: i64, node: i64) {
        self.inner.access.revoke(run, node);
        // What it had begun to upload is nobody's any more.
        self.inner.uploads.open().1.retain(|_, u| (u.run, u.node) != (run, node));
    }
}

/// Lets the services be reached where their own address is not: in containers, whose loopback is
/// another.
#[derive(Clone)]
pub struct Doors {
    inner: Shared,
    /// Those at other addresses of this machine.
    others: Arc<std::sync::Mutex<BTreeMap<IpAddr, Weak<Door>>>>,
}

/// One more place where the services listen, for as long as this lives.
pub struct Door {
    stop: Option<std::io::PipeWriter>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Doors {
    /// The port of their own address.
    pub fn port(&self) -> u16 {
        let port = self.inner.base.rsplit(':').next();
        port.and_then(|p| p.parse().ok()).unwrap_or_default()
    }

    /// Their own address, `http://127.0.0.1:PORT`.
    pub fn base(&self) -> &str {
        &self.inner.base
    }

    /// Listens at another address of this machine, too: the door, and what callers there know the
    /// services as.
    ///
    /// # Errors
    /// When the port is taken there.
    pub fn at(&self, address: IpAddr) -> std::io::Result<(Arc<Door>, String)> {
        let place = SocketAddr::from((address, self.port()));
        let base = format!("http://{place}");
        let mut others = self.others.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(door) = others.get(&address).and_then(Weak::upgrade) {
            return Ok((door, base));
        }
        let listener = listen_early(place)?;
        let door = Arc::new(self.serve(listener, Some(base.clone()))?);
        others.insert(address, Arc::downgrade(&door));
        Ok((door, base))
    }

    /// Serves what comes in there, under their own address.
    ///
    /// # Errors
    /// When there are no pipes or threads to be had.
    pub fn open(&self, listener: std::net::TcpListener) -> std::io::Result<Door> {
        self.serve(listener, None)
    }

    fn serve(
        &self,
        listener: std::net::TcpListener,
        called: Option<String>,
    ) -> std::io::Result<Door> {
        listener.set_nonblocking(true)?;
        let (wake, stop) = std::io::pipe()?;
        let shared = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new()
            .name("services".into())
            .spawn(move || wait_and_serve(listener, wake, shared, called))?;
        Ok(Door { stop: Some(stop), thread: Some(thread) })
    }
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Doors").field(&self.inner.base).finish()
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Listens at an address that may be about to be there: engines give a network its address when its
/// first container starts.
fn listen_early(place: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
    let family = if place.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_ip_freebind(&socket, true)?;
    bind(&socket, &place)?;
    listen(&socket, 128)?;
    Ok(std::net::TcpListener::from(socket))
}

/// Waits for the first call, and only then makes what serves it: most jobs never call.
fn wait_and_serve(
    listener: std::net::TcpListener,
    stop: std::io::PipeReader,
    inner: Shared,
    name: Option<String>,
) {
    use rustix::event::{PollFd, PollFlags, poll};
    let called = loop {
        let mut fds = [PollFd::new(&listener, PollFlags::IN), PollFd::new(&stop, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) => break fds[1].revents().is_empty(),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break false,
        }
    };
    if !called {
        return;
    }
    // Without one, callers find nobody: that is what they are told then.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async move {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        let mut app = router(inner);
        if let Some(name) = name {
            app = app.layer(axum::middleware::from_fn(
                move |request: axum::extract::Request, next: axum::middleware::Next| {
                    CALLED_AS.scope(name.clone(), next.run(request))
                },
            ));
        }
        let stopped = tokio::task::spawn_blocking(move || {
            let mut byte = [0];
            // Nothing is ever written: it ends when the other side is closed.
            let _ = std::io::Read::read(&mut &stop, &mut byte);
        });
        tokio::select! {
            _ = axum::serve(listener, app) => {}
            _ = stopped => {}
        }
    });
    // What still runs belongs to jobs that are over.
    runtime.shutdown_background();
}

fn router(inner: Shared) -> Router {
    let limit = DefaultBodyLimit::max(inner.limits.json);
    let twirp = "/twirp/github.actions.results.api.v1.";
    Router::new()
        .route(&format!("{twirp}CacheService/{{method}}"), post(cache_v2::call))
        .route(&format!("{twirp}ArtifactService/{{method}}"), post(artifacts::call))
        .route("/upload/{id}", any(uploads::put))
        .route("/download/{kind}/{id}/{name}", get(uploads::download))
        .route("/_apis/artifactcache/cache", get(cache_v1::find))
        .route("/_apis/artifactcache/caches", post(cache_v1::reserve).get(cache_v1::list))
        .route("/_apis/artifactcache/caches/{id}", post(cache_v1::commit).patch(cache_v1::patch))
        .route("/oidc/token", get(oidc::token))
        .route("/oidc/.well-known/openid-configuration", get(oidc::discovery))
        .route("/oidc/jwks", get(oidc::keys))
        .route("/git/{owner}/{name}/info/refs", get(git::refs))
        .route("/git/{owner}/{name}/git-upload-pack", post(git::upload_pack))
        .merge(api::routes())
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(limit)
        .layer(axum::middleware::map_request(fault::json_by_default))
        .layer(axum::middleware::map_response(fault::as_json))
        .with_state(inner)
}
