//! Engines: which one, and none.

use super::{BUSYBOX, Test, command, workflow};
use crate::common::{Repo, ran};

pub const ALL: &[Test] = &[
    ("one_message_when_there_is_no_engine", one_message_when_there_is_no_engine),
    ("a_socket_by_its_name", a_socket_by_its_name),
    ("doctor", doctor),
];

fn plain() -> String {
    format!(
        "on: push\njobs: {{a: {{runs-on: ubuntu-latest, container: {BUSYBOX}, steps: [{{run: echo it runs}}]}}}}\n"
    )
}

fn one_message_when_there_is_no_engine() {
    let repo = Repo::with(&plain());
    let mut nothing = command(&repo, &["run"]);
    let git = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .find(|p| p.join("git").exists())
        .unwrap();
    let only = crate::common::scratch("path");
    for name in ["git", "sh", "bash"] {
        let place = if name == "git" { git.clone() } else { "/bin".into() };
        std::os::unix::fs::symlink(place.join(name), only.join(name)).unwrap();
    }
    nothing.env("PATH", &only).env_remove("XDG_RUNTIME_DIR");
    ran(nothing.output().unwrap())
        .shows("there is no container engine on this machine")
        .shows("install Podman")
        .hides("it runs")
        .exits(1);
    std::fs::remove_dir_all(only).unwrap();
}

fn a_socket_by_its_name() {
    let folder = crate::common::scratch("socket");
    let address = format!("unix://{}/p.sock", folder.display());
    let mut service = std::process::Command::new("podman")
        .args(["system", "service", "--time=0", &address])
        .spawn()
        .unwrap();
    while std::os::unix::net::UnixStream::connect(folder.join("p.sock")).is_err() {
        assert!(service.try_wait().unwrap().is_none(), "the service ended");
        std::thread::yield_now();
    }
    let repo = Repo::with(&plain());
    let mut named = command(&repo, &["run"]);
    named.env("DOCKER_HOST", &address);
    ran(named.output().unwrap()).shows("p.sock").shows("it runs").exits(0);
    service.kill().unwrap();
    service.wait().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    workflow(&plain(), &[]).shows("it runs").exits(0);
}

fn doctor() {
    let repo = Repo::empty();
    let plain = ran(command(&repo, &["doctor"]).output().unwrap());
    plain.shows("✓ git").shows("✓ container engine  Podman").shows("free for").exits(0);
    let mut broken = command(&repo, &["doctor"]);
    broken.env("DOCKER_HOST", "unix:///nowhere/docker.sock");
    ran(broken.output().unwrap())
        .shows("✗ container engine  DOCKER_HOST is 'unix:///nowhere/docker.sock', and there is no such socket")
        .shows("→ start the engine that DOCKER_HOST names, or unset it")
        .exits(1);
    let output = command(&repo, &["doctor", "--json"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let engine = told.as_array().unwrap().iter().find(|f| f["name"] == "container engine");
    assert_eq!(engine.unwrap()["state"], "ok");
}
