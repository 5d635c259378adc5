//! `trainyard doctor`: what this machine can do, and what to install for what.
//!
//! Deliberately absent: changes to the machine, and anything that needs a network.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use trainyard_executor_container::{Engine, EngineKind, Search, card_kind, search};

use crate::actions::node::Nodes;
use crate::builtin;
use crate::error::Result;
use crate::exit::Exit;
use crate::host::environment::which;
use crate::paths::data_dir;
use crate::run::driver::tool_cache;
use crate::ui::text::bytes;

/// Free bytes below which a run may soon fail.
const LITTLE: u64 = 2 * 1024 * 1024 * 1024;

/// How well something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It works.
    Ok,
    /// It is not there, and only what it is for does without it.
    Absent,
    /// It is there and has a fault, or nothing works without it.
    Wrong,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Absent => "absent",
            State::Wrong => "wrong",
        }
    }

    fn mark(self) -> char {
        match self {
            State::Ok => '✓',
            State::Absent => '-',
            State::Wrong => '✗',
        }
    }
}

/// What was found of one thing.
#[derive(Debug)]
struct Finding {
    name: &'static str,
    state: State,
    /// What is there, or what does not work without it.
    detail: String,
    /// What to do.
    remedy: Option<String>,
}

fn ok(name: &'static str, detail: impl Into<String>) -> Finding {
    Finding { name, state: State::Ok, detail: detail.into(), remedy: None }
}

fn lacks(
    name: &'static str,
    state: State,
    detail: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding { name, state, detail: detail.into(), remedy: Some(remedy.into()) }
}

/// Looks, and shows what was found.
///
/// # Errors
///
/// When there is no data folder.
pub fn doctor(as_json: bool) -> Result<Exit> {
    let data = data_dir()?;
    let mut findings = vec![
        program("git", &["--version"], State::Wrong, "nothing runs without it", "apt install git"),
        program("bash", &["--version"], State::Absent, "steps take sh", "apt install bash"),
    ];
    let engine = search(&Search::here()).and_then(|found| Engine::connect(&found));
    findings.extend(engines(&engine));
    findings.extend(cards(engine.as_ref().ok()));
    findings.push(node(&data));
    findings.push(python());
    findings.push(program(
        "uv",
        &["--version"],
        State::Absent,
        "setup-uv brings it from the package index",
        "pip install uv",
    ));
    findings.push(program(
        "git-lfs",
        &["--version"],
        State::Absent,
        "checkout with `lfs: true` fails",
        "apt install git-lfs",
    ));
    findings.push(program(
        "shellcheck",
        &["--version"],
        State::Absent,
        "`trainyard check` leaves scripts unchecked",
        "apt install shellcheck",
    ));
    findings.push(docker_tools());
    findings.push(disk(&data));
    match as_json {
        true => outln!(
            "{:#}",
            serde_json::Value::from(
                findings
                    .iter()
                    .map(|f| json!({
                        "name": f.name, "state": f.state.name(), "detail": f.detail,
                        "remedy": f.remedy,
                    }))
                    .collect::<Vec<_>>()
            )
        ),
        false => {
            for Finding { name, state, detail, remedy } in &findings {
                outln!("{} {name:<17} {detail}", state.mark());
                if let Some(remedy) = remedy {
                    outln!("  {:<17} → {remedy}", "");
                }
            }
        }
    }
    Ok(match findings.iter().any(|f| f.state == State::Wrong) {
        true => Exit::Failure,
        false => Exit::Success,
    })
}

/// The first line that a program prints.
fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // shellcheck's first line is its name.
    let line = text.lines().find(|l| l.contains(|c: char| c.is_ascii_digit()))?;
    output.status.success().then(|| line.trim().to_owned())
}

fn path() -> String {
    std::env::var("PATH").unwrap_or_default()
}

fn program(
    name: &'static str,
    args: &[&str],
    without: State,
    effect: &str,
    remedy: &str,
) -> Finding {
    match first_line(name, args) {
        Some(line) => ok(name, line),
        None => lacks(name, without, format!("not on the PATH: {effect}"), remedy),
    }
}

fn engines(
    engine: &std::result::Result<Engine, trainyard_executor_container::ContainerError>,
) -> Vec<Finding> {
    const NAME: &str = "container engine";
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => {
            let installed = ["docker", "podman"].iter().any(|p| which(p, &path()).is_some());
            let state = if installed { State::Wrong } else { State::Absent };
            let detail =
                format!("{}: jobs in containers, services and Docker actions fail", error.message);
            let remedy = error.hint.clone().unwrap_or_else(|| "install Podman or Docker".into());
            return vec![lacks(NAME, state, detail, remedy)];
        }
    };
    let mut findings = vec![ok(NAME, engine.title())];
    let podman = engine.kind == EngineKind::Podman;
    if podman && !engine.rootless && hybrid() && engine.runtime().ends_with("crun") {
        findings.push(lacks(
            "engine's runtime",
            State::Wrong,
            "crun starts no containers for root where control groups are in hybrid mode",
            "install runc, and in /etc/containers/containers.conf: [engine] runtime = \"runc\"",
        ));
    }
    if podman && engine.rootless {
        for (file, name) in [("/etc/subuid", "user ids"), ("/etc/subgid", "group ids")] {
            let user = std::env::var("USER").unwrap_or_default();
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let uid = rustix::process::getuid().as_raw().to_string();
            if !text.lines().any(|l| l.split(':').next().is_some_and(|u| u == user || u == uid)) {
                findings.push(lacks(
                    "rootless",
                    State::Wrong,
                    format!("{file} gives this user no {name}: images with more than one user do not unpack"),
                    format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}"),
                ));
            }
        }
    }
    if !podman && !rustix::process::getuid().is_root() && !engine.rootless {
        findings.push(lacks(
            "engine's reach",
            State::Absent,
            "root's engine: built-in actions see no container's files but the workspace and the home folder",
            "Podman, or Docker in rootless mode, has neither limit",
        ));
    }
    findings
}

/// Control groups of the first version beside those of the second.
fn hybrid() -> bool {
    Path::new("/sys/fs/cgroup/unified").exists() || Path::new("/sys/fs/cgroup/memory").exists()
}

fn cards(engine: Option<&Engine>) -> Vec<Finding> {
    const NAME: &str = "GPUs";
    let query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"];
    let listed = Command::new("nvidia-smi").args(query).stdin(Stdio::null()).output();
    let names = match listed {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.lines().map(|l| l.trim().to_owned()).collect::<Vec<_>>()
        }
        _ if Path::new("/dev/kfd").exists() => vec!["an AMD card (/dev/kfd)".to_owned()],
        _ => return vec![lacks_cards(NAME)],
    };
    let mut findings = vec![ok(NAME, names.join("; "))];
    let Some(engine) = engine else { return findings };
    let (ready, remedy) = match engine.kind {
        EngineKind::Podman => (
            card_kind().is_some(),
            "install NVIDIA's container toolkit, then: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
        ),
        EngineKind::Docker => (
            card_kind().is_some() || engine.runtimes().iter().any(|r| r == "nvidia"),
            "install NVIDIA's container toolkit, then: nvidia-ctk runtime configure --runtime=docker",
        ),
    };
    findings.push(match ready {
        true => ok("GPUs in containers", "--gpus"),
        false => lacks(
            "GPUs in containers",
            State::Wrong,
            format!("{} does not know the cards: --gpus fails", engine.kind),
            remedy,
        ),
    });
    findings
}

fn lacks_cards(name: &'static str) -> Finding {
    let detail = match card_kind() {
        Some(kind) => format!("none answers; containers are told of {kind}"),
        None => "none".to_owned(),
    };
    Finding { name, state: State::Absent, detail, remedy: None }
}

fn node(data: &Path) -> Finding {
    let all = Nodes::new(&tool_cache(data), data).installed();
    let mut majors: Vec<u32> = all.iter().map(|(major, _)| *major).collect();
    majors.sort_unstable();
    majors.dedup();
    let text = majors.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    match majors.last() {
        None => lacks(
            "Node",
            State::Absent,
            "none: JavaScript actions fail that are not built in",
            "install Node 20 or later, or npm, by which it is fetched",
        ),
        Some(last) if *last < 20 => lacks(
            "Node",
            State::Absent,
            format!("{text}: JavaScript actions want 20 or later"),
            "install Node 20 or later; with npm there it is fetched when it is needed",
        ),
        Some(last) if *last < 24 => {
            ok("Node", format!("{text}; actions for node24 fetch it by npm"))
        }
        Some(_) => ok("Node", text),
    }
}

fn python() -> Finding {
    let all: Vec<String> = builtin::interpreters().into_iter().map(|i| i.text).collect();
    match all.is_empty() {
        true => lacks(
            "Python",
            State::Absent,
            "none: setup-python fails",
            "apt install python3 python3-venv, or: uv python install 3.12",
        ),
        false => ok("Python", all.join(", ")),
    }
}

fn docker_tools() -> Finding {
    let missing = ["docker/login-action", "docker/build-push-action"]
        .into_iter()
        .any(|action| !builtin::has_docker_tools(action));
    match missing {
        false => ok("docker, buildx", "the docker/* actions run unmodified"),
        true => lacks(
            "docker, buildx",
            State::Absent,
            "login-action, setup-buildx-action and build-push-action are built in over the engine",
            "for builds of several platforms or with secrets: Docker with its buildx plugin",
        ),
    }
}

fn disk(data: &Path) -> Finding {
    const NAME: &str = "disk";
    let place = data.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(place) {
        Err(error) => lacks(
            NAME,
            State::Wrong,
            format!("{}: {error}", data.display()),
            "TRAINYARD_DATA_DIR names another folder",
        ),
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let detail = format!("{} free for {}", bytes(free), data.display());
            match free < LITTLE {
                true => lacks(
                    NAME,
                    State::Wrong,
                    detail,
                    "trainyard du shows what fills it; trainyard prune frees",
                ),
                false => ok(NAME, detail),
            }
        }
    }
}
