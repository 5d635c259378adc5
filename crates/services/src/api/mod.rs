//! The forge's REST API, answered from the repository and the run. What is written (comments,
//! checks, labels, releases) is kept for the run and shown in it; nothing leaves the machine.

mod issues;
mod pulls;
mod releases;
mod repository;
mod runs;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use serde_json::{Value, json};

use crate::access::Grant;
use crate::fault::Fault;
use crate::{Inner, Remark, RepositoryFacts, Shared};

/// Rows of one page.
const MAX_PAGE: usize = 100;
/// Things of one kind that a run may write.
const MAX_WRITTEN: usize = 10_000;

/// What jobs have written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    next: i64,
    /// By issue or pull request.
    comments: Vec<(i64, Value)>,
    labels: BTreeMap<i64, Vec<String>>,
    checks: Vec<Value>,
    releases: Vec<Value>,
    /// By release; the id is that of the artifact that holds the bytes.
    assets: Vec<(i64, Value)>,
}

pub(crate) struct Forge {
    pub(crate) repository: RepositoryFacts,
    written: Mutex<Written>,
}

impl Forge {
    pub(crate) fn new(repository: RepositoryFacts) -> Forge {
        Forge { repository, written: Mutex::default() }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn id(&mut self) -> Result<i64, Fault> {
        if usize::try_from(self.next).is_ok_and(|n| n >= MAX_WRITTEN) {
            return Err(Fault::bad("the run has written too much"));
        }
        self.next += 1;
        Ok(self.next)
    }
}

/// The routes, under the address that `GITHUB_API_URL` names.
pub(crate) fn routes() -> Router<Shared> {
    let repo = "/api/repos/{owner}/{name}";
    let at = |path: &str| format!("{repo}{path}");
    Router::new()
        .route("/api/user", get(repository::user))
        .route("/api/rate_limit", get(repository::rate_limit))
        .route(repo, get(repository::repository))
        .route(&at("/tarball/{*reference}"), get(repository::tarball))
        .route(&at("/commits/{*reference}"), get(repository::commit))
        .route(&at("/branches/{*branch}"), get(repository::branch))
        .route(&at("/git/ref/{*reference}"), get(repository::git_ref))
        .route(&at("/contents/{*path}"), get(repository::contents))
        .route(&at("/compare/{basehead}"), get(pulls::compare))
        .route(&at("/pulls"), get(pulls::list))
        .route(&at("/pulls/{number}"), get(pulls::one))
        .route(&at("/pulls/{number}/files"), get(pulls::files))
        .route(&at("/issues/{number}"), get(issues::issue))
        .route(&at("/issues/{number}/comments"), get(issues::comments).post(issues::comment))
        .route(
            &at("/issues/comments/{id}"),
            get(issues::one_comment).patch(issues::edit).delete(issues::remove),
        )
        .route(&at("/issues/comments/{id}/reactions"), post(issues::reaction))
        .route(&at("/issues/{number}/reactions"), post(issues::reaction))
        .route(
            &at("/issues/{number}/labels"),
            get(issues::labels).post(issues::add_labels).put(issues::set_labels),
        )
        .route(&at("/issues/{number}/labels/{label}"), delete(issues::remove_label))
        .route(&at("/check-runs"), post(runs::check))
        .route(&at("/check-runs/{id}"), patch(runs::edit_check).get(runs::one_check))
        .route(&at("/statuses/{sha}"), post(runs::status))
        .route(&at("/actions/runs/{run}"), get(runs::run))
        .route(&at("/actions/runs/{run}/artifacts"), get(runs::artifacts))
        .route(&at("/actions/artifacts"), get(runs::all_artifacts))
        .route(&at("/actions/artifacts/{id}"), get(runs::artifact))
        .route(&at("/actions/artifacts/{id}/zip"), get(runs::zip))
        .route(&at("/releases"), get(releases::list).post(releases::create))
        .route(&at("/releases/latest"), get(releases::latest))
        .route(&at("/releases/tags/{*tag}"), get(releases::by_tag))
        .route(
            &at("/releases/{id}"),
            get(releases::one).patch(releases::edit).delete(releases::remove),
        )
        .route(&at("/releases/{id}/assets"), get(releases::assets).post(releases::upload))
        .route(&at("/releases/assets/{id}"), get(releases::asset).delete(releases::remove_asset))
        .route(&at("/releases/{id}/assets/{asset}"), put(releases::upload))
}

/// The job behind a request, if the repository is the one under test.
fn enter(inner: &Inner, headers: &HeaderMap, owner: &str, name: &str) -> Result<Arc<Grant>, Fault> {
    let grant = inner.access.require(headers)?;
    let slug = format!("{owner}/{name}");
    if slug.eq_ignore_ascii_case(&inner.forge.repository.slug) {
        return Ok(grant);
    }
    let text = format!(
        "the API was asked for {slug}: only {} is answered here, the call got 404",
        inner.forge.repository.slug
    );
    (inner.sink)(Remark { run: grant.run, node: grant.node, kind: "warning", text });
    Err(Fault::missing("Not Found: only the repository under test is answered for"))
}

/// The same for a route that wants a permission: one of these at that level.
fn allowed(
    inner: &Inner,
    headers: &HeaderMap,
    (owner, name): (&str, &str),
    wanted: &[&str],
    write: bool,
) -> Result<Arc<Grant>, Fault> {
    let grant = enter(inner, headers, owner, name)?;
    let Some(permissions) = &grant.permissions else { return Ok(grant) };
    let enough = |name: &&str| match permissions.get(*name).map(String::as_str) {
        Some("write") => true,
        Some("read") => !write,
        _ => false,
    };
    if wanted.iter().any(enough) {
        return Ok(grant);
    }
    let level = if write { "write" } else { "read" };
    let text = format!(
        "the call got 403: the job's `permissions` lack `{}: {level}`",
        wanted.join(&format!(": {level}` or `"))
    );
    say(inner, &grant, "warning", text);
    Err(Fault::forbidden("Resource not accessible by integration"))
}

fn say(inner: &Inner, grant: &Grant, kind: &'static str, text: String) {
    (inner.sink)(Remark { run: grant.run, node: grant.node, kind, text });
}

/// git in the repository under test.
async fn git(inner: &Inner, args: &[&str]) -> Result<Vec<u8>, Fault> {
    let output = tokio::process::Command::new("git")
        .arg("--git-dir")
        .arg(&inner.forge.repository.git_dir)
        .args(["-c", "safe.directory=*"])
        .args(args)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(Fault::missing("Not Found")),
    }
}

/// The commit of a ref as people write it in addresses.
async fn commit_of(inner: &Inner, reference: &str) -> Result<String, Fault> {
    if reference.starts_with('-') {
        return Err(Fault::missing("Not Found"));
    }
    for name in [reference.to_owned(), format!("origin/{reference}"), format!("refs/{reference}")] {
        let wanted = format!("{name}^{{commit}}");
        if let Ok(out) =
            git(inner, &["rev-parse", "--verify", "-q", "--end-of-options", &wanted]).await
        {
            return Ok(String::from_utf8_lossy(&out).trim().to_owned());
        }
    }
    Err(Fault::missing(format!("No commit found for SHA: {reference}")))
}

/// A page of rows, with the links to the others.
fn page(inner: &Inner, path: &str, query: &BTreeMap<String, String>, rows: &[Value]) -> Response {
    let (rows, link) = paged(inner, path, query, rows);
    let mut response = axum::Json(Value::from(rows)).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

fn paged(
    inner: &Inner,
    path: &str,
    query: &BTreeMap<String, String>,
    rows: &[Value],
) -> (Vec<Value>, Option<HeaderValue>) {
    let number = |name: &str| query.get(name).and_then(|v| v.parse::<usize>().ok());
    let size = number("per_page").unwrap_or(30).clamp(1, MAX_PAGE);
    let page = number("page").unwrap_or(1).max(1);
    let from = (page - 1).saturating_mul(size).min(rows.len());
    let to = from.saturating_add(size).min(rows.len());
    let pages = rows.len().div_ceil(size).max(1);
    let address = |page: usize| format!("<{}{path}?per_page={size}&page={page}>", inner.base());
    let mut links = Vec::new();
    if page < pages {
        links.push(format!("{}; rel=\"next\"", address(page + 1)));
        links.push(format!("{}; rel=\"last\"", address(pages)));
    }
    if page > 1 {
        links.push(format!("{}; rel=\"prev\"", address(page - 1)));
        links.push(format!("{}; rel=\"first\"", address(1)));
    }
    let link = (!links.is_empty()).then(|| HeaderValue::from_str(&links.join(", ")).ok()).flatten();
    (rows[from..to].to_vec(), link)
}

/// The one who acts for a job.
fn bot() -> Value {
    json!({"login": "github-actions[bot]", "id": 41_898_282, "type": "Bot"})
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
