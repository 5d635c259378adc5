//! Tasks in containers, with images that the tests make (`tests/images/`).

use std::path::PathBuf;
use std::process::Command;

use super::{project, said, v1, v2};
use crate::common::{Ran, Repo, ran};

/// Why they cannot run here; as root on Debian 12 they must.
fn unfit() -> bool {
    let image = "localhost/trainyard-test/busybox";
    let there = Command::new("podman").args(["image", "exists", image]).status();
    if there.is_ok_and(|s| s.success()) {
        return false;
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let debian = release.contains("ID=debian") && release.contains("VERSION_ID=\"12\"");
    assert!(!(debian && rustix::process::getuid().is_root()), "podman has no image {image}");
    eprintln!("ignored: podman has no image {image}: tests/images/setup.sh makes it");
    true
}

/// A call with this machine's own engine.
fn call(repo: &Repo, args: &[&str]) -> Ran {
    ran(repo.command(args).env_remove("DOCKER_HOST").output().unwrap())
}

/// The pipeline with another image.
fn with_image(repo: &Repo, file: &std::path::Path, from: &str, to: &str) -> PathBuf {
    let text = std::fs::read_to_string(file).unwrap();
    let changed = text.replace(&format!("image: {from}"), &format!("image: {to}"));
    assert_ne!(text, changed);
    repo.file("changed.yaml", &changed);
    repo.path("changed.yaml")
}

/// Three `dsl.ContainerOp`s in the order of `.after()`, sharing `/data`.
#[test]
fn container_ops_that_share_a_volume() {
    if unfit() {
        return;
    }
    let repo = project();
    let file = with_image(&repo, &v1("three"), "python:3.11", "localhost/trainyard-test/busybox");
    let file = file.to_str().unwrap();
    call(&repo, &["pipeline", "run", file, "--executor", "container", "--offline"])
        .exits(0)
        .shows("one")
        .shows("two");
    let log = repo.data.join("pipelines/volumes/data-claim/log");
    assert_eq!(std::fs::read_to_string(log).unwrap(), "one\ntwo\nthree\n");
}

#[test]
fn functions_of_kfp_1_8_in_containers() {
    if unfit() {
        return;
    }
    let repo = project();
    let file = with_image(&repo, &v1("rich"), "python:3.11", "localhost/trainyard-test/python");
    let file = file.to_str().unwrap();
    let made = call(&repo, &["pipeline", "run", file, "--executor", "container", "--offline"]);
    made.exits(0).shows("BIG 7 hi").shows("got 42").shows("EXIT Succeeded");
    assert_eq!(said(&made, "adding"), ["adding 1 7", "adding 2 7", "adding 3 4"]);
}

#[test]
fn artifacts_go_from_container_to_container() {
    if unfit() {
        return;
    }
    let repo = project();
    let file = with_image(&repo, &v2("shells"), "busybox", "localhost/trainyard-test/busybox");
    let file = file.to_str().unwrap();
    // It is no Python image, so nobody has to say where.
    let made = call(&repo, &["pipeline", "run", file, "--offline"]);
    made.exits(0)
        .shows("LISTED file content folder")
        .shows("is no Python image")
        .shows("in containers, as they are no Python images: localhost/trainyard-test/busybox");
    // Other tests have containers at the same time: those of this call carry its number and name.
    let all =
        Command::new("podman").args(["ps", "-a", "--format", "{{.Labels}}"]).output().unwrap();
    let all = String::from_utf8_lossy(&all.stdout).into_owned();
    assert!(!all.contains("trainyard.pipeline:shells"), "{all}");
}
