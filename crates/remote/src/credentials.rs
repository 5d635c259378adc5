//! How a bucket is reached: what the caller says, then `AWS_*`, then `~/.aws`, then what the machine's
//! cloud gives it. Keys of SSO are not among them: `aws configure export-credentials --format env` is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use crate::address::{Address, Scheme};
use crate::error::RemoteError;

/// How a bucket is reached, as far as the caller says it; empty means: as the environment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `http://host:port` of what speaks S3; Google's own address for `gs://`.
    pub endpoint: String,
    /// The region.
    pub region: String,
    /// The name of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// The token of a session.
    pub token: String,
    /// Whether nothing is signed: public buckets.
    pub anonymous: bool,
}

/// Opens a bucket. Nothing is asked of it yet.
pub(crate) fn open(
    address: &Address,
    access: &Access,
) -> Result<Arc<dyn ObjectStore>, RemoteError> {
    let failed = |source| RemoteError::Store { uri: address.bucket_uri(), source };
    let retry = RetryConfig {
        max_retries: 4,
        retry_timeout: Duration::from_secs(60),
        ..RetryConfig::default()
    };
    // A whole object may take hours; that nothing comes for a minute is another thing.
    let client = ClientOptions::new()
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(10))
        .with_read_timeout(Duration::from_secs(60));
    if address.scheme == Scheme::Google {
        let mut builder = GoogleCloudStorageBuilder::from_env()
            .with_bucket_name(&address.bucket)
            .with_retry(retry)
            .with_skip_signature(access.anonymous);
        let mut client = client;
        if !access.endpoint.is_empty() {
            client = client.with_allow_http(access.endpoint.starts_with("http://"));
            builder = builder.with_base_url(&access.endpoint);
        }
        let store = builder.with_client_options(client).build().map_err(failed)?;
        return Ok(Arc::new(store));
    }
    let variable =
        |names: &[&str]| names.iter().find_map(|n| std::env::var(n).ok().filter(|v| !v.is_empty()));
    let profile = Profile::read();
    let chosen = |given: &str, names: &[&str], key: &str| {
        let given = Some(given.to_owned()).filter(|g| !g.is_empty());
        given.or_else(|| variable(names)).or_else(|| profile.get(key))
    };
    let endpoint = chosen(
        &access.endpoint,
        &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"],
        "endpoint_url",
    );
    if address.scheme == Scheme::Minio && endpoint.is_none() {
        return Err(RemoteError::Settings {
            bucket: address.bucket_uri(),
            why: format!(
                "where is it? [pipeline.stores.\"{}\"] in trainyard.toml with endpoint = \"http://HOST:PORT\" says it, or AWS_ENDPOINT_URL",
                address.bucket_uri()
            ),
        });
    }
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(&address.bucket);
    builder = builder.with_retry(retry).with_skip_signature(access.anonymous);
    let region = chosen(&access.region, &["AWS_REGION", "AWS_DEFAULT_REGION"], "region");
    builder = builder.with_region(region.unwrap_or_else(|| "us-east-1".to_owned()));
    let mut client = client;
    if let Some(endpoint) = endpoint {
        client = client.with_allow_http(endpoint.starts_with("http://"));
        // What speaks S3 elsewhere seldom has a name for each bucket.
        builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
    }
    // Keys that are the caller's, or the profile's, come whole: not one half from the environment.
    let own = !access.access_key.is_empty();
    let (key, secret, token) = match (own, variable(&["AWS_ACCESS_KEY_ID"])) {
        (true, _) => (
            Some(access.access_key.clone()),
            Some(access.secret_key.clone()),
            Some(access.token.clone()).filter(|t| !t.is_empty()),
        ),
        (false, Some(_)) => (None, None, None),
        (false, None) => (
            profile.get("aws_access_key_id"),
            profile.get("aws_secret_access_key"),
            profile.get("aws_session_token"),
        ),
    };
    if let (Some(key), Some(secret)) = (key, secret) {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret);
        builder = match token {
            Some(token) => builder.with_token(token),
            None => builder,
        };
    }
    let store = builder.with_client_options(client).build().map_err(failed)?;
    Ok(Arc::new(store))
}

/// What `~/.aws/credentials` and `~/.aws/config` say for the profile that counts.
#[derive(Debug, Default)]
struct Profile(BTreeMap<String, String>);

impl Profile {
    fn read() -> Profile {
        let name = std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".into());
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let text = |variable: &str, file: &str| {
            let path = std::env::var_os(variable)
                .map_or_else(|| home.join(".aws").join(file), PathBuf::from);
            std::fs::read_to_string(path).unwrap_or_default()
        };
        let mut found =
            section(&text("AWS_CONFIG_FILE", "config"), &[&format!("profile {name}"), &name]);
        found.extend(section(&text("AWS_SHARED_CREDENTIALS_FILE", "credentials"), &[&name]));
        Profile(found)
    }

    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key).filter(|v| !v.is_empty()).cloned()
    }
}

/// The settings of a section of an INI file, by any of its names.
fn section(text: &str, names: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = names.contains(&name.trim());
        } else if let (true, Some((key, value))) = (inside, line.split_once('=')) {
            let (key, value) = (key.trim(), value.trim());
            if !key.starts_with(['#', ';']) {
                found.insert(key.to_owned(), value.to_owned());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles() {
        let text = "[default]\naws_access_key_id = a\n# region = x\n[profile work]\nregion=eu-1 \naws_access_key_id=b=c\n";
        let check =
            |name: &str| format!("{:?}", section(text, &[&format!("profile {name}"), name]));
        assert_eq!(check("default"), r#"{"aws_access_key_id": "a"}"#);
        assert_eq!(check("work"), r#"{"aws_access_key_id": "b=c", "region": "eu-1"}"#);
        assert_eq!(check("none"), "{}");
    }
}
