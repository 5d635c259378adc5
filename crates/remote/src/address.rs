//! Addresses of objects.

use crate::error::RemoteError;

/// What kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `s3://`
    S3,
    /// `minio://`: S3 at an address of its own.
    Minio,
    /// `gs://`
    Google,
}

/// A bucket and what is in it. `?` begins settings of the bucket, as in the launcher's addresses; they
/// are no part of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The store.
    pub scheme: Scheme,
    /// The bucket.
    pub bucket: String,
    /// The key, without slashes at its ends.
    pub key: String,
}

impl Address {
    /// Reads one.
    ///
    /// # Errors
    /// [`RemoteError::Address`]
    pub fn parse(uri: &str) -> Result<Address, RemoteError> {
        let bad = || RemoteError::Address { uri: uri.chars().take(200).collect() };
        let (scheme, rest) = uri.split_once("://").ok_or_else(bad)?;
        let scheme = match scheme {
            "s3" => Scheme::S3,
            "minio" => Scheme::Minio,
            "gs" => Scheme::Google,
            _ => return Err(bad()),
        };
        let rest = rest.split('?').next().unwrap_or(rest);
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(bad());
        }
        let key = key.trim_matches('/').to_owned();
        Ok(Address { scheme, bucket: bucket.to_owned(), key })
    }

    /// `s3://bucket`
    pub fn bucket_uri(&self) -> String {
        let scheme = match self.scheme {
            Scheme::S3 => "s3",
            Scheme::Minio => "minio",
            Scheme::Google => "gs",
        };
        format!("{scheme}://{}", self.bucket)
    }

    /// The whole.
    pub fn uri(&self) -> String {
        format!("{}/{}", self.bucket_uri(), self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (uri, wanted) in [
            ("s3://b/a/c/", Some(("s3://b", "a/c"))),
            ("minio://b/a?region=x&endpoint=y/z", Some(("minio://b", "a"))),
            ("gs://b", Some(("gs://b", ""))),
            ("s3:///a", None),
            ("oci://b/a", None),
            ("/a/b", None),
        ] {
            let found = Address::parse(uri).ok().map(|a| (a.bucket_uri(), a.key));
            assert_eq!(found, wanted.map(|(b, k)| (b.to_owned(), k.to_owned())), "{uri}");
        }
    }
}
