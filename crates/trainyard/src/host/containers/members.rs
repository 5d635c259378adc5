//! What a job's containers are made of: that of its steps, and its services.

use trainyard_executor_container::{
    Create, Credentials, Member, Volume, parse_options, parse_port, parse_volume, registry,
};
use trainyard_job::container::ContainerSpec;
use trainyard_job::shell::split;

use super::{EXTERNALS, JobContainers, paths};
use crate::host::environment::{PROXIES, get, set};

impl JobContainers {
    pub(super) fn member(&mut self, name: &str, spec: &ContainerSpec) -> Result<Member, String> {
        let at = |why: String| match name {
            "" => format!("container: {why}"),
            name => format!("services.{name}: {why}"),
        };
        let options = parse_options(&spec.options).map_err(|e| at(e.said()))?;
        if name.is_empty() && options.entrypoint.is_some() {
            return Err(at(
                "options: --entrypoint is refused: the job's container waits for its steps".into(),
            ));
        }
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
        add_proxies(&mut env);
        let create = Create {
            name: self.name(if name.is_empty() { "job" } else { name }),
            image: spec.image.clone(),
            env,
            // One program, whatever blanks are in it (`DockerCommandManager.cs`).
            entrypoint: spec.entrypoint.clone().filter(|e| !e.is_empty()).map(|e| vec![e]),
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
    pub(super) fn job_mounts(&self, create: &mut Create) -> Result<(), String> {
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
    pub(super) fn socket(&self) -> Result<Option<Volume>, String> {
        let engine = self.engines.get()?;
        let socket = engine.socket.as_ref().map(|s| s.to_string_lossy().into_owned());
        Ok(socket.map(|s| Volume::bind(&s, "/var/run/docker.sock")))
    }
}

/// How this machine reaches the world is how containers do, unless they say otherwise
/// (`ContainerInfo.cs`).
fn add_proxies(env: &mut Vec<(String, String)>) {
    for name in PROXIES {
        if let (None, Ok(value)) = (get(env, name), std::env::var(name)) {
            set(env, name, &value);
        }
    }
}
