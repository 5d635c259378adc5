//! What is in the container of a job: its user, its shell, its C library, its Node.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use trainyard_executor_container::{Engine, Running};

use super::EXTERNALS;

/// The container of a job.
#[derive(Debug, Clone, Default)]
pub(super) struct Inner {
    /// Its id.
    pub(super) id: String,
    /// Its first process on this machine.
    pub(super) pid: Option<i32>,
    /// The `PATH` of its image.
    pub(super) path: String,
    /// Its image.
    pub(super) image: String,
    /// The user that the image or the options name.
    user: String,
    /// What was seen in it.
    seen: OnceLock<Seen>,
}

/// What was seen in a container. It is looked for when it is first asked for, as a look costs as
/// much as a step.
#[derive(Debug, Clone, Default)]
struct Seen {
    uid: u32,
    gid: u32,
    has_bash: bool,
    /// The C library of its programs.
    libc: Libc,
    /// Its own Node: path and major version.
    node: Option<(String, u32)>,
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

/// Actions for older versions run on 20, as at GitHub.
fn wanted_node(using: &str) -> u32 {
    if using == "node24" { 24 } else { 20 }
}

impl Seen {
    fn parse(text: &str) -> Seen {
        let mut seen = Seen::default();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            match key {
                "uid" => seen.uid = value.trim().parse().unwrap_or(0),
                "gid" => seen.gid = value.trim().parse().unwrap_or(0),
                "bash" => seen.has_bash = !value.trim().is_empty(),
                "libc" if value == "musl" => seen.libc = Libc::Musl,
                "libc" if seen.libc == Libc::None => seen.libc = Libc::Glibc,
                "node" => {
                    let (path, version) = value.rsplit_once(' ').unwrap_or((value, ""));
                    let major = version.trim_start_matches('v').split('.').next();
                    seen.node = major.and_then(|m| m.parse().ok()).map(|m| (path.to_owned(), m));
                }
                _ => {}
            }
        }
        seen
    }
}

impl Inner {
    pub(super) fn of(running: &Running) -> Inner {
        Inner {
            id: running.id.clone(),
            pid: running.pid,
            path: running.path.clone(),
            image: running.image.clone(),
            user: running.user.clone(),
            seen: OnceLock::new(),
        }
    }

    fn seen(&self, engine: &Engine) -> &Seen {
        self.seen.get_or_init(|| {
            let told = engine.ask(&self.id, &["sh", "-c", LOOK], None);
            Seen::parse(&told.map(|(_, text)| text).unwrap_or_default())
        })
    }

    /// Its user and group.
    pub(super) fn owner(&self, engine: &Engine) -> (u32, u32) {
        match self.user.split(':').next().unwrap_or_default() {
            "" | "0" | "root" => (0, 0),
            _ => {
                let seen = self.seen(engine);
                (seen.uid, seen.gid)
            }
        }
    }

    /// Whether it has bash.
    pub(super) fn has_bash(&self, engine: &Engine) -> bool {
        self.seen(engine).has_bash
    }

    /// The Node for `node20` and its kin, as the container sees it.
    pub(super) fn node(
        &self,
        engine: &Engine,
        using: &str,
        host: impl FnOnce() -> Result<PathBuf, String>,
        externals: &Path,
    ) -> Result<String, String> {
        let wanted = wanted_node(using);
        let seen = self.seen(engine);
        self.choose_node(seen, wanted, host, externals)
    }

    fn choose_node(
        &self,
        seen: &Seen,
        wanted: u32,
        host: impl FnOnce() -> Result<PathBuf, String>,
        externals: &Path,
    ) -> Result<String, String> {
        if seen.libc == Libc::Glibc {
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
        if let Some((path, _)) = seen.node.as_ref().filter(|(_, major)| *major >= wanted) {
            return Ok(path.clone());
        }
        let what = match seen.libc {
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
        let inner = Inner { image: "img".into(), ..Inner::default() };
        let wanted = wanted_node(using);
        match inner.choose_node(
            &Seen::parse(text),
            wanted,
            || Err("the host's".into()),
            Path::new("/nowhere"),
        ) {
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
