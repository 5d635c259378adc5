//! The services of a local run: started with its first job, and what each job is told of them.
//!
//! `GITHUB_SERVER_URL` stays what it is, as workflows compare it and the toolkit goes by it. git
//! reaches the repository under test here by `url.….insteadOf`, given through the environment for
//! this repository alone; the API, the caches and the artifacts have addresses of their own.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};
use trainyard_blob::Store;
use trainyard_model::Value;
use trainyard_services::{Config, Grant, JobAccess, Limits, Remark, RepositoryFacts, Services};
use trainyard_workflow::lower::NodeDefinition;
use trainyard_workflow::permissions::Level;

use crate::error::{Error, Result};
use crate::git::Repository;
use crate::paths::create_dir;
use crate::run::event::Event;

/// The folder of the store.
pub fn store_dir(data: &Path) -> std::path::PathBuf {
    data.join("store")
}

/// Opens the store of a data folder.
pub fn open_store(data: &Path) -> Result<Store> {
    Store::open(&store_dir(data)).map_err(|e| {
        Error::new(e.to_string()).hint("TRAINYARD_DATA_DIR names another folder for it")
    })
}

/// Starts the services for the repository of an event.
pub fn start(
    data: &Path,
    repo: &Repository,
    event: &Event,
    quota: Option<u64>,
    sink: impl Fn(Remark) + Send + Sync + 'static,
) -> Result<Services> {
    let uploads = store_dir(data).join("uploads");
    create_dir(&uploads)?;
    let mut limits = Limits::default();
    limits.quota = quota.unwrap_or(limits.quota);
    let event_json: Json = serde_json::to_value(&event.payload).unwrap_or_default();
    let branch = event_json["repository"]["default_branch"].as_str().unwrap_or("main").to_owned();
    let config = Config {
        store: store_dir(data),
        uploads,
        key: data.join("oidc-key.pem"),
        repository: RepositoryFacts {
            slug: event.repository.clone(),
            git_dir: repo.common_dir.clone(),
            default_branch: branch,
            server: text(event, "server_url"),
            sha: event.head.sha.clone(),
            event: event_json,
        },
        limits,
        sink: Box::new(sink),
    };
    Services::start(config).map_err(|e| Error::new(e.to_string()))
}

fn text(event: &Event, name: &str) -> String {
    event.github.get(name).map(|v| v.to_text().into_owned()).unwrap_or_default()
}

fn id_token(definition: &NodeDefinition) -> bool {
    definition.permissions.as_ref().is_some_and(|p| p.level("id-token") == Level::Write)
}

/// The refs whose cache entries a job may read, its own first (GitHub's documentation: the own ref,
/// the base of a pull request, the default branch).
pub fn cache_scopes(github: &Value) -> Vec<String> {
    let part = |name: &str| github.get(name).map(|v| v.to_text().into_owned()).unwrap_or_default();
    let branch = github
        .get("event")
        .and_then(|e| e.get("repository"))
        .and_then(|r| r.get("default_branch"))
        .map(|b| b.to_text().into_owned())
        .unwrap_or_else(|| "main".into());
    let mut scopes = vec![part("ref")];
    let base = part("base_ref");
    for name in [base, branch].into_iter().filter(|b| !b.is_empty()) {
        scopes.push(format!("refs/heads/{name}"));
    }
    scopes.retain(|s| !s.is_empty());
    let mut seen = Vec::new();
    scopes.retain(|s| {
        !seen.contains(s) && {
            seen.push(s.clone());
            true
        }
    });
    scopes
}

/// What a job is, for its grant.
pub struct JobIdentity<'a> {
    /// The run.
    pub run: i64,
    /// The job.
    pub node: u32,
    /// The lease.
    pub epoch: u32,
    /// The run's `github` context.
    pub github: &'a Value,
    /// `job.workflow_ref`
    pub job_workflow_ref: String,
    /// `environment`
    pub environment: Option<&'a str>,
    /// Milliseconds it may take.
    pub limit: i64,
}

/// Lets a job in.
pub fn grant(
    services: &Services,
    definition: &NodeDefinition,
    job: &JobIdentity<'_>,
    now: i64,
) -> std::result::Result<JobAccess, String> {
    let github = job.github;
    let part = |name: &str| github.get(name).map(|v| v.to_text().into_owned()).unwrap_or_default();
    let repository = part("repository");
    let subject = match (job.environment, part("event_name").as_str()) {
        (Some(environment), _) => format!("repo:{repository}:environment:{environment}"),
        (None, "pull_request") => format!("repo:{repository}:pull_request"),
        _ => format!("repo:{repository}:ref:{}", part("ref")),
    };
    let mut claims = Map::new();
    for name in [
        "ref",
        "ref_type",
        "sha",
        "repository",
        "repository_id",
        "repository_owner",
        "repository_owner_id",
        "actor",
        "actor_id",
        "workflow",
        "workflow_ref",
        "workflow_sha",
        "event_name",
        "head_ref",
        "base_ref",
        "run_id",
        "run_number",
        "run_attempt",
    ] {
        claims.insert(name.to_owned(), json!(part(name)));
    }
    for (name, value) in [
        ("sub", subject),
        ("ref_protected", "false".to_owned()),
        ("repository_visibility", "private".to_owned()),
        ("runner_environment", "self-hosted".to_owned()),
        ("job_workflow_ref", job.job_workflow_ref.clone()),
        ("job_workflow_sha", part("workflow_sha")),
    ] {
        claims.insert(name.to_owned(), json!(value));
    }
    if let Some(environment) = job.environment {
        claims.insert("environment".to_owned(), json!(environment));
    }
    // The posts of a job that ran out of time still talk to the services.
    let seconds = u64::try_from((now + job.limit) / 1000).unwrap_or(0) + 3600;
    let grant = Grant {
        run: job.run,
        node: i64::from(job.node),
        epoch: job.epoch,
        repository,
        scopes: cache_scopes(github),
        id_token: id_token(definition),
        claims,
        permissions: definition.permissions.as_ref().map(|p| {
            p.iter().map(|(name, level)| (name.to_owned(), level.as_str().to_owned())).collect()
        }),
        expires: seconds,
    };
    services.grant(grant).map_err(|e| e.to_string())
}

/// The settings by which git finds the repository under test here, whichever way its address is
/// written. The password goes to that repository alone: what begins with its name is sent on to
/// the forge, and git would take the header along.
pub fn git_config(access: &JobAccess, slug: &str) -> Vec<(String, String)> {
    let here = format!("{}/git/{slug}", access.base);
    let forms = [
        format!("https://github.com/{slug}"),
        format!("git@github.com:{slug}"),
        format!("ssh://git@github.com/{slug}"),
    ];
    let mut settings: Vec<(String, String)> =
        forms.into_iter().map(|form| (format!("url.{here}.insteadOf"), form)).collect();
    // A push, too, comes here, and is refused: it would go out with the user's own rights.
    for form in [format!("https://github.com/{slug}"), format!("git@github.com:{slug}")] {
        settings.push((format!("url.{here}.pushInsteadOf"), form));
    }
    // Not in the address itself, which `git remote -v` shows.
    let password = STANDARD.encode(format!("x-access-token:{}", access.token));
    for place in [here.clone(), format!("{here}.git")] {
        let header = format!("AUTHORIZATION: basic {password}");
        settings.push((format!("http.{place}.extraheader"), header));
    }
    settings
}

/// `no_proxy` with this machine in it, where a proxy is set.
pub fn no_proxy(env: &[(String, String)]) -> Vec<(String, String)> {
    let of = |name: &'static str| {
        env.iter()
            .filter(move |(k, v)| k.eq_ignore_ascii_case(name) && !v.is_empty())
            .map(|(_, v)| v.as_str())
    };
    if ["http_proxy", "https_proxy", "all_proxy"].iter().all(|name| of(name).next().is_none()) {
        return Vec::new();
    }
    // Programs read one or the other spelling: both get what either had.
    let mut hosts: Vec<&str> = of("no_proxy").flat_map(|v| v.split(',')).map(str::trim).collect();
    hosts.extend(["localhost", "127.0.0.1", ".localhost"]);
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|h| !h.is_empty() && seen.insert(*h));
    let value = hosts.join(",");
    ["no_proxy", "NO_PROXY"].iter().map(|name| ((*name).to_owned(), value.clone())).collect()
}

/// Once a day: artifacts whose time is over go, and what no name reaches any more. Not while
/// another run uses the store.
pub fn tidy(data: &Path) {
    const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
    let mark = store_dir(data).join("tidied");
    let fresh = mark.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    if !store_dir(data).join("store.db").exists() || fresh.is_some_and(|age| age < DAY) {
        return;
    }
    // What goes wrong here is said by the commands that are asked for it.
    if let Ok(store) = open_store(data) {
        let _ = store.expire_artifacts();
        if store.collect().is_ok_and(|c| c.ran) {
            let _ = std::fs::write(&mark, "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_told_of_this_machine() {
        let env = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        assert_eq!(no_proxy(&env(&[("no_proxy", "a")])), []);
        let both =
            no_proxy(&env(&[("HTTPS_PROXY", "p"), ("no_proxy", "corp, b"), ("NO_PROXY", "b,c")]));
        assert_eq!(both[0].1, "corp,b,c,localhost,127.0.0.1,.localhost");
        assert_eq!(both[0].1, both[1].1);
    }
}
