//! Actions that are built in. Each runs as a process of its own, this program called as
//! `trainyard internal-action NAME`, and talks as any action does: inputs come as `INPUT_`
//! variables, outputs and environment go through the command files.

mod checkout;
mod python;
mod setup_python;

use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use trainyard_expression::Template;
use trainyard_job::BuiltinSpec;
use trainyard_job::spec::InputSpec;

pub use checkout::copy;
pub use python::{arch, default_environment, pip, shims};

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
}

/// The variable that holds [`JobFacts`] as JSON.
pub const FACTS: &str = "TRAINYARD_JOB_FACTS";

/// The names of the built-in actions, without a version.
pub const NAMES: &[&str] = &["actions/checkout", "actions/setup-python"];

/// The built-in action behind a reference, at any version.
pub fn find(uses: &str) -> Option<&'static str> {
    let name = uses.split('@').next().unwrap_or_default();
    NAMES.iter().copied().find(|n| n.eq_ignore_ascii_case(name))
}

/// What a built-in action declares.
pub fn spec(name: &str) -> BuiltinSpec {
    let declared: &[(&str, Option<&str>)] = match name {
        "actions/checkout" => checkout::INPUTS,
        _ => setup_python::INPUTS,
    };
    let inputs = declared
        .iter()
        .map(|(name, default)| InputSpec {
            name: (*name).to_owned(),
            default: default.map(Template::text),
            required: false,
            deprecation: None,
        })
        .collect();
    BuiltinSpec { inputs, post: None }
}

/// Runs a built-in action to its end.
pub fn run(name: &str, post: bool) -> Exit {
    let result = facts().and_then(|facts| match (name, post) {
        ("actions/checkout", false) => checkout::run(&facts),
        ("actions/setup-python", false) => setup_python::run(),
        _ => Err(Error::new(format!("there is no built-in action '{name}'"))),
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
