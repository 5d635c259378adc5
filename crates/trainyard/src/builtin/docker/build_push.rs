//! `docker/build-push-action` (v2 to v7), where there is no buildx: the engine builds, keeps the
//! image, and pushes its names.
//!
//! Deliberately absent: what only BuildKit does — several platforms at once, secrets of the build,
//! SSH, other outputs — which is refused; attestations and caches elsewhere, which are said to be
//! left out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use trainyard_executor_container::{Build, Built, EngineKind, size};

use super::super::{JobFacts, append, checkout, flag, input, variable};
use super::{engine, follow, list, pairs, refuse, said};
use crate::error::{Error, Result};
use crate::git::Repository;

/// The inputs of docker/build-push-action with their defaults.
pub const INPUTS: &[(&str, Option<&str>)] = &[
    ("add-hosts", None),
    ("allow", None),
    ("annotations", None),
    ("attests", None),
    ("build-args", None),
    ("build-contexts", None),
    ("builder", None),
    ("cache-from", None),
    ("cache-to", None),
    ("call", None),
    ("cgroup-parent", None),
    ("context", None),
    ("file", None),
    ("labels", None),
    ("load", Some("false")),
    ("network", None),
    ("no-cache", Some("false")),
    ("no-cache-filters", None),
    ("outputs", None),
    ("platforms", None),
    ("provenance", None),
    ("pull", Some("false")),
    ("push", Some("false")),
    ("sbom", None),
    ("secrets", None),
    ("secret-envs", None),
    ("secret-files", None),
    ("shm-size", None),
    ("ssh", None),
    ("tags", None),
    ("target", None),
    ("ulimit", None),
    ("github-token", None),
];

/// Only BuildKit does these.
const REFUSED: &[&str] = &[
    "allow",
    "build-contexts",
    "call",
    "cgroup-parent",
    "no-cache-filters",
    "outputs",
    "secrets",
    "secret-envs",
    "secret-files",
    "ssh",
    "ulimit",
];
/// The image is the same without these.
const LEFT_OUT: &[&str] = &["annotations", "attests", "cache-from", "cache-to", "sbom"];

/// Builds, and pushes if it is to.
pub fn run(facts: &JobFacts) -> Result<()> {
    refuse(REFUSED)?;
    let left_out: Vec<&str> =
        LEFT_OUT.iter().copied().filter(|n| !matches!(&*input(n), "" | "false")).collect();
    if !left_out.is_empty() {
        println!(
            "left out, as there is no buildx: {} (the engine's own layers are the cache)",
            left_out.join(", ")
        );
    }
    let platforms = list("platforms", true);
    if platforms.len() > 1 {
        return Err(Error::new("several `platforms` want buildx, which is not on this machine")
            .hint("name one, or install Docker with its buildx plugin"));
    }
    let push = flag("push")?;
    let tags: Vec<String> = list("tags", true);
    if push && tags.is_empty() {
        return Err(Error::new("tag is needed when pushing to registry"));
    }
    let engine = engine()?;
    let (context, remote, kept) = context(facts, engine.kind)?;
    let file = input("file");
    let dockerfile = match (file.is_empty(), remote.is_empty()) {
        (true, true) => context.join("Dockerfile"),
        (true, false) => PathBuf::from("Dockerfile"),
        (false, true) if kept.is_none() => Path::new(".").join(&file),
        (false, true) => context.join(&file),
        (false, false) => PathBuf::from(&file),
    };
    let dockerfile = match remote.is_empty() {
        true => std::fs::canonicalize(&dockerfile).map_err(|e| {
            Error::new(format!("the Dockerfile '{}': {e}", dockerfile.display()))
                .hint("`file` is relative to the workspace, `context` is what is sent; actions/checkout lays both")
        })?,
        false => dockerfile,
    };
    let shm_size = match input("shm-size") {
        text if text.is_empty() => None,
        text => {
            Some(size(&text).ok_or_else(|| Error::new(format!("shm-size: '{text}' is no size")))?)
        }
    };
    let build = Build {
        context,
        dockerfile,
        tags: tags.clone(),
        args: pairs("build-args").into_iter().collect(),
        labels: pairs("labels").into_iter().collect(),
        target: input("target"),
        platform: platforms.into_iter().next().unwrap_or_default(),
        no_cache: flag("no-cache")?,
        pull: flag("pull")?,
        network: input("network"),
        hosts: list("add-hosts", true),
        shm_size,
        remote,
    };
    println!("{} builds", engine.title());
    let built = Arc::new(Mutex::new(None));
    let task = engine.build(build, push, Arc::clone(&built)).map_err(said)?;
    follow(task)?;
    let done: Built =
        built.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    println!("::group::ImageID\n{}\n::endgroup::", done.id);
    let mut metadata = serde_json::json!({"containerimage.config.digest": done.id});
    let mut outputs = vec![format!("imageid={}", done.id)];
    if let Some(digest) = &done.digest {
        println!("::group::Digest\n{digest}\n::endgroup::");
        outputs.push(format!("digest={digest}"));
        metadata["containerimage.digest"] = digest.as_str().into();
    }
    if !tags.is_empty() {
        metadata["image.name"] = tags.join(",").into();
    }
    outputs.push(format!("metadata={metadata}"));
    append("GITHUB_OUTPUT", &outputs)
}

/// A folder that goes when the build is done.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What is built: a folder, or an address that the engine fetches; and what holds a folder that was
/// made for it.
fn context(facts: &JobFacts, kind: EngineKind) -> Result<(PathBuf, String, Option<Scratch>)> {
    let given = input("context");
    let own = "{{defaultContext}}";
    if given.is_empty() || given.starts_with(own) {
        // The repository at the commit of the event, whether it is checked out or not.
        let place = PathBuf::from(variable("RUNNER_TEMP")?)
            .join(format!("build-context-{}", std::process::id()));
        std::fs::create_dir_all(&place).map_err(|e| Error::io("create", &place, &e))?;
        let scratch = Scratch(place.clone());
        lay(facts, &place)?;
        let below = given.strip_prefix(own).unwrap_or_default().trim_start_matches(':');
        return Ok((place.join(below), String::new(), Some(scratch)));
    }
    let remote = ["https://", "http://", "git://", "git@"].iter().any(|p| given.starts_with(p));
    if remote && kind == EngineKind::Docker {
        return Ok((PathBuf::new(), given, None));
    }
    if remote {
        // Podman's builder fetches nothing that is asked for over Docker's API.
        let (place, below) = fetch(&given)?;
        return Ok((place.0.join(below), String::new(), Some(place)));
    }
    let folder = std::fs::canonicalize(&given).map_err(|e| {
        Error::new(format!("the context '{given}': {e}")).hint("is it checked out?")
    })?;
    Ok((folder, String::new(), None))
}

/// A repository at `ADDRESS#REF:FOLDER`, fetched (docs.docker.com, "Build context", Git
/// repositories): its place, and the folder in it.
fn fetch(given: &str) -> Result<(Scratch, String)> {
    let (address, fragment) = given.split_once('#').unwrap_or((given, ""));
    let (wanted, below) = fragment.split_once(':').unwrap_or((fragment, ""));
    let is_archive = [".tar", ".tar.gz", ".tgz", ".zip"].iter().any(|e| address.ends_with(e));
    if is_archive || Path::new(below).components().any(|c| c == std::path::Component::ParentDir) {
        return Err(Error::new(format!("the context '{given}' cannot be fetched for Podman"))
            .hint("a Git repository can, as ADDRESS#REF:FOLDER; or check it out in a step"));
    }
    let place = PathBuf::from(variable("RUNNER_TEMP")?)
        .join(format!("build-context-{}", std::process::id()));
    std::fs::create_dir_all(&place).map_err(|e| Error::io("create", &place, &e))?;
    let scratch = Scratch(place.clone());
    let wanted = if wanted.is_empty() { "HEAD" } else { wanted };
    for args in [
        &["init", "-q"][..],
        &["fetch", "-q", "--depth=1", "--", address, wanted],
        &["checkout", "-q", "FETCH_HEAD"],
        &["submodule", "-q", "update", "--init", "--depth=1"],
    ] {
        let output = Command::new("git").current_dir(&place).args(args).output();
        let output = output.map_err(|e| Error::new(format!("git cannot be started: {e}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or_default();
            return Err(Error::new(format!("the context '{given}' cannot be fetched: {last}")));
        }
    }
    Ok((scratch, below.to_owned()))
}

/// The files under test, as checkout lays them.
fn lay(facts: &JobFacts, place: &Path) -> Result<()> {
    let user = Repository {
        root: facts.root.clone(),
        git_dir: facts.root.join(".git"),
        common_dir: facts.common_dir.clone(),
    };
    if facts.work_tree {
        for file in user.work_files()? {
            checkout::copy(&facts.root, place, &file)?;
        }
        return Ok(());
    }
    let failed = |why: &dyn std::fmt::Display| {
        Error::new(format!("the commit cannot be laid out for the build: {why}"))
    };
    let mut git = Command::new("git")
        .arg("--git-dir")
        .arg(&facts.common_dir)
        .args(["archive", "--format=tar", &variable("GITHUB_SHA")?])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| failed(&e))?;
    if let Some(output) = git.stdout.take() {
        tar::Archive::new(output).unpack(place).map_err(|e| failed(&e))?;
    }
    match git.wait().map_err(|e| failed(&e))? {
        status if status.success() => Ok(()),
        status => Err(failed(&status)),
    }
}
