//! Actions that are built in. Each runs as a process of its own, this program called as
//! `trainyard internal-action NAME`, and talks as any action does: inputs come as `INPUT_`
//! variables, outputs and environment go through the command files.

mod archive;
mod cache;
mod checkout;
mod docker;
mod download_artifact;
mod inside;
mod matchers;
pub mod python;
mod setup_node;
mod setup_python;
mod setup_uv;
mod upload_artifact;
mod zip_writer;

use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trainyard_expression::{Expr, ExprKind, Place, Template};
use trainyard_job::BuiltinSpec;
use trainyard_job::spec::{Condition, InputSpec};

pub use checkout::copy;
pub use docker::has_tools as has_docker_tools;
pub use download_artifact::unpack;
pub use python::{arch, default_environment, interpreters, pip, shims};

use crate::actions::places::Places;
use crate::error::{Error, Result};
use crate::exit::Exit;

/// What a built-in action must know of the run beyond its variables.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobFacts {
    /// The user's work tree.
    pub root: PathBuf,
    /// Its folder of objects and refs.
    pub common_dir: PathBuf,
    /// Whether the checkout lays the work tree as it is now, rather than a commit.
    pub work_tree: bool,
    /// The address of the remote.
    pub remote: Option<String>,
    /// The data folder.
    pub data: PathBuf,
    /// The run.
    pub run: i64,
    /// The job.
    pub node: i64,
    /// Refs whose cache entries it may read, its own first.
    pub scopes: Vec<String>,
    /// Bytes of the repository's cache entries.
    pub quota: Option<u64>,
    /// Where other repositories are looked for.
    pub places: Places,
}

/// The variable that holds [`JobFacts`] as JSON.
pub const FACTS: &str = "TRAINYARD_JOB_FACTS";

type Stage = fn(&JobFacts) -> Result<()>;

/// A built-in action.
struct Builtin {
    /// Its name, without a version.
    name: &'static str,
    /// Its inputs with their defaults.
    inputs: &'static [(&'static str, Option<&'static str>)],
    /// The status function that its post stage asks, and that stage, if it has one.
    post: Option<(&'static str, Stage)>,
    main: Stage,
}

/// The built-in actions.
const ALL: &[Builtin] = &[
    Builtin { name: "actions/checkout", inputs: checkout::INPUTS, post: None, main: checkout::run },
    Builtin {
        name: "actions/setup-python",
        inputs: setup_python::INPUTS,
        post: None,
        main: setup_python::run,
    },
    Builtin {
        name: "actions/setup-node",
        inputs: setup_node::INPUTS,
        post: None,
        main: setup_node::run,
    },
    Builtin {
        name: "astral-sh/setup-uv",
        inputs: setup_uv::INPUTS,
        post: None,
        main: setup_uv::run,
    },
    Builtin {
        name: "actions/cache",
        inputs: cache::INPUTS,
        post: Some(("success", cache::post)),
        main: cache::run,
    },
    Builtin {
        name: "actions/cache/restore",
        inputs: cache::INPUTS,
        post: None,
        main: cache::restore,
    },
    Builtin { name: "actions/cache/save", inputs: cache::INPUTS, post: None, main: cache::save },
    Builtin {
        name: "actions/upload-artifact",
        inputs: upload_artifact::INPUTS,
        post: None,
        main: upload_artifact::run,
    },
    Builtin {
        name: "actions/download-artifact",
        inputs: download_artifact::INPUTS,
        post: None,
        main: download_artifact::run,
    },
    Builtin {
        name: "docker/login-action",
        inputs: docker::login::INPUTS,
        post: Some(("always", docker::login::post)),
        main: docker::login::run,
    },
    Builtin {
        name: "docker/setup-buildx-action",
        inputs: docker::buildx::INPUTS,
        post: None,
        main: docker::buildx::run,
    },
    Builtin {
        name: "docker/build-push-action",
        inputs: docker::build_push::INPUTS,
        post: None,
        main: docker::build_push::run,
    },
];

/// The built-in action behind a reference, at any version.
pub fn find(uses: &str) -> Option<&'static str> {
    let name = uses.split('@').next().unwrap_or_default();
    let found = ALL.iter().map(|b| b.name).find(|n| n.eq_ignore_ascii_case(name));
    // With the tools that they call, the real ones run.
    found.filter(|name| !name.starts_with("docker/") || !docker::has_tools(name))
}

/// What a built-in action declares.
pub fn spec(name: &str) -> BuiltinSpec {
    let found = ALL.iter().find(|b| b.name == name);
    let inputs = found.map_or(&[][..], |b| b.inputs);
    let inputs = inputs
        .iter()
        .map(|(name, default)| InputSpec {
            name: (*name).to_owned(),
            default: default.map(Template::text),
            required: false,
            deprecation: None,
        })
        .collect();
    let post = found.and_then(|b| b.post).map(|(name, _)| Condition {
        text: format!("{name}()"),
        tree: Expr { kind: ExprKind::Call(name.into(), Vec::new()), start: 0 },
        place: Place::default(),
    });
    BuiltinSpec { inputs, post }
}

/// Runs a stage of a built-in action to its end.
pub fn run(name: &str, post: bool) -> Exit {
    let found = ALL.iter().find(|b| b.name == name);
    let result = facts().and_then(|facts| match (found, post) {
        (Some(builtin), true) => builtin.post.map_or(Ok(()), |(_, post)| post(&facts)),
        (Some(builtin), false) => (builtin.main)(&facts),
        (None, _) => Err(Error::new(format!("there is no built-in action '{name}'"))),
    });
    match result {
        Ok(()) => Exit::Success,
        Err(error) => {
            println!("::error::{}", escape(&error.message));
            if let Some(hint) = error.hint {
                println!("{hint}");
            }
            Exit::Failure
        }
    }
}

fn facts() -> Result<JobFacts> {
    let text = std::env::var(FACTS).map_err(|_| Error::new("this is no job of Trainyard"))?;
    serde_json::from_str(&text).map_err(|e| Error::new(format!("{FACTS}: {e}")))
}

fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// An input; empty when it was not given.
fn input(name: &str) -> String {
    let key = format!("INPUT_{}", name.to_uppercase().replace(' ', "_"));
    std::env::var(key).unwrap_or_default().trim().to_owned()
}

/// An input of several lines, as a list.
fn lines(name: &str) -> Vec<String> {
    let lines = input(name);
    lines.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

/// A boolean input as checkout reads it: in any case, and whatever is not true is false.
fn is_true(name: &str, default: bool) -> bool {
    match input(name).as_str() {
        "" => default,
        given => given.eq_ignore_ascii_case("true"),
    }
}

/// A boolean input (YAML's core schema, as `getBooleanInput` reads it).
fn flag(name: &str) -> Result<bool> {
    match input(name).as_str() {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" | "" => Ok(false),
        other => Err(Error::new(format!(
            "Input does not meet YAML 1.2 \"Core Schema\" specification: {name}: {other}"
        ))
        .hint("Support boolean input list: `true | True | TRUE | false | False | FALSE`")),
    }
}

/// The major version that the step asks for; none when it names a commit or a branch, which stands
/// for the newest.
fn major() -> Option<u32> {
    let reference = std::env::var("GITHUB_ACTION_REF").unwrap_or_default();
    let digits = reference.trim_start_matches('v').split('.').next()?;
    digits.parse().ok().filter(|_| digits.len() < 4)
}

/// `cache` of the setup actions: the package managers' own caches are this machine's and stay, but
/// what the action refuses is refused. `known` are the managers with the files that they look for.
fn check_cache(known: &[(&str, &[&str])]) -> Result<()> {
    let wanted = input("cache");
    if wanted.is_empty() {
        return Ok(());
    }
    let Some((_, files)) = known.iter().find(|(name, _)| *name == wanted) else {
        return Err(Error::new(format!("Caching for '{wanted}' is not supported")));
    };
    let workspace = PathBuf::from(variable("GITHUB_WORKSPACE")?);
    let given = input("cache-dependency-path");
    let patterns = match given.is_empty() {
        true => files.iter().map(|f| format!("**/{f}")).collect::<Vec<_>>().join("\n"),
        false => given,
    };
    let options = crate::host::globs::Options::default();
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let globs = crate::host::globs::Globs::new(&patterns, &workspace, &home, options);
    let found = globs.map_err(Error::new)?.find().map_err(|e| Error::new(e.to_string()))?;
    if found.iter().any(|f| f.is_file()) {
        println!("`cache: {wanted}`: the package manager's own cache on this machine is used");
        return Ok(());
    }
    Err(Error::new(format!(
        "No file in {} matched to [{}], make sure you have checked out the target repository",
        workspace.display(),
        patterns.replace('\n', " or ")
    )))
}

/// Says why something came out as it did, for `trainyard view`. It is no output of the action:
/// one that cannot be written is left out.
fn why(text: &str) {
    let Some(path) = std::env::var_os("TRAINYARD_REASONS") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| writeln!(file, "{}", text.replace('\n', " ")));
}

/// A warning of the step.
fn warn(message: &str) {
    println!("::warning::{}", escape(message));
}

/// A folder with links to some programs, to stand in front of the PATH: the folder that they are in
/// may hold others, which must not.
fn links(place: &std::path::Path, folder: &std::path::Path, names: &[&str]) -> Result<String> {
    std::fs::create_dir_all(place).map_err(|e| Error::io("create", place, &e))?;
    for name in names.iter().filter(|n| folder.join(n).exists()) {
        let link = place.join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(folder.join(name), &link)
            .map_err(|e| Error::io("link", &link, &e))?;
    }
    Ok(place.to_string_lossy().into_owned())
}

/// A variable that the runner always sets.
fn variable(name: &str) -> Result<String> {
    std::env::var(name).map_err(|_| Error::new(format!("the variable {name} is not set")))
}

/// Appends lines to a command file.
fn append(file: &str, lines: &[String]) -> Result<()> {
    let path = PathBuf::from(variable(file)?);
    let mut target = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .map_err(|e| Error::io("open", &path, &e))?;
    for line in lines {
        writeln!(target, "{line}").map_err(|e| Error::io("write", &path, &e))?;
    }
    Ok(())
}

/// Sixteen hexadecimal digits that stand for a text.
pub fn short_hash(text: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
