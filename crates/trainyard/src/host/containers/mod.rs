//! The containers of one job: started, stepped into, stopped.
//!
//! Deliberately absent: files of a container that this user may not look into (`host/view.rs`).

mod door;
mod inner;
mod owner;
mod paths;
mod shell;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError};

use trainyard_executor_container::{
    Build, Create, Credentials, Engine, Exec, GiveBack, Held, LABEL, Member, OnStart, Pull,
    RUN_LABEL, Search, SetPlan, SharedSet, Source, Task, Volume, parse_options, parse_port,
    parse_volume, registry, search,
};
use trainyard_job::container::{ContainerSpec, ContainersReady, ContainersSpec};
use trainyard_job::shell::split;
use trainyard_model::Value;

use trainyard_services::{Door, Doors};

pub use door::open as open_door;
pub use paths::{EXTERNALS, PathMap};
pub use shell::KeptContainer;

use super::environment::{get, set};
use super::workspace::Workspace;
use inner::Inner;

/// The engine of this call, found when the first container is asked for.
#[derive(Debug, Default)]
pub struct Engines {
    engine: OnceLock<Result<Arc<Engine>, String>>,
}

impl Engines {
    /// The engine; what earlier calls of Trainyard left there is removed first.
    ///
    /// # Errors
    ///
    /// The one message when there is none.
    pub fn get(&self) -> Result<Arc<Engine>, String> {
        let found = self.engine.get_or_init(|| {
            let engine = search(&Search::here()).and_then(|found| Engine::connect(&found));
            let engine = engine.map_err(|e| e.said())?;
            engine.sweep(&|process| process_is_gone(process));
            Ok(Arc::new(engine))
        });
        found.clone()
    }

    /// The engine, if one was asked for.
    pub fn used(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(|e| e.as_ref().ok()).cloned()
    }
}

/// When a process began, in ticks since the machine did: numbers of processes come again.
fn start_of(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

/// The mark of this process on all that it makes.
fn process_mark() -> String {
    let pid = std::process::id();
    format!("{pid}-{}", start_of(pid).unwrap_or_default())
}

fn process_is_gone(mark: &str) -> bool {
    let Some((pid, start)) = mark.split_once('-') else { return false };
    let Ok(pid) = pid.parse::<u32>() else { return false };
    start_of(pid).as_deref() != Some(start)
}

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

    /// A file that steps write, whoever they are.
    pub fn open_file(&self, path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        if !self.foreign {
            return;
        }
        if !owner::chown_all(&[&path.to_owned()], self.owner.0, self.owner.1) {
            // Then it is open to all; the folder around it is not.
            let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666));
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
        })
    }

    /// Starts them.
    pub fn start(&mut self, spec: &ContainersSpec) -> Result<Task, String> {
        let mut members = Vec::new();
        for (name, service) in &spec.services {
            let Some(service) = service else { continue };
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

    fn member(&mut self, name: &str, spec: &ContainerSpec) -> Result<Member, String> {
        let at = |why: String| match name {
            "" => format!("container: {why}"),
            name => format!("services.{name}: {why}"),
        };
        let options = parse_options(&spec.options).map_err(|e| at(e.said()))?;
        let mut ports = Vec::new();
        for port in &spec.ports {
            ports.extend(parse_port(port).map_err(|e| at(e.said()))?);
        }
        let mut volumes = Vec::new();
        for volume in &spec.volumes {
            volumes.push(parse_volume(volume).map_err(|e| at(e.said()))?);
        }
        let mut env = spec.env.clone();
        set(&mut env, "GITHUB_ACTIONS", "true");
        if get(&env, "CI").is_none() {
            set(&mut env, "CI", "true");
        }
        let create = Create {
            name: self.name(if name.is_empty() { "job" } else { name }),
            image: spec.image.clone(),
            env,
            entrypoint: spec.entrypoint.as_deref().map(split).filter(|e| !e.is_empty()),
            command: spec.command.as_deref().map(split).filter(|c| !c.is_empty()),
            volumes,
            ports,
            aliases: if name.is_empty() { Vec::new() } else { vec![name.to_owned()] },
            options,
            ..Create::default()
        };
        let credentials = spec.credentials.as_ref().map(|(username, password)| Credentials {
            username: username.clone(),
            password: password.clone(),
            server: registry(&spec.image).to_owned(),
        });
        Ok(Member { name: name.to_owned(), create, credentials })
    }

    /// The runner's folders, its waiting process, and the variables that it sets.
    fn job_mounts(&self, create: &mut Create) -> Result<(), String> {
        let home = self.workspace.home();
        std::fs::create_dir_all(&home)
            .map_err(|e| format!("cannot create {}: {e}", home.display()))?;
        // From the outermost in: a mount within another one comes after it.
        let mut mounts: Vec<Volume> =
            self.map.pairs().iter().rev().map(|(host, inner)| Volume::bind(host, inner)).collect();
        mounts.sort_by_key(|v| v.target.matches('/').count());
        // What the user mounts lies over it.
        mounts.append(&mut create.volumes);
        create.volumes = mounts;
        if let Some(socket) = self.socket()? {
            // Engines take one mount of a place.
            let place = |v: &Volume| v.target != socket.target;
            create.volumes.retain(place);
            create.options.volumes.retain(place);
            create.volumes.push(socket);
        }
        let externals = self.workspace.temp.join("_externals");
        std::fs::create_dir_all(&externals)
            .map_err(|e| format!("cannot create {}: {e}", externals.display()))?;
        create.volumes.push(Volume::bind(&externals.to_string_lossy(), EXTERNALS));
        set(&mut create.env, "HOME", paths::HOME);
        create.workdir = Some(self.map.inside(&self.workspace.workspace.to_string_lossy()));
        create.entrypoint = Some(vec!["tail".into()]);
        create.command = Some(vec!["-f".into(), "/dev/null".into()]);
        Ok(())
    }

    /// The engine's socket, where images look for it.
    fn socket(&self) -> Result<Option<Volume>, String> {
        let engine = self.engines.get()?;
        let socket = engine.socket.as_ref().map(|s| s.to_string_lossy().into_owned());
        Ok(socket.map(|s| Volume::bind(&s, "/var/run/docker.sock")))
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

    /// The user of the container may write where steps write.
    fn give_to_user(&self, engine: &Engine, inner: &Inner) {
        let folders = [&self.workspace.root, &self.workspace.command_files];
        if owner::chown_all(&folders, self.owner.0, self.owner.1) {
            return;
        }
        let owner = format!("{}:{}", self.owner.0, self.owner.1);
        let folders =
            [paths::WORK.to_owned(), format!("{}/_temp/_runner_file_commands", paths::WORK)];
        let mut command = vec!["chown", "-R", &owner];
        command.extend(folders.iter().map(String::as_str));
        // Where neither works, the step says what it may not write.
        let _ = engine.ask(&inner.id, &command, Some("0"));
    }

    /// After a step that ran on this machine: what it laid is the container's user's.
    pub fn hand_over(&self) {
        if let (true, Some(inner), Ok(engine)) =
            (self.foreign, self.inner.get(), self.engines.get())
        {
            self.give_to_user(&engine, inner);
        }
    }

    /// Stops and removes them.
    pub fn stop(&self) -> Result<Task, String> {
        let engine = self.engines.get()?;
        let back = self.give_back(&engine, &self.map, &[paths::WORK, paths::HOME, paths::TOOLS]);
        engine.stop_set(Arc::clone(&self.set), back).map_err(|e| e.said())
    }

    /// Who owns files that were made in the container, when that is not this user anyway.
    fn give_back(&self, engine: &Engine, map: &PathMap, folders: &[&str]) -> Option<GiveBack> {
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let owner = match (uid, engine.rootless) {
            (0, _) => return None,
            // The container's root is this user.
            (_, true) => "0:0".to_owned(),
            (_, false) => format!("{uid}:{gid}"),
        };
        let places = folders.iter().map(|f| PathBuf::from(map.outside(f))).collect();
        let folders = folders.iter().map(|f| (*f).to_owned()).collect();
        Some(GiveBack { owner, folders, places })
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
        // The image's own.
        env.retain(|(k, _)| k != "PATH");
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
            entrypoint: entrypoint.map(split).filter(|e| !e.is_empty()),
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
