//! Environments of Python for tasks that run as processes: one a version and a set of packages, made
//! once, shared by all tasks that ask for the same, apart from everything that is the user's own.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use trainyard_job::Exit;

use sha2::{Digest, Sha256};

use super::process::{Control, Ended, follow};
use crate::builtin::python::{Interpreter, interpreters, make_environment};
use crate::host::environment::set;
use crate::host::process::start;
use crate::paths::create_dir;

/// What is found on this machine, looked for once.
#[derive(Debug, Default)]
pub struct Pythons {
    found: OnceLock<Vec<Interpreter>>,
    /// Environments that are known to be whole.
    ready: Mutex<Vec<PathBuf>>,
}

/// The version of Python that an image has, by its name: `python:3.11-slim`, `ubi9/python-311`. None for
/// images that are none of Python's.
pub fn version_of(image: &str) -> Option<(u32, Option<u32>)> {
    let base = image.rsplit('/').next()?;
    let base = base.split('@').next()?;
    let (name, tag) = base.split_once(':').unwrap_or((base, ""));
    let digits = |text: &str| -> Option<(u32, Option<u32>)> {
        let mut parts = text.split(['.', '-']);
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next().and_then(|m| m.parse().ok());
        Some((major, minor))
    };
    if name == "python" {
        return Some(digits(tag).filter(|(major, _)| *major < 10).unwrap_or((3, None)));
    }
    // `python-311`, `python-312-minimal`
    let rest = name.strip_prefix("python-").or_else(|| name.strip_prefix("python"))?;
    let rest = rest.split('-').next()?;
    let (major, minor) = rest.split_at_checked(1)?;
    match (major.parse(), minor.trim_start_matches('.').parse()) {
        (Ok(3), Ok(minor)) => Some((3, Some(minor))),
        _ => None,
    }
}

impl Pythons {
    fn all(&self) -> &[Interpreter] {
        self.found.get_or_init(|| {
            let mut found = interpreters();
            found.retain(|i| !i.prerelease);
            found
        })
    }

    /// The interpreter for a version, and what differs from it, in words.
    pub fn find(
        &self,
        wanted: (u32, Option<u32>),
    ) -> Result<(Interpreter, Option<String>), String> {
        let all = self.all();
        let of =
            |i: &&Interpreter| i.version.0 == wanted.0 && wanted.1.is_none_or(|m| i.version.1 == m);
        if let Some(exact) = all.iter().find(of) {
            return Ok((exact.clone(), None));
        }
        let text = |minor: u32| format!("{}.{minor}", wanted.0);
        let wanted_minor = wanted.1.unwrap_or_default();
        // The nearest newer one; of older ones the newest.
        let newer = all.iter().filter(|i| i.version.1 > wanted_minor).min_by_key(|i| i.version.1);
        match newer.or_else(|| all.first()) {
            Some(other) => Ok((
                other.clone(),
                Some(format!(
                    "its image has Python {}; this machine has none, and {} runs it",
                    text(wanted_minor),
                    other.text
                )),
            )),
            None => Err("there is no Python on this machine".to_owned()),
        }
    }

    /// The folder of an environment, made if it is not there; none if the task was told to stop
    /// meanwhile. `log` is told what is done, and `env` is what pip has.
    pub(super) fn environment(
        &self,
        data: &Path,
        interpreter: &Interpreter,
        lines: &[Vec<String>],
        making: &mut Making<'_>,
    ) -> Result<Option<PathBuf>, String> {
        let mut hash = Sha256::new();
        hash.update(interpreter.path.to_string_lossy().as_bytes());
        hash.update(interpreter.text.as_bytes());
        for line in lines {
            hash.update(b"\n");
            for word in line.iter().filter(|w| !is_loud(w)) {
                hash.update(word.as_bytes());
                hash.update(b"\0");
            }
        }
        let name: String = hash.finalize().iter().take(12).map(|b| format!("{b:02x}")).collect();
        let folder = data.join("environments").join(name);
        let known = |list: &Vec<PathBuf>| list.contains(&folder);
        if known(&self.ready.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(Some(folder));
        }
        let mark = folder.join(".complete");
        if !mark.exists() && !make(&folder, interpreter, lines, making)? {
            return Ok(None);
        }
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(folder.clone());
        Ok(Some(folder))
    }
}

/// What the making of an environment is given.
pub(super) struct Making<'a> {
    /// The task's log.
    pub(super) log: &'a mut File,
    /// How the task is told to stop.
    pub(super) control: &'a Control,
    /// What pip has.
    pub(super) env: &'a [(String, String)],
}

/// How often a task that waits for an environment looks whether it is there.
const LOOK: Duration = Duration::from_millis(100);

/// Waits for a lock; false if the task is told to stop.
fn wait_for(lock: &File, control: &Control) -> Result<bool, std::io::Error> {
    loop {
        match rustix::fs::flock(lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut told = [PollFd::from_borrowed_fd(control.wake.as_fd(), PollFlags::IN)];
        let timeout = rustix::fs::Timespec::try_from(LOOK).ok();
        if poll(&mut told, timeout.as_ref()).is_ok_and(|n| n > 0) {
            return Ok(false);
        }
    }
}

/// Makes an environment; false if the task was told to stop.
fn make(
    folder: &Path,
    interpreter: &Interpreter,
    lines: &[Vec<String>],
    making: &mut Making<'_>,
) -> Result<bool, String> {
    {
        let parent = folder.parent().unwrap_or(Path::new("/"));
        create_dir(parent).map_err(|e| e.message)?;
        let lock_path = folder.with_extension("lock");
        let failed = |what: &dyn std::fmt::Display| format!("no environment for it: {what}");
        let lock = File::create(&lock_path).map_err(|e| failed(&e))?;
        // Whoever has it makes it; the others find it made.
        if !wait_for(&lock, making.control).map_err(|e| failed(&e))? {
            return Ok(false);
        }
        let mark = folder.join(".complete");
        if mark.exists() {
            return Ok(true);
        }
        let _ = std::fs::remove_dir_all(folder);
        make_environment(interpreter, folder).map_err(|e| failed(&e.message))?;
        let python = folder.join("bin/python3");
        for line in lines {
            let words = line.join(" ");
            say(making.log, &format!("installing once for all tasks that ask for it: {words}"));
            let mut env = making.env.to_vec();
            set(&mut env, "PIP_ROOT_USER_ACTION", "ignore");
            set(&mut env, "VIRTUAL_ENV", &folder.to_string_lossy());
            let args = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input"];
            let args: Vec<String> =
                args.into_iter().map(str::to_owned).chain(line.iter().cloned()).collect();
            let mut running = start(&python, &args, &env, folder).map_err(|e| failed(&e))?;
            let why = match follow(&mut running, making.log, making.control, None) {
                Ended::Exit(Exit::Code(0)) => continue,
                Ended::Exit(Exit::Code(code)) => format!("exit code {code}"),
                Ended::Exit(Exit::Signal(signal)) => format!("signal {signal}"),
                Ended::Exit(Exit::NotStarted(why)) => why,
                Ended::Stopped | Ended::TimedOut | Ended::OutOfMemory(_) => {
                    let _ = std::fs::remove_dir_all(folder);
                    return Ok(false);
                }
            };
            let _ = std::fs::remove_dir_all(folder);
            return Err(format!("pip could not install {words} ({why})"));
        }
        std::fs::write(&mark, lines.iter().map(|l| l.join(" ")).collect::<Vec<_>>().join("\n"))
            .map_err(|e| failed(&e))?;
        Ok(true)
    }
}

/// Flags that change what pip prints and nothing else.
fn is_loud(word: &str) -> bool {
    matches!(word, "--quiet" | "-q" | "--no-warn-script-location" | "--disable-pip-version-check")
}

/// A line of the log that is Trainyard's own.
pub fn say(log: &mut File, line: &str) {
    use std::io::Write;
    // A log that cannot be written is told of where the task's own lines are.
    let _ = writeln!(log, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_images() {
        let check = |image: &str| format!("{:?}", version_of(image));
        insta::assert_snapshot!(check("python:3.11"), @"Some((3, Some(11)))");
        insta::assert_snapshot!(check("docker.io/library/python:3.9-slim"), @"Some((3, Some(9)))");
        insta::assert_snapshot!(check("python"), @"Some((3, None))");
        insta::assert_snapshot!(check("python:latest"), @"Some((3, None))");
        insta::assert_snapshot!(check("registry.access.redhat.com/ubi9/python-311:latest"), @"Some((3, Some(11)))");
        insta::assert_snapshot!(check("python@sha256:00"), @"Some((3, None))");
        insta::assert_snapshot!(check("alpine:3.20"), @"None");
        insta::assert_snapshot!(check("pythonista/tool:1"), @"None");
        insta::assert_snapshot!(check("localhost:5000/python:3.12"), @"Some((3, Some(12)))");
    }
}
