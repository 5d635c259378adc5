//! Identity tokens (OIDC), for jobs with `id-token: write`. The key is made once and kept, so that
//! who trusts it goes on trusting it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::PrivateKey;
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rsa::signature::{SignatureEncoding, Signer};
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Shared;
use crate::access::{Grant, seconds};
use crate::fault::Fault;

/// Bits of the key.
const BITS: usize = 2048;
/// Seconds that a token is good for, as GitHub's are.
const LIFETIME: u64 = 300;

pub(crate) struct Issuer {
    path: PathBuf,
    url: String,
    /// Made when it is first asked for: that costs a second.
    key: OnceLock<Result<Arc<PrivateKey>, String>>,
}

impl Issuer {
    pub(crate) fn new(path: PathBuf, url: String) -> Issuer {
        Issuer { path, url, key: OnceLock::new() }
    }

    fn key(&self) -> Result<Arc<PrivateKey>, Fault> {
        let key = self.key.get_or_init(|| self.load().map(Arc::new));
        key.clone().map_err(|e| Fault::bad(format!("the key that signs identity tokens: {e}")))
    }

    fn load(&self) -> Result<PrivateKey, String> {
        if let Ok(text) = std::fs::read_to_string(&self.path) {
            return PrivateKey::from_pkcs8_pem(&text).map_err(|e| e.to_string());
        }
        let key = PrivateKey::new(&mut Random, BITS).map_err(|e| e.to_string())?;
        let text = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| e.to_string())?;
        self.keep(&text).map_err(|e| e.to_string())?;
        // Another process may have been first, and its key is the one then.
        let kept = std::fs::read_to_string(&self.path).map_err(|e| e.to_string())?;
        PrivateKey::from_pkcs8_pem(&kept).map_err(|e| e.to_string())
    }

    /// Writes the key for this user alone, whole or not at all.
    fn keep(&self, text: &str) -> std::io::Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let fresh = self.path.with_extension(format!("{}.new", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match std::fs::hard_link(&fresh, &self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => std::fs::remove_file(&fresh),
        }
    }

    fn sign(&self, grant: &Grant, audience: &str) -> Result<String, Fault> {
        let key = self.key()?;
        let now = seconds();
        let mut claims = grant.claims.clone();
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| Fault::bad(e.to_string()))?;
        for (name, value) in [
            ("iss", json!(self.url)),
            ("aud", json!(audience)),
            ("jti", json!(id.iter().map(|b| format!("{b:02x}")).collect::<String>())),
            ("iat", json!(now)),
            ("nbf", json!(now.saturating_sub(60))),
            ("exp", json!(now + LIFETIME)),
        ] {
            claims.insert(name.to_owned(), value);
        }
        let encode = |v: &Value| URL_SAFE_NO_PAD.encode(v.to_string());
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": key_id(&key)});
        let text = format!("{}.{}", encode(&header), encode(&Value::Object(claims)));
        let signature = SigningKey::<Sha256>::new((*key).clone()).sign(text.as_bytes());
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes())))
    }
}

/// The system's source of random bytes, as the key's maker takes one.
struct Random;

impl rsa::rand_core::TryRng for Random {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        // A key out of anything but random bytes would be worse than no process.
        if getrandom::fill(out).is_err() {
            std::process::abort();
        }
        Ok(())
    }
}

impl rsa::rand_core::TryCryptoRng for Random {}

fn key_id(key: &PrivateKey) -> String {
    let digest = Sha256::digest(key.n_bytes());
    digest.iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// A token for a job: `GET token?api-version=2.0&audience=A`.
pub(crate) async fn token(
    State(inner): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let grant = inner.access.require(&headers)?;
    if !grant.id_token {
        return Err(Fault::forbidden("the job lacks the permission `id-token: write`"));
    }
    let owner = grant.repository.split('/').next().unwrap_or_default().to_owned();
    let audience = query.get("audience").filter(|a| !a.is_empty()).cloned();
    let audience = audience.unwrap_or_else(|| format!("https://github.com/{owner}"));
    if audience.len() > 2048 {
        return Err(Fault::bad("an audience has at most 2048 characters"));
    }
    let signed = tokio::task::spawn_blocking(move || inner.issuer.sign(&grant, &audience)).await?;
    let token = signed?;
    let count = token.len();
    Ok(Json(json!({"value": token, "count": count})))
}

/// Where the keys are.
pub(crate) async fn discovery(State(inner): State<Shared>) -> Json<Value> {
    let url = &inner.issuer.url;
    Json(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks"),
        "subject_types_supported": ["public", "pairwise"],
        "response_types_supported": ["id_token"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid"],
        "claims_supported": ["sub", "aud", "exp", "iat", "iss", "jti", "nbf", "ref", "repository",
            "run_id", "sha", "actor", "workflow", "job_workflow_ref", "environment"],
    }))
}

/// The key, for those who verify.
pub(crate) async fn keys(State(inner): State<Shared>) -> Result<Json<Value>, Fault> {
    let key = tokio::task::spawn_blocking(move || inner.issuer.key()).await??;
    let number = |bytes: &[u8]| {
        let first = bytes.iter().position(|b| *b != 0).unwrap_or(0);
        URL_SAFE_NO_PAD.encode(&bytes[first..])
    };
    Ok(Json(json!({"keys": [{
        "kty": "RSA", "alg": "RS256", "use": "sig", "kid": key_id(&key),
        "n": number(&key.n_bytes()), "e": number(&key.e_bytes()),
    }]})))
}
