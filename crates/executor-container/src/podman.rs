//! Containers that Docker's API cannot ask Podman for: those with cards and other CDI devices.
//! Podman's own program makes them, over the same socket, and takes the flags of `options` as they
//! are; everything else goes through the API.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::container::{Client, Create};
use crate::engine::{Engine, EngineKind, which};
use crate::error::{ContainerError, Result};
use crate::options::{Gpus, Options};
use crate::raw::Address;

/// Where descriptions of devices are (the CDI specification, "CDI JSON specification").
const CDI_FOLDERS: &[&str] = &["/etc/cdi", "/var/run/cdi"];
/// Kinds of cards, the usual one first.
const KINDS: &[&str] = &["nvidia.com/gpu", "amd.com/gpu"];

/// Which kind of card this machine describes.
pub fn card_kind() -> Option<&'static str> {
    let texts: Vec<String> = CDI_FOLDERS
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "json"))
        .filter_map(|p| std::fs::read_to_string(p).ok())
        .collect();
    KINDS.iter().copied().find(|kind| texts.iter().any(|t| t.contains(kind)))
}

/// The names of the devices behind `--gpus`.
fn cards(gpus: &Gpus, kind: &str) -> Vec<String> {
    let name = |card: &str| match card.contains('=') {
        true => card.to_owned(),
        false => format!("{kind}={card}"),
    };
    match (&gpus.ids[..], gpus.count) {
        ([], None | Some(-1)) => vec![name("all")],
        ([], Some(count)) => (0..count).map(|n| name(&n.to_string())).collect(),
        (ids, _) => ids.iter().map(|id| name(id)).collect(),
    }
}

/// The arguments of `podman create`, the variables that go through its standard input, and those
/// that go through its own.
fn arguments(wanted: &Create, kind: &str) -> (Vec<String>, String, Vec<(String, String)>) {
    let mut args: Vec<String> = vec!["create".into()];
    // What the keys say comes after what the options say, and so wins.
    args.extend(podman_words(&wanted.options, kind));
    if wanted.options.name.is_none() {
        args.extend(["--name".into(), wanted.name.clone()]);
    }
    let mut add = |flag: &str, value: &str| args.push(format!("--{flag}={value}"));
    for (name, value) in &wanted.labels {
        add("label", &format!("{name}={value}"));
    }
    // Secrets stay off the command line, which everybody sees. The file has no way to break lines:
    // those go through the program's own variables.
    let (mut file, mut passed) = (String::new(), Vec::new());
    for (name, value) in wanted.variables() {
        if value.contains('\n') {
            add("env", &name);
            passed.push((name, value));
        } else {
            file.push_str(&format!("{name}={value}\n"));
        }
    }
    add("env-file", "/dev/stdin");
    // It is removed by force, as everywhere, and there Podman waits that long.
    add("stop-timeout", "0");
    if let Some(entrypoint) = &wanted.entrypoint {
        add("entrypoint", &serde_json::json!(entrypoint).to_string());
    }
    if let Some(workdir) = &wanted.workdir {
        add("workdir", workdir);
    }
    for volume in &wanted.volumes {
        add("volume", &volume.as_bind().unwrap_or_else(|| volume.target.clone()));
    }
    for port in &wanted.ports {
        let host = port.host.map(|p| p.to_string()).unwrap_or_default();
        let address = match port.address.is_empty() {
            true => String::new(),
            false => format!("{}:", port.address),
        };
        add("publish", &format!("{address}{host}:{}", port.key()));
    }
    if let Some(network) = &wanted.network {
        add("network", network);
    }
    for alias in &wanted.aliases {
        add("network-alias", alias);
    }
    for host in &wanted.hosts {
        add("add-host", host);
    }
    args.push(wanted.image.clone());
    args.extend(wanted.command.iter().flatten().cloned());
    (args, file, passed)
}

/// The words of `options` as Podman's program takes them.
fn podman_words(options: &Options, kind: &str) -> Vec<String> {
    let cards = options.gpus.iter().flat_map(|gpus| cards(gpus, kind));
    let mut out: Vec<String> = cards.map(|card| format!("--device={card}")).collect();
    let mut words = options.words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--gpus" => {
                words.next();
            }
            word if word.starts_with("--gpus=") => {}
            // Among the variables already.
            "--env" | "-e" => {
                words.next();
            }
            word if word.starts_with("--env=") || word.starts_with("-e") => {}
            word => out.push(word.to_owned()),
        }
    }
    out
}

impl Engine {
    /// The engine's own program, told where the engine is.
    ///
    /// # Errors
    ///
    /// When it is not on the PATH.
    pub fn command_line(&self) -> Result<Vec<String>> {
        let name = match self.kind {
            EngineKind::Docker => "docker",
            EngineKind::Podman => "podman",
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let program = which(name, &path).ok_or_else(|| {
            ContainerError::new(format!(
                "`{name}` is not on the PATH, and a shell in a container goes through it"
            ))
        })?;
        let mut words = vec![program.to_string_lossy().into_owned()];
        let place = match &self.address {
            Address::Unix(path) => format!("unix://{}", absolute(path).display()),
            Address::Tcp(host) => format!("tcp://{host}"),
        };
        match self.kind {
            // The service of this call ends with it.
            _ if self.is_own_service() => {}
            EngineKind::Docker => words.extend(["--host".into(), place]),
            EngineKind::Podman => words.extend(["--remote".into(), "--url".into(), place]),
        }
        Ok(words)
    }

    /// The words of `options` as that program takes them.
    ///
    /// # Errors
    ///
    /// When cards are wanted that this machine does not describe.
    pub fn words(&self, options: &Options) -> Result<Vec<String>> {
        match self.kind {
            EngineKind::Docker => Ok(options.words.clone()),
            EngineKind::Podman => Ok(podman_words(options, kind_for(options)?)),
        }
    }
}

/// Which kind of card `--gpus` means here; none when there is no such flag.
fn kind_for(options: &Options) -> Result<&'static str> {
    match (&options.gpus, card_kind()) {
        (None, _) => Ok(""),
        (Some(_), Some(kind)) => Ok(kind),
        (Some(_), None) => Err(ContainerError::new(
            "--gpus: this machine describes no cards to Podman (no nvidia.com/gpu or amd.com/gpu in /etc/cdi or /var/run/cdi)",
        )
        .hint("with NVIDIA's container toolkit: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml")),
    }
}

fn program() -> Result<PathBuf> {
    which("podman", &std::env::var("PATH").unwrap_or_default()).ok_or_else(|| {
        ContainerError::new("cards and CDI devices go through Podman's own program, and `podman` is not on the PATH")
            .hint("install Podman where Trainyard runs")
    })
}

impl Client {
    /// Makes a container with cards or CDI devices; its id.
    pub(crate) async fn create_with_devices(&self, wanted: &Create) -> Result<String> {
        let kind = kind_for(&wanted.options)?;
        let url = match &self.address {
            Address::Unix(path) => format!("unix://{}", absolute(path).display()),
            Address::Tcp(host) => format!("tcp://{host}"),
        };
        let failed = |e: std::io::Error| {
            ContainerError::new(format!("Podman's program does not answer: {e}"))
        };
        let (args, variables, passed) = arguments(wanted, kind);
        let mut child = tokio::process::Command::new(program()?)
            .args(["--remote", "--url", &url])
            .args(args)
            .envs(passed)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(variables.as_bytes()).await.map_err(failed)?;
        }
        let output = child.wait_with_output().await.map_err(failed)?;
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(ContainerError::new(format!(
                "the container of '{}' cannot be made: {}",
                wanted.image,
                said.trim().trim_start_matches("Error: ")
            ))),
        }
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::options::parse;
    use crate::volumes::Volume;

    fn check(options: &str) -> String {
        let wanted = Create {
            name: "n".into(),
            image: "i".into(),
            labels: vec![("l".into(), "1".into())],
            env: vec![("A".into(), "b".into()), ("M".into(), "x\ny".into())],
            entrypoint: Some(vec!["tail".into()]),
            command: Some(vec!["-f".into(), "/dev/null".into()]),
            volumes: vec![Volume::bind("/a", "/b")],
            network: Some("net".into()),
            options: parse(options).unwrap(),
            ..Create::default()
        };
        let (args, file, passed) = arguments(&wanted, "nvidia.com/gpu");
        format!("{}\n{file}{passed:?}", args.join(" "))
    }

    #[test]
    fn flags_go_on_as_they_are() {
        insta::assert_snapshot!(check("--gpus all --shm-size 1g"), @r#"
        create --device=nvidia.com/gpu=all --shm-size 1g --name n --label=l=1 --env=M --env-file=/dev/stdin --stop-timeout=0 --entrypoint=["tail"] --volume=/a:/b --network=net i -f /dev/null
        A=b
        [("M", "x\ny")]
        "#);
        let cards = |text: &str| {
            let all = check(text);
            let devices =
                all.split(' ').filter(|a| a.starts_with("--device") || a.contains("=gpu"));
            devices.collect::<Vec<_>>().join(" ")
        };
        insta::assert_snapshot!(cards("--gpus 2"), @"--device=nvidia.com/gpu=0 --device=nvidia.com/gpu=1");
        insta::assert_snapshot!(cards("--gpus=device=GPU-1 --gpus device=3"), @"--device=nvidia.com/gpu=3");
        insta::assert_snapshot!(cards("--device=vendor.com/class=x"), @"--device=vendor.com/class=x");
    }
}
