//! What goes wrong between a machine and a store.

use thiserror::Error;

/// An object store did not do what was asked.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// An address that none of the stores has.
    #[error("'{uri}' is no address of an object store: s3://, minio:// or gs:// BUCKET/KEY")]
    Address {
        /// As it was given.
        uri: String,
    },
    /// The settings do not suffice.
    #[error("{bucket}: {why}")]
    Settings {
        /// `s3://bucket`
        bucket: String,
        /// What is missing.
        why: String,
    },
    /// The store refused, or could not be reached.
    #[error("{uri}: {}", said(source))]
    Store {
        /// What was asked for.
        uri: String,
        /// What it said.
        source: object_store::Error,
    },
    /// A file of this machine.
    #[error("{path}: {source}")]
    Local {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// More objects than one artifact may have.
    #[error("{uri}: more than {limit} objects are below it")]
    TooMany {
        /// The folder.
        uri: String,
        /// How many may be.
        limit: usize,
    },
    /// It was told to stop.
    #[error("it was stopped")]
    Stopped,
}

/// Code and message of an answer in XML, as S3 and Google give them.
fn answer(text: &str) -> Option<String> {
    let of = |tag: &str| {
        let from = text.split_once(&format!("<{tag}>"))?.1;
        Some(from.split_once("</")?.0.to_owned())
    };
    let code = of("Code")?;
    Some(match of("Message") {
        Some(message) => format!("{code}: {message}"),
        None => code,
    })
}

/// The innermost reasons, and what helps; the store's own words are many.
fn said(error: &object_store::Error) -> String {
    use object_store::Error as E;
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let unknown = text.contains("169.254.169.254") || text.contains("metadata.google");
    let text = answer(&text).unwrap_or(text);
    let text: String = text.chars().take(400).collect();
    match error {
        E::Unauthenticated { .. } | E::PermissionDenied { .. } => {
            format!("access is denied: are the keys those of this bucket? ({text})")
        }
        _ if text.contains("NoSuchBucket") => format!("there is no such bucket ({text})"),
        _ if unknown => format!(
            "there are no keys for it: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, ~/.aws/credentials, GOOGLE_APPLICATION_CREDENTIALS, or [pipeline.stores] in trainyard.toml give them, and anonymous = true there says that a bucket is public ({text})"
        ),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let check = |text: &str| answer(text).unwrap_or_else(|| "none".to_owned());
        assert_eq!(
            check("404: <Error><Code>NoSuchBucket</Code><Message>It is not.</Message></Error>"),
            "NoSuchBucket: It is not."
        );
        assert_eq!(check("<Code>Denied</Code>"), "Denied");
        assert_eq!(check("<html>"), "none");
    }
}
