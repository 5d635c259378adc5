//! `docker/login-action`, `docker/setup-buildx-action` and `docker/build-push-action` over the
//! container engine that is there. They are built in only where the machine lacks what the real ones
//! call: Docker's client with its daemon, and buildx for the latter two. `docker/metadata-action`
//! needs neither and is always the real one.

pub mod build_push;
pub mod buildx;
pub mod login;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, poll};
use trainyard_executor_container::{ContainerError, Engine, Search, Task, search};
use trainyard_job::Exit;

use super::{input, lines};
use crate::error::{Error, Result};
use crate::host::environment::which;

/// What of Docker's own tools is here.
#[derive(Debug, Clone, Copy)]
struct Tools {
    /// The client, and a daemon for it.
    client: bool,
    /// Its buildx.
    buildx: bool,
}

fn tools() -> Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    *TOOLS.get_or_init(|| {
        let path = std::env::var("PATH").unwrap_or_default();
        let set = std::env::var("DOCKER_HOST").is_ok_and(|h| !h.is_empty());
        let daemon = set || Path::new("/var/run/docker.sock").exists();
        let client = daemon && which("docker", &path).is_some();
        let buildx = || {
            let mut command = Command::new("docker");
            command.args(["buildx", "version"]).stdin(Stdio::null());
            let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
            status.is_ok_and(|s| s.success())
        };
        Tools { client, buildx: client && buildx() }
    })
}

/// Whether the machine has what the real action calls.
pub fn has_tools(action: &str) -> bool {
    match action {
        "docker/login-action" => tools().client,
        _ => tools().buildx,
    }
}

fn said(error: ContainerError) -> Error {
    let fault = Error::new(error.message);
    match error.hint {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

fn engine() -> Result<Engine> {
    search(&Search::here()).and_then(|found| Engine::connect(&found)).map_err(said)
}

/// Shows what work prints until it has ended.
fn follow(mut task: Task) -> Result<()> {
    let failed = |e: std::io::Error| Error::new(format!("the engine's output is lost: {e}"));
    if let Some(output) = task.output.take() {
        let mut output = std::fs::File::from(output);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let mut fds = [PollFd::new(&output, PollFlags::IN)];
            poll(&mut fds, None).map_err(|e| failed(e.into()))?;
            match output.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let mut out = std::io::stdout().lock();
                    out.write_all(&buffer[..count]).and_then(|()| out.flush()).map_err(failed)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    let ended = task.ended_fd();
    poll(&mut [PollFd::new(&ended, PollFlags::IN)], None).map_err(|e| failed(e.into()))?;
    match task.status() {
        Exit::Code(0) => Ok(()),
        Exit::NotStarted(why) => Err(Error::new(why)),
        _ => Err(Error::new("the engine stopped its work")),
    }
}

/// An input of several values, as the toolkit of these actions reads lists: a value a line, with
/// `commas` several; quotes keep a value together.
fn list(name: &str, commas: bool) -> Vec<String> {
    let mut values = Vec::new();
    for line in lines(name) {
        values.extend(split(&line, commas));
    }
    values
}

fn split(line: &str, commas: bool) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            ',' if commas && !quoted => fields.push(String::new()),
            // Quotes count around a whole value alone: `A="x y"` keeps its own.
            '"' if quoted || fields.last().is_some_and(|f| f.trim().is_empty()) => quoted = !quoted,
            c => fields.last_mut().into_iter().for_each(|f| f.push(c)),
        }
    }
    fields.iter().map(|f| f.trim().to_owned()).filter(|f| !f.is_empty()).collect()
}

/// Pairs `NAME=VALUE` of an input.
fn pairs(name: &str) -> Vec<(String, String)> {
    let pair = |text: String| {
        let (name, value) = text.split_once('=').unwrap_or((&text, ""));
        (name.trim().to_owned(), value.to_owned())
    };
    list(name, false).into_iter().map(pair).collect()
}

/// Refuses inputs that are given and mean what the engine cannot do here.
fn refuse(names: &[&str]) -> Result<()> {
    match names.iter().find(|name| !input(name).is_empty()) {
        Some(name) => {
            Err(Error::new(format!("`{name}` wants buildx, which is not on this machine"))
                .hint("install Docker with its buildx plugin, and the real action runs"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn lists() {
        let check = |line: &str, commas: bool| split(line, commas).join("|");
        assert_eq!(check("a, b ,,c", true), "a|b|c");
        assert_eq!(check("a, b", false), "a, b");
        assert_eq!(check("\"x,y\", z", true), "x,y|z");
        assert_eq!(check("A=\"x y\"", false), "A=\"x y\"");
    }
}
