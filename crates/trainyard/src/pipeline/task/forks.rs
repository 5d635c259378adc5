//! Functions of the SDK started by forks of a Python that has imported it (`fork_server.py`): most of the
//! time of a small task is Python's start and the SDK's import. What a task does is what its command says.
//! Deliberately absent: commands that are not the SDK's, tasks with mounts of their own, and those whose
//! variables change how Python starts; they are started as they are.

use std::collections::BTreeMap;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::host::process::Running;

/// The program.
const SERVER: &str = include_str!("fork_server.py");
/// The executors of the SDK's versions.
const MODULES: &[&str] = &["kfp.dsl.executor_main", "kfp.components.executor_main"];

/// An environment of Python, and an executor of the SDK.
type Key = (PathBuf, &'static str);

/// The Pythons that wait, by environment and executor; one that could not be started is none.
#[derive(Debug, Default)]
pub struct Forks {
    servers: Mutex<BTreeMap<Key, Option<Arc<Server>>>>,
    /// Those that take no more tasks, and whose tasks may still run.
    retired: Mutex<Vec<Arc<Server>>>,
}

#[derive(Debug)]
struct Server {
    channel: Mutex<UnixStream>,
    child: Mutex<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It has no work any more.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A function as the SDK calls it.
#[derive(Debug, PartialEq)]
pub(super) struct Function<'a> {
    module: &'static str,
    source: &'a str,
    args: &'a [String],
}

/// Reads a command, if it is the SDK's and nothing else.
pub(super) fn function(command: &[String]) -> Option<Function<'_>> {
    let [shell, flag, script, source, args @ ..] = command else { return None };
    if shell != "sh" || flag != "-ec" {
        return None;
    }
    let words: Vec<&str> = script.split_whitespace().collect();
    let module = MODULES.iter().find(|module| {
        words
            == [
                "program_path=$(mktemp",
                "-d)",
                "printf",
                "\"%s\"",
                "\"$0\"",
                ">",
                "\"$program_path/ephemeral_component.py\"",
                "_KFP_RUNTIME=true",
                "python3",
                "-m",
                module,
                "--component_module_path",
                "\"$program_path/ephemeral_component.py\"",
                "\"$@\"",
            ]
    })?;
    Some(Function { module, source, args })
}

/// Whether a variable of a task's changes how Python, or the linker before it, starts.
pub(super) fn changes_the_start(name: &str) -> bool {
    ["PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "GLIBC_", "COVERAGE_"]
        .iter()
        .any(|p| name.starts_with(p))
        || name == "PATH"
}

/// What a fork is given.
pub(super) struct Start<'a> {
    /// The environment of Python that it runs in.
    pub(super) environment: &'a Path,
    /// Variables of all tasks of the run: those of the server.
    pub(super) base: &'a [(String, String)],
    /// All variables of the task.
    pub(super) env: &'a [(String, String)],
    /// Where it begins.
    pub(super) folder: &'a Path,
    /// Files of control groups.
    pub(super) doors: &'a [PathBuf],
}

impl Forks {
    /// Starts a function; none where no server can be had, and the command is to be started as it is.
    ///
    /// # Errors
    /// In words, where nobody knows whether it was started.
    pub(super) fn start(
        &self,
        function: &Function<'_>,
        start: &Start<'_>,
    ) -> Result<Option<Running>, String> {
        let Some(server) = self.server(function.module, start) else { return Ok(None) };
        match server.ask(function, start) {
            Ok(begun) => Ok(begun),
            Err(failed) => {
                // It has ended, or never came to listen: later tasks are started as they are.
                let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
                servers.insert((start.environment.to_owned(), function.module), None);
                self.retired.lock().unwrap_or_else(PoisonError::into_inner).push(server);
                match failed {
                    Failed::NotAsked => Ok(None),
                    Failed::Unknown(error) => Err(format!("what starts it has ended: {error}")),
                }
            }
        }
    }

    /// Ends the Pythons; no task runs any more.
    pub fn close(&self) {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.retired.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn server(&self, module: &'static str, start: &Start<'_>) -> Option<Arc<Server>> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (start.environment.to_owned(), module);
        let made = servers.entry(key).or_insert_with(|| begin(module, start).ok().map(Arc::new));
        made.clone()
    }
}

fn begin(module: &str, start: &Start<'_>) -> std::io::Result<Server> {
    let (own, other) = UnixStream::pair()?;
    let number = other.as_raw_fd();
    let mut command = Command::new(start.environment.join("bin/python3"));
    command
        .args(["-c", SERVER, &number.to_string(), module])
        .env_clear()
        .envs(start.base.iter().map(|(k, v)| (k.as_str(), v.as_str())))
        .env("_KFP_RUNTIME", "true")
        .current_dir(start.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[allow(unsafe_code)]
    // SAFETY: between fork and exec only `setsid` and `fcntl` are called, which are async-signal-safe
    // and touch no memory of this process; the descriptor is open until the child is spawned.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            let channel = rustix::fd::BorrowedFd::borrow_raw(number);
            rustix::io::fcntl_setfd(channel, rustix::io::FdFlags::empty())?;
            Ok(())
        });
    }
    let child = command.spawn()?;
    Ok(Server { channel: Mutex::new(own), child: Mutex::new(child) })
}

/// Why a server gave no process.
enum Failed {
    /// It never had the whole of the request.
    NotAsked,
    /// It had it, and did not answer.
    Unknown(std::io::Error),
}

impl Server {
    /// None where it could not fork, or no descriptors are left: nothing has begun then.
    fn ask(&self, function: &Function<'_>, start: &Start<'_>) -> Result<Option<Running>, Failed> {
        let env: BTreeMap<&str, &str> =
            start.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let request = serde_json::to_vec(&serde_json::json!({
            "source": function.source, "args": function.args, "env": env, "folder": start.folder,
            "doors": start.doors,
        }));
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (Ok(request), Ok((output, write)), Ok((status, told))) = (request, pipe(), pipe())
        else {
            return Ok(None);
        };
        let Ok(size) = u32::try_from(request.len()) else { return Ok(None) };
        if rustix::fs::fcntl_setfl(&output, rustix::fs::OFlags::NONBLOCK).is_err() {
            return Ok(None);
        }
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        send_with(&channel, &size.to_le_bytes(), [&write, &told])
            .and_then(|()| channel.write_all(&request))
            .map_err(|_| Failed::NotAsked)?;
        let mut pid = [0; 4];
        channel.read_exact(&mut pid).map_err(Failed::Unknown)?;
        drop((write, told));
        // None: it could not fork.
        Ok(Running::forked(i32::from_le_bytes(pid), status, output).ok())
    }
}

/// Sends four bytes with two descriptors.
fn send_with(channel: &UnixStream, bytes: &[u8; 4], fds: [&OwnedFd; 2]) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = fds.map(AsFd::as_fd);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    match sendmsg(channel, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)? {
        4 => Ok(()),
        _ => Err(std::io::Error::other("the message was cut")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_the_sdk() {
        let script = "program_path=$(mktemp -d)\n\nprintf \"%s\" \"$0\" > \"$program_path/ephemeral_component.py\"\n_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main                         --component_module_path                         \"$program_path/ephemeral_component.py\"                         \"$@\"\n";
        let command = |script: &str| -> Vec<String> {
            ["sh", "-ec", script, "source", "--function_to_execute", "f"]
                .map(str::to_owned)
                .to_vec()
        };
        let all = command(script);
        let found = function(&all).unwrap();
        assert_eq!(
            (found.module, found.source, found.args.len()),
            ("kfp.dsl.executor_main", "source", 2)
        );
        assert!(function(&command(&script.replace("dsl", "components"))).is_some());
        assert!(function(&command(&script.replace("dsl", "other"))).is_none());
        assert!(function(&command(&format!("{script}\necho more"))).is_none());
        assert!(changes_the_start("PYTHONPATH") && changes_the_start("LD_PRELOAD"));
        assert!(!changes_the_start("EPOCHS"));
    }
}
