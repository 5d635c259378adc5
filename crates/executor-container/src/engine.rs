//! Which engine this machine has, and the connection to it.
//!
//! In order: `DOCKER_HOST`, Docker's socket, Podman's (rootful for root, else the user's own), and
//! where only Podman's program is there, a service of it that lives as long as the call.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};

use crate::error::{ContainerError, Result};
use crate::raw::{Address, ping};

/// Seconds that one answer of the engine may take; builds and pulls answer in streams.
const PATIENCE: u64 = 600;
/// What the folder of a service's socket begins with; the call's process follows.
const FOLDER: &str = "trainyard-podman-";
/// How long Podman's service may take to listen.
const SERVICE_START: Duration = Duration::from_secs(20);

/// Whose engine it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// Docker, or what speaks like it.
    Docker,
    /// Podman's API for Docker's clients.
    Podman,
}

impl std::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EngineKind::Docker => "Docker",
            EngineKind::Podman => "Podman",
        })
    }
}

/// Where an engine is looked for.
#[derive(Debug, Clone)]
pub struct Search {
    /// `DOCKER_HOST`
    pub docker_host: Option<String>,
    /// `XDG_RUNTIME_DIR`
    pub runtime_dir: Option<PathBuf>,
    /// `PATH`
    pub path: String,
    /// The user's id.
    pub uid: u32,
}

impl Search {
    /// As this process finds it.
    pub fn here() -> Search {
        let text = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        Search {
            docker_host: text("DOCKER_HOST"),
            runtime_dir: text("XDG_RUNTIME_DIR").map(PathBuf::from),
            path: text("PATH").unwrap_or_default(),
            uid: rustix::process::getuid().as_raw(),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A socket that answers or may answer.
    Socket(PathBuf),
    /// `http://` of an engine on this machine.
    Http(String),
    /// Podman's program alone.
    Program(PathBuf),
}

/// The first engine of a machine.
///
/// # Errors
///
/// One message when there is none, or when `DOCKER_HOST` names one that cannot be used.
pub fn search(search: &Search) -> Result<Found> {
    if let Some(host) = &search.docker_host {
        if let Some(path) = host.strip_prefix("unix://") {
            return match Path::new(path).exists() {
                true => Ok(Found::Socket(PathBuf::from(path))),
                false => Err(ContainerError::new(format!(
                    "DOCKER_HOST is '{host}', and there is no such socket"
                ))
                .hint("start the engine that DOCKER_HOST names, or unset it")),
            };
        }
        let name = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://"));
        let name = name.unwrap_or_default();
        let machine = name.rsplit_once(':').map_or(name, |(m, _)| m);
        return match machine {
            "localhost" | "127.0.0.1" | "[::1]" => Ok(Found::Http(format!("http://{name}"))),
            _ => Err(ContainerError::new(format!(
                "DOCKER_HOST is '{host}', which is not an engine on this machine that can be used"
            ))
            .hint("folders of this machine are mounted into containers: use unix:///PATH or tcp://localhost:PORT")),
        };
    }
    for socket in sockets(search) {
        if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
            return Ok(Found::Socket(socket));
        }
    }
    if let Some(program) = which("podman", &search.path) {
        return Ok(Found::Program(program));
    }
    Err(ContainerError::new("there is no container engine on this machine").hint(
        "install Podman (Debian, Ubuntu: apt install podman) or Docker, or name its socket with DOCKER_HOST; `trainyard doctor` tells more",
    ))
}

/// The sockets that may be there.
pub(crate) fn sockets(search: &Search) -> Vec<PathBuf> {
    let mut list = Vec::new();
    if let Some(folder) = &search.runtime_dir {
        list.push(folder.join("docker.sock"));
    }
    list.push(PathBuf::from("/var/run/docker.sock"));
    if let Some(folder) = &search.runtime_dir {
        list.push(folder.join("podman/podman.sock"));
    }
    if search.uid == 0 {
        list.push(PathBuf::from("/run/podman/podman.sock"));
    } else {
        list.push(PathBuf::from(format!("/run/user/{}/podman/podman.sock", search.uid)));
    }
    list
}

pub(crate) fn which(name: &str, path: &str) -> Option<PathBuf> {
    path.split(':').filter(|p| !p.is_empty()).map(|p| Path::new(p).join(name)).find(|p| p.is_file())
}

/// An engine that answers.
pub struct Engine {
    pub(crate) docker: Docker,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) address: Address,
    /// Whose it is.
    pub kind: EngineKind,
    /// Its version.
    pub version: String,
    /// Its socket on this machine, if it has one.
    pub socket: Option<PathBuf>,
    /// Whether the engine runs without root's rights.
    pub rootless: bool,
    service: Option<Service>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.version)
    }
}

/// A service of Podman that lives as long as the engine.
struct Service {
    child: Child,
    folder: PathBuf,
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        // It removes its containers' networks itself, and has nothing to finish.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Engine {
    /// Connects to what was found.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn connect(found: &Found) -> Result<Engine> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("containers")
            .enable_all()
            .build()
            .map_err(|e| ContainerError::new(format!("no threads for containers: {e}")))?;
        let (socket, service) = match found {
            Found::Socket(path) => (Some(path.clone()), None),
            Found::Http(_) => (None, None),
            Found::Program(program) => {
                let (socket, service) = serve(program)?;
                (Some(socket), Some(service))
            }
        };
        let name = match (&socket, found) {
            (Some(path), _) => path.display().to_string(),
            (None, Found::Http(address)) => address.clone(),
            _ => String::new(),
        };
        let silent = |e: &dyn std::fmt::Display| {
            ContainerError::new(format!("the container engine at {name} does not answer: {e}"))
        };
        let address = match &socket {
            Some(path) => Address::Unix(path.clone()),
            None => Address::Tcp(name.trim_start_matches("http://").to_owned()),
        };
        let ping = runtime.block_on(ping(&address)).map_err(|e| silent(&e))?;
        let podman = ping.name == "Libpod";
        // The newest version that both know; one that does not tell gets ours.
        let newest = API_DEFAULT_VERSION;
        let api = match ping.api {
            (0, 0) => *newest,
            (major_version, minor_version) => {
                let theirs = ClientVersion { major_version, minor_version };
                if theirs < *newest { theirs } else { *newest }
            }
        };
        // Its client asks for the runtime while it is made.
        let guard = runtime.enter();
        let docker = match &socket {
            Some(path) => Docker::connect_with_unix(&path.to_string_lossy(), PATIENCE, &api),
            None => Docker::connect_with_http(&name, PATIENCE, &api),
        };
        let docker = docker.map_err(|e| silent(&e))?;
        drop(guard);
        let rootless = match (podman, &socket) {
            // It says so in its own API alone, which takes half a second; whoever made the socket
            // runs it.
            (true, Some(path)) => path.metadata().is_ok_and(|m| m.uid() != 0),
            (true, None) => false,
            (false, _) => {
                let info = runtime.block_on(docker.info()).map_err(|e| silent(&e))?;
                let security = info.security_options.unwrap_or_default();
                security.iter().any(|o| o.contains("rootless"))
            }
        };
        Ok(Engine {
            docker,
            runtime,
            address,
            kind: if podman { EngineKind::Podman } else { EngineKind::Docker },
            version: ping.version,
            socket,
            rootless,
            service,
        })
    }

    /// Whether the engine is a service that this call started.
    pub fn is_own_service(&self) -> bool {
        self.service.is_some()
    }

    /// What runs its containers, `runc` or `crun`; empty if it does not tell.
    pub fn runtime(&self) -> String {
        let info = self.wait(self.docker.info()).unwrap_or_default();
        info.default_runtime.unwrap_or_default()
    }

    /// The runtimes that it knows.
    pub fn runtimes(&self) -> Vec<String> {
        let info = self.wait(self.docker.info()).unwrap_or_default();
        info.runtimes.unwrap_or_default().into_keys().collect()
    }

    /// Where it listens: its socket, or `HOST:PORT`.
    pub fn place(&self) -> String {
        match &self.address {
            Address::Unix(path) => path.display().to_string(),
            Address::Tcp(host) => host.clone(),
        }
    }

    /// `Docker 28.2 at /var/run/docker.sock`
    pub fn title(&self) -> String {
        let place = match (&self.socket, &self.service) {
            (_, Some(_)) => " (a service for this call)".to_owned(),
            (Some(path), None) => format!(" at {}", path.display()),
            (None, None) => String::new(),
        };
        let rootless = if self.rootless { ", rootless" } else { "" };
        format!("{} {}{rootless}{place}", self.kind, self.version)
    }

    pub(crate) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}

/// Starts Podman's service on a socket of this call's own.
fn serve(program: &Path) -> Result<(PathBuf, Service)> {
    // The path of a socket is short: no place in the data folder.
    let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|p| p.is_dir());
    let base = base.unwrap_or_else(std::env::temp_dir);
    let folder = base.join(format!("{FOLDER}{}", std::process::id()));
    let failed = |why: String| {
        ContainerError::new(format!("`podman system service` does not start: {why}"))
            .hint("`podman info` tells what is missing")
    };
    remove_left(&base);
    let _ = std::fs::remove_dir_all(&folder);
    make_private(&folder).map_err(|e| failed(format!("{}: {e}", folder.display())))?;
    let socket = folder.join("podman.sock");
    let log = folder.join("log");
    let file = std::fs::File::create(&log).map_err(|e| failed(e.to_string()))?;
    let errors = file.try_clone().map_err(|e| failed(e.to_string()))?;
    let mut command = Command::new(program);
    command
        .args(["system", "service", "--time=0"])
        .arg(format!("unix://{}", socket.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::from(file))
        .stderr(Stdio::from(errors));
    {
        use std::os::unix::process::CommandExt;
        // A Ctrl-C reaches Trainyard alone, which still needs the service to clean up.
        command.process_group(0);
    }
    let child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let mut service = Service { child, folder };
    let began = Instant::now();
    loop {
        if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
            return Ok((socket, service));
        }
        let ended = service.child.try_wait().ok().flatten();
        if ended.is_some() || began.elapsed() > SERVICE_START {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let last = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or("no answer");
            return Err(failed(last.to_owned()));
        }
        // Nothing tells of a socket that is about to be there but the socket itself.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends the services of calls that were killed, and removes their folders.
fn remove_left(base: &Path) {
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(FOLDER).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            end_service(&entry.path());
            // Another user's stays.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn end_service(folder: &Path) {
    let address = format!("unix://{}/podman.sock", folder.display());
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        let Some(pid) = name.parse().ok().and_then(rustix::process::Pid::from_raw) else {
            continue;
        };
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        if line.split(|b| *b == 0).any(|word| word == address.as_bytes()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: Option<&str>) -> String {
        let wanted = Search {
            docker_host: host.map(str::to_owned),
            runtime_dir: Some("/nowhere".into()),
            path: "/nowhere".into(),
            uid: 4_000_000,
        };
        match search(&wanted) {
            Ok(found) => format!("{found:?}"),
            Err(error) => error.said(),
        }
    }

    #[test]
    fn hosts() {
        insta::assert_snapshot!(check(Some("tcp://localhost:2375")), @r#"Http("http://localhost:2375")"#);
        insta::assert_snapshot!(check(Some("unix:///dev/null")), @r#"Socket("/dev/null")"#);
        insta::assert_snapshot!(check(Some("unix:///nowhere/x")), @"DOCKER_HOST is 'unix:///nowhere/x', and there is no such socket (start the engine that DOCKER_HOST names, or unset it)");
        insta::assert_snapshot!(check(Some("ssh://gpu-box")), @"DOCKER_HOST is 'ssh://gpu-box', which is not an engine on this machine that can be used (folders of this machine are mounted into containers: use unix:///PATH or tcp://localhost:PORT)");
        insta::assert_snapshot!(check(Some("tcp://10.0.0.3:2375")), @"DOCKER_HOST is 'tcp://10.0.0.3:2375', which is not an engine on this machine that can be used (folders of this machine are mounted into containers: use unix:///PATH or tcp://localhost:PORT)");
    }

    #[test]
    fn order() {
        let wanted = Search {
            docker_host: None,
            runtime_dir: Some("/run/user/7".into()),
            path: String::new(),
            uid: 7,
        };
        let list: Vec<String> = sockets(&wanted).iter().map(|p| p.display().to_string()).collect();
        insta::assert_snapshot!(list.join("\n"), @r"
        /run/user/7/docker.sock
        /var/run/docker.sock
        /run/user/7/podman/podman.sock
        /run/user/7/podman/podman.sock
        ");
    }
}
