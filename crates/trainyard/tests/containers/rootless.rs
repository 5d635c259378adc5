//! Users who are not root, with Podman of their own and with that of root: `tests/images/setup.sh` makes that user, with images of its own.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use super::{BUSYBOX, Test};
use crate::common::{Ran, ran, scratch};

pub const ALL: &[Test] = &[
    ("all_of_it_without_root", all_of_it_without_root),
    ("root_s_engine_leaves_no_files_of_root", root_s_engine_leaves_no_files_of_root),
];

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
                "FROM {BUSYBOX}\nCMD [\"sh\", \"-c\", \"touch by-action; chown 33 by-action; echo action as $(id -u); wget -q -O - ${{ACTIONS_RESULTS_URL}}oidc/.well-known/openid-configuration | cut -c1-9\"]\n"
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

fn run(folder: &Path, engine: Option<&str>, args: &[&str]) -> Ran {
    let mut command = Command::new("runuser");
    command.args(["-u", USER, "--", "env"]);
    match engine {
        Some(host) => command.arg(format!("DOCKER_HOST={host}")),
        None => command.args(["-u", "DOCKER_HOST"]),
    };
    let output = command
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

fn all_of_it_without_root() {
    // One after the other: what is left is counted over all of that user's.
    a_user_of_the_container_s_own();
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
    run(&folder, None, &["run", "--keep-workspaces", "always"])
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

/// Neither side is root: what one makes the other may use, and all of it is the caller's at the end.
fn a_user_of_the_container_s_own() {
    let folder = repository(&format!(
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {{image: {BUSYBOX}, options: --user worker}}
    steps:
      - uses: actions/checkout@v4
      - id: s
        run: 'echo \"uid=$(id -u)\"; echo out=1 >> $GITHUB_OUTPUT; echo changed >> act/Dockerfile; mkdir new; touch new/x $HOME/x $RUNNER_TEMP/y; chmod 700 new'
      - run: 'echo out=${{{{ steps.s.outputs.out }}}}; ls new'
      - uses: actions/upload-artifact@v4
        with: {{name: n, path: new}}
      - uses: actions/checkout@v4
      - run: 'tail -n 1 act/Dockerfile | cut -c1-3; touch again; exit 3'
"
    ));
    run(&folder, None, &["run", "--keep-workspaces", "always"])
        .shows("uid=1234")
        .shows("out=1")
        .shows("Artifact n has been successfully uploaded!")
        .shows("CMD")
        .shows("exit code 3")
        .hides("ermission denied")
        .exits(1);
    let owner = folder.metadata().unwrap().uid();
    assert_eq!(foreign(&folder.join("data"), owner), Vec::<String>::new());
    std::fs::remove_dir_all(folder).unwrap();
}

/// What users in the group `docker` have: an engine that is root's.
fn root_s_engine_leaves_no_files_of_root() {
    let folder = repository(&format!(
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {BUSYBOX}
    steps:
      - uses: actions/checkout@v4
      - run: 'mkdir d kept; echo k > kept/f; touch d/made ~/made; chown 1234 d'
      - uses: actions/cache/save@v4
        with: {{key: k, path: \"kept\\n~/made\"}}
      - run: rm -r kept ~/made
      - uses: actions/cache/restore@v4
        with: {{key: k, path: \"kept\\n~/made\", fail-on-cache-miss: true}}
      - run: 'echo \"restored $(cat kept/f)\"; ls ~/made'
      - uses: ./act
      - run: wget -q -O - ${{GITHUB_API_URL%/api}}/oidc/.well-known/openid-configuration | head -c 9
      - run: 'api=${{{{ github.api_url }}}}; wget -q -O - ${{api%/api}}/oidc/.well-known/openid-configuration | head -c 9'
  b:
    runs-on: ubuntu-latest
    steps: [{{uses: actions/checkout@v4}}, {{uses: ./act}}, {{run: 'rm by-action && echo removed'}}]
"
    ));
    let socket = folder.join("podman.sock");
    let host = format!("unix://{}", socket.display());
    let mut service =
        Command::new("podman").args(["system", "service", "--time=0", &host]).spawn().unwrap();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(service.try_wait().unwrap().is_none(), "the service ended");
        std::thread::yield_now();
    }
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    let ran = run(&folder, Some(&host), &["run", "--keep-workspaces", "always"]);
    service.kill().unwrap();
    service.wait().unwrap();
    assert_eq!(ran.out.lines().filter(|l| l.starts_with("{\"issuer\"")).count(), 4, "{}", ran.out);
    ran.shows("action as 0")
        .shows("removed")
        .shows("restored k")
        .hides("cannot be reached")
        .exits(0);
    let owner = folder.metadata().unwrap().uid();
    assert_eq!(foreign(&folder.join("data"), owner), Vec::<String>::new());
    std::fs::remove_dir_all(folder).unwrap();
}
