//! Where a run's files are: the folders of tasks while they run, the addresses of artifacts, and the
//! paths at which tasks find them (`launcher_v2.go`, `LocalPathForURI`).

use std::path::{Path, PathBuf};

use trainyard_pipeline::Artifact;

/// Schemes of object stores, and where tasks find their files.
const MOUNTS: &[(&str, &str)] =
    &[("gs://", "/gcs/"), ("s3://", "/s3/"), ("minio://", "/minio/"), ("oci://", "/oci/")];

/// The folder in which runs have theirs.
pub fn runs_folder(data: &Path) -> PathBuf {
    data.join("pipelines")
}

/// The root under which artifacts get their addresses when nobody names one.
pub fn default_root(data: &Path) -> String {
    runs_folder(data).join("artifacts").to_string_lossy().into_owned()
}

/// A root as it is used: without a slash at its end; a relative folder is made absolute.
pub fn clean_root(root: &str) -> String {
    let root = root.trim_end_matches('/');
    let root = root.strip_prefix("file://").unwrap_or(root);
    if is_remote(root) {
        return root.to_owned();
    }
    std::path::absolute(root).map_or_else(|_| root.to_owned(), |p| p.to_string_lossy().into_owned())
}

/// Whether an address is of an object store.
pub fn is_remote(uri: &str) -> bool {
    MOUNTS.iter().any(|(scheme, _)| uri.starts_with(scheme))
}

/// Where a task finds what is at an address; none for one that has no place in a file system.
pub fn path_of_uri(uri: &str) -> Option<String> {
    for (scheme, mount) in MOUNTS {
        if let Some(rest) = uri.strip_prefix(scheme) {
            let rest = rest.split(['?', '#']).next().unwrap_or(rest);
            return Some(format!("{mount}{rest}"));
        }
    }
    let path = uri.strip_prefix("file://").unwrap_or(uri);
    path.starts_with('/').then(|| path.to_owned())
}

/// Where a task finds an artifact.
pub fn path_of(artifact: &Artifact) -> Option<String> {
    match artifact.custom_path.is_empty() {
        true => path_of_uri(&artifact.uri),
        false => Some(artifact.custom_path.clone()),
    }
}

/// A task's folder while it runs.
#[derive(Debug, Clone)]
pub struct TaskFolder {
    /// The folder.
    pub root: PathBuf,
}

impl TaskFolder {
    /// That of an attempt.
    pub fn new(data: &Path, run: i64, node: u32, attempt: u32) -> TaskFolder {
        let name = format!("{run}-{node}-{attempt}");
        TaskFolder { root: runs_folder(data).join("work").join(name) }
    }

    /// Files of output parameters.
    pub fn outputs(&self) -> PathBuf {
        self.root.join("outputs")
    }

    /// `TMPDIR`
    pub fn temp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Makes it, empty.
    pub fn create(&self) -> std::io::Result<()> {
        self.remove();
        std::fs::create_dir_all(self.outputs())?;
        std::fs::create_dir_all(self.temp())
    }

    /// Removes it, whatever rights the task took away in it.
    pub fn remove(&self) {
        crate::host::workspace::remove(&self.root);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let check = |uri: &str| path_of_uri(uri).unwrap_or_else(|| "none".into());
        insta::assert_snapshot!(check("s3://bucket/a/b?region=x"), @"/s3/bucket/a/b");
        insta::assert_snapshot!(check("gs://bucket/a"), @"/gcs/bucket/a");
        insta::assert_snapshot!(check("/data/x"), @"/data/x");
        insta::assert_snapshot!(check("file:///data/x"), @"/data/x");
        insta::assert_snapshot!(check("https://x/y"), @"none");
        assert_eq!(clean_root("s3://b/p/"), "s3://b/p");
        assert_eq!(clean_root("file:///x/"), "/x");
    }
}
