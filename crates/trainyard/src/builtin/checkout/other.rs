//! Another repository: from a local folder, a mirror, or the forge, with git.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::{JobFacts, input, variable};
use super::git;
use crate::actions::places::{self, Patience, is_remote};
use crate::actions::reference::{Reference, is_commit};
use crate::error::{Error, Result};

/// Lays a repository into a folder; the commit.
pub fn lay(facts: &JobFacts, slug: &str, target: &Path) -> Result<String> {
    let bad =
        || Error::new(format!("Invalid repository '{slug}'. Expected format {{owner}}/{{repo}}."));
    let name = input("ref");
    // The parts become paths: the same care as for actions.
    let wanted = Reference::parse(&format!("{slug}@HEAD")).filter(|r| r.path.is_empty());
    let mut wanted = wanted.ok_or_else(bad)?;
    let address = address(facts, &wanted, &name)?;
    if name.starts_with('-') {
        return Err(Error::new(format!("The ref '{name}' is no ref")));
    }
    git(target, &["init", "-q"])?;
    let server = variable("GITHUB_SERVER_URL")?;
    // In a folder that was not cleaned there may be one.
    let _ = places::git(Some(&places::git_folder(target)), &["remote", "remove", "origin"]);
    git(target, &["remote", "add", "origin", &format!("{server}/{slug}")])?;
    let name = match name.is_empty() {
        true => default_branch(&address)?,
        false => name,
    };
    wanted.reference.clone_from(&name);
    let short = name.strip_prefix("refs/heads/").unwrap_or(&name);
    let tag = name.strip_prefix("refs/tags/").unwrap_or(&name);
    let mut tries: Vec<(String, Option<&str>)> = Vec::new();
    if is_commit(&name) {
        tries.push((name.clone(), None));
    } else {
        if !name.starts_with("refs/") || name.starts_with("refs/heads/") {
            tries.push((format!("+refs/heads/{short}:refs/remotes/origin/{short}"), Some(short)));
        }
        if !name.starts_with("refs/") || name.starts_with("refs/tags/") {
            tries.push((format!("+refs/tags/{tag}:refs/tags/{tag}"), None));
        }
        if name.starts_with("refs/") && tries.is_empty() {
            tries.push((name.clone(), None));
        }
    }
    let mut last = Error::new(format!("{slug} has no ref '{name}'"));
    for (spec, branch) in tries {
        match fetch(target, &address, &spec) {
            Ok(()) => {
                let commit = match branch {
                    Some(branch) => {
                        let remote = format!("refs/remotes/origin/{branch}");
                        git(target, &["checkout", "-q", "--force", "-B", branch, &remote])?;
                        remote
                    }
                    None => {
                        git(target, &["checkout", "-q", "--force", "--detach", "FETCH_HEAD"])?;
                        "HEAD".to_owned()
                    }
                };
                let folder = places::git_folder(target);
                let sha =
                    places::git(Some(&folder), &["rev-parse", &format!("{commit}^{{commit}}")])?;
                return Ok(String::from_utf8_lossy(&sha).trim().to_owned());
            }
            Err(error) => {
                last = Error::new(format!("{slug} has no ref '{name}': {}", error.message));
            }
        }
    }
    Err(last.hint(format!("{slug} was looked for in {}", facts.places.in_words(&wanted))))
}

/// Where the repository is: as for actions, the first place that has it.
fn address(facts: &JobFacts, wanted: &Reference, name: &str) -> Result<String> {
    let local = facts.places.local.iter().find(|(slug, reference, _)| {
        slug.eq_ignore_ascii_case(&wanted.slug()) && (name.is_empty() || reference == name)
    });
    if let Some((_, _, folder)) = local {
        if !folder.join(".git").exists() && !folder.join("HEAD").exists() {
            return Err(Error::new(format!("{} is no git repository", folder.display()))
                .hint("what stands for a repository that is checked out must be one"));
        }
        return Ok(file_url(folder));
    }
    let mirror = facts.places.mirrors(wanted).into_iter().next();
    Ok(match mirror {
        Some(mirror) if !is_remote(&mirror) => file_url(Path::new(&mirror)),
        Some(mirror) => mirror,
        None => facts.places.forge(wanted),
    })
}

/// By its address git copies what it takes; by its path it would link it.
pub fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn default_branch(address: &str) -> Result<String> {
    let out = places::git(None, &["ls-remote", "--symref", "--", address, "HEAD"])?;
    let text = String::from_utf8_lossy(&out).into_owned();
    let branch = text.lines().find_map(|l| l.strip_prefix("ref: ")?.split('\t').next());
    branch
        .map(str::to_owned)
        .ok_or_else(|| Error::new(format!("{address} does not say its default branch")))
}

fn fetch(target: &Path, address: &str, spec: &str) -> Result<()> {
    let depth = match input("fetch-depth").as_str() {
        "0" => None,
        text => Some(format!("--depth={}", text.parse::<u32>().unwrap_or(1).max(1))),
    };
    let token = input("token");
    // The job's own token opens nothing at the forge.
    let own = token.len() == 52 && token.starts_with("ghs_");
    // It is the forge's: a mirror elsewhere does not get it. Through the environment, as the
    // arguments of a process are for all to see.
    let server = variable("GITHUB_SERVER_URL")?;
    let mut env: Vec<(String, String)> = Vec::new();
    if !token.is_empty() && !own && address.starts_with(&format!("{server}/")) {
        let password = STANDARD.encode(format!("x-access-token:{token}"));
        let there = std::env::var("GIT_CONFIG_COUNT").ok().and_then(|n| n.parse().ok());
        let at: usize = there.unwrap_or(0);
        env.push(("GIT_CONFIG_COUNT".into(), (at + 1).to_string()));
        env.push((format!("GIT_CONFIG_KEY_{at}"), format!("http.{server}/.extraheader")));
        env.push((format!("GIT_CONFIG_VALUE_{at}"), format!("AUTHORIZATION: basic {password}")));
    }
    let mut args: Vec<&str> = Vec::new();
    args.extend(["-c", "protocol.file.allow=always", "fetch", "-q"]);
    args.extend(depth.as_deref());
    if input("fetch-tags") != "true" && depth.is_some() {
        args.push("--no-tags");
    }
    args.extend(["--", address, spec]);
    let folder = places::git_folder(target);
    places::git_with(Some(&folder), &args, &env, &Patience::default()).map(|_| ())
}
