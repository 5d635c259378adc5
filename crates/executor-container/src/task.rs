//! Work that an engine does: its output comes through a pipe, its end through another.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::sync::watch;
use trainyard_job::Exit;
use trainyard_job::command::may_hold_command;

use crate::engine::Engine;
use crate::error::{ContainerError, Result};

/// How hard a task is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// Not at all.
    None,
    /// SIGINT
    Interrupt,
    /// SIGTERM
    Terminate,
    /// SIGKILL
    Kill,
}

/// Work under way.
pub struct Task {
    /// What it prints; readable without blocking.
    pub output: Option<OwnedFd>,
    ended: OwnedFd,
    exit: Arc<Mutex<Option<Exit>>>,
    stop: watch::Sender<Stop>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

/// Where a task prints.
pub struct TaskOutput {
    pipe: Sender,
}

impl std::fmt::Debug for TaskOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TaskOutput")
    }
}

impl TaskOutput {
    /// Bytes. Nobody may listen any more, which is no fault of the task.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.pipe.write_all(bytes).await;
    }

    /// Text of others, in which no command is one.
    pub async fn foreign(&mut self, text: &[u8]) {
        let text = defused(text);
        self.bytes(&text).await;
    }

    /// A line.
    pub async fn line(&mut self, line: &str) {
        self.bytes(format!("{line}\n").as_bytes()).await;
    }
}

/// A text whose commands are none any more: a sign of no width stands in them. On GitHub, too, the
/// logs of services and the output of builds are not read for commands.
fn defused(text: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    if !may_hold_command(text) {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    for line in text.split_inclusive(|b| *b == b'\n' || *b == b'\r') {
        if line.trim_ascii_start().starts_with(b"::") {
            out.extend_from_slice("\u{200b}".as_bytes());
        }
        let mut rest = line;
        while let Some(at) = rest.windows(3).position(|w| w == b"##[") {
            out.extend_from_slice(&rest[..at + 2]);
            out.extend_from_slice("\u{200b}".as_bytes());
            rest = &rest[at + 2..];
        }
        out.extend_from_slice(rest);
    }
    out.into()
}

/// The orders that a task gets.
#[derive(Debug, Clone)]
pub(crate) struct Stops(watch::Receiver<Stop>);

impl Stops {
    /// The next, harder order.
    pub(crate) async fn next(&mut self) -> Stop {
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            // Nobody gives orders any more.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Engine {
    /// Starts work.
    ///
    /// # Errors
    ///
    /// When there are no pipes to be had.
    pub(crate) fn task<F, W>(&self, work: W) -> Result<Task>
    where
        W: FnOnce(TaskOutput, Stops) -> F + Send + 'static,
        F: Future<Output = Exit> + Send + 'static,
    {
        let no_pipe = |e: std::io::Error| ContainerError::new(format!("no pipe: {e}"));
        let pipe = || {
            rustix::pipe::pipe_with(
                rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
            )
        };
        let (output, write) = pipe().map_err(|e| no_pipe(e.into()))?;
        let (ended, done) = pipe().map_err(|e| no_pipe(e.into()))?;
        let exit = Arc::new(Mutex::new(None));
        let (stop, stops) = watch::channel(Stop::None);
        let kept = Arc::clone(&exit);
        let guard = self.runtime.enter();
        let pipe = Sender::from_owned_fd(write).map_err(no_pipe)?;
        drop(guard);
        self.runtime.spawn(async move {
            let result = work(TaskOutput { pipe }, Stops(stops)).await;
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
            // Its closing is the news.
            drop(done);
        });
        Ok(Task { output: Some(output), ended, exit, stop })
    }
}

impl Task {
    /// For polling: readable, or closed at the other end, when it has ended.
    pub fn ended_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// How it ended.
    pub fn status(&self) -> Exit {
        let exit = self.exit.lock().unwrap_or_else(PoisonError::into_inner).clone();
        exit.unwrap_or_else(|| Exit::NotStarted("its status is lost".into()))
    }

    /// Asks it to stop.
    pub fn interrupt(&self) {
        let _ = self.stop.send(Stop::Interrupt);
    }

    /// Tells it to stop.
    pub fn terminate(&self) {
        let _ = self.stop.send(Stop::Terminate);
    }

    /// Kills it and what came from it.
    pub fn kill(&self) {
        let _ = self.stop.send(Stop::Kill);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_others_are_none() {
        let check = |text: &str| {
            let out = String::from_utf8_lossy(&defused(text.as_bytes())).into_owned();
            for line in out.lines() {
                assert!(trainyard_job::command::parse(line).is_none(), "{line}");
            }
            out.replace('\u{200b}', "_")
        };
        insta::assert_snapshot!(check("ready at ::1:80\n"), @"ready at ::1:80");
        insta::assert_snapshot!(check("a\n  ::add-mask::x\nb ##[error]y ##[z]\n"), @r"
        a
        _  ::add-mask::x
        b ##_[error]y ##_[z]
        ");
    }
}
