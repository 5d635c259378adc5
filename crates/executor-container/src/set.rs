//! The containers of a job: a network, its services, the container of its steps
//! (actions/runner `ContainerOperationProvider.cs`). Services start first, so that the job's own
//! container knows their addresses even where the engine's network answers no names.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use trainyard_job::Exit;

use crate::container::{Client, Create, Running};
use crate::engine::Engine;
use crate::error::{ContainerError, Result};
use crate::health::{Health, died};
use crate::image::{Credentials, Pull};
use crate::process::{Held, OnStart, prepare, quiet_exec};
use crate::task::{Stops, Task, TaskOutput};

/// Lines of a service's log that are shown.
const SERVICE_LOG: usize = 2_000;
/// Lines of the log of a container that did not start.
const FAILED_LOG: usize = 200;

/// A container of the set.
#[derive(Debug, Clone, Default)]
pub struct Member {
    /// The service's name; empty for the job's own container.
    pub name: String,
    /// What to make.
    pub create: Create,
    /// For its image.
    pub credentials: Option<Credentials>,
}

/// What to start.
pub struct SetPlan {
    /// The network that all of them join.
    pub network: String,
    /// Labels of everything made.
    pub labels: Vec<(String, String)>,
    /// Services first, then the job's own.
    pub members: Vec<Member>,
    /// When images are pulled.
    pub pull: Pull,
    /// Done when the job's own container runs.
    pub started: OnStart,
}

/// What is there, kept while it is made, so that nothing of it is lost.
#[derive(Debug, Clone, Default)]
pub struct SetState {
    /// Containers: the name, what is shown of it, the id.
    pub containers: Vec<(String, String, String)>,
    /// Those that run, by name.
    pub running: Vec<(String, Running)>,
    /// The network, once it is made.
    pub network: Option<String>,
    /// Volumes that were made for it.
    pub volumes: Vec<String>,
    /// Names and addresses of the services, `NAME:ADDRESS`.
    pub hosts: Vec<String>,
    /// What is kept while the job's own container runs.
    held: Option<Held>,
    /// Services whose log is shown already.
    shown: Vec<String>,
}

/// A [`SetState`] that a task fills and others read.
pub type SharedSet = Arc<Mutex<SetState>>;

fn change(set: &SharedSet, f: impl FnOnce(&mut SetState)) {
    f(&mut set.lock().unwrap_or_else(PoisonError::into_inner));
}

fn look(set: &SharedSet) -> SetState {
    set.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Gives files back to this machine's user, from within a container.
#[derive(Debug, Clone)]
pub struct GiveBack {
    /// `UID:GID`, as the container sees them.
    pub owner: String,
    /// Folders, as the container sees them.
    pub folders: Vec<String>,
    /// The same ones on this machine.
    pub places: Vec<PathBuf>,
}

impl GiveBack {
    pub(crate) fn command(&self) -> Vec<String> {
        let mut command = vec!["chown".to_owned(), "-R".into(), self.owner.clone()];
        command.extend(self.folders.iter().cloned());
        command
    }

    /// Whether anything there belongs to another user.
    pub(crate) fn is_needed(&self) -> bool {
        let own = rustix::process::getuid().as_raw();
        self.places.iter().any(|place| foreign(place, own, 0))
    }
}

pub(crate) async fn needed(back: &GiveBack) -> bool {
    let back = back.clone();
    tokio::task::spawn_blocking(move || back.is_needed()).await.unwrap_or(true)
}

fn foreign(place: &Path, own: u32, depth: usize) -> bool {
    let Ok(meta) = place.symlink_metadata() else { return false };
    if meta.uid() != own {
        return true;
    }
    if !meta.is_dir() || depth > 128 {
        return false;
    }
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    { entries }.any(|entry| foreign(&entry.path(), own, depth + 1))
}

impl Engine {
    /// Starts the containers of a job.
    ///
    /// # Errors
    ///
    /// When there are no pipes to be had; all else is told through the task.
    pub fn start_set(&self, plan: SetPlan, set: SharedSet) -> Result<Task> {
        let client = self.client();
        let title = self.title();
        self.task(move |mut out, mut stops| async move {
            out.line(&format!("container engine: {title}")).await;
            match start(&client, plan, &set, &mut out, &mut stops).await {
                Ok(true) => Exit::Code(0),
                Ok(false) => Exit::Code(1),
                Err(error) => {
                    // Whoever waits for the task says it.
                    Exit::NotStarted(error.said())
                }
            }
        })
    }

    /// Stops and removes them, with the logs of the services.
    ///
    /// # Errors
    ///
    /// When there are no pipes to be had.
    pub fn stop_set(&self, set: SharedSet, give_back: Option<GiveBack>) -> Result<Task> {
        let client = self.client();
        self.task(move |mut out, _| async move {
            stop(&client, &set, give_back.as_ref(), &mut out).await;
            Exit::Code(0)
        })
    }
}

fn title(member: &Member) -> String {
    match member.name.is_empty() {
        true => format!("the job's container ({})", member.create.image),
        false => format!("service {} ({})", member.name, member.create.image),
    }
}

async fn start(
    client: &Client,
    plan: SetPlan,
    set: &SharedSet,
    out: &mut TaskOutput,
    stops: &mut Stops,
) -> Result<bool> {
    let mut orders = stops.clone();
    tokio::select! {
        started = start_all(client, plan, set, out, stops) => started,
        // What is made already is in the set, and removed from there.
        _ = orders.next() => Ok(false),
    }
}

async fn start_all(
    client: &Client,
    plan: SetPlan,
    set: &SharedSet,
    out: &mut TaskOutput,
    stops: &mut Stops,
) -> Result<bool> {
    for member in &plan.members {
        let policy = match member.create.options.pull.as_deref() {
            Some("always") => Pull::Always,
            Some("never") => Pull::Never,
            _ => plan.pull,
        };
        client.pull(&member.create.image, policy, member.credentials.as_ref(), out).await?;
    }
    // Told first, so that nothing is lost between the engine's work and its answer.
    change(set, |s| s.network = Some(plan.network.clone()));
    client.create_network(&plan.network, &plan.labels).await?;
    for member in &plan.members {
        let mut create = member.create.clone();
        create.network = Some(plan.network.clone());
        create.labels.extend(plan.labels.iter().cloned());
        let hosts = look(set).hosts;
        create.hosts.extend(hosts);
        let volumes: Vec<_> =
            create.volumes.iter().chain(&create.options.volumes).cloned().collect();
        let made = |name| change(set, |s| s.volumes.push(name));
        client.create_volumes(&volumes, &plan.labels, made).await?;
        // A name of the user's own may be another container's.
        let ours = create.options.name.is_none();
        let entry = |id: &str| (member.name.clone(), title(member), id.to_owned());
        if ours {
            change(set, |s| s.containers.push(entry(&create.name)));
        }
        let id = client.create(&create).await?;
        change(set, |s| {
            if ours {
                s.containers.pop();
            }
            s.containers.push(entry(&id));
        });
        let started = client.start(&id, &create.image).await;
        if let Err(error) = started {
            return Err(no_tail(error, member));
        }
        let running = client.inspect(&id).await?;
        if running.running {
            out.line(&format!("{} runs: {}", title(member), id.get(..12).unwrap_or(&id))).await;
        } else if member.name.is_empty() {
            let why = died(running.exit_code, &running.error);
            show_log(client, set, &member.name, &id, FAILED_LOG, out).await;
            return Err(ContainerError::new(format!("{} does not run: {why}", title(member))));
        }
        change(set, |s| {
            if !member.name.is_empty() && !running.address.is_empty() {
                s.hosts.push(format!("{}:{}", member.name, running.address));
            }
            s.running.push((member.name.clone(), running));
        });
    }
    let own = look(set).running.into_iter().find(|(name, _)| name.is_empty());
    if let Some((_, running)) = own {
        match prepare(plan.started, running).await {
            Ok(held) => change(set, |s| s.held = Some(held)),
            Err(why) => out.line(&format!("##[warning]{why}")).await,
        }
    }
    healthy(client, set, out, stops).await
}

/// As on GitHub, the job's container waits by `tail`.
fn no_tail(error: ContainerError, member: &Member) -> ContainerError {
    let missing = member.name.is_empty() && error.message.starts_with("'tail' is not in");
    match missing {
        true => ContainerError::new(format!(
            "the image '{}' has no `tail`, by which a job's container waits, here as on GitHub",
            member.create.image
        ))
        .hint("take an image with a shell and the core utilities; BusyBox is enough"),
        false => error,
    }
}

async fn healthy(
    client: &Client,
    set: &SharedSet,
    out: &mut TaskOutput,
    stops: &mut Stops,
) -> Result<bool> {
    let mut fine = true;
    for (name, title, id) in look(set).containers {
        if name.is_empty() {
            continue;
        }
        match client.wait_healthy(&id, &name, out, stops).await? {
            Health::Unchecked => {}
            Health::Healthy => out.line(&format!("{name}: healthy")).await,
            Health::Stopped => return Ok(false),
            // As on GitHub, where a service without a check may end.
            Health::Ended(why) => {
                out.line(&format!("##[warning]{title} does not run: {why}")).await;
                show_log(client, set, &name, &id, FAILED_LOG, out).await;
            }
            Health::Unhealthy(why) => {
                out.line(&format!("##[error]{title} is not healthy: {why}")).await;
                show_log(client, set, &name, &id, FAILED_LOG, out).await;
                fine = false;
            }
        }
    }
    // Ports are told when the engine has given them all.
    for (name, _, id) in look(set).containers {
        let running = client.inspect(&id).await?;
        change(set, |s| {
            if let Some(entry) = s.running.iter_mut().find(|(n, _)| *n == name) {
                entry.1 = running;
            }
        });
    }
    Ok(fine)
}

async fn show_log(
    client: &Client,
    set: &SharedSet,
    name: &str,
    id: &str,
    lines: usize,
    out: &mut TaskOutput,
) {
    change(set, |s| s.shown.push(name.to_owned()));
    let text = client.logs(id, lines).await;
    let what = if name.is_empty() { "the job's container" } else { name };
    out.line(&format!("##[group]Log of {what}")).await;
    out.foreign(&text).await;
    if text.last().is_some_and(|b| *b != b'\n') {
        out.line("").await;
    }
    out.line("##[endgroup]").await;
}

async fn stop(
    client: &Client,
    set: &SharedSet,
    give_back: Option<&GiveBack>,
    out: &mut TaskOutput,
) {
    let state = look(set);
    if let (Some(back), Some((_, _, id))) =
        (give_back, state.containers.iter().find(|(n, ..)| n.is_empty()))
        && needed(back).await
    {
        let command = back.command();
        let done = quiet_exec(client, id, &command, Some("0")).await;
        let fine = matches!(done, Ok((Some(0), _)));
        if !fine {
            let why = done.map_or_else(|e| e.message, |(_, text)| text.trim().to_owned());
            out.line(&format!("##[warning]files of the container cannot be given back: {why}"))
                .await;
        }
    }
    for (name, title, id) in &state.containers {
        if !name.is_empty() && !state.shown.contains(name) {
            show_log(client, set, name, id, SERVICE_LOG, out).await;
        }
        match client.remove(id).await {
            Ok(()) => out.line(&format!("removed {title}")).await,
            Err(error) => out.line(&format!("##[warning]{}", error.said())).await,
        }
    }
    if let Some(network) = &state.network
        && let Err(error) = client.remove_network(network).await
    {
        out.line(&format!("##[warning]{}", error.said())).await;
    }
    change(set, |s| {
        *s = SetState { volumes: std::mem::take(&mut s.volumes), ..SetState::default() }
    });
}
