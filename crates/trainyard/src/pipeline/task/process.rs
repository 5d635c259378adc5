//! One process of a task: its output into the log, its end, its limits.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use trainyard_job::Exit;

use crate::host::process::Running;

/// Time between SIGTERM and the end of the tree, as pods have it.
const GRACE: Duration = Duration::from_secs(30);
/// Time for the output to close after the process ended.
const DRAIN: Duration = Duration::from_secs(5);

/// How a task is told to stop.
pub struct Control {
    /// Orders: whether to stop at once.
    pub orders: Receiver<bool>,
    /// What becomes readable when there is one.
    pub wake: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Exit(Exit),
    /// It was told to.
    Stopped,
    /// Its time was over.
    TimedOut,
    /// It used more memory than its limit, in bytes.
    OutOfMemory(u64),
}

/// Follows a process to its end; what it prints goes to the log.
pub fn follow(
    running: &mut Running,
    log: &mut File,
    control: &Control,
    limit: Option<Duration>,
) -> Ended {
    let began = Instant::now();
    let mut buffer = vec![0; 64 * 1024];
    let mut exit: Option<(Exit, Instant)> = None;
    let mut kill_at: Option<Instant> = None;
    let mut why: Option<Ended> = None;
    let mut lost_log = false;
    loop {
        if let Some((exit, at)) = &exit
            && (running.output.is_none() || at.elapsed() >= DRAIN)
        {
            // Whatever still holds its output is not waited for any longer, and what it left behind ends
            // with it, as in a pod.
            if running.output.is_some() {
                running.kill_tree();
            }
            running.kill_left_behind();
            return match (why, lost_log) {
                (Some(why), _) => why,
                (None, true) => Ended::Exit(Exit::NotStarted("its log cannot be written".into())),
                (None, false) => Ended::Exit(exit.clone()),
            };
        }
        let now = Instant::now();
        if kill_at.is_some_and(|at| now >= at) {
            running.kill_tree();
            kill_at = Some(now + GRACE);
        }
        if why.is_none() && limit.is_some_and(|l| began.elapsed() >= l) {
            why = Some(Ended::TimedOut);
            running.terminate();
            kill_at = Some(now + GRACE);
        }
        let due = [
            kill_at,
            limit.filter(|_| why.is_none()).map(|l| began + l),
            exit.as_ref().map(|(_, at)| *at + DRAIN),
        ];
        let due = due.into_iter().flatten().min();
        let timeout = due.map(|d| d.saturating_duration_since(now));
        let timeout = timeout.and_then(|d| rustix::fs::Timespec::try_from(d).ok());
        let (mut readable, mut over, mut woken) = (false, false, false);
        {
            let mut fds = Vec::with_capacity(3);
            let mut kinds = Vec::with_capacity(3);
            if let Some(output) = &running.output {
                fds.push(PollFd::new(output, PollFlags::IN));
                kinds.push(0);
            }
            if exit.is_none() {
                fds.push(PollFd::from_borrowed_fd(running.ended_fd(), PollFlags::IN));
                kinds.push(1);
            }
            fds.push(PollFd::from_borrowed_fd(control.wake.as_fd(), PollFlags::IN));
            kinds.push(2);
            let _ = poll(&mut fds, timeout.as_ref());
            for (fd, kind) in fds.iter().zip(kinds) {
                if !fd.revents().is_empty() {
                    match kind {
                        0 => readable = true,
                        1 => over = true,
                        _ => woken = true,
                    }
                }
            }
        }
        if readable && let Some(output) = &running.output {
            match rustix::io::read(output, &mut buffer) {
                Ok(0) => running.output = None,
                Ok(count) => lost_log |= log.write_all(&buffer[..count]).is_err(),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(_) => running.output = None,
            }
        }
        if over {
            exit = Some((running.status(), Instant::now()));
            kill_at = None;
        }
        if woken {
            // One byte an order; with all of them read, the next one wakes again.
            let mut bytes = [0; 16];
            let _ = rustix::io::read(&control.wake, &mut bytes);
            let orders: Vec<bool> = control.orders.try_iter().collect();
            let force = orders.is_empty() || orders.contains(&true);
            why.get_or_insert(Ended::Stopped);
            if force {
                running.kill_tree()
            } else {
                running.terminate()
            }
            kill_at = Some(Instant::now() + GRACE);
        }
    }
}

/// The end of a log.
pub fn tail(path: &std::path::Path) -> String {
    const BYTES: u64 = 8 * 1024;
    use std::io::{Read, Seek, SeekFrom};
    let read = || {
        let mut file = File::open(path).ok()?;
        let size = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(BYTES))).ok()?;
        let mut text = Vec::new();
        file.take(BYTES).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    read().unwrap_or_default()
}

/// The last line of a log that says something.
pub fn last_line(text: &str) -> String {
    let says = |l: &&str| l.chars().any(char::is_alphanumeric);
    let line = text.lines().rev().find(says).unwrap_or_default();
    line.trim().chars().take(200).collect()
}
