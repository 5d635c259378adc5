//! One process of a job: started in a session of its own, stopped as the runner stops it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use trainyard_executor_container::Task;
use trainyard_job::Exit;

/// A started process with the pipe of its output.
pub struct Running {
    kind: Kind,
    /// Standard output and error, one stream so that their order holds.
    pub output: Option<OwnedFd>,
}

enum Kind {
    /// On this machine, with what becomes readable when it ends.
    Child(Child, Pid, OwnedFd),
    /// On this machine, the child of another process, which tells its status: what becomes readable then.
    Forked(Pid, Option<OwnedFd>, OwnedFd),
    /// In a container.
    Task(Task),
}

impl From<Task> for Running {
    fn from(mut task: Task) -> Running {
        Running { output: task.output.take(), kind: Kind::Task(task) }
    }
}

/// Starts a program with exactly this environment.
pub fn start(
    program: &Path,
    args: &[String],
    env: &[(String, String)],
    directory: &Path,
) -> io::Result<Running> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .envs(env.iter().map(|(k, v)| (k.as_str(), v.as_str())))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::from(write.try_clone()?))
        .stderr(Stdio::from(write));
    // A session of its own: no controlling terminal, so that nothing can ask for a password, and
    // a Ctrl-C reaches Trainyard alone.
    #[allow(unsafe_code)]
    // SAFETY: between fork and exec only `setsid` is called, which is async-signal-safe and
    // touches no memory of this process.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
    let child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Running { kind: Kind::Child(child, pid, pidfd), output: Some(read) })
}

impl Running {
    /// A leader of a session that another process has started; `status` is where its wait status is told.
    pub fn forked(pid: i32, status: OwnedFd, output: OwnedFd) -> io::Result<Running> {
        let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::other("it was not started"))?;
        // One that has ended already has none, and needs no signals.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
        Ok(Running { kind: Kind::Forked(pid, pidfd, status), output: Some(output) })
    }

    /// For polling: readable when the process has ended.
    pub fn ended_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Child(_, _, pidfd) => pidfd.as_fd(),
            Kind::Forked(_, _, status) => status.as_fd(),
            Kind::Task(task) => task.ended_fd(),
        }
    }

    /// Collects the status of a process that has ended.
    pub fn status(&mut self) -> Exit {
        let child = match &mut self.kind {
            Kind::Child(child, ..) => child,
            Kind::Forked(_, _, status) => return told(status),
            Kind::Task(task) => return task.status(),
        };
        match child.wait() {
            Ok(status) => exit(status),
            Err(error) => Exit::NotStarted(format!("its status is lost: {error}")),
        }
    }

    /// Asks it to stop.
    pub fn interrupt(&self) {
        match &self.kind {
            Kind::Child(_, _, pidfd) | Kind::Forked(_, Some(pidfd), _) => {
                let _ = rustix::process::pidfd_send_signal(pidfd, Signal::INT);
            }
            Kind::Forked(_, None, _) => {}
            Kind::Task(task) => task.interrupt(),
        }
    }

    /// Tells it to stop.
    pub fn terminate(&self) {
        match &self.kind {
            Kind::Child(_, _, pidfd) | Kind::Forked(_, Some(pidfd), _) => {
                let _ = rustix::process::pidfd_send_signal(pidfd, Signal::TERM);
            }
            Kind::Forked(_, None, _) => {}
            Kind::Task(task) => task.terminate(),
        }
    }

    /// Kills what it left behind in its session; it has ended itself.
    pub fn kill_left_behind(&self) {
        match &self.kind {
            Kind::Child(_, pid, _) | Kind::Forked(pid, ..) => {
                kill_orphans_of(pid.as_raw_nonzero().get());
            }
            // A container has gone with all that was in it.
            Kind::Task(_) => {}
        }
    }

    /// Kills it and everything that came from it.
    pub fn kill_tree(&self) {
        match &self.kind {
            Kind::Child(_, pid, _) | Kind::Forked(pid, Some(_), _) => {
                kill_family(pid.as_raw_nonzero().get());
            }
            Kind::Forked(_, None, _) => {}
            Kind::Task(task) => task.kill(),
        }
    }
}

fn exit(status: std::process::ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}

/// The status that was told; whoever should have told it may be gone.
fn told(status: &OwnedFd) -> Exit {
    let mut bytes = [0; 4];
    match rustix::io::read(status, &mut bytes) {
        Ok(4) => exit(std::process::ExitStatus::from_raw(i32::from_le_bytes(bytes))),
        _ => Exit::NotStarted("its status is lost: what had started it has ended".into()),
    }
}

/// Kills what a session left behind that has come to this process.
fn kill_orphans_of(session: i32) {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(text) = std::fs::read_to_string(format!("/proc/self/task/{own}/children")) else {
        return;
    };
    for pid in text.split_whitespace().filter_map(|p| p.parse::<i32>().ok()) {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let of = fields.split_whitespace().nth(3).and_then(|f| f.parse::<i32>().ok());
        // Its leader is waited for by whoever started it.
        if pid != session && of == Some(session) {
            kill_family(pid);
            let pid = Pid::from_raw(pid);
            let _ = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty());
        }
    }
}

/// A line of `/proc/PID/stat`: parent and session.
struct Stat {
    pid: i32,
    parent: i32,
    session: i32,
}

fn processes() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // The name in brackets may hold anything, brackets included.
            let mut fields = text.rsplit_once(')')?.1.split_whitespace();
            let parent = fields.nth(1)?.parse().ok()?;
            let session = fields.nth(1)?.parse().ok()?;
            Some(Stat { pid, parent, session })
        })
        .collect()
}

fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Kills a session leader, its session, and all descendants. A tree that still grows is walked
/// again, a few times at most.
fn kill_family(leader: i32) {
    for _ in 0..5 {
        let all = processes();
        let mut family = vec![leader];
        family.extend(all.iter().filter(|s| s.session == leader).map(|s| s.pid));
        let mut next = 0;
        while next < family.len() {
            let parent = family[next];
            for stat in all.iter().filter(|s| s.parent == parent) {
                if !family.contains(&stat.pid) {
                    family.push(stat.pid);
                }
            }
            next += 1;
        }
        family.retain(|pid| *pid == leader || *pid > 1);
        family.dedup();
        let alive = family.len() > 1;
        family.iter().for_each(|pid| kill(*pid));
        if !alive {
            return;
        }
    }
}

/// Orphans come to this process instead of to init, so that none can escape.
pub fn adopt_orphans() {
    // Without it leftovers are not found at the end of a job, which a kernel this old must bear.
    let _ = rustix::process::set_child_subreaper(Pid::from_raw(1));
}

/// Collects orphans that have ended: they came to this process as their last relative. Leaders of
/// sessions of their own that it started itself are left to those who wait for them.
pub fn bury_orphans() {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let path = format!("/proc/self/task/{own}/children");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    for pid in text.split_whitespace().filter_map(|p| p.parse::<i32>().ok()) {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let session = fields.get(3).and_then(|f| f.parse::<i32>().ok());
        let is_orphan = session.is_some_and(|s| s != pid);
        if fields.first() == Some(&"Z") && is_orphan {
            let pid = Pid::from_raw(pid);
            let _ = rustix::process::waitpid(pid, rustix::process::WaitOptions::NOHANG);
        }
    }
}

/// Kills what the jobs of a run left behind whose own process is gone: they are no children of
/// this one, so all processes of this user are looked at.
pub fn kill_abandoned(run: i64, data: &Path) {
    let tracking = format!("RUNNER_TRACKING_ID=trainyard_{run}_");
    let temp = format!("RUNNER_TEMP={}/", data.display());
    for stat in processes() {
        let Ok(environ) = std::fs::read(format!("/proc/{}/environ", stat.pid)) else { continue };
        let has =
            |wanted: &str| environ.split(|b| *b == 0).any(|v| v.starts_with(wanted.as_bytes()));
        if has(&tracking) && has(&temp) {
            kill_family(stat.pid);
        }
    }
}

/// Kills what a job left behind: adopted processes that carry its tracking id.
pub fn kill_leftovers(tracking: &str) {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let Ok(text) = std::fs::read_to_string(format!("/proc/self/task/{own}/children")) else {
        return;
    };
    let needle = format!("RUNNER_TRACKING_ID={tracking}");
    for pid in text.split_whitespace().filter_map(|p| p.parse::<i32>().ok()) {
        let Ok(environ) = std::fs::read(format!("/proc/{pid}/environ")) else { continue };
        if environ.split(|b| *b == 0).any(|v| v == needle.as_bytes()) {
            kill_family(pid);
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            }
        }
    }
}
