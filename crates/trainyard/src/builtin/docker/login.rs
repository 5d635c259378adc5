//! `docker/login-action` (v1 to v4): the registry is asked through the engine, and the entry is
//! written where Docker's and Podman's clients look for it.
//!
//! Deliberately absent: Amazon's registries by their own keys (`ecr`), which want its SDK; `scope`,
//! which is buildx's.

use trainyard_executor_container::{AuthFile, Credentials};

use super::super::{JobFacts, append, input, is_true, warn};
use super::{engine, refuse, said};
use crate::error::{Error, Result};

/// The inputs of docker/login-action with their defaults.
pub const INPUTS: &[(&str, Option<&str>)] = &[
    ("registry", None),
    ("username", None),
    ("password", None),
    ("ecr", None),
    ("scope", None),
    ("logout", Some("true")),
    ("registry-auth", None),
];

fn file() -> Result<AuthFile> {
    AuthFile::here().ok_or_else(|| Error::new("neither DOCKER_CONFIG nor HOME is set"))
}

/// Logs in.
pub fn run(_: &JobFacts) -> Result<()> {
    refuse(&["scope", "registry-auth"])?;
    let registry = match input("registry") {
        empty if empty.is_empty() => "docker.io".to_owned(),
        given => given,
    };
    append("GITHUB_STATE", &[format!("registry={registry}")])?;
    let (username, password) = (input("username"), input("password"));
    let amazon = registry.contains(".ecr.") || registry.contains("public.ecr.aws");
    if input("ecr").eq_ignore_ascii_case("true") || (amazon && username != "AWS") {
        return Err(Error::new("Amazon's registries by access keys are not built in")
            .hint("install Docker, and the real action runs; or log in as AWS with a password of `aws ecr get-login-password`"));
    }
    match (username.is_empty(), password.is_empty()) {
        (true, true) => return Err(Error::new("Username and password required")),
        (true, false) => return Err(Error::new("Username required")),
        (false, true) => return Err(Error::new("Password required")),
        _ => {}
    }
    println!("Logging into {registry}...");
    let credentials = Credentials { username, password, server: registry };
    engine()?.login(&credentials).map_err(said)?;
    file()?.keep(&credentials).map_err(said)?;
    println!("Login Succeeded!");
    Ok(())
}

/// Logs out again.
pub fn post(_: &JobFacts) -> Result<()> {
    let registry = std::env::var("STATE_registry").unwrap_or_default();
    if registry.is_empty() || !is_true("logout", true) {
        return Ok(());
    }
    println!("Logging out from {registry}");
    let gone = file().and_then(|file| file.forget(&registry).map_err(said));
    match gone {
        Ok(true) => println!("Removing login credentials for {registry}"),
        Ok(false) => println!("Not logged in to {registry}"),
        Err(error) => warn(&error.message),
    }
    Ok(())
}
