//! Work that an engine does: its output comes through a pipe, its end through another.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::sync::watch;
use trainyard_job::Exit;

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

    /// A line.
    pub async fn line(&mut self, line: &str) {
        self.bytes(format!("{line}\n").as_bytes()).await;
    }
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
