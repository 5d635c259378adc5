//! Processes in containers: in one that runs, or in one of their own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::{AttachContainerOptionsBuilder, KillContainerOptionsBuilder};
use futures_util::StreamExt;
use rustix::process::{Pid, Signal};
use tokio::time::{Instant, sleep};
use trainyard_job::Exit;

use crate::container::{Client, Create, Running};
use crate::engine::{Engine, EngineKind};
use crate::error::{ContainerError, Result, engine_words};
use crate::health::died;
use crate::set::{GiveBack, needed};
use crate::task::{Stop, Stops, Task, TaskOutput};

/// Time for the output to close after a process ended.
const DRAIN: Duration = Duration::from_secs(5);
/// Time for a process that was killed to be gone: no signal reaches one of another machine.
const BURIAL: Duration = Duration::from_secs(5);
/// How often it is asked whether a process goes on whose output is open.
const ASK: Duration = Duration::from_millis(500);
/// Bytes of one piece of output.
const PIECE: usize = 64 * 1024;
/// Bytes of the output in which the engine may say that there is no such program.
const HEAD: usize = 512;

/// What is done when a container has started: what it gives is dropped
/// when the container has ended.
pub type OnStart = Box<dyn FnOnce(&Running) -> std::result::Result<Held, String> + Send>;

/// What is kept for as long as a container runs.
#[derive(Clone)]
pub struct Held(Arc<dyn std::any::Any + Send + Sync>);

impl Held {
    /// Keeps something.
    pub fn new(thing: impl std::any::Any + Send + Sync) -> Held {
        Held(Arc::new(thing))
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held({})", Arc::strong_count(&self.0))
    }
}

pub(crate) async fn prepare(
    started: OnStart,
    running: Running,
) -> std::result::Result<Held, String> {
    let done = tokio::task::spawn_blocking(move || started(&running)).await;
    done.unwrap_or_else(|e| Err(e.to_string()))
}

/// A process in a container that runs.
#[derive(Debug, Clone, Default)]
pub struct Exec {
    /// The container.
    pub container: String,
    /// Its first process, seen from this machine: for the memory that it ran out of.
    pub init: Option<i32>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its variables, beyond the container's.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub directory: Option<String>,
    /// Its user, if not the container's.
    pub user: Option<String>,
}

impl Engine {
    /// Starts a process in a container.
    ///
    /// # Errors
    ///
    /// When there are no pipes to be had; what the engine says comes with the end of the task.
    pub fn exec(&self, exec: Exec) -> Result<Task> {
        let client = self.client();
        self.task(move |mut out, mut stops| async move {
            match run_exec(&client, &exec, &mut out, &mut stops).await {
                Ok(exit) => exit,
                Err(error) => Exit::NotStarted(error.said()),
            }
        })
    }

    /// Runs a command in a container to its end: its exit code and what it printed.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub fn ask(
        &self,
        container: &str,
        command: &[&str],
        user: Option<&str>,
    ) -> Result<(Option<i64>, String)> {
        let command: Vec<String> = command.iter().map(|c| (*c).to_owned()).collect();
        self.wait(quiet_exec(&self.client(), container, &command, user))
    }
}

/// Runs a container to its end and removes it.
pub(crate) async fn run_once(
    client: &Client,
    create: &Create,
    started: OnStart,
    out: &mut TaskOutput,
    stops: &mut Stops,
) -> Exit {
    let id = match client.create(create).await {
        Ok(id) => id,
        Err(error) => return Exit::NotStarted(error.said()),
    };
    let exit = attached(client, &id, &create.image, started, out, stops).await;
    if let Err(error) = client.remove(&id).await {
        out.line(&format!("##[warning]{}", error.said())).await;
    }
    exit.unwrap_or_else(|error| Exit::NotStarted(error.said()))
}

/// Gives files back that a container of its own left to another user, through one more of its image.
pub(crate) async fn give_back(
    client: &Client,
    mut create: Create,
    back: GiveBack,
    out: &mut TaskOutput,
) {
    let command = back.command();
    if !needed(&back).await {
        return;
    }
    create.name.push_str("-files");
    create.entrypoint = Some(vec![command[0].clone()]);
    create.command = Some(command[1..].to_vec());
    create.options.user = Some("0".into());
    create.options.entrypoint = None;
    let done = async {
        let id = client.create(&create).await?;
        let ran = async {
            client.start(&id, &create.image).await?;
            loop {
                let state = client.inspect(&id).await?;
                if !state.running {
                    return Ok(state.exit_code);
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        let code: Result<Option<i64>> = ran.await;
        client.remove(&id).await?;
        code
    };
    let why = match done.await {
        Ok(Some(0)) => return,
        Ok(_) => "its `chown` failed".to_owned(),
        Err(error) => error.message,
    };
    out.line(&format!("##[warning]files of the container cannot be given back: {why}")).await;
}

async fn attached(
    client: &Client,
    id: &str,
    image: &str,
    started: OnStart,
    out: &mut TaskOutput,
    stops: &mut Stops,
) -> Result<Exit> {
    let options = AttachContainerOptionsBuilder::default()
        .stream(true)
        .stdout(true)
        .stderr(true)
        .logs(true)
        .build();
    let attached = client.docker.attach_container(id, Some(options)).await;
    let mut attached = attached.map_err(|e| {
        absent(&engine_words(&e), image)
            .unwrap_or_else(|| ContainerError::api("the container cannot be listened to", &e))
    })?;
    // Podman makes a container's network before its process, so that all is ready by then.
    let early = client.kind == EngineKind::Podman && client.init(id).await;
    if !early {
        client.start(id, image).await?;
    }
    let state = client.inspect(id).await?;
    // One that has ended already needs nothing.
    let _held = match state.running || early {
        true => match prepare(started, state).await {
            Ok(held) => Some(held),
            // It may have ended meanwhile, and then needs nothing either.
            Err(_) if !client.inspect(id).await?.running => None,
            Err(why) => {
                out.line(&format!("##[warning]{why}")).await;
                None
            }
        },
        false => None,
    };
    if early {
        client.start(id, image).await?;
    }
    let mut ended: Option<Instant> = None;
    loop {
        let limit = ended.map_or(ASK, |at| (at + DRAIN).saturating_duration_since(Instant::now()));
        tokio::select! {
            piece = attached.output.next() => match piece {
                Some(Ok(piece)) => print(out, piece).await,
                Some(Err(_)) | None => break,
            },
            stop = stops.next() => kill_container(client, id, stop).await,
            () = sleep(limit) => {
                if ended.is_some() {
                    break;
                }
                if !client.inspect(id).await?.running {
                    ended = Some(Instant::now());
                }
            }
        }
    }
    loop {
        let state = client.inspect(id).await?;
        if !state.running {
            if state.out_of_memory {
                out.line("##[error]The kernel killed the container: it ran out of memory. Give it more with --memory.").await;
            }
            return Ok(match state.exit_code.and_then(|c| i32::try_from(c).ok()) {
                Some(code) => Exit::Code(code),
                None => Exit::NotStarted(died(state.exit_code, &state.error)),
            });
        }
        tokio::select! {
            stop = stops.next() => kill_container(client, id, stop).await,
            () = sleep(Duration::from_millis(10)) => {}
        }
    }
}

async fn kill_container(client: &Client, id: &str, stop: Stop) {
    let signal = match stop {
        Stop::None => return,
        Stop::Interrupt => "SIGINT",
        Stop::Terminate => "SIGTERM",
        Stop::Kill => "SIGKILL",
    };
    let options = KillContainerOptionsBuilder::default().signal(signal).build();
    // One that has just ended takes no signal any more.
    let _ = client.docker.kill_container(id, Some(options)).await;
}

async fn print(out: &mut TaskOutput, piece: LogOutput) {
    out.bytes(&piece.into_bytes()).await;
}

async fn open(client: &Client, exec: &Exec) -> Result<(String, StartExecResults)> {
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(exec.command.clone()),
        env: Some(exec.env.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        working_dir: exec.directory.clone(),
        user: exec.user.clone(),
        ..CreateExecOptions::default()
    };
    let doing = "the process cannot be started in the job's container";
    let made = client.docker.create_exec(&exec.container, options).await;
    let id = match made {
        Ok(made) => made.id,
        Err(error) => return Err(gone(client, exec, &error, doing).await),
    };
    let start = StartExecOptions { detach: false, tty: false, output_capacity: Some(PIECE) };
    match client.docker.start_exec(&id, Some(start)).await {
        Ok(started) => Ok((id, started)),
        Err(error) => Err(gone(client, exec, &error, doing).await),
    }
}

/// That an image has no such program, where an engine's words mean that.
pub(crate) fn absent(words: &str, image: &str) -> Option<ContainerError> {
    let missing = words.contains("executable file") && words.contains("not found")
        || words.contains("exec") && words.contains("no such file or directory");
    if !missing {
        return None;
    }
    // runc says `exec: "NAME": executable…`, crun says `executable file `NAME` not found`.
    let quoted = |mark: char| words.split(mark).nth(1).filter(|n| !n.is_empty());
    let name = quoted('`').or_else(|| quoted('"')).unwrap_or("its program");
    Some(
        ContainerError::new(format!("'{name}' is not in the image '{image}'"))
            .hint("an entrypoint is one program; its arguments are `command` or `args`"),
    )
}

/// Why a process did not start: mostly as its container is gone.
async fn gone(
    client: &Client,
    exec: &Exec,
    error: &bollard::errors::Error,
    doing: &str,
) -> ContainerError {
    if let Ok(state) = client.inspect(&exec.container).await
        && !state.running
    {
        let why = died(state.exit_code, &state.error);
        return ContainerError::new(format!("the job's container is gone: {why}"));
    }
    let words = engine_words(error);
    if words.contains("executable file not found") || words.contains("no such file or directory") {
        return ContainerError::new(not_there(exec));
    }
    ContainerError::api(doing, error)
}

fn not_there(exec: &Exec) -> String {
    let program = exec.command.first().map(String::as_str).unwrap_or_default();
    let hint = match program {
        "bash" => ": take `shell: sh`, or an image with bash",
        _ => "",
    };
    format!("'{program}' is not in the job's image{hint}")
}

async fn run_exec(
    client: &Client,
    exec: &Exec,
    out: &mut TaskOutput,
    stops: &mut Stops,
) -> Result<Exit> {
    let killed_before = exec.init.and_then(out_of_memory_kills);
    let (id, started) = open(client, exec).await?;
    let StartExecResults::Attached { mut output, input } = started else {
        return Err(ContainerError::new("the engine gives no output"));
    };
    let mut ended: Option<Instant> = None;
    let mut stopped = false;
    let mut killed: Option<Instant> = None;
    let mut head = Vec::new();
    loop {
        let limit = ended.map_or(ASK, |at| (at + DRAIN).saturating_duration_since(Instant::now()));
        if killed.is_some_and(|at| at.elapsed() > BURIAL) {
            return Ok(Exit::Signal(9));
        }
        tokio::select! {
            piece = output.next() => match piece {
                Some(Ok(piece)) => {
                    let piece = piece.into_bytes();
                    if head.len() < HEAD {
                        head.extend_from_slice(&piece[..piece.len().min(HEAD)]);
                    }
                    out.bytes(&piece).await;
                }
                Some(Err(_)) | None => break,
            },
            stop = stops.next() => {
                stopped = true;
                signal(client, &id, exec, stop).await;
                if stop == Stop::Kill {
                    killed.get_or_insert_with(Instant::now);
                }
            }
            () = sleep(limit) => {
                if ended.is_some() {
                    break;
                }
                // Something that it started may hold its output for ever.
                let state = client.docker.inspect_exec(&id).await;
                if !state.is_ok_and(|s| s.running.unwrap_or_default()) {
                    ended = Some(Instant::now());
                }
            }
        }
    }
    drop(input);
    let mut pause = Duration::from_millis(2);
    let code = loop {
        match client.docker.inspect_exec(&id).await {
            Ok(state) if !state.running.unwrap_or_default() => break state.exit_code,
            Ok(_) if killed.is_some_and(|at| at.elapsed() > BURIAL) => {
                return Ok(Exit::Signal(9));
            }
            // It closed its output, and goes on.
            Ok(_) => pause = (pause * 5 / 4).min(ASK),
            Err(_) => break None,
        }
        tokio::select! {
            stop = stops.next() => {
                stopped = true;
                signal(client, &id, exec, stop).await;
                if stop == Stop::Kill {
                    killed.get_or_insert_with(Instant::now);
                }
            }
            () = sleep(pause) => {}
        }
    };
    let code = code.and_then(|c| i32::try_from(c).ok());
    // Podman says so in the output of a process that never was.
    let never = String::from_utf8_lossy(&head);
    if matches!(code, Some(126 | 127))
        && ["runc: ", "crun: "].iter().any(|r| never.starts_with(&format!("Error: {r}")))
        && (never.contains("executable file") && never.contains("not found")
            || never.contains("no such file or directory"))
    {
        let directory = exec.directory.as_deref().unwrap_or_default();
        return Ok(Exit::NotStarted(match never.contains("chdir") {
            true => {
                format!("The working directory {directory} does not exist in the job's container")
            }
            false => not_there(exec),
        }));
    }
    if code != Some(0) && !stopped {
        let state = client.inspect(&exec.container).await;
        if !state.as_ref().is_ok_and(|s| s.running) {
            let why = state.map_or_else(|e| e.message, |s| died(s.exit_code, &s.error));
            return Ok(Exit::NotStarted(format!(
                "The job's container is gone while the step ran: {why}"
            )));
        }
        if killed_before != exec.init.and_then(out_of_memory_kills) {
            out.line("##[error]The kernel killed a process of the job's container: it ran out of memory. Give it more with --memory in `options`.").await;
        }
    }
    Ok(code.map_or_else(|| Exit::NotStarted("the engine lost its exit code".into()), Exit::Code))
}

/// How many processes of a container were killed for want of memory; none where that is not told.
fn out_of_memory_kills(pid: i32) -> Option<u64> {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let (mut folder, mut file) = (None, "memory.events");
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        if controllers.split(',').any(|c| c == "memory") {
            (folder, file) = (Some(format!("/sys/fs/cgroup/memory{path}")), "memory.oom_control");
            break;
        }
        if controllers.is_empty() {
            folder = Some(format!("/sys/fs/cgroup{path}"));
        }
    }
    let text = std::fs::read_to_string(Path::new(&folder?).join(file)).ok()?;
    text.lines().find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Signals a process in a container: from here where this process may, else from within.
async fn signal(client: &Client, id: &str, exec: &Exec, stop: Stop) {
    let (signal, name) = match stop {
        Stop::None => return,
        Stop::Interrupt => (Signal::INT, "INT"),
        Stop::Terminate => (Signal::TERM, "TERM"),
        Stop::Kill => (Signal::KILL, "KILL"),
    };
    let Ok(state) = client.docker.inspect_exec(id).await else { return };
    let Some(pid) = state.pid.and_then(|p| i32::try_from(p).ok()).filter(|p| *p > 1) else {
        return;
    };
    // An engine in a virtual machine tells numbers of that machine: here they are others'.
    if !crate::container::is_here(pid, &exec.container) {
        return;
    }
    let family = match stop {
        Stop::Kill => family(pid),
        _ => vec![pid],
    };
    let mut refused = Vec::new();
    for pid in family {
        let Some(target) = Pid::from_raw(pid) else { continue };
        if rustix::process::kill_process(target, signal) == Err(rustix::io::Errno::PERM) {
            refused.extend(inner_pid(pid));
        }
    }
    if !refused.is_empty() {
        // The shell's own: slim images have no program of that name.
        let script = "kill -s \"$0\" \"$@\"".to_owned();
        let mut command = vec!["sh".to_owned(), "-c".to_owned(), script, name.to_owned()];
        command.extend(refused.iter().map(i32::to_string));
        // An image without a shell keeps the process until its container goes.
        let _ = quiet_exec(client, &exec.container, &command, Some("0")).await;
    }
}

/// A process and all that came from it.
fn family(pid: i32) -> Vec<i32> {
    let mut list = vec![pid];
    let mut next = 0;
    while next < list.len() && list.len() < 10_000 {
        let path = format!("/proc/{0}/task/{0}/children", list[next]);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        list.extend(text.split_whitespace().filter_map(|p| p.parse::<i32>().ok()));
        next += 1;
    }
    list
}

/// The number of a process within its container.
fn inner_pid(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("NSpid:"))?;
    line.split_whitespace().last()?.parse().ok()
}

/// Runs a command in a container without showing it: its exit code and what it printed.
pub(crate) async fn quiet_exec(
    client: &Client,
    container: &str,
    command: &[String],
    user: Option<&str>,
) -> Result<(Option<i64>, String)> {
    let exec = Exec {
        container: container.to_owned(),
        command: command.to_vec(),
        user: user.map(str::to_owned),
        ..Exec::default()
    };
    let (id, started) = open(client, &exec).await?;
    let mut text = Vec::new();
    if let StartExecResults::Attached { mut output, .. } = started {
        while let Some(Ok(piece)) = output.next().await {
            if text.len() < 1024 * 1024 {
                text.extend_from_slice(&piece.into_bytes());
            }
        }
    }
    let mut tries = 0;
    let code = loop {
        match client.docker.inspect_exec(&id).await {
            Ok(state) if !state.running.unwrap_or_default() => break state.exit_code,
            Ok(_) if tries < 500 => tries += 1,
            Ok(_) | Err(_) => break None,
        }
        sleep(Duration::from_millis(5)).await;
    };
    Ok((code, String::from_utf8_lossy(&text).into_owned()))
}
