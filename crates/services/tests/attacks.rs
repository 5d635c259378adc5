//! What job code may try against the services: each a refusal, and nothing left behind.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use trainyard_blob::Store;
use trainyard_services::{Config, Grant, JobAccess, Limits, Remark, RepositoryFacts, Services};

struct Place {
    root: PathBuf,
    store: Arc<Store>,
    services: Services,
    remarks: Arc<Mutex<Vec<Remark>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn far() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 3600
}

impl Place {
    fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("trainyard-services-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        let uploads = root.join("store/uploads");
        std::fs::create_dir_all(&uploads).unwrap();
        let store = Arc::new(Store::open(&root.join("store")).unwrap());
        let remarks = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&remarks);
        let services = Services::start(Config {
            store: root.join("store"),
            uploads,
            key: root.join("key.pem"),
            repository: RepositoryFacts {
                slug: "o/r".into(),
                git_dir: root.join("none"),
                server: "https://github.com".into(),
                ..RepositoryFacts::default()
            },
            limits: Limits { json: 10_000, upload: 1_000_000, blocks: 5, open: 4, quota: 1 << 30 },
            sink: Box::new(move |remark| heard.lock().unwrap().push(remark)),
        })
        .unwrap();
        Place { root, store, services, remarks }
    }

    fn job(&self, run: i64, node: i64) -> JobAccess {
        self.grant(Grant { run, node, expires: far(), ..Grant::default() })
    }

    fn grant(&self, grant: Grant) -> JobAccess {
        let scopes = vec!["refs/heads/main".to_owned()];
        self.services.grant(Grant { repository: "o/r".into(), scopes, ..grant }).unwrap()
    }

    /// Files of uploads that are under way.
    fn under_way(&self) -> usize {
        let mut count = 0;
        for folder in std::fs::read_dir(self.root.join("store/uploads")).unwrap().flatten() {
            count += std::fs::read_dir(folder.path()).unwrap().count();
        }
        count
    }
}

fn runtime(access: &JobAccess) -> &str {
    &access.action_env.iter().find(|(k, _)| k == "ACTIONS_RUNTIME_TOKEN").unwrap().1
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    fn is(&self, status: u16) -> &Self {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        if status >= 400 {
            // What is no JSON is tried again for half a minute.
            assert!(self.json()["message"].is_string(), "{text}");
        }
        self
    }
}

fn read(stream: &mut TcpStream) -> Answer {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let at = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(all.len());
    let head = String::from_utf8_lossy(&all[..at]).into_owned();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Answer { status, head, body: all.get(at + 4..).unwrap_or_default().to_vec() }
}

fn call(base: &str, method: &str, path: &str, token: &str, body: &[u8]) -> Answer {
    let address = base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let auth =
        if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{auth}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    read(&mut stream)
}

const CACHE: &str = "/twirp/github.actions.results.api.v1.CacheService";
const ARTIFACT: &str = "/twirp/github.actions.results.api.v1.ArtifactService";

fn post(access: &JobAccess, path: &str, body: &Value) -> Answer {
    call(&access.base, "POST", path, runtime(access), body.to_string().as_bytes())
}

/// Begins a cache entry; the path of its signed address.
fn begin(access: &JobAccess, key: &str) -> String {
    let answer =
        post(access, &format!("{CACHE}/CreateCacheEntry"), &json!({"key": key, "version": "v"}));
    answer.is(200);
    let url = answer.json()["signed_upload_url"].as_str().unwrap().to_owned();
    url[access.base.len()..].to_owned()
}

fn finish(access: &JobAccess, key: &str, size: usize) -> Answer {
    let body = json!({"key": key, "version": "v", "size_bytes": size.to_string()});
    post(access, &format!("{CACHE}/FinalizeCacheEntryUpload"), &body)
}

fn put(access: &JobAccess, path: &str, body: &[u8]) -> Answer {
    call(&access.base, "PUT", path, "", body)
}

fn found(access: &JobAccess, key: &str) -> bool {
    let body = json!({"key": key, "version": "v", "restore_keys": []});
    let answer = post(access, &format!("{CACHE}/GetCacheEntryDownloadURL"), &body);
    answer.is(200).json()["ok"] == true
}

#[test]
fn every_route_wants_a_token() {
    let place = Place::new();
    let base = place.job(1, 1).base;
    let expired = place.grant(Grant { run: 1, node: 2, expires: 1, ..Grant::default() });
    let gone = place.job(1, 3);
    place.services.revoke(1, 3);
    for (method, path) in [
        ("POST", "/twirp/github.actions.results.api.v1.CacheService/CreateCacheEntry"),
        ("POST", "/twirp/github.actions.results.api.v1.ArtifactService/ListArtifacts"),
        ("GET", "/_apis/artifactcache/cache?keys=a&version=v"),
        ("POST", "/_apis/artifactcache/caches"),
        ("PATCH", "/_apis/artifactcache/caches/1"),
        ("POST", "/_apis/artifactcache/caches/1"),
        ("GET", "/oidc/token?api-version=2.0"),
        ("GET", "/git/o/r/info/refs?service=git-upload-pack"),
        ("POST", "/git/o/r/git-upload-pack"),
        ("GET", "/api/repos/o/r"),
        ("POST", "/api/repos/o/r/issues/1/comments"),
        ("GET", "/api/repos/o/r/actions/artifacts/1/zip"),
        ("POST", "/api/repos/o/r/releases"),
        ("GET", "/nothing/here"),
    ] {
        for token in
            ["", "wrong", "ghs_", expired.token.as_str(), gone.token.as_str(), runtime(&gone)]
        {
            let answer = call(&base, method, path, token, b"{}");
            assert_eq!(answer.status, 401, "{method} {path} {token}");
        }
    }
    for path in ["/upload/1", "/download/cache/1/x", "/download/artifact/1/x"] {
        let method = if path.starts_with("/upload") { "PUT" } else { "GET" };
        for query in ["", "?se=99999999999&job=1.1.0&sig=00", "?se=1&job=1.1.0"] {
            call(&base, method, &format!("{path}{query}"), "", b"x").is(403);
        }
    }
    assert!(base.starts_with("http://127.0.0.1:"), "{base}");
}

#[test]
fn addresses_open_one_thing_for_one_job() {
    let place = Place::new();
    let (one, two) = (place.job(1, 1), place.job(1, 2));
    let path = begin(&one, "k");
    put(&one, &path, b"bytes").is(201);
    // Another job's token does not end it.
    finish(&two, "k", 5).is(404);
    finish(&one, "k", 5).is(200);
    let other = path.replace("/upload/1", "/upload/2");
    put(&one, &other, b"x").is(403);
    let later = path.replace("se=", "se=9");
    put(&one, &later, b"x").is(403);
    let signature = path.split("sig=").nth(1).unwrap();
    for bad in ["", "zz", "é", &"0".repeat(64), &signature[1..]] {
        put(&one, &path.replace(signature, bad), b"x").is(403);
    }
    // An address to put is none to get, and the other way round.
    call(&one.base, "GET", &path, "", b"").is(405);
    let answer = post(
        &one,
        &format!("{CACHE}/GetCacheEntryDownloadURL"),
        &json!({"key": "k", "version": "v"}),
    );
    let url = answer.json()["signed_download_url"].as_str().unwrap()[one.base.len()..].to_owned();
    assert_eq!(call(&one.base, "GET", &url, "", b"").is(200).body, b"bytes");
    call(&one.base, "GET", &url.replace("/cache/1/", "/cache/2/"), "", b"").is(403);
    call(&one.base, "GET", &url.replace("/cache/1/", "/artifact/1/"), "", b"").is(403);
    place.services.revoke(1, 1);
    call(&one.base, "GET", &url, "", b"").is(403);
}

#[test]
fn runs_do_not_see_each_others_artifacts() {
    let place = Place::new();
    let (one, two) = (place.job(1, 1), place.job(2, 1));
    let body = |run: &str| json!({"workflow_run_backend_id": run, "workflow_job_run_backend_id": "x", "name": "m", "version": 4});
    post(&one, &format!("{ARTIFACT}/CreateArtifact"), &body("run-2")).is(403);
    let answer = post(&one, &format!("{ARTIFACT}/CreateArtifact"), &body("run-1"));
    let url = answer.json()["signed_upload_url"].as_str().unwrap()[one.base.len()..].to_owned();
    put(&one, &url, b"bytes").is(201);
    let mut end = body("run-1");
    end["size"] = json!("5");
    end["hash"] = json!(format!("sha256:{}", "0".repeat(64)));
    post(&one, &format!("{ARTIFACT}/FinalizeArtifact"), &end).is(400);
    assert!(place.store.artifacts(None).unwrap().is_empty(), "a wrong digest was kept");
    for name in ["", ".", "..", "../x", "a/b", "a\\b", "a\0b", "a:b", "a\nb", &"n".repeat(300)] {
        let mut body = body("run-1");
        body["name"] = json!(name);
        post(&one, &format!("{ARTIFACT}/CreateArtifact"), &body).is(400);
    }
    post(&two, &format!("{ARTIFACT}/GetSignedArtifactURL"), &body("run-1")).is(403);
    post(&two, &format!("{ARTIFACT}/Nothing"), &body("run-2")).is(404);
}

#[test]
fn keys_are_checked() {
    let place = Place::new();
    let job = place.job(1, 1);
    for key in ["", "a,b", "a\0b", &"k".repeat(513)] {
        let body = json!({"key": key, "version": "v"});
        post(&job, &format!("{CACHE}/CreateCacheEntry"), &body).is(400);
        post(&job, &format!("{CACHE}/GetCacheEntryDownloadURL"), &body).is(400);
        post(&job, "/_apis/artifactcache/caches", &body).is(400);
    }
    let key = "k".repeat(512);
    begin(&job, &key);
    for version in ["", "a b", "\0", "../../x\n"] {
        let body = json!({"key": "x", "version": version});
        post(&job, &format!("{CACHE}/CreateCacheEntry"), &body).is(400);
    }
    // Unknown fields pass, other bodies do not.
    let body = json!({"key": "y", "version": "v", "metadata": {"scope": [1]}, "new": null});
    post(&job, &format!("{CACHE}/CreateCacheEntry"), &body).is(200);
    let path = format!("{CACHE}/CreateCacheEntry");
    for body in [&b"{"[..], b"", b"\xff\xfe", &[b'['; 5000]] {
        call(&job.base, "POST", &path, runtime(&job), body).is(400);
    }
    call(&job.base, "POST", &path, runtime(&job), &vec![b' '; 20_000]).is(413);
}

#[test]
fn the_list_of_blocks_decides() {
    let place = Place::new();
    let job = place.job(1, 1);
    let path = begin(&job, "k");
    let block =
        |id: &str, bytes: &[u8]| put(&job, &format!("{path}&comp=block&blockid={id}"), bytes);
    block("b", b"two").is(201);
    block("a", b"wrong").is(201);
    block("a", b"one,").is(201);
    block("c", b"never").is(201);
    block("..%2F..%2Fetc%2Fpasswd", b"x").is(201);
    block("", b"x").is(400);
    let list = |ids: &[&str]| {
        let ids: String = ids.iter().map(|i| format!("<Latest>{i}</Latest>")).collect();
        put(
            &job,
            &format!("{path}&comp=blocklist"),
            format!("<BlockList>{ids}</BlockList>").as_bytes(),
        )
    };
    list(&["a", "missing"]).is(400);
    put(&job, &format!("{path}&comp=blocklist"), b"no xml").is(400);
    put(&job, &format!("{path}&comp=other"), b"x").is(400);
    finish(&job, "k", 7).is(400);
    // That ended the upload: it begins anew.
    assert!(!found(&job, "k"));
    let path = begin(&job, "k");
    let block =
        |id: &str, bytes: &[u8]| put(&job, &format!("{path}&comp=block&blockid={id}"), bytes);
    block("b", b"two").is(201);
    block("a", b"one,").is(201);
    for id in ["d", "e", "f"] {
        block(id, b"x").is(201);
    }
    block("g", b"x").is(413);
    put(
        &job,
        &format!("{path}&comp=blocklist"),
        b"<BlockList><Latest>a</Latest><Latest>b</Latest></BlockList>",
    )
    .is(201);
    finish(&job, "k", 7).is(200);
    assert_eq!(place.under_way(), 0);
    let mut bytes = Vec::new();
    let entry = place.store.caches(None).unwrap().remove(0);
    place.store.reader(entry.blob).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"one,two");
}

#[test]
fn bodies_without_end_or_cut_short_leave_nothing() {
    let place = Place::new();
    let job = place.job(1, 1);
    let path = begin(&job, "k");
    let address = job.base.strip_prefix("http://").unwrap();
    put(&job, &path, &vec![0; 1_000_001]).is(413);
    // A body without end.
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let piece = format!("{:x}\r\n{}\r\n", 65536, "z".repeat(65536));
    for _ in 0..1000 {
        if stream.write_all(piece.as_bytes()).is_err() {
            break;
        }
    }
    drop(stream);
    // Half a body, and then nothing: as a whole, and as a block.
    for query in ["", "&comp=block&blockid=a"] {
        let mut stream = TcpStream::connect(address).unwrap();
        let head =
            format!("PUT {path}{query} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf");
        stream.write_all(head.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = read(&mut stream);
        assert!(answer.status == 0 || answer.status == 400, "{}", answer.head);
    }
    let answer =
        put(&job, &format!("{path}&comp=blocklist"), b"<BlockList><Latest>a</Latest></BlockList>");
    answer.is(400);
    finish(&job, "k", 4).is(400);
    assert!(!found(&job, "k"));
    assert_eq!(place.store.usage().unwrap().stored, 0);
}

#[test]
fn one_of_many_saves_wins() {
    let place = Place::new();
    let jobs: Vec<JobAccess> = (1..=4).map(|n| place.job(1, n)).collect();
    let began: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = jobs
            .iter()
            .map(|job| {
                scope.spawn(move || {
                    let body = json!({"key": "k", "version": "v"});
                    post(job, &format!("{CACHE}/CreateCacheEntry"), &body).status
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(began.iter().filter(|s| **s == 200).count(), 1, "{began:?}");
    assert_eq!(began.iter().filter(|s| **s == 409).count(), 3, "{began:?}");
    // The job that had begun goes away: its name is free again.
    for node in 1..=4 {
        place.services.revoke(1, node);
    }
    let job = place.job(1, 9);
    let path = begin(&job, "k");
    put(&job, &path, b"x").is(201);
    finish(&job, "k", 2).is(400);
    let path = begin(&job, "k");
    put(&job, &path, b"x").is(201);
    finish(&job, "k", 1).is(200);
    let body = json!({"key": "k", "version": "v"});
    post(&job, &format!("{CACHE}/CreateCacheEntry"), &body).is(409);
    for key in ["1", "2", "3", "4"] {
        begin(&job, key);
    }
    post(&job, &format!("{CACHE}/CreateCacheEntry"), &json!({"key": "5", "version": "v"})).is(400);
}

#[test]
fn version_1_checks_its_pieces() {
    let place = Place::new();
    let (job, other) = (place.job(1, 1), place.job(1, 2));
    let body = json!({"key": "k", "version": "v", "cacheSize": 6});
    let id = post(&job, "/_apis/artifactcache/caches", &body).is(201).json()["cacheId"].clone();
    let path = format!("/_apis/artifactcache/caches/{id}");
    let patch = |who: &JobAccess, range: &str, bytes: &[u8]| {
        let address = who.base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!(
            "PATCH {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Range: {range}\r\nContent-Length: {}\r\n\r\n",
            runtime(who),
            bytes.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(bytes).unwrap();
        read(&mut stream)
    };
    patch(&other, "bytes 0-2/*", b"abc").is(404);
    patch(&job, "bytes 3-5/*", b"def").is(204);
    for range in ["", "bytes 5-3/*", "bytes x-y/*", "3-5"] {
        patch(&job, range, b"abc").is(400);
    }
    call(&job.base, "POST", &path, runtime(&job), b"{\"size\": 6}").is(400);
    let answer = patch(&job, "bytes 0-2/*", b"abc");
    answer.is(204);
    assert!(answer.head.to_lowercase().contains("connection: close"), "{}", answer.head);
    call(&other.base, "POST", &path, runtime(&other), b"{\"size\": 6}").is(404);
    call(&job.base, "POST", &path, runtime(&job), b"{\"size\": 6}").is(204);
    let found =
        call(&job.base, "GET", "/_apis/artifactcache/cache?keys=k&version=v", runtime(&job), b"");
    assert_eq!(found.is(200).json()["cacheKey"], "k");
    let miss =
        call(&job.base, "GET", "/_apis/artifactcache/cache?keys=z&version=v", runtime(&job), b"");
    assert_eq!(miss.status, 204);
}

#[test]
fn identity_tokens_want_the_permission() {
    let place = Place::new();
    let plain = place.job(1, 1);
    call(&plain.base, "GET", "/oidc/token?api-version=2.0", &plain.token, b"").is(403);
    assert!(plain.step_env.is_empty());
    let allowed =
        place.grant(Grant { run: 1, node: 2, expires: far(), id_token: true, ..Grant::default() });
    let answer =
        call(&allowed.base, "GET", "/oidc/token?api-version=2.0&audience=a", &allowed.token, b"");
    assert!(answer.is(200).json()["value"].as_str().unwrap().split('.').count() == 3);
    let long = format!("/oidc/token?audience={}", "a".repeat(3000));
    call(&allowed.base, "GET", &long, &allowed.token, b"").is(400);
    use std::os::unix::fs::PermissionsExt;
    let mode = place.root.join("key.pem").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_nobody_serves_is_named() {
    let place = Place::new();
    let job = place.job(7, 3);
    call(&job.base, "DELETE", "/api/repos/o/r/hooks/1", &job.token, b"").is(404);
    call(&job.base, "GET", "/api/repos/other/thing", &job.token, b"").is(404);
    let remarks = place.remarks.lock().unwrap().clone();
    assert_eq!((remarks[0].run, remarks[0].node, remarks[0].kind), (7, 3, "warning"));
    assert!(remarks[0].text.contains("DELETE /api/repos/o/r/hooks/1"), "{remarks:?}");
    assert!(remarks[1].text.contains("other/thing"), "{remarks:?}");
    // Another repository's address is the forge's to answer.
    let answer = call(&job.base, "GET", "/git/o/r-two/info/refs?service=git-upload-pack", "", b"");
    assert_eq!(answer.status, 302);
    assert!(answer.head.contains("https://github.com/o/r-two/info/refs"), "{}", answer.head);
    let push =
        call(&job.base, "GET", "/git/o/r/info/refs?service=git-receive-pack", &job.token, b"");
    push.is(403);
}

/// The process ends with a panic in a release: no body may cause one.
#[test]
fn odd_bodies_are_refused() {
    let place = Place::new();
    let job = place.job(1, 1);
    let repo = "/api/repos/o/r";
    for path in [
        format!("{CACHE}/CreateCacheEntry"),
        format!("{CACHE}/FinalizeCacheEntryUpload"),
        format!("{CACHE}/GetCacheEntryDownloadURL"),
        format!("{ARTIFACT}/CreateArtifact"),
        format!("{ARTIFACT}/ListArtifacts"),
        "/_apis/artifactcache/caches".to_owned(),
        "/_apis/artifactcache/caches/1".to_owned(),
        format!("{repo}/issues/1/comments"),
        format!("{repo}/issues/1/labels"),
        format!("{repo}/issues/comments/1/reactions"),
        format!("{repo}/check-runs"),
        format!("{repo}/statuses/abc"),
        format!("{repo}/releases"),
        format!("{repo}/releases/1/assets?name=x"),
    ] {
        for body in [
            "[]",
            "1",
            "\"x\"",
            "null",
            "true",
            "[[[]]]",
            "{}",
            "{\"body\": [1]}",
            "{\"labels\": 3}",
        ] {
            let answer = call(&job.base, "POST", &path, runtime(&job), body.as_bytes());
            assert!(answer.status >= 200 && answer.status != 500, "{path} {body} {}", answer.head);
        }
    }
    for tag in ["", "..", "x/../../y", "a\\b", ".x", "a b"] {
        let body = json!({"tag_name": tag}).to_string();
        call(&job.base, "POST", &format!("{repo}/releases"), &job.token, body.as_bytes()).is(422);
    }
}

#[test]
fn the_api_heeds_the_permissions_of_the_job() {
    let place = Place::new();
    let may = |names: &[(&str, &str)]| {
        let permissions = names.iter().map(|(n, l)| ((*n).to_owned(), (*l).to_owned())).collect();
        place.grant(Grant {
            run: 1,
            node: 5,
            expires: far(),
            permissions: Some(permissions),
            ..Grant::default()
        })
    };
    let comment = |job: &JobAccess| {
        call(
            &job.base,
            "POST",
            "/api/repos/o/r/issues/1/comments",
            &job.token,
            b"{\"body\": \"x\"}",
        )
        .status
    };
    assert_eq!(comment(&place.job(1, 1)), 201);
    assert_eq!(comment(&may(&[])), 403);
    assert_eq!(comment(&may(&[("issues", "read"), ("contents", "write")])), 403);
    assert_eq!(comment(&may(&[("issues", "write")])), 201);
    assert_eq!(comment(&may(&[("pull-requests", "write")])), 201);
    assert!(
        place
            .remarks
            .lock()
            .unwrap()
            .iter()
            .any(|r| r.text.contains("`permissions` lack `issues: write`"))
    );
    // What nobody serves is said, whatever is near it.
    let job = place.job(1, 1);
    call(&job.base, "GET", "/api/repos/o/r/commits/abc/pulls", &job.token, b"").is(404);
    call(&job.base, "POST", "/api/repos/o/r/commits/abc/comments", &job.token, b"{}").is(404);
    let said =
        place.remarks.lock().unwrap().iter().filter(|r| r.text.contains("not served")).count();
    assert_eq!(said, 2);
}
