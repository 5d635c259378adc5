//! `volumes:` and `-v`: what is mounted where (actions/runner `ContainerInfo.cs`, `MountVolume`).

use crate::error::{ContainerError, Result};

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// A folder of this machine, the name of a volume, or none for a volume without a name.
    pub source: Option<String>,
    /// Where it is in the container.
    pub target: String,
    /// `ro` and the like, as the engine takes them.
    pub mode: Vec<String>,
}

impl Volume {
    /// A folder of this machine.
    pub fn bind(source: &str, target: &str) -> Volume {
        Volume { source: Some(source.to_owned()), target: target.to_owned(), mode: Vec::new() }
    }

    /// As the engine's `Binds` has it; none for a volume without a name.
    pub(crate) fn as_bind(&self) -> Option<String> {
        let source = self.source.as_ref()?;
        let mode =
            if self.mode.is_empty() { String::new() } else { format!(":{}", self.mode.join(",")) };
        Some(format!("{source}:{}{mode}", self.target))
    }
}

/// Modes that mean something to both engines.
const MODES: &[&str] = &[
    "ro",
    "rw",
    "z",
    "Z",
    "cached",
    "delegated",
    "consistent",
    "nocopy",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "U",
];

/// Reads `SOURCE:TARGET[:MODE]`, `TARGET` or `TARGET:ro`.
///
/// # Errors
///
/// When the target is no absolute path or the mode is unknown.
pub fn parse(text: &str) -> Result<Volume> {
    let bad = |why: &str| {
        ContainerError::new(format!("the volume '{text}' {why}"))
            .hint("SOURCE:TARGET, SOURCE:TARGET:ro or TARGET; the target is an absolute path")
    };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [target, "ro"] => (None, *target, "ro"),
        [source, target] => (Some(*source), *target, ""),
        [source, target, mode] => (Some(*source), *target, *mode),
        _ => return Err(bad("has too many colons")),
    };
    if !target.starts_with('/') {
        return Err(bad("has no absolute target"));
    }
    if source.is_some_and(str::is_empty) {
        return Err(bad("has an empty source"));
    }
    let source = match source {
        Some(path) if path.starts_with('.') || path.starts_with('~') => {
            return Err(bad("has a source that is neither an absolute path nor a name"));
        }
        other => other.map(str::to_owned),
    };
    let mode: Vec<String> = mode.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
    if let Some(unknown) = mode.iter().find(|m| !MODES.contains(&m.as_str())) {
        return Err(bad(&format!("has the unknown mode '{unknown}'")));
    }
    Ok(Volume { source, target: target.to_owned(), mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        match parse(text) {
            Ok(v) => format!("{:?} {} {:?}", v.source, v.target, v.mode),
            Err(e) => e.message,
        }
    }

    #[test]
    fn volumes() {
        insta::assert_snapshot!(check("/data:/data:ro"), @r#"Some("/data") /data ["ro"]"#);
        insta::assert_snapshot!(check("models:/models"), @r#"Some("models") /models []"#);
        insta::assert_snapshot!(check("/scratch"), @"None /scratch []");
        insta::assert_snapshot!(check("/scratch:ro"), @r#"None /scratch ["ro"]"#);
        insta::assert_snapshot!(check("/a:/b:rw,z"), @r#"Some("/a") /b ["rw", "z"]"#);
        insta::assert_snapshot!(check("data:data"), @"the volume 'data:data' has no absolute target");
        insta::assert_snapshot!(check("./x:/x"), @"the volume './x:/x' has a source that is neither an absolute path nor a name");
        insta::assert_snapshot!(check("/a:/b:wr"), @"the volume '/a:/b:wr' has the unknown mode 'wr'");
        insta::assert_snapshot!(check("a:/b:c:d"), @"the volume 'a:/b:c:d' has too many colons");
        insta::assert_snapshot!(check(":/b"), @"the volume ':/b' has an empty source");
    }
}
