//! What is in the container of a job: its user, its shell, its C library, its Node.

use std::path::{Path, PathBuf};

use trainyard_executor_container::{Engine, Running};

use super::EXTERNALS;

/// What was seen in a container.
#[derive(Debug, Clone, Default)]
pub(super) struct Inner {
    /// Its id.
    pub(super) id: String,
    /// Its first process on this machine.
    pub(super) pid: Option<i32>,
    /// The `PATH` of its image.
    pub(super) path: String,
    /// Its user.
    pub(super) uid: u32,
    /// Its group.
    pub(super) gid: u32,
    /// Whether it has bash.
    pub(super) has_bash: bool,
    /// The C library of its programs.
    libc: Libc,
    /// Its own Node: path and major version.
    node: Option<(String, u32)>,
    /// Its image.
    pub(super) image: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Libc {
    Glibc,
    Musl,
    #[default]
    None,
}

/// One look, one process: what does not concern the job is not asked for.
const LOOK: &str = r#"
echo "uid=$(id -u 2>/dev/null)"
echo "gid=$(id -g 2>/dev/null)"
echo "bash=$(command -v bash 2>/dev/null)"
for f in /lib/ld-musl-*; do [ -e "$f" ] && echo "libc=musl"; done
for f in /lib64/ld-linux-* /lib/ld-linux-* /lib/*-linux-gnu/ld-linux-*; do [ -e "$f" ] && echo "libc=glibc"; done
n=$(command -v node 2>/dev/null) && echo "node=$n $(node --version 2>/dev/null)"
true
"#;

impl Inner {
    pub(super) fn look(engine: &Engine, running: &Running) -> Inner {
        let seen = engine.ask(&running.id, &["sh", "-c", LOOK], None);
        let text = seen.map(|(_, text)| text).unwrap_or_default();
        Inner {
            id: running.id.clone(),
            pid: running.pid,
            path: running.path.clone(),
            image: running.image.clone(),
            ..Inner::parse(&text)
        }
    }

    fn parse(text: &str) -> Inner {
        let mut inner = Inner::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            match key {
                "uid" => inner.uid = value.trim().parse().unwrap_or(0),
                "gid" => inner.gid = value.trim().parse().unwrap_or(0),
                "bash" => inner.has_bash = !value.trim().is_empty(),
                "libc" if value == "musl" => inner.libc = Libc::Musl,
                "libc" if inner.libc == Libc::None => inner.libc = Libc::Glibc,
                "node" => {
                    let (path, version) = value.rsplit_once(' ').unwrap_or((value, ""));
                    let major = version.trim_start_matches('v').split('.').next();
                    inner.node = major.and_then(|m| m.parse().ok()).map(|m| (path.to_owned(), m));
                }
                _ => {}
            }
        }
        inner
    }

    /// The Node for `node20` and its kin, as the container sees it.
    pub(super) fn node(
        &self,
        using: &str,
        host: impl FnOnce() -> Result<PathBuf, String>,
        externals: &Path,
    ) -> Result<String, String> {
        let wanted = if using == "node24" { 24 } else { 20 };
        if self.libc == Libc::Glibc {
            let program = host()?;
            // Laid once: its folder is mounted already.
            let name = format!("node{wanted}");
            let target = externals.join(&name);
            if !target.exists() {
                let said =
                    |e: std::io::Error| format!("Node cannot be laid for the container: {e}");
                let real = std::fs::canonicalize(&program).map_err(said)?;
                let part = externals.join(format!(".{name}"));
                std::fs::copy(&real, &part).map_err(said)?;
                std::fs::rename(&part, &target).map_err(said)?;
            }
            return Ok(format!("{EXTERNALS}/{name}"));
        }
        if let Some((path, _)) = self.node.as_ref().filter(|(_, major)| *major >= wanted) {
            return Ok(path.clone());
        }
        let what = match self.libc {
            Libc::Musl => "is built on musl",
            _ => "has no C library that Node could use",
        };
        Err(format!(
            "this action runs on Node, and the image '{}' {what}: this machine's Node does not run in it, and it has no Node {wanted} of its own. Take an image with glibc (Debian, Ubuntu) or with Node {wanted} in it",
            self.image
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, using: &str) -> String {
        let inner = Inner { image: "img".into(), ..Inner::parse(text) };
        match inner.node(using, || Err("the host's".into()), Path::new("/nowhere")) {
            Ok(path) | Err(path) => path,
        }
    }

    #[test]
    fn nodes() {
        insta::assert_snapshot!(check("libc=glibc\nnode=/usr/bin/node v18.0.0\n", "node20"), @"the host's");
        insta::assert_snapshot!(check("libc=musl\nlibc=glibc\nnode=/usr/local/bin/node v20.1.0\n", "node20"), @"/usr/local/bin/node");
        insta::assert_snapshot!(check("libc=musl\nnode=/usr/bin/node v20.1.0", "node24"), @"this action runs on Node, and the image 'img' is built on musl: this machine's Node does not run in it, and it has no Node 24 of its own. Take an image with glibc (Debian, Ubuntu) or with Node 24 in it");
        insta::assert_snapshot!(check("uid=0", "node16"), @"this action runs on Node, and the image 'img' has no C library that Node could use: this machine's Node does not run in it, and it has no Node 20 of its own. Take an image with glibc (Debian, Ubuntu) or with Node 20 in it");
    }
}
