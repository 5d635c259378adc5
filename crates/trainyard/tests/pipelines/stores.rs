//! Roots in an object store: a real S3 server on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{project, root, said, v2, without_mounts};
use crate::common::{Ran, Repo, ran};

/// A server, with a bucket and one key.
struct Server {
    child: Child,
    port: u16,
    // Its data go with it.
    _folder: Repo,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ports that are free, and with them those that the server adds 10000 to.
fn ports() -> [u16; 4] {
    let free = |port: u16| {
        TcpListener::bind(("127.0.0.1", port)).is_ok()
            && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok()
    };
    let mut found = (20_000 + (std::process::id() % 5_000) as u16..).filter(|p| free(*p));
    std::array::from_fn(|_| found.next().unwrap())
}

fn answers(port: u16) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer.starts_with("HTTP/1"))
    };
    ask().unwrap_or(false)
}

fn server() -> Server {
    let program = root().join("target/sdk/seaweedfs/bin/weed");
    assert!(program.exists(), "the S3 server is not there: make sdks");
    let folder = Repo::empty();
    folder.file(
        "s3.json",
        r#"{"identities": [{"name": "t", "credentials": [{"accessKey": "key-of-t", "secretKey": "secret-of-t"}], "actions": ["Admin", "Read", "Write", "List"]}]}"#,
    );
    let [port, master, volume, filer] = ports();
    let child = Command::new(program)
        .args(["server", "-ip=127.0.0.1", "-s3", "-volume.max=20", "-master.volumeSizeLimitMB=64"])
        .args([format!("-dir={}", folder.path("").display()), format!("-s3.port={port}")])
        .args([format!("-s3.config={}", folder.path("s3.json").display())])
        .args([format!("-master.port={master}"), format!("-volume.port={volume}")])
        .args([format!("-filer.port={filer}"), "-volume.minFreeSpace=0".to_owned()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server { child, port, _folder: folder };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !answers(port) {
        assert!(Instant::now() < deadline, "the S3 server does not listen");
        // It says nowhere when it does.
        std::thread::sleep(Duration::from_millis(50));
    }
    server
}

fn command(repo: &Repo, file: &Path, secret: &str, args: &[&str]) -> Command {
    let all = ["pipeline", "run", file.to_str().unwrap(), "--executor", "host"];
    let all: Vec<&str> = all.iter().chain(args).copied().collect();
    let mut command = repo.command(&all);
    command.env("SECRET", secret);
    command
}

fn run(repo: &Repo, file: &Path, secret: &str, args: &[&str]) -> Ran {
    ran(command(repo, file, secret, args).output().unwrap())
}

#[test]
fn roots_in_object_stores() {
    let server = server();
    let repo = project();
    let store = |scheme: &str| {
        format!(
            "[pipeline.stores.\"{scheme}://bucket\"]\nendpoint = \"http://127.0.0.1:{}\"\naccess-key = \"key-of-t\"\nsecret-key = \"env:SECRET\"\n",
            server.port
        )
    };
    repo.file("trainyard.toml", &format!("{}{}", store("s3"), store("minio")));
    let file = v2("stores");
    let first = run(&repo, &file, "secret-of-t", &["--root", "s3://bucket/some/root/"]);
    first.exits(0).shows("/model (7 B)").hides("fetched");
    assert_eq!(said(&first, "STORED"), ["STORED s3 weights ['b c#1'] s3://bucket/so"]);
    // What a run has not made itself it fetches.
    let second = run(&repo, &file, "secret-of-t", &["--root", "s3://bucket/some/root"]);
    second.exits(0).shows("1 cached").shows("fetched s3://bucket/some/root/stores/");
    assert_eq!(said(&second, "STORED"), ["STORED s3 weights ['b c#1'] s3://bucket/so"]);
    let minio = run(&repo, &file, "secret-of-t", &["--root", "minio://bucket", "--no-cache"]);
    assert_eq!(said(&minio, "STORED"), ["STORED minio weights ['b c#1'] minio://bucket"]);
    // Where no process may have mounts, it is told another address.
    let args = ["--root", "s3://bucket/third", "--no-cache"];
    let third = without_mounts(&command(&repo, &file, "secret-of-t", &args));
    third.exits(0).shows("stored s3://bucket/third/stores/");
    let found = said(&third, "STORED").concat();
    assert!(found.starts_with("STORED tmp weights ['b c#1'] /"), "{found}");
    repo.call(&["lineage", "model"]).shows("at s3://bucket/third/stores/");
    repo.call(&["lineage", "model"])
        .shows("s3://bucket/some/root/stores/")
        .shows("used by use-both");
    run(&repo, &file, "wrong", &["--root", "s3://bucket", "--no-cache"])
        .exits(1)
        .shows("its output cannot be stored: s3://bucket/stores/")
        .shows("are the keys those of this bucket?");
    let model = repo.call(&["lineage", "model", "--json"]);
    let all: serde_json::Value = serde_json::from_str(&model.out).unwrap();
    let uri = format!("uri={}", all[0]["uri"].as_str().unwrap());
    let brought = run(&repo, &v2("brought"), "secret-of-t", &["-p", &uri]);
    brought.exits(0).shows("BROUGHT /").shows("weights");
    let nothing = run(&repo, &v2("brought"), "secret-of-t", &["-p", "uri=s3://bucket/none"]);
    nothing.exits(1).shows("there is nothing at s3://bucket/none");
    let left: Vec<_> = std::fs::read_dir(repo.data.join("pipelines/work")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn stores_that_nobody_described() {
    let repo = project();
    let file = v2("stores");
    run(&repo, &file, "", &["--root", "minio://bucket"])
        .exits(1)
        .shows("[pipeline.stores.\"minio://bucket\"] in trainyard.toml with endpoint");
    repo.file("trainyard.toml", "[pipeline.stores.\"s3://bucket\"]\nendpoint = \"http://127.0.0.1:1\"\naccess-key = \"a\"\nsecret-key = \"env:NONE\"\n");
    run(&repo, &file, "", &["--root", "s3://bucket"])
        .exits(1)
        .shows("in trainyard.toml: the variable NONE is not set");
    run(&repo, &file, "", &["--root", "oci://bucket"])
        .exits(2)
        .shows("nothing can be stored at 'oci://'");
}
