//! Another repository: from a local folder, a mirror, or the forge, with git.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::{JobFacts, input, is_true, variable};
use super::{depth, git};
use crate::actions::places::{self, Patience, is_remote};
use crate::actions::reference::{Reference, is_commit};
use crate::error::{Error, Result};

/// Lays a repository into a folder; the commit, and the ref for the action's output.
pub fn lay(facts: &JobFacts, slug: &str, target: &Path) -> Result<(String, String)> {
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
    let token = own_token(&address, &server);
    // An earlier checkout's would be sent beside it.
    let header = format!("http.{server}/.extraheader");
    let unset = ["config", "--local", "--unset-all", &header];
    let _ = places::git(Some(&places::git_folder(target)), &unset);
    let name = match name.is_empty() {
        true => default_branch(&address, &token)?,
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
        match fetch(target, &address, &[&spec], &token) {
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
                let mut more = Vec::new();
                if depth().is_none() {
                    more.push("+refs/heads/*:refs/remotes/origin/*");
                }
                if depth().is_none() || is_true("fetch-tags", false) {
                    more.push("+refs/tags/*:refs/tags/*");
                }
                if !more.is_empty() {
                    fetch(target, &address, &more, &token)?;
                }
                keep(target, &token)?;
                let folder = places::git_folder(target);
                let sha =
                    places::git(Some(&folder), &["rev-parse", &format!("{commit}^{{commit}}")])?;
                let output = if is_commit(&name) { String::new() } else { name.clone() };
                return Ok((String::from_utf8_lossy(&sha).trim().to_owned(), output));
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

fn default_branch(address: &str, token: &[(String, String)]) -> Result<String> {
    let arguments = ["ls-remote", "--symref", "--", address, "HEAD"];
    let out = places::git_with(None, &arguments, &token_environment(token), &Patience::default())?;
    let text = String::from_utf8_lossy(&out).into_owned();
    let branch = text.lines().find_map(|l| l.strip_prefix("ref: ")?.split('\t').next());
    branch
        .map(str::to_owned)
        .ok_or_else(|| Error::new(format!("{address} does not say its default branch")))
}

/// Git's settings that give the step's `token` to the forge, if it opens anything there.
fn own_token(address: &str, server: &str) -> Vec<(String, String)> {
    let token = input("token");
    // The job's own token opens nothing at the forge.
    let own = token.len() == 52 && token.starts_with("ghs_");
    // It is the forge's: a mirror elsewhere does not get it.
    if token.is_empty() || own || !address.starts_with(&format!("{server}/")) {
        return Vec::new();
    }
    let password = STANDARD.encode(format!("x-access-token:{token}"));
    vec![(format!("http.{server}/.extraheader"), format!("AUTHORIZATION: basic {password}"))]
}

/// Settings through the environment, as the arguments of a process are for all to see.
fn token_environment(settings: &[(String, String)]) -> Vec<(String, String)> {
    let there = std::env::var("GIT_CONFIG_COUNT").ok().and_then(|n| n.parse().ok());
    let first: usize = there.unwrap_or(0);
    let mut env = vec![("GIT_CONFIG_COUNT".to_owned(), (first + settings.len()).to_string())];
    for (at, (key, value)) in settings.iter().enumerate() {
        env.push((format!("GIT_CONFIG_KEY_{}", first + at), key.clone()));
        env.push((format!("GIT_CONFIG_VALUE_{}", first + at), value.clone()));
    }
    env
}

/// `persist-credentials`: later steps fetch and push with the same token.
fn keep(target: &Path, settings: &[(String, String)]) -> Result<()> {
    if !is_true("persist-credentials", true) {
        return Ok(());
    }
    let path = target.join(".git/config");
    for (key, value) in settings {
        println!("::add-mask::{}", value.rsplit(' ').next().unwrap_or(value));
        let (section, name) = key.rsplit_once('.').unwrap_or((key, ""));
        let section = section.strip_prefix("http.").unwrap_or(section);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, &e))?;
        let text = format!("{text}[http \"{section}\"]\n\t{name} = {value}\n");
        std::fs::write(&path, text).map_err(|e| Error::io("write", &path, &e))?;
    }
    Ok(())
}

fn fetch(target: &Path, address: &str, specs: &[&str], token: &[(String, String)]) -> Result<()> {
    let depth = depth().map(|n| format!("--depth={n}"));
    let mut args = vec!["-c", "protocol.file.allow=always", "fetch", "-q", "--no-tags"];
    args.extend(depth.as_deref());
    args.extend(["--", address]);
    args.extend(specs);
    let folder = places::git_folder(target);
    let env = token_environment(token);
    places::git_with(Some(&folder), &args, &env, &Patience::default()).map(|_| ())
}
