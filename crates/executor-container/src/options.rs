//! `options:` of a container: the flags of `docker create`. Every flag is obeyed or refused.

use std::collections::BTreeMap;

use trainyard_job::shell::split;

use crate::error::{ContainerError, Result};
use crate::ports::{self, Port};
use crate::values::{duration, gpus, size};
use crate::volumes::{self, Volume};

/// What the flags ask for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// `--name`
    pub name: Option<String>,
    /// `--entrypoint`, of a service.
    pub entrypoint: Option<Vec<String>>,
    /// `--mac-address`
    pub mac_address: Option<String>,
    /// `--user`
    pub user: Option<String>,
    /// `--hostname`
    pub hostname: Option<String>,
    /// `--domainname`
    pub domainname: Option<String>,
    /// `--workdir`
    pub workdir: Option<String>,
    /// `--env`, the last one of a name wins.
    pub env: Vec<(String, String)>,
    /// `--label`
    pub labels: BTreeMap<String, String>,
    /// `--volume`, `--mount`
    pub volumes: Vec<Volume>,
    /// `--tmpfs`: options by path.
    pub tmpfs: BTreeMap<String, String>,
    /// `--publish`
    pub ports: Vec<Port>,
    /// `--publish-all`
    pub publish_all: bool,
    /// `--expose`
    pub expose: Vec<String>,
    /// `--network-alias`
    pub aliases: Vec<String>,
    /// `--add-host`
    pub hosts: Vec<String>,
    /// `--dns`, `--dns-search`, `--dns-option`
    pub dns: Vec<String>,
    /// `--dns-search`
    pub dns_search: Vec<String>,
    /// `--dns-option`
    pub dns_options: Vec<String>,
    /// `--cpus`, in billionths.
    pub nano_cpus: Option<i64>,
    /// `--cpu-shares`
    pub cpu_shares: Option<i64>,
    /// `--cpu-period`
    pub cpu_period: Option<i64>,
    /// `--cpu-quota`
    pub cpu_quota: Option<i64>,
    /// `--cpuset-cpus`
    pub cpuset_cpus: Option<String>,
    /// `--cpuset-mems`
    pub cpuset_mems: Option<String>,
    /// `--memory`, bytes.
    pub memory: Option<i64>,
    /// `--memory-swap`, bytes.
    pub memory_swap: Option<i64>,
    /// `--memory-reservation`, bytes.
    pub memory_reservation: Option<i64>,
    /// `--memory-swappiness`, 0 to 100.
    pub memory_swappiness: Option<i64>,
    /// `--shm-size`, bytes.
    pub shm_size: Option<i64>,
    /// `--pids-limit`
    pub pids_limit: Option<i64>,
    /// `--oom-score-adj`
    pub oom_score_adj: Option<i64>,
    /// `--oom-kill-disable`
    pub oom_kill_disable: bool,
    /// `--ulimit`: name, soft, hard.
    pub ulimits: Vec<(String, i64, i64)>,
    /// The words as they were given.
    pub words: Vec<String>,
    /// `--gpus`: what stands behind it.
    pub gpus: Option<Gpus>,
    /// `--device`: paths of this machine, `HOST[:CONTAINER[:MODE]]`.
    pub devices: Vec<(String, String, String)>,
    /// `--device VENDOR/CLASS=NAME` (Container Device Interface).
    pub cdi: Vec<String>,
    /// `--device-cgroup-rule`
    pub device_rules: Vec<String>,
    /// `--cap-add`
    pub cap_add: Vec<String>,
    /// `--cap-drop`
    pub cap_drop: Vec<String>,
    /// `--security-opt`
    pub security: Vec<String>,
    /// `--sysctl`
    pub sysctls: BTreeMap<String, String>,
    /// `--group-add`
    pub groups: Vec<String>,
    /// `--privileged`
    pub privileged: bool,
    /// `--read-only`
    pub read_only: bool,
    /// `--init`
    pub init: bool,
    /// `--tty`
    pub tty: bool,
    /// `--ipc`
    pub ipc: Option<String>,
    /// `--pid`
    pub pid: Option<String>,
    /// `--uts`
    pub uts: Option<String>,
    /// `--userns`
    pub userns: Option<String>,
    /// `--cgroupns`
    pub cgroupns: Option<String>,
    /// `--cgroup-parent`
    pub cgroup_parent: Option<String>,
    /// `--runtime`
    pub runtime: Option<String>,
    /// `--platform`
    pub platform: Option<String>,
    /// `--stop-signal`
    pub stop_signal: Option<String>,
    /// `--stop-timeout`, seconds.
    pub stop_timeout: Option<i64>,
    /// `--storage-opt`
    pub storage: BTreeMap<String, String>,
    /// `--log-driver`
    pub log_driver: Option<String>,
    /// `--log-opt`
    pub log_options: BTreeMap<String, String>,
    /// `--volumes-from`
    pub volumes_from: Vec<String>,
    /// `--health-cmd`
    pub health_cmd: Option<String>,
    /// `--health-interval`, nanoseconds.
    pub health_interval: Option<i64>,
    /// `--health-timeout`, nanoseconds.
    pub health_timeout: Option<i64>,
    /// `--health-start-period`, nanoseconds.
    pub health_start_period: Option<i64>,
    /// `--health-start-interval`, nanoseconds.
    pub health_start_interval: Option<i64>,
    /// `--health-retries`
    pub health_retries: Option<i64>,
    /// `--no-healthcheck`
    pub no_healthcheck: bool,
    /// `--pull`: always, missing or never.
    pub pull: Option<String>,
}

/// What `--gpus` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// How many; none for all.
    pub count: Option<i64>,
    /// Which, by number or id; then `count` does not matter.
    pub ids: Vec<String>,
    /// `capabilities=`, beside `gpu`.
    pub capabilities: Vec<String>,
    /// `driver=`
    pub driver: Option<String>,
}

/// Flags of one letter, and what they stand for.
const SHORT: &[(char, &str)] = &[
    ('c', "cpu-shares"),
    ('e', "env"),
    ('h', "hostname"),
    ('i', "interactive"),
    ('l', "label"),
    ('m', "memory"),
    ('p', "publish"),
    ('P', "publish-all"),
    ('t', "tty"),
    ('u', "user"),
    ('v', "volume"),
    ('w', "workdir"),
];

/// Flags without a value.
const FLAGS: &[&str] = &[
    "init",
    "interactive",
    "no-healthcheck",
    "oom-kill-disable",
    "privileged",
    "publish-all",
    "quiet",
    "read-only",
    "rm",
    "tty",
];

/// Flags that are known and refused, with the reason.
const REFUSED: &[(&str, &str)] = &[
    (
        "network",
        "a job's containers share a network of their own, and GitHub does not support it either",
    ),
    (
        "net",
        "a job's containers share a network of their own, and GitHub does not support it either",
    ),
    ("env-file", "it would be read on the runner; use `env`"),
    ("label-file", "it would be read on the runner; use --label"),
    ("cidfile", "the container's id is `job.container.id`"),
    ("restart", "a container lives as long as its job"),
    ("detach", "a container lives as long as its job"),
    ("attach", "its output goes to the log"),
    ("ip", "addresses are the network's to give; use the service's name"),
    ("ip6", "addresses are the network's to give; use the service's name"),
    ("link", "containers of a job find each other by name"),
    ("isolation", "it is for Windows"),
];

fn refused(flag: &str, why: &str) -> ContainerError {
    ContainerError::new(format!("options: {flag} is refused: {why}"))
}

/// Reads the flags.
///
/// # Errors
///
/// The first flag that is unknown, refused, or has a value that it cannot have.
pub fn parse(text: &str) -> Result<Options> {
    let given = split(text);
    let mut options = Options { words: given.clone(), ..Options::default() };
    let mut words = given.into_iter();
    while let Some(word) = words.next() {
        let mut value_of = |flag: &str, inline: Option<String>| {
            inline
                .or_else(|| words.next())
                .ok_or_else(|| ContainerError::new(format!("options: {flag} wants a value")))
        };
        if let Some(long) = word.strip_prefix("--") {
            let (name, inline) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            if let Some((_, why)) = REFUSED.iter().find(|(n, _)| *n == name) {
                return Err(refused(&format!("--{name}"), why));
            }
            if FLAGS.contains(&name) {
                let on = match inline.as_deref() {
                    None | Some("true" | "1") => true,
                    Some("false" | "0") => false,
                    Some(other) => {
                        return Err(ContainerError::new(format!(
                            "options: --{name}={other}: true or false is expected"
                        )));
                    }
                };
                options.flag(name, on);
            } else if is_known(name) {
                let value = value_of(&format!("--{name}"), inline)?;
                options.set(name, &value)?;
            } else {
                return Err(unknown(&format!("--{name}")));
            }
        } else if let Some(short) = word.strip_prefix('-').filter(|s| !s.is_empty()) {
            let mut letters = short.chars();
            while let Some(letter) = letters.next() {
                let Some((_, name)) = SHORT.iter().find(|(l, _)| *l == letter) else {
                    return Err(unknown(&format!("-{letter}")));
                };
                if FLAGS.contains(name) {
                    options.flag(name, true);
                    continue;
                }
                let rest = letters.as_str();
                let inline = (!rest.is_empty()).then(|| rest.trim_start_matches('=').to_owned());
                let value = value_of(&format!("-{letter}"), inline)?;
                options.set(name, &value)?;
                break;
            }
        } else {
            return Err(ContainerError::new(format!("options: '{word}' is no flag")).hint(
                "a value with blanks stands in double quotes: --health-cmd \"pg_isready -U me\"",
            ));
        }
    }
    Ok(options)
}

fn unknown(flag: &str) -> ContainerError {
    ContainerError::new(format!("options: {flag} is no flag of `docker create` that is known here"))
        .hint("docs/containers.md lists those that are")
}

const KNOWN: &[&str] = &[
    "add-host",
    "cap-add",
    "cap-drop",
    "cgroup-parent",
    "cgroupns",
    "cpu-period",
    "cpu-quota",
    "cpu-shares",
    "cpus",
    "cpuset-cpus",
    "cpuset-mems",
    "device",
    "device-cgroup-rule",
    "dns",
    "dns-opt",
    "dns-option",
    "dns-search",
    "domainname",
    "entrypoint",
    "env",
    "expose",
    "gpus",
    "group-add",
    "health-cmd",
    "health-interval",
    "health-retries",
    "health-start-interval",
    "health-start-period",
    "health-timeout",
    "hostname",
    "ipc",
    "label",
    "log-driver",
    "log-opt",
    "mac-address",
    "memory",
    "memory-reservation",
    "memory-swap",
    "memory-swappiness",
    "mount",
    "name",
    "network-alias",
    "net-alias",
    "oom-score-adj",
    "pid",
    "pids-limit",
    "platform",
    "publish",
    "pull",
    "runtime",
    "security-opt",
    "shm-size",
    "stop-signal",
    "stop-timeout",
    "storage-opt",
    "sysctl",
    "tmpfs",
    "ulimit",
    "user",
    "userns",
    "uts",
    "volume",
    "volumes-from",
    "workdir",
];

fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

impl Options {
    fn flag(&mut self, name: &str, on: bool) {
        match name {
            "init" => self.init = on,
            "no-healthcheck" => self.no_healthcheck = on,
            "oom-kill-disable" => self.oom_kill_disable = on,
            "privileged" => self.privileged = on,
            "publish-all" => self.publish_all = on,
            "read-only" => self.read_only = on,
            "tty" => self.tty = on,
            // `--rm` is what happens anyway; nobody types into a job's container.
            _ => {}
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let bad = |what: &str| ContainerError::new(format!("options: --{name} '{value}': {what}"));
        let text = || Some(value.to_owned());
        let number =
            || value.parse::<i64>().map(Some).map_err(|_| bad("a whole number is expected"));
        let bytes = || match size(value) {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(bad("a size like 512m or 8g is expected")),
        };
        let nanos = || match duration(value) {
            Some(nanos) => Ok(Some(nanos)),
            None => Err(bad("a time like 10s or 1m30s is expected")),
        };
        let pair = || value.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        match name {
            "name" => self.name = text(),
            "entrypoint" => self.entrypoint = Some(vec![value.to_owned()]),
            "mac-address" => self.mac_address = text(),
            "user" => self.user = text(),
            "hostname" => self.hostname = text(),
            "domainname" => self.domainname = text(),
            "workdir" => self.workdir = text(),
            "env" => match pair() {
                Some(pair) => self.env.push(pair),
                None => {
                    return Err(bad(
                        "NAME=VALUE is expected; the runner's own variables are not passed on",
                    ));
                }
            },
            "label" => {
                let (key, value) = pair().unwrap_or_else(|| (value.to_owned(), String::new()));
                self.labels.insert(key, value);
            }
            "volume" => self.volumes.push(volumes::parse(value)?),
            "mount" => self.mount(value)?,
            "tmpfs" => {
                let (path, rest) = value.split_once(':').unwrap_or((value, ""));
                self.tmpfs.insert(path.to_owned(), rest.to_owned());
            }
            "publish" => self.ports.extend(ports::parse(value)?),
            "expose" => self.expose.push(value.to_owned()),
            "network-alias" | "net-alias" => self.aliases.push(value.to_owned()),
            "add-host" => match value.contains([':', '=']) {
                true => self.hosts.push(value.replacen('=', ":", 1)),
                false => return Err(bad("NAME:ADDRESS is expected")),
            },
            "dns" => self.dns.push(value.to_owned()),
            "dns-search" => self.dns_search.push(value.to_owned()),
            "dns-option" | "dns-opt" => self.dns_options.push(value.to_owned()),
            "cpus" => {
                let cpus = value.parse::<f64>().ok().filter(|c| *c > 0.0 && *c < 1e5);
                let cpus = cpus.ok_or_else(|| bad("a number like 1.5 is expected"))?;
                #[allow(clippy::cast_possible_truncation)]
                let nanos = (cpus * 1e9).round() as i64;
                self.nano_cpus = Some(nanos);
            }
            "cpu-shares" => self.cpu_shares = number()?,
            "cpu-period" => self.cpu_period = number()?,
            "cpu-quota" => self.cpu_quota = number()?,
            "cpuset-cpus" => self.cpuset_cpus = text(),
            "cpuset-mems" => self.cpuset_mems = text(),
            "memory" => self.memory = bytes()?,
            "memory-swap" if value == "-1" => self.memory_swap = Some(-1),
            "memory-swap" => self.memory_swap = bytes()?,
            "memory-swappiness" => self.memory_swappiness = number()?,
            "memory-reservation" => self.memory_reservation = bytes()?,
            "shm-size" => self.shm_size = bytes()?,
            "pids-limit" => self.pids_limit = number()?,
            "oom-score-adj" => self.oom_score_adj = number()?,
            "ulimit" => self.ulimit(value, &bad)?,
            "gpus" => {
                self.gpus = Some(
                    gpus(value).ok_or_else(|| bad("all, a number, or device=0,1 is expected"))?,
                )
            }
            "device" => self.device(value),
            "device-cgroup-rule" => self.device_rules.push(value.to_owned()),
            "cap-add" => self.cap_add.push(value.to_owned()),
            "cap-drop" => self.cap_drop.push(value.to_owned()),
            "security-opt" => self.security.push(value.to_owned()),
            "sysctl" => {
                let (key, value) = pair().ok_or_else(|| bad("NAME=VALUE is expected"))?;
                self.sysctls.insert(key, value);
            }
            "group-add" => self.groups.push(value.to_owned()),
            "ipc" => self.ipc = text(),
            "pid" => self.pid = text(),
            "uts" => self.uts = text(),
            "userns" => self.userns = text(),
            "cgroupns" => match value {
                "host" | "private" => self.cgroupns = text(),
                _ => return Err(bad("host or private is expected")),
            },
            "cgroup-parent" => self.cgroup_parent = text(),
            "runtime" => self.runtime = text(),
            "platform" => self.platform = text(),
            "stop-signal" => self.stop_signal = text(),
            "stop-timeout" => self.stop_timeout = number()?,
            "storage-opt" => {
                let (key, value) = pair().ok_or_else(|| bad("NAME=VALUE is expected"))?;
                self.storage.insert(key, value);
            }
            "log-driver" => self.log_driver = text(),
            "log-opt" => {
                let (key, value) = pair().ok_or_else(|| bad("NAME=VALUE is expected"))?;
                self.log_options.insert(key, value);
            }
            "volumes-from" => self.volumes_from.push(value.to_owned()),
            "health-cmd" => self.health_cmd = text(),
            "health-interval" => self.health_interval = nanos()?,
            "health-timeout" => self.health_timeout = nanos()?,
            "health-start-interval" => self.health_start_interval = nanos()?,
            "health-start-period" => self.health_start_period = nanos()?,
            "health-retries" => self.health_retries = number()?,
            "pull" => match value {
                "always" | "missing" | "never" => self.pull = text(),
                _ => return Err(bad("always, missing or never is expected")),
            },
            _ => return Err(unknown(&format!("--{name}"))),
        }
        Ok(())
    }

    fn ulimit(&mut self, value: &str, bad: &dyn Fn(&str) -> ContainerError) -> Result<()> {
        let wanted = || bad("NAME=SOFT[:HARD] is expected");
        let (name, limits) = value.split_once('=').ok_or_else(wanted)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let soft = soft.parse().map_err(|_| wanted())?;
        let hard = hard.parse().map_err(|_| wanted())?;
        self.ulimits.push((name.to_owned(), soft, hard));
        Ok(())
    }

    fn device(&mut self, value: &str) {
        if is_cdi(value) {
            self.cdi.push(value.to_owned());
            return;
        }
        let mut parts = value.splitn(3, ':');
        let host = parts.next().unwrap_or_default().to_owned();
        let container = parts.next().filter(|c| !c.is_empty()).unwrap_or(&host).to_owned();
        let mode = parts.next().unwrap_or("rwm").to_owned();
        self.devices.push((host, container, mode));
    }

    /// `--mount type=bind,source=/a,target=/b,readonly`
    fn mount(&mut self, value: &str) -> Result<()> {
        let bad = |what: &str| ContainerError::new(format!("options: --mount '{value}': {what}"));
        let (mut kind, mut source, mut target) = ("volume", None, None);
        let mut mode = Vec::new();
        let mut tmpfs = Vec::new();
        for part in value.split(',') {
            let (key, value) = part.split_once('=').unwrap_or((part, "true"));
            match key {
                "type" => kind = value,
                "source" | "src" => source = Some(value.to_owned()),
                "target" | "dst" | "destination" => target = Some(value.to_owned()),
                "readonly" | "ro" => {
                    if value != "false" {
                        mode.push("ro".to_owned());
                    }
                }
                "bind-propagation" => mode.push(value.to_owned()),
                "tmpfs-size" => tmpfs.push(format!("size={value}")),
                "tmpfs-mode" => tmpfs.push(format!("mode={value}")),
                "consistency" => {}
                other => return Err(bad(&format!("'{other}' is not known here"))),
            }
        }
        let target = target.ok_or_else(|| bad("it has no target"))?;
        match (kind, &source) {
            ("tmpfs", _) => {
                self.tmpfs.insert(target, tmpfs.join(","));
            }
            ("bind", None) => return Err(bad("a bind has a source")),
            ("bind" | "volume", _) => self.volumes.push(Volume { source, target, mode }),
            _ => return Err(bad("bind, volume and tmpfs are the types")),
        }
        Ok(())
    }
}

/// Whether a device is named as the Container Device Interface does: `VENDOR/CLASS=NAME`.
fn is_cdi(value: &str) -> bool {
    let Some((kind, name)) = value.split_once('=') else { return false };
    !value.starts_with('/') && kind.split('/').count() == 2 && !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> String {
        match parse(text) {
            Ok(options) => {
                let options = Options { words: Vec::new(), ..options };
                let (all, none) = (format!("{options:#?}"), format!("{:#?}", Options::default()));
                let plain: Vec<&str> = none.lines().collect();
                let lines = all.lines().filter(|l| !plain.contains(l)).map(str::trim);
                lines.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.said(),
        }
    }

    #[test]
    fn flags() {
        insta::assert_snapshot!(check("--gpus all --shm-size=2g --ipc=host"), @"shm_size: Some( 2147483648, ), gpus: Some( Gpus { count: None, ids: [], capabilities: [], driver: None, }, ), ipc: Some( \"host\", ),");
        insta::assert_snapshot!(check("--health-cmd \"pg_isready -U me\" --health-interval 10s --health-retries 5"), @r#"health_cmd: Some( "pg_isready -U me", ), health_interval: Some( 10000000000, ), health_retries: Some( 5, ),"#);
        insta::assert_snapshot!(check("-u 1001:121 -v /data:/data:ro -m 512m --cpus 1.5 -it"), @r#"user: Some( "1001:121", ), volumes: [ Volume { source: Some( "/data", ), target: "/data", mode: [ "ro", ], }, ], nano_cpus: Some( 1500000000, ), memory: Some( 536870912, ), tty: true,"#);
        insta::assert_snapshot!(check("--device nvidia.com/gpu=0 --device /dev/fuse"), @r#"devices: [ ( "/dev/fuse", "/dev/fuse", "rwm", ), ], cdi: [ "nvidia.com/gpu=0", ],"#);
        insta::assert_snapshot!(check("--ulimit nofile=1024:2048 --rm --privileged=false"), @r#"ulimits: [ ( "nofile", 1024, 2048, ), ],"#);
        insta::assert_snapshot!(check("--mount type=tmpfs,target=/x,tmpfs-size=1m"), @r#"tmpfs: { "/x": "size=1m", },"#);
        insta::assert_snapshot!(check(""), @"");
    }

    #[test]
    fn refusals() {
        insta::assert_snapshot!(check("--network host"), @"options: --network is refused: a job's containers share a network of their own, and GitHub does not support it either");
        insta::assert_snapshot!(check("--frobnicate"), @"options: --frobnicate is no flag of `docker create` that is known here (docs/containers.md lists those that are)");
        insta::assert_snapshot!(check("-z"), @"options: -z is no flag of `docker create` that is known here (docs/containers.md lists those that are)");
        insta::assert_snapshot!(check("--memory lots"), @"options: --memory 'lots': a size like 512m or 8g is expected");
        insta::assert_snapshot!(check("--health-cmd redis-cli ping"), @"options: 'ping' is no flag (a value with blanks stands in double quotes: --health-cmd \"pg_isready -U me\")");
        insta::assert_snapshot!(check("--memory"), @"options: --memory wants a value");
        insta::assert_snapshot!(check("--gpus none"), @"options: --gpus 'none': all, a number, or device=0,1 is expected");
        insta::assert_snapshot!(check("--health-interval 10"), @"options: --health-interval '10': a time like 10s or 1m30s is expected");
    }
}
