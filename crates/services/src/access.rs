//! Who may do what: tokens of jobs, and addresses that are signed for one purpose.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::fault::Fault;

/// What a job may do.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// The run.
    pub run: i64,
    /// The job.
    pub node: i64,
    /// Which lease of it.
    pub epoch: u32,
    /// `owner/name`
    pub repository: String,
    /// Refs whose cache entries it may read, its own first.
    pub scopes: Vec<String>,
    /// Whether it may ask for identity tokens.
    pub id_token: bool,
    /// What its token may do on the API: names and levels; none for everything.
    pub permissions: Option<BTreeMap<String, String>>,
    /// The claims of those.
    pub claims: Map<String, Value>,
    /// Until when, seconds since the epoch.
    pub expires: u64,
}

/// What a job's processes are told.
#[derive(Debug, Clone)]
pub struct JobAccess {
    /// `github.token`
    pub token: String,
    /// Variables of actions.
    pub action_env: Vec<(String, String)>,
    /// Variables of all steps.
    pub step_env: Vec<(String, String)>,
    /// All that must not be shown.
    pub secrets: Vec<String>,
    /// `http://127.0.0.1:PORT`
    pub base: String,
}

/// The time that a signed address is good for.
const SIGNED_SECONDS: u64 = 60 * 60;

pub(crate) struct Access {
    key: [u8; 32],
    grants: Mutex<BTreeMap<String, Arc<Grant>>>,
}

pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|e| io::Error::other(e.to_string()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The names of a run and a job in the results service.
pub(crate) fn backend_ids(grant: &Grant) -> (String, String) {
    (format!("run-{}", grant.run), format!("job-{}-{}", grant.node, grant.epoch))
}

impl Access {
    pub(crate) fn new() -> io::Result<Access> {
        let mut key = [0; 32];
        random(&mut key)?;
        Ok(Access { key, grants: Mutex::default() })
    }

    fn grants(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Grant>>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mac(&self, text: &str) -> Vec<u8> {
        // A key of 32 bytes is never refused.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return Vec::new() };
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    /// Compares in constant time.
    fn holds(&self, text: &str, signature: &[u8]) -> bool {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return false };
        mac.update(text.as_bytes());
        mac.verify_slice(signature).is_ok()
    }

    pub(crate) fn grant(&self, grant: Grant, base: &str) -> io::Result<JobAccess> {
        let mut bytes = [0; 24];
        random(&mut bytes)?;
        let token = format!("ghs_{}", hex(&bytes));
        random(&mut bytes)?;
        let id_token = hex(&bytes);
        let (run, job) = backend_ids(&grant);
        // The artifact client reads `scp` from it, without verifying (`util.ts`).
        let claims = json!({
            "scp": format!("Actions.Results:{run}:{job}"),
            "iss": "trainyard", "nbf": seconds(), "iat": seconds(), "exp": grant.expires,
            "orchid": job, "jti": hex(&bytes),
        });
        let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let head =
            format!("{}.{}", encode(&json!({"typ": "JWT", "alg": "HS256"})), encode(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.mac(&head));
        let runtime = format!("{head}.{signature}");
        let mut action_env = vec![
            ("ACTIONS_RUNTIME_URL".to_owned(), format!("{base}/")),
            ("ACTIONS_RUNTIME_TOKEN".to_owned(), runtime.clone()),
            ("ACTIONS_RESULTS_URL".to_owned(), format!("{base}/")),
            ("ACTIONS_CACHE_URL".to_owned(), format!("{base}/")),
            ("ACTIONS_CACHE_SERVICE_V2".to_owned(), "True".to_owned()),
        ];
        action_env.push(("ACTIONS_ORCHESTRATION_ID".to_owned(), format!("{run}.{job}")));
        let mut step_env = Vec::new();
        // The signature of the runtime token alone opens nothing, but a step may print it by itself.
        let mut secrets = vec![token.clone(), runtime.clone(), signature];
        let mut grants = self.grants();
        if grant.id_token {
            // The client puts `&audience=` behind it, so there must be a `?` already.
            let url = format!("{base}/oidc/token?api-version=2.0");
            step_env.push(("ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(), url));
            step_env.push(("ACTIONS_ID_TOKEN_REQUEST_TOKEN".to_owned(), id_token.clone()));
            secrets.push(id_token.clone());
        }
        let grant = Arc::new(grant);
        if grant.id_token {
            grants.insert(id_token, Arc::clone(&grant));
        }
        grants.insert(token.clone(), Arc::clone(&grant));
        grants.insert(runtime, grant);
        Ok(JobAccess { token, action_env, step_env, secrets, base: base.to_owned() })
    }

    pub(crate) fn revoke(&self, run: i64, node: i64) {
        self.grants().retain(|_, g| (g.run, g.node) != (run, node));
    }

    fn of_token(&self, token: &str) -> Option<Arc<Grant>> {
        let found = self.grants().get(token).cloned();
        found.filter(|g| g.expires > seconds())
    }

    /// The job whose token a request carries: `Bearer`, `token`, or the password of `basic`.
    pub(crate) fn of_headers(&self, headers: &HeaderMap) -> Option<Arc<Grant>> {
        let value = headers.get("authorization")?.to_str().ok()?;
        let (kind, rest) = value.split_once(' ')?;
        match kind.to_ascii_lowercase().as_str() {
            "bearer" | "token" => self.of_token(rest.trim()),
            "basic" => {
                let bytes = STANDARD.decode(rest.trim()).ok()?;
                let text = String::from_utf8(bytes).ok()?;
                self.of_token(text.split_once(':')?.1)
            }
            _ => None,
        }
    }

    pub(crate) fn require(&self, headers: &HeaderMap) -> Result<Arc<Grant>, Fault> {
        self.of_headers(headers).ok_or_else(Fault::unauthorized)
    }

    /// An address that opens one thing for a while, for the job that got it. Hexadecimal: the
    /// newest Azure client loses padding at the end of a value.
    pub(crate) fn sign(&self, grant: &Grant, purpose: &str, path: &str) -> String {
        let expires = seconds() + SIGNED_SECONDS;
        let job = format!("{}.{}.{}", grant.run, grant.node, grant.epoch);
        let signature = hex(&self.mac(&format!("{purpose}\n{path}\n{expires}\n{job}")));
        format!("{path}?se={expires}&job={job}&sig={signature}")
    }

    /// Whether a signed address opens this for a job that still runs; whose it is.
    pub(crate) fn signed(
        &self,
        purpose: &str,
        path: &str,
        query: &BTreeMap<String, String>,
    ) -> Result<Arc<Grant>, Fault> {
        let refused =
            || Fault::forbidden("this address is not signed for that, or its time is over");
        let part = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let (expires, job) = (part("se"), part("job"));
        let given = part("sig");
        let signature: Option<Vec<u8>> = (given.len() == 64 && given.is_ascii())
            .then(|| {
                (0..given.len())
                    .step_by(2)
                    .map(|i| u8::from_str_radix(&given[i..i + 2], 16).ok())
                    .collect()
            })
            .flatten();
        let signature = signature.ok_or_else(refused)?;
        if !self.holds(&format!("{purpose}\n{path}\n{expires}\n{job}"), &signature) {
            return Err(refused());
        }
        if expires.parse::<u64>().map_or(true, |e| e <= seconds()) {
            return Err(refused());
        }
        let same = |g: &&Arc<Grant>| format!("{}.{}.{}", g.run, g.node, g.epoch) == job;
        let grants = self.grants();
        grants.values().find(same).cloned().ok_or_else(refused)
    }
}
