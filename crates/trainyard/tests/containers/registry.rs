//! A registry on loopback with a password: images are built, pushed and pulled.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use super::{BUSYBOX, Test, command};
use crate::common::{Ran, Repo, ran};

pub const ALL: &[Test] = &[
    ("a_registry_with_a_password", a_registry_with_a_password),
    ("contexts_in_git", contexts_in_git),
];

/// `tests/images/setup.sh` tells Podman that it speaks no TLS.
const ADDRESS: &str = "localhost:15055";

/// Debian's docker-registry.
struct Registry(Child);

impl Registry {
    fn start(repo: &Repo) -> Registry {
        let folder = repo.path("../registry");
        std::fs::create_dir(&folder).unwrap();
        let users = Command::new("htpasswd").args(["-Bbn", "ci", "geheim"]).output().unwrap();
        std::fs::write(folder.join("users"), users.stdout).unwrap();
        let folder = std::fs::canonicalize(folder).unwrap();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}/data}}}}\nhttp: {{addr: '127.0.0.1:15055'}}\nauth: {{htpasswd: {{realm: test, path: {0}/users}}}}\n",
            folder.display()
        );
        std::fs::write(folder.join("config.yml"), config).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "the registry ended");
        }
        // Its log goes nowhere, and must not fill the pipe.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Registry(child)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let image = format!("{ADDRESS}/team/model:1");
        let _ = Command::new("podman").args(["rmi", "-f", &image]).output();
    }
}

fn run(repo: &Repo, workflow: &str) -> Ran {
    let mut command =
        command(repo, &["run", "--workflows", &format!(".github/workflows/{workflow}.yml")]);
    command.env("DOCKER_CONFIG", repo.path("../docker"));
    ran(command.output().unwrap())
}

/// A repository behind `git daemon` on a free port, and its process.
fn git_daemon(repo: &Repo) -> (Child, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // `git daemon` would begin it as a child of its own, which outlives it.
    let programs = Command::new("git").arg("--exec-path").output().unwrap();
    let programs = String::from_utf8(programs.stdout).unwrap();
    let child = Command::new(std::path::Path::new(programs.trim()).join("git-daemon"))
        .args(["--export-all", "--listen=127.0.0.1", &format!("--port={port}")])
        .arg(format!("--base-path={}", repo.path("").display()))
        .arg(repo.path(""))
        .spawn()
        .unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::yield_now();
    }
    (child, format!("git://127.0.0.1:{port}/.git"))
}

fn contexts_in_git() {
    let source = Repo::empty();
    source
        .file("deep/Dockerfile", &format!("FROM {BUSYBOX}\nCOPY f /f\n"))
        .file("deep/f", "fetched\n");
    source.commit("first");
    let (mut daemon, address) = git_daemon(&source);
    let repo = Repo::with(&format!(
        "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: docker/build-push-action@v6
        id: b
        with: {{context: '{address}#main:deep', add-hosts: 'one:10.0.0.1\ntwo:10.0.0.2'}}
      - run: podman run --rm ${{{{ steps.b.outputs.imageid }}}} cat /f
      - uses: docker/build-push-action@v6
        with: {{context: '{address}#none'}}
"
    ));
    let ran = super::run(&repo, &[]);
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    ran.shows("fetched").shows("#none' cannot be fetched").exits(1);
}

fn a_registry_with_a_password() {
    let repo = Repo::empty();
    repo.file("Dockerfile", &format!("FROM {BUSYBOX} AS base\nARG WHO\nCOPY model /model\nRUN echo for $WHO >> /model\nFROM base AS later\nRUN false\n"));
    repo.file("model", "weights\n");
    repo.file("sub/Dockerfile", &format!("FROM {BUSYBOX}\nCOPY model /sub\n"));
    repo.file("sub/model", "of the folder\n");
    repo.file(
        ".github/workflows/push.yml",
        &format!(
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: docker/setup-buildx-action@v3
        id: x
      - uses: docker/build-push-action@v6
        with: {{push: true, tags: '{ADDRESS}/team/model:1', target: base}}
        continue-on-error: true
      - uses: docker/login-action@v3
        with: {{registry: '{ADDRESS}', username: ci, password: wrong}}
        continue-on-error: true
      - uses: docker/login-action@v3
        with: {{registry: '{ADDRESS}', username: ci, password: geheim}}
      - uses: docker/build-push-action@v6
        id: p
        with:
          push: true
          target: base
          build-args: |
            WHO=the tests
          labels: |
            org.opencontainers.image.title=\"a model, small\"
          tags: {ADDRESS}/team/model:1, {ADDRESS}/team/model:also
      - run: |
          echo \"by ${{{{ steps.x.outputs.driver }}}} id=${{{{ steps.p.outputs.imageid }}}} digest=${{{{ steps.p.outputs.digest }}}}\"
          podman inspect --format '{{{{index .Labels \"org.opencontainers.image.title\"}}}}' {ADDRESS}/team/model:1
          podman rmi -f {ADDRESS}/team/model:1
      - uses: actions/checkout@v4
      - uses: docker/build-push-action@v6
        id: s
        with: {{context: sub}}
      - run: podman run --rm ${{{{ steps.s.outputs.imageid }}}} cat /sub
      - uses: docker/build-push-action@v6
        with: {{context: ., platforms: 'linux/amd64,linux/arm64'}}
        continue-on-error: true
      - uses: docker/build-push-action@v6
        with: {{context: ., secrets: 'a=b'}}
        continue-on-error: true
      - uses: docker/build-push-action@v6
        with: {{context: .}}
        continue-on-error: true
  b:
    needs: a
    runs-on: ubuntu-latest
    container: {{image: '{ADDRESS}/team/model:1', credentials: {{username: ci, password: geheim}}}}
    steps: [{{run: cat /model}}]
"
        ),
    );
    repo.file(
        ".github/workflows/refused.yml",
        &format!(
            "on: push
jobs:
  a:
    runs-on: ubuntu-latest
    container: {{image: '{ADDRESS}/team/model:2', credentials: {{username: ci, password: wrong}}}}
    steps: [{{run: echo NEVER}}]
  b:
    runs-on: ubuntu-latest
    container: '{ADDRESS}/team/model:3'
    steps: [{{run: echo NEVER}}]
"
        ),
    );
    repo.commit("first");
    let registry = Registry::start(&repo);
    run(&repo, "push")
        .shows("cannot be pushed")
        .shows("log in first: docker/login-action")
        .shows("localhost:15055 refuses 'ci'")
        .shows("Login Succeeded!")
        .shows("by docker id=sha256:")
        .shows("digest=sha256:")
        .shows("a model, small")
        .shows("of the folder")
        .shows("several `platforms` want buildx")
        .shows("`secrets` wants buildx")
        .shows("the image cannot be built from")
        .shows("Removing login credentials for localhost:15055")
        .shows("pulling localhost:15055/team/model:1")
        .shows("for the tests")
        .exits(0);
    run(&repo, "refused")
        .shows("the registry refuses 'ci': look at `credentials`")
        .shows("a private image wants `credentials: {username: …, password: …}`")
        .hides("NEVER")
        .exits(1);
    drop(registry);
}
