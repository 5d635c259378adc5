//! What users have told registries' clients: `config.json` of Docker, which Podman reads too
//! (docker/cli `cli/config/configfile`). Its entries, and its helpers, which are programs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use crate::error::{ContainerError, Result};
use crate::image::Credentials;

/// Docker Hub's name in the file.
const HUB: &str = "https://index.docker.io/v1/";

/// The name beside an identity token, as helpers give it.
pub(crate) const IDENTITY: &str = "<token>";
/// Time that a helper has: some ask a person.
const HELPER: Duration = Duration::from_secs(60);
/// Bytes of its answer.
const MAX_ANSWER: u64 = 1024 * 1024;

/// The file of users' registries.
#[derive(Debug, Clone)]
pub struct AuthFile(PathBuf);

impl AuthFile {
    /// That of this process: `DOCKER_CONFIG`, else `~/.docker`.
    pub fn here() -> Option<AuthFile> {
        let folder = match std::env::var_os("DOCKER_CONFIG").filter(|v| !v.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
        };
        Some(AuthFile(folder.join("config.json")))
    }

    /// One of another place.
    pub fn at(path: &Path) -> AuthFile {
        AuthFile(path.to_owned())
    }

    fn read(&self) -> Json {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// What is known for a registry; an empty name is Docker Hub's.
    pub fn find(&self, registry: &str) -> Option<Credentials> {
        let all = self.read();
        let server = key(registry);
        let helper = all["credHelpers"][&server].as_str().or(all["credsStore"].as_str());
        helper.and_then(|helper| ask(helper, &server)).or_else(|| entry(&all, &server))
    }

    /// All that have an entry of their own.
    pub fn all(&self) -> Vec<Credentials> {
        let all = self.read();
        let servers = all["auths"].as_object().map(|a| a.keys().cloned().collect::<Vec<_>>());
        servers.unwrap_or_default().iter().filter_map(|server| self.find(server)).collect()
    }

    /// Writes an entry.
    ///
    /// # Errors
    ///
    /// When the file cannot be written, or is none.
    pub fn keep(&self, credentials: &Credentials) -> Result<()> {
        let auth = STANDARD.encode(format!("{}:{}", credentials.username, credentials.password));
        let server = key(&credentials.server);
        self.change(|all| all["auths"][server] = json!({"auth": auth}))
    }

    /// Removes an entry; whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Self::keep`].
    pub fn forget(&self, registry: &str) -> Result<bool> {
        let server = key(registry);
        if self.read()["auths"].get(&server).is_none() {
            return Ok(false);
        }
        self.change(|all| {
            all["auths"].as_object_mut().and_then(|auths| auths.remove(&server));
        })?;
        Ok(true)
    }

    fn change(&self, change: impl FnOnce(&mut Json)) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let failed = |why: &dyn std::fmt::Display| {
            ContainerError::new(format!("{} cannot be written: {why}", self.0.display()))
        };
        let mut all = match std::fs::read_to_string(&self.0) {
            Ok(text) if !text.trim().is_empty() => {
                serde_json::from_str::<Json>(&text).map_err(|e| failed(&e))?
            }
            _ => json!({}),
        };
        if !all.is_object() {
            return Err(failed(&"it is no JSON object"));
        }
        change(&mut all);
        let folder = self.0.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(folder).map_err(|e| failed(&e))?;
        // Beside it first: a half written one would lose the other registries.
        let fresh = self.0.with_extension(format!("{}.tmp", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh);
        let text = serde_json::to_string_pretty(&all).unwrap_or_default();
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| std::fs::rename(&fresh, &self.0))
            .map_err(|e| failed(&e))
    }
}

/// A registry's name in the file: without scheme and path, but for Docker Hub's.
fn key(registry: &str) -> String {
    match registry {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" | HUB => HUB.to_owned(),
        name => {
            let name = name.trim_start_matches("https://").trim_start_matches("http://");
            name.split('/').next().unwrap_or_default().to_owned()
        }
    }
}

fn entry(all: &Json, server: &str) -> Option<Credentials> {
    let found = &all["auths"][server];
    if let Some(token) = found["identitytoken"].as_str().filter(|t| !t.is_empty()) {
        let (username, password) = (IDENTITY.to_owned(), token.to_owned());
        return Some(Credentials { username, password, server: server.to_owned() });
    }
    let (username, password) = match found["auth"].as_str().filter(|a| !a.is_empty()) {
        Some(auth) => {
            let text = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
            let (name, password) = text.split_once(':')?;
            (name.to_owned(), password.trim_end_matches('\0').to_owned())
        }
        None => (
            found["username"].as_str()?.to_owned(),
            found["password"].as_str().unwrap_or_default().to_owned(),
        ),
    };
    Some(Credentials { username, password, server: server.to_owned() })
}

/// Asks a helper (docker/docker-credential-helpers: the server on its input, JSON as its output).
fn ask(helper: &str, server: &str) -> Option<Credentials> {
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child.stdin.take()?.write_all(server.as_bytes()).ok()?;
    let mut output = child.stdout.take()?;
    let (send, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.by_ref().take(MAX_ANSWER).read_to_end(&mut text);
        // Nobody waits any longer for one that is late.
        let _ = send.send(read.map(|_| text));
    });
    let text = answer.recv_timeout(HELPER).ok().and_then(std::io::Result::ok);
    if text.is_none() {
        let _ = child.kill();
    }
    let fine = child.wait().is_ok_and(|status| status.success());
    let found: Json = serde_json::from_slice(&text.filter(|_| fine)?).ok()?;
    Some(Credentials {
        username: found["Username"].as_str()?.to_owned(),
        password: found["Secret"].as_str()?.to_owned(),
        server: server.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unwrap_used)]
    fn entries_come_and_go() {
        let folder = std::env::temp_dir().join(format!("trainyard-auth-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let file = AuthFile::at(&folder.join("config.json"));
        let of = |server: &str, password: &str| Credentials {
            username: "u".into(),
            password: password.into(),
            server: server.into(),
        };
        assert_eq!(file.find("ghcr.io"), None);
        file.keep(&of("https://ghcr.io/v2/", "p:q")).unwrap();
        file.keep(&of("docker.io", "hub")).unwrap();
        assert_eq!(file.find("ghcr.io").unwrap().password, "p:q");
        assert_eq!(file.find("").unwrap().server, HUB);
        assert_eq!(file.all().len(), 2);
        let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
        std::fs::write(
            folder.join("config.json"),
            text.replacen('{', "{\"detachKeys\": \"x\",", 1),
        )
        .unwrap();
        assert!(file.forget("ghcr.io").unwrap());
        assert!(!file.forget("ghcr.io").unwrap());
        let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
        assert!(text.contains("detachKeys") && text.contains("index.docker.io"), "{text}");
        std::fs::write(folder.join("config.json"), "no json").unwrap();
        assert!(file.keep(&of("a", "b")).unwrap_err().message.contains("cannot be written"));
        assert_eq!(std::fs::read_to_string(folder.join("config.json")).unwrap(), "no json");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
