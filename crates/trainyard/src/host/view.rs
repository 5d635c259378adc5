//! The job's files as its steps see them, for actions that are built in and run on this machine.
//!
//! Around a job's container they speak of paths in it. What lies in the job's folders is here
//! anyway; the rest is reached through the container's first process, where this user may. Links
//! are resolved within the container: an absolute one must not lead into this machine's files.

use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::containers::PathMap;

/// The variable that holds a [`View`].
pub const VARIABLE: &str = "TRAINYARD_CONTAINER";

/// Links on the way to one file.
const MAX_LINKS: usize = 40;

/// How the container's paths are found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct View {
    /// Folders of this machine by their places in the container, the most particular first.
    pub folders: PathMap,
    /// The container's root, seen from this machine.
    pub root: Option<String>,
    /// Its id.
    pub container: String,
    /// The image that it was made of.
    pub image: String,
    /// The engine: its socket, or `HOST:PORT`.
    pub engine: String,
}

impl View {
    /// As a variable.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// That of this process, if the steps around it run in a container.
    pub fn here() -> Option<View> {
        serde_json::from_str(&std::env::var(VARIABLE).ok()?).ok()
    }

    fn is_mounted(&self, path: &Path) -> bool {
        self.folders.pairs().iter().any(|(_, inner)| path.starts_with(inner))
    }

    /// Where a normal absolute path of the container is on this machine, links aside.
    fn outside(&self, path: &Path) -> io::Result<PathBuf> {
        let mounted = self.folders.pairs().iter().find_map(|(host, inner)| {
            path.strip_prefix(inner).ok().map(|rest| Path::new(host).join(rest))
        });
        if let Some(found) = mounted {
            return Ok(found);
        }
        match self.root.as_deref().filter(|r| Path::new(r).join("proc").exists()) {
            Some(root) => Ok(Path::new(root).join(path.strip_prefix("/").unwrap_or(path))),
            None => Err(io::Error::other(format!(
                "'{}' is within the container, and this user may not look into it; use a path below the workspace or the home folder",
                path.display()
            ))),
        }
    }

    /// Whether a path is a folder around one that is mounted: it is no link, as mounts lie in it.
    fn is_around(&self, path: &Path) -> bool {
        self.folders.pairs().iter().any(|(_, inner)| {
            let inner = Path::new(inner);
            inner != path && inner.starts_with(path)
        })
    }

    fn resolve(&self, path: &Path, last: bool) -> io::Result<PathBuf> {
        let mut todo: Vec<PathBuf> = path.components().rev().map(|c| PathBuf::from(&c)).collect();
        let (mut here, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = todo.pop() {
            match part.components().next() {
                Some(Component::RootDir) => here = PathBuf::from("/"),
                Some(Component::ParentDir) => {
                    here.pop();
                }
                Some(Component::Normal(name)) => {
                    here.push(name);
                    if todo.is_empty() && !last {
                        break;
                    }
                    if self.is_around(&here) && !self.is_mounted(&here) {
                        continue;
                    }
                    if let Ok(target) = std::fs::read_link(self.outside(&here)?) {
                        links += 1;
                        if links > MAX_LINKS {
                            let what = format!("'{}' leads through too many links", path.display());
                            return Err(io::Error::other(what));
                        }
                        here.pop();
                        todo.extend(target.components().rev().map(|c| PathBuf::from(&c)));
                    }
                }
                _ => {}
            }
        }
        self.outside(&here)
    }
}

/// The files of the job around this process.
#[derive(Debug, Clone, Default)]
pub struct Files(Option<View>);

impl Files {
    /// Those of the job that this process is a step of.
    pub fn here() -> Files {
        Files(View::here())
    }

    /// A path of this machine as the steps name it.
    pub fn named(&self, path: &str) -> String {
        match &self.0 {
            Some(view) => view.folders.inside(path),
            None => path.to_owned(),
        }
    }

    /// As [`Self::named`], for a pattern, which may begin with `!`.
    pub fn pattern(&self, line: &str) -> String {
        match line.strip_prefix('!') {
            Some(rest) => format!("!{}", self.named(rest)),
            None => self.named(line),
        }
    }

    /// Where a file that steps name is on this machine, links followed.
    ///
    /// # Errors
    ///
    /// When this user may not look into the container.
    pub fn real(&self, path: &Path) -> io::Result<PathBuf> {
        match &self.0 {
            Some(view) => view.resolve(path, true),
            None => Ok(path.to_owned()),
        }
    }

    /// Whether a folder is known to be there, though this user may not look at it: one around the
    /// job's own folders.
    pub fn is_around(&self, path: &Path) -> bool {
        self.0.as_ref().is_some_and(|view| view.is_around(path) && !view.is_mounted(path))
    }

    /// As [`Self::real`], and one name for each file.
    ///
    /// # Errors
    ///
    /// When it is not there, or as [`Self::real`].
    pub fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        match &self.0 {
            // Its own links are resolved; that of `/proc/PID/root` leads nowhere by name.
            Some(_) => {
                let real = self.real(path)?;
                real.symlink_metadata().map(|_| real)
            }
            None => std::fs::canonicalize(path),
        }
    }

    /// As [`Self::real`], and if the path itself is a link, that link.
    ///
    /// # Errors
    ///
    /// As [`Self::real`].
    pub fn place(&self, path: &Path) -> io::Result<PathBuf> {
        match &self.0 {
            Some(view) => view.resolve(path, false),
            None => Ok(path.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_within_the_container() {
        let base = std::env::temp_dir().join(format!("trainyard-view-{}", std::process::id()));
        let root = base.join("root");
        for folder in ["root/proc", "root/opt/data", "root/var", "work/d"] {
            std::fs::create_dir_all(base.join(folder)).unwrap();
        }
        std::fs::write(root.join("opt/data/f"), "").unwrap();
        symlink("/opt/data", root.join("var/abs")).unwrap();
        symlink("../opt/data/f", root.join("var/rel")).unwrap();
        symlink("/../../opt", root.join("var/up")).unwrap();
        symlink("/__w/d", root.join("var/mounted")).unwrap();
        symlink("loop", root.join("var/loop")).unwrap();
        symlink("/opt/data/f", base.join("work/link")).unwrap();
        let text = |p: &Path| p.to_string_lossy().into_owned();
        let view = View {
            folders: vec![(text(&base.join("work")), "/__w".into())].into(),
            root: Some(text(&root)),
            ..View::default()
        };
        let files = Files(Some(view.clone()));
        let real = |p: &str| {
            let found = files.real(Path::new(p)).map_err(|e| e.to_string())?;
            Ok::<_, String>(text(found.strip_prefix(&base).unwrap()))
        };
        for (path, wanted) in [
            ("/opt/data/f", "root/opt/data/f"),
            ("/var/abs/f", "root/opt/data/f"),
            ("/var/rel", "root/opt/data/f"),
            ("/var/up/data/f", "root/opt/data/f"),
            ("/var/mounted/x", "work/d/x"),
            ("/__w/link", "root/opt/data/f"),
            ("/__w/d/../link", "root/opt/data/f"),
            ("/var/nothing/x", "root/var/nothing/x"),
        ] {
            assert_eq!(real(path).unwrap(), wanted, "{path}");
        }
        assert!(real("/var/loop").unwrap_err().contains("too many links"));
        assert_eq!(files.place(Path::new("/var/abs")).unwrap(), root.join("var/abs"));
        assert_eq!(files.named(&text(&base.join("work/d"))), "/__w/d");
        assert_eq!(files.pattern(&format!("!{}/d", text(&base.join("work")))), "!/__w/d");
        let blind = Files(Some(View { root: None, ..view }));
        assert!(blind.real(Path::new("/opt/x")).unwrap_err().to_string().contains("may not look"));
        assert_eq!(blind.real(Path::new("/__w/d")).unwrap(), base.join("work/d"));
        let deep = vec![(text(&base.join("work")), "/github/home".into())];
        let blind = Files(Some(View { folders: deep.into(), root: None, ..View::default() }));
        assert_eq!(blind.real(Path::new("/github/home/d")).unwrap(), base.join("work/d"));
        assert!(blind.is_around(Path::new("/")) && blind.is_around(Path::new("/github")));
        assert!(!blind.is_around(Path::new("/github/home")) && !blind.is_around(Path::new("/x")));
        std::fs::remove_dir_all(&base).unwrap();
    }
}
