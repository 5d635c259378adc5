//! Podman of a user who is not root: `tests/images/setup.sh` makes that user, with images of its own.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::BUSYBOX;
use crate::common::{Ran, ran, scratch};

/// The user.
const USER: &str = "trainyard-test";

/// Why it cannot run here, if it cannot.
pub fn unfit() -> Option<String> {
    let asked = Command::new("runuser")
        .args(["-u", USER, "--", "podman", "run", "--rm", BUSYBOX, "true"])
        .current_dir("/")
        .output();
    match asked {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// A folder of that user, with a repository and the binary.
fn repository(workflow: &str) -> std::path::PathBuf {
    let folder = scratch("rootless");
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_trainyard"), folder.join("trainyard")).unwrap();
    let project = folder.join("project");
    for (name, text) in [
        (".github/workflows/ci.yml", workflow.to_owned()),
        ("act/action.yml", "name: d\nruns: {using: docker, image: Dockerfile}\n".to_owned()),
        (
            "act/Dockerfile",
            format!(
                "FROM {BUSYBOX}\nCMD [\"sh\", \"-c\", \"touch by-action; chown 33 by-action; echo action as $(id -u)\"]\n"
            ),
        ),
    ] {
        std::fs::create_dir_all(project.join(name).parent().unwrap()).unwrap();
        std::fs::write(project.join(name), text).unwrap();
    }
    let script = format!(
        "chown -R {USER}: {0} && cd {0}/project && runuser -u {USER} -- sh -c 'git init -q -b main && git add -A && git -c user.name=t -c user.email=t@localhost commit -qm first'",
        folder.display()
    );
    let made = Command::new("sh").args(["-c", &script]).status().unwrap();
    assert!(made.success());
    folder
}

fn run(folder: &Path, args: &[&str]) -> Ran {
    let output = Command::new("runuser")
        .args(["-u", USER, "--", "env", "-u", "DOCKER_HOST"])
        .arg(format!("TRAINYARD_DATA_DIR={}/data", folder.display()))
        .arg(folder.join("trainyard"))
        .args(args)
        .current_dir(folder.join("project"))
        .output()
        .unwrap();
    ran(output)
}

/// Files in a folder that another user owns.
fn foreign(folder: &Path, owner: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let meta = entry.path().symlink_metadata().unwrap();
        if meta.uid() != owner {
            found.push(entry.path().display().to_string());
        }
        if meta.is_dir() {
            found.extend(foreign(&entry.path(), owner));
        }
    }
    found
}

pub fn all_of_it_without_root() {
    let folder = repository(&format!(
        "on: push
permissions: {{id-token: write}}
jobs:
  a:
    runs-on: ubuntu-latest
    container: {BUSYBOX}
    services:
      s: {{image: {BUSYBOX}, entrypoint: sh, command: '-c \"while true; do echo hello | nc -l -p 99; done\"'}}
    steps:
      - uses: actions/checkout@v4
      - run: 'id -u; touch made; chown 1234 made; mkdir /opt /opt/d; echo f > /opt/d/f; echo \"service says $(nc s 99 < /dev/null)\"'
      - uses: ./act
      - uses: actions/upload-artifact@v4
        with: {{name: a, path: /opt/d}}
      - run: wget -q -O - ${{GITHUB_API_URL%/api}}/oidc/.well-known/openid-configuration | head -c 9
"
    ));
    run(&folder, &["run", "--keep-workspaces", "always"])
        .shows("Podman")
        .shows("rootless")
        .shows("service says hello")
        .shows("action as 0")
        .shows("Artifact a has been successfully uploaded!")
        .shows("{\"issuer\"")
        .exits(0);
    let owner = folder.metadata().unwrap().uid();
    assert_ne!(owner, 0);
    assert_eq!(foreign(&folder.join("data"), owner), Vec::<String>::new());
    let ps = "podman ps -aq; podman network ls -q | grep -v '^podman$'; podman volume ls -q";
    let mut left = Command::new("runuser");
    let left = left.args(["-u", USER, "--", "sh", "-c", ps]).current_dir("/").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&left.stdout), "");
    std::fs::remove_dir_all(folder).unwrap();
}
