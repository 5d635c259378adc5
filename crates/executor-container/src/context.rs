//! The context of a build: its files, without those that `.dockerignore` leaves out, as a name that
//! tells its contents and as a stream.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use globset::{Glob, GlobBuilder, GlobMatcher};
use sha2::{Digest, Sha256};

use crate::image::Build;

/// The Dockerfile's name in what is sent, and the file itself when it lies outside the context.
pub(crate) fn place(build: &Build) -> (String, Option<PathBuf>) {
    match build.dockerfile.strip_prefix(&build.context) {
        Ok(inner) => (inner.to_string_lossy().into_owned(), None),
        Err(_) => (OUTSIDE.to_owned(), Some(build.dockerfile.clone())),
    }
}

/// What a Dockerfile outside the context is called within.
const OUTSIDE: &str = ".trainyard.Dockerfile";

/// A `.dockerignore`: the last pattern that matches decides.
struct Ignore(Vec<(GlobMatcher, bool)>);

impl Ignore {
    fn of(context: &Path, dockerfile: &Path) -> Ignore {
        let own = PathBuf::from(format!("{}.dockerignore", dockerfile.display()));
        let text = std::fs::read_to_string(own)
            .or_else(|_| std::fs::read_to_string(context.join(".dockerignore")))
            .unwrap_or_default();
        let mut ignore = Ignore::parse(&text);
        // Docker sends these two whatever is left out (docker/cli `build/dockerignore.go`).
        let kept = [dockerfile.strip_prefix(context).ok(), Some(Path::new(".dockerignore"))];
        for path in kept.into_iter().flatten() {
            if let Ok(glob) = Glob::new(&globset::escape(&path.to_string_lossy())) {
                ignore.0.push((glob.compile_matcher(), true));
            }
        }
        ignore
    }

    fn parse(text: &str) -> Ignore {
        let mut rules = Vec::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let (keep, pattern) =
                line.strip_prefix('!').map_or((false, line), |p| (true, p.trim()));
            let pattern =
                pattern.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
            for pattern in [pattern.to_owned(), format!("{pattern}/**")] {
                if let Ok(glob) = GlobBuilder::new(&pattern).literal_separator(true).build() {
                    rules.push((glob.compile_matcher(), keep));
                }
            }
        }
        Ignore(rules)
    }

    fn skips(&self, path: &Path) -> bool {
        self.0.iter().rev().find(|(glob, _)| glob.is_match(path)).is_some_and(|(_, keep)| !keep)
    }
}

/// The files of a context in order, relative to it.
fn files(context: &Path, ignore: &Ignore) -> std::io::Result<Vec<PathBuf>> {
    let mut list = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(context.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let is_folder = entry.file_type()?.is_dir();
            if is_folder {
                folders.push(path.clone());
            }
            // A folder that is left out may hold a file that is not.
            if !ignore.skips(&path) {
                list.push(path);
            }
        }
    }
    list.sort();
    Ok(list)
}

/// What tells one context from another: names, modes, contents.
///
/// # Errors
///
/// When a file cannot be read.
pub(crate) fn fingerprint(build: &Build) -> std::io::Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    let ignore = Ignore::of(&build.context, &build.dockerfile);
    let (inner, extra) = place(build);
    add(inner.as_bytes());
    if let Some(extra) = extra {
        add(&std::fs::read(extra)?);
    }
    for path in files(&build.context, &ignore)? {
        let full = build.context.join(&path);
        let meta = std::fs::symlink_metadata(&full)?;
        add(path.as_os_str().as_encoded_bytes());
        add(&(meta.permissions().mode() & 0o7777).to_le_bytes());
        if meta.is_symlink() {
            add(std::fs::read_link(&full)?.as_os_str().as_encoded_bytes());
        } else if meta.is_file() {
            let mut file = std::fs::File::open(&full)?;
            let mut inner = Sha256::new();
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let count = file.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                inner.update(&buffer[..count]);
            }
            add(&inner.finalize());
        }
    }
    Ok(hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect())
}

/// The context as a stream of tar, made while it is sent.
pub(crate) fn stream_tar(
    context: PathBuf,
    dockerfile: PathBuf,
    extra: Option<PathBuf>,
) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(16);
    std::thread::spawn(move || {
        let mut writer = Pieces { sender: sender.clone(), buffer: Vec::with_capacity(256 * 1024) };
        let written = write_tar(&context, &dockerfile, extra.as_deref(), &mut writer)
            .and_then(|()| writer.flush());
        if let Err(error) = written {
            // Whoever no longer listens knows already.
            let _ = sender.blocking_send(Err(error));
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    })
}

fn write_tar(
    context: &Path,
    dockerfile: &Path,
    extra: Option<&Path>,
    writer: &mut Pieces,
) -> std::io::Result<()> {
    let ignore = Ignore::of(context, dockerfile);
    let mut tar = tar::Builder::new(writer);
    tar.follow_symlinks(false);
    for path in files(context, &ignore)? {
        tar.append_path_with_name(context.join(&path), &path)?;
    }
    if let Some(extra) = extra {
        tar.append_path_with_name(extra, OUTSIDE)?;
    }
    tar.finish()
}

struct Pieces {
    sender: tokio::sync::mpsc::Sender<std::io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= 256 * 1024 {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        let gone = || std::io::Error::other("the engine takes no more of the context");
        self.sender.blocking_send(Ok(piece)).map_err(|_| gone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_dockerfile_is_always_sent() {
        let folder = std::env::temp_dir().join(format!("trainyard-context-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("docker")).unwrap();
        std::fs::create_dir_all(folder.join("src")).unwrap();
        for (name, text) in [
            (".dockerignore", "*\n!src\n"),
            ("docker/Dockerfile.gpu", ""),
            ("src/a", ""),
            ("b", ""),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let ignore = Ignore::of(&folder, &folder.join("docker/Dockerfile.gpu"));
        let list = files(&folder, &ignore).unwrap();
        let names: Vec<_> = list.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        assert_eq!(names, [".dockerignore", "docker/Dockerfile.gpu", "src", "src/a"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn dockerignore() {
        let ignore = Ignore::parse("# c\n*.bin\ndata/\n!data/keep.txt\n**/*.pyc\n/top\n");
        let check = |path: &str| ignore.skips(Path::new(path));
        for path in ["a.bin", "data/x", "data", "a/b/c.pyc", "top"] {
            assert!(check(path), "{path}");
        }
        for path in ["a/b.bin", "data/keep.txt", "x.py", "a/top"] {
            assert!(!check(path), "{path}");
        }
    }
}
