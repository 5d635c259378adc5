//! The containers of one job: started, stepped into, stopped.
//!
//! Deliberately absent: files of a container that this user may not look into (`host/view.rs`).

mod door;
mod engines;
mod inner;
mod mark;
mod members;
mod owner;
mod paths;
mod shell;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};

use trainyard_executor_container::{
    Build, Create, Engine, Exec, Held, LABEL, OnStart, Pull, RUN_LABEL, SetPlan, SharedSet, Source,
    Task, Volume,
};
use trainyard_job::ProcessKind;
use trainyard_job::container::{ContainerSpec, ContainersReady, ContainersSpec};
use trainyard_model::Value;

use trainyard_services::{Door, Doors};

pub use door::open as open_door;
pub use engines::Engines;
pub use owner::owner;
pub use paths::{EXTERNALS, PathMap};
pub use shell::KeptContainer;

use super::environment::{get, set};
use super::workspace::Workspace;
use inner::Inner;
pub use mark::process_mark;

/// The containers of one job.
#[derive(Debug)]
pub struct JobContainers {
    engines: Arc<Engines>,
    labels: Vec<(String, String)>,
    /// What names of containers and networks begin with.
    prefix: String,
    pull: Pull,
    /// Whether the steps run in a container.
    inside: bool,
    /// Whether that is so because their label stands for an image.
    by_label: bool,
    map: PathMap,
    workspace: Workspace,
    set: SharedSet,
    inner: OnceLock<Inner>,
    /// The user and the group of its processes.
    owner: (u32, u32),
    /// Whether the user may have files that are not ours.
    foreign: bool,
    next: u32,
    /// The network that Docker actions join.
    network: Option<String>,
    /// How the services are let into containers.
    doors: Option<Doors>,
    /// The job's own container, as it was asked for.
    spec: Option<ContainerSpec>,
    /// The names of the services.
    services: Vec<String>,
    /// The services' address and what containers know it as, where those are two.
    called: Arc<OnceLock<(String, String)>>,
    /// Where they listen for containers without a network of the job's own.
    door: Option<Arc<Door>>,
}

/// Whether it is root's engine, and this user is another.
fn is_foreign(engine: &Engine) -> bool {
    !engine.rootless && !rustix::process::geteuid().is_root()
}

/// What a job's containers are made with.
#[derive(Debug, Clone)]
pub struct ContainerSettings {
    /// The engine.
    pub engines: Arc<Engines>,
    /// The run.
    pub run: i64,
    /// The job.
    pub node: i64,
    /// When images are pulled.
    pub pull: Pull,
    /// Whether the steps run in a container.
    pub inside: bool,
    /// Whether that is so because their label stands for an image.
    pub by_label: bool,
    /// How the services are let into containers.
    pub doors: Option<Doors>,
}

impl JobContainers {
    /// Those of a job.
    pub fn new(settings: ContainerSettings, workspace: &Workspace) -> JobContainers {
        let pid = std::process::id();
        JobContainers {
            engines: settings.engines,
            labels: vec![
                (LABEL.to_owned(), process_mark()),
                (RUN_LABEL.to_owned(), settings.run.to_string()),
            ],
            prefix: format!("trainyard-{}-{}-{pid}", settings.run, settings.node),
            pull: settings.pull,
            inside: settings.inside,
            by_label: settings.by_label,
            map: PathMap::of_job(workspace),
            workspace: workspace.clone(),
            set: SharedSet::default(),
            inner: OnceLock::new(),
            owner: (0, 0),
            foreign: false,
            next: 0,
            network: None,
            doors: settings.doors,
            spec: None,
            services: Vec::new(),
            called: Arc::default(),
            door: None,
        }
    }

    /// Whether the steps run in a container.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// A path that a step named, on this machine.
    pub fn outside(&self, path: &str) -> String {
        match self.inside {
            true => self.map.outside(path),
            false => path.to_owned(),
        }
    }

    /// As [`Self::outside`]; `of_action` for one that a Docker action named.
    pub fn outside_of(&self, of_action: bool, path: &str) -> String {
        match of_action {
            true => PathMap::of_action(&self.workspace).outside(path),
            false => self.outside(path),
        }
    }

    /// A path of this machine, as a step names it.
    pub fn inside(&self, path: &str) -> String {
        match self.inside {
            true => self.map.inside(path),
            false => path.to_owned(),
        }
    }

    /// As [`Self::outside`], for each line.
    pub fn outside_lines(&self, text: &str) -> String {
        match self.inside {
            true => self.map.outside_lines(text),
            false => text.to_owned(),
        }
    }

    /// What a built-in action must know of the container that the steps around it run in.
    pub fn describe(&self, env: &mut Vec<(String, String)>) {
        if !self.inside {
            return;
        }
        set(env, "HOME", &self.workspace.home().to_string_lossy());
        let Some(inner) = self.inner.get() else { return };
        let view = super::view::View {
            folders: self.map.clone(),
            root: inner.pid.map(|pid| format!("/proc/{pid}/root")),
            container: inner.id.clone(),
            image: inner.image.clone(),
            engine: self.engines.used().map(|e| e.place()).unwrap_or_default(),
        };
        set(env, super::view::VARIABLE, &view.to_text());
    }

    /// What a shell needs to know of the job's own container.
    pub fn kept(&self) -> Option<KeptContainer> {
        let spec = self.spec.as_ref()?;
        Some(KeptContainer {
            image: spec.image.clone(),
            options: spec.options.clone(),
            volumes: spec.volumes.clone(),
            mounts: self.map.clone(),
            env: spec.env.clone(),
            services: self.services.clone(),
        })
    }

    /// Starts them.
    pub fn start(&mut self, spec: &ContainersSpec) -> Result<Task, String> {
        let mut members = Vec::new();
        for (name, service) in &spec.services {
            let Some(service) = service else { continue };
            self.services.push(name.clone());
            members.push(self.member(name, service)?);
        }
        if let Some(job) = &spec.job {
            self.spec = Some(job.clone());
            let mut member = self.member("", job)?;
            self.job_mounts(&mut member.create)?;
            members.push(member);
        }
        let network = format!("{}-net", self.prefix);
        self.network = Some(network.clone());
        let engine = self.engines.get()?;
        let plan = SetPlan {
            network,
            labels: self.labels.clone(),
            members,
            pull: self.pull,
            started: self.on_start(),
        };
        engine.start_set(plan, Arc::clone(&self.set)).map_err(|e| e.said())
    }

    /// Lets the services in.
    fn on_start(&self) -> OnStart {
        let doors = self.doors.clone();
        let called = Arc::clone(&self.called);
        let foreign = self.engines.used().is_some_and(|engine| is_foreign(&engine));
        Box::new(move |running| {
            let Some(doors) = doors else { return Ok(Held::new(())) };
            let out_of_reach = |why: &str| {
                format!(
                    "caches, artifacts and identity tokens cannot be reached within the container: {why}"
                )
            };
            let pid = running.pid.ok_or("its processes are not on this machine");
            let pid = pid.map_err(out_of_reach)?;
            // With another address in its variables already it is in.
            if called.get().is_some() {
                return Ok(Held::new(()));
            }
            let opened = door::listen(pid, doors.port())
                .and_then(|listener| doors.open(listener).map_err(|e| e.to_string()));
            let why = match opened {
                Ok(door) => return Ok(Held::new(door)),
                Err(why) => why,
            };
            // Only root's own engine has an address of this machine there.
            if !foreign {
                return Err(out_of_reach(&why));
            }
            let address = running.gateway.parse().map_err(|_| out_of_reach(&why))?;
            let (door, base) = doors.at(address).map_err(|e| out_of_reach(&e.to_string()))?;
            let _ = called.set((doors.base().to_owned(), base));
            Ok(Held::new(door))
        })
    }

    /// Before the container of a Docker action is made, whose variables must be right by then: an
    /// engine of another user is reached at this machine's address in the container's network. The
    /// engine's own network may be anybody's, so the action gets one of the job's.
    fn let_in(&mut self, engine: &Engine) {
        let foreign = is_foreign(engine);
        let Some(doors) = self.doors.as_ref().filter(|_| foreign && self.called.get().is_none())
        else {
            return;
        };
        let name = format!("{}-net", self.prefix);
        if !self.has_network() && engine.create_network(&name, &self.labels).is_ok() {
            self.set.lock().unwrap_or_else(PoisonError::into_inner).network = Some(name.clone());
            self.network = Some(name.clone());
        }
        let address = engine.gateway(&name).and_then(|g| g.parse().ok());
        if let Some((door, base)) = address.and_then(|address| doors.at(address).ok()) {
            let _ = self.called.set((doors.base().to_owned(), base));
            self.door = Some(door);
        }
    }

    /// A text with the address of the services by which the container knows them.
    pub fn called(&self, text: &str) -> String {
        match self.called.get() {
            Some((ours, theirs)) => text.replace(ours, theirs),
            None => text.to_owned(),
        }
    }

    fn name(&mut self, what: &str) -> String {
        self.next += 1;
        let clean: String = what
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(40)
            .collect();
        format!("{}-{}-{}", self.prefix, clean.trim_matches('-'), self.next)
    }

    /// What the job's contexts say of them, once they run.
    pub fn ready(&mut self) -> Result<ContainersReady, String> {
        let state = self.set.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let network = state.network.clone().unwrap_or_default();
        let mut container = None;
        let mut services = Vec::new();
        for (name, running) in &state.running {
            let id = Value::from(running.id.as_str());
            let network = Value::from(network.as_str());
            if name.is_empty() {
                container = Some(Value::object([("id", id), ("network", network)]));
                continue;
            }
            // Services alone have a network, too (`ContainerOperationProvider.cs`).
            container.get_or_insert_with(|| Value::object([("network", network.clone())]));
            let ports = running.ports.iter().map(|(k, v)| (k.as_str(), Value::from(v.as_str())));
            let service = [("id", id), ("ports", Value::object(ports)), ("network", network)];
            services.push((name.clone(), Value::object(service)));
        }
        let mut has_bash = None;
        if let Some((_, running)) = state.running.iter().find(|(n, _)| n.is_empty()) {
            let engine = self.engines.get()?;
            let inner = Inner::of(running);
            has_bash = self.by_label.then(|| inner.has_bash(&engine));
            self.owner = inner.owner(&engine);
            self.foreign = self.owner.0 != 0;
            if self.foreign {
                self.give_to_user(&engine, &inner);
            }
            let _ = self.inner.set(inner);
        }
        let services = Value::object(services.iter().map(|(k, v)| (k.as_str(), v.clone())));
        Ok(ContainersReady { container, services, has_bash })
    }

    /// Whether a process of the job's containers has nothing to do, and so wants no engine.
    pub fn has_nothing(&self, kind: &ProcessKind) -> bool {
        match kind {
            ProcessKind::StartContainers(spec) => {
                spec.job.is_none() && spec.services.iter().all(|(_, s)| s.is_none())
            }
            ProcessKind::StopContainers => {
                let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
                set.network.is_none() && set.containers.is_empty()
            }
            _ => false,
        }
    }

    /// Stops and removes them.
    pub fn stop(&self) -> Result<Task, String> {
        let engine = self.engines.get()?;
        let mut folders = vec![paths::WORK, paths::HOME];
        // One that others use has what is others'.
        if !self.workspace.shares_tools() {
            folders.push(paths::TOOLS);
        }
        let back = self.give_back(&engine, &self.map, &folders);
        engine.stop_set(Arc::clone(&self.set), back).map_err(|e| e.said())
    }

    /// Removes what is left, whatever became of the job.
    pub fn close(&self) {
        let Some(engine) = self.engines.used() else { return };
        let state = std::mem::take(&mut *self.set.lock().unwrap_or_else(PoisonError::into_inner));
        let ids: Vec<String> = state.containers.into_iter().map(|(_, _, id)| id).collect();
        let networks: Vec<String> = state.network.into_iter().collect();
        // What cannot be removed now is removed by the next call.
        let _ = engine.remove(&ids, &networks, &state.volumes);
    }

    /// Starts a process in the job's container. Its script and its folders are as on this machine.
    pub fn exec(
        &self,
        command: Vec<String>,
        env: &[(String, String)],
        path: &[String],
        directory: Option<&str>,
    ) -> Result<Task, String> {
        let inner = self.inner.get().ok_or("the job's container does not run")?;
        let mut env: Vec<(String, String)> =
            env.iter().map(|(k, v)| (self.called(k), self.called(&self.map.inside(v)))).collect();
        self.add_gateway(&mut env);
        let own = get(&env, "PATH").map(str::to_owned);
        let base = own.unwrap_or_else(|| inner.path.clone());
        let full: Vec<String> = path.iter().map(|p| self.map.inside(p)).chain([base]).collect();
        if !path.is_empty() {
            set(&mut env, "PATH", &full.join(":"));
        }
        let workspace = self.map.inside(&self.workspace.workspace.to_string_lossy());
        let directory = match directory {
            Some(given) if given.starts_with('/') => self.map.inside(given),
            Some(given) => format!("{workspace}/{given}"),
            None => workspace,
        };
        let exec = Exec {
            container: inner.id.clone(),
            init: inner.pid,
            command: command.iter().map(|c| self.map.inside(c)).collect(),
            env,
            directory: Some(directory),
            user: None,
        };
        self.engines.get()?.exec(exec).map_err(|e| e.said())
    }

    /// The Node that runs a JavaScript action in the container; `host` is this machine's.
    pub fn node(
        &self,
        using: &str,
        host: impl FnOnce() -> Result<PathBuf, String>,
    ) -> Result<String, String> {
        let inner = self.inner.get().ok_or("the job's container does not run")?;
        inner.node(&*self.engines.get()?, using, host, &self.workspace.temp.join("_externals"))
    }

    /// Starts the container of a Docker action.
    pub fn action(
        &mut self,
        image: &str,
        entrypoint: Option<&str>,
        args: Option<Vec<String>>,
        env: &[(String, String)],
    ) -> Result<Task, String> {
        let engine = self.engines.get()?;
        let home = self.workspace.home();
        std::fs::create_dir_all(&home)
            .map_err(|e| format!("cannot create {}: {e}", home.display()))?;
        let map = PathMap::of_action(&self.workspace);
        self.let_in(&engine);
        let network = self.network.clone().filter(|_| self.has_network());
        let mut env: Vec<(String, String)> = env
            .iter()
            .map(|(k, v)| (self.called(k), self.called(&map.inside(&self.outside(v)))))
            .collect();
        self.add_gateway(&mut env);
        set(&mut env, "HOME", paths::HOME);
        if get(&env, "CI").is_none() {
            set(&mut env, "CI", "true");
        }
        let mut volumes: Vec<Volume> =
            map.pairs().iter().map(|(host, inner)| Volume::bind(host, inner)).collect();
        volumes.extend(self.socket()?);
        let source = match image.get(..9).filter(|p| p.eq_ignore_ascii_case("docker://")) {
            Some(_) => Source::Image(image[9..].to_owned()),
            None => Source::Build(dockerfile(image)?),
        };
        let hosts = self.set.lock().unwrap_or_else(PoisonError::into_inner).hosts.clone();
        let what = Path::new(image).parent().and_then(Path::file_name);
        let what = what.map_or_else(|| "action".to_owned(), |n| n.to_string_lossy().into_owned());
        let create = Create {
            name: self.name(&what),
            labels: self.labels.clone(),
            env,
            entrypoint: entrypoint.filter(|e| !e.is_empty()).map(|e| vec![e.to_owned()]),
            command: args,
            workdir: Some("/github/workspace".into()),
            volumes,
            network,
            hosts,
            ..Create::default()
        };
        let folders = ["/github/workspace", paths::HOME, "/github/runner_temp"];
        let back = self.give_back(&engine, &map, &folders);
        engine.once(source, self.pull, None, create, self.on_start(), back).map_err(|e| e.said())
    }

    /// No proxy knows this machine's address in a container's network.
    fn add_gateway(&self, env: &mut Vec<(String, String)>) {
        let Some((_, theirs)) = self.called.get() else { return };
        let host =
            theirs.trim_start_matches("http://").rsplit_once(':').map_or("", |(host, _)| host);
        for name in ["no_proxy", "NO_PROXY"] {
            if let Some(value) = get(env, name).map(|value| format!("{value},{host}")) {
                set(env, name, &value);
            }
        }
    }

    fn has_network(&self) -> bool {
        self.set.lock().unwrap_or_else(PoisonError::into_inner).network.is_some()
    }
}

/// What an action's Dockerfile is built from: its folder.
fn dockerfile(path: &str) -> Result<Build, String> {
    let dockerfile = std::fs::canonicalize(path)
        .map_err(|e| format!("the Dockerfile '{path}' of the action: {e}"))?;
    let context = dockerfile.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(Build { context, dockerfile, ..Build::default() })
}
