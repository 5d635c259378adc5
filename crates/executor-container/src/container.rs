//! Containers and networks: made, started, looked at, removed.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, DeviceMapping, DeviceRequest, EndpointSettings, HealthConfig, HostConfig,
    HostConfigCgroupnsModeEnum, HostConfigLogConfig, NetworkCreateRequest, NetworkingConfig,
    PortBinding, ResourcesUlimits, VolumeCreateRequest,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptionsBuilder,
};
use futures_util::StreamExt;
use serde_json::Value as Json;

use crate::engine::{Engine, EngineKind};
use crate::error::{ContainerError, Result, engine_words, status};
use crate::options::{Gpus, Options};
use crate::ports::Port;
use crate::process::absent;
use crate::raw::Address;
use crate::volumes::Volume;

/// A container to make.
#[derive(Debug, Clone, Default)]
pub struct Create {
    /// Its name, unique on this machine.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Labels by which it is found again.
    pub labels: Vec<(String, String)>,
    /// Its variables; they win over those of its options, as on GitHub.
    pub env: Vec<(String, String)>,
    /// What it runs instead of the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// The arguments of that; none leaves the image's.
    pub command: Option<Vec<String>>,
    /// Its working directory.
    pub workdir: Option<String>,
    /// What is mounted.
    pub volumes: Vec<Volume>,
    /// What is reached from this machine.
    pub ports: Vec<Port>,
    /// The network that it joins.
    pub network: Option<String>,
    /// Its names there.
    pub aliases: Vec<String>,
    /// Names and addresses for its `/etc/hosts`, `NAME:ADDRESS`.
    pub hosts: Vec<String>,
    /// What `options` asks for beyond.
    pub options: Options,
}

impl Create {
    /// All its variables, each once.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        for (name, value) in self.options.env.iter().chain(&self.env) {
            match all.iter_mut().find(|(n, _)| n == name) {
                Some(known) => known.1.clone_from(value),
                None => all.push((name.clone(), value.clone())),
            }
        }
        all
    }
}

/// A container as the engine sees it.
#[derive(Debug, Clone, Default)]
pub struct Running {
    /// Its id.
    pub id: String,
    /// The image that it was made of.
    pub image: String,
    /// Its first process on this machine, if it runs.
    pub pid: Option<i32>,
    /// Whether it runs.
    pub running: bool,
    /// Its exit code, once it has ended.
    pub exit_code: Option<i64>,
    /// What the engine says of its end.
    pub error: String,
    /// Whether the kernel killed it for want of memory.
    pub out_of_memory: bool,
    /// The `PATH` that its processes begin with.
    pub path: String,
    /// The user that its processes run as; empty for root.
    pub user: String,
    /// Its address in the job's network.
    pub address: String,
    /// This machine's address there, where the engine is this machine's own.
    pub gateway: String,
    /// Ports of this machine by ports of the container, `5432` → `32768`.
    pub ports: Vec<(String, String)>,
}

/// What speaks to the engine within tasks.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) docker: Docker,
    pub(crate) kind: EngineKind,
    pub(crate) address: Address,
}

impl Engine {
    pub(crate) fn client(&self) -> Client {
        Client { docker: self.docker.clone(), kind: self.kind, address: self.address.clone() }
    }

    /// Makes a network.
    ///
    /// # Errors
    ///
    /// What the engine says.
    pub fn create_network(&self, name: &str, labels: &[(String, String)]) -> Result<()> {
        self.wait(self.client().create_network(name, labels))
    }

    /// Removes containers, then networks, then volumes. What is gone already is no error.
    ///
    /// # Errors
    ///
    /// Those that the engine would not remove, with its words.
    pub fn remove(
        &self,
        containers: &[String],
        networks: &[String],
        volumes: &[String],
    ) -> Vec<ContainerError> {
        let client = self.client();
        let mut errors = Vec::new();
        self.wait(async {
            for id in containers {
                errors.extend(client.remove(id).await.err());
            }
            for name in networks {
                errors.extend(client.remove_network(name).await.err());
            }
            for name in volumes {
                let force = RemoveVolumeOptionsBuilder::default().force(true).build();
                // One that another job uses goes with that one.
                let _ = client.docker.remove_volume(name, Some(force)).await;
            }
        });
        errors
    }

    /// This machine's address in a network, if it has one there.
    pub fn gateway(&self, network: &str) -> Option<String> {
        let found = self.wait(self.docker.inspect_network(network, None)).ok()?;
        let configs = found.ipam?.config.unwrap_or_default();
        configs.into_iter().find_map(|c| c.gateway.filter(|g| !g.is_empty()))
    }

    /// Looks at a container.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn inspect(&self, id: &str) -> Result<Running> {
        self.wait(self.client().inspect(id))
    }
}

/// Whether a process of this machine is that of the container: an engine in a virtual machine
/// tells numbers of that machine.
pub(crate) fn is_here(pid: i32, id: &str) -> bool {
    let tells = |file: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        text.is_ok_and(|t| t.contains(id))
    };
    tells("cgroup") || tells("mountinfo")
}

impl Client {
    pub(crate) async fn create_network(
        &self,
        name: &str,
        labels: &[(String, String)],
    ) -> Result<()> {
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".into()),
            labels: Some(labels.iter().cloned().collect()),
            ..NetworkCreateRequest::default()
        };
        self.docker
            .create_network(request)
            .await
            .map(|_| ())
            .map_err(|e| ContainerError::api("the job's network cannot be made", &e))
    }

    pub(crate) async fn remove_network(&self, name: &str) -> Result<()> {
        match self.docker.remove_network(name).await {
            Err(error) if status(&error) != Some(404) => {
                Err(ContainerError::api(&format!("the network {name} cannot be removed"), &error))
            }
            _ => Ok(()),
        }
    }

    /// Makes the volumes with these names that are not there; `made` is told of each.
    pub(crate) async fn create_volumes(
        &self,
        volumes: &[Volume],
        labels: &[(String, String)],
        made: impl Fn(String),
    ) -> Result<()> {
        for name in volumes.iter().filter_map(|v| v.source.as_ref()).filter(|s| !s.starts_with('/'))
        {
            if self.docker.inspect_volume(name).await.is_ok() {
                continue;
            }
            let request = VolumeCreateRequest {
                name: Some(name.clone()),
                labels: Some(labels.iter().cloned().collect()),
                ..VolumeCreateRequest::default()
            };
            self.docker.create_volume(request).await.map_err(|e| {
                ContainerError::api(&format!("the volume {name} cannot be made"), &e)
            })?;
            made(name.clone());
        }
        Ok(())
    }

    /// Makes a container; its id.
    pub(crate) async fn create(&self, wanted: &Create) -> Result<String> {
        let options = &wanted.options;
        // Podman passes over a runtime or a platform that Docker's API names.
        let own = options.runtime.is_some() || options.platform.is_some();
        let devices = options.gpus.is_some() || !options.cdi.is_empty();
        if (devices || own) && self.kind == EngineKind::Podman {
            return self.create_with_devices(wanted).await;
        }
        let name = wanted.options.name.as_ref().unwrap_or(&wanted.name);
        let mut query = CreateContainerOptionsBuilder::default().name(name);
        if let Some(platform) = &wanted.options.platform {
            query = query.platform(platform);
        }
        let doing = format!("the container of '{}' cannot be made", wanted.image);
        let body = self.body(wanted)?;
        let made = self.docker.create_container(Some(query.build()), body).await;
        made.map(|m| m.id).map_err(|e| match (status(&e), &wanted.options.name) {
            (Some(409), Some(name)) => ContainerError::new(format!(
                "another container on this machine has the name '{name}' that --name asks for"
            ))
            .hint("leave --name out: the service is found by its own name; or run such jobs one after the other (`max-parallel: 1`)"),
            _ => ContainerError::api(&doing, &e),
        })
    }

    /// Makes a container's namespaces and its network without starting it; whether that worked.
    pub(crate) async fn init(&self, id: &str) -> bool {
        let path = format!("/v4.0.0/libpod/containers/{id}/init");
        self.raw("POST", &path, None).await.is_ok_and(|(status, _)| (200..=304).contains(&status))
    }

    pub(crate) async fn start(&self, id: &str, image: &str) -> Result<()> {
        let doing = format!("the container of '{image}' does not start");
        let started = self.docker.start_container(id, None).await;
        started.map_err(|e| {
            absent(&engine_words(&e), image).unwrap_or_else(|| ContainerError::api(&doing, &e))
        })
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<()> {
        let force = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker.remove_container(id, Some(force)).await {
            // Gone already, or on its way.
            Err(error) if !matches!(status(&error), Some(404 | 409)) => {
                Err(ContainerError::api(&format!("the container {id} cannot be removed"), &error))
            }
            _ => Ok(()),
        }
    }

    /// A container as the engine describes it.
    pub(crate) async fn inspect_raw(&self, id: &str) -> Result<Json> {
        let (status, json) = self.raw("GET", &format!("/containers/{id}/json"), None).await?;
        match status {
            200 => Ok(json),
            _ => {
                let words = json["message"].as_str().unwrap_or("no answer").to_owned();
                Err(ContainerError::new(format!("the container {id} cannot be looked at: {words}")))
            }
        }
    }

    pub(crate) async fn inspect(&self, id: &str) -> Result<Running> {
        let found = self.inspect_raw(id).await?;
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let (state, config) = (&found["State"], &found["Config"]);
        let env = config["Env"].as_array().map(Vec::as_slice).unwrap_or_default();
        let path = env.iter().find_map(|e| e.as_str()?.strip_prefix("PATH="));
        let path = path.unwrap_or("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let networks = found["NetworkSettings"]["Networks"].as_object();
        let first = |key: &str| {
            let values = networks.into_iter().flatten().map(|(_, n)| text(&n[key]));
            { values }.find(|a| !a.is_empty()).unwrap_or_default()
        };
        let mut ports: Vec<(String, String)> = Vec::new();
        let bound = found["NetworkSettings"]["Ports"].as_object();
        for (key, bindings) in bound.into_iter().flatten() {
            let inner = key.split('/').next().unwrap_or_default().to_owned();
            let outer = bindings[0]["HostPort"].as_str().filter(|p| !p.is_empty());
            ports.extend(outer.map(|outer| (inner, outer.to_owned())));
        }
        ports.sort();
        Ok(Running {
            id: found["Id"].as_str().unwrap_or(id).to_owned(),
            image: text(&config["Image"]),
            pid: state["Pid"]
                .as_i64()
                .and_then(|p| i32::try_from(p).ok())
                .filter(|p| *p > 0 && is_here(*p, found["Id"].as_str().unwrap_or(id))),
            running: state["Running"].as_bool().unwrap_or_default(),
            exit_code: state["ExitCode"].as_i64(),
            error: text(&state["Error"]),
            out_of_memory: state["OOMKilled"].as_bool().unwrap_or_default(),
            path: path.to_owned(),
            user: text(&config["User"]),
            address: first("IPAddress"),
            gateway: first("Gateway"),
            ports,
        })
    }

    /// The last lines that a container printed.
    pub(crate) async fn logs(&self, id: &str, lines: usize) -> Vec<u8> {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail(&lines.to_string())
            .build();
        let mut stream = self.docker.logs(id, Some(options));
        let mut text = Vec::new();
        while let Some(Ok(piece)) = stream.next().await {
            text.extend_from_slice(&piece.into_bytes());
            if text.len() > 1024 * 1024 {
                break;
            }
        }
        text
    }

    fn body(&self, wanted: &Create) -> Result<ContainerCreateBody> {
        let options = &wanted.options;
        let mut labels: HashMap<String, String> = options.labels.clone().into_iter().collect();
        labels.extend(wanted.labels.iter().cloned());
        let ports: Vec<&Port> = wanted.ports.iter().chain(&options.ports).collect();
        let mut exposed: Vec<String> = ports.iter().map(|p| p.key()).collect();
        exposed.extend(options.expose.iter().map(|p| match p.contains('/') {
            true => p.clone(),
            false => format!("{p}/tcp"),
        }));
        let volumes: Vec<&Volume> = wanted.volumes.iter().chain(&options.volumes).collect();
        let nameless = volumes.iter().filter(|v| v.source.is_none()).map(|v| v.target.clone());
        let aliases: Vec<String> = wanted.aliases.iter().chain(&options.aliases).cloned().collect();
        let endpoint = EndpointSettings {
            aliases: some(aliases),
            mac_address: options.mac_address.clone(),
            ..EndpointSettings::default()
        };
        let networking = wanted.network.as_ref().map(|network| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.clone(), endpoint)])),
        });
        Ok(ContainerCreateBody {
            hostname: options.hostname.clone(),
            domainname: options.domainname.clone(),
            user: options.user.clone(),
            exposed_ports: some(exposed),
            tty: options.tty.then_some(true),
            env: some(wanted.variables().into_iter().map(|(k, v)| format!("{k}={v}")).collect()),
            cmd: wanted.command.clone(),
            healthcheck: health(options),
            image: Some(wanted.image.clone()),
            volumes: some(nameless.collect()),
            working_dir: options.workdir.clone().or_else(|| wanted.workdir.clone()),
            entrypoint: wanted.entrypoint.clone().or_else(|| options.entrypoint.clone()),
            labels: Some(labels),
            stop_signal: options.stop_signal.clone(),
            stop_timeout: options.stop_timeout,
            host_config: Some(self.host_config(wanted, &ports, &volumes)?),
            networking_config: networking,
            ..ContainerCreateBody::default()
        })
    }

    fn host_config(
        &self,
        wanted: &Create,
        ports: &[&Port],
        volumes: &[&Volume],
    ) -> Result<HostConfig> {
        let o = &wanted.options;
        let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
        for port in ports {
            let binding = PortBinding {
                host_ip: (!port.address.is_empty()).then(|| port.address.clone()),
                host_port: Some(port.host.map(|p| p.to_string()).unwrap_or_default()),
            };
            let list = bindings.entry(port.key()).or_insert_with(|| Some(Vec::new()));
            list.get_or_insert_default().push(binding);
        }
        let ulimits = o.ulimits.iter().map(|(name, soft, hard)| ResourcesUlimits {
            name: Some(name.clone()),
            soft: Some(*soft),
            hard: Some(*hard),
        });
        let devices = o.devices.iter().map(|(host, container, mode)| DeviceMapping {
            path_on_host: Some(host.clone()),
            path_in_container: Some(container.clone()),
            cgroup_permissions: Some(mode.clone()),
        });
        let requests = device_requests(o);
        let log = o.log_driver.as_ref().map(|driver| HostConfigLogConfig {
            typ: Some(driver.clone()),
            config: Some(o.log_options.clone().into_iter().collect()),
        });
        let hosts: Vec<String> = wanted.hosts.iter().chain(&o.hosts).cloned().collect();
        Ok(HostConfig {
            binds: some(volumes.iter().filter_map(|v| v.as_bind()).collect()),
            port_bindings: (!bindings.is_empty()).then_some(bindings),
            publish_all_ports: o.publish_all.then_some(true),
            network_mode: wanted.network.clone(),
            tmpfs: (!o.tmpfs.is_empty()).then(|| o.tmpfs.clone().into_iter().collect()),
            extra_hosts: some(hosts),
            dns: some(o.dns.clone()),
            dns_search: some(o.dns_search.clone()),
            dns_options: some(o.dns_options.clone()),
            nano_cpus: o.nano_cpus,
            cpu_shares: o.cpu_shares,
            cpu_period: o.cpu_period,
            cpu_quota: o.cpu_quota,
            cpuset_cpus: o.cpuset_cpus.clone(),
            cpuset_mems: o.cpuset_mems.clone(),
            memory: o.memory,
            memory_swap: o.memory_swap,
            memory_reservation: o.memory_reservation,
            memory_swappiness: o.memory_swappiness,
            shm_size: o.shm_size,
            pids_limit: o.pids_limit,
            oom_score_adj: o.oom_score_adj,
            oom_kill_disable: o.oom_kill_disable.then_some(true),
            ulimits: some(ulimits.collect()),
            devices: some(devices.collect()),
            device_requests: some(requests),
            device_cgroup_rules: some(o.device_rules.clone()),
            cap_add: some(o.cap_add.clone()),
            cap_drop: some(o.cap_drop.clone()),
            security_opt: some(o.security.clone()),
            sysctls: (!o.sysctls.is_empty()).then(|| o.sysctls.clone().into_iter().collect()),
            group_add: some(o.groups.clone()),
            privileged: o.privileged.then_some(true),
            readonly_rootfs: o.read_only.then_some(true),
            init: o.init.then_some(true),
            ipc_mode: o.ipc.clone(),
            pid_mode: o.pid.clone(),
            uts_mode: o.uts.clone(),
            userns_mode: o.userns.clone(),
            cgroupns_mode: o.cgroupns.as_deref().map(|mode| match mode {
                "host" => HostConfigCgroupnsModeEnum::HOST,
                _ => HostConfigCgroupnsModeEnum::PRIVATE,
            }),
            cgroup_parent: o.cgroup_parent.clone(),
            runtime: o.runtime.clone(),
            storage_opt: (!o.storage.is_empty()).then(|| o.storage.clone().into_iter().collect()),
            log_config: log,
            volumes_from: some(o.volumes_from.clone()),
            ..HostConfig::default()
        })
    }
}

/// Cards and other devices by name, as Docker takes them.
fn device_requests(options: &Options) -> Vec<DeviceRequest> {
    let mut requests: Vec<DeviceRequest> = options.gpus.iter().map(gpu_request).collect();
    if !options.cdi.is_empty() {
        requests.push(DeviceRequest {
            driver: Some("cdi".into()),
            device_ids: Some(options.cdi.clone()),
            ..DeviceRequest::default()
        });
    }
    requests
}

/// As `docker run --gpus` asks (docker/cli `opts/gpus.go`).
fn gpu_request(gpus: &Gpus) -> DeviceRequest {
    let capabilities = ["gpu".to_owned()].into_iter().chain(gpus.capabilities.iter().cloned());
    DeviceRequest {
        driver: gpus.driver.clone(),
        count: gpus.ids.is_empty().then(|| gpus.count.unwrap_or(-1)),
        device_ids: some(gpus.ids.clone()),
        capabilities: Some(vec![capabilities.collect()]),
        ..DeviceRequest::default()
    }
}

/// The health check that the options ask for.
fn health(options: &Options) -> Option<HealthConfig> {
    let given = options.health_cmd.is_some()
        || options.health_interval.is_some()
        || options.health_retries.is_some()
        || options.health_timeout.is_some()
        || options.health_start_interval.is_some()
        || options.health_start_period.is_some();
    if options.no_healthcheck {
        let test = Some(vec!["NONE".into()]);
        return Some(HealthConfig { test, ..HealthConfig::default() });
    }
    let retries = options.health_retries;
    given.then(|| HealthConfig {
        test: options.health_cmd.as_ref().map(|c| vec!["CMD-SHELL".into(), c.clone()]),
        interval: options.health_interval,
        timeout: options.health_timeout,
        start_period: options.health_start_period,
        start_interval: options.health_start_interval,
        retries,
    })
}

/// An empty list is none: the engines mean different things by it.
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
