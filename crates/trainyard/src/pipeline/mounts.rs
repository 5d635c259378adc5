//! Folders at fixed places for one process: `/data`, `/s3`, `/tmp/outputs`, in a mount namespace of its
//! own. Nothing is made in this machine's folders for them: the root that the process finds is built in a
//! folder of its own, where what it writes into the folders that are built anew stays.
//!
//! The process that asks runs in this module alone: it enters the namespace, builds a root out of the
//! machine's own folders, and becomes the program.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};

/// A folder or file of this machine, and where a process finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// On this machine.
    pub source: PathBuf,
    /// For the process.
    pub target: PathBuf,
}

/// Whether processes of this user may have mounts of their own; asked once, by trying.
pub fn are_possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        let Ok(program) = std::env::current_exe() else { return false };
        let base = std::env::temp_dir().join(format!("trainyard-mounts-{}", std::process::id()));
        if std::fs::create_dir(&base).is_err() {
            return false;
        }
        let tried = Command::new(program)
            .args(arguments(&base, &[], &[], &[], Path::new("/bin/true"), &[]))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status();
        crate::host::workspace::remove(&base);
        tried.is_ok_and(|s| s.success())
    })
}

/// The arguments by which this program runs another one with mounts and in control groups (`doors`,
/// [`Group::doors`](crate::host::cgroup::Group::doors)). `base` is an empty folder that
/// stands for nothing else; what is at the paths that are `open` is not there,
/// and what is written to them is below `base/root`.
pub fn arguments(
    base: &Path,
    mounts: &[Mount],
    open: &[PathBuf],
    doors: &[PathBuf],
    program: &Path,
    args: &[String],
) -> Vec<String> {
    let mut all = vec!["internal-mounts".to_owned(), base.to_string_lossy().into_owned()];
    for mount in mounts {
        all.push("--mount".into());
        all.push(format!("{}\n{}", mount.source.display(), mount.target.display()));
    }
    for folder in open {
        all.push("--open".into());
        all.push(folder.display().to_string());
    }
    for door in doors {
        all.push("--door".into());
        all.push(door.display().to_string());
    }
    all.push("--".into());
    all.push(program.to_string_lossy().into_owned());
    all.extend(args.iter().cloned());
    all
}

/// Becomes a program with mounts; returns only what went wrong.
pub fn become_program(
    base: &Path,
    mounts: &[String],
    open: &[PathBuf],
    doors: &[PathBuf],
    command: &[String],
) -> io::Error {
    for door in doors {
        if let Err(error) = std::fs::write(door, "0") {
            return io::Error::new(error.kind(), format!("{}: {error}", door.display()));
        }
    }
    let parsed = mounts.iter().filter_map(|m| {
        let (source, target) = m.split_once('\n')?;
        Some(Mount { source: source.into(), target: target.into() })
    });
    let mounts: Vec<Mount> = parsed.collect();
    let entered = match mounts.is_empty() && open.is_empty() && !doors.is_empty() {
        // Only its groups are asked for.
        true => Ok(()),
        false => enter(base, &mounts, open),
    };
    match entered {
        Ok(()) => {
            let Some((program, args)) = command.split_first() else {
                return io::Error::other("no program");
            };
            Command::new(program).args(args).exec()
        }
        Err(error) => io::Error::new(error.kind(), format!("mounts: {error}")),
    }
}

fn enter(base: &Path, mounts: &[Mount], open: &[PathBuf]) -> io::Result<()> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let directory = std::env::current_dir();
    let mut flags = rustix::thread::UnshareFlags::NEWNS;
    if uid != 0 {
        flags |= rustix::thread::UnshareFlags::NEWUSER;
    }
    #[allow(unsafe_code)]
    // SAFETY: this process has one thread and shares neither file table nor memory with another; only
    // its mounts and its user namespace become its own.
    unsafe {
        rustix::thread::unshare_unsafe(flags)?;
    }
    if uid != 0 {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let fresh = base.join("root");
    std::fs::create_dir(&fresh)?;
    rebuild(Path::new("/"), &fresh, &tree(mounts, open))?;
    rustix::process::chroot(&fresh)?;
    rustix::process::chdir(directory.unwrap_or_else(|_| PathBuf::from("/")).as_path())
        .or_else(|_| rustix::process::chdir("/"))?;
    Ok(())
}

fn at(path: &Path, error: rustix::io::Errno) -> io::Error {
    io::Error::other(format!("{}: {}", path.display(), io::Error::from(error)))
}

/// What is to be laid into a folder, by name.
#[derive(Default)]
struct Tree {
    source: Option<PathBuf>,
    below: BTreeMap<std::ffi::OsString, Tree>,
}

impl Tree {
    /// A place that the process finds empty, whatever the machine has there.
    fn is_hole(&self) -> bool {
        self.source.is_none() && self.below.is_empty()
    }
}

fn tree(mounts: &[Mount], open: &[PathBuf]) -> Tree {
    let mut root = Tree::default();
    let laid = mounts.iter().map(|m| (&m.target, Some(m.source.clone())));
    for (target, source) in laid.chain(open.iter().map(|o| (o, None))) {
        let mut at = &mut root;
        for part in target.components() {
            if let Component::Normal(name) = part {
                at = at.below.entry(name.to_owned()).or_default();
            }
        }
        if source.is_some() {
            at.source = source;
        }
    }
    root
}

/// Builds a folder anew: what is in the machine's own, and what is laid into it.
fn rebuild(own: &Path, fresh: &Path, tree: &Tree) -> io::Result<()> {
    for entry in std::fs::read_dir(own)?.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let target = fresh.join(&name);
        let laid = tree.below.get(&name);
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_symlink() {
            if let (None, Ok(to)) = (laid, std::fs::read_link(&path)) {
                std::os::unix::fs::symlink(to, &target)?;
            }
            continue;
        }
        if laid.is_some_and(Tree::is_hole) {
            continue;
        }
        let inner = laid.filter(|l| l.source.is_none());
        match (kind.is_dir(), inner, laid) {
            (true, Some(inner), _) => {
                std::fs::create_dir(&target)?;
                rebuild(&path, &target, inner)?;
            }
            // Laid below.
            (_, None, Some(_)) => {}
            (true, None, None) => {
                std::fs::create_dir(&target)?;
                bind_if_there(&path, &target)?;
            }
            (false, ..) => {
                std::fs::File::create(&target)?;
                bind_if_there(&path, &target)?;
            }
        }
    }
    lay(fresh, tree)
}

/// What has gone since the folder was read, as files in `/tmp` do, is not there for the process either.
fn bind_if_there(path: &Path, target: &Path) -> io::Result<()> {
    match mount_bind_recursive(path, target) {
        Err(rustix::io::Errno::NOENT) if path.symlink_metadata().is_err() => {
            if target.is_dir() {
                std::fs::remove_dir(target)
            } else {
                std::fs::remove_file(target)
            }
        }
        bound => bound.map_err(|e| at(target, e)),
    }
}

/// Lays what is to be laid into a folder.
fn lay(fresh: &Path, tree: &Tree) -> io::Result<()> {
    for (name, laid) in &tree.below {
        let target = fresh.join(name);
        match &laid.source {
            Some(source) => {
                if source.is_dir() {
                    std::fs::create_dir_all(&target)?;
                } else {
                    std::fs::File::create(&target)?;
                }
                mount_bind_recursive(source, &target).map_err(|e| at(&target, e))?;
                // What is laid within it has its place made there, as Kubernetes does it.
                if !laid.below.is_empty() && source.is_dir() {
                    lay(&target, laid)?;
                }
            }
            // Rebuilt already, if the machine has it.
            None if !laid.is_hole() && !target.exists() => {
                std::fs::create_dir(&target)?;
                lay(&target, laid)?;
            }
            None => {}
        }
    }
    Ok(())
}
