//! Where a run's files are: the folders of tasks while they run, the addresses of artifacts, and the
//! paths at which tasks find them (`launcher_v2.go`, `LocalPathForURI`).

use std::path::{Path, PathBuf};

use trainyard_pipeline::Artifact;

use super::mounts::Mount;

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
        // What stands behind it speaks of the bucket, not of what is in it.
        return root.split('?').next().unwrap_or(root).trim_end_matches('/').to_owned();
    }
    std::path::absolute(root).map_or_else(|_| root.to_owned(), |p| p.to_string_lossy().into_owned())
}

/// What is wrong with a root, if anything is.
pub fn refused_root(root: &str) -> Option<String> {
    let (scheme, _) = root.split_once("://").filter(|(scheme, _)| *scheme != "file")?;
    let known = trainyard_remote::Address::parse(root).is_ok();
    (!known).then(|| {
        let known = "a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, minio://BUCKET/PREFIX";
        format!("--root: nothing can be stored at '{scheme}://'; it is one of: {known}")
    })
}

/// Whether an address is of an object store.
pub fn is_remote(uri: &str) -> bool {
    MOUNTS.iter().any(|(scheme, _)| uri.starts_with(scheme))
}

/// Where a task finds what is at an address; none for one that has no place in a file system.
pub fn path_of_uri(uri: &str) -> Option<String> {
    for (scheme, mount) in MOUNTS {
        if let Some(rest) = uri.strip_prefix(scheme) {
            let rest = rest.split('?').next().unwrap_or(rest);
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

/// Where a run's tasks find what is in object stores: a folder of this machine that stands for `/s3`,
/// `/gcs` and `/minio`, so that what one task of the run made or fetched, the next one has.
#[derive(Debug, Clone)]
pub struct Mirror {
    root: PathBuf,
}

impl Mirror {
    /// That of a run.
    pub fn new(data: &Path, run: i64) -> Mirror {
        Mirror { root: runs_folder(data).join("work").join(format!("{run}-remote")) }
    }

    /// The place on this machine of a path that a task finds below `/s3` and the like.
    pub fn here(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Where an artifact is on this machine; none for one that has no place in a file system.
    pub fn of(&self, artifact: &Artifact) -> Option<PathBuf> {
        let path = path_of(artifact)?;
        let mirrored = artifact.custom_path.is_empty() && is_remote(&artifact.uri);
        Some(if mirrored { self.here(&path) } else { PathBuf::from(path) })
    }

    /// The address in a store of a place in this folder; none for other places.
    pub fn uri_of(&self, place: &str) -> Option<String> {
        let path = Path::new(place).strip_prefix(&self.root).ok()?.to_str()?;
        MOUNTS.iter().find_map(|(scheme, mount)| {
            let rest = path.strip_prefix(mount.trim_start_matches('/'))?;
            Some(format!("{scheme}{rest}"))
        })
    }

    /// Makes the folders, and says where tasks find them.
    pub fn mounts(&self) -> std::io::Result<Vec<Mount>> {
        let mounts = MOUNTS.iter().map(|(_, mount)| {
            let source = self.here(mount);
            std::fs::create_dir_all(&source)?;
            Ok(Mount { source, target: PathBuf::from(mount.trim_end_matches('/')) })
        });
        mounts.collect()
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
        assert_eq!(refused_root("gs://b"), None);
        assert_eq!(refused_root("file:///b"), None);
        assert_eq!(refused_root("a/b"), None);
        assert!(refused_root("oci://b").is_some() && refused_root("s3:///b").is_some());
        assert_eq!(clean_root("s3://b/p/?region=x"), "s3://b/p");
        let mirror = Mirror::new(Path::new("/d"), 3);
        let at = |uri: &str, custom: &str| {
            let artifact =
                Artifact { uri: uri.into(), custom_path: custom.into(), ..Artifact::default() };
            mirror.of(&artifact).map_or_else(String::new, |p| p.display().to_string())
        };
        insta::assert_snapshot!(at("s3://b/k", ""), @"/d/pipelines/work/3-remote/s3/b/k");
        insta::assert_snapshot!(at("s3://b/k", "/c"), @"/c");
        insta::assert_snapshot!(at("/x/k", ""), @"/x/k");
        let back = mirror.uri_of("/d/pipelines/work/3-remote/gcs/b/k/l");
        assert_eq!(back.as_deref(), Some("gs://b/k/l"));
        assert_eq!(mirror.uri_of("/gcs/b/k"), None);
        assert_eq!(clean_root("file:///x/"), "/x");
    }
}
