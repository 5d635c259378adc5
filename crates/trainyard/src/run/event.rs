//! The event of a local run: the `github` context and `event.json`, built truthfully from the
//! repository.

use trainyard_model::{Object, Value};

use crate::builtin::short_hash;
use crate::error::{Error, Result};
use crate::git::{Commit, NO_COMMIT, Repository, slug};

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub struct EventRequest {
    /// The event's name.
    pub event: String,
    /// `--ref`
    pub reference: Option<String>,
    /// `--commit`
    pub commit: Option<String>,
    /// `--event-path`, already read.
    pub payload: Option<Value>,
    /// `--actor`
    pub actor: Option<String>,
    /// `--input`
    pub inputs: Vec<(String, String)>,
}

/// The event as all workflows of one call see it.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// `refs/heads/main`
    pub reference: String,
    /// The commit under test.
    pub head: Commit,
    /// Whether the work tree as it is now is meant, or the commit alone.
    pub work_tree: bool,
    /// `owner/name`
    pub repository: String,
    /// The `github` context without what belongs to one run or job.
    pub github: Object,
    /// `github.event`
    pub payload: Value,
    /// Said once to the user.
    pub notes: Vec<String>,
}

fn text(value: &str) -> Value {
    Value::from(value)
}

/// A number that stands for a name: stable, and nothing that GitHub gave out.
fn id_of(name: &str) -> f64 {
    let hash = short_hash(name);
    u32::from_str_radix(&hash[..7], 16).map_or(1.0, f64::from)
}

/// RFC 3339 as GitHub's payloads have it.
pub fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |t| t.to_string())
}

/// Builds the event.
pub fn build(repo: &Repository, request: &EventRequest) -> Result<Event> {
    let remote = repo.remote();
    let folder = repo.root.file_name().map_or("repository".into(), |n| n.to_string_lossy());
    let repository = remote.as_deref().and_then(slug).unwrap_or_else(|| format!("local/{folder}"));
    let (head, reference, work_tree, notes) = head_of(repo, request)?;
    let actor = request
        .actor
        .clone()
        .or_else(|| std::env::var("USER").ok().filter(|u| !u.is_empty()))
        .unwrap_or_else(|| "local".into());
    let mut event = Event {
        name: request.event.clone(),
        reference,
        head,
        work_tree,
        repository,
        github: Object::new(),
        payload: Value::Null,
        notes,
    };
    if event.name == "pull_request_target" && request.payload.is_none() {
        event.notes.push(
            "pull_request_target runs on the base branch at GitHub; here it runs on what is checked out"
                .into(),
        );
    }
    let takes_inputs = ["workflow_dispatch", "repository_dispatch"].contains(&event.name.as_str());
    if !request.inputs.is_empty() && !takes_inputs {
        return Err(Error::new(format!("the event {} takes no --input", event.name))
            .hint("name the event: trainyard run workflow_dispatch --input NAME=VALUE"));
    }
    event.payload = match &request.payload {
        Some(payload) => payload.clone(),
        None => payload(&event, &actor, request, repo),
    };
    event.github = github(&event, &actor, remote.as_deref());
    Ok(event)
}

fn head_of(
    repo: &Repository,
    request: &EventRequest,
) -> Result<(Commit, String, bool, Vec<String>)> {
    let mut notes = Vec::new();
    let wanted = request.commit.as_deref().or(request.reference.as_deref());
    let branch = repo.branch();
    let revisions: Vec<String> = match wanted {
        None => vec!["HEAD".into()],
        Some(name) if request.commit.is_some() => vec![name.to_owned(), "HEAD".into()],
        Some(name) => vec![
            format!("refs/heads/{}", name.trim_start_matches("refs/heads/")),
            format!("refs/tags/{}", name.trim_start_matches("refs/tags/")),
            name.to_owned(),
            "HEAD".into(),
        ],
    };
    let asked: Vec<&str> = revisions.iter().map(String::as_str).collect();
    let mut found = match repo.head_without_git().filter(|_| wanted.is_none()) {
        Some(head) => vec![Some(head)],
        None => repo.commits(&asked)?,
    };
    let head = found.pop().flatten();
    let Some(head) = head else {
        return Err(Error::new("the repository has no commit yet")
            .hint("commit once: git add -A && git commit -m first"));
    };
    let Some(name) = wanted else {
        let reference = match &branch {
            Some(branch) => format!("refs/heads/{branch}"),
            None => {
                let tag = repo.tags_at(&head.sha)?.into_iter().next();
                match tag {
                    Some(tag) => format!("refs/tags/{tag}"),
                    None => {
                        notes.push(format!(
                            "HEAD is detached and no tag points at it: it is taken for the branch 'HEAD' at {}",
                            &head.sha[..7.min(head.sha.len())]
                        ));
                        "refs/heads/HEAD".into()
                    }
                }
            }
        };
        return Ok((head, reference, true, notes));
    };
    let hit = found.iter().position(Option::is_some);
    let Some((index, commit)) = hit.and_then(|i| Some((i, found[i].clone()?))) else {
        // A pull request's merge ref or a branch that is not here yet stands for HEAD.
        if request.commit.is_none() && name.starts_with("refs/") {
            return Ok((head, name.to_owned(), true, notes));
        }
        return Err(Error::new(format!("'{name}' is no commit, branch or tag of this repository"))
            .hint("git branch -a and git tag list what is here"));
    };
    let reference = match request.reference.as_deref() {
        Some(given) if given.starts_with("refs/") => given.to_owned(),
        Some(given) if index == 1 && request.commit.is_none() => format!("refs/tags/{given}"),
        Some(given) => format!("refs/heads/{given}"),
        None => format!("refs/heads/{}", branch.as_deref().unwrap_or("HEAD")),
    };
    let work_tree = request.commit.is_none() && commit.sha == head.sha;
    Ok((commit, reference, work_tree, notes))
}

fn short(reference: &str) -> &str {
    reference
        .strip_prefix("refs/heads/")
        .or(reference.strip_prefix("refs/tags/"))
        .or(reference.strip_prefix("refs/"))
        .unwrap_or(reference)
}

fn github(event: &Event, actor: &str, remote: Option<&str>) -> Object {
    let mut github = Object::new();
    let owner = event.repository.split('/').next().unwrap_or_default();
    let pull = event.payload.get("pull_request");
    let branch_of = |side: &str| {
        let found = pull.and_then(|p| p.get(side)).and_then(|s| s.get("ref"));
        found.map(|r| r.to_text().into_owned()).unwrap_or_default()
    };
    let (head_ref, base_ref) = (branch_of("head"), branch_of("base"));
    let number = pull.and_then(|p| p.get("number")).or(event.payload.get("number"));
    let is_pull = event.name == "pull_request" && pull.is_some();
    let reference = match number {
        Some(number) if is_pull => format!("refs/pull/{}/merge", number.to_text()),
        _ => event.reference.clone(),
    };
    let ref_name = match (is_pull, number) {
        (true, Some(number)) => format!("{}/merge", number.to_text()),
        _ => short(&reference).to_owned(),
    };
    let kind = if reference.starts_with("refs/tags/") { "tag" } else { "branch" };
    let repository_url = format!("git://github.com/{}.git", event.repository);
    for (name, value) in [
        ("ref", reference.as_str()),
        ("sha", &event.head.sha),
        ("repository", &event.repository),
        ("repository_owner", owner),
        ("repositoryUrl", &repository_url),
        ("actor", actor),
        ("triggering_actor", actor),
        ("head_ref", &head_ref),
        ("base_ref", &base_ref),
        ("event_name", &event.name),
        ("server_url", "https://github.com"),
        ("api_url", "https://api.github.com"),
        ("graphql_url", "https://api.github.com/graphql"),
        ("ref_name", &ref_name),
        ("ref_type", kind),
        ("retention_days", "90"),
        ("secret_source", "Actions"),
    ] {
        github.insert(name, text(value));
    }
    let _ = remote;
    github.insert("repository_id", text(&format!("{}", id_of(&event.repository))));
    github.insert("repository_owner_id", text(&format!("{}", id_of(owner))));
    github.insert("actor_id", text(&format!("{}", id_of(actor))));
    github.insert("ref_protected", Value::Bool(false));
    github.insert("event", event.payload.clone());
    github
}

fn payload(event: &Event, actor: &str, request: &EventRequest, repo: &Repository) -> Value {
    let owner = event.repository.split('/').next().unwrap_or_default();
    let name = event.repository.split('/').nth(1).unwrap_or_default();
    let url = format!("https://github.com/{}", event.repository);
    let default_branch = default_branch(repo, event);
    let owner_value = Value::object([
        ("login", text(owner)),
        ("name", text(owner)),
        ("id", Value::Number(id_of(owner))),
    ]);
    let repository = Value::object([
        ("id", Value::Number(id_of(&event.repository))),
        ("name", text(name)),
        ("full_name", text(&event.repository)),
        ("private", Value::Bool(true)),
        ("owner", owner_value.clone()),
        ("html_url", text(&url)),
        ("url", text(&url)),
        ("clone_url", text(&format!("{url}.git"))),
        ("default_branch", text(&default_branch)),
        ("fork", Value::Bool(false)),
    ]);
    let sender = Value::object([
        ("login", text(actor)),
        ("id", Value::Number(id_of(actor))),
        ("type", text("User")),
    ]);
    let mut out = Object::new();
    match event.name.as_str() {
        "push" => push_payload(&mut out, event, actor, &url),
        "pull_request" | "pull_request_target" => {
            let base = base_commit(repo, &default_branch, &event.head.sha);
            pull_payload(&mut out, event, actor, (&default_branch, base.as_deref()), &repository);
        }
        "workflow_dispatch" => {
            let inputs = request.inputs.iter().map(|(k, v)| (k.as_str(), text(v)));
            out.insert("inputs", Value::object(inputs));
            out.insert("ref", text(&event.reference));
        }
        "repository_dispatch" => {
            out.insert("action", text("local"));
            out.insert("branch", text(short(&event.reference)));
            let inputs = request.inputs.iter().map(|(k, v)| (k.as_str(), text(v)));
            out.insert("client_payload", Value::object(inputs));
        }
        _ => {}
    }
    out.insert("repository", repository);
    out.insert("sender", sender);
    Value::Object(std::sync::Arc::new(out))
}

fn default_branch(repo: &Repository, event: &Event) -> String {
    let remote = std::fs::read_to_string(repo.common_dir.join("refs/remotes/origin/HEAD"));
    let remote = remote
        .ok()
        .and_then(|t| t.trim().strip_prefix("ref: refs/remotes/origin/").map(str::to_owned));
    remote.unwrap_or_else(|| {
        let known = |b: &str| repo.common_dir.join("refs/heads").join(b).exists();
        ["main", "master"]
            .into_iter()
            .find(|b| known(b))
            .unwrap_or_else(|| match event.reference.strip_prefix("refs/heads/") {
                Some(branch) => branch,
                None => "main",
            })
            .to_owned()
    })
}

/// The tip of the base branch, unless the head is that very commit.
fn base_commit(repo: &Repository, branch: &str, head: &str) -> Option<String> {
    let names = [format!("refs/remotes/origin/{branch}"), format!("refs/heads/{branch}")];
    let found = repo.commits(&[names[0].as_str(), names[1].as_str()]).ok()?;
    found.into_iter().flatten().map(|c| c.sha).find(|sha| sha != head)
}

fn commit_value(commit: &Commit, url: &str) -> Value {
    let person = |(name, mail): &(String, String)| {
        Value::object([("name", text(name)), ("email", text(mail)), ("username", text(name))])
    };
    Value::object([
        ("id", text(&commit.sha)),
        ("tree_id", text(&commit.tree)),
        ("distinct", Value::Bool(true)),
        ("message", text(&commit.message)),
        ("timestamp", text(&rfc3339(commit.time))),
        ("url", text(&format!("{url}/commit/{}", commit.sha))),
        ("author", person(&commit.author)),
        ("committer", person(&commit.committer)),
        ("added", Value::array(Vec::new())),
        ("removed", Value::array(Vec::new())),
        ("modified", Value::array(Vec::new())),
    ])
}

fn push_payload(out: &mut Object, event: &Event, actor: &str, url: &str) {
    let commit = commit_value(&event.head, url);
    let before = event.head.parent.clone().unwrap_or_else(|| NO_COMMIT.to_owned());
    out.insert("ref", text(&event.reference));
    out.insert("before", text(&before));
    out.insert("after", text(&event.head.sha));
    out.insert("base_ref", Value::Null);
    out.insert("created", Value::Bool(event.head.parent.is_none()));
    out.insert("deleted", Value::Bool(false));
    out.insert("forced", Value::Bool(false));
    out.insert("compare", text(&format!("{url}/compare/{before}...{}", event.head.sha)));
    out.insert("commits", Value::array(vec![commit.clone()]));
    out.insert("head_commit", commit);
    let (_, mail) = &event.head.committer;
    out.insert("pusher", Value::object([("name", text(actor)), ("email", text(mail))]));
}

/// `base_commit` is the tip of the base branch; without one, the parent stands for it.
fn pull_payload(
    out: &mut Object,
    event: &Event,
    actor: &str,
    (base, base_commit): (&str, Option<&str>),
    repository: &Value,
) {
    let head = short(&event.reference);
    // One number a branch: caches of pull requests go by it.
    let number = Value::Number((id_of(head) % 9_999.0).floor() + 1.0);
    let title = event.head.message.lines().next().unwrap_or_default();
    let side = |name: &str, sha: &str| {
        Value::object([
            ("ref", text(name)),
            ("sha", text(sha)),
            (
                "label",
                text(&format!("{}:{name}", event.repository.split('/').next().unwrap_or_default())),
            ),
            ("repo", repository.clone()),
        ])
    };
    let before = base_commit.or(event.head.parent.as_deref()).unwrap_or(NO_COMMIT);
    let pull = Value::object([
        ("number", number.clone()),
        ("state", text("open")),
        ("title", text(title)),
        ("body", Value::Null),
        ("draft", Value::Bool(false)),
        ("merged", Value::Bool(false)),
        ("user", Value::object([("login", text(actor))])),
        ("labels", Value::array(Vec::new())),
        ("head", side(head, &event.head.sha)),
        ("base", side(base, before)),
    ]);
    out.insert("action", text("synchronize"));
    out.insert("number", number);
    out.insert("pull_request", pull);
}
