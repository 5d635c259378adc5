//! Images: built, tagged, pushed (`pull.rs` gets them).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    BuildImageOptionsBuilder, PushImageOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::StreamExt;

use trainyard_job::Exit;

use crate::auth::{AuthFile, IDENTITY};
use crate::container::{Client, Create};
use crate::context::{fingerprint, place, stream_tar};
use crate::engine::{Engine, EngineKind};
use crate::error::{ContainerError, Result, engine_words};
use crate::process::{OnStart, run_once};
use crate::progress::{Progress, moves};
use crate::pull::denied;
use crate::set::GiveBack;
use crate::task::{Task, TaskOutput};

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pull {
    /// When it is not there.
    #[default]
    Missing,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// A name and a password for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password, which nothing prints.
    pub password: String,
    /// The registry.
    pub server: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.username, self.server)
    }
}

impl Credentials {
    pub(crate) fn api(&self) -> DockerCredentials {
        if self.username == IDENTITY {
            return DockerCredentials {
                identitytoken: Some(self.password.clone()),
                serveraddress: Some(self.server.clone()),
                ..DockerCredentials::default()
            };
        }
        DockerCredentials {
            username: Some(self.username.clone()),
            password: Some(self.password.clone()),
            serveraddress: Some(self.server.clone()),
            ..DockerCredentials::default()
        }
    }
}

/// An image to build.
#[derive(Debug, Clone, Default)]
pub struct Build {
    /// The folder that is sent.
    pub context: PathBuf,
    /// The Dockerfile, within it or not.
    pub dockerfile: PathBuf,
    /// Its names; the first one is enough.
    pub tags: Vec<String>,
    /// `ARG`s.
    pub args: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The stage to stop at; all when empty.
    pub target: String,
    /// `linux/arm64`, or empty.
    pub platform: String,
    /// Whether layers of earlier builds are not used.
    pub no_cache: bool,
    /// Whether base images are pulled anew.
    pub pull: bool,
    /// The network of its steps; the engine's own when empty.
    pub network: String,
    /// `NAME:ADDRESS` for the steps' `/etc/hosts`.
    pub hosts: Vec<String>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<i64>,
    /// What the engine fetches itself instead of a folder: a git or tar address.
    pub remote: String,
}

/// A built image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Built {
    /// `sha256:…`
    pub id: String,
    /// The digest in the registry that it was pushed to.
    pub digest: Option<String>,
}

/// The registry of an image, as the runner reads it (`DockerUtil.cs`): none means Docker Hub.
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "",
    }
}

/// An image's name and its tag or digest.
pub(crate) fn split_reference(image: &str) -> (&str, &str) {
    if let Some((_, digest)) = image.split_once('@') {
        return (image, digest);
    }
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

/// An image with what was printed while it was got.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)]
pub enum Source {
    /// One of a registry.
    Image(String),
    /// One to build; the name that it gets tells its contents.
    Build(Build),
}

impl Engine {
    /// Gets an image, then starts a container of it that is removed when its process has ended.
    /// What it took to get the image is printed before, in a group. `started` is told the number of
    /// its process on this machine; what it gives is dropped at the end. Files that it leaves to others
    /// in the folders of `give_back` are this user's afterwards.
    ///
    /// # Errors
    ///
    /// When there are no pipes to be had.
    pub fn once(
        &self,
        source: Source,
        pull: Pull,
        credentials: Option<Credentials>,
        mut create: Create,
        started: OnStart,
        give_back: Option<GiveBack>,
    ) -> Result<Task> {
        let client = self.client();
        self.task(move |mut out, mut stops| async move {
            let mut orders = stops.clone();
            let got = tokio::select! {
                got = client.get(source, pull, credentials.as_ref(), &mut out) => got,
                _ = orders.next() => return Exit::Code(130),
            };
            match got {
                Ok(image) => create.image = image,
                Err(error) => return Exit::NotStarted(error.said()),
            }
            let exit = run_once(&client, &create, started, &mut out, &mut stops).await;
            if let Some(back) = give_back {
                crate::process::give_back(&client, create, back, &mut out).await;
            }
            exit
        })
    }

    /// Builds an image, and with `push` sends it to the registries of its names.
    ///
    /// # Errors
    ///
    /// When there are no pipes to be had.
    pub fn build(
        &self,
        build: Build,
        push: bool,
        built: Arc<Mutex<Option<Built>>>,
    ) -> Result<Task> {
        let client = self.client();
        self.work(move |mut out| async move {
            let id = client.build(&build, &mut out).await?;
            let mut done = Built { id, digest: None };
            for name in build.tags.iter().filter(|_| push) {
                out.line(&format!("pushing {name}")).await;
                done.digest = client.push(name, None, &mut out).await?;
            }
            *built.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            Ok(())
        })
    }

    /// Asks a registry whether it takes a name and a password.
    ///
    /// # Errors
    ///
    /// When it does not, with its words.
    pub fn login(&self, credentials: &Credentials) -> Result<()> {
        let client = self.client();
        self.wait(async { client.login(credentials).await })
    }

    fn work<F, W>(&self, work: W) -> Result<Task>
    where
        W: FnOnce(TaskOutput) -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.task(move |out, mut stops| async move {
            tokio::select! {
                done = work(out) => match done {
                    Ok(()) => Exit::Code(0),
                    Err(error) => Exit::NotStarted(error.said()),
                },
                _ = stops.next() => Exit::Code(130),
            }
        })
    }
}

impl Client {
    /// The name of an image that is there now.
    async fn get(
        &self,
        source: Source,
        pull: Pull,
        credentials: Option<&Credentials>,
        out: &mut TaskOutput,
    ) -> Result<String> {
        let mut build = match source {
            Source::Image(image) => {
                self.pull(&image, pull, credentials, out).await?;
                return Ok(image);
            }
            Source::Build(build) => build,
        };
        let place = build.dockerfile.clone();
        let unread = |e: std::io::Error| {
            ContainerError::new(format!("{} cannot be read: {e}", place.display()))
        };
        let known = build.clone();
        let print = tokio::task::spawn_blocking(move || fingerprint(&known)).await;
        let print = print.unwrap_or_else(|e| Err(std::io::Error::other(e))).map_err(unread)?;
        let name = format!("localhost/trainyard/action:{print}");
        if pull != Pull::Always && self.has_image(&name).await {
            out.line(&format!("the image of {} is built already", build.dockerfile.display()))
                .await;
            return Ok(name);
        }
        build.tags = vec![name.clone()];
        build.pull = pull == Pull::Always;
        out.line(&format!("##[group]Building {}", build.dockerfile.display())).await;
        let built = self.build(&build, out).await;
        out.line("##[endgroup]").await;
        built.map(|_| name)
    }

    pub(crate) async fn has_image(&self, image: &str) -> bool {
        self.docker.inspect_image(image).await.is_ok()
    }

    /// Names an image.
    pub(crate) async fn tag(&self, image: &str, name: &str) -> Result<()> {
        let (repo, tag) = split_reference(name);
        let options = TagImageOptionsBuilder::default().repo(repo).tag(tag).build();
        self.docker
            .tag_image(image, Some(options))
            .await
            .map_err(|e| ContainerError::api(&format!("'{image}' cannot be named '{name}'"), &e))
    }

    /// Sends an image to its registry; its digest there, if the engine tells.
    pub(crate) async fn push(
        &self,
        image: &str,
        credentials: Option<&Credentials>,
        out: &mut TaskOutput,
    ) -> Result<Option<String>> {
        let known = known(image, credentials).await;
        let credentials = known.as_ref();
        let mut digest = None;
        let (name, tag) = split_reference(image);
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let mut stream =
            self.docker.push_image(name, Some(options), credentials.map(Credentials::api));
        let mut progress = Progress::default();
        let failed = |words: &str| {
            let said = ContainerError::new(format!("'{image}' cannot be pushed: {words}"));
            match denied(words) {
                true => said.hint(
                    "log in first: docker/login-action with the registry's name and password",
                ),
                false => said,
            }
        };
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|e| failed(&engine_words(&e)))?;
            if let Some(detail) = piece.error_detail.and_then(|d| d.message) {
                return Err(failed(&detail));
            }
            let told = piece.status.as_deref().and_then(|s| s.split_once("digest: "));
            digest =
                told.and_then(|(_, d)| d.split_whitespace().next()).map(str::to_owned).or(digest);
            // The engine's client keeps no names of layers here: what moves is told as one.
            let moves = piece.status.as_deref().is_some_and(moves);
            let layer = moves.then(|| "layers".to_owned());
            progress.tell(layer, piece.status, piece.progress_detail, out).await;
        }
        Ok(digest)
    }

    /// Builds an image.
    pub(crate) async fn build(&self, build: &Build, out: &mut TaskOutput) -> Result<String> {
        let (inner, extra) = place(build);
        let users = tokio::task::spawn_blocking(|| AuthFile::here().map(|file| file.all())).await;
        let users = users.ok().flatten().unwrap_or_default();
        let args: HashMap<String, String> = build.args.clone().into_iter().collect();
        let labels: HashMap<String, String> = build.labels.clone().into_iter().collect();
        let mut options = BuildImageOptionsBuilder::default()
            .dockerfile(&inner)
            .t(build.tags.first().map_or("", String::as_str))
            .rm(true)
            .forcerm(true)
            .nocache(build.no_cache)
            .buildargs(&args)
            .labels(&labels)
            .target(&build.target)
            .platform(&build.platform);
        if build.pull {
            options = options.pull("true");
        }
        if !build.network.is_empty() {
            options = options.networkmode(&build.network);
        }
        if !build.hosts.is_empty() {
            let hosts = match (self.kind, &build.hosts[..]) {
                (EngineKind::Podman, hosts) => serde_json::json!(hosts).to_string(),
                (EngineKind::Docker, [host]) => host.clone(),
                (EngineKind::Docker, _) => {
                    return Err(ContainerError::new(
                        "more than one of `add-hosts` cannot be given to Docker without buildx",
                    )
                    .hint("install Docker's buildx plugin"));
                }
            };
            options = options.extrahosts(&hosts);
        }
        if let Some(size) = build.shm_size.and_then(|s| i32::try_from(s).ok()) {
            options = options.shmsize(size);
        }
        if !build.remote.is_empty() {
            options = options.remote(&build.remote);
        }
        let credentials: HashMap<String, DockerCredentials> =
            users.iter().map(|c| (c.server.clone(), c.api())).collect();
        let body = match build.remote.is_empty() {
            true => Some(bollard::body_try_stream(stream_tar(
                build.context.clone(),
                build.dockerfile.clone(),
                extra,
            ))),
            false => None,
        };
        let mut stream = self.docker.build_image(options.build(), Some(credentials), body);
        let failed = |words: &str| {
            ContainerError::new(format!(
                "the image cannot be built from {}: {}",
                build.dockerfile.display(),
                words.trim()
            ))
        };
        let mut id = String::new();
        let mut progress = Progress::default();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|e| failed(&engine_words(&e)))?;
            if let Some(text) = &piece.stream {
                // Podman tells the whole id alone on a line.
                let line = text.trim();
                if line.len() == 64 && line.bytes().all(|b| b.is_ascii_hexdigit()) {
                    id = format!("sha256:{line}");
                }
                out.foreign(text.as_bytes()).await;
            }
            if let Some(detail) = piece.error_detail.and_then(|d| d.message) {
                return Err(failed(&detail));
            }
            progress.tell(piece.id, piece.status, piece.progress_detail, out).await;
            if let Some(made) = piece.aux.and_then(|a| a.id) {
                id = made;
            }
        }
        let Some(first) = build.tags.first() else {
            return match id.is_empty() {
                true => Err(failed("the engine tells no image")),
                false => Ok(id),
            };
        };
        let image = self.docker.inspect_image(first).await;
        let image = image.map_err(|_| failed("the engine made no image"))?;
        for tag in build.tags.iter().skip(1) {
            self.tag(first, tag).await?;
        }
        Ok(image.id.unwrap_or(id))
    }
}

/// What was given for an image's registry, or what the user's own file says.
pub(crate) async fn known(image: &str, given: Option<&Credentials>) -> Option<Credentials> {
    if let Some(given) = given {
        return Some(given.clone());
    }
    let registry = registry(image).to_owned();
    // A helper may take its time.
    tokio::task::spawn_blocking(move || AuthFile::here()?.find(&registry)).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        let check = |image: &str| format!("{:?} {:?}", split_reference(image), registry(image));
        insta::assert_snapshot!(check("python:3.12-slim"), @r#"("python", "3.12-slim") """#);
        insta::assert_snapshot!(check("localhost:5000/team/train"), @r#"("localhost:5000/team/train", "latest") "localhost:5000""#);
        insta::assert_snapshot!(check("ghcr.io/o/n@sha256:00"), @r#"("ghcr.io/o/n@sha256:00", "sha256:00") "ghcr.io""#);
        insta::assert_snapshot!(check("pytorch/pytorch"), @r#"("pytorch/pytorch", "latest") """#);
    }
}
